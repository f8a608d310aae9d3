"""The streams that flow: one reader, one flush and one commit for all of them, then the source is told.

read -> apply -> commit the streams -> commit the global position -> tell the source that it may forget
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from syncline.core.change import ChangeSlice
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.failpoints import failpoint
from syncline.core.stream import StreamName
from syncline.engine.events import Log
from syncline.engine.log_flush import Flush
from syncline.engine.log_judging import LogJudging
from syncline.engine.log_state import LogReaders, LogState, may_pass
from syncline.engine.log_telling import LogTeller
from syncline.sdk.change_log import ChangeSession, StreamCommit

__all__ = ["WAIT_SECONDS", "LogFlow"]

#: How long a reader waits for changes before the loop looks whether a stream wants to join or the run shall end.
WAIT_SECONDS = 0.1
#: On a quiet log the position moves on by itself this often, or after this much of others' traffic.
_IDLE_SECONDS, _IDLE_BYTES = 10.0, 16 << 20


class LogFlow:
    """Used by the log's thread. Any error that is not of one stream alone is raised, with nothing committed."""

    def __init__(self, state: LogState, readers: LogReaders, teller: LogTeller) -> None:
        self._state, self._readers, self._teller = state, readers, teller
        self._judging = LogJudging(state)
        self._committed_at = 0.0  # monotonic, of our last commit

    def flow(self, session: ChangeSession, *, wait: bool) -> bool:
        """One flush of what flows. Whether anything moved."""
        state = self._state
        if self._readers.main is None:
            if wait:
                time.sleep(WAIT_SECONDS / 10)
            return False
        linger = self._linger_left()
        if linger > 0 and not state.ending:
            time.sleep(min(linger, WAIT_SECONDS))
            return False
        first = self._readers.main.read(WAIT_SECONDS if wait else 0.0)
        if first is None:
            return False
        failpoint("log.read")
        flush = Flush(state.log, session, self._readers.main, state.flowing, until=state.until)
        if not self.carry_out(flush, first, keep_going=self._linger > 0):
            return True
        arrived = state.until is not None and flush.position >= state.until
        if not flush.touched and not flush.broken and not arrived and not self._worth_moving(flush.position):
            return True
        if self.passes(flush):
            self._commit(session, flush)
        return True

    @property
    def _linger(self) -> float:
        return max(self._state.linger, self._judging.seconds)

    def _linger_left(self) -> float:
        return self._committed_at + self._linger - time.monotonic() if self._linger else 0.0

    def _worth_moving(self, position: int) -> bool:
        behind = position - (self._state.ledger.lsn or 0)
        return behind >= _IDLE_BYTES or (behind > 0 and time.monotonic() - self._committed_at >= _IDLE_SECONDS)

    def passes(self, flush: Flush) -> bool:
        """Whether the gates let the flush be committed; else it is rolled back and the stream in question stopped."""
        refused = self._judging.refusal(flush)
        if refused is None:
            return True
        name, verdict = refused
        error, stream = verdict.error, flush.streams[name]
        assert error is not None
        assert stream.audit is not None
        flush.session.rollback()
        place = self._judging.shelved(stream, error, until=flush.position)
        verdict = replace(verdict, place=place)
        record = self._judging.record(stream, verdict)
        self.hold(flush.session, name, _shown(error, place).at(stream=str(name)), quality=record)
        stream.audit.tell(verdict, sync_id=stream.target.sync_id, rows=stream.rows)
        return False

    def carry_out(self, flush: Flush, first: ChangeSlice, *, keep_going: bool = False) -> bool:
        """Apply; False when a stream had to be left out and the flush must be read again without it."""
        try:
            flush.run(first, keep_going=keep_going, abort=self._state.abort)
        except SynclineError as error:
            flush.session.rollback()
            name = flush.applying
            if name is None or may_pass(error) or error.kind in (ErrorKind.CONFLICT, ErrorKind.RESOURCE):
                raise
            if flush.stopped_at is not None:
                stream = flush.streams[name]
                error = _shown(error, self._judging.shelved(stream, error, until=flush.stopped_at))
            self.hold(flush.session, name, error.at(stream=str(name)))
            return False
        return True

    def hold(
        self,
        session: ChangeSession,
        name: StreamName,
        error: SynclineError,
        *,
        quality: Mapping[str, Any] | None = None,
    ) -> None:
        """Take a stream out for good and remember why; the others go on from the last commit. ``quality``: what its own
        entry is to say of its gates besides; the position in it stays."""
        state = self._state
        stream = state.flowing.get(name) or state.catching[name]
        following, commit = state.ledger.commit(
            lsn=state.ledger.lsn, identity=state.log.identity, hold={name: _with_plan(error, name)}
        )
        # Remembered first: as long as nobody knows that it stopped, the others must not go on without it.
        own = [] if quality is None else [stream.refused(quality)]
        session.commit([*own, commit])
        state.ledger = following
        for flows in (state.flowing, state.catching):
            flows.pop(name, None)
        stream.error = error
        state.stopped[name] = stream
        state.emit(Log(level="ERROR", stream=str(name), message=str(error)))
        self._readers.reopen()

    def _commit(self, session: ChangeSession, flush: Flush) -> None:
        """Streams first, the global position last: in one act where the destination can, else in this order."""
        state = self._state
        # A stream without changes is carried by the global position; but the end of its snapshot's filter must be said
        # once in its own entry.
        commits: list[StreamCommit] = [
            stream.commit(flush.position)
            for name, stream in state.flowing.items()
            if name in flush.touched or (stream.snapshot_until is not None and flush.position >= stream.snapshot_until)
        ]
        hold = {name: _with_plan(error, name) for name, error in flush.broken.items()}
        at = time.time() if flush.committed_at is None else flush.committed_at / 1e6
        following, last = state.ledger.commit(lsn=flush.position, identity=state.log.identity, at=at, hold=hold)
        session.commit([*commits, last])
        failpoint("apply.committed")
        for commit in commits:
            state.flowing[commit.target.stream].committed(commit)
        state.ledger = following
        self._committed_at = time.monotonic()
        flush.count()
        self._teller.applied(flush.committed_at)
        failpoint("apply.position")
        self._teller.changed(state.flowing.values())
        for name, error in flush.broken.items():
            stream = state.flowing.pop(name)
            stream.error = error
            state.stopped[name] = stream
            state.emit(Log(level="ERROR", stream=str(name), message=str(error)))
        self._forget()

    def _forget(self) -> None:
        """Rule 5: what is durable downstream is confirmed upstream, never more."""
        state = self._state
        if state.ledger.lsn is None or state.copying > 0 or not state.joining.empty():
            return
        # Of a stream that catches up only what its own entry in the ledger says is durable.
        behind = [stream.committed_lsn for stream in state.catching.values()]
        lowest = min([state.ledger.lsn, *behind, *state.absent.values()])
        state.log.confirm(lowest)
        state.log.keep(lowest)

    def settle(self, session: ChangeSession) -> None:
        """The last words of a run: the position up to which everything was read, and the source told."""
        state = self._state
        if self._readers.main is None or not state.flowing:
            return
        position = self._readers.main.position if state.until is None else min(self._readers.main.position, state.until)
        # A log that has not moved since the streams joined (MySQL's, without a heartbeat) was still read to its end.
        if position > (state.ledger.lsn or 0) or state.ledger.at is None:
            following, last = state.ledger.commit(lsn=position, identity=state.log.identity, at=time.time())
            session.commit([last])
            state.ledger = following
        self._forget()


def _shown(error: SynclineError, place: str) -> SynclineError:
    """With where people find what was held back."""
    if not place:
        return error
    hint = f"what was held back lies in {place}; {error.hint}" if error.hint else f"what was held back lies in {place}"
    return SynclineError(error.kind, error.message, hint=hint, where=error.where)


def _with_plan(error: SynclineError, name: StreamName) -> SynclineError:
    """What a held stream says at every later run, until it is reset."""
    plan = f"then copy it anew: syncline state reset FILE --stream {name}"
    hint = error.hint if "state reset" in error.hint else f"{error.hint}; {plan}" if error.hint else plan
    return SynclineError(error.kind, error.message, hint=hint, where=error.where)
