"""What receives the log of one connection: slot, receiver, guard and spool, whoever reads from it.

An ordinary connection has a station for its one log. A connection with several destinations has one for all of them:
each has a :class:`~syncline.connectors.postgres.changes.log.PostgresChangeLog` of its own, a *member*, which opens and
closes when it likes. The first one to open starts the reception. Threads: the receiver fills the spool; the guard
measures, sends heartbeats and makes the spool durable; sessions for questions are opened when needed, one use at a
time.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from syncline.connectors.postgres.changes.config import ChangeCapture
from syncline.connectors.postgres.changes.continuity import Held, broken_log, receive_from
from syncline.connectors.postgres.changes.followed import Followed
from syncline.connectors.postgres.changes.guard import Guard
from syncline.connectors.postgres.changes.heartbeat import Heartbeat
from syncline.connectors.postgres.changes.lsn import lsn_to_text
from syncline.connectors.postgres.changes.names import log_names, needs_file, owner_file, spool_folder
from syncline.connectors.postgres.changes.needs import Needs, laggards
from syncline.connectors.postgres.changes.receive import Receiver, ReceiverEvent
from syncline.connectors.postgres.changes.server import LogServer, ensure_logical, identify
from syncline.connectors.postgres.changes.slot import Slot, create_slot, creation_statement, free_slot, look_at_slot
from syncline.connectors.postgres.changes.spool import Spool
from syncline.connectors.postgres.changes.spool_folder import disk_error, sync_names
from syncline.connectors.postgres.reading.transaction import PlanningSession, SessionMaker
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.stream import StreamName
from syncline.sdk.change_log import LogStatus
from syncline.sdk.connector import ConnectorContext
from syncline.sdk.log_place import PlaceGoneError

if TYPE_CHECKING:
    from syncline.connectors.postgres.connection import Session

__all__ = ["ALONE", "Station"]

#: The only member of an ordinary connection.
ALONE = ""
#: The slot's first message: a walsender that has much log to pass over takes its time, so this is no failure.
_CONNECT_SECONDS = 30.0

_log = logging.getLogger("syncline.postgres")


class Station:
    """Nothing happens before :meth:`enter`. ``members`` are all destinations of the connection; ``leave_behind``:
    whether one that holds a full spool loses its place when others are ahead of it. Any thread."""

    def __init__(
        self,
        maker: SessionMaker,
        capture: ChangeCapture,
        context: ConnectorContext,
        *,
        members: Sequence[str] = (ALONE,),
        leave_behind: bool = False,
    ) -> None:
        self.maker, self.capture = maker, capture
        self._context = context
        self.names = log_names(context.connection, capture)
        self._folder = spool_folder(capture, context, self.names)
        self._members = tuple(members)
        self._needs = Needs(members, needs_file(self._folder) if self._members != (ALONE,) else None)
        self._leave_behind = leave_behind
        self._questions = PlanningSession(maker)  # under the lock below
        self._asking = threading.Lock()
        #: held while a member opens: one after the other
        self.opening = threading.RLock()
        self._heartbeat = Heartbeat(capture.heartbeat)
        self._open: dict[str, Followed] = {}  # members that read now, and what they follow
        self._closed = False
        self.server: LogServer | None = None
        self.spool: Spool | None = None
        self.receiver: Receiver | None = None
        self.guard: Guard | None = None

    # -- what members ask ------------------------------------------------------------------------------------------

    @contextmanager
    def questions(self) -> Iterator[Session]:
        """A session in autocommit, for one use; others wait."""
        with self._asking, self._questions.use() as session:
            yield session

    def look(self, session: Session) -> Slot | None:
        """Who the server is, and its slot: free, unless it is we who read it."""
        ensure_logical(session)
        before, self.server = self.server, identify(self.maker)
        if self._receives:
            return look_at_slot(session, self.names.slot)
        self._shut()  # what ended by itself
        if self.spool is not None and before is not None:
            _ensure_same(before, self.server)
        slot = free_slot(session, self.names.slot)
        if self.spool is not None and slot is not None and slot.confirmed > self.spool.end:
            raise broken_log(f"slot {slot.name} has moved on to {lsn_to_text(slot.confirmed)} without us")
        return slot

    def published_besides(self, member: str) -> set[StreamName]:
        """Tables that other members follow: they stay published."""
        return {name for other, followed in self._open.items() if other != member for name in followed.tables}

    def enter(
        self, session: Session, slot: Slot | None, member: str, lowest: int | None, identity: Mapping[str, Any] | None
    ) -> Slot:
        """Make what is missing at the source and give ``member`` its place: ``lowest`` is the least position of its
        streams (None: all are copied first), ``identity`` what its ledger says of the log it was in. Raises
        ``conflict`` when what it needs is not there any more; :class:`PlaceGoneError` of one that was taken out of the
        connection meanwhile. :meth:`receive` must follow."""
        slot = self._ready_slot(session, slot)
        if self._members == (ALONE,) and (remembered := needs_file(self._folder)).exists():
            Needs((), remembered).take_all_out()
        if self.spool is None:
            try:
                self._ready_spool(slot, member, lowest, identity)
            except BaseException:
                self._shut()
                raise
        assert self.spool is not None
        if lowest is not None and lowest < self.spool.begin:
            begins = f"the spool begins at {lsn_to_text(self.spool.begin)}, and it is at {lsn_to_text(lowest)}"
            if self._needs.was_out(member):
                raise _gone(member, begins)
            raise self._lost(member, self._needs.why_left(member) or begins)
        # One that copies first needs the log from its plan on, which is made later than this.
        self._needs.take_place(member, self.spool.begin if lowest is None else lowest)
        return slot

    def receive(self, member: str, followed: Followed) -> None:
        """``member`` reads from now on, and what is in the log comes into the spool."""
        self._open[member] = followed
        if self._receives:
            return
        assert self.spool is not None
        self.receiver = Receiver(
            self.maker.config,
            self._context,
            slot=self.names.slot,
            publications=(self.names.publication,),
            spool=self.spool,
            start=self.spool.end,
            on_event=self._hear,
        )
        self.guard = Guard(
            self.maker,
            self.capture,
            self.names,
            spool=self.spool,
            receiver=self.receiver,
            heartbeat=self._heartbeat,
            followed=lambda: list(self._open.values()),
            tend=self.tend,
        )
        self.receiver.start()
        self.receiver.wait_until_connected(_CONNECT_SECONDS)
        self.guard.start()

    def end(self) -> int:
        """Ask the source where its log ends now, with a heartbeat that carries readers past it."""
        with self.questions() as session:
            return self._heartbeat.beat(session)

    def ensure_place(self, member: str) -> None:
        """``conflict`` when it was left behind."""
        if (why := self._needs.why_left(member)) is not None:
            raise self._lost(member, why)

    def held_from(self, member: str) -> int | None:
        """The LSN from which the log is kept for it; None without a place."""
        return self._needs.of(member)

    def moved(self, member: str, lsn: int) -> int:
        """What is below is durable at this member's destination. Gives what is so for all of them."""
        self._needs.move(member, lsn)
        floor = self._needs.floor
        return lsn if floor is None else floor

    def confirm(self, member: str, lsn: int) -> None:
        assert self.receiver is not None
        self.receiver.confirm(self.moved(member, lsn))

    def keep(self, member: str, lsn: int) -> None:
        assert self.spool is not None
        self.spool.keep(self.moved(member, lsn))

    def status(self) -> LogStatus:
        assert self.receiver is not None
        assert self.spool is not None
        assert self.guard is not None
        measured = self.guard.measured
        return LogStatus(
            end=max(measured.end, self.receiver.server_end),
            received=self.receiver.received,
            confirmed=max(measured.confirmed, self.receiver.confirmed),
            retained_bytes=measured.retained_bytes,
            spool_bytes=self.spool.bytes,
            state=measured.state,
            seconds_left=measured.seconds_left,
            slot=self.names.slot,
            budget=self.capture.max_retained_wal,
        )

    def leave(self, member: str) -> None:
        """It does not read any more, and keeps its place."""
        self._open.pop(member, None)

    def close(self) -> None:
        """May be called twice, also when nothing was opened."""
        if self._closed:
            return
        self._closed = True
        self._shut()
        self._needs.close()
        with self._asking:
            self._questions.close()

    # -- the budget ------------------------------------------------------------------------------------------------

    def tend(self) -> None:
        """About once a second, by the guard: who holds more than the budget allows, and alone, loses its place."""
        if not self._leave_behind or self.spool is None or self.receiver is None:
            return
        spool, needs = self.spool, self._needs.all()
        if spool.full:
            late = laggards(needs, spool.bytes_below, spool.max_bytes // 4)
            self._leave(late, f"the spool was full ({spool.max_bytes / 1e9:.2f} GB)")
        elif not self.capture.spool.durable:
            # What is not durable here, the source keeps: its budget is what counts.
            budget, end = self.capture.max_retained_wal, max(self.receiver.server_end, spool.end)
            floor = min(needs.values(), default=end)
            if end - floor >= budget:
                late = laggards(needs, lambda lsn: lsn - floor, budget // 4)
                self._leave(late, f"the source kept {(end - floor) / 1e9:.2f} GB of log for it (max_retained_wal)")

    def _leave(self, late: Sequence[str], reason: str) -> None:
        for member in late:
            why = f"{reason}, and others were ahead of it, so it was left behind"
            _log.warning("destination %s: %s", member, why)
            self._needs.leave(member, why)
        floor = self._needs.floor
        if late and floor is not None and self.spool is not None and self.receiver is not None:
            self.receiver.confirm(floor)
            self.spool.keep(floor)

    def _lost(self, member: str, why: str) -> SynclineError:
        plan = f"syncline state reset FILE --connection {self._context.connection}/{member}, then sync"
        return SynclineError(
            ErrorKind.CONFLICT,
            f"destination {member} has lost its place in the log: {why}",
            hint=f"copy it anew while the others go on: {plan}",
            where={"connector": "postgres"},
            final=True,
        )

    # -- opening ---------------------------------------------------------------------------------------------------

    @property
    def _receives(self) -> bool:
        """Whether the log flows. A receiver that has ended is begun anew by whoever comes next."""
        return self.receiver is not None and self.spool is not None and self.spool.error is None

    def _shut(self) -> None:
        """End the reception; the spool stays open as long as somebody reads in it."""
        if self.guard is not None:
            self.guard.stop()
        if self.receiver is not None:
            self.receiver.stop()
        self.guard = self.receiver = None
        if self.spool is not None and (self._closed or not self._open):
            self.spool.close()
            self.spool = None

    def _ready_slot(self, session: Session, slot: Slot | None) -> Slot:
        """The slot, made when it is ours and missing. When this is called no stream needs one that is gone."""
        name = self.names.slot
        if slot is not None and slot.lost and self.names.own_slot:
            _log.warning("replication slot %s was given up by the server and nothing needs it: made anew", name)
            session.execute("SELECT pg_drop_replication_slot(%s)", [name])
            slot = None
        if slot is None and not self.names.own_slot:
            statement = creation_statement(name, session.info.server_version, failover=self.capture.failover)
            raise SynclineError(
                ErrorKind.CONFIG,
                f"there is no replication slot {name}, which the configuration names",
                hint=f"make it: {statement}; or leave replication_slot out and one is made and kept for you",
                where={"connector": "postgres"},
            )
        if slot is None and self.spool is not None:
            raise broken_log(f"replication slot {name} does not exist any more", advice="end this run, start another")
        if slot is None:
            slot = create_slot(session, name, timeout=self.capture.slot_timeout, failover=self.capture.failover)
        assert self.server is not None
        _ensure_ours(slot, self.server.database)
        return slot

    def _ready_spool(self, slot: Slot, member: str, lowest: int | None, identity: Mapping[str, Any] | None) -> None:
        """Open the spool, emptied where its content is not that of this log."""
        spool = self.spool = Spool(self._folder, max_bytes=self.capture.spool.max_bytes)
        assert self.server is not None
        switch = None
        if identity is not None and int(identity["timeline"]) != self.server.timeline:
            switch = self.server.left(int(identity["timeline"]))
        held = Held(empty=spool.empty, begin=spool.begin, end=spool.end, identity=spool.identity)
        known = self._owner() == self._claim(held.identity)
        # Others may have a place that we do not know of (it was its connection's only destination, or the file of the
        # needs was lost), or one that the file is behind of: what there is stays for them until they say more.
        usable = known and not held.empty and (switch is None or held.end <= switch)
        earliest = held.begin if usable and held.end >= slot.confirmed else slot.confirmed
        if lowest is not None and lowest < earliest and self._needs.was_out(member):
            raise _gone(member, f"what is kept begins at {lsn_to_text(earliest)}, and it is at {lsn_to_text(lowest)}")
        others = [m for m in self._members if m != member and not self._needs.why_left(m)]
        places = {other: max(self._needs.of(other) or 0, earliest) for other in others}
        needed = [*places.values(), *(() if lowest is None else (lowest,))]
        start, afresh = receive_from(
            slot, held, min(needed, default=None), known=known, switch=switch, now=self.server.end
        )
        if afresh:
            spool.reset(start)
            self._write_owner(json.dumps(self._claim(spool.identity)))
        for other, lsn in places.items():
            self._needs.take_place(other, lsn)

    def _claim(self, spool: str) -> dict[str, str]:
        """Whose log a spool holds. The ledger remembers it too, but hears of a new spool only after it is filled."""
        assert self.server is not None
        return {
            "system": self.server.system,
            "database": self.server.database,
            "slot": self.names.slot,
            "spool": spool,
        }

    def _owner(self) -> Any:
        try:
            return json.loads(owner_file(self._folder).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    def _write_owner(self, text: str) -> None:
        """As durable as the spool: after a power cut nobody would believe a spool without it."""
        path = owner_file(self._folder)
        partial = path.with_name(f"{path.name}.new")
        try:
            with partial.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
            sync_names(path.parent)
        except OSError as error:
            raise disk_error(error, self._folder) from error

    def _hear(self, event: ReceiverEvent) -> None:
        """In the receiver's thread. Raising ends the receiver before it takes anything from the new session."""
        if event.kind in ("lost", "full"):
            _log.warning("%s", event.error or event.message)
        if event.kind != "connected" or self.server is None:
            return
        now = identify(self.maker)
        if (now.system, now.timeline) != (self.server.system, self.server.timeline):
            raise SynclineError(
                ErrorKind.CONFLICT,
                f"the server has changed while we were reading: system {now.system}, timeline {now.timeline}, it was "
                f"{self.server.system}, {self.server.timeline}",
                hint="the next run looks whether it can go on there (after a failover) and says so if not",
                where={"connector": "postgres"},
            )


def _gone(member: str, why: str) -> PlaceGoneError:
    return PlaceGoneError(
        ErrorKind.CONFLICT,
        f"destination {member} was taken out of the connection and is back, and its place in the log is gone ({why})",
        where={"connector": "postgres"},
    )


def _ensure_same(before: LogServer, now: LogServer) -> None:
    if (before.system, before.timeline) != (now.system, now.timeline):
        raise SynclineError(
            ErrorKind.TRANSIENT,
            "the server has changed, and other destinations have not ended yet in the log of the former one",
            hint="this destination is tried again when they have",
            where={"connector": "postgres"},
        )


def _ensure_ours(slot: Slot, database: str) -> None:
    if slot.plugin != "pgoutput" or slot.database != database:
        what = f"plugin {slot.plugin or 'none (it is a physical slot)'}, database {slot.database or 'none'}"
        raise SynclineError(
            ErrorKind.CONFIG,
            f"replication slot {slot.name} cannot be used: it has {what}; pgoutput in {database} is needed",
            hint="name another slot, or leave replication_slot out and one is made for you",
            where={"connector": "postgres"},
        )
    if slot.two_phase:
        raise SynclineError(
            ErrorKind.CONFIG,
            f"replication slot {slot.name} decodes prepared transactions before they are committed (two_phase)",
            hint="make one without it, or leave replication_slot out and one is made for you",
            where={"connector": "postgres"},
        )
    if slot.temporary:
        raise SynclineError(
            ErrorKind.CONFIG,
            f"replication slot {slot.name} is temporary: it goes away with its session",
            hint="make a lasting one, or leave replication_slot out and one is made for you",
            where={"connector": "postgres"},
        )
