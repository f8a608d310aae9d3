"""The tables of a stream before its rows come: made, brought up to the schema, cleared of what dead attempts left."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from syncline.connectors.postgres.reading.statement import TableName, commas, identifiers, run, statement, trusted
from syncline.connectors.postgres.writing.ledger import Ledger
from syncline.connectors.postgres.writing.merge import make_mergeable
from syncline.connectors.postgres.writing.names import MAX_NAME_BYTES, OURS, StreamPlace, too_long
from syncline.connectors.postgres.writing.patience import patiently
from syncline.connectors.postgres.writing.relation import Relation, find_relation
from syncline.connectors.postgres.writing.types import Fit, fit, resolve_types
from syncline.core.checkpoint import StreamCheckpoint, StreamTarget
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.schema import Field
from syncline.core.stream import WriteMode

if TYPE_CHECKING:
    from syncline.connectors.postgres.connection import Session

__all__ = ["ColumnPlan", "Tables", "is_ours", "name_problems", "plan_columns", "staged_fields"]

_SYSTEM_COLUMNS = frozenset({"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"})
_MOST_COLUMNS = 1600
#: Per cent. Room for five new versions of 150 bytes in a page; pages are tidied when the next ones come.
_FILLFACTOR = 90


@dataclass(frozen=True, kw_only=True)
class ColumnPlan:
    """What a table's columns are to be. ``types``: column of the schema -> type, fit to go into SQL. ``add`` and
    ``widen``: what an existing table lacks. ``kept``: columns of the existing table that the schema no longer has; they
    stay and are NULL. ``missing``: native types that this server does not have (column -> type). ``unfit``: column ->
    (existing type, new type) where the new values do not fit."""

    types: dict[str, str]
    add: tuple[str, ...] = ()
    widen: tuple[str, ...] = ()
    kept: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    unfit: dict[str, tuple[str, str]] = field(default_factory=dict)


def staged_fields(target: StreamTarget) -> tuple[Field, ...]:
    """The fields that every row brings itself. Metadata columns whose value is one for the whole plan are not sent row
    by row: they are put in at the commit."""
    return tuple(f for f in target.schema.fields if f.name not in target.constants)


def name_problems(target: StreamTarget) -> list[str]:
    """Column names that Postgres would refuse, or cut without a word; a sentence each."""
    problems = []
    for name in target.schema.names:
        if not name:
            problems.append("a column has an empty name")
        elif "\0" in name:
            problems.append(f"column name {name!r} contains the character U+0000")
        elif too_long(name):
            problems.append(
                f"column name {name!r} has {len(name.encode())} bytes; Postgres keeps only {MAX_NAME_BYTES}"
            )
        elif name in _SYSTEM_COLUMNS:
            problems.append(f"column name {name!r} is one of Postgres's own system columns")
    if len(target.schema.names) > _MOST_COLUMNS:
        problems.append(f"{len(target.schema.names)} columns; a Postgres table has at most {_MOST_COLUMNS}")
    return problems


def plan_columns(
    session: Session, target: StreamTarget, existing: Relation | None, schema: str, *, ours: bool
) -> ColumnPlan:
    """Compare the target's schema with the table that is there; changes nothing. A table that is not ``ours`` is not
    widened: values that its narrower column refuses go to quarantine."""
    types, missing = resolve_types(session, target.schema.fields, dialect=target.dialect, schema=schema)
    if existing is None:
        return ColumnPlan(types=types, missing=missing)
    add, widen, unfit = [], [], {}
    for f in target.schema.fields:
        column = existing.column(f.name)
        if column is None:
            add.append(f.name)
            continue
        how = Fit.SAME if types[f.name] == column.type else fit(types[f.name], column.base)
        if how == Fit.NO and column.base == "text" and str(f.type) in ("string", "large_string"):
            how = Fit.KEEP  # what travels as text fits into text
        if how == Fit.WIDEN and ours and column.type == column.base:
            widen.append(f.name)
        elif how in (Fit.SAME, Fit.KEEP) or (how == Fit.WIDEN and not ours):
            types[f.name] = column.type
        else:
            unfit[f.name] = (column.type, types[f.name])
    kept = {c.name: c.type for c in existing.columns if c.name not in types and not c.generated}
    return ColumnPlan(types=types, add=tuple(add), widen=tuple(widen), kept=kept, missing=missing, unfit=unfit)


def is_ours(relation: Relation, ledger: Ledger, session: Session) -> bool:
    """Whether this stream made the table. A table that somebody else put in its place is not ours."""
    owned = ledger.owned(session) if ledger.exists(session) else None
    return (
        owned is not None
        and owned.table == relation.table
        and (owned.oid is None or owned.oid == relation.oid)
        and relation.relkind == "r"
    )


class Tables:
    """Preparation of one stream's tables. ``patience`` is how many seconds to keep trying for a lock."""

    def __init__(self, session: Session, ledger: Ledger, target: StreamTarget, token: int, *, patience: float) -> None:
        self._session = session
        self._ledger = ledger
        self._place: StreamPlace = ledger.place
        self._target = target
        self._token = token
        self._patience = patience
        self._where = {"stream": str(target.stream), "connector": "postgres"}

    def examine(self) -> tuple[ColumnPlan, Relation | None, bool]:
        """Look whether the target can be held; changes nothing. Returns the columns, the table that is there, and
        whether it is ours. Raises ``config``, ``conflict`` or ``schema``."""
        self._check_names()
        existing = find_relation(self._session, self._place.table)
        ours = existing is not None and is_ours(existing, self._ledger, self._session)
        if existing is not None and not ours and self._target.write is WriteMode.REPLACE:
            raise self._in_the_way(existing)
        plan = plan_columns(self._session, self._target, existing, self._place.table.schema, ours=ours)
        if existing is not None and not ours:
            self._check_foreign(existing, plan)
        self._refuse_unfit(plan, existing)
        return plan, existing, ours

    def prepare_generation(self, checkpoint: StreamCheckpoint, *, resumed: bool) -> None:
        """The hidden table of the target's generation, made if it is not there yet. ``resumed``: rows of this plan are
        in it already."""
        plan, existing, _ = self.examine()
        hidden = self._place.generation(self._target.generation)
        there = find_relation(self._session, hidden) is not None
        if there and resumed:
            return
        if checkpoint.done:
            raise SynclineError(
                ErrorKind.CONFLICT,
                f"the unfinished generation {hidden} is gone, though the ledger knows of rows in it",
                hint="reset the stream's state, so that it is copied anew",
                where=self._where,
            )
        staged = {f.name: plan.types[f.name] for f in staged_fields(self._target)}

        def make() -> None:
            self._ledger.enter(self._session, self._token)
            if there:  # of a plan that was given up; numbers come again after a reset
                run(self._session, "DROP TABLE {hidden}", hidden=hidden)
            self._create(hidden, {**staged, **plan.kept}, options=self._options(existing))
            self._ledger.quarantine.forget_generations(self._session, since=self._target.generation)
            self._ledger.hold(self._session, self._token)

        patiently(self._session, hidden, make, seconds=self._patience)

    def prepare_table(self) -> None:
        """The visible table for APPEND and MERGE: made, or brought up to the schema."""
        plan, existing, ours = self.examine()
        if existing is None:
            with self._session.transaction():
                self._ledger.enter(self._session, self._token)
                self._create(self._place.table, plan.types, key=self._merge_key(), options=self._options(None))
                made = find_relation(self._session, self._place.table)
                assert made is not None
                self._ledger.own(self._session, self._place.table, made.oid)
                self._ledger.hold(self._session, self._token)
            return
        if ours and (plan.add or plan.widen):
            self.evolve(plan)
        if key := self._merge_key():
            make_mergeable(
                self._session,
                self._place.table,
                key,
                self._target.cursor_field,
                ours=ours,
                patience=self._patience,
            )

    def remove_garbage(self, keep: Collection[str]) -> None:
        """Drop our hidden tables of this stream except those named. What a paused session still holds is left for the
        next time."""
        rows = run(
            self._session,
            """
            SELECT c.relname::text
            FROM pg_class c
            JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE n.nspname = {schema} AND c.relkind = 'r' AND c.relname ~ {pattern}
            """,
            schema=self._place.table.schema,
            pattern=f"^{OURS}[a-z][0-9]+_{self._place.digest}(_|$)",
        ).fetchall()
        for (name,) in rows:
            if name in keep:
                continue
            try:
                with self._session.transaction():
                    self._ledger.enter(self._session, self._token)
                    run(self._session, "SELECT set_config('lock_timeout', '2s', true)")
                    run(self._session, "DROP TABLE IF EXISTS {table}", table=self._place.table.sibling(name))
                    self._ledger.hold(self._session, self._token)
            except psycopg.errors.LockNotAvailable:
                continue

    # -- within ----------------------------------------------------------------------------------------------------

    def _merge_key(self) -> tuple[str, ...]:
        return self._target.primary_key if self._target.write is WriteMode.MERGE else ()

    def _check_names(self) -> None:
        if problems := name_problems(self._target):
            raise SynclineError(
                ErrorKind.SCHEMA,
                problems[0],
                hint="leave the column out, or rename it at the source",
                where=self._where,
            )

    def _create(
        self, table: TableName, types: dict[str, str], *, key: Sequence[str] = (), options: Sequence[str] = ()
    ) -> None:
        parts: list[sql.Composable] = [
            sql.Identifier(name) + sql.SQL(" ") + trusted(kind) for name, kind in types.items()
        ]
        if key:
            parts.append(sql.SQL("PRIMARY KEY ({})").format(identifiers(key)))
        run(
            self._session,
            "CREATE TABLE {table} ({parts}) {options}",
            table=table,
            parts=commas(parts),
            options=_with(options),
        )

    def _options(self, existing: Relation | None) -> list[str]:
        """Storage parameters: those that somebody gave the present generation (fillfactor, autovacuum_…), and room in
        the pages of tables whose rows will be replaced by key. There a new version stays in its row's page: no index
        has to learn of it, and half as many pages are touched and logged."""
        options: list[str] = []
        if existing is not None:
            query = "SELECT reloptions FROM pg_class WHERE oid = {oid}::oid"
            row = run(self._session, query, oid=existing.oid).fetchone()
            options = list(row[0]) if row and row[0] else []
        merged = self._target.dedupe or bool(self._merge_key())
        if merged and not any(option.startswith("fillfactor=") for option in options):
            options.append(f"fillfactor={_FILLFACTOR}")
        return options

    def evolve(self, plan: ColumnPlan, *, alone: bool = True) -> None:
        """Add and widen what the plan says. Not ``alone``: as part of the caller's transaction, which looks at the
        token itself."""
        table = self._place.table
        actions = [
            sql.SQL("ADD COLUMN {} {}").format(sql.Identifier(name), trusted(plan.types[name])) for name in plan.add
        ]
        actions += [
            sql.SQL("ALTER COLUMN {} TYPE {}").format(sql.Identifier(name), trusted(plan.types[name]))
            for name in plan.widen
        ]

        def alter() -> None:
            if alone:
                self._ledger.enter(self._session, self._token)
            run(self._session, "ALTER TABLE {table} {actions}", table=table, actions=commas(actions))
            if alone:
                self._ledger.hold(self._session, self._token)

        try:
            patiently(self._session, table, alter, seconds=self._patience)
        except psycopg.errors.FeatureNotSupported as error:
            raise SynclineError(
                ErrorKind.SCHEMA,
                f"table {table} cannot follow the source: {error.diag.message_primary}",
                hint=f"drop what stands in the way ({error.diag.message_detail or 'a view or rule'}), run: "
                f"{self._text('ALTER TABLE {table} {actions}', table=table, actions=commas(actions))}; make it again",
                where=self._where,
            ) from error

    def _refuse_unfit(self, plan: ColumnPlan, existing: Relation | None) -> None:
        if not plan.unfit or existing is None:
            return
        name, (there, new) = next(iter(plan.unfit.items()))
        column = sql.Identifier(name)
        advice = self._text(
            "ALTER TABLE {table} ALTER COLUMN {column} TYPE {new} USING {column}::{new}",
            table=existing.table,
            column=column,
            new=trusted(new),
        )
        raise SynclineError(
            ErrorKind.SCHEMA,
            f"column {name!r} of table {existing.table} is {there}, the source's is {new} now, which does not fit",
            hint=f"convert the column and run again: {advice}",
            where={**self._where, "column": name},
        )

    def _check_foreign(self, existing: Relation, plan: ColumnPlan) -> None:
        """A table that somebody else made is used as it is when the rows fit, and never changed."""
        if existing.relkind not in "rp":
            raise self._in_the_way(existing)
        data = [f.name for f in staged_fields(self._target)]
        if lacking := [name for name in plan.add if name in data]:
            adds = commas(
                sql.SQL("ADD COLUMN {} {}").format(sql.Identifier(name), trusted(plan.types[name])) for name in lacking
            )
            raise SynclineError(
                ErrorKind.CONFIG,
                f"table {existing.table} was not made by this stream and lacks column {lacking[0]!r}",
                hint="choose another table_prefix or schema, or add what is missing: "
                + self._text("ALTER TABLE {table} {adds}", table=existing.table, adds=adds),
                where=self._where,
            )
        for column in existing.columns:
            if column.generated and column.name in data:
                raise SynclineError(
                    ErrorKind.CONFIG,
                    f"column {column.name!r} of table {existing.table} is generated and cannot be written",
                    hint="leave the column out of the stream, or choose another table_prefix or schema",
                    where=self._where,
                )
            if column.not_null and not column.has_default and not column.generated and column.name not in plan.types:
                raise SynclineError(
                    ErrorKind.CONFIG,
                    f"column {column.name!r} of table {existing.table} is NOT NULL and the stream does not have it",
                    hint=self._text(
                        "ALTER TABLE {table} ALTER COLUMN {column} DROP NOT NULL",
                        table=existing.table,
                        column=sql.Identifier(column.name),
                    ),
                    where=self._where,
                )

    def _in_the_way(self, existing: Relation) -> SynclineError:
        other = self._ledger.other_owner(self._session, existing.table) if self._ledger.exists(self._session) else None
        made = f"it belongs to {other}" if other else "it was not made by this stream"
        return SynclineError(
            ErrorKind.CONFLICT if other else ErrorKind.CONFIG,
            f"{existing.kind} {existing.table} is there already and would be replaced, but {made}",
            hint="rename or drop it, or set table_prefix, table or schema so that the stream has a name of its own",
            where=self._where,
        )

    def _text(self, template: str, **parts: sql.Composable | TableName) -> str:
        return statement(template, **parts).as_string(self._session)


def _with(options: Sequence[str]) -> sql.Composable:
    if not options:
        return sql.SQL("")
    pairs = (option.partition("=") for option in options)
    return sql.SQL("WITH ({})").format(
        commas(
            sql.SQL(".").join(sql.Identifier(part) for part in name.split(".")) + sql.SQL(" = ") + sql.Literal(value)
            for name, _, value in pairs
        )
    )
