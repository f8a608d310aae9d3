"""Emptying streams at the destination, and forgetting how far they were read. Both are commits of the ledger.

A stream is emptied by the same act that replaces it with a whole copy, only that the copy has no rows: a new
generation is prepared, swapped in and the former one goes. So every destination can do it, at any moment the old data
or nothing is visible, and an attempt that dies in between is finished by the next one.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from syncline.core.checkpoint import Phase
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.partition import ReadPlan
from syncline.core.stream import SelectedStream, StreamName, WriteMode
from syncline.engine.events import AttemptFinished, AttemptStarted, Log, StreamFinished
from syncline.engine.forget import forget
from syncline.engine.log_stream import has_log
from syncline.engine.ports import EventSink
from syncline.engine.selection import select_streams
from syncline.engine.spec import AttemptSpec
from syncline.engine.stream_run import target_for
from syncline.engine.sync import AttemptResult, StreamResult
from syncline.sdk.connector import ConnectorContext
from syncline.sdk.destination import Destination
from syncline.sdk.reference import open_destination, open_source

__all__ = ["clear_streams", "forget_positions"]


def clear_streams(spec: AttemptSpec, streams: Sequence[StreamName] | None, emit: EventSink) -> AttemptResult:
    """Empty these streams of the connection (None: all) and forget their positions. Never raises
    :class:`SynclineError`: the result holds it. A stream that was never synced stays as it is."""
    began = time.monotonic()
    results: list[StreamResult] = []
    error: SynclineError | None = None
    context = ConnectorContext(connection=spec.connection, work_dir=Path(spec.work_dir), concurrency=spec.concurrency)
    try:
        with (
            closing(open_destination(spec.destination, context)) as destination,
            closing(open_source(spec.source, context)) as source,
        ):
            chosen = _chosen(select_streams(source.discover(), spec.choices, spec.default, destination.traits), streams)
            names = [str(s.name) for s in chosen]
            emit(AttemptStarted(connection=spec.connection, sync_id=spec.sync_id, attempt=spec.attempt, streams=names))
            for selected in chosen:
                results.append(_cleared(spec, selected, destination, logged=has_log(source)))
                _tell(results[-1], emit)
        error = next((r.error for r in results if r.error), None)
    except SynclineError as raised:
        error = raised.at(connection=spec.connection)
        emit(Log(level="ERROR", message=str(error)))
    result = AttemptResult(streams=tuple(results), seconds=time.monotonic() - began, error=error)
    emit(AttemptFinished(status="succeeded" if result.succeeded else "failed", seconds=result.seconds))
    return result


def forget_positions(spec: AttemptSpec, streams: Sequence[StreamName] | None, emit: EventSink) -> AttemptResult | None:
    """Forget how far these streams (None: all) were read, so that the attempt that follows copies them anew. What an
    earlier attempt of the same job has begun to copy is left alone. Returns None, or the failure."""
    began = time.monotonic()
    context = ConnectorContext(connection=spec.connection, work_dir=Path(spec.work_dir), concurrency=spec.concurrency)
    try:
        with (
            closing(open_destination(spec.destination, context)) as destination,
            closing(open_source(spec.source, context)) as source,
        ):
            for selected in _chosen(
                select_streams(source.discover(), spec.choices, spec.default, destination.traits), streams
            ):
                if spec.retain and has_log(source) and selected.sync_mode.incremental:
                    raise SynclineError(
                        ErrorKind.CONFIG,
                        "a stream that a log continues cannot be refreshed with its old data kept",
                        hint="refresh it without keeping them: they stay until the new copy is whole",
                        where={"stream": str(selected.name)},
                    )
                known = destination.committed(spec.connection, selected.name)
                if known is None or known.checkpoint.sync_id == spec.sync_id:
                    continue
                forget(spec, selected, destination, logged=has_log(source))
                emit(Log(level="INFO", stream=str(selected.name), message="is read anew from the beginning"))
    except SynclineError as raised:
        error = raised.at(connection=spec.connection)
        emit(Log(level="ERROR", message=str(error)))
        seconds = time.monotonic() - began
        emit(AttemptFinished(status="failed", seconds=seconds))
        return AttemptResult(streams=(), seconds=seconds, error=error)
    return None


def _chosen(selection: list[SelectedStream], streams: Sequence[StreamName] | None) -> list[SelectedStream]:
    """Those of the selection that are named, with or without their namespace; ``config`` for a name that none has."""
    if streams is None:
        return selection
    found = [s for s in selection if any(s.called(str(name)) for name in streams)]
    if unknown := [str(name) for name in streams if not any(s.called(str(name)) for s in found)]:
        raise SynclineError(
            ErrorKind.CONFIG,
            f"the connection takes no stream {', '.join(unknown)}",
            hint=f"it takes: {', '.join(str(s.name) for s in selection)}",
        )
    return found


def _cleared(spec: AttemptSpec, selected: SelectedStream, destination: Destination, *, logged: bool) -> StreamResult:
    began = time.monotonic()
    error: SynclineError | None = None
    try:
        _clear(spec, selected, destination, logged=logged)
    except SynclineError as raised:
        error = raised.at(stream=str(selected.name))
    return StreamResult(
        stream=selected.name,
        mode=selected.sync_mode,
        status="failed" if error else "succeeded",
        seconds=time.monotonic() - began,
        error=error,
    )


def _clear(spec: AttemptSpec, selected: SelectedStream, destination: Destination, *, logged: bool) -> None:
    if destination.committed(spec.connection, selected.name) is None:
        return
    entry = destination.fence(spec.connection, selected.name)
    before, token = entry.checkpoint, entry.token
    if before.schema is None:
        return  # fenced once and never written
    if before.phase is Phase.IDLE and before.position is None and before.sync_id == spec.sync_id:
        return  # an earlier attempt of this job did it
    generation = before.generation + 1
    target = target_for(
        spec, selected, write=WriteMode.REPLACE, generation=generation, sync_id=spec.sync_id, logged=logged
    )
    planned = before.next(
        position=None,
        phase=Phase.READING,
        plan=ReadPlan(id=secrets.token_hex(8), partitions=(), end={}),
        write=WriteMode.REPLACE,
        done=frozenset(),
        generation=generation,
        schema=target.schema,
        rows=0,
        sync_id=spec.sync_id,
    )
    destination.commit(target, [], planned, token)
    destination.prepare(target, planned, token)
    done = planned.next(phase=Phase.IDLE, plan=None, write=None)
    destination.commit(target, [], done, token, publish=True)


def _tell(result: StreamResult, emit: EventSink) -> None:
    emit(
        StreamFinished(
            stream=str(result.stream),
            status=result.status,
            rows_read=0,
            rows_written=0,
            rows_quarantined=0,
            bytes_read=0,
            seconds=round(result.seconds, 3),
            error=result.error.to_json() if result.error else None,
        )
    )
