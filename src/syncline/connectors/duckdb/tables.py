"""The visible table of a stream and its hidden generation: made, brought up to the schema, swapped.

DuckDB cannot move a table to another schema, so a hidden generation lies beside the visible table under a name of ours.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import duckdb

from syncline.connectors.duckdb.config import DuckdbDestinationConfig
from syncline.connectors.duckdb.ledger import OURS, Ledger
from syncline.connectors.duckdb.sql import TableName, folded, literal, quote
from syncline.connectors.duckdb.types import Fit, column_type, fit
from syncline.core.checkpoint import StreamCheckpoint, StreamTarget
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.failpoints import failpoint
from syncline.core.stream import StreamName, WriteMode

__all__ = ["ColumnPlan", "StreamPlace", "Tables", "name_problems", "place_of"]


@dataclass(frozen=True, kw_only=True)
class StreamPlace:
    """Where a stream of a connection goes."""

    connection: str
    stream: StreamName
    table: TableName

    def hidden(self, generation: int) -> TableName:
        return TableName(schema=self.table.schema, name=f"{self.hidden_start}{generation}_{self._digest}")

    def is_hidden(self, name: str) -> bool:
        """Whether ``name`` is a hidden generation of this stream."""
        number = name.removeprefix(self.hidden_start).removesuffix("_" + self._digest)
        return name == f"{self.hidden_start}{number}_{self._digest}" and number.isascii() and number.isdigit()

    @property
    def hidden_start(self) -> str:
        return OURS + "g"

    @property
    def _digest(self) -> str:
        text = "\0".join((self.connection, self.stream.namespace or "", self.stream.name, self.table.name))
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def place_of(config: DuckdbDestinationConfig, connection: str, stream: StreamName) -> StreamPlace:
    """Where the configuration puts a stream."""
    schema = stream.namespace if config.namespace == "source" and stream.namespace else config.target_schema
    table = TableName(schema=schema, name=config.table_prefix + stream.name)
    return StreamPlace(connection=connection, stream=stream, table=table)


def name_problems(target: StreamTarget, place: StreamPlace) -> list[str]:
    """Names that DuckDB would refuse or take for another; a sentence each."""
    problems = []
    if folded(place.table.name).startswith(OURS):
        problems.append(f"the table would be named {place.table.name!r}; names with {OURS} are ours")
    seen: dict[str, str] = {}
    for name in target.schema.names:
        if not name:
            problems.append("a column has an empty name")
        elif "\0" in name:
            problems.append(f"column name {name!r} contains the character U+0000")
        elif (other := seen.get(folded(name))) is not None:
            problems.append(f"columns {other!r} and {name!r} differ in case only, which DuckDB does not tell apart")
        seen[folded(name)] = name
    return problems


@dataclass(frozen=True, kw_only=True)
class ColumnPlan:
    """What a table's columns are to be. ``types``: column of the schema -> its column type (that of the existing column
    where it stays as it is). ``add`` and ``widen``: what an existing table lacks. ``kept``: columns of the existing
    table that the schema no longer has; they stay and are NULL. ``unfit``: column -> (existing type, new type)."""

    types: dict[str, str]
    add: tuple[str, ...] = ()
    widen: tuple[str, ...] = ()
    kept: dict[str, str] = field(default_factory=dict)
    unfit: dict[str, tuple[str, str]] = field(default_factory=dict)


class Tables:
    """The tables of one stream, inside the caller's transaction."""

    def __init__(
        self, con: duckdb.DuckDBPyConnection, ledger: Ledger, place: StreamPlace, target: StreamTarget
    ) -> None:
        self._con = con
        self._ledger = ledger
        self._place = place
        self._target = target
        self._where = {"connector": "duckdb", "stream": str(target.stream), "table": place.table.name}

    # -- before the first writer -----------------------------------------------------------------------------------

    def prepare(self, checkpoint: StreamCheckpoint) -> None:
        """Make what the plan writes into, and drop hidden generations that nobody will finish."""
        table = self._place.table
        replace = self._target.write is WriteMode.REPLACE
        hidden = self._place.hidden(self._target.generation)
        self._drop_hidden(except_for=hidden.name if replace else None)
        plan = self.inspect(known=True)
        made = self._ledger.made(table.name)
        if replace:
            self._prepare_hidden(hidden, plan, checkpoint)
        elif not self.exists(table):
            self._create(table, plan.types)
            made = True
        else:
            self.evolve(plan, made=made)
        self._ledger.claim(table.name, made=made)

    def inspect(self, *, known: bool) -> ColumnPlan:
        """What the table's columns are to be; changes nothing. Raises for everything that stands in the way. ``known``:
        the ledger exists."""
        if problems := name_problems(self._target, self._place):
            raise SynclineError(
                ErrorKind.SCHEMA,
                problems[0],
                hint="leave the column out, or rename it at the source",
                where=self._where,
            )
        table = self._place.table
        if known and (other := self._ledger.other(table.name)) is not None:
            raise SynclineError(
                ErrorKind.CONFLICT,
                f"table {table} is written by stream {other.stream} of connection {other.connection!r}",
                hint="give the streams tables of their own: namespace: source, or another schema or table_prefix. If "
                f"that connection is gone, forget it: DELETE FROM {self._ledger.table} WHERE connection = "
                f"{literal(other.connection)}",
                where=self._where,
            )
        kind = self._kind(table)
        made = known and self._ledger.made(table.name)
        replaced = self._target.write is WriteMode.REPLACE and not made
        if kind is not None and (kind != "BASE TABLE" or replaced):
            raise self._in_the_way(kind)
        plan = self.columns()
        self._refuse_unfit(plan)
        return plan

    def _prepare_hidden(self, hidden: TableName, plan: ColumnPlan, checkpoint: StreamCheckpoint) -> None:
        if self._kind(hidden) is not None:
            return
        if checkpoint.done:
            raise SynclineError(
                ErrorKind.CONFLICT,
                f"the unfinished generation {hidden} is gone, though the ledger knows of rows in it",
                hint="reset the stream's state, so that it is copied anew: syncline state reset",
                where=self._where,
            )
        self._create(hidden, {**plan.types, **plan.kept})

    def _drop_hidden(self, *, except_for: str | None) -> None:
        rows = self._con.execute(
            """
            SELECT table_name
            FROM duckdb_tables()
            WHERE database_name = current_database() AND schema_name = ? AND starts_with(table_name, ?)
            """,
            [self._place.table.schema, self._place.hidden_start],
        ).fetchall()
        for (name,) in rows:
            if self._place.is_hidden(name) and name != except_for:
                self._con.execute(f"DROP TABLE {TableName(schema=self._place.table.schema, name=name)}")

    def _create(self, table: TableName, types: dict[str, str]) -> None:
        columns = ", ".join(f"{quote(name)} {kind}" for name, kind in types.items())
        self._con.execute(f"CREATE TABLE {table} ({columns})")

    def evolve(self, plan: ColumnPlan, *, made: bool, fills: Mapping[str, str] | None = None) -> None:
        """Add and widen what the plan says. ``fills``: added column -> SQL of its value in the rows that are there."""
        changes = [f"ADD COLUMN {quote(name)} {plan.types[name]}" for name in plan.add]
        changes += [f"ALTER COLUMN {quote(name)} TYPE {plan.types[name]}" for name in plan.widen]
        if not changes:
            return
        statements = [f"ALTER TABLE {self._place.table} {change}" for change in changes]
        if not made:
            raise SynclineError(
                ErrorKind.CONFIG,
                f"table {self._place.table} was not made by this stream and does not have its columns",
                hint="choose another table_prefix or schema, or change the table: " + "; ".join(statements),
                where=self._where,
            )
        self._alter(statements)
        # Not by a default: DuckDB 1.5 cannot commit another change of the table after one that is an expression.
        if filled := [f"{quote(n)} = CAST({v} AS {plan.types[n]})" for n, v in (fills or {}).items() if n in plan.add]:
            self._con.execute(f"UPDATE {self._place.table} SET {', '.join(filled)}")

    def rename(self, old: str, new: str) -> None:
        """The source renamed a column. Where ours has the new name already (the table was copied after it) nothing is
        to do; where both are there, one is a leftover that only a person can judge."""
        existing = self._existing(self._place.table)
        if folded(old) not in existing or (folded(old) == folded(new) and existing[folded(old)][0] == new):
            return
        statement = f"ALTER TABLE {self._place.table} RENAME COLUMN {quote(old)} TO {quote(new)}"
        if folded(new) in existing and folded(old) != folded(new):
            raise SynclineError(
                ErrorKind.SCHEMA,
                f"the source renamed column {old!r} to {new!r}, and table {self._place.table} has another {new!r}",
                hint="rename or drop that one, which is left from before, and run again: "
                f"ALTER TABLE {self._place.table} RENAME COLUMN {quote(new)} TO …",
                where={**self._where, "column": new},
            )
        self._alter([statement])

    def _alter(self, statements: Sequence[str]) -> None:
        for statement in statements:
            try:
                self._con.execute(statement)
            except (duckdb.DependencyException, duckdb.CatalogException, duckdb.NotImplementedException) as error:
                raise SynclineError(
                    ErrorKind.SCHEMA,
                    f"table {self._place.table} cannot follow the source: {str(error).splitlines()[0]}",
                    hint=f"drop what stands in the way (an index), run: {statement}; and make it again",
                    where=self._where,
                ) from error

    def _refuse_unfit(self, plan: ColumnPlan) -> None:
        for name, (there, new) in plan.unfit.items():
            table = self._place.table
            raise SynclineError(
                ErrorKind.SCHEMA,
                f"column {name!r} of table {table} is {there}, the source's is {new} now, which does not fit",
                hint=f"convert the column and run again: ALTER TABLE {table} ALTER COLUMN {quote(name)} TYPE {new}; or "
                "make it VARCHAR, or rename it",
                where={**self._where, "column": name},
            )

    def _in_the_way(self, kind: str) -> SynclineError:
        return SynclineError(
            ErrorKind.CONFIG,
            f"{'table' if kind == 'BASE TABLE' else kind.lower()} {self._place.table} is there already, would be "
            "replaced, and was not made by this stream",
            hint="rename or drop it, or set table_prefix or schema so that the stream has a name of its own",
            where=self._where,
        )

    # -- what is there ---------------------------------------------------------------------------------------------

    def columns(self) -> ColumnPlan:
        """The target's schema against the table that is there; changes nothing."""
        fields = self._target.schema.fields
        wanted = self._as_printed([column_type(f) for f in fields])
        existing = self._existing(self._place.table)
        types, add, widen, unfit = {}, [], [], {}
        for f, new in zip(fields, wanted, strict=True):
            types[f.name] = new
            if not existing:
                continue
            found = existing.get(folded(f.name))
            if found is None:
                add.append(f.name)
                continue
            how = fit(found[1], new, f.type)
            if how is Fit.KEEP:
                types[f.name] = found[1]
            elif how is Fit.WIDEN:
                widen.append(f.name)
            elif how is Fit.NO:
                unfit[f.name] = (found[1], new)
        ours = {folded(f.name) for f in fields}
        kept = {name: kind for key, (name, kind) in existing.items() if key not in ours}
        return ColumnPlan(types=types, add=tuple(add), widen=tuple(widen), kept=kept, unfit=unfit)

    def types_of(self, table: TableName) -> dict[str, str]:
        """Column types of a table of ours by folded name, for the casts of an insert."""
        return {key: kind for key, (_, kind) in self._existing(table).items()}

    def exists(self, table: TableName) -> bool:
        return self._kind(table) is not None

    def _existing(self, table: TableName) -> dict[str, tuple[str, str]]:
        rows = self._con.execute(
            """
            SELECT column_name, data_type
            FROM duckdb_columns()
            WHERE database_name = current_database() AND schema_name = ? AND lower(table_name) = lower(?)
            ORDER BY column_index
            """,
            [table.schema, table.name],
        ).fetchall()
        return {folded(name): (name, kind) for name, kind in rows}

    def _kind(self, table: TableName) -> str | None:
        row = self._con.execute(
            """
            SELECT table_type
            FROM information_schema.tables
            WHERE table_catalog = current_database() AND table_schema = ? AND lower(table_name) = lower(?)
            """,
            [table.schema, table.name],
        ).fetchone()
        return str(row[0]) if row else None

    def _as_printed(self, types: Sequence[str]) -> list[str]:
        """Type names in DuckDB's own form, so that they can be compared with those of its catalogue."""
        row = self._con.execute("SELECT " + ", ".join(f"typeof(CAST(NULL AS {t}))" for t in types)).fetchone()
        assert row is not None
        return [str(t) for t in row]

    # -- the swap --------------------------------------------------------------------------------------------------

    def swap(self) -> None:
        """The hidden generation becomes the table. Views go on by name; indexes and comments that people gave to the
        former table are made again."""
        table, hidden = self._place.table, self._place.hidden(self._target.generation)
        if not self.exists(hidden):
            raise SynclineError(
                ErrorKind.CONFLICT,
                f"the unfinished generation {hidden} is gone",
                hint="reset the stream's state, so that it is copied anew: syncline state reset",
                where=self._where,
            )
        kind = self._kind(table)
        again: list[str] = []
        if kind is not None:
            # Somebody may have made a table of that name while we loaded: only ours is ever dropped.
            if kind != "BASE TABLE" or not self._ledger.made(table.name):
                raise self._in_the_way(kind)
            again = [*self._indexes(table), *self._comments(table, hidden)]
            self._con.execute(f"DROP TABLE {table}")
        failpoint("publish.inside")
        self._con.execute(f"ALTER TABLE {hidden} RENAME TO {quote(table.name)}")
        for statement in again:
            self._con.execute(statement)
        self._ledger.claim(table.name, made=True)

    def _indexes(self, table: TableName) -> list[str]:
        rows = self._con.execute(
            """
            SELECT sql
            FROM duckdb_indexes()
            WHERE database_name = current_database() AND schema_name = ? AND lower(table_name) = lower(?)
              AND sql IS NOT NULL
            """,
            [table.schema, table.name],
        ).fetchall()
        return [str(statement) for (statement,) in rows]

    def _comments(self, table: TableName, hidden: TableName) -> list[str]:
        where = "database_name = current_database() AND schema_name = ? AND lower(table_name) = lower(?)"
        names = [table.schema, table.name]
        left = self._existing(hidden)
        out = [
            f"COMMENT ON TABLE {table} IS {literal(text)}"
            for (text,) in self._con.execute(
                f"SELECT comment FROM duckdb_tables() WHERE {where} AND comment IS NOT NULL", names
            ).fetchall()
        ]
        rows = self._con.execute(
            f"SELECT column_name, comment FROM duckdb_columns() WHERE {where} AND comment IS NOT NULL", names
        ).fetchall()
        out += [
            f"COMMENT ON COLUMN {table}.{quote(name)} IS {literal(text)}" for name, text in rows if folded(name) in left
        ]
        return out
