"""The log of one Postgres connection: slot, publication, receiver, spool and decoders, put together.

See :class:`syncline.sdk.change_log.ChangeLog` for the protocol. Threads: the receiver (``receive``) fills the spool;
the guard (``guard``) measures, sends heartbeats and makes the spool durable; whoever calls reads. Sessions for
questions are opened when needed, one use at a time.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from syncline.connectors.postgres.changes.config import ChangeCapture
from syncline.connectors.postgres.changes.continuity import Held, broken_log, ensure_continues, receive_from
from syncline.connectors.postgres.changes.describe import stopped
from syncline.connectors.postgres.changes.fetch import fetch_rows
from syncline.connectors.postgres.changes.followed import Followed, follow_tables
from syncline.connectors.postgres.changes.guard import Guard
from syncline.connectors.postgres.changes.heartbeat import Heartbeat
from syncline.connectors.postgres.changes.names import log_names, spool_folder
from syncline.connectors.postgres.changes.reader import PostgresChangeReader
from syncline.connectors.postgres.changes.receive import Receiver, ReceiverEvent
from syncline.connectors.postgres.changes.server import LogServer, ensure_logical, identify
from syncline.connectors.postgres.changes.slot import Slot, create_slot, creation_statement, free_slot
from syncline.connectors.postgres.changes.spool import Spool
from syncline.connectors.postgres.changes.spool_folder import disk_error, sync_names
from syncline.connectors.postgres.changes.table import Tables
from syncline.connectors.postgres.reading.transaction import PlanningSession, SessionMaker
from syncline.core.batch import Batch
from syncline.core.change import LogPosition
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.stream import SelectedStream, StreamName
from syncline.sdk.change_log import LogStatus
from syncline.sdk.connector import ConnectorContext

if TYPE_CHECKING:
    from syncline.connectors.postgres.connection import Session

__all__ = ["PostgresChangeLog"]

#: The slot's first message: a walsender that has much log to pass over takes its time, so this is no failure.
_CONNECT_SECONDS = 30.0

_log = logging.getLogger("syncline.postgres")


class PostgresChangeLog:
    """Made by :meth:`PostgresSource.change_log`; nothing happens before :meth:`open`. ``offered`` are all columns of
    each stream as discovered: a stream that takes all of them takes those that are added later too."""

    def __init__(
        self,
        maker: SessionMaker,
        capture: ChangeCapture,
        context: ConnectorContext,
        selection: Sequence[SelectedStream],
        offered: Mapping[StreamName, Sequence[str]],
    ) -> None:
        self._maker, self._capture, self._context = maker, capture, context
        self._selection = {s.name: s for s in selection}
        self._offered = offered
        self._names = log_names(context.connection, capture)
        self._questions = PlanningSession(maker)  # under the lock below
        self._asking = threading.Lock()
        self._heartbeat = Heartbeat(capture.heartbeat)
        self._spool: Spool | None = None
        self._receiver: Receiver | None = None
        self._guard: Guard | None = None
        self._server: LogServer | None = None
        self._followed = Followed()
        self._readers: list[PostgresChangeReader] = []
        self._identity: dict[str, Any] = {}
        self._check_utf8 = False  # text may be no text
        self._closed = False

    # -- the protocol ----------------------------------------------------------------------------------------------

    def open(self, positions: Mapping[StreamName, LogPosition | None], identity: Mapping[str, Any] | None) -> None:
        given = {name: p for name, p in positions.items() if p is not None}
        with self._asking, self._questions.use() as session:
            ensure_logical(session)
            self._check_utf8 = session.info.parameter_status("server_encoding") == "SQL_ASCII"
            self._server = identify(self._maker)
            slot = free_slot(session, self._names.slot)
            if given and identity is None:
                raise broken_log("the destination knows positions of streams, but not whose log they are in")
            away = _left_out(given, identity)
            given = {name: p for name, p in given.items() if name not in away}
            if identity is not None and given:
                ensure_continues(self._server, slot, self._names.slot, given, identity)
            self._followed = follow_tables(
                session,
                self._names,
                list(self._selection.values()),
                positions=given,
                offered=self._offered,
                known=(identity or {}).get("tables", {}),
                horizon=(identity or {}).get("catalog"),
                manage=self._capture.manage,
            )
            self._followed.broken.update(away)
            # Tables of streams that this attempt leaves alone stay published, or their logs would get a gap.
            self._followed.only(positions.keys() - away.keys())
            slot = self._ready_slot(session, slot)
            start = self._ready_spool(slot, given, identity if given else None)
        self._remember()
        self._start(start)

    @property
    def identity(self) -> Mapping[str, Any]:
        """With the numbers of all columns that the readers have given out. They are asked for between the flush that
        relies on them and its commit, so that the two become true together; a flush that is rolled back teaches
        nothing."""
        given = {name: numbers for reader in self._readers for name, numbers in reader.column_numbers.items()}
        tables = self._followed.to_json(given)
        return self._identity if self._identity.get("tables") == tables else {**self._identity, "tables": tables}

    def end(self) -> int:
        with self._asking, self._questions.use() as session:
            return self._heartbeat.beat(session)

    def reader(
        self, positions: Mapping[StreamName, tuple[SelectedStream, LogPosition]], start: int
    ) -> PostgresChangeReader:
        assert self._spool is not None
        reader = PostgresChangeReader(
            cursor=self._spool.cursor(start),
            tables=Tables(self._maker),
            followed=self._followed,
            check_utf8=self._check_utf8,
            on_close=self._readers.remove,
        )
        self._readers.append(reader)
        for selected, position in positions.values():
            reader.add(selected, position)
        return reader

    def keep(self, lsn: int) -> None:
        assert self._spool is not None
        self._spool.keep(lsn)

    def confirm(self, lsn: int) -> None:
        assert self._receiver is not None
        self._receiver.confirm(lsn)
        # What the destination has now is what columns added from here on are told from.
        news = [self._followed.learn(reader.column_numbers) for reader in self._readers]
        if any(news) or self._identity.get("catalog", self._followed.horizon) != self._followed.horizon:
            self._remember()

    def status(self) -> LogStatus:
        assert self._receiver is not None
        assert self._spool is not None
        measured = self._guarding.measured
        return LogStatus(
            end=max(measured.end, self._receiver.server_end),
            received=self._receiver.received,
            confirmed=max(measured.confirmed, self._receiver.confirmed),
            retained_bytes=measured.retained_bytes,
            spool_bytes=self._spool.bytes,
            state=measured.state,
            seconds_left=measured.seconds_left,
            slot=self._names.slot,
            budget=self._capture.max_retained_wal,
        )

    def fetch(self, selected: SelectedStream, keys: pa.RecordBatch) -> Batch:
        return fetch_rows(self._maker, selected, keys)

    def close(self) -> None:
        """May be called twice, also when :meth:`open` has failed."""
        if self._closed:
            return
        self._closed = True
        if self._guard is not None:
            self._guard.stop()
        if self._receiver is not None:
            self._receiver.stop()
        for reader in list(self._readers):
            reader.close()
        if self._spool is not None:
            self._spool.close()
        with self._asking:
            self._questions.close()

    # -- opening -----------------------------------------------------------------------------------------------------

    def _ready_slot(self, session: Session, slot: Slot | None) -> Slot:
        """The slot, made when it is ours and missing. When this is called no stream needs one that is gone."""
        name = self._names.slot
        if slot is not None and slot.lost and self._names.own_slot:
            _log.warning("replication slot %s was given up by the server and nothing needs it: made anew", name)
            session.execute("SELECT pg_drop_replication_slot(%s)", [name])
            slot = None
        if slot is None and not self._names.own_slot:
            statement = creation_statement(name, session.info.server_version, failover=self._capture.failover)
            raise SynclineError(
                ErrorKind.CONFIG,
                f"there is no replication slot {name}, which the configuration names",
                hint=f"make it: {statement}; or leave replication_slot out and one is made and kept for you",
                where={"connector": "postgres"},
            )
        if slot is None:
            slot = create_slot(session, name, timeout=self._capture.slot_timeout, failover=self._capture.failover)
        assert self._server is not None
        _ensure_ours(slot, self._server.database)
        return slot

    def _ready_spool(
        self, slot: Slot, given: Mapping[StreamName, LogPosition], identity: Mapping[str, Any] | None
    ) -> int:
        """Open the spool, emptied where its content is not that of this log. The LSN to receive from."""
        settings = self._capture.spool
        folder = spool_folder(self._capture, self._context, self._names)
        spool = self._spool = Spool(folder, max_bytes=settings.max_bytes)
        assert self._server is not None
        switch = None
        if identity is not None and int(identity["timeline"]) != self._server.timeline:
            switch = self._server.left(int(identity["timeline"]))
        held = Held(empty=spool.empty, begin=spool.begin, end=spool.end, identity=spool.identity)
        start, afresh = receive_from(
            slot,
            held,
            min((p.lsn for p in given.values()), default=None),
            known=self._owner(folder) == self._claim(held.identity),
            switch=switch,
            now=self._server.end,
        )
        if afresh:
            spool.reset(start)
            _write_owner(folder, json.dumps(self._claim(spool.identity)))
        return start

    def _claim(self, spool: str) -> dict[str, str]:
        """Whose log a spool holds. The ledger remembers it too, but hears of a new spool only after it is filled."""
        assert self._server is not None
        return {
            "system": self._server.system,
            "database": self._server.database,
            "slot": self._names.slot,
            "spool": spool,
        }

    @staticmethod
    def _owner(folder: Path) -> Any:
        try:
            return json.loads(_owner_file(folder).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    def _start(self, start: int) -> None:
        assert self._spool is not None
        self._receiver = Receiver(
            self._maker.config,
            self._context,
            slot=self._names.slot,
            publications=(self._names.publication,),
            spool=self._spool,
            start=start,
            on_event=self._hear,
        )
        self._guard = Guard(
            self._maker,
            self._capture,
            self._names,
            spool=self._spool,
            receiver=self._receiver,
            heartbeat=self._heartbeat,
            followed=self._followed,
        )
        self._receiver.start()
        self._receiver.wait_until_connected(_CONNECT_SECONDS)
        self._guard.start()

    @property
    def _guarding(self) -> Guard:
        assert self._guard is not None
        return self._guard

    def _remember(self) -> None:
        assert self._server is not None
        assert self._spool is not None
        self._identity = {
            "system": self._server.system,
            "timeline": self._server.timeline,
            "database": self._server.database,
            "slot": self._names.slot,
            "publication": self._names.publication,
            "spool": self._spool.identity,
            **({"catalog": self._followed.horizon} if self._followed.partitioned else {}),
            "tables": self._followed.to_json(),
        }

    def _hear(self, event: ReceiverEvent) -> None:
        """In the receiver's thread. Raising ends the receiver before it takes anything from the new session."""
        if event.kind in ("lost", "full"):
            _log.warning("%s", event.error or event.message)
        if event.kind != "connected" or self._server is None:
            return
        now = identify(self._maker)
        if (now.system, now.timeline) != (self._server.system, self._server.timeline):
            raise SynclineError(
                ErrorKind.CONFLICT,
                f"the server has changed while we were reading: system {now.system}, timeline {now.timeline}, it was "
                f"{self._server.system}, {self._server.timeline}",
                hint="the next run looks whether it can go on there (after a failover) and says so if not",
                where={"connector": "postgres"},
            )


def _left_out(
    given: Mapping[StreamName, LogPosition], identity: Mapping[str, Any] | None
) -> dict[StreamName, SynclineError]:
    """Streams that the last run did not follow although it went on with others: what the log told of them then was
    passed over, whatever position they are said to have."""
    if identity is None:
        return {}
    return {
        name: stopped(name, "the last run went on in the log without it, so its own log has a gap")
        for name in given
        if str(name) not in identity.get("tables", {})
    }


def _owner_file(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.json")


def _write_owner(folder: Path, text: str) -> None:
    """As durable as the spool: after a power cut nobody would believe a spool without it."""
    partial = folder.with_name(f"{folder.name}.json.new")
    try:
        with partial.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(_owner_file(folder))
        sync_names(folder.parent)
    except OSError as error:
        raise disk_error(error, folder) from error


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
