"""What hangs on a table: read from the catalogue, and copied or pointed to another table.

Everything here works in the caller's transaction. Called by :mod:`publish`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import sql

from syncline.connectors.postgres.reading.statement import TableName, commas, run, statement, trusted
from syncline.connectors.postgres.writing.names import OURS
from syncline.connectors.postgres.writing.relation import Relation
from syncline.core.errors import ErrorKind, SynclineError

if TYPE_CHECKING:
    from syncline.connectors.postgres.connection import Session

__all__ = [
    "Named",
    "View",
    "constraints_of",
    "copy_manners",
    "indexes_of",
    "names_on",
    "obstacles_of",
    "primary_key_of",
    "repoint",
    "views_of",
]


@dataclass(frozen=True, kw_only=True)
class View:
    """A view that reads the table: its definition names it, its options are reloptions."""

    oid: int
    name: TableName
    options: tuple[str, ...]
    definition: str


@dataclass(frozen=True, kw_only=True)
class Named:
    """An index or constraint of the table: ``original`` is its name, ``name`` the one it has on another table
    until that takes its place, ``column`` the first that it speaks of."""

    name: str
    original: str
    kind: str
    definition: str
    is_index: bool
    column: str | None = None


def obstacles_of(session: Session, present: Relation) -> list[str]:
    """What hangs on the table and cannot be moved to another, in words."""
    rows = run(session, _OBSTACLES, oid=present.oid).fetchall()
    found = [str(row[0]) for row in rows]
    if not present.owned:
        found.append("the table belongs to another role")
    return found


def views_of(session: Session, present: Relation) -> list[View]:
    """Views that read the table directly and can be pointed to another."""
    return [
        View(
            oid=oid,
            name=TableName(schema=schema, name=name),
            options=tuple(options or ()),
            definition=definition,
        )
        for oid, schema, name, options, definition in run(
            session,
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


def constraints_of(session: Session, present: Relation, digest: str) -> list[Named]:
    """Constraints in an order in which they can be made; ``digest`` makes their temporary names our own."""
    rows = run(
        session,
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
        Named(
            name=_alias("c", oid, digest),
            original=name,
            kind=kind,
            definition=definition,
            is_index=False,
            column=column,
        )
        for name, oid, kind, definition, column in rows
    ]


def indexes_of(session: Session, present: Relation, digest: str) -> list[Named]:
    """Indexes that no constraint brings along. ``definition`` is what follows the table's name."""
    rows = run(
        session,
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
            Named(
                name=_alias("i", oid, digest),
                original=name,
                kind="u" if unique else "i",
                definition=definition[len(head) :],
                is_index=True,
            )
        )
    return found


def names_on(session: Session, relation: Relation) -> set[str]:
    """Names of the constraints and indexes of a table."""
    rows = run(
        session,
        """
        SELECT conname::text FROM pg_constraint WHERE conrelid = {oid}::oid
        UNION
        SELECT c.relname::text FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = {oid}::oid
        """,
        oid=relation.oid,
    ).fetchall()
    return {row[0] for row in rows}


def primary_key_of(session: Session, relation: Relation) -> set[str]:
    """Columns of the table's primary key."""
    rows = run(
        session,
        """
        SELECT a.attname::text
        FROM pg_index i
        JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
        WHERE i.indrelid = {oid}::oid AND i.indisprimary
        """,
        oid=relation.oid,
    ).fetchall()
    return {row[0] for row in rows}


def repoint(session: Session, view: View) -> None:
    """The view's own definition again: its text names the table, which is another one by now. Everything else of the
    view (rights, owner, comment, views over it) stays, because the view itself does. psycopg's errors pass through."""
    with session.transaction():
        run(
            session,
            "CREATE OR REPLACE VIEW {view} {options} AS {definition}",
            view=view.name,
            options=_options(view.options),
            definition=trusted(view.definition.rstrip().removesuffix(";")),
        )


def copy_manners(session: Session, present: Relation, new: Relation) -> None:
    """Owner, rights and comments; catalogue only."""
    names = {c.name for c in new.columns}
    for grantee in _grantees(session, new.oid):
        run(session, "REVOKE ALL ON TABLE {table} FROM {who}", table=new.table, who=_role(grantee))
    for column, grantee, privilege, grantable in run(
        session,
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
            session,
            "GRANT {privilege}{columns} ON TABLE {table} TO {who}{option}",
            privilege=trusted(privilege),
            columns=sql.SQL("") if column is None else statement(" ({c})", c=sql.Identifier(column)),
            table=new.table,
            who=_role(grantee),
            option=sql.SQL(" WITH GRANT OPTION" if grantable else ""),
        )
    for column, comment in run(
        session,
        """
        SELECT a.attname::text, d.description
        FROM pg_description d
        LEFT JOIN pg_attribute a ON a.attrelid = d.objoid AND a.attnum = d.objsubid AND d.objsubid > 0
        WHERE d.objoid = {oid}::oid AND d.classoid = 'pg_class'::regclass
        """,
        oid=present.oid,
    ).fetchall():
        if column is None:
            run(session, "COMMENT ON TABLE {table} IS {text}", table=new.table, text=comment)
        elif column in names:
            run(
                session,
                "COMMENT ON COLUMN {column} IS {text}",
                column=sql.Identifier(new.table.schema, new.table.name, column),
                text=comment,
            )
    owners = run(
        session,
        "SELECT pg_get_userbyid(o.relowner)::text, o.relowner = n.relowner FROM pg_class o, pg_class n "
        "WHERE o.oid = {old}::oid AND n.oid = {new}::oid",
        old=present.oid,
        new=new.oid,
    ).fetchone()
    if owners is not None and not owners[1]:
        run(session, "ALTER TABLE {t} OWNER TO {who}", t=new.table, who=sql.Identifier(owners[0]))


def _grantees(session: Session, oid: int) -> list[str | None]:
    return [
        row[0]
        for row in run(
            session,
            """
            SELECT DISTINCT CASE WHEN x.grantee = 0 THEN NULL ELSE pg_get_userbyid(x.grantee)::text END
            FROM pg_class c, aclexplode(c.relacl) x
            WHERE c.oid = {oid}::oid AND x.grantee <> c.relowner
            """,
            oid=oid,
        ).fetchall()
    ]


def _alias(letter: str, oid: int, digest: str) -> str:
    return f"{OURS}{letter}{oid}_{digest}"


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
