"""The old rows of a new column: key and column alone are read, and merged into the rows that are there.

Each value goes as an update that leaves every other column as it is, through the same door as the changes of a log.
Rows that the destination does not have are left to the next run. It can be done again, or in the middle of a log: what
is read is newer than what the log has told so far, and the log tells the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, cast

import pyarrow as pa

from syncline.core.batch import Batch
from syncline.core.change import ChangeBatch, Op
from syncline.core.checkpoint import Phase, StreamCheckpoint, StreamTarget
from syncline.core.errors import ErrorKind, SynclineError, nearest
from syncline.core.schema import Field, StreamSchema
from syncline.core.stream import SelectedStream, StreamName, SyncMode, WriteMode
from syncline.engine.events import Log
from syncline.engine.log_stream import change_columns, has_log
from syncline.engine.ports import EventSink
from syncline.engine.spec import AttemptSpec
from syncline.engine.stream_run import target_for
from syncline.sdk.change_log import AppliesChanges, ChangeSession, StreamCommit
from syncline.sdk.destination import Destination
from syncline.sdk.feed import ReadsFeed
from syncline.sdk.mapping import map_selected, mapped_source
from syncline.sdk.metadata import metadata_fields
from syncline.sdk.source import Source

__all__ = ["Backfilled", "backfill", "can_backfill", "fill_added"]

#: ~64 MB of values between two commits.
_COMMIT_BYTES = 64 << 20


@dataclass(frozen=True, kw_only=True)
class Backfilled:
    """``rows`` were read, ``absent`` of them are not at the destination, ``quarantined`` were set aside."""

    rows: int
    absent: int
    quarantined: int


def can_backfill(selected: SelectedStream, source: Source, destination: Destination) -> SynclineError | None:
    """Why rows of this stream cannot be changed, None when they can."""
    where = {"stream": str(selected.name)}
    if not selected.sync_mode.deduped or not selected.primary_key:
        return SynclineError(
            ErrorKind.CONFIG,
            f"{selected.sync_mode.value}: rows that were written are not changed",
            hint="copy the stream anew: syncline state reset FILE --stream " + str(selected.source_name),
            where=where,
        )
    if not isinstance(destination, AppliesChanges):
        return SynclineError(
            ErrorKind.CONFIG, "this destination does not change rows", hint="copy the stream anew", where=where
        )
    if isinstance(source, ReadsFeed):
        return SynclineError(
            ErrorKind.CONFIG,
            "this source gives its rows as it likes, and cannot be asked for columns alone",
            hint="copy the stream anew: syncline state reset FILE --stream " + str(selected.source_name),
            where=where,
        )
    return None


def backfill(
    spec: AttemptSpec, source: Source, destination: Destination, selected: SelectedStream, columns: Sequence[str]
) -> Backfilled:
    """Fill these columns (by the names that the destination has) in all rows. Raises ``config`` for what cannot be
    done, ``conflict`` while a run has the stream."""
    if (reason := can_backfill(selected, source, destination)) is not None:
        raise reason
    entry = destination.committed(spec.connection, selected.name)
    known = entry.checkpoint.schema if entry is not None else None
    _ensure_there(selected, known, columns)
    assert known is not None
    entry = destination.fence(spec.connection, selected.name)
    if entry.checkpoint.phase is not Phase.IDLE:
        raise SynclineError(
            ErrorKind.CONFLICT, "a copy of the stream is unfinished", hint="let a sync finish it first, then fill"
        )
    target = replace(
        target_for(
            spec,
            selected,
            write=WriteMode.MERGE,
            generation=entry.checkpoint.generation,
            sync_id=spec.sync_id,
            logged=has_log(source),
        ),
        schema=known,
        constants={},
    )
    changes = change_columns(selected, logged=has_log(source), deletes=spec.deletes)
    metadata = {f.name for f in metadata_fields(spec.metadata, changes)}
    own = tuple(f for f in known.fields if f.name not in metadata)
    read_as = _narrowed(selected, columns)
    mapped = mapped_source(source) if read_as.origin is not None else source
    plan = mapped.snapshot(read_as)
    with closing(cast(AppliesChanges, destination).change_session(spec.connection)) as session:
        filling = _Filling(session, target, own, entry.checkpoint, entry.token)
        for partition in plan.partitions:
            with closing(cast(Any, mapped.read(read_as, partition))) as batches:
                for batch in batches:
                    filling.take(batch)
        filling.commit()
    mapped.acknowledge(read_as, plan.end)
    return Backfilled(rows=filling.rows, absent=filling.absent, quarantined=filling.quarantined)


def fill_added(
    spec: AttemptSpec,
    source: Source,
    destination: Destination,
    selection: Sequence[SelectedStream],
    added: Mapping[StreamName, Sequence[str]],
    emit: EventSink,
) -> None:
    """At the end of a run whose connection wants it: fill the columns that came with it, stream by stream. Where rows
    cannot be changed, that is said."""
    if not spec.evolution.backfill:
        return
    for selected in selection:
        entry = destination.committed(spec.connection, selected.name)
        there = entry.checkpoint.schema if entry is not None else None
        columns = [c for c in added.get(selected.name, ()) if there is not None and c in there.names]
        if not columns:
            continue
        try:
            filled = backfill(spec, source, destination, selected, columns)
            message = f"filled {', '.join(columns)} in {filled.rows - filled.absent:,} rows"
            emit(Log(level="INFO", stream=str(selected.name), message=message))
        except SynclineError as error:
            message = f"{', '.join(columns)} could not be filled in old rows: {error}"
            emit(Log(level="WARN", stream=str(selected.name), message=message))


class _Filling:
    """Applies batches, with a commit now and then. The position stays what it is."""

    def __init__(
        self,
        session: ChangeSession,
        target: StreamTarget,
        own: tuple[Field, ...],
        checkpoint: StreamCheckpoint,
        token: int,
    ) -> None:
        self._session, self._target, self._checkpoint, self._token = session, target, checkpoint, token
        self._own = own
        self._lsn = int((checkpoint.position or {}).get("lsn", 0))
        self._size = 0
        self.rows = self.absent = self.quarantined = 0

    def take(self, batch: Batch) -> None:
        if not batch.rows:
            return
        applied = self._session.apply(self._target, self._updates(batch))
        self.rows += batch.rows
        self.absent += 0 if applied.missing is None else applied.missing.num_rows
        self.quarantined += applied.quarantined
        self._size += batch.bytes
        if self._size >= _COMMIT_BYTES:
            self.commit()

    def commit(self) -> None:
        following: StreamCheckpoint = self._checkpoint.next()
        self._session.commit([StreamCommit(target=self._target, checkpoint=following, token=self._token)])
        self._checkpoint, self._size = following, 0

    def _updates(self, batch: Batch) -> ChangeBatch:
        """Updates that say the key and the columns; all else did not change."""
        said = batch.data.schema.names
        own = self._own
        rows = batch.rows
        data = [batch.data.column(f.name).cast(f.type) if f.name in said else pa.nulls(rows, f.type) for f in own]
        schema = StreamSchema(fields=own)
        yes = pa.repeat(True, rows)
        return ChangeBatch(
            schema=schema,
            data=pa.RecordBatch.from_arrays(data, schema=schema.arrow()),
            op=pa.repeat(pa.scalar(int(Op.UPDATE), pa.uint8()), rows),
            lsn=pa.repeat(pa.scalar(self._lsn, pa.uint64()), rows),
            ordinal=pa.repeat(pa.scalar(1, pa.uint32()), rows),
            committed_at=pa.repeat(pa.scalar(datetime.now(UTC), pa.timestamp("us", tz="UTC")), rows),
            unchanged={f.name: yes for f in own if f.name not in said},
            misfits=batch.misfits,
        )


def _ensure_there(selected: SelectedStream, known: StreamSchema | None, columns: Sequence[str]) -> None:
    where = {"stream": str(selected.name)}
    if known is None:
        raise SynclineError(
            ErrorKind.CONFIG, "the stream was never synced, so there is nothing to fill", hint="run: syncline sync"
        ).at(**where)
    for column in columns:
        if column in selected.primary_key:
            raise SynclineError(ErrorKind.CONFIG, f"column {column!r} is part of the key", hint="choose another").at(
                **where
            )
        if column not in selected.stream.schema.names:
            near = nearest(column, list(selected.stream.schema.names))
            raise SynclineError(
                ErrorKind.CONFIG,
                f"the stream has no column {column!r}",
                hint=f"did you mean {near!r}?" if near else f"it has: {', '.join(selected.stream.schema.names)}",
            ).at(**where)
        if column not in known.names:
            raise SynclineError(
                ErrorKind.CONFIG,
                f"column {column!r} is not at the destination yet",
                hint="the next sync brings it, if the connection's policy lets it: syncline sync",
            ).at(**where)


def _narrowed(selected: SelectedStream, columns: Sequence[str]) -> SelectedStream:
    """The stream as it is read: its key and these columns, whole."""
    wanted = {*selected.primary_key, *columns}
    if selected.origin is None:
        names = tuple(n for n in selected.stream.schema.names if n in wanted)
        stream = replace(selected.stream, schema=selected.stream.schema.select(names))
        return replace(selected, stream=stream, sync_mode=SyncMode.FULL_REFRESH_OVERWRITE, cursor_field=None)
    origin = selected.origin
    steps = (*origin.stream.mapping, {"keep": sorted(wanted)})
    return map_selected(
        replace(
            origin,
            stream=replace(origin.stream, mapping=steps),
            sync_mode=SyncMode.FULL_REFRESH_OVERWRITE,
            cursor_field=None,
        )
    )
