"""Gates between a flush and its commit: they let it pass, or its stream stops and what it brought is kept apart."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.failpoints import failpoint
from syncline.core.stream import StreamName
from syncline.engine.audit import Verdict
from syncline.engine.events import Log
from syncline.engine.flush_shelf import held_name
from syncline.engine.log_flush import Flush
from syncline.engine.log_state import LogState
from syncline.engine.log_stream import LogStream

__all__ = ["LogJudging"]

#: Between two flushes at least so many times as long as the last was judged: questions to a large table take time, and
#: then fewer flushes bring more changes each.
_REST = 4.0


class LogJudging:
    """Used by the log's thread. ``seconds``: how long flushes should be apart for what judging them costs."""

    def __init__(self, state: LogState) -> None:
        self._state = state
        self.seconds = 0.0

    def refusal(self, flush: Flush) -> tuple[StreamName, Verdict] | None:
        """Judge every stream for which this flush's commit is the moment. None when all may be committed; else the
        first stream that may not, the flush being still open. Raises what makes a gate impossible to judge."""
        began, judged = time.monotonic(), False
        for name, stream in self._due(flush):
            assert stream.audit is not None
            assert self._state.destination is not None
            verdict = stream.audit.judge(self._state.destination, flush.session, stream)
            judged = True
            if verdict.error is not None:
                return name, verdict
            stream.judged(verdict)
        if judged:
            self.seconds = _REST * (time.monotonic() - began)
            failpoint("flush.judged")
        return None

    def _due(self, flush: Flush) -> Iterator[tuple[StreamName, LogStream]]:
        """Streams that changed; and those whose table becomes that of one moment. Before, while the log tells again
        what a copy has seen, a table is between two moments, and no rule about it as a whole means anything."""
        for name, stream in flush.streams.items():
            if stream.audit is None or not stream.audit.gates:
                continue
            blurred = stream.position.snapshot is not None
            settles = stream.snapshot_until is not None and flush.position >= stream.snapshot_until
            if settles if blurred else name in flush.touched:
                yield name, stream

    def shelved(self, stream: LogStream, error: SynclineError, *, until: int) -> str:
        """Lay down what was held back; the flush has been rolled back. The place, or nothing when that failed, which is
        said: the stream must stop all the same."""
        shelf, columns = self._state.shelf, stream.columns
        if shelf is None:
            return ""
        stream.undo()
        start = stream.position.lsn
        if stream.joined:
            start = max(start, self._state.ledger.lsn or 0)
        try:
            if (name := held_name(stream.selected.name)) in self._state.joined:
                raise SynclineError(ErrorKind.CONFIG, f"another stream of the connection is called {name}")
            return shelf.lay_down(stream, columns, start=start, until=until)
        except SynclineError as failed:
            message = f"what was held back ({error.message}) could not be laid down to be looked at: {failed.message}"
            self._state.emit(Log(level="WARN", stream=str(stream.selected.name), message=message))
            return ""

    def record(self, stream: LogStream, verdict: Verdict) -> dict[str, Any]:
        """What the stream's own entry remembers of its refusal; its position stays."""
        assert stream.audit is not None
        return stream.audit.held_back(stream.checkpoint.quality, verdict, sync_id=stream.target.sync_id)
