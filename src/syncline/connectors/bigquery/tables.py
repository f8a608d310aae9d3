"""The visible table of a stream and its hidden generation: made, brought up to the schema.

A table that we make carries a label that says which stream made it, from its first moment on; the ledger says the same
later. DDL is never within a transaction in BigQuery: what is here can be done again, and shows nothing but columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from google.cloud import bigquery as bq

from syncline.connectors.bigquery.config import BigqueryDestinationConfig
from syncline.connectors.bigquery.layout import Layout, layout_from, layout_of
from syncline.connectors.bigquery.ledger import Ledger, Row
from syncline.connectors.bigquery.names import (
    OURS,
    TableName,
    column_names,
    digest,
    literal,
    normal,
    quote,
    quoted_list,
)
from syncline.connectors.bigquery.types import Fit, column_type, fit
from syncline.connectors.bigquery.warehouse import Warehouse
from syncline.core.checkpoint import StreamCheckpoint, StreamTarget
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.schema import StreamSchema
from syncline.core.stream import StreamName, WriteMode

__all__ = ["ORDER", "ColumnPlan", "StreamPlace", "Tables", "column_types", "place_of"]

#: In a hidden generation that is deduped at the swap: which of two rows was written later.
ORDER = OURS + "order"

_LEGACY = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL"}
_LABEL = "syncline_made_by"
_MOST_KEYS = 16


@dataclass(frozen=True, kw_only=True)
class StreamPlace:
    """Where a stream of a connection goes."""

    connection: str
    stream: StreamName
    table: TableName

    def hidden(self, generation: int) -> TableName:
        return TableName(
            project=self.table.project, dataset=self.table.dataset, name=f"{self.hidden_start}{generation}"
        )

    @property
    def hidden_start(self) -> str:
        return f"{OURS}g_{self.mark}_"

    @property
    def mark(self) -> str:
        """Stands for the stream, its connection and its table."""
        return digest(self.connection, self.stream.namespace or "", self.stream.name, self.table.name)


def place_of(
    config: BigqueryDestinationConfig, warehouse: Warehouse, connection: str, stream: StreamName
) -> StreamPlace:
    """Where the configuration puts a stream."""
    namespace = f"{stream.namespace}_" if config.namespace == "prefix" and stream.namespace else ""
    name = normal(config.table_prefix + namespace + stream.name)
    return StreamPlace(connection=connection, stream=stream, table=warehouse.table_name(name))


@dataclass(frozen=True, kw_only=True)
class ColumnPlan:
    """What a table's columns are to be. ``names``: column of the schema -> its name in BigQuery; ``types``: column of
    the schema -> its type there (that of the existing column where it stays as it is). ``add`` and ``widen``: columns
    of the schema that an existing table lacks. ``kept``: columns of the existing table that the schema no longer has;
    they stay and are NULL. ``unfit``: column -> (existing type, new type)."""

    names: Mapping[str, str]
    types: Mapping[str, str]
    add: tuple[str, ...] = ()
    widen: tuple[str, ...] = ()
    kept: Mapping[str, str] = field(default_factory=dict)
    unfit: Mapping[str, tuple[str, str]] = field(default_factory=dict)


class Tables:
    """The tables of one stream."""

    def __init__(
        self,
        config: BigqueryDestinationConfig,
        warehouse: Warehouse,
        ledger: Ledger,
        place: StreamPlace,
        target: StreamTarget,
    ) -> None:
        self._config, self._warehouse, self._ledger = config, warehouse, ledger
        self._place, self._target = place, target
        self._where = {"connector": "bigquery", "stream": str(target.stream), "table": place.table.path}

    # -- before the first writer -------------------------------------------------------------------------------------

    def prepare(self, checkpoint: StreamCheckpoint, row: Row) -> ColumnPlan:
        """Make what the plan writes into, and drop hidden generations that nobody will finish."""
        name, replace = self._place.table.name, self._target.write is WriteMode.REPLACE
        hidden = self._place.hidden(self._target.generation)
        for old in self._warehouse.table_names(self._place.hidden_start):
            if not (replace and old == hidden.name):
                self._warehouse.drop(self._warehouse.table_name(old))
        existing = self._warehouse.find(self._place.table)
        plan = self.inspect(existing, row)
        made = self.made(existing, row)
        if replace:
            self._prepare_hidden(hidden, plan, checkpoint, existing)
        elif existing is None:
            self._create(self._place.table, plan, {}, self._layout(plan, None))
            made = True
        else:
            self.evolve(plan, made=made)
        if (row.table, row.made) != (name, made):
            self._ledger.claim(name, made=made)
        return plan

    def inspect(self, existing: bq.Table | None, row: Row | None) -> ColumnPlan:
        """What the table's columns are to be; changes nothing. Raises for everything that stands in the way. ``row``:
        the ledger's, None where there is no ledger."""
        self._refuse_names()
        if row is not None and (other := self._ledger.other(self._place.table.name)) is not None:
            raise SynclineError(
                ErrorKind.CONFLICT,
                f"table {self._place.table.path} is written by stream {other.stream} of connection "
                f"{other.connection!r}",
                hint="give the streams tables of their own: namespace: prefix, or another table_prefix or dataset. If "
                f"that connection is gone, forget it: DELETE FROM {self._ledger.table} WHERE connection = "
                f"{literal(other.connection)}",
                where=self._where,
            )
        if existing is not None:
            replaced = self._target.write is WriteMode.REPLACE and not self.made(existing, row)
            if existing.table_type != "TABLE" or replaced:
                raise self.in_the_way(existing)
        plan = self.columns(existing)
        self.refuse_unfit(plan)
        self._refuse_keys(plan)
        self._refuse_streaming()
        return plan

    def made(self, existing: bq.Table | None, row: Row | None) -> bool:
        """Whether this stream made the table."""
        if existing is None:
            return False
        claimed = row is not None and row.made and (row.table or "").lower() == self._place.table.name.lower()
        return claimed or (existing.labels or {}).get(_LABEL) == self._place.mark

    def _prepare_hidden(
        self, hidden: TableName, plan: ColumnPlan, checkpoint: StreamCheckpoint, existing: bq.Table | None
    ) -> None:
        if self._warehouse.find(hidden) is not None:
            return
        if checkpoint.done:
            raise self.generation_is_gone(hidden)
        extra = {**plan.kept, **({ORDER: "INT64"} if self._target.dedupe else {})}
        self._create(hidden, plan, extra, self._layout(plan, existing))

    def generation_is_gone(self, hidden: TableName) -> SynclineError:
        return SynclineError(
            ErrorKind.CONFLICT,
            f"the unfinished generation {hidden.path} is gone, though the ledger knows of it",
            hint="reset the stream's state, so that it is copied anew: syncline state reset",
            where=self._where,
        )

    def _create(self, name: TableName, plan: ColumnPlan, extra: Mapping[str, str], layout: Layout) -> None:
        columns = {**{plan.names[n]: t for n, t in plan.types.items()}, **extra}
        table = bq.Table(name.path, [bq.SchemaField(n, t) for n, t in columns.items()])
        layout.apply(table)
        table.labels = {_LABEL: self._place.mark}
        self._warehouse.create(table)

    def _layout(self, plan: ColumnPlan, existing: bq.Table | None) -> Layout:
        """How a table that we make is partitioned and clustered. What is to take the place of another is as that one:
        BigQuery refuses anything else, and to drop that one first would be a moment at which a late run does it too."""
        if existing is not None:
            return layout_from(existing)
        return layout_of(self._config, self._target, plan.names, plan.types)

    def evolve(self, plan: ColumnPlan, *, made: bool) -> None:
        """Add and widen what the plan says; does nothing when it says nothing."""
        table = self._place.table
        statements = []
        if plan.add:
            adds = [f"ADD COLUMN IF NOT EXISTS {quote(plan.names[n])} {plan.types[n]}" for n in plan.add]
            statements.append(f"ALTER TABLE {table} " + ", ".join(adds))
        for name in plan.widen:
            column = quote(plan.names[name])
            statements.append(f"ALTER TABLE {table} ALTER COLUMN {column} SET DATA TYPE {plan.types[name]}")
        self._alter(statements, made=made)

    def rename(self, old: str, new: str, existing: bq.Table, *, made: bool) -> bool:
        """The source renamed a column. Where ours has the new name already nothing is to do; where both are there, one
        is a leftover that only a person can judge. Whether the table was changed."""
        here = {f.name.lower(): f.name for f in existing.schema}
        before, after = normal(old), normal(new)
        if before.lower() not in here or here[before.lower()] == after:
            return False
        if after.lower() in here and before.lower() != after.lower():
            raise SynclineError(
                ErrorKind.SCHEMA,
                f"the source renamed column {old!r} to {new!r}, and table {self._place.table.path} has another "
                f"{after!r}",
                hint="rename or drop that one, which is left from before, and run again: "
                f"ALTER TABLE {self._place.table} RENAME COLUMN {quote(after)} TO …",
                where={**self._where, "column": new},
            )
        self._alter([f"ALTER TABLE {self._place.table} RENAME COLUMN {quote(before)} TO {quote(after)}"], made=made)
        return True

    def declare_key(self, existing: bq.Table, *, made: bool) -> None:
        """The table's primary key, which BigQuery needs to apply changes by itself, and does not enforce."""
        names = column_names(self._target.schema.names, self._target.stream)
        wanted = [names[k] for k in self._target.primary_key]
        declared = getattr(getattr(existing.table_constraints, "primary_key", None), "columns", None) or []
        if [c.lower() for c in declared] == [c.lower() for c in wanted]:
            return
        statements = [f"ALTER TABLE {self._place.table} DROP PRIMARY KEY"] if declared else []
        statements.append(f"ALTER TABLE {self._place.table} ADD PRIMARY KEY ({quoted_list(wanted)}) NOT ENFORCED")
        self._alter(statements, made=made)

    def _alter(self, statements: Sequence[str], *, made: bool) -> None:
        if statements and not made:
            raise SynclineError(
                ErrorKind.CONFIG,
                f"table {self._place.table.path} was not made by this stream and does not have its columns",
                hint="choose another table_prefix or dataset, or change the table: " + "; ".join(statements),
                where=self._where,
            )
        for statement in statements:
            self._warehouse.query(statement, what="alter", stream=str(self._target.stream))

    # -- refusals ----------------------------------------------------------------------------------------------------

    def _refuse_names(self) -> None:
        column_names(self._target.schema.names, self._target.stream)
        if self._place.table.name.lower().startswith(OURS):
            raise SynclineError(
                ErrorKind.SCHEMA,
                f"the table would be named {self._place.table.name!r}; names with {OURS} are ours",
                hint="set table_prefix",
                where=self._where,
            )

    def refuse_unfit(self, plan: ColumnPlan) -> None:
        """Raise ``schema`` for a column whose type cannot take the source's values."""
        for name, (there, new) in plan.unfit.items():
            raise SynclineError(
                ErrorKind.SCHEMA,
                f"column {plan.names[name]!r} of table {self._place.table.path} is {there}, the source's is {new} now, "
                "which does not fit",
                hint=f"copy the stream anew (syncline state reset --stream {self._target.stream}, after dropping or "
                "renaming the table), leave the column out, or change it back at the source",
                where={**self._where, "column": name},
            )

    def _refuse_keys(self, plan: ColumnPlan) -> None:
        for name in self._target.primary_key:
            if plan.types[name] == "JSON":
                raise SynclineError(
                    ErrorKind.SCHEMA,
                    f"column {name!r} of the primary key would be JSON, which BigQuery cannot compare",
                    hint="choose other columns as primary_key, or turn the column into text by a mapping",
                    where={**self._where, "column": name},
                )

    def _refuse_streaming(self) -> None:
        """BigQuery's own change data capture replaces whole rows by a declared key of at most 16 columns."""
        if self._config.changes != "stream" or not self._target.primary_key:
            return
        if self._target.deletes == "soft":
            raise SynclineError(
                ErrorKind.CONFIG,
                "deletes: soft cannot be kept with changes: stream: a deletion tells only the key, and the row that it "
                "would mark is replaced as a whole",
                hint="write changes: merge, or deletes: hard",
                where=self._where,
            )
        if len(self._target.primary_key) > _MOST_KEYS:
            raise SynclineError(
                ErrorKind.CONFIG,
                f"a declared key has at most {_MOST_KEYS} columns, this one has {len(self._target.primary_key)}",
                hint="write changes: merge",
                where=self._where,
            )

    def in_the_way(self, existing: bq.Table) -> SynclineError:
        kind = str(existing.table_type).lower()
        return SynclineError(
            ErrorKind.CONFIG,
            f"{kind} {self._place.table.path} is there already, would be replaced or written, and was not made by this "
            "stream",
            hint="rename or drop it, or set table_prefix or dataset_id so that the stream has a name of its own",
            where=self._where,
        )

    # -- what is there -----------------------------------------------------------------------------------------------

    def columns(self, existing: bq.Table | None, schema: StreamSchema | None = None) -> ColumnPlan:
        """The schema against the table that is there; changes nothing."""
        fields = (schema or self._target.schema).fields
        names = column_names([f.name for f in fields], self._target.stream)
        here = {f.name.lower(): f for f in existing.schema} if existing is not None else {}
        types, add, widen, unfit = {}, [], [], {}
        for f in fields:
            new = types[f.name] = column_type(f)
            if existing is None:
                continue
            found = here.get(names[f.name].lower())
            if found is None:
                add.append(f.name)
                continue
            there = _type_of(found)
            how = fit(there, new)
            if how is Fit.KEEP:
                types[f.name] = there
            elif how is Fit.WIDEN:
                widen.append(f.name)
            elif how is Fit.NO:
                unfit[f.name] = (there, new)
        ours = {n.lower() for n in names.values()}
        kept = {f.name: _type_of(f) for key, f in here.items() if key not in ours}
        return ColumnPlan(names=names, types=types, add=tuple(add), widen=tuple(widen), kept=kept, unfit=unfit)


def column_types(existing: bq.Table) -> dict[str, str]:
    """Types of a table's columns by their names in small letters."""
    return {f.name.lower(): _type_of(f) for f in existing.schema}


def _type_of(found: bq.SchemaField) -> str:
    name = str(found.field_type).upper()
    kind = _LEGACY.get(name, name)
    return f"ARRAY<{kind}>" if found.mode == "REPEATED" else kind
