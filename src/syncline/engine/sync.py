"""The conductor: one attempt of one connection, from discovery to the last commit.

    read -> normalize -> write to a stage nobody sees -> seal -> commit -> save state -> acknowledge

Streams are planned one after the other while the partitions of those before are being read; every commit happens
here, in the coordinator's thread. A stream that fails does not stop the others, but the attempt is then not a success.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.stream import Catalog, SelectedStream, StreamName, SyncMode
from syncline.engine.events import AttemptFinished, AttemptStarted, Log, StreamFinished
from syncline.engine.ports import EventSink, Executor
from syncline.engine.preflight import look_first
from syncline.engine.selection import select_streams
from syncline.engine.spec import AttemptSpec
from syncline.engine.stream_run import StreamRun
from syncline.sdk.connector import ConnectorContext
from syncline.sdk.destination import Destination
from syncline.sdk.reference import open_destination, open_source
from syncline.sdk.source import Source

__all__ = ["AttemptResult", "StreamResult", "run_attempt"]


@dataclass(frozen=True, kw_only=True)
class StreamResult:
    """What became of one stream; ``status`` is succeeded, failed or skipped (done by an earlier attempt)."""

    stream: StreamName
    mode: SyncMode
    status: str
    rows_read: int = 0
    rows_written: int = 0
    rows_quarantined: int = 0
    bytes_read: int = 0
    seconds: float = 0.0
    error: SynclineError | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "stream": self.stream.to_json(),
            "mode": self.mode.value,
            "status": self.status,
            "rows_read": self.rows_read,
            "rows_written": self.rows_written,
            "rows_quarantined": self.rows_quarantined,
            "bytes_read": self.bytes_read,
            "seconds": round(self.seconds, 3),
            "error": self.error.to_json() if self.error else None,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> StreamResult:
        return cls(
            stream=StreamName.from_json(data["stream"]),
            mode=SyncMode(data["mode"]),
            status=data["status"],
            rows_read=data["rows_read"],
            rows_written=data["rows_written"],
            rows_quarantined=data["rows_quarantined"],
            bytes_read=data["bytes_read"],
            seconds=data["seconds"],
            error=SynclineError.from_json(data["error"]) if data["error"] else None,
        )


@dataclass(frozen=True, kw_only=True)
class AttemptResult:
    """``error`` is the first failure (of the attempt itself, or of a stream)."""

    streams: tuple[StreamResult, ...]
    seconds: float
    error: SynclineError | None = field(default=None)

    @property
    def succeeded(self) -> bool:
        return self.error is None and all(s.status != "failed" for s in self.streams)

    def to_json(self) -> dict[str, Any]:
        return {
            "status": "succeeded" if self.succeeded else "failed",
            "seconds": round(self.seconds, 3),
            "error": self.error.to_json() if self.error else None,
            "streams": [s.to_json() for s in self.streams],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> AttemptResult:
        return cls(
            streams=tuple(StreamResult.from_json(s) for s in data["streams"]),
            seconds=data["seconds"],
            error=SynclineError.from_json(data["error"]) if data["error"] else None,
        )


def run_attempt(
    spec: AttemptSpec, emit: EventSink, make_executor: Callable[[int, EventSink], Executor]
) -> AttemptResult:
    """Run one attempt to its end. Never raises :class:`SynclineError`: the result holds it."""
    began = time.monotonic()
    context = ConnectorContext(connection=spec.connection, work_dir=Path(spec.work_dir), concurrency=spec.concurrency)
    try:
        with (
            closing(open_destination(spec.destination, context)) as destination,
            closing(open_source(spec.source, context)) as source,
        ):
            catalog: Catalog = source.discover()
            selection = select_streams(catalog, spec.choices, spec.default, destination.traits)
            emit(
                AttemptStarted(
                    connection=spec.connection,
                    sync_id=spec.sync_id,
                    attempt=spec.attempt,
                    streams=[str(s.name) for s in selection],
                )
            )
            refused = look_first(spec, selection, source, destination, emit)
            with closing(make_executor(spec.concurrency, emit)) as executor:
                results = _Conductor(spec, source, destination, executor, emit).run(selection, refused)
        failed = next((r.error for r in results if r.error), None)
        result = AttemptResult(streams=tuple(results), seconds=time.monotonic() - began, error=failed)
    except SynclineError as error:
        result = AttemptResult(streams=(), seconds=time.monotonic() - began, error=error.at(connection=spec.connection))
        emit(Log(level="ERROR", message=str(error)))
    emit(AttemptFinished(status="succeeded" if result.succeeded else "failed", seconds=result.seconds))
    return result


class _Conductor:
    """Keeps the executor's slots filled and turns outcomes into commits."""

    def __init__(
        self, spec: AttemptSpec, source: Source, destination: Destination, executor: Executor, emit: EventSink
    ) -> None:
        self._spec, self._source, self._destination = spec, source, destination
        self._executor, self._emit = executor, emit
        self._running = 0
        self._active: dict[str, StreamRun] = {}
        self._results: dict[str, StreamResult] = {}
        self._refused: Mapping[str, SynclineError] = {}

    def run(self, selection: list[SelectedStream], refused: Mapping[str, SynclineError]) -> list[StreamResult]:
        waiting: deque[SelectedStream] = deque()
        for selected in selection:
            if selected.name in self._spec.completed:
                self._results[str(selected.name)] = StreamResult(
                    stream=selected.name, mode=selected.sync_mode, status="skipped"
                )
            else:
                waiting.append(selected)
        self._refused = refused
        self._fill(waiting)
        outcomes = self._executor.outcomes()
        while self._running:
            outcome = next(outcomes)
            self._running -= 1
            # The commit comes before the freed slot's next task: at any moment no more than one partition per slot is
            # uncommitted, and that is what a crash costs.
            run = self._active.get(outcome.stream)
            if run is not None:  # else the stream has failed already: its other partitions no longer matter
                self._guard(run, lambda run=run, outcome=outcome: run.take(outcome))  # type: ignore[misc]
            self._fill(waiting)
        return [self._results[str(s.name)] for s in selection]

    def _fill(self, waiting: deque[SelectedStream]) -> None:
        while self._running < self._executor.slots:
            if self._submit_one():
                continue
            if not waiting:
                return
            self._start(waiting.popleft())

    def _submit_one(self) -> bool:
        for run in self._active.values():
            task = run.next_task()
            if task is not None:
                self._executor.submit(task)
                self._running += 1
                return True
        return False

    def _start(self, selected: SelectedStream) -> None:
        run = StreamRun(self._spec, selected, self._source, self._destination, self._emit)
        self._active[run.name] = run
        self._guard(run, lambda: self._begin(run))

    def _begin(self, run: StreamRun) -> None:
        if run.name in self._refused:
            raise self._refused[run.name]
        run.start()

    def _guard(self, run: StreamRun, act: Callable[[], Any]) -> None:
        """Do one step of a stream; its end, good or bad, becomes a result."""
        error: SynclineError | None = None
        try:
            act()
        except SynclineError as raised:
            error = raised.at(stream=run.name)
        if error is None and not run.finished:
            return
        del self._active[run.name]
        result = StreamResult(
            stream=run.selected.name,
            mode=run.selected.sync_mode,
            status="failed" if error else "succeeded",
            rows_read=run.rows_read,
            rows_written=run.rows_written,
            rows_quarantined=run.rows_quarantined,
            bytes_read=run.bytes_read,
            seconds=run.seconds,
            error=error,
        )
        self._results[run.name] = result
        if error is not None and error.kind is ErrorKind.INTERNAL and error.__cause__ is not None:
            self._emit(Log(level="DEBUG", stream=run.name, message=_trace(error.__cause__)))
        self._emit(
            StreamFinished(
                stream=run.name,
                status=result.status,
                rows_read=result.rows_read,
                rows_written=result.rows_written,
                rows_quarantined=result.rows_quarantined,
                bytes_read=result.bytes_read,
                seconds=round(result.seconds, 3),
                error=error.to_json() if error else None,
            )
        )


def _trace(cause: BaseException) -> str:
    import traceback

    return "".join(traceback.format_exception(cause))
