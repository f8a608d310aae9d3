"""One running attempt as its server sees it: what its journal says, whether it lives, and how it is stopped."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.stream import StreamName
from syncline.engine import events
from syncline.engine.sync import AttemptResult, StreamResult
from syncline.jobs.attempt_folder import AttemptFolder
from syncline.jobs.endings import overdue
from syncline.jobs.journal import JournalTail, event_of
from syncline.jobs.launcher import died
from syncline.jobs.verdict import Ending, StopReason
from syncline.store.job_values import Attempt, Job, StreamStatus

__all__ = ["Patience", "Watch"]

#: A process's end is seen before whoever started it could tell its exit code.
_TOLD_WITHIN = 2.0


@dataclass(frozen=True, kw_only=True)
class Patience:
    """The times after which something is done about an attempt, in seconds.

    ``begin``: from its start until its process is there. ``silence``: its lease, without a sign of life.
    ``no_progress``: nothing read or committed (None: never). ``run``: the whole job (None: never). A stopped attempt
    is asked by SIGTERM at once, again after ``ask``, gets SIGKILL after ``kill`` and is given up after ``give_up``."""

    begin: float = 60.0
    silence: float = 60.0
    no_progress: float | None = 600.0
    run: float | None = None
    ask: float = 5.0
    kill: float = 8.0
    give_up: float = 30.0


class Watch:
    """Used by the supervisor's thread only. The store is one act behind this object at most, and what it missed is read
    from the journal again."""

    def __init__(
        self,
        job: Job,
        attempt: Attempt,
        folder: AttemptFolder,
        patience: Patience,
        *,
        follows: bool,
        heard: Callable[[events.Event], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._heard = heard
        self.job, self.attempt, self.folder, self.patience, self.follows = job, attempt, folder, patience, follows
        self.streams: dict[str, StreamStatus] = {str(s.stream): s for s in attempt.streams}
        #: what the attempt's last look at the ledger found, for the store's copy
        self.states: list[dict[str, Any]] = []
        self.shared: dict[str, Any] | None = None
        self.stop_reason: StopReason | None = None
        #: asks whoever started the process how it ended; None: not yet, or nobody knows
        self.exit_code: Callable[[], int | None] | None = None
        self.changed: set[str] = set()
        self._tail = JournalTail(folder.journal, attempt.journal_offset)
        self._clock = clock
        self._made = self._progress_at = self._beat_at = clock()
        self._beat_seen: int | None = None
        self._stopped_at: float | None = None
        self._stage = 0
        self._result: AttemptResult | None = None
        self._result_at = 0.0
        self._gone_at: float | None = None
        self._exit_code: int | None = None

    def read(self) -> bool:
        """Take what the journal says since the last time; whether there was anything."""
        lines = self._tail.read()
        if not lines:
            return False
        for start, line in lines:
            if self._result is None:
                # What is remembered never goes past the result: a server that dies before it has acted on it finds it
                # again.
                self.attempt = replace(self.attempt, journal_offset=start)
            self._take(line)
        if self._result is None:
            self.attempt = replace(self.attempt, journal_offset=self._tail.offset)
        return True

    def look(self) -> Ending | None:
        """How the attempt ended, None while it runs. To be called after :meth:`read`, some times a second."""
        if self.folder.process is None:
            return self._not_begun()
        if not self.folder.alive():
            while self.read():  # it may have said its last between our reading and its end
                pass
            if self._result is not None:
                return self._over(None)
            self._gone_at = self._gone_at or self._clock()
            code = self._code()
            if code is None and self.exit_code is not None and self._clock() - self._gone_at < _TOLD_WITHIN:
                return None
            return self._over(died(code))
        if self._result is not None and self._clock() - self._result_at > self.patience.kill:
            self.folder.signal(signal.SIGKILL)  # it has said all, and something keeps it from leaving
        self._grow_impatient()
        if self._stopped_at is not None and self._clock() - self._stopped_at > self.patience.give_up:
            # It cannot even be killed. Its token at the destination is all that it has left, and the next one takes it.
            return self._over(
                SynclineError(
                    ErrorKind.TRANSIENT,
                    "the attempt's process does not end; it was given up",
                    hint="its commits are refused from now on; look for a process in state D",
                )
            )
        return None

    def stop(self, reason: StopReason) -> None:
        """Begin to stop the attempt. The first reason stays, but what somebody asks for comes before what we found."""
        if self.stop_reason is None or reason is StopReason.CANCEL:
            self.stop_reason = reason
        if self._stopped_at is None:
            self._stopped_at = self._clock()
            self._stage = 0
        self._press()

    def _code(self) -> int | None:
        if self._exit_code is None and self.exit_code is not None:
            self._exit_code = self.exit_code()
        return self._exit_code

    def _not_begun(self) -> Ending | None:
        late = self._clock() - self._made > self.patience.begin
        code = self._code()
        if not late and self.stop_reason is None and code is None:
            return None
        if not self.folder.revoke():
            return None  # it is there after all
        return self._over(
            SynclineError(
                ErrorKind.TRANSIENT,
                "the attempt's process did not begin" + ("" if code is None else f" (exit code {code})"),
                hint=f"see {self.folder.output}; it is tried again",
            )
        )

    def _over(self, error: SynclineError | None) -> Ending:
        if not (self._result is not None and self._result.succeeded and not self.follows):
            error = self._why_stopped() or error
        return Ending(result=self._result, error=error, stop=self.stop_reason, committed=self.attempt.committed)

    def _why_stopped(self) -> SynclineError | None:
        if self.stop_reason is StopReason.TIMEOUT:
            return overdue(self.patience.run or 0.0)
        if self.stop_reason is StopReason.STALLED:
            return SynclineError(
                ErrorKind.TRANSIENT,
                f"timeout: nothing was read or committed for {self.patience.no_progress:g} s",
                hint="look at locks at the source and at the destination, or raise no_progress_seconds",
            )
        if self.stop_reason is StopReason.LOST:
            return SynclineError(
                ErrorKind.TRANSIENT,
                f"timeout: the attempt gave no sign of life for {self.patience.silence:g} s",
                hint="was its machine out of memory, or the process stopped?",
            )
        return None

    def _grow_impatient(self) -> None:
        now = self._clock()
        beat = self.folder.last_beat()
        if beat != self._beat_seen:
            # Only that it changed counts, by our own clock: nobody's clock is compared with another's.
            self._beat_seen, self._beat_at = beat, now
        if self._stopped_at is not None:
            self._press()
        elif now - self._beat_at > self.patience.silence:
            self.stop(StopReason.LOST)
        elif self.patience.no_progress is not None and now - self._progress_at > self.patience.no_progress:
            self.stop(StopReason.STALLED)
        elif self._ran_too_long():
            self.stop(StopReason.TIMEOUT)

    def _ran_too_long(self) -> bool:
        if self.patience.run is None or self.job.started_at is None:
            return False
        return datetime.now(UTC) - self.job.started_at > timedelta(seconds=self.patience.run)

    def _press(self) -> None:
        assert self._stopped_at is not None
        waited = self._clock() - self._stopped_at
        wanted = 1 + (waited > self.patience.ask) + (waited > self.patience.kill)
        while self._stage < wanted:
            number = signal.SIGKILL if self._stage == 2 else signal.SIGTERM
            if not self.folder.signal(number):
                return  # not there yet, or gone
            self._stage += 1

    def _take(self, line: dict[str, Any]) -> None:
        if line["event"] == "Result":
            self._result = AttemptResult.from_json(line["result"])
            self._result_at = self._clock()
            for stream in self._result.streams:
                self._finish(stream)
            return
        if line["event"] == "States":
            self.states, self.shared = line["states"], line.get("shared")
            return
        event = event_of(line)
        if event is not None:
            self._count(event)
            if self._heard is not None:
                self._heard(event)

    def _count(self, event: events.Event) -> None:
        if not isinstance(event, events.Log):
            self._progress_at = self._clock()
        at = datetime.fromisoformat(event.at)
        if isinstance(event, events.AttemptStarted):
            for name in event.streams:
                self._stream(name, status="pending")
        elif isinstance(event, events.StreamPlanned):
            self._stream(event.stream, status="running", started_at=at)
        elif isinstance(event, events.Progress):
            known = self._stream(event.stream)
            self._stream(
                event.stream, rows_read=known.rows_read + event.rows, bytes_read=known.bytes_read + event.bytes
            )
        elif isinstance(event, events.PartitionCommitted):
            known = self._stream(event.stream)
            self._stream(
                event.stream,
                rows_written=known.rows_written + event.rows,
                rows_quarantined=known.rows_quarantined + event.quarantined,
            )
            self.attempt = replace(self.attempt, committed=True)
        elif isinstance(event, events.LogProgress):
            if event.rows:
                # The log's rows belong to streams that are named only at the end; until then they count in the whole.
                self.attempt = replace(
                    self.attempt, committed=True, rows_written=self.attempt.rows_written + event.rows
                )
            return
        elif isinstance(event, events.StreamFinished):
            self._stream(
                event.stream,
                status=event.status,
                rows_read=event.rows_read,
                rows_written=event.rows_written,
                rows_quarantined=event.rows_quarantined,
                bytes_read=event.bytes_read,
                error=SynclineError.from_json(event.error) if event.error else None,
                ended_at=at,
            )
        else:
            return
        self._sum()

    def _finish(self, stream: StreamResult) -> None:
        """The result's counts are the last word, and its names are whole where an event's are text."""
        self._stream(
            str(stream.stream),
            stream=stream.stream,
            status=stream.status,
            rows_read=stream.rows_read,
            rows_written=stream.rows_written,
            rows_quarantined=stream.rows_quarantined,
            bytes_read=stream.bytes_read,
            error=stream.error,
        )
        self._sum()

    def _stream(self, name: str, **changes: Any) -> StreamStatus:
        known = self.streams.get(name)
        if known is None:
            namespace, dot, rest = name.partition(".")
            parsed = StreamName(namespace=namespace, name=rest) if dot else StreamName(name=name)
            known = StreamStatus(stream=parsed, status="pending")
        self.streams[name] = replace(known, **changes)
        self.changed.add(name)
        return self.streams[name]

    def _sum(self) -> None:
        known = self.streams.values()
        written = sum(s.rows_written for s in known)
        self.attempt = replace(
            self.attempt,
            rows_read=sum(s.rows_read for s in known),
            rows_written=max(written, self.attempt.rows_written) if self.follows else written,
            bytes_read=sum(s.bytes_read for s in known),
        )
