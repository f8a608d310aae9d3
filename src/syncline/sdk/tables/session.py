"""Changes of a log applied to tables: gathered over a flush, carried out by one commit of each table that changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from syncline.core.batch import Batch, QuarantinedRow
from syncline.core.change import ChangeBatch, Evolution, Op
from syncline.core.checkpoint import StreamTarget
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.failpoints import failpoint
from syncline.core.stream import StreamName, WriteMode
from syncline.sdk.change_log import Applied, StreamCommit
from syncline.sdk.collapse import DELETED_AT, MARKS, FinalRows, collapse, stretches
from syncline.sdk.files.store import StagedObject
from syncline.sdk.metadata import change_rows
from syncline.sdk.tables.columns import plan_columns, recast, target_schema
from syncline.sdk.tables.files_out import FilesOut
from syncline.sdk.tables.keys import KeySet, newest
from syncline.sdk.tables.maintenance import maintain
from syncline.sdk.tables.overlay import Overlay
from syncline.sdk.tables.quarantine import QuarantineOut
from syncline.sdk.tables.storing import stored
from syncline.sdk.tables.stream_table import Draft, StreamTable
from syncline.sdk.tables.table import TableState

if TYPE_CHECKING:
    from syncline.sdk.tables.destination import Tables

__all__ = ["TableChangeSession"]

_Ints = npt.NDArray[np.int64]

_PATTERN, _ROW = "_syncline_pattern", "_syncline_row"
#: Small files are looked at every so many flushes of a table.
_MAINTAIN_EVERY = 20


@dataclass
class _Open:
    """One stream's part of the open flush."""

    stream: StreamTable
    state: TableState
    token: int
    overlay: Overlay
    target: StreamTarget | None = None
    out: FilesOut | None = None
    files: list[FilesOut] = field(default_factory=list)
    aside: QuarantineOut | None = None
    reshaped: bool = False
    touched: bool = False


class TableChangeSession:
    """A :class:`~syncline.sdk.change_log.ChangeSession` over tables. The token of a stream is learned from its ledger
    when a flush begins; it is checked against the commit's."""

    def __init__(self, tables: Tables, connection: str) -> None:
        self._tables, self._connection = tables, connection
        self._open: dict[StreamName, _Open] = {}
        self._flushes: dict[StreamName, int] = {}
        self._extracted_at = datetime.now(UTC)

    # -- the protocol --------------------------------------------------------------------------------------------------

    def apply(self, target: StreamTarget, batch: ChangeBatch) -> Applied:
        if not self._open:
            self._extracted_at = datetime.now(UTC)
        flush = self._open.get(target.stream)
        if flush is None:
            flush = self._open[target.stream] = self._begin(target)
        self._follow(flush, target, batch.evolution)
        if batch.rows == 0:
            return Applied(rows=0)
        flush.touched = True
        if target.write is WriteMode.APPEND:
            return self._append(flush, target, batch)
        merge = _Merge(flush, target, self._extracted_at)
        merge.merge(batch)
        aside = self._aside(flush, target)
        aside.write(merge.aside)
        missing = pa.Table.from_batches(merge.missing).combine_chunks().to_batches()[0] if merge.missing else None
        return Applied(rows=batch.rows, quarantined=len(merge.aside), missing=missing)

    def commit(self, commits: Sequence[StreamCommit]) -> None:
        if any(flush.touched for flush in self._open.values()):
            failpoint("apply.inside")
        done: list[tuple[StreamTable, int]] = []
        try:
            # Tables are committed one after the other: what can be known to fail fails before the first of them.
            for each in commits:
                self._tables.of(self._connection, each.target.stream).ensure_next(each.checkpoint, each.token)
            for each in commits:
                stream = self._tables.of(self._connection, each.target.stream)
                flush = self._open.get(each.target.stream)
                columns = target_schema(stream.table, each.target) if each.target.schema.fields else None
                if flush is None:
                    known = stream.table.load()
                    # The log's own entry has no table, whatever columns its target has.
                    make_columns = None if known is None else columns
                    stream.commit(each.checkpoint, each.token, lambda _: Draft(), columns=make_columns)
                    continue
                self._ensure_token(flush, each)
                # From here on its files may be part of the table, whatever is heard of the commit: they are not thrown
                # away with the rest, and if nobody names them the next attempt sweeps them.
                del self._open[each.target.stream]
                self._commit_one(flush, each, columns)
                done.append((stream, each.token))
        except BaseException:
            self.rollback()
            raise
        self.rollback()  # nothing is left, unless a stream was applied to and not committed
        for stream, token in done:
            self._maintain(stream, token)

    def rollback(self) -> None:
        opened, self._open = self._open, {}
        for flush in opened.values():
            flush.overlay.abort()
            for out in (*flush.files, *([flush.out] if flush.out is not None else [])):
                out.abort()
            if flush.aside is not None:
                flush.aside.abort()

    def flushed(self, stream: StreamName) -> tuple[list[str], pa.Schema] | None:
        """The keys of the files that a stream's table would have after the open flush, and its columns; None for a
        stream that the flush has not touched. What appends have made in it is not among them."""
        flush = self._open.get(stream)
        return None if flush is None else ([f.key for f in flush.overlay.readable()], flush.overlay.schema)

    def close(self) -> None:
        self.rollback()

    # -- a stream's part -----------------------------------------------------------------------------------------------

    def _begin(self, target: StreamTarget) -> _Open:
        stream = self._tables.of(self._connection, target.stream)
        state = stream.state()
        stream.ensure_whole(state)
        assert state.pointer is not None
        token = state.pointer.token
        overlay = self._tables.overlay(stream, state, token, target.primary_key)
        return _Open(stream=stream, state=state, token=token, overlay=overlay)

    def _ensure_token(self, flush: _Open, each: StreamCommit) -> None:
        if flush.token != each.token:
            raise SynclineError(
                ErrorKind.CONFLICT,
                f"another attempt has taken over: the table's token is {flush.token}, ours {each.token}",
                hint="nothing is lost: its commits stand, and this attempt must end",
                where={"stream": str(each.target.stream)},
            )

    def _commit_one(self, flush: _Open, each: StreamCommit, columns: pa.Schema | None) -> None:
        self._close_file(flush)
        staged = [f for out in flush.files for f in out.finish()]
        result = flush.overlay.finish()
        aside = flush.aside.finish() if flush.aside is not None else None
        quarantine: list[StagedObject] = [] if aside is None else [aside]
        merged = each.target.write is WriteMode.MERGE and bool(result.added or result.removed)

        def make(state: TableState | None) -> Draft:
            # Appended rows may follow anybody's; what was merged was merged over the version that was read.
            if state is None or (state.version != flush.state.version and (merged or flush.reshaped)):
                who = "" if state is None else f" ({state.foreign})"
                raise SynclineError(
                    ErrorKind.CONFLICT,
                    f"somebody else changed the table {flush.stream.table.place}{who} while changes were applied to it",
                    hint="the run goes on from its last commit; nothing is lost and nothing doubled",
                    where={"stream": str(each.target.stream), "table": flush.stream.table.place},
                )
            return Draft(
                added=[*result.added, *staged],
                early=frozenset(result.early),
                removed=result.removed,
                schema=flush.overlay.schema if flush.reshaped else None,
                quarantine=quarantine,
                scrap=result.spoiled,
                note={"rewritten_files": len(result.removed)},
            )

        flush.stream.commit(each.checkpoint, each.token, make, columns=columns)
        if result.early or result.spoiled:
            flush.stream.forget_intents(each.token)

    def _maintain(self, stream: StreamTable, token: int) -> None:
        count = self._flushes[stream.stream] = self._flushes.get(stream.stream, 0) + 1
        if count % _MAINTAIN_EVERY == 0:
            maintain(self._tables, stream, token, self._tables.config.maintenance)

    def _follow(self, flush: _Open, target: StreamTarget, evolution: Evolution | None) -> None:
        """Let the table have the target's columns."""
        if evolution is None and flush.target == target:
            return
        overlay, table = flush.overlay, flush.stream.table
        wanted = target_schema(table, target)
        renamed = {}
        if evolution is not None:
            here = set(overlay.schema.names)
            renamed = {new: old for new, old in evolution.renamed.items() if old in here and new not in here}
        back = {old: new for new, old in renamed.items()}
        present = pa.schema([pa.field(back.get(f.name, f.name), f.type) for f in overlay.schema])
        plan = plan_columns(present, wanted, target, table.place)
        flush.target = target
        if plan.nothing and not renamed:
            return
        self._close_file(flush)
        fills = {} if evolution is None else {n: v for n, v in evolution.backfill.items() if n in plan.added}
        fills = {name: value for name, value in fills.items() if value.is_valid}
        schema = plan.schema
        anew = bool(renamed or fills or plan.widened)
        if anew:
            self._take_files(flush)
        overlay.reshape(
            schema,
            table.file_schema(flush.state, schema),
            (lambda rows: recast(rows, schema, fills=fills, former=renamed)) if anew else None,
        )
        flush.reshaped = True

    def _take_files(self, flush: _Open) -> None:
        """Files that an append has made in this flush must be written anew with the others."""
        flush.overlay.adopt([f for out in flush.files for f in out.finish()])
        flush.files = []

    def _append(self, flush: _Open, target: StreamTarget, batch: ChangeBatch) -> Applied:
        rows = change_rows(
            target.schema,
            batch,
            extracted_at=self._extracted_at,
            sync_id=target.sync_id,
            generation=target.generation,
        )
        schema = pa.schema([flush.overlay.schema.field(n) for n in target.schema.names])
        data, aside = stored(Batch(data=rows, misfits=batch.misfits), schema)
        if flush.out is None:
            file_schema = flush.stream.table.file_schema(flush.state, schema)
            naming = flush.stream.naming(flush.token)
            flush.out = FilesOut(self._tables.store, naming, file_schema, self._tables.config.sizes)
        flush.out.write(data)
        self._aside(flush, target).write(aside)
        return Applied(rows=batch.rows, quarantined=len(aside))

    def _close_file(self, flush: _Open) -> None:
        if flush.out is not None:
            flush.files.append(flush.out)
            flush.out = None

    def _aside(self, flush: _Open, target: StreamTarget) -> QuarantineOut:
        if flush.aside is None:
            naming = flush.stream.naming(flush.token)
            flush.aside = QuarantineOut(self._tables.store, flush.stream.folder, naming, target, "log")
        return flush.aside


class _Merge:
    """One batch over one overlay. Afterwards ``aside`` are rows that the table cannot hold, ``missing`` keys of updates
    whose row is not there."""

    def __init__(self, flush: _Open, target: StreamTarget, extracted_at: datetime) -> None:
        self._overlay, self._target, self._extracted_at = flush.overlay, target, extracted_at
        self._key = list(target.primary_key)
        self._schema = flush.overlay.schema
        self.aside: list[QuarantinedRow] = []
        self.missing: list[pa.RecordBatch] = []

    def merge(self, batch: ChangeBatch) -> None:
        """The rows as the batch leaves them."""
        soft = self._target.deletes == "soft"
        for part in stretches(batch) if soft else (batch,):
            found = collapse(part, self._key, keep_deleted=soft)
            if found.truncate is not None:
                self._clear(found.truncate, soft=soft)
            if found.lost is not None:
                self.missing.append(found.lost)
            if soft and found.deletes.rows:
                marked, _ = self._completed(found.deletes, marking=True)  # what is not there need not be marked
                self._overlay.upsert(marked)
            # Before anything is deleted: rows that moved have values under the keys that go.
            rows, without = self._completed(found.upserts)
            if len(without):
                self.missing.append(found.upserts.changes.data.select(self._key).take(pa.array(without)))
            if not soft and found.deletes.rows:
                self._overlay.delete(self._keys(found.deletes))
            self._overlay.upsert(rows)

    def _clear(self, truncate: ChangeBatch, *, soft: bool) -> None:
        """Every row goes, or is marked."""
        if not soft:
            self._overlay.clear()
            return
        deleted = ChangeBatch(
            schema=truncate.schema,
            data=truncate.data,
            op=pa.array([int(Op.DELETE)], pa.uint8()),
            lsn=truncate.lsn,
            ordinal=truncate.ordinal,
            committed_at=truncate.committed_at,
        )
        mark = next(name for name in DELETED_AT if name in self._target.schema.names)
        values, _ = stored(Batch(data=self._rows(deleted)), self._of_target())
        marks = {name: values.column(name)[0] for name in values.schema.names if name in MARKS}

        def marked(rows: pa.Table) -> pa.Table:
            alive = pc.is_null(rows[mark])
            for name, value in marks.items():
                place = rows.schema.get_field_index(name)
                rows = rows.set_column(place, rows.schema.field(place), pc.if_else(alive, value, rows[name]))
            return rows

        self._overlay.rewrite(marked)

    def _rows(self, changes: ChangeBatch) -> pa.RecordBatch:
        return change_rows(
            self._target.schema,
            changes,
            extracted_at=self._extracted_at,
            sync_id=self._target.sync_id,
            generation=self._target.generation,
        )

    def _of_target(self) -> pa.Schema:
        return pa.schema([self._schema.field(name) for name in self._target.schema.names])

    def _keys(self, final: FinalRows) -> pa.Table:
        schema = pa.schema([self._schema.field(k) for k in self._key])
        data = Batch(data=final.changes.data.select(self._key), misfits=final.changes.misfits)
        kept, aside = stored(data, schema)
        self.aside += aside
        return pa.Table.from_batches([kept])

    def _completed(self, final: FinalRows, *, marking: bool = False) -> tuple[pa.Table, _Ints]:
        """The rows with all that they leave out, in the table's columns, and the numbers of those without a base."""
        nothing = np.empty(0, np.int64)
        if not final.rows:
            return self._schema.empty_table(), nothing
        rows = self._rows(final.changes)
        number, patterns = final.patterns(self._target.schema.names, marking=marking)
        origin = final.origin if final.origin is not None else final.changes.data.select(self._key)
        names = [*rows.schema.names, _PATTERN, _ROW, *(f"_syncline_origin{i}" for i in range(len(self._key)))]
        arrays = [*rows.columns, pa.array(number), pa.array(np.arange(final.rows)), *origin.columns]
        whole = pa.RecordBatch.from_arrays(arrays, names=names)
        table_types = [self._schema.field(n).type for n in self._target.schema.names]
        key_types = [self._schema.field(k).type for k in self._key]
        types = [*table_types, pa.int64(), pa.int64(), *key_types]
        schema = pa.schema([pa.field(n, t) for n, t in zip(names, types, strict=True)])
        kept, aside = stored(Batch(data=whole, misfits=final.changes.misfits), schema, self._key)
        ours = set(names[len(rows.schema.names) :])
        self.aside += [_without(a, ours) for a in aside]
        data = pa.Table.from_batches([kept])
        count = len(rows.schema.names)
        if any(patterns):
            origins = data.select(range(count + 2, len(names))).rename_columns(self._key)
            return self._filled(data, count, patterns, origins)
        return self._as_table(data.select(range(count))), nothing

    def _filled(
        self, data: pa.Table, count: int, patterns: Sequence[frozenset[str]], origins: pa.Table
    ) -> tuple[pa.Table, _Ints]:
        """Take what rows leave out from the rows that the table has under their origins."""
        numbers = data[_PATTERN].to_numpy()
        needs = np.isin(numbers, [i for i, p in enumerate(patterns) if p])
        at = np.flatnonzero(needs)
        wanted = origins.take(pa.array(at))
        columns = sorted(frozenset().union(*patterns))
        places, base = self._overlay.find(_distinct(wanted, self._key), columns)
        # Two rows may have one origin only in a log that is not sound; each then takes the same base.
        own = _spread(wanted, self._key, places)
        source = np.full(data.num_rows, -1, np.int64)
        source[at] = own
        lacking = needs & (source < 0)
        rows = data.select(range(count))
        for name in columns:
            mask = np.isin(numbers, [i for i, p in enumerate(patterns) if name in p])
            take = base[name].take(pa.array(source, mask=source < 0))
            place = rows.schema.get_field_index(name)
            filled = pc.if_else(pa.array(mask), take, rows[name])
            rows = rows.set_column(place, rows.schema.field(place), filled)
        without = data[_ROW].to_numpy()[lacking]
        return self._as_table(rows.filter(pa.array(~lacking))), without

    def _as_table(self, rows: pa.Table) -> pa.Table:
        return recast(rows, self._schema, fills={}, former={})


def _distinct(keys: pa.Table, names: Sequence[str]) -> pa.Table:
    return keys.take(pa.array(newest([keys[n] for n in names], None)))


def _spread(keys: pa.Table, names: Sequence[str], places: _Ints) -> _Ints:
    """For each of ``keys`` what was found for it among the distinct ones."""
    return places[KeySet(_distinct(keys, names)).find(keys)]


def _without(row: QuarantinedRow, names: set[str]) -> QuarantinedRow:
    return replace(row, record={n: v for n, v in row.record.items() if n not in names})
