"""The log's side of an attempt: takes changes as they come and applies them, flush by flush, in a thread of its own.

    read -> apply -> commit the streams -> commit the global position -> tell the source that it may forget

Streams whose copy is at the destination *join*: first each with a reader of its own that catches up from the moment its
copy was planned, then in the one reader that all share. The conductor (``sync.py``) makes the copies meanwhile.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from syncline.core.change import ChangeSlice, LogPosition
from syncline.core.checkpoint import StreamCheckpoint
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.failpoints import failpoint
from syncline.core.stream import SelectedStream, StreamName
from syncline.engine.append_session import AppendSession
from syncline.engine.events import Log
from syncline.engine.hold import Hold, HoldRequest
from syncline.engine.log_flush import Flush
from syncline.engine.log_ledger import LOG_STREAM, LogLedger
from syncline.engine.log_stream import LogStream, log_position
from syncline.engine.log_telling import LogTeller
from syncline.engine.ports import EventSink
from syncline.engine.spec import AttemptSpec
from syncline.sdk.change_log import AppliesChanges, ChangeLog, ChangeReader, ChangeSession, StreamCommit
from syncline.sdk.destination import Destination

__all__ = ["LogRun"]

#: How long a reader waits for changes before the loop looks whether a stream wants to join or the run shall end.
_WAIT_SECONDS = 0.1
#: On a quiet log the position moves on by itself this often, or after this much of others' traffic.
_IDLE_SECONDS, _IDLE_BYTES = 10.0, 16 << 20
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
        self._linger = 0.0  # the destination's: shortest sensible time between two commits
        self._absent: dict[StreamName, int] = {}  # selected streams that have not joined -> what they need of the log
        self._joining: queue.SimpleQueue[LogStream] = queue.SimpleQueue()
        self._copying = 0  # streams whose copy is not yet at the destination
        self._end: int | None = None  # set by finish: up to where the run goes
        self._abort = threading.Event()
        self._thread: threading.Thread | None = None
        self._error: SynclineError | None = None
        self._main: ChangeReader | None = None
        self._flowing: dict[StreamName, LogStream] = {}
        self._catching: dict[StreamName, LogStream] = {}
        self._readers: dict[StreamName, ChangeReader] = {}  # of those that catch up, opened when first needed
        self._stopped: dict[StreamName, LogStream] = {}
        self._until = spec.until  # nothing at or past this LSN is applied
        self._hold_file = Hold(Path(spec.work_dir))
        self._holding: HoldRequest | None = None
        self._committed_at = 0.0  # monotonic, of our last commit
        self._teller = LogTeller(log, emit)

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
        self._ledger = LogLedger.of(spec, destination.fence(spec.connection, LOG_STREAM))
        positions: dict[StreamName, LogPosition | None] = {}
        held: dict[StreamName, SynclineError] = {}
        for selected in selection:
            entry = destination.committed(spec.connection, selected.name)
            checkpoint = entry.checkpoint if entry is not None else StreamCheckpoint()
            positions[selected.name] = log_position(checkpoint, self._ledger.lsn)
            error = self._ledger.error_of(selected.name)
            if error is not None and positions[selected.name] is not None:
                held[selected.name] = error
                del positions[selected.name]
        self._copying = len(positions)
        self._absent = {name: p.lsn for name, p in positions.items() if p is not None}
        # Nothing to continue: the log may be another one, and a former global position means nothing in it.
        afresh = all(p is None for p in positions.values()) and not held
        lsn = None if afresh else self._ledger.lsn
        self._began_at = lsn or 0
        self._log.open(positions, None if afresh else self._ledger.identity)
        failpoint("log.opened")
        if self._log.identity != self._ledger.identity or lsn != self._ledger.lsn:
            following, commit = self._ledger.commit(lsn=lsn, identity=self._log.identity)
            destination.commit(commit.target, [], commit.checkpoint, commit.token)
            self._ledger = following
        return held

    def start(self) -> None:
        """Start the thread; streams join before or after."""
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def join(self, stream: LogStream) -> None:
        """The stream's copy is at the destination: its changes follow."""
        self._joining.put(stream)

    def gave_up(self, name: StreamName, error: SynclineError, *, flowed: bool, needs: int | None) -> None:
        """A stream's start or copy failed: it will not join. One that ``flowed`` in an earlier run has its place in the
        global position, which must not move without it: then the log ends here. ``needs``: from this LSN on the next
        attempt wants the log for what was copied of it."""
        if needs is not None:
            self._absent.setdefault(name, needs)
        self._copying -= 1
        if flowed:
            self._error = self._error or error
            self._abort.set()

    def finish(self) -> dict[StreamName, LogStream]:
        """Every copy is made. Go on to the present end of the log and stop there (or when told to, when following).
        Gives all streams that joined. Raises what ended the log early."""
        assert self._thread is not None
        if not self._spec.follow and not self.failed:
            self._end = self._log.end() if self._spec.until is None else self._spec.until
        self._thread.join()
        if self._error is not None:
            raise self._error
        return {**self._flowing, **self._catching, **self._stopped}

    def close(self) -> None:
        """End without waiting for anything; after :meth:`finish` it only releases."""
        self._abort.set()
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
                        self._linger = destination.traits.linger_seconds
                        self._recall(destination)
                        self._reopen()
                        self._loop(session)
                        return
                except SynclineError as error:
                    if not self._may_pass(error):
                        raise
                    failures = 0 if time.monotonic() - began > 60 else failures + 1
                    if not self._spec.follow and failures >= 3:
                        raise
                    delay = _BACK_OFF_SECONDS[min(failures, len(_BACK_OFF_SECONDS) - 1)]
                    self._emit(Log(level="WARN", message=f"{error}; going on from the last commit in {delay:g} s"))
                    if self._stop.wait(delay) or self._abort.is_set():
                        return
        except SynclineError as error:
            self._error = error
        except Exception as error:  # noqa: BLE001 - a defect must end the run with a name, not hang it
            self._error = SynclineError(ErrorKind.INTERNAL, f"{type(error).__name__}: {error}")
            self._error.__cause__ = error
        finally:
            self._close_readers()

    @staticmethod
    def _may_pass(error: SynclineError) -> bool:
        """A conflict is another attempt's token: this one must end."""
        return error.policy.retry and error.kind is not ErrorKind.CONFLICT

    def _session(self, destination: Destination) -> ChangeSession:
        if isinstance(destination, AppliesChanges):
            return destination.change_session(self._spec.connection)
        return AppendSession(destination, self._owner)

    def _owner(self, name: StreamName) -> tuple[int, StreamCheckpoint]:
        stream = self._flowing.get(name) or self._catching[name]
        return stream.token, stream.checkpoint

    def _recall(self, destination: Destination) -> None:
        """What is true is in the ledger: a commit that failed may have been carried out, or in part. Asking may fail as
        well: no stream may be forgotten over that, for the others' position would move without it."""
        entry = destination.committed(self._spec.connection, LOG_STREAM)
        ledger = _ours(LogLedger.of(self._spec, entry), self._ledger)
        known = {**self._flowing, **self._catching}
        entries = {name: destination.committed(self._spec.connection, name) for name in known}
        end = self._log.end() if any(stream.position.snapshot is not None for stream in known.values()) else None
        self._close_readers()
        for name, stream in known.items():
            stream.restore(entries[name])
            if stream.joined:
                stream.position = replace(stream.position, lsn=max(stream.position.lsn, ledger.lsn or 0))
                stream.snapshot_until = end if stream.position.snapshot is not None else None
        self._ledger = ledger
        self._flowing = {name: stream for name, stream in known.items() if stream.joined}
        self._catching = {name: stream for name, stream in known.items() if not stream.joined}

    def _loop(self, session: ChangeSession) -> None:
        while not self._abort.is_set():
            self._take_joining(session)
            if self._held_back(session):
                self._tell()
                if self._stop.is_set():
                    return
                continue
            moved = self._catch_up(session)
            moved |= self._flow(session, wait=not moved)
            self._tell()
            if self._done():
                self._settle(session)
                return

    def _held_back(self, session: ChangeSession) -> bool:
        """Serve somebody who wants the destination at one place of the log (see ``hold.py``). Whether there is one."""
        request = self._hold_file.request()
        if request is None:
            if self._holding is not None:
                self._holding, self._until = None, self._spec.until
                self._reopen()  # what lay beyond was read and left out
            return False
        if request != self._holding:
            self._holding, self._until = request, request.until
            if request.until is not None:
                self._log.end()  # its heartbeat carries the reader past the place although nobody writes
        reached = self._ledger.lsn or 0
        if self._main is not None and (request.until is None or reached >= request.until):
            self._hold_file.answer(request, reached)
            time.sleep(_WAIT_SECONDS)
        else:
            self._flow(session, wait=True)
        return True

    def _done(self) -> bool:
        if self._stop.is_set():
            return True
        if self._end is None or self._catching or not self._joining.empty() or self._copying > 0:
            return False
        return self._main is None or self._main.position >= self._end

    def _take_joining(self, session: ChangeSession) -> None:
        rejoined = False
        while not self._joining.empty():
            stream = self._joining.get_nowait()
            try:
                rejoined |= self._take(stream)
            except SynclineError:
                self._joining.put(stream)  # the source may be away for a moment: it is taken then
                raise
            self._copying -= 1
            self._absent.pop(stream.selected.name, None)
        if rejoined:
            self._reopen()

    def _take(self, stream: LogStream) -> bool:
        """Whether it flows with the others at once."""
        if not stream.joined:
            self._catching[stream.selected.name] = stream
            return False
        # It flowed in an earlier run. Such streams join before the thread starts, so they share their beginning.
        stream.position = replace(stream.position, lsn=max(stream.position.lsn, self._began_at))
        if stream.position.snapshot is not None:
            stream.snapshot_until = self._log.end()
        self._flowing[stream.selected.name] = stream
        return True

    def _reader_of(self, stream: LogStream) -> ChangeReader:
        name = stream.selected.name
        if name not in self._readers:
            self._readers[name] = self._log.reader({name: (stream.read_as, stream.position)}, stream.position.lsn)
        return self._readers[name]

    def _open_main(self) -> None:
        positions = {name: (s.read_as, s.position) for name, s in self._flowing.items()}
        lowest = min(s.position.lsn for s in self._flowing.values())
        self._main = self._log.reader(positions, lowest if self._ledger.lsn is None else self._ledger.lsn)

    def _reopen(self) -> None:
        """Readers from the last committed positions: at the start, and after a flush that came to nothing."""
        self._close_readers()
        for stream in (*self._flowing.values(), *self._catching.values()):
            stream.undo()
        if self._flowing:
            self._open_main()

    def _close_readers(self) -> None:
        if self._main is not None:
            self._main.close()
            self._main = None
        readers, self._readers = self._readers, {}
        for reader in readers.values():
            reader.close()

    # -- flows ----------------------------------------------------------------------------------------------------

    def _flow(self, session: ChangeSession, *, wait: bool) -> bool:
        """One flush of what flows. Whether anything moved."""
        if self._main is None:
            if wait:
                time.sleep(_WAIT_SECONDS / 10)
            return False
        linger = self._linger_left()
        if linger > 0 and self._end is None:
            time.sleep(min(linger, _WAIT_SECONDS))
            return False
        first = self._main.read(_WAIT_SECONDS if wait else 0.0)
        if first is None:
            return False
        failpoint("log.read")
        flush = Flush(self._log, session, self._main, self._flowing, until=self._until)
        if not self._carry_out(flush, first):
            return True
        arrived = self._until is not None and flush.position >= self._until
        if not flush.touched and not flush.broken and not arrived and not self._worth_moving(flush.position):
            return True
        self._commit(session, flush)
        return True

    def _linger_left(self) -> float:
        return self._committed_at + self._linger - time.monotonic() if self._linger else 0.0

    def _worth_moving(self, position: int) -> bool:
        behind = position - (self._ledger.lsn or 0)
        return behind >= _IDLE_BYTES or (behind > 0 and time.monotonic() - self._committed_at >= _IDLE_SECONDS)

    def _carry_out(self, flush: Flush, first: ChangeSlice) -> bool:
        """Apply; False when a stream had to be left out and the flush must be read again without it."""
        try:
            flush.run(first, keep_going=self._linger > 0, abort=self._abort)
        except SynclineError as error:
            flush.session.rollback()
            name = flush.applying
            if name is None or self._may_pass(error) or error.kind in (ErrorKind.CONFLICT, ErrorKind.RESOURCE):
                raise
            self._hold(flush.session, name, error.at(stream=str(name)))
            return False
        return True

    def _hold(self, session: ChangeSession, name: StreamName, error: SynclineError) -> None:
        """Take a stream out for good and remember why; the others go on from the last commit."""
        following, commit = self._ledger.commit(
            lsn=self._ledger.lsn, identity=self._log.identity, hold={name: _with_plan(error, name)}
        )
        # Remembered first: as long as nobody knows that it stopped, the others must not go on without it.
        session.commit([commit])
        self._ledger = following
        stream = self._flowing.pop(name, None) or self._catching.pop(name)
        stream.error = error
        self._stopped[name] = stream
        self._emit(Log(level="ERROR", stream=str(name), message=str(error)))
        self._reopen()

    def _commit(self, session: ChangeSession, flush: Flush) -> None:
        """Streams first, the global position last: in one act where the destination can, else in this order."""
        # A stream without changes is carried by the global position; but the end of its snapshot's filter must be said
        # once in its own entry.
        commits: list[StreamCommit] = [
            stream.commit(flush.position)
            for name, stream in self._flowing.items()
            if name in flush.touched or (stream.snapshot_until is not None and flush.position >= stream.snapshot_until)
        ]
        hold = {name: _with_plan(error, name) for name, error in flush.broken.items()}
        at = time.time() if flush.committed_at is None else flush.committed_at / 1e6
        following, last = self._ledger.commit(lsn=flush.position, identity=self._log.identity, at=at, hold=hold)
        session.commit([*commits, last])
        failpoint("apply.committed")
        for commit in commits:
            self._flowing[commit.target.stream].committed(commit)
        self._ledger = following
        self._committed_at = time.monotonic()
        flush.count()
        self._teller.applied(flush.committed_at)
        failpoint("apply.position")
        self._teller.changed(self._flowing.values())
        for name, error in flush.broken.items():
            stream = self._flowing.pop(name)
            stream.error = error
            self._stopped[name] = stream
            self._emit(Log(level="ERROR", stream=str(name), message=str(error)))
        self._forget()

    def _forget(self) -> None:
        """Rule 5: what is durable downstream is confirmed upstream, never more."""
        if self._ledger.lsn is None or self._copying > 0 or not self._joining.empty():
            return
        # Of a stream that catches up only what its own entry in the ledger says is durable.
        behind = [stream.committed_lsn for stream in self._catching.values()]
        lowest = min([self._ledger.lsn, *behind, *self._absent.values()])
        self._log.confirm(lowest)
        self._log.keep(lowest)

    # -- catches up -----------------------------------------------------------------------------------------------

    def _catch_up(self, session: ChangeSession) -> bool:
        """One flush of each stream that is behind the others, or its joining. Whether anything moved."""
        moved = False
        for name, stream in list(self._catching.items()):
            if name not in self._catching:
                continue
            reader = self._reader_of(stream)
            if self._main is None or reader.position >= self._main.position:
                self._let_flow(session, name)
                moved = True
                continue
            first = reader.read(0.0)
            if first is None:
                continue
            moved = True
            flush = Flush(self._log, session, reader, {name: stream}, until=self._until)
            if not self._carry_out(flush, first):
                continue
            if flush.broken:
                self._hold(session, name, flush.broken[name])
                continue
            if flush.touched:
                commit = stream.commit(flush.position)
                # What the log has learned of the stream's table belongs to the commit that relies on it.
                following, last = self._ledger.commit(lsn=self._ledger.lsn, identity=self._log.identity)
                learned = self._log.identity != self._ledger.identity
                session.commit([commit, last] if learned else [commit])
                if learned:
                    self._ledger = following
                stream.committed(commit)
                flush.count()
                self._teller.changed([stream])
            else:
                stream.position = replace(stream.position, lsn=flush.position)
        return moved

    def _let_flow(self, session: ChangeSession, name: StreamName) -> None:
        """The stream has met the others: from here on it is read together with them."""
        stream, reader = self._catching[name], self._readers[name]
        at = max(reader.position, stream.position.lsn)
        failpoint("join.before")
        # Whatever the snapshot showed was committed before now: past this LSN its filter means nothing.
        until = self._log.end() if stream.position.snapshot is not None else None
        commit = stream.commit(at, joined=True)
        commits = [commit]
        following = self._ledger
        if self._ledger.lsn is None or self._ledger.error_of(name) is not None:
            following, last = self._ledger.commit(
                lsn=at if self._ledger.lsn is None else self._ledger.lsn, identity=self._log.identity, release=name
            )
            commits.append(last)
        session.commit(commits)
        stream.committed(commit)
        stream.snapshot_until = until
        self._ledger = following
        del self._catching[name], self._readers[name]
        reader.close()
        self._flowing[name] = stream
        if self._main is None:
            self._open_main()
        else:
            self._main.add(stream.read_as, stream.position)
        failpoint("join.after")

    # -- ends and tells -------------------------------------------------------------------------------------------

    def _settle(self, session: ChangeSession) -> None:
        """The last words of a run: the position up to which everything was read, and the source told."""
        if self._main is None or not self._flowing:
            return
        position = self._main.position if self._until is None else min(self._main.position, self._until)
        if position > (self._ledger.lsn or 0):
            following, last = self._ledger.commit(lsn=position, identity=self._log.identity, at=time.time())
            session.commit([last])
            self._ledger = following
        self._forget()

    def _tell(self) -> None:
        streams = [*self._flowing.values(), *self._catching.values()]
        position = None if self._main is None else self._main.position
        self._teller.tell(position, streams, [str(name) for name in self._catching])


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


def _with_plan(error: SynclineError, name: StreamName) -> SynclineError:
    """What a held stream says at every later run, until it is reset."""
    plan = f"then copy it anew: syncline state reset FILE --stream {name}"
    hint = error.hint if "state reset" in error.hint else f"{error.hint}; {plan}" if error.hint else plan
    return SynclineError(error.kind, error.message, hint=hint, where=error.where)
