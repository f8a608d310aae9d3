"""A whole generation becomes visible.

Everything that takes time happens on the hidden table, outside anybody's sight: metadata columns (with a constant
default, a change of the catalogue only), duplicates, keys, the indexes and constraints that people gave to the present
table. Then one short transaction puts the hidden table in the place of the present one and moves the ledger.

What hangs on the present table stays. Views are pointed to the new one by repeating their own definition. Where
something hangs on it that cannot be moved (materialised views, foreign keys from elsewhere, triggers, policies,
publications …) the present table keeps its place and its rows are exchanged in one transaction, which is slower.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from syncline.connectors.postgres.destination_names import MAX_NAME_BYTES, OURS
from syncline.connectors.postgres.destination_types import resolve_types
from syncline.connectors.postgres.ledger import Ledger
from syncline.connectors.postgres.merge import delete_duplicates, has_unique_key
from syncline.connectors.postgres.relation import Relation, find_relation
from syncline.connectors.postgres.statement import TableName, commas, identifiers, run, statement, trusted
from syncline.core.checkpoint import StreamTarget
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.failpoints import failpoint

if TYPE_CHECKING:
    from syncline.connectors.postgres.connection import Session

__all__ = ["Generation", "SwapImpossibleError"]


class SwapImpossibleError(Exception):
    """Something hangs on the present table that was not there a moment ago, or that we had overlooked."""


@dataclass(frozen=True, kw_only=True)
class _View:
    oid: int
    name: TableName
    options: tuple[str, ...]
    definition: str


class Generation:
    """One hidden generation of one stream on its way to become the visible table.

    :meth:`finish` first, each step in its own transaction and harmless to repeat; then :meth:`publish` inside the
    commit transaction. ``exchange`` is chosen by :meth:`finish`: whether rows are exchanged instead of tables.
    """

    def __init__(
        self, session: Session, ledger: Ledger, target: StreamTarget, token: int, *, primary_key: bool
    ) -> None:
        self._session = session
        self._ledger = ledger
        self._target = target
        self._token = token
        self._table = ledger.place.table
        self._hidden = ledger.place.generation(target.generation)
        self._key = target.primary_key if primary_key or target.dedupe else ()
        self._where = {"stream": str(target.stream), "connector": "postgres"}
        self._in_the_way: list[str] = []
        self.exchange = False

    # -- on the hidden table ---------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Make the hidden table ready."""
        hidden = self._relation(self._hidden)
        if hidden is None:
            raise SynclineError(
                ErrorKind.CONFLICT,
                f"the unfinished generation {self._hidden} is gone",
                hint="reset the stream's state, so that it is copied anew",
                where=self._where,
            )
        present = self._relation(self._table)
        self._in_the_way = self._obstacles(present) if present is not None else []
        self.exchange = bool(self._in_the_way)
        self._add_constants(hidden, present)
        if self._key:
            self._make_unique()
        if present is not None and not self.exchange:
            self._copy_constraints(present)

    def _add_constants(self, hidden: Relation, present: Relation | None) -> None:
        fields = [
            f for f in self._target.schema.fields if f.name in self._target.constants and not hidden.column(f.name)
        ]
        if not fields:
            return
        types, _ = resolve_types(self._session, fields, dialect=self._target.dialect, schema=self._table.schema)
        for f in fields:
            if present is not None and (column := present.column(f.name)):
                types[f.name] = column.type
        with self._mine():
            run(
                self._session,
                "ALTER TABLE {table} {adds}",
                table=self._hidden,
                adds=commas(
                    sql.SQL("ADD COLUMN {name} {type} DEFAULT {value}::{type}").format(
                        name=sql.Identifier(f.name),
                        type=trusted(types[f.name]),
                        value=sql.Literal(self._target.constants[f.name]),
                    )
                    for f in fields
                ),
            )
            run(
                self._session,
                "ALTER TABLE {table} {drops}",
                table=self._hidden,
                drops=commas(sql.SQL("ALTER COLUMN {} DROP DEFAULT").format(sql.Identifier(f.name)) for f in fields),
            )

    def _make_unique(self) -> None:
        """One row per key, and the primary key that says so. Looking for duplicates first would cost a second sort."""
        if has_unique_key(self._session, self._hidden, self._key):
            return
        with self._mine():
            try:
                with self._session.transaction():
                    self._add_primary_key()
            except psycopg.errors.UniqueViolation:
                if not self._target.dedupe:
                    return  # told to copy, not to dedupe: rows stay as they are at the source, without the key
                delete_duplicates(self._session, self._hidden, self._key, self._target.cursor_field)
                self._add_primary_key()

    def _add_primary_key(self) -> None:
        run(
            self._session,
            "ALTER TABLE {table} ADD CONSTRAINT {name} PRIMARY KEY ({key})",
            table=self._hidden,
            name=sql.Identifier(self._hidden.name + "_pkey"),
            key=identifiers(self._key),
        )

    def _copy_constraints(self, present: Relation) -> None:
        """NOT NULL, constraints and indexes of the present table, under names of ours until the swap."""
        done = self._names_on(self._hidden)
        hidden = self._relation(self._hidden)
        assert hidden is not None
        keyed = bool(self._key) and has_unique_key(self._session, self._hidden, self._key)
        # A primary key that we make ourselves brings its NOT NULLs; one of other people's does so when it is added.
        primary = self._primary_key(present)
        required = [
            c.name
            for c in present.columns
            if c.not_null and c.name not in primary and any(h.name == c.name and not h.not_null for h in hidden.columns)
        ]
        for constraint in self._constraints(present):
            if constraint.name in done or (constraint.kind == "p" and keyed):
                continue
            if constraint.kind == "n":  # has a name since Postgres 18
                if constraint.column not in required:
                    continue
                required.remove(constraint.column)
            self._apply(
                statement(
                    "ALTER TABLE {table} ADD CONSTRAINT {name} {definition}",
                    table=self._hidden,
                    name=sql.Identifier(constraint.name),
                    definition=trusted(constraint.definition),
                ),
                f"constraint {constraint.original!r}",
            )
        if required:
            sets = commas(sql.SQL("ALTER COLUMN {} SET NOT NULL").format(sql.Identifier(name)) for name in required)
            self._apply(statement("ALTER TABLE {table} {sets}", table=self._hidden, sets=sets), "NOT NULL")
        for index in self._indexes(present):
            if index.name not in done:
                self._apply(
                    statement(
                        "CREATE {unique}INDEX {name} ON {table} {definition}",
                        unique=sql.SQL("UNIQUE " if index.kind == "u" else ""),
                        name=sql.Identifier(index.name),
                        table=self._hidden,
                        definition=trusted(index.definition),
                    ),
                    f"index {index.original!r}",
                )

    def _apply(self, what: sql.Composed, name: str) -> None:
        try:
            with self._mine():
                self._session.execute(what)
        except (psycopg.errors.IntegrityError, psycopg.errors.UndefinedColumn) as error:
            raise SynclineError(
                ErrorKind.DATA if isinstance(error, psycopg.errors.IntegrityError) else ErrorKind.SCHEMA,
                f"the new rows do not agree with {name} of table {self._table}: {error.diag.message_primary}"
                + (f" ({error.diag.message_detail})" if error.diag.message_detail else ""),
                hint="the former rows stay visible; drop it, or mend the rows at the source, and run again",
                where=self._where,
            ) from error

    # -- inside the commit -----------------------------------------------------------------------------------------

    def publish(self) -> None:
        """The swap, in the caller's transaction, which has moved the ledger. Raises :class:`SwapImpossibleError` when
        the caller must roll back and call :meth:`finish` again."""
        present = self._relation(self._table)
        if present is None:
            failpoint("publish.inside")
            run(
                self._session,
                "ALTER TABLE {hidden} RENAME TO {name}",
                hidden=self._hidden,
                name=sql.Identifier(self._table.name),
            )
            self._restore_names([])
        elif self.exchange:
            self._exchange_rows(present)
        else:
            self._exchange_tables(present)
        made = self._relation(self._table)
        assert made is not None
        self._ledger.own(self._session, self._table, made.oid)
        self._ledger.forget_quarantine(self._session, before=self._target.generation)

    def _exchange_tables(self, present: Relation) -> None:
        run(self._session, "LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE", table=self._table)
        if self._obstacles(present):
            raise SwapImpossibleError
        views = self._views(present)
        renames = [*self._constraints(present), *self._indexes(present)]
        self._copy_manners(present)
        former = self._table.sibling(f"{OURS}o{self._target.generation}_{self._ledger.place.digest}")
        run(self._session, "ALTER TABLE {t} RENAME TO {name}", t=self._table, name=sql.Identifier(former.name))
        failpoint("publish.inside")
        run(self._session, "ALTER TABLE {t} RENAME TO {name}", t=self._hidden, name=sql.Identifier(self._table.name))
        for view in views:
            self._repoint(view)
        try:
            with self._session.transaction():
                run(self._session, "DROP TABLE {former}", former=former)
        except psycopg.errors.DependentObjectsStillExist as error:
            raise SwapImpossibleError(error.diag.message_detail or "") from error
        self._restore_names(renames)

    def _exchange_rows(self, present: Relation) -> None:
        hidden = self._relation(self._hidden)
        assert hidden is not None
        types = {c.name: c for c in present.columns}
        adds = [c for c in hidden.columns if c.name not in types]
        if adds:
            run(
                self._session,
                "ALTER TABLE {table} {adds}",
                table=self._table,
                adds=commas(sql.SQL("ADD COLUMN {} {}").format(sql.Identifier(c.name), trusted(c.type)) for c in adds),
            )
        widened = [c for c in hidden.columns if c.name in types and types[c.name].type != c.type]
        try:
            if widened:
                run(
                    self._session,
                    "ALTER TABLE {table} {changes}",
                    table=self._table,
                    changes=commas(
                        sql.SQL("ALTER COLUMN {} TYPE {}").format(sql.Identifier(c.name), trusted(c.type))
                        for c in widened
                    ),
                )
            run(self._session, "DELETE FROM {table}", table=self._table)
            failpoint("publish.inside")
            columns = [c.name for c in hidden.columns if not (c.name in types and types[c.name].generated)]
            run(
                self._session,
                "INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM {hidden}",
                table=self._table,
                columns=identifiers(columns),
                hidden=self._hidden,
            )
        except (psycopg.errors.IntegrityError, psycopg.errors.FeatureNotSupported) as error:
            schema = isinstance(error, psycopg.errors.FeatureNotSupported)
            raise SynclineError(
                ErrorKind.SCHEMA if schema else ErrorKind.DATA,
                f"the rows of table {self._table} cannot be exchanged: {error.diag.message_primary}"
                + (f" ({error.diag.message_detail})" if error.diag.message_detail else ""),
                hint=f"the former rows stay visible; in the way: {'; '.join(self._in_the_way)}",
                where=self._where,
            ) from error
        run(self._session, "DROP TABLE {hidden}", hidden=self._hidden)
        if self._target.dedupe and not has_unique_key(self._session, self._table, self._key):
            run(
                self._session,
                "CREATE UNIQUE INDEX ON {table} ({key})",
                table=self._table,
                key=identifiers(self._key),
            )

    def _repoint(self, view: _View) -> None:
        """The view's own definition again: its text names the table, which is the new one by now. Everything else of
        the view (rights, owner, comment, views over it) stays, because the view itself does."""
        try:
            with self._session.transaction():
                run(
                    self._session,
                    "CREATE OR REPLACE VIEW {view} {options} AS {definition}",
                    view=view.name,
                    options=_options(view.options),
                    definition=trusted(view.definition.rstrip().removesuffix(";")),
                )
        except (psycopg.errors.InvalidTableDefinition, psycopg.errors.UndefinedColumn) as error:
            raise SynclineError(
                ErrorKind.SCHEMA,
                f"view {view.name} does not fit the new rows of {self._table}: {error.diag.message_primary}",
                hint=f"the former rows stay visible; drop the view or cast in it, and run again: DROP VIEW {view.name}",
                where=self._where,
            ) from error

    def _copy_manners(self, present: Relation) -> None:
        """Owner, rights and comments; catalogue only."""
        new = self._relation(self._hidden)
        assert new is not None
        names = {c.name for c in new.columns}
        for grantee in self._grantees(new.oid):
            run(self._session, "REVOKE ALL ON TABLE {table} FROM {who}", table=self._hidden, who=_role(grantee))
        for column, grantee, privilege, grantable in run(
            self._session,
            """
            SELECT NULL, CASE WHEN x.grantee = 0 THEN NULL ELSE pg_get_userbyid(x.grantee)::text END,
                   x.privilege_type, x.is_grantable
            FROM pg_class c, aclexplode(c.relacl) x
            WHERE c.oid = {oid}::oid AND x.grantee <> c.relowner
            UNION ALL
            SELECT a.attname::text, CASE WHEN x.grantee = 0 THEN NULL ELSE pg_get_userbyid(x.grantee)::text END,
                   x.privilege_type, x.is_grantable
            FROM pg_class c
            JOIN pg_attribute a ON a.attrelid = c.oid AND NOT a.attisdropped, aclexplode(a.attacl) x
            WHERE c.oid = {oid}::oid AND x.grantee <> c.relowner
            """,
            oid=present.oid,
        ).fetchall():
            if column is not None and column not in names:
                continue
            run(
                self._session,
                "GRANT {privilege}{columns} ON TABLE {table} TO {who}{option}",
                privilege=trusted(privilege),
                columns=sql.SQL("") if column is None else statement(" ({c})", c=sql.Identifier(column)),
                table=self._hidden,
                who=_role(grantee),
                option=sql.SQL(" WITH GRANT OPTION" if grantable else ""),
            )
        for column, comment in run(
            self._session,
            """
            SELECT a.attname::text, d.description
            FROM pg_description d
            LEFT JOIN pg_attribute a ON a.attrelid = d.objoid AND a.attnum = d.objsubid AND d.objsubid > 0
            WHERE d.objoid = {oid}::oid AND d.classoid = 'pg_class'::regclass
            """,
            oid=present.oid,
        ).fetchall():
            if column is None:
                run(self._session, "COMMENT ON TABLE {table} IS {text}", table=self._hidden, text=comment)
            elif column in names:
                run(
                    self._session,
                    "COMMENT ON COLUMN {column} IS {text}",
                    column=sql.Identifier(self._hidden.schema, self._hidden.name, column),
                    text=comment,
                )
        owners = run(
            self._session,
            "SELECT pg_get_userbyid(o.relowner)::text, o.relowner = n.relowner FROM pg_class o, pg_class n "
            "WHERE o.oid = {old}::oid AND n.oid = {new}::oid",
            old=present.oid,
            new=new.oid,
        ).fetchone()
        if owners is not None and not owners[1]:
            run(self._session, "ALTER TABLE {t} OWNER TO {who}", t=self._hidden, who=sql.Identifier(owners[0]))

    def _restore_names(self, renames: Sequence[_Named]) -> None:
        """Indexes and constraints get the names that people know, now that the former ones are gone."""
        present = self._names_on(self._table)
        for each in renames:
            if each.name in present:
                template: Any = (
                    "ALTER INDEX {index} RENAME TO {new}"
                    if each.is_index
                    else "ALTER TABLE {table} RENAME CONSTRAINT {old} TO {new}"
                )
                run(
                    self._session,
                    template,
                    index=self._table.sibling(each.name),
                    table=self._table,
                    old=sql.Identifier(each.name),
                    new=sql.Identifier(each.original),
                )
        # The server has named our primary key's constraints after the hidden table.
        for name in sorted(self._names_on(self._table)):
            if name.startswith(self._hidden.name):
                wanted = _cut(self._table.name, name[len(self._hidden.name) :])
                if wanted not in present and find_relation(self._session, self._table.sibling(wanted)) is None:
                    run(
                        self._session,
                        "ALTER TABLE {table} RENAME CONSTRAINT {old} TO {new}",
                        table=self._table,
                        old=sql.Identifier(name),
                        new=sql.Identifier(wanted),
                    )

    # -- what the catalogue says -----------------------------------------------------------------------------------

    def _relation(self, table: TableName) -> Relation | None:
        return find_relation(self._session, table)

    def _mine(self) -> _Mine:
        return _Mine(self._session, self._ledger, self._token)

    def _obstacles(self, present: Relation) -> list[str]:
        """What hangs on the present table and cannot be moved to another, in words."""
        rows = run(self._session, _OBSTACLES, oid=present.oid).fetchall()
        found = [str(row[0]) for row in rows]
        if not present.owned:
            found.append("the table belongs to another role")
        return found

    def _views(self, present: Relation) -> list[_View]:
        return [
            _View(
                oid=oid,
                name=TableName(schema=schema, name=name),
                options=tuple(options or ()),
                definition=definition,
            )
            for oid, schema, name, options, definition in run(
                self._session,
                """
                SELECT DISTINCT v.oid::int8, n.nspname::text, v.relname::text, v.reloptions, pg_get_viewdef(v.oid)
                FROM pg_depend d
                JOIN pg_rewrite r ON r.oid = d.objid
                JOIN pg_class v ON v.oid = r.ev_class
                JOIN pg_namespace n ON n.oid = v.relnamespace
                WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass
                  AND d.refobjid = {oid}::oid AND v.oid <> {oid}::oid AND v.relkind = 'v'
                ORDER BY 1
                """,
                oid=present.oid,
            ).fetchall()
        ]

    def _constraints(self, present: Relation) -> list[_Named]:
        rows = run(
            self._session,
            """
            SELECT k.conname::text, k.oid::int8, k.contype::text, pg_get_constraintdef(k.oid), a.attname::text
            FROM pg_constraint k
            LEFT JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[1]
            WHERE k.conrelid = {oid}::oid AND k.contype IN ('p', 'u', 'x', 'c', 'f', 'n')
            ORDER BY k.contype = 'f', k.oid
            """,
            oid=present.oid,
        ).fetchall()
        return [
            _Named(
                name=self._alias("c", oid),
                original=name,
                kind=kind,
                definition=definition,
                is_index=False,
                column=column,
            )
            for name, oid, kind, definition, column in rows
        ]

    def _indexes(self, present: Relation) -> list[_Named]:
        """Indexes that no constraint brings along. ``definition`` is what follows the table's name."""
        rows = run(
            self._session,
            """
            SELECT c.relname::text, c.oid::int8, i.indisunique, pg_get_indexdef(c.oid),
                   format('CREATE %sINDEX %I ON %I.%I ', CASE WHEN i.indisunique THEN 'UNIQUE ' ELSE '' END,
                          c.relname, {schema}::text, {name}::text)
            FROM pg_index i
            JOIN pg_class c ON c.oid = i.indexrelid
            WHERE i.indrelid = {oid}::oid AND i.indisvalid
              AND NOT EXISTS (SELECT 1 FROM pg_constraint k WHERE k.conindid = c.oid AND k.conrelid = i.indrelid)
            ORDER BY c.oid
            """,
            oid=present.oid,
            schema=present.table.schema,
            name=present.table.name,
        ).fetchall()
        found = []
        for name, oid, unique, definition, head in rows:
            if not definition.startswith(head):
                raise SynclineError(ErrorKind.INTERNAL, f"index {name!r} is printed as {definition!r}")
            found.append(
                _Named(
                    name=self._alias("i", oid),
                    original=name,
                    kind="u" if unique else "i",
                    definition=definition[len(head) :],
                    is_index=True,
                )
            )
        return found

    def _alias(self, letter: str, oid: int) -> str:
        return f"{OURS}{letter}{oid}_{self._ledger.place.digest}"

    def _names_on(self, table: TableName) -> set[str]:
        """Names of the constraints and indexes of a table."""
        relation = self._relation(table)
        if relation is None:
            return set()
        rows = run(
            self._session,
            """
            SELECT conname::text FROM pg_constraint WHERE conrelid = {oid}::oid
            UNION
            SELECT c.relname::text FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = {oid}::oid
            """,
            oid=relation.oid,
        ).fetchall()
        return {row[0] for row in rows}

    def _primary_key(self, relation: Relation) -> set[str]:
        rows = run(
            self._session,
            """
            SELECT a.attname::text
            FROM pg_index i
            JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
            WHERE i.indrelid = {oid}::oid AND i.indisprimary
            """,
            oid=relation.oid,
        ).fetchall()
        return {row[0] for row in rows}

    def _grantees(self, oid: int) -> list[str | None]:
        return [
            row[0]
            for row in run(
                self._session,
                """
                SELECT DISTINCT CASE WHEN x.grantee = 0 THEN NULL ELSE pg_get_userbyid(x.grantee)::text END
                FROM pg_class c, aclexplode(c.relacl) x
                WHERE c.oid = {oid}::oid AND x.grantee <> c.relowner
                """,
                oid=oid,
            ).fetchall()
        ]


@dataclass(frozen=True, kw_only=True)
class _Named:
    """An index or constraint of the present table: ``original`` is its name, ``name`` the one it has on the hidden
    table until the swap, ``column`` the first that it speaks of."""

    name: str
    original: str
    kind: str
    definition: str
    is_index: bool
    column: str | None = None


class _Mine:
    """A transaction on the hidden table that can only become durable while our token is the current one."""

    def __init__(self, session: Session, ledger: Ledger, token: int) -> None:
        self._session, self._ledger, self._token = session, ledger, token
        self._transaction = session.transaction()

    def __enter__(self) -> None:
        self._transaction.__enter__()
        self._ledger.enter(self._session, self._token)

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool | None:
        if kind is None:
            try:
                self._ledger.hold(self._session, self._token)
            except BaseException as refused:
                self._transaction.__exit__(type(refused), refused, refused.__traceback__)
                raise
        return self._transaction.__exit__(kind, error, trace)


#: Everything that hangs on a table and does not move with CREATE OR REPLACE VIEW.
_OBSTACLES = """
WITH own AS (
    SELECT c.oid, c.reltype, c.relrowsecurity, c.relreplident
    FROM pg_class c
    WHERE c.oid = {oid}::oid
)
SELECT 'trigger ' || t.tgname FROM pg_trigger t, own WHERE t.tgrelid = own.oid AND NOT t.tgisinternal
UNION ALL
SELECT 'policy ' || p.polname FROM pg_policy p, own WHERE p.polrelid = own.oid
UNION ALL
SELECT 'row level security' FROM own WHERE own.relrowsecurity
UNION ALL
SELECT 'replica identity' FROM own WHERE own.relreplident <> 'd'
UNION ALL
SELECT 'publication ' || p.pubname
FROM own
JOIN pg_publication_rel r ON r.prrelid = own.oid
JOIN pg_publication p ON p.oid = r.prpubid
UNION ALL
SELECT 'statistics ' || s.stxname FROM pg_statistic_ext s, own WHERE s.stxrelid = own.oid
UNION ALL
SELECT 'inheritance' FROM pg_inherits i, own WHERE own.oid IN (i.inhparent, i.inhrelid)
UNION ALL
SELECT 'rule ' || r.rulename FROM pg_rewrite r, own WHERE r.ev_class = own.oid
UNION ALL
SELECT 'a default of column ' || a.attname
FROM own
JOIN pg_attribute a ON a.attrelid = own.oid AND (a.atthasdef OR a.attidentity <> '') AND NOT a.attisdropped
UNION ALL
SELECT 'foreign key ' || k.conname || ' of ' || k.conrelid::regclass::text
FROM pg_constraint k, own
WHERE k.confrelid = own.oid AND k.contype = 'f'
UNION ALL
SELECT CASE v.relkind WHEN 'm' THEN 'materialized view ' ELSE 'view ' END || v.oid::regclass::text
FROM own
JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = own.oid
                AND d.classid = 'pg_rewrite'::regclass
JOIN pg_rewrite r ON r.oid = d.objid
JOIN pg_class v ON v.oid = r.ev_class AND v.oid <> own.oid
WHERE v.relkind <> 'v' OR NOT pg_has_role(v.relowner, 'USAGE')
UNION ALL
SELECT pg_describe_object(d.classid, d.objid, d.objsubid)
FROM own
JOIN pg_depend d ON d.deptype = 'n' AND (
    (d.refclassid = 'pg_class'::regclass AND d.refobjid = own.oid
     AND d.classid NOT IN ('pg_rewrite'::regclass, 'pg_constraint'::regclass))
    OR (d.refclassid = 'pg_type'::regclass
        AND d.refobjid IN (own.reltype, (SELECT typarray FROM pg_type WHERE oid = own.reltype)))
    OR (d.refclassid = 'pg_constraint'::regclass AND d.classid = 'pg_rewrite'::regclass
        AND d.refobjid IN (SELECT k.oid FROM pg_constraint k WHERE k.conrelid = own.oid))
)
"""


def _role(name: str | None) -> sql.Composable:
    return sql.SQL("PUBLIC") if name is None else sql.Identifier(name)


def _options(options: Sequence[str]) -> sql.Composable:
    if not options:
        return sql.SQL("")
    return sql.SQL("WITH ({})").format(
        commas(
            sql.Identifier(name) + sql.SQL(" = ") + sql.Literal(value)
            for name, _, value in (option.partition("=") for option in options)
        )
    )


def _cut(name: str, suffix: str) -> str:
    room = MAX_NAME_BYTES - len(suffix)
    return name.encode()[:room].decode(errors="ignore") + suffix
