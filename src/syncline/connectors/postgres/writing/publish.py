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
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from syncline.connectors.postgres.reading.statement import TableName, commas, identifiers, run, statement, trusted
from syncline.connectors.postgres.writing.attachments import (
    Named,
    View,
    constraints_of,
    copy_manners,
    indexes_of,
    names_on,
    obstacles_of,
    primary_key_of,
    repoint,
    views_of,
)
from syncline.connectors.postgres.writing.ledger import Ledger
from syncline.connectors.postgres.writing.merge import delete_duplicates, has_unique_key
from syncline.connectors.postgres.writing.names import MAX_NAME_BYTES, OURS
from syncline.connectors.postgres.writing.relation import Relation, find_relation
from syncline.connectors.postgres.writing.types import resolve_types
from syncline.core.checkpoint import StreamTarget
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.failpoints import failpoint

if TYPE_CHECKING:
    from syncline.connectors.postgres.connection import Session

__all__ = ["Generation", "SwapImpossibleError"]


class SwapImpossibleError(Exception):
    """Something hangs on the present table that was not there a moment ago, or that we had overlooked."""


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

    def finish(self, *, exchange: bool = False) -> None:
        """Make the hidden table ready. ``exchange``: exchange rows even where tables seem to do."""
        hidden = self._relation(self._hidden)
        if hidden is None:
            raise SynclineError(
                ErrorKind.CONFLICT,
                f"the unfinished generation {self._hidden} is gone",
                hint="reset the stream's state, so that it is copied anew",
                where=self._where,
            )
        present = self._relation(self._table)
        self._in_the_way = obstacles_of(self._session, present) if present is not None else []
        self.exchange = present is not None and (exchange or bool(self._in_the_way))
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
        hidden = self._known(self._hidden)
        done = names_on(self._session, hidden)
        keyed = bool(self._key) and has_unique_key(self._session, self._hidden, self._key)
        # A primary key that we make ourselves brings its NOT NULLs; one of other people's does so when it is added.
        primary = primary_key_of(self._session, present)
        required = [
            c.name
            for c in present.columns
            if c.not_null and c.name not in primary and any(h.name == c.name and not h.not_null for h in hidden.columns)
        ]
        for constraint in constraints_of(self._session, present, self._ledger.place.digest):
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
        for index in indexes_of(self._session, present, self._ledger.place.digest):
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
        self._ledger.own(self._session, self._table, self._known(self._table).oid)
        self._ledger.quarantine.forget_generations(self._session, before=self._target.generation)

    def _exchange_tables(self, present: Relation) -> None:
        run(self._session, "LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE", table=self._table)
        if obstacles_of(self._session, present):
            raise SwapImpossibleError
        views = views_of(self._session, present)
        renames = [
            *constraints_of(self._session, present, self._ledger.place.digest),
            *indexes_of(self._session, present, self._ledger.place.digest),
        ]
        copy_manners(self._session, present, self._known(self._hidden))
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
        hidden = self._known(self._hidden)
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
            # Only what the stream has: a column that people added gets its own default.
            columns = [c.name for c in hidden.columns if c.name in self._target.schema.names]
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

    def _repoint(self, view: View) -> None:
        try:
            repoint(self._session, view)
        except (psycopg.errors.InvalidTableDefinition, psycopg.errors.UndefinedColumn) as error:
            raise SynclineError(
                ErrorKind.SCHEMA,
                f"view {view.name} does not fit the new rows of {self._table}: {error.diag.message_primary}",
                hint=f"the former rows stay visible; drop the view or cast in it, and run again: DROP VIEW {view.name}",
                where=self._where,
            ) from error

    def _restore_names(self, renames: Sequence[Named]) -> None:
        """Indexes and constraints get the names that people know, now that the former ones are gone."""
        present = names_on(self._session, self._known(self._table))
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
        for name in sorted(names_on(self._session, self._known(self._table))):
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

    # -- within ----------------------------------------------------------------------------------------------------

    def _relation(self, table: TableName) -> Relation | None:
        return find_relation(self._session, table)

    def _known(self, table: TableName) -> Relation:
        relation = self._relation(table)
        assert relation is not None
        return relation

    def _mine(self) -> _Mine:
        return _Mine(self._session, self._ledger, self._token)


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


def _cut(name: str, suffix: str) -> str:
    room = MAX_NAME_BYTES - len(suffix)
    return name.encode()[:room].decode(errors="ignore") + suffix
