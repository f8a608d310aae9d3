"""A source with a slot, its receiver and spool, and a plain reading of what the spool gives, to compare with the table.

The reading shares no code with the decoder: it is the oracle of the tests of receiver and spool.
"""

from __future__ import annotations

import random
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg

from syncline.connectors.postgres.changes.lsn import lsn_from_text
from syncline.connectors.postgres.changes.receive import Receiver, ReceiverEvent
from syncline.connectors.postgres.changes.spool import Spool
from syncline.connectors.postgres.changes.spool_cursor import SpoolCursor
from syncline.connectors.postgres.changes.spool_relations import messages
from syncline.connectors.postgres.changes.stretch import Stretch
from syncline.connectors.postgres.config import PostgresSourceConfig
from syncline.sdk.connector import ConnectorContext
from syncline.testing.postgres_server import PostgresServer

__all__ = ["Log", "Replica", "Writers"]

_U32 = struct.Struct(">I")


class Log:
    """One database with table ``t (id int primary key, v text)``, publication ``p`` and slot ``s``."""

    def __init__(self, server: PostgresServer, folder: Path, *, slot: str = "s") -> None:
        self.server, self.folder, self.slot = server, folder, slot
        self.database = server.create_database()
        self.events: list[ReceiverEvent] = []
        self.session = server.connect(self.database)
        self.session.execute("CREATE TABLE t (id int PRIMARY KEY, v text)")
        self.session.execute("CREATE PUBLICATION p FOR TABLE t")
        self.session.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [slot])
        self.start = self.confirmed()
        self.spool: Spool | None = None
        self.receiver: Receiver | None = None

    def config(self, **changed: Any) -> PostgresSourceConfig:
        server = self.server
        fields = {"host": server.host, "port": server.port, "username": server.user, "password": server.password}
        return PostgresSourceConfig.model_validate({**fields, "database": self.database, **changed})

    def receive(self, *, config: PostgresSourceConfig | None = None, **options: Any) -> Receiver:
        """A started receiver; the spool is opened when it is not."""
        if self.spool is None:
            self.spool = Spool(self.folder / "spool")
        options = {"slot": self.slot, "publications": ["p"], "spool": self.spool, "start": self.start, **options}
        context = ConnectorContext(connection="test", work_dir=self.folder)
        self.receiver = Receiver(config or self.config(), context, on_event=self.events.append, **options)
        self.receiver.start()
        return self.receiver

    def execute(self, *statements: str) -> None:
        for statement in statements:
            self.session.execute(statement.encode())

    def reconnect(self) -> None:
        self.session.close()
        self.session = self.server.connect(self.database)

    def confirmed(self) -> int:
        row = self.session.execute(
            "SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = %s", [self.slot]
        ).fetchone()
        assert row is not None
        return lsn_from_text(row[0])

    def walsender(self) -> int | None:
        row = self.session.execute(
            "SELECT active_pid FROM pg_replication_slots WHERE slot_name = %s", [self.slot]
        ).fetchone()
        assert row is not None
        pid: int | None = row[0]
        return pid

    def rows(self) -> dict[int, str]:
        return dict(self.session.execute("SELECT id, v FROM t").fetchall())

    def mark(self) -> int:
        """An LSN that a reader passes once it has all that is committed now."""
        row = self.session.execute("SELECT pg_current_wal_insert_lsn()::text").fetchone()
        assert row is not None
        self.session.execute("SELECT pg_logical_emit_message(true, 'syncline', '')")
        return lsn_from_text(row[0])

    def close(self) -> None:
        if self.receiver is not None:
            self.receiver.stop()
        if self.spool is not None:
            self.spool.close()
        self.session.close()
        with self.server.connect("postgres") as admin:
            drop = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s"
            for _ in range(50):
                try:
                    admin.execute(drop, [self.slot])
                    break
                except psycopg.errors.ObjectInUse:
                    time.sleep(0.1)
        self.server.drop_database(self.database)


class Replica:
    """The table as the log tells it. Each transaction must come once, whole and in order: what does not fit fails."""

    def __init__(self, cursor: SpoolCursor) -> None:
        self.cursor = cursor
        self.rows: dict[int, str] = {}
        self.transactions: list[int] = []
        self.streamed = 0
        self._relations: dict[int, str] = {}
        self._open: dict[int, str | None] | None = None

    def follow(self, lsn: int, seconds: float = 60.0) -> dict[int, str]:
        deadline = time.monotonic() + seconds
        while self.cursor.position < lsn:
            assert time.monotonic() < deadline, "the log does not come"
            if (stretch := self.cursor.read(0.2)) is not None:
                self.apply(stretch)
        return self.rows

    def apply(self, stretch: Stretch) -> None:
        data = bytes(stretch.frames)
        if stretch.header is not None:
            self._streamed(data, stretch)
            return
        for start, end in messages(data):
            message = data[start:end]
            if message[:1] == b"B":
                assert self._open is None
                self._begin(struct.unpack_from(">Q", message, 1)[0])
            elif message[:1] == b"C":
                self._commit()
            elif message[:1] != b"O":
                self._change(message)
        assert self._open is None, "a stretch ends in the middle of a transaction"
        assert not self.transactions or self.transactions[-1] < stretch.end

    def _streamed(self, data: bytes, stretch: Stretch) -> None:
        assert stretch.header is not None
        if self._open is None:
            self._begin(stretch.header.commit_lsn)
        for start, end in messages(data):
            if _U32.unpack_from(data, start + 1)[0] not in stretch.aborted:
                self._change(data[start : start + 1] + data[start + 5 : end])
        if stretch.whole:
            assert stretch.end == stretch.header.end_lsn
            self.streamed += 1
            self._commit()

    def _begin(self, lsn: int) -> None:
        assert not self.transactions or lsn > self.transactions[-1], "twice, or out of order"
        self.transactions.append(lsn)
        self._open = {}

    def _commit(self) -> None:
        assert self._open is not None
        for key, value in self._open.items():
            if value is None:
                self.rows.pop(key, None)  # it may have come in the same transaction
            else:
                self.rows[key] = value
        self._open = None

    def _change(self, message: bytes) -> None:
        kind = message[:1]
        if kind == b"R":
            self._relations[_U32.unpack_from(message, 1)[0]] = message[5:].split(b"\0")[1].decode()
            return
        if kind not in (b"I", b"U", b"D"):
            return
        assert self._open is not None
        assert self._relations[_U32.unpack_from(message, 1)[0]] == "t", "a change without its relation"
        tuples = dict(_tuples(message[5:]))
        if kind == b"D":
            self._remove(int(tuples["K"][0]))
            return
        if "K" in tuples:
            self._remove(int(tuples["K"][0]))
        self._open[int(tuples["N"][0])] = tuples["N"][1]

    def _remove(self, key: int) -> None:
        assert self._open is not None
        assert self._open.get(key, self.rows.get(key)) is not None, "a row goes that is not there"
        self._open[key] = None


def _tuples(data: bytes) -> Iterator[tuple[str, list[str]]]:
    at = 0
    while at < len(data):
        name, count = chr(data[at]), struct.unpack_from(">H", data, at + 1)[0]
        at += 3
        values = []
        for _ in range(count):
            if data[at : at + 1] == b"t":
                length = _U32.unpack_from(data, at + 1)[0]
                values.append(data[at + 5 : at + 5 + length].decode())
                at += 5 + length
            else:
                values.append("")
                at += 1
        yield name, values


class Writers:
    """Sessions that change ``t`` all the time: small transactions, large ones, savepoints rolled back, key changes,
    deletes. Errors of a server that goes away are part of it: they connect again."""

    def __init__(self, log: Log, *, count: int = 2, large: int = 3000) -> None:
        self._log, self._large = log, large
        self._stopping = threading.Event()
        self.commits = 0
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(count)]

    def __enter__(self) -> Writers:
        for each in self._threads:
            each.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for each in self._threads:
            each.join(60)

    def wait_for(self, commits: int, seconds: float = 60.0) -> None:
        """Until there are so many more."""
        wanted, deadline = self.commits + commits, time.monotonic() + seconds
        while self.commits < wanted:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def _run(self, number: int) -> None:
        chance = random.Random(number)
        base = 1_000_000 * (number + 1)
        while not self._stopping.is_set():
            try:
                with self._log.server.connect(self._log.database) as session:
                    while not self._stopping.is_set():
                        self._transaction(session, base, chance)
                        self.commits += 1
            except psycopg.Error:
                time.sleep(0.05)

    def _transaction(self, session: psycopg.Connection[Any], base: int, chance: random.Random) -> None:
        first = base + chance.randrange(2000)
        last = first + (self._large if chance.random() < 0.2 else chance.randrange(8))
        fresh = (
            f"INSERT INTO t SELECT g, md5(random()::text) FROM generate_series({first}, {last}) g "
            "ON CONFLICT (id) DO UPDATE SET v = excluded.v"
        )
        moved = (
            f"UPDATE t SET id = id + 500000 WHERE id = {last} AND NOT EXISTS (SELECT FROM t WHERE id = {last} + 500000)"
        )
        with session.transaction():
            session.execute(fresh.encode())
            if chance.random() < 0.5:
                session.execute(b"SAVEPOINT a")
                session.execute(f"DELETE FROM t WHERE id BETWEEN {first} AND {first + 500}".encode())
                session.execute(f"INSERT INTO t VALUES ({base - 1}, 'never') ON CONFLICT DO NOTHING".encode())
                session.execute(b"ROLLBACK TO a")
            if chance.random() < 0.3:
                session.execute(f"DELETE FROM t WHERE id BETWEEN {first} AND {first + 3}".encode())
            if chance.random() < 0.3:
                session.execute(moved.encode())
