"""The receiver: a thread that brings the log of a slot into the spool, and tells the server what it may forget.

    receiver = Receiver(config, context, slot=…, publications=…, spool=spool, start=lsn)
    receiver.start(); …; receiver.confirm(lsn); …; receiver.stop()

What is confirmed is decided elsewhere: this thread never confirms anything by itself. When the connection breaks, the
server restarts or falls silent, it connects again with growing pauses and goes on after what the spool has; what the
server sends twice is left out by LSN. When the spool is full it stops reading (the server then holds the log back) and
goes on answering.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from syncline.connectors.postgres.changes.receive_errors import active_pid
from syncline.connectors.postgres.changes.receive_fallback import Status
from syncline.connectors.postgres.changes.receive_session import ReplicationSession
from syncline.connectors.postgres.changes.spool import Spool
from syncline.connectors.postgres.changes.stretch import TransactionHeader
from syncline.connectors.postgres.connection import PostgresConnectionConfig
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.failpoints import failpoint
from syncline.sdk.connector import ConnectorContext

__all__ = ["Receiver", "ReceiverEvent"]

#: As the server's own receivers (wal_receiver_status_interval): how often it hears from us when nothing happens.
_STATUS_SECONDS = 10.0
#: A confirmation is a message to the server and sometimes an fsync there: not for each of our commits.
_CONFIRM_SECONDS = 0.1
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
#: A walsender whose client was killed holds its slot until it notices.
_RELEASE_SECONDS = 15.0


@dataclass(frozen=True, kw_only=True)
class ReceiverEvent:
    """Something that somebody watching would like to know. ``connected``: the log flows; ``lost``: ``error`` broke it
    and it is tried again; ``full``: the spool has no room, reading has stopped; ``room``: it goes on; ``failed``:
    ``error`` ended the receiver."""

    kind: Literal["connected", "lost", "full", "room", "failed"]
    message: str
    error: SynclineError | None = None


class Receiver:
    """Made for one slot and one spool; started once. All methods may be called by any thread.

    Receives from ``start`` or the spool's end, whichever is higher, on. ``patience`` seconds without a working
    connection end it, ``silence`` seconds without a word from the server are taken for a broken connection.
    ``on_event`` is called in the receiver's thread and must be quick.
    """

    def __init__(
        self,
        config: PostgresConnectionConfig,
        context: ConnectorContext,
        *,
        slot: str,
        publications: Sequence[str],
        spool: Spool,
        start: int,
        patience: float = 300.0,
        silence: float = 60.0,
        on_event: Callable[[ReceiverEvent], None] | None = None,
    ) -> None:
        self._config, self._context = config, context
        self._slot, self._publications, self._spool = slot, tuple(publications), spool
        self._patience, self._silence = patience, silence
        self._on_event = on_event or (lambda event: None)
        self._wanted = self._confirmed = 0
        self._server_end = 0
        self._error: SynclineError | None = None
        self._stopping = threading.Event()
        self._connected = threading.Event()
        self._former: tuple[int, str] | None = None
        self._wake_end, self._wake_start = os.pipe()
        os.set_blocking(self._wake_start, False)
        os.set_blocking(self._wake_end, False)
        self._thread = threading.Thread(target=self._run, name=f"syncline-receive-{slot}", daemon=True)
        if spool.empty:
            spool.reset(start)
        elif start > spool.end:
            spool.append(b"", start)

    # -- what others see ---------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to receive; returns at once."""
        self._spool.fail(None)
        self._thread.start()

    def wait_until_connected(self, timeout: float) -> bool:
        """Whether the log flows (or did, since the start). Raises :attr:`error` when the receiver has ended."""
        deadline = time.monotonic() + timeout
        while not self._connected.wait(min(0.05, max(0.0, deadline - time.monotonic()))):
            if self._error is not None:
                raise self._error
            if time.monotonic() >= deadline:
                return False
        return True

    def stop(self, timeout: float = 10.0) -> None:
        """End it: what was received is in the spool, what was confirmed is said to the server. Returns when the
        connection is closed, or after ``timeout`` seconds (a connection attempt cannot be interrupted). May be called
        twice."""
        self._stopping.set()
        self._wake()
        if self._thread.is_alive():
            self._thread.join(timeout)
        if not self._thread.is_alive():
            self._close_pipe()

    def confirm(self, lsn: int) -> None:
        """The server may forget everything below ``lsn``: it is durable elsewhere. Never goes back. Returns at once;
        the server hears of it within a fraction of a second."""
        if lsn > self._wanted:
            self._wanted = lsn
            self._wake()

    @property
    def received(self) -> int:
        """Every transaction with a commit LSN below is in the spool."""
        return self._spool.end

    @property
    def confirmed(self) -> int:
        """What the server was told last; 0 before the first time."""
        return self._confirmed

    @property
    def server_end(self) -> int:
        """The server's place in its log as last heard: it has looked at everything below."""
        return max(self._server_end, self._spool.end)

    @property
    def connected(self) -> bool:
        return self._connected.is_set()

    @property
    def error(self) -> SynclineError | None:
        """Why the receiver ended by itself. Cursors of the spool raise it when they have given out everything."""
        return self._error

    # -- the thread --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        pause, since = _FIRST_PAUSE, time.monotonic()
        while not self._stopping.is_set():
            before = self._spool.end
            try:
                with contextlib.closing(self._open()) as session:
                    since, pause = time.monotonic(), _FIRST_PAUSE
                    self._former = session.key
                    self._tell("connected", f"receiving from slot {self._slot}")
                    self._connected.set()
                    self._receive(session)
                    return
            except SynclineError as error:
                problem = error
            except Exception as error:  # noqa: BLE001  (a thread has nobody to raise it to)
                problem = SynclineError(
                    ErrorKind.INTERNAL,
                    f"the receiver failed: {type(error).__name__}: {error}",
                    hint="this is a defect: please report it",
                    where={"slot": self._slot},
                )
                problem.__cause__ = error
            self._connected.clear()
            if self._stopping.is_set():
                return
            if self._spool.end > before:
                since = time.monotonic()
            if not self._again(problem, time.monotonic() - since):
                self._error = problem
                self._tell("failed", problem.message, problem)
                self._spool.fail(problem)
                return
            self._tell("lost", problem.message, problem)
            self._stopping.wait(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _open(self) -> ReplicationSession:
        return ReplicationSession(
            self._config,
            work_dir=self._context.work_dir,
            application_name=f"syncline {self._context.connection}",
            slot=self._slot,
            publications=self._publications,
            start=self._spool.end,
            wake=self._wake_end,
            stopping=self._stopping.is_set,
            former=self._former,
        )

    def _again(self, problem: SynclineError, seconds: float) -> bool:
        """Whether the problem may go by itself, after so many seconds of it."""
        if (pid := active_pid(problem)) is not None:
            return seconds < (self._patience if self._former and pid == self._former[0] else _RELEASE_SECONDS)
        return problem.kind in (ErrorKind.TRANSIENT, ErrorKind.UNREACHABLE) and seconds < self._patience

    def _receive(self, session: ReplicationSession) -> None:
        """Until :meth:`stop`, or an error."""
        spool, receiver = self._spool, session.receiver
        spool.begin_session()
        interval = min(_STATUS_SECONDS, session.server_patience / 4 or _STATUS_SECONDS, self._silence / 4)
        next_status = next_confirm = 0.0
        heard, asked, count = time.monotonic(), False, 0
        while not self._stopping.is_set():
            now = time.monotonic()
            if receiver.messages != count:
                heard, asked, count = now, False, receiver.messages
            elif now - heard > self._silence:
                raise self._silent()
            unsaid = self._wanted > self._confirmed
            if now >= next_status or (unsaid and now >= next_confirm):
                asked = now - heard > interval
                self._say(session, ask=asked)
                next_status, next_confirm = now + interval, now + _CONFIRM_SECONDS
            if spool.full:
                self._wait_for_room(session, interval)
                heard = time.monotonic()  # nobody listened
                continue
            until = next_confirm if unsaid else next_status
            status = session.read(max(0.0, until - now))
            self._take(session, status)
            if status is Status.REPLY:
                next_status = 0.0
            elif status is Status.WOKEN:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wake_end, 4096)
        self._say(session)
        session.finish()

    def _take(self, session: ReplicationSession, status: Status) -> None:
        """What the session found, in the order of the log."""
        spool, receiver = self._spool, session.receiver
        frames = receiver.frames
        if len(frames):
            spool.append(
                frames,
                receiver.position,
                relations=receiver.relations,
                dropped_relations=receiver.dropped_relations,
            )
            failpoint("log.received")
            frames.release()
            receiver.clear()
        elif receiver.position > spool.end:
            spool.append(b"", receiver.position, dropped_relations=receiver.dropped_relations)
            receiver.clear()
        block = receiver.block
        if len(block):
            spool.write_stream(receiver.block_xid, block, receiver.block_relations)
            block.release()
            receiver.clear_block()
        if status is Status.COMMIT:
            spool.commit_stream(
                TransactionHeader(
                    xid=receiver.xid,
                    commit_lsn=receiver.commit_lsn,
                    end_lsn=receiver.end_lsn,
                    committed_at=receiver.committed_at,
                )
            )
            receiver.position = max(receiver.position, receiver.end_lsn)
            failpoint("log.received")
        elif status is Status.ABORT:
            spool.abort_stream(receiver.xid, receiver.subxid)
        elif status >= Status.SERVER_ENDED:
            raise session.failure(status)
        self._server_end = max(self._server_end, receiver.server_end)

    def _say(self, session: ReplicationSession, *, ask: bool = False) -> None:
        wanted = self._wanted
        session.send_status(self._spool.end, wanted, ask=ask)
        if wanted > self._confirmed:
            self._confirmed = wanted
            # The source may forget it: whoever called confirm() has it durable.
            failpoint("log.confirmed")

    def _wait_for_room(self, session: ReplicationSession, interval: float) -> None:
        spool = self._spool
        self._tell("full", f"the spool holds {spool.bytes} bytes of at most {spool.max_bytes}: reading has stopped")
        next_status = 0.0
        while not self._stopping.is_set():
            if spool.stream_bytes >= spool.max_bytes // 4 * 3:  # which nobody but the source can end
                raise SynclineError(
                    ErrorKind.RESOURCE,
                    f"transactions that are not committed yet fill the spool ({spool.stream_bytes} bytes)",
                    hint="raise the spool's size above that of the largest transaction at the source",
                    where={"path": str(spool.folder)},
                )
            now = time.monotonic()
            if now >= next_status or self._wanted > self._confirmed:
                self._say(session)
                next_status = now + interval
            if spool.wait_for_room(min(interval, _CONFIRM_SECONDS)):
                self._tell("room", "the spool has room again")
                return

    def _silent(self) -> SynclineError:
        return SynclineError(
            ErrorKind.TRANSIENT,
            f"the server has said nothing for {self._silence:g} s, not even when asked",
            hint="the network between may have dropped the connection; it is made again",
            where={"connector": "postgres", "slot": self._slot},
        )

    def _tell(
        self,
        kind: Literal["connected", "lost", "full", "room", "failed"],
        message: str,
        error: SynclineError | None = None,
    ) -> None:
        self._on_event(ReceiverEvent(kind=kind, message=message, error=error))

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # full: it will wake all the same; closed: it has ended
            os.write(self._wake_start, b"\0")

    def _close_pipe(self) -> None:
        for each in (self._wake_end, self._wake_start):
            with contextlib.suppress(OSError):
                os.close(each)
        self._wake_end = self._wake_start = -1
