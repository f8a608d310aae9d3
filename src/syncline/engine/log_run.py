"""The log's side of an attempt: takes changes as they come and applies them, flush by flush, in a thread of its own.

    read -> apply -> commit the streams -> commit the global position -> tell the source that it may forget

Streams whose copy is at the destination *join*: first each with a reader of its own that catches up from the moment its
copy was planned, then in the one reader that all share. The conductor (``sync.py``) makes the copies meanwhile.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from syncline.core.change import LogPosition
from syncline.core.checkpoint import StreamCheckpoint
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.failpoints import failpoint
from syncline.core.stream import SelectedStream, StreamName
from syncline.engine.append_session import AppendSession
from syncline.engine.events import Log
from syncline.engine.flush_shelf import FlushShelf
from syncline.engine.hold import Hold, HoldRequest
from syncline.engine.log_flowing import WAIT_SECONDS, LogFlow
from syncline.engine.log_joining import LogJoining
from syncline.engine.log_ledger import LOG_STREAM, LogLedger
from syncline.engine.log_state import LogReaders, LogState, may_pass
from syncline.engine.log_stream import LogStream, log_position
from syncline.engine.log_telling import LogTeller
from syncline.engine.ports import EventSink
from syncline.engine.spec import AttemptSpec
from syncline.sdk.change_log import AppliesChanges, ChangeLog, ChangeSession
from syncline.sdk.destination import Destination

__all__ = ["LogRun"]

#: After a failure that may pass by itself.
_BACK_OFF_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0)


class LogRun:
    """Made by the conductor; :meth:`open`, :meth:`join` and :meth:`finish` are called by its thread, the rest runs in
    the log's thread. The first error that is not of one stream alone ends it and is raised by :meth:`finish`."""

    def __init__(
        self,
        spec: AttemptSpec,
        log: ChangeLog,
        open_destination: Callable[[], Destination],
        emit: EventSink,
        stop: threading.Event,
    ) -> None:
        self._spec, self._log, self._emit, self._stop = spec, log, emit, stop
        self._open_destination = open_destination
        self._end: int | None = None  # set by finish: up to where the run goes
        self._thread: threading.Thread | None = None
        self._error: SynclineError | None = None
        self._hold_file = Hold(Path(spec.work_dir))
        self._holding: HoldRequest | None = None
        self._state = LogState(
            log=log, emit=emit, abort=threading.Event(), ledger=LogLedger.of(spec, None), until=spec.until
        )
        self._teller = LogTeller(log, emit)
        self._readers = LogReaders(self._state)
        self._flow = LogFlow(self._state, self._readers, self._teller)
        self._joining = LogJoining(self._state, self._readers, self._flow, self._teller)

    # -- the conductor's side -------------------------------------------------------------------------------------

    def open(self, destination: Destination, selection: Sequence[SelectedStream]) -> dict[StreamName, SynclineError]:
        """Take the global token, let the log begin, remember whose log it is. Gives the streams that were held by an
        earlier run and the reason; they stay so until their state is reset."""
        spec = self._spec
        if not isinstance(destination, AppliesChanges) and any(s.sync_mode.deduped for s in selection):
            raise SynclineError(
                ErrorKind.CONFIG,
                "this destination cannot apply the changes of a log to rows: it can only append them",
                hint="set mode: incremental_append, or choose a destination that merges changes (postgres, duckdb)",
            )
        state = self._state
        state.ledger = LogLedger.of(spec, destination.fence(spec.connection, LOG_STREAM))
        positions: dict[StreamName, LogPosition | None] = {}
        held: dict[StreamName, SynclineError] = {}
        for selected in selection:
            entry = destination.committed(spec.connection, selected.name)
            checkpoint = entry.checkpoint if entry is not None else StreamCheckpoint()
            positions[selected.name] = log_position(checkpoint, state.ledger.lsn)
            error = state.ledger.error_of(selected.name)
            if error is not None and positions[selected.name] is not None:
                held[selected.name] = error
                del positions[selected.name]
        state.copying = len(positions)
        state.absent = {name: p.lsn for name, p in positions.items() if p is not None}
        # Nothing to continue: the log may be another one, and a former global position means nothing in it.
        afresh = all(p is None for p in positions.values()) and not held
        lsn = None if afresh else state.ledger.lsn
        state.began_at = lsn or 0
        self._log.open(positions, None if afresh else state.ledger.identity)
        failpoint("log.opened")
        if self._log.identity != state.ledger.identity or lsn != state.ledger.lsn:
            following, commit = state.ledger.commit(lsn=lsn, identity=self._log.identity)
            destination.commit(commit.target, [], commit.checkpoint, commit.token)
            state.ledger = following
        return held

    def start(self) -> None:
        """Start the thread; streams join before or after."""
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def join(self, stream: LogStream) -> None:
        """The stream's copy is at the destination: its changes follow."""
        self._state.joining.put(stream)

    def gave_up(self, name: StreamName, error: SynclineError, *, flowed: bool, needs: int | None) -> None:
        """A stream's start or copy failed: it will not join. One that ``flowed`` in an earlier run has its place in the
        global position, which must not move without it: then the log ends here. ``needs``: from this LSN on the next
        attempt wants the log for what was copied of it."""
        if needs is not None:
            self._state.absent.setdefault(name, needs)
        self._state.copying -= 1
        if flowed:
            self._error = self._error or error
            self._state.abort.set()

    def finish(self) -> dict[StreamName, LogStream]:
        """Every copy is made. Go on to the present end of the log and stop there (or when told to, when following).
        Gives all streams that joined. Raises what ended the log early."""
        assert self._thread is not None
        if not self._spec.follow and not self.failed:
            self._end = self._log.end() if self._spec.until is None else self._spec.until
            self._state.ending = True
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._state.joined

    def close(self) -> None:
        """End without waiting for anything; after :meth:`finish` it only releases."""
        self._state.abort.set()
        if self._thread is not None:
            self._thread.join()
        self._log.close()

    @property
    def failed(self) -> bool:
        """Whether the log has ended early: nothing that joins will flow."""
        return self._error is not None

    # -- the log's side -------------------------------------------------------------------------------------------

    def _run(self) -> None:
        failures = 0
        try:
            while True:
                began = time.monotonic()
                try:
                    with (
                        closing(self._open_destination()) as destination,
                        closing(self._session(destination)) as session,
                    ):
                        self._state.linger = destination.traits.linger_seconds
                        self._state.destination = destination
                        self._state.shelf = FlushShelf(self._spec, destination, self._log)
                        self._recall(destination)
                        self._readers.reopen()
                        self._loop(session)
                        return
                except SynclineError as error:
                    if not may_pass(error):
                        raise
                    failures = 0 if time.monotonic() - began > 60 else failures + 1
                    if not self._spec.follow and failures >= 3:
                        raise
                    delay = _BACK_OFF_SECONDS[min(failures, len(_BACK_OFF_SECONDS) - 1)]
                    self._emit(Log(level="WARN", message=f"{error}; going on from the last commit in {delay:g} s"))
                    if self._stop.wait(delay) or self._state.abort.is_set():
                        return
        except SynclineError as error:
            self._error = error
        except Exception as error:  # noqa: BLE001 - a defect must end the run with a name, not hang it
            self._error = SynclineError(ErrorKind.INTERNAL, f"{type(error).__name__}: {error}")
            self._error.__cause__ = error
        finally:
            self._readers.close()

    def _session(self, destination: Destination) -> ChangeSession:
        if isinstance(destination, AppliesChanges):
            return destination.change_session(self._spec.connection)
        return AppendSession(destination, self._owner)

    def _owner(self, name: StreamName) -> tuple[int, StreamCheckpoint]:
        stream = self._state.flowing.get(name) or self._state.catching[name]
        return stream.token, stream.checkpoint

    def _recall(self, destination: Destination) -> None:
        """What is true is in the ledger: a commit that failed may have been carried out, or in part. Asking may fail as
        well: no stream may be forgotten over that, for the others' position would move without it."""
        state = self._state
        entry = destination.committed(self._spec.connection, LOG_STREAM)
        ledger = _ours(LogLedger.of(self._spec, entry), state.ledger)
        known = {**state.flowing, **state.catching}
        entries = {name: destination.committed(self._spec.connection, name) for name in known}
        end = self._log.end() if any(stream.position.snapshot is not None for stream in known.values()) else None
        self._readers.close()
        for name, stream in known.items():
            stream.restore(entries[name])
            if stream.joined:
                stream.position = replace(stream.position, lsn=max(stream.position.lsn, ledger.lsn or 0))
                stream.snapshot_until = end if stream.position.snapshot is not None else None
        state.ledger = ledger
        state.flowing = {name: stream for name, stream in known.items() if stream.joined}
        state.catching = {name: stream for name, stream in known.items() if not stream.joined}

    def _loop(self, session: ChangeSession) -> None:
        while not self._state.abort.is_set():
            self._joining.take()
            if self._held_back(session):
                self._tell()
                if self._stop.is_set():
                    return
                continue
            moved = self._joining.catch_up(session)
            moved |= self._flow.flow(session, wait=not moved)
            self._tell()
            if self._done():
                self._flow.settle(session)
                return

    def _held_back(self, session: ChangeSession) -> bool:
        """Serve somebody who wants the destination at one place of the log (see ``hold.py``). Whether there is one."""
        request = self._hold_file.request()
        if request is None:
            if self._holding is not None:
                self._holding, self._state.until = None, self._spec.until
                self._readers.reopen()  # what lay beyond was read and left out
            return False
        if request != self._holding:
            self._holding, self._state.until = request, request.until
            if request.until is not None:
                self._log.end()  # its heartbeat carries the reader past the place although nobody writes
        reached = self._state.ledger.lsn or 0
        if self._readers.main is not None and (request.until is None or reached >= request.until):
            self._hold_file.answer(request, reached)
            time.sleep(WAIT_SECONDS)
        else:
            self._flow.flow(session, wait=True)
        return True

    def _done(self) -> bool:
        if self._stop.is_set():
            return True
        state, main = self._state, self._readers.main
        if self._end is None or state.catching or not state.joining.empty() or state.copying > 0:
            return False
        return main is None or main.position >= self._end

    def _tell(self) -> None:
        state, main = self._state, self._readers.main
        streams = [*state.flowing.values(), *state.catching.values()]
        self._teller.tell(None if main is None else main.position, streams, [str(name) for name in state.catching])


def _ours(found: LogLedger, known: LogLedger) -> LogLedger:
    """The ledger's global entry, as long as nobody has taken it from us."""
    if found.token != known.token:
        raise SynclineError(
            ErrorKind.CONFLICT,
            f"another attempt has taken over the log (token {found.token}; ours {known.token})",
            hint="nothing is lost: its commits stand, and this attempt must end",
            final=True,
        )
    return found
