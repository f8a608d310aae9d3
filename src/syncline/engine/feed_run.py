"""A fed source's side of an attempt: messages as they come, and commits where a state allows one.

    batch -> stage          state -> seal -> commit rows and state in one act

Rule: a state is committed in the same act as the last rows before it, never without them and never with later ones. So
after any crash the source is asked to go on exactly behind the rows that are there.

A state of all streams together is committed stream by stream, what they share last of all. After a crash in between,
some streams have a newer state of their own than what is shared: rows that are merged by key or belong to an unfinished
copy come out right all the same; rows that are appended may come twice, which is said.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager

from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.stream import SelectedStream, StreamName
from syncline.engine.events import Log
from syncline.engine.feed_shared import SharedState
from syncline.engine.feed_stream import FeedStream
from syncline.engine.ports import EventSink
from syncline.engine.spec import AttemptSpec
from syncline.sdk.destination import Destination
from syncline.sdk.feed import FedBatch, FedDone, FedLog, FedState, ReadsFeed

__all__ = ["FeedRun"]

#: A stretch is committed at the first state after this much, or after this time; also when this much lies behind its
#: newest state, since that waits in memory.
_COMMIT_BYTES, _COMMIT_SECONDS, _TAIL_BYTES = 64 << 20, 30.0, 16 << 20


class FeedRun:
    """Used once, by the coordinator's thread."""

    def __init__(self, spec: AttemptSpec, source: ReadsFeed, destination: Destination, emit: EventSink) -> None:
        self._spec, self._source, self._destination, self._emit = spec, source, destination, emit
        self._streams: dict[StreamName, FeedStream] = {}
        self._shared = SharedState(spec, destination)
        self._every = max(_COMMIT_SECONDS, destination.traits.linger_seconds)
        self._committed_at: dict[StreamName, float] = {}
        self._unknown: set[StreamName] = set()

    def run(self, selection: Sequence[SelectedStream], refused: Mapping[str, SynclineError]) -> list[FeedStream]:
        """Read the streams to their end. What failed is in each stream; raises nothing of one stream alone."""
        for selected in selection:
            stream = FeedStream(
                self._spec, selected, self._destination, self._emit, resumable=self._source.resumes(selected)
            )
            self._streams[selected.name] = stream
            try:
                if stream.name in refused:
                    raise refused[stream.name]
                stream.open()
            except SynclineError as error:
                stream.give_up(error, keep=False)
        if self._live():
            self._shared.open()
            self._warn_of_half_move()
            self._read()
        return list(self._streams.values())

    def _read(self) -> None:
        try:
            self._follow()
        except SynclineError as error:
            self._break_off(error)
        except BaseException:
            for stream in self._streams.values():
                stream.abort()
            raise
        for stream in self._live():
            stream.give_up(SynclineError(ErrorKind.INTERNAL, "the source ended without a word on it"), keep=True)

    def _follow(self) -> None:
        live = self._live()
        positions = {s.selected.name: s.position["feed"] for s in live if s.position is not None}
        selection = [s.selected for s in live]
        for stream in live:
            self._committed_at[stream.selected.name] = time.monotonic()
        into = {s.selected.name: s.into for s in live}
        with closing(self._source.feed(selection, positions, self._shared.position, into)) as feed:
            for message in feed:
                match message:
                    case FedBatch():
                        self._take(message)
                    case FedState():
                        self._mark(message)
                    case FedDone():
                        self._finish(message)
                    case FedLog():
                        name = None if message.stream is None else str(message.stream)
                        self._emit(Log(level=message.level, message=message.message, stream=name))
        # Every stream is finished or has failed; what they share moves only when all are where it says.
        if self._shared.marked and all(s.finished for s in self._streams.values()):
            self._shared.commit()

    def _take(self, message: FedBatch) -> None:
        stream = self._stream(message.stream)
        if stream is None:
            return
        self._shared.arrived(message.batch.rows)
        with self._guarded(stream):
            stream.take(message.batch)
        if stream.live and stream.bytes_tail > _TAIL_BYTES:
            self._commit(self._together(stream))

    def _mark(self, message: FedState) -> None:
        if message.stream is not None:
            stream = self._stream(message.stream)
            if stream is not None:
                with self._guarded(stream):
                    stream.mark(message.position, message.records)
                if stream.live and self._due([stream]):
                    self._commit([stream])
            return
        if failed := next((s for s in self._streams.values() if s.error is not None), None):
            assert failed.error is not None
            raise SynclineError(
                failed.error.kind,
                f"the streams share one state, so none goes on without {failed.name}: {failed.error.message}",
                hint=failed.error.hint or "leave the stream out of the selection",
            )
        self._shared.mark(message)
        for stream in self._live():
            if stream.selected.name in message.streams:
                stream.mark(message.streams[stream.selected.name], None)
            else:
                stream.keep()
        if self._due(self._live()):
            self._commit(self._live())

    def _together(self, stream: FeedStream) -> list[FeedStream]:
        return self._live() if self._shared.marked else [stream]

    def _due(self, streams: Sequence[FeedStream]) -> bool:
        if sum(s.bytes_open for s in streams) >= _COMMIT_BYTES:
            return True
        oldest = min((self._committed_at[s.selected.name] for s in streams), default=time.monotonic())
        return time.monotonic() - oldest >= self._every

    def _commit(self, streams: Sequence[FeedStream]) -> None:
        together = self._shared.marked
        if together and any(s.appends and s.marked for s in streams):
            self._shared.begin_move()
        for stream in streams:
            with self._guarded(stream):
                stream.commit()
            self._committed_at[stream.selected.name] = time.monotonic()
            if together and stream.error is not None:
                raise stream.error
        if together:
            self._shared.commit()

    def _finish(self, message: FedDone) -> None:
        stream = self._stream(message.stream)
        if stream is None:
            return
        if message.error is not None:
            if self._shared.marked:
                self._commit(self._live())
            stream.give_up(message.error, keep=True)
            return
        with self._guarded(stream):
            stream.finish()

    def _break_off(self, error: SynclineError) -> None:
        """The feed broke: every stream keeps what lies before its newest state, and fails."""
        live = self._live()
        keep = error.kind is not ErrorKind.CONFLICT
        if self._shared.marked:
            # All of them or none. A stream that has failed by itself holds the common state back.
            if keep and all(s.error is None for s in self._streams.values()):
                try:
                    self._commit(live)
                except SynclineError as failed:
                    self._emit(Log(level="WARN", message=f"the last common state could not be kept: {failed}"))
            keep = False
        for stream in live:
            if stream.live:
                own = SynclineError(error.kind, error.message, hint=error.hint, where=error.where)
                own.__cause__ = error.__cause__
                stream.give_up(own, keep=keep)

    @contextmanager
    def _guarded(self, stream: FeedStream) -> Iterator[None]:
        """What fails here is the stream's own: the others go on."""
        try:
            yield
        except SynclineError as error:
            stream.give_up(error, keep=False)

    def _stream(self, name: StreamName) -> FeedStream | None:
        stream = self._streams.get(name)
        if stream is None and name not in self._unknown:
            self._unknown.add(name)
            self._emit(Log(level="WARN", message=f"the source sends a stream that was not asked for: {name}"))
        return stream if stream is not None and stream.live else None

    def _live(self) -> list[FeedStream]:
        return [s for s in self._streams.values() if s.live]

    def _warn_of_half_move(self) -> None:
        for stream in self._live():
            if self._shared.half_moved and stream.appends:
                message = "an earlier run ended while a common state was being committed: some rows may come twice"
                self._emit(Log(level="WARN", stream=stream.name, message=message))
