"""The streams on their way to the others: taken over when their copy is made, caught up with a reader of their own, and
joined once they have met the rest."""

from __future__ import annotations

from dataclasses import replace

from syncline.core.errors import SynclineError
from syncline.core.failpoints import failpoint
from syncline.core.stream import StreamName
from syncline.engine.log_flowing import LogFlow
from syncline.engine.log_flush import Flush
from syncline.engine.log_state import LogReaders, LogState
from syncline.engine.log_stream import LogStream
from syncline.engine.log_telling import LogTeller
from syncline.sdk.change_log import ChangeSession

__all__ = ["LogJoining"]


class LogJoining:
    """Used by the log's thread."""

    def __init__(self, state: LogState, readers: LogReaders, flow: LogFlow, teller: LogTeller) -> None:
        self._state, self._readers, self._flow, self._teller = state, readers, flow, teller

    def take(self) -> None:
        """Take over the streams whose copies were made since the last call."""
        state = self._state
        rejoined = False
        while not state.joining.empty():
            stream = state.joining.get_nowait()
            try:
                rejoined |= self._taken(stream)
            except SynclineError:
                state.joining.put(stream)  # the source may be away for a moment: it is taken then
                raise
            state.copying -= 1
            state.absent.pop(stream.selected.name, None)
        if rejoined:
            self._readers.reopen()

    def _taken(self, stream: LogStream) -> bool:
        """Whether it flows with the others at once."""
        state = self._state
        if not stream.joined:
            state.catching[stream.selected.name] = stream
            return False
        # It flowed in an earlier run. Such streams join before the thread starts, so they share their beginning.
        stream.position = replace(stream.position, lsn=max(stream.position.lsn, state.began_at))
        if stream.position.snapshot is not None:
            stream.snapshot_until = state.log.end()
        state.flowing[stream.selected.name] = stream
        return True

    def catch_up(self, session: ChangeSession) -> bool:
        """One flush of each stream that is behind the others, or its joining. Whether anything moved."""
        state = self._state
        moved = False
        for name, stream in list(state.catching.items()):
            if name not in state.catching:
                continue
            reader = self._readers.of(stream)
            if self._readers.main is None or reader.position >= self._readers.main.position:
                self._let_flow(session, name)
                moved = True
                continue
            first = reader.read(0.0)
            if first is None:
                continue
            moved = True
            flush = Flush(state.log, session, reader, {name: stream}, until=state.until)
            if not self._flow.carry_out(flush, first):
                continue
            if flush.broken:
                self._flow.hold(session, name, flush.broken[name])
                continue
            if flush.touched:
                if not self._flow.passes(flush):
                    continue
                commit = stream.commit(flush.position)
                # What the log has learned of the stream's table belongs to the commit that relies on it.
                following, last = state.ledger.commit(lsn=state.ledger.lsn, identity=state.log.identity)
                learned = state.log.identity != state.ledger.identity
                session.commit([commit, last] if learned else [commit])
                if learned:
                    state.ledger = following
                stream.committed(commit)
                flush.count()
                self._teller.changed([stream])
            else:
                stream.position = replace(stream.position, lsn=flush.position)
        return moved

    def _let_flow(self, session: ChangeSession, name: StreamName) -> None:
        """The stream has met the others: from here on it is read together with them."""
        state = self._state
        stream = state.catching[name]
        reader = self._readers.of(stream)
        at = max(reader.position, stream.position.lsn)
        failpoint("join.before")
        # Whatever the snapshot showed was committed before now: past this LSN its filter means nothing.
        until = state.log.end() if stream.position.snapshot is not None else None
        commit = stream.commit(at, joined=True)
        commits = [commit]
        following = state.ledger
        if state.ledger.lsn is None or state.ledger.error_of(name) is not None:
            following, last = state.ledger.commit(
                lsn=at if state.ledger.lsn is None else state.ledger.lsn,
                identity=state.log.identity,
                release=name,
            )
            commits.append(last)
        session.commit(commits)
        stream.committed(commit)
        stream.snapshot_until = until
        state.ledger = following
        del state.catching[name]
        state.flowing[name] = stream
        self._readers.join(stream)
        failpoint("join.after")
