"""Changes of a log applied to the tables of a dataset: one transaction for a flush, however many streams it has.

What comes is kept in memory, 64 MB for each stream, reduced to one row per key, and staged when the flush is committed
(or when more comes, or when an update left values out and the table must be asked whether it has them). So a flush is
one load and one MERGE for each table, which reads what lies between the keys that changed.

With ``changes: stream`` rows that replace others are no part of that: they are sent to the tables' default streams when
the flush is committed, before the ledger moves, and BigQuery orders them by their place in the log. What is sent twice,
or by an attempt that was overtaken, changes nothing.

DDL is not within the transaction: columns are added, widened and renamed just before it. A flush that fails after that
leaves columns, no values; the next finds them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
from google.cloud import bigquery as bq

from syncline.connectors.bigquery.changes_merge import Append, Clear, Fill, Merge, Step, without_base
from syncline.connectors.bigquery.changes_rows import Frame, appended, frame_fields, joined, judged, reduced
from syncline.connectors.bigquery.changes_streamed import LARGEST_STREAMED_ROW, Streamed, cannot_be_streamed, streamed
from syncline.connectors.bigquery.config import BigqueryDestinationConfig
from syncline.connectors.bigquery.costs import Costs
from syncline.connectors.bigquery.default_stream import DefaultStreams
from syncline.connectors.bigquery.ledger import Ledger
from syncline.connectors.bigquery.names import TableName, column_names, normal, quote
from syncline.connectors.bigquery.ranges import KeyRanges
from syncline.connectors.bigquery.stage import ASIDE, StageTable, aside_rows, stage_start
from syncline.connectors.bigquery.tables import Tables, column_types, place_of
from syncline.connectors.bigquery.values import LARGEST_ROW
from syncline.connectors.bigquery.warehouse import Script, Warehouse
from syncline.core.batch import QuarantinedRow
from syncline.core.change import ChangeBatch, Evolution, Op
from syncline.core.checkpoint import StreamTarget
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.failpoints import failpoint
from syncline.core.schema import Field
from syncline.core.stream import StreamName, WriteMode
from syncline.sdk.change_log import Applied, StreamCommit
from syncline.sdk.collapse import MARKS
from syncline.sdk.metadata import change_rows

__all__ = ["BigqueryChangeSession"]

#: ~64 MB of a stream's changes are reduced together.
_KEPT_BYTES = 64 << 20
#: A transaction of BigQuery changes at most 100 tables; ledger and quarantine are two.
_MOST_TABLES = 98


@dataclass(kw_only=True)
class _Open:
    """What a flush has of one stream. ``steps`` are staged; ``batches`` come after them. The last ``staged`` steps are
    a staged form of ``batches``, made to ask the table; ``stale`` when more batches came since."""

    target: StreamTarget
    types: dict[str, str]
    steps: list[Step] = field(default_factory=list)
    batches: list[ChangeBatch] = field(default_factory=list)
    bytes: int = 0
    staged: int = 0
    stale: bool = False
    renamed: list[tuple[str, str]] = field(default_factory=list)
    altered: bool = False
    rows: StageTable | None = None
    aside: StageTable | None = None
    changed: bool = False


class BigqueryChangeSession:
    """A :class:`~syncline.sdk.change_log.ChangeSession` on one dataset."""

    def __init__(
        self,
        config: BigqueryDestinationConfig,
        warehouse: Warehouse,
        connection: str,
        folder: Path,
        costs: Costs,
        streams: DefaultStreams | None = None,
    ) -> None:
        self._config, self._warehouse, self._connection, self._folder = config, warehouse, connection, folder
        self._costs, self._streams = costs, streams
        self._known: dict[StreamName, tuple[StreamTarget, dict[str, str]]] = {}
        self._tokens: dict[StreamName, int] = {}
        self._forget()

    def _forget(self) -> None:
        self._open: dict[StreamName, _Open] = {}
        self._stages: list[StageTable] = []
        self._at = datetime.now(UTC)

    # -- the protocol ------------------------------------------------------------------------------------------------

    def apply(self, target: StreamTarget, batch: ChangeBatch) -> Applied:
        stream = self._following(target, batch.evolution)
        if batch.rows == 0:
            return Applied(rows=0)
        stream.changed = True
        if target.write is WriteMode.APPEND:
            return self._append(stream, batch)
        largest = LARGEST_ROW if self._streams is None else LARGEST_STREAMED_ROW
        good, aside = judged(batch, target.primary_key, largest=largest)
        self._put_aside(stream, aside)
        if stream.batches and (stream.bytes + good.bytes > _KEPT_BYTES or stream.batches[0].schema != good.schema):
            self._close(stream)
        stream.batches.append(good)
        stream.bytes += good.bytes
        stream.stale = True
        missing = self._without_base(stream) if good.unchanged else None
        return Applied(rows=batch.rows, quarantined=len(aside), missing=missing)

    def commit(self, commits: Sequence[StreamCommit]) -> None:
        try:
            self._commit(commits)
        except BaseException:
            self._known.clear()
            self.rollback()
            raise
        self._drop_stages()
        self._forget()
        self._costs.keep(at_end=False)

    def _commit(self, commits: Sequence[StreamCommit]) -> None:
        changed = [s for s in self._open.values() if s.changed or s.altered]
        if len(changed) > _MOST_TABLES:
            raise SynclineError(
                ErrorKind.CONFIG,
                f"{len(changed)} tables changed since the last flush; a transaction of BigQuery takes {_MOST_TABLES}",
                hint="split the streams among several connections",
                where={"connector": "bigquery"},
            )
        script = Script()
        # First, so that a stale attempt fails here.
        for each in commits:
            self._ledger(each.target.stream).advance(script, each.checkpoint, each.token)
        if self._streams is not None:
            # What is sent cannot be taken back: an attempt that was overtaken sends nothing.
            for each in commits:
                if each.target.stream in self._open:
                    self._ledger(each.target.stream).hold(each.token)
        for stream in changed:
            self._finish(stream, script)
        if changed:
            failpoint("apply.inside")
        failpoint("commit.inside")
        try:
            self._warehouse.commit(script, what="flush")
        except SynclineError as error:
            for each in commits:
                refused = self._ledger(each.target.stream).refused(error, each.token, each.checkpoint.sequence)
                if refused is not error:
                    raise refused from error
            raise
        for stream in changed:
            self._known[stream.target.stream] = (stream.target, stream.types)

    def rollback(self) -> None:
        self._drop_stages()
        self._forget()

    def close(self) -> None:
        self.rollback()
        if self._streams is not None:
            self._streams.close()

    # -- a stream's part ---------------------------------------------------------------------------------------------

    def _ledger(self, stream: StreamName) -> Ledger:
        return Ledger(self._warehouse, self._connection, stream)

    def _table(self, stream: StreamName) -> TableName:
        return place_of(self._config, self._warehouse, self._connection, stream).table

    def _tables(self, target: StreamTarget) -> Tables:
        place = place_of(self._config, self._warehouse, self._connection, target.stream)
        return Tables(self._config, self._warehouse, self._ledger(target.stream), place, target)

    def _following(self, target: StreamTarget, evolution: Evolution | None) -> _Open:
        """The stream's part of the flush, with the target's columns from here on."""
        stream = self._open.get(target.stream)
        if stream is None:
            known = self._known.get(target.stream)
            if known is None:
                found = self._warehouse.find(self._table(target.stream))
                if found is None:
                    raise self._gone(target.stream)
                known = (target, column_types(found))
                stream = _Open(target=target, types=known[1], altered=True)
            else:
                stream = _Open(target=known[0], types=known[1])
            self._open[target.stream] = stream
        if evolution is None and stream.target == target:
            return stream
        if evolution is not None or stream.target.schema != target.schema:
            self._close(stream)
            stream.altered = True
        stream.target = target
        if evolution is not None:
            filled = next((n for n, v in evolution.backfill.items() if v.is_valid and n in target.schema.names), None)
            if filled is not None and self._is_sent(target):
                why = "BigQuery changes no rows by DML in a table that takes streamed changes"
                raise cannot_be_streamed(target, f"the value that the new column {filled!r} gives to old rows", why)
            for new, old in evolution.renamed.items():
                stream.renamed.append((old, new))
                for step in stream.steps:
                    if old in step.names:
                        step.names[old] = normal(new)
            stream.steps += [
                Fill(target=target, names=self._names(target), column=name, value=value)
                for name, value in evolution.backfill.items()
                if value.is_valid and name in target.schema.names
            ]
            stream.changed |= bool(evolution.backfill)
        return stream

    def _gone(self, stream: StreamName) -> SynclineError:
        return SynclineError(
            ErrorKind.CONFLICT,
            f"table {self._table(stream).path} is gone",
            hint="reset the stream's state, so that it is copied anew",
            where={"connector": "bigquery", "stream": str(stream)},
        )

    def _names(self, target: StreamTarget) -> dict[str, str]:
        return column_names(target.schema.names, target.stream)

    def _append(self, stream: _Open, batch: ChangeBatch) -> Applied:
        data, aside = appended(stream.target, batch, self._at)
        self._put_aside(stream, aside)
        if stream.rows is None:
            stream.rows = self._stage(stream.target, stream.target.schema.fields)
        stream.rows.write(data)
        return Applied(rows=batch.rows, quarantined=len(aside))

    def _put_aside(self, stream: _Open, rows: Sequence[QuarantinedRow]) -> None:
        if not rows:
            return
        if stream.aside is None:
            stream.aside = self._stage(stream.target, ASIDE)
        stream.aside.write(aside_rows(rows))

    def _stage(self, target: StreamTarget, fields: Sequence[Field]) -> StageTable:
        token = self._token(target.stream)
        start = f"{stage_start(self._connection, target.stream)}{token}_"
        stage = StageTable(self._warehouse, start, fields, self._folder, target.stream)
        self._stages.append(stage)
        return stage

    def _token(self, stream: StreamName) -> int:
        """The token under which stages are named, so that the next attempt knows them for an older one's."""
        if stream not in self._tokens:
            row = self._ledger(stream).row()
            self._tokens[stream] = 0 if row is None else row.entry.token
        return self._tokens[stream]

    def _close(self, stream: _Open) -> None:
        """What has come so far becomes steps."""
        if stream.rows is not None:
            stream.rows.seal()
            if stream.rows.made:
                names = self._names(stream.target)
                stream.steps.append(Append(target=stream.target, names=names, stage=stream.rows.name))
            stream.rows = None
        if stream.batches and self._is_sent(stream.target):
            stream.steps.append(self._streamed(stream)[0])
        elif stream.batches and stream.stale:
            self._stage_batches(stream)
        stream.batches, stream.bytes, stream.staged = [], 0, 0

    def _stage_batches(self, stream: _Open) -> list[pa.RecordBatch]:
        """Append steps for the batches, in the place of those made of them before. Returns keys of lost rows."""
        if stream.staged:
            del stream.steps[-stream.staged :]
        before, lost = len(stream.steps), []
        for part in reduced(stream.target, joined(stream.batches), self._at):
            if part.truncate is not None:
                stream.steps.append(self._clearing(stream.target, part.truncate))
            if part.lost is not None:
                lost.append(part.lost)
            if part.frame is not None:
                stream.steps.append(self._merging(stream.target, part.frame))
        stream.staged, stream.stale = len(stream.steps) - before, False
        return lost

    def _merging(self, target: StreamTarget, frame: Frame) -> Merge:
        fields = frame_fields(target)
        stage = self._stage(target, fields)
        stage.write(frame.data)
        stage.seal()
        ranges = KeyRanges(target.schema.field(target.primary_key[0]))
        ranges.add(frame.data.column(target.schema.names.index(target.primary_key[0])))
        ranges.add(frame.data.column(len(target.schema.fields) + 4))
        return Merge(
            target=target,
            names=self._names(target),
            stage=stage.name,
            patterns=frame.patterns,
            keys=frame.keys,
            moves=frame.moves,
            ranges=ranges.ranges,
        )

    def _clearing(self, target: StreamTarget, truncate: ChangeBatch) -> Clear:
        if target.deletes != "soft":
            return Clear(target=target, names=self._names(target))
        deleted = replace(truncate, op=pa.array([int(Op.DELETE)], pa.uint8()))
        row = change_rows(
            target.schema, deleted, extracted_at=self._at, sync_id=target.sync_id, generation=target.generation
        )
        marks = {n: row.column(i)[0] for i, n in enumerate(row.schema.names) if n in MARKS}
        return Clear(target=target, names=self._names(target), marks=marks)

    def _is_sent(self, target: StreamTarget) -> bool:
        """Whether the stream's rows go to its table's default stream."""
        return self._streams is not None and target.write is WriteMode.MERGE

    def _streamed(self, stream: _Open) -> tuple[Streamed, pa.RecordBatch | None]:
        """The batches as rows to be sent, and the keys of those that nobody here knows whole."""
        assert self._streams is not None
        names = self._names(stream.target)
        return streamed(self._streams, stream.target, names, joined(stream.batches), self._at)

    def _without_base(self, stream: _Open) -> pa.RecordBatch | None:
        """Keys of updates that left values out for rows which nobody has."""
        if self._is_sent(stream.target):
            return self._streamed(stream)[1]
        missing = self._stage_batches(stream)
        table, types = self._as_renamed(stream)
        for place in range(len(stream.steps) - stream.staged, len(stream.steps)):
            step = stream.steps[place]
            if not isinstance(step, Merge) or not step.partial:
                continue
            question = without_base(step, stream.steps[:place], table, types)
            found = self._warehouse.query(question, what="missing", stream=str(stream.target.stream))
            if found.rows and step.keys is not None:
                missing.append(step.keys.take(pa.array([int(number) for (number,) in found.rows])))
        return pa.Table.from_batches(missing).combine_chunks().to_batches()[0] if missing else None

    def _as_renamed(self, stream: _Open) -> tuple[str, dict[str, str]]:
        """The table as it is before the flush's DDL, its columns also under the names that they will have."""
        types, more = dict(stream.types), ""
        for old, new in stream.renamed:
            before, after = normal(old), normal(new)
            if before.lower() in types and after.lower() not in types:
                types[after.lower()] = types[before.lower()]
                more += f", {quote(before)} AS {quote(after)}"
        table = str(self._table(stream.target.stream))
        return f"(SELECT *{more} FROM {table})" if more else table, types

    # -- the commit --------------------------------------------------------------------------------------------------

    def _finish(self, stream: _Open, script: Script) -> None:
        """Stage what is not staged yet, let the table have the columns, and add the statements."""
        self._close(stream)
        target = stream.target
        if stream.altered:
            self._alter(stream)
        table = self._table(target.stream)
        for step in stream.steps:
            step.add(script, table, stream.types)
        if stream.aside is not None:
            stream.aside.seal()
            self._ledger(target.stream).quarantine_from(
                script, stream.aside.name, partition="log", generation=target.generation, sync_id=target.sync_id
            )

    def _alter(self, stream: _Open) -> None:
        tables = self._tables(stream.target)
        existing = self._existing(stream)
        plan = tables.columns(existing)
        if stream.renamed or plan.add or plan.widen:
            made = tables.made(existing, self._ledger(stream.target.stream).row())
            for old, new in stream.renamed:
                if tables.rename(old, new, existing, made=made):
                    existing = self._existing(stream)
            plan = tables.columns(existing)
            tables.refuse_unfit(plan)
            tables.evolve(plan, made=made)
        tables.refuse_unfit(plan)
        if self._is_sent(stream.target):
            made = tables.made(existing, self._ledger(stream.target.stream).row())
            tables.declare_key(existing, made=made)
        added = {plan.names[n].lower(): plan.types[n] for n in (*plan.add, *plan.widen)}
        stream.types = {**column_types(existing), **added}

    def _existing(self, stream: _Open) -> bq.Table:
        found = self._warehouse.find(self._table(stream.target.stream))
        if found is None:
            raise self._gone(stream.target.stream)
        return found

    def _drop_stages(self) -> None:
        for stage in self._stages:
            stage.abort()
