"""The conductor: one attempt of one connection, from discovery to the last commit.

    read -> normalize -> write to a stage nobody sees -> seal -> commit -> save state -> acknowledge

Streams are planned one after the other while the partitions of those before are being read; every commit happens
here, in the coordinator's thread. A stream that fails does not stop the others, but the attempt is then not a success.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.stream import Catalog, SelectedStream, StreamName, SyncMode
from syncline.engine.events import AttemptStarted, Log, StreamFinished
from syncline.engine.evolution.backfill import fill_added
from syncline.engine.evolution.review import SchemaReview
from syncline.engine.feed_run import FeedRun
from syncline.engine.forget import forget
from syncline.engine.log_run import LogRun
from syncline.engine.log_stream import LogStream, has_log, log_position
from syncline.engine.ports import EventSink, Executor, SourceOpener
from syncline.engine.preflight import look_first
from syncline.engine.spec import AttemptSpec
from syncline.engine.stream_run import StreamRun
from syncline.sdk.change_log import ReadsChanges
from syncline.sdk.connector import ConnectorContext
from syncline.sdk.destination import Destination
from syncline.sdk.feed import ReadsFeed
from syncline.sdk.log_place import PlaceGoneError
from syncline.sdk.mapping import mapped_source
from syncline.sdk.reference import open_destination, open_source
from syncline.sdk.source import Source

__all__ = ["AttemptResult", "StreamResult", "run_attempt"]


@dataclass(frozen=True, kw_only=True)
class StreamResult:
    """What became of one stream; ``status`` is succeeded, failed, skipped (done by an earlier attempt) or stopped (an
    attempt that follows a log was told to end before the stream's copy was whole)."""

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
    """``error`` is the first failure (of the attempt itself, or of a stream). ``stopped``: it was asked to end while it
    ran, so whatever became of it, no other attempt may follow."""

    streams: tuple[StreamResult, ...]
    seconds: float
    error: SynclineError | None = field(default=None)
    stopped: bool = False

    @property
    def succeeded(self) -> bool:
        return self.error is None and all(s.status != "failed" for s in self.streams)

    def to_json(self) -> dict[str, Any]:
        return {
            "status": "succeeded" if self.succeeded else "failed",
            "seconds": round(self.seconds, 3),
            "error": self.error.to_json() if self.error else None,
            "stopped": self.stopped,
            "streams": [s.to_json() for s in self.streams],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> AttemptResult:
        return cls(
            streams=tuple(StreamResult.from_json(s) for s in data["streams"]),
            seconds=data["seconds"],
            error=SynclineError.from_json(data["error"]) if data["error"] else None,
            stopped=data.get("stopped", False),
        )


def run_attempt(
    spec: AttemptSpec,
    emit: EventSink,
    make_executor: Callable[[int, EventSink], Executor],
    stop: threading.Event | None = None,
    open_source: SourceOpener = open_source,
) -> AttemptResult:
    """Run one attempt to its end. Never raises :class:`SynclineError`: the result holds it.

    ``stop`` ends an attempt that follows a log, after the flush that is under way; copies that are not whole go on in
    the next attempt. ``open_source`` is how the source is come by."""
    began = time.monotonic()
    stop = stop or threading.Event()
    context = ConnectorContext(connection=spec.connection, work_dir=Path(spec.work_dir), concurrency=spec.concurrency)
    try:
        with (
            closing(open_destination(spec.destination, context)) as destination,
            closing(open_source(spec.source, context)) as opened,
        ):
            catalog: Catalog = opened.discover()
            review = SchemaReview(spec, catalog, destination, logged=has_log(opened))
            selection = review.selection
            emit(
                AttemptStarted(
                    connection=spec.connection,
                    sync_id=spec.sync_id,
                    attempt=spec.attempt,
                    streams=[str(s.name) for s in selection],
                )
            )
            for change in review.changes:
                emit(change)
            review.ensure_wanted()
            # What is held back is held by a mapping, whether or not the connection has any of its own.
            source = mapped_source(opened) if any(s.origin is not None for s in selection) else opened
            refused = {**look_first(spec, selection, source, destination, emit), **review.refused}
            if spec.follow:
                review.remember()  # it may follow for months
            if isinstance(source, ReadsFeed):
                results = _fed(spec, source, destination, selection, refused, emit)
            else:
                with ExitStack() as stack:
                    log_run = _log_run(
                        spec, source, selection, emit, stop, lambda: open_destination(spec.destination, context)
                    )
                    if log_run is not None:
                        stack.callback(log_run.close)
                    executor = stack.enter_context(closing(make_executor(spec.concurrency, emit)))
                    conductor = _Conductor(spec, source, destination, executor, emit, log_run, stop)
                    results = conductor.run(selection, refused)
            results = [*results, *_vanished(review, emit)]
            done = {r.stream for r in results if r.status == "succeeded"}
            fill_added(spec, source, destination, [s for s in selection if s.name in done], review.added, emit)
            _remember(review, emit)
    except SynclineError as error:
        emit(Log(level="ERROR", message=str(error)))
        return _ended([], began, error.at(connection=spec.connection))
    return _ended(results, began)


def _ended(results: Sequence[StreamResult], began: float, error: SynclineError | None = None) -> AttemptResult:
    error = error or next((r.error for r in results if r.error), None)
    return AttemptResult(streams=tuple(results), seconds=time.monotonic() - began, error=error)


def _fed(
    spec: AttemptSpec,
    source: ReadsFeed,
    destination: Destination,
    selection: Sequence[SelectedStream],
    refused: Mapping[str, SynclineError],
    emit: EventSink,
) -> list[StreamResult]:
    """A source that reads all streams in one go: no partitions, no executor."""
    if spec.follow:
        raise SynclineError(ErrorKind.CONFIG, "this source cannot be followed", hint="give the connection a schedule")
    waiting = [s for s in selection if s.name not in spec.completed]
    streams = {s.selected.name: s for s in FeedRun(spec, source, destination, emit).run(waiting, refused)}
    results = []
    for selected in selection:
        run = streams.get(selected.name)
        if run is None:
            results.append(StreamResult(stream=selected.name, mode=selected.sync_mode, status="skipped"))
            continue
        result = StreamResult(
            stream=selected.name,
            mode=selected.sync_mode,
            status="failed" if run.error else "succeeded",
            rows_read=run.rows_read,
            rows_written=run.rows_written,
            rows_quarantined=run.rows_quarantined,
            bytes_read=run.bytes_read,
            seconds=run.seconds,
            error=run.error,
        )
        _tell(result, emit)
        results.append(result)
    return results


def _remember(review: SchemaReview, emit: EventSink) -> None:
    """Last of all: an attempt that dies before this tells its changes again, so that none is missed. What the streams
    have committed stands, whether or not this is."""
    try:
        review.remember()
    except SynclineError as error:
        emit(Log(level="WARN", message=f"the next run will tell the source's changes again: {error}"))


def _vanished(review: SchemaReview, emit: EventSink) -> list[StreamResult]:
    """Streams of the connection that the source does not have any more: they stop, the others have gone on."""
    gone = [
        StreamResult(stream=name, mode=review.mode_of(name), status="failed", error=error)
        for name, error in review.vanished.items()
    ]
    for result in gone:
        _tell(result, emit)
    return gone


def _tell(result: StreamResult, emit: EventSink) -> None:
    """A stream has come to its end."""
    error = result.error
    if error is not None and error.kind is ErrorKind.INTERNAL and error.__cause__ is not None:
        emit(Log(level="DEBUG", stream=str(result.stream), message=_trace(error.__cause__)))
    emit(
        StreamFinished(
            stream=str(result.stream),
            status=result.status,
            rows_read=result.rows_read,
            rows_written=result.rows_written,
            rows_quarantined=result.rows_quarantined,
            bytes_read=result.bytes_read,
            seconds=round(result.seconds, 3),
            error=error.to_json() if error else None,
        )
    )


def _log_run(
    spec: AttemptSpec,
    source: Source,
    selection: Sequence[SelectedStream],
    emit: EventSink,
    stop: threading.Event,
    another_destination: Callable[[], Destination],
) -> LogRun | None:
    """The log's side of the attempt; None when no selected stream is continued by a log."""
    logged = [s for s in selection if s.sync_mode.incremental]
    log = source.change_log(logged) if isinstance(source, ReadsChanges) and logged else None
    if log is None and spec.follow:
        raise SynclineError(
            ErrorKind.CONFIG,
            "nothing can be followed: no stream of this connection is read from a log",
            hint="set the source's replication_method to CDC and the streams' mode to incremental",
        )
    return None if log is None else LogRun(spec, log, another_destination, emit, stop)


class _Conductor:
    """Keeps the executor's slots filled and turns outcomes into commits; hands copied streams over to the log."""

    def __init__(
        self,
        spec: AttemptSpec,
        source: Source,
        destination: Destination,
        executor: Executor,
        emit: EventSink,
        log_run: LogRun | None,
        stop: threading.Event,
    ) -> None:
        self._spec, self._source, self._destination = spec, source, destination
        self._executor, self._emit, self._log_run, self._stop = executor, emit, log_run, stop
        self._running = 0
        self._active: dict[str, StreamRun] = {}
        self._results: dict[str, StreamResult] = {}
        self._refused: dict[str, SynclineError] = {}
        self._handed: dict[str, StreamRun] = {}  # to the log
        self._flowed: set[StreamName] = set()  # streams that an earlier run left flowing

    def run(self, selection: list[SelectedStream], refused: Mapping[str, SynclineError]) -> list[StreamResult]:
        waiting: deque[SelectedStream] = deque()
        for selected in selection:
            logged = self._log_run is not None and selected.sync_mode.incremental
            # A stream that flows goes on in every attempt: the global position moves for all of them together.
            if selected.name in self._spec.completed and not logged:
                self._results[str(selected.name)] = StreamResult(
                    stream=selected.name, mode=selected.sync_mode, status="skipped"
                )
            else:
                waiting.append(selected)
        self._refused = dict(refused)
        if self._log_run is not None:
            self._begin_log(waiting)
        if self._spec.follow:
            threading.Thread(target=self._cancel_when_stopped, name="stop", daemon=True).start()
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
        if self._log_run is not None:
            self._end_log(selection)
        return [self._results[str(s.name)] for s in selection if str(s.name) in self._results]

    def _cancel_when_stopped(self) -> None:
        """Running copies need not be waited for: they go on in the next attempt."""
        self._stop.wait()
        self._executor.cancel()

    def _begin_log(self, waiting: deque[SelectedStream]) -> None:
        """The log first: it must hold everything from before the first copy is planned. Streams that flow already are
        fenced now and go on at once; the others are copied in their turn."""
        assert self._log_run is not None
        logged = [s for s in waiting if s.sync_mode.incremental and str(s.name) not in self._refused]
        self._refused.update({str(name): e for name, e in self._open_log(self._log_run, logged).items()})
        for selected in [s for s in logged if str(s.name) not in self._refused]:
            entry = self._destination.committed(self._spec.connection, selected.name)
            if entry is not None and log_position(entry.checkpoint, None) is not None:
                if (entry.checkpoint.position or {}).get("joined"):
                    self._flowed.add(selected.name)
                waiting.remove(selected)
                self._start(selected)
        self._log_run.start()

    def _open_log(self, log_run: LogRun, logged: Sequence[SelectedStream]) -> Mapping[StreamName, SynclineError]:
        try:
            return log_run.open(self._destination, logged)
        except PlaceGoneError as gone:
            self._emit(Log(level="WARN", message=f"{gone.message}: all is copied anew, and joins"))
        for selected in logged:
            if self._destination.committed(self._spec.connection, selected.name) is not None:
                forget(self._spec, selected, self._destination, logged=True)
        return log_run.open(self._destination, logged)

    def _end_log(self, selection: Sequence[SelectedStream]) -> None:
        """What became of the streams that the log took over."""
        assert self._log_run is not None
        error: SynclineError | None = None
        streams: Mapping[StreamName, LogStream] = {}
        try:
            streams = self._log_run.finish()
        except SynclineError as raised:
            error = raised
        for selected in selection:
            run = self._handed.get(str(selected.name))
            if run is None:
                continue
            stream = streams.get(selected.name)
            if stream is None and error is None:
                error = SynclineError(ErrorKind.INTERNAL, "the log has forgotten a stream that was handed to it")
            self._report(run, error or (stream.error if stream else None), stream)

    def _fill(self, waiting: deque[SelectedStream]) -> None:
        if self._stop.is_set() and self._spec.follow:
            waiting.clear()
            return
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
        logged = self._log_run is not None
        run = StreamRun(self._spec, selected, self._source, self._destination, self._emit, logged=logged)
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
        if run.logged and self._log_run is not None:
            if error is None:
                self._handed[run.name] = run
                self._log_run.join(run.log_stream())
                return
            if run.name not in self._refused:
                flowed = run.selected.name in self._flowed
                self._log_run.gave_up(run.selected.name, error, flowed=flowed, needs=run.needs_log_from)
        self._report(run, error)

    def _report(self, run: StreamRun, error: SynclineError | None, changes: LogStream | None = None) -> None:
        stopped = self._stop.is_set() and self._spec.follow and error is not None and error.policy.retry
        if stopped:
            error = None  # its copy goes on in the next attempt
        rows, quarantined, size = (changes.rows, changes.quarantined, changes.bytes) if changes else (0, 0, 0)
        result = StreamResult(
            stream=run.selected.name,
            mode=run.selected.sync_mode,
            status="failed" if error else "stopped" if stopped else "succeeded",
            rows_read=run.rows_read + rows,
            rows_written=run.rows_written + rows - quarantined,
            rows_quarantined=run.rows_quarantined + quarantined,
            bytes_read=run.bytes_read + size,
            seconds=run.seconds,
            error=error,
        )
        self._results[run.name] = result
        _tell(result, self._emit)


def _trace(cause: BaseException) -> str:
    import traceback

    return "".join(traceback.format_exception(cause))
