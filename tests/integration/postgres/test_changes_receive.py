"""The receiver against a real server: every committed transaction once and in order, whatever breaks in between."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
from tests.integration.postgres.conftest import OLDER
from tests.integration.postgres.received_log import Log, Replica, Writers

from syncline.connectors.postgres.changes.spool import Spool
from syncline.core.errors import ErrorKind, SynclineError
from syncline.testing.postgres_server import PostgresServer, start_postgres

#: So that transactions of some hundred rows are streamed, and commits are in the log at once.
SETTINGS: dict[str, str | int] = {"logical_decoding_work_mem": "64kB", "synchronous_commit": "on"}


@pytest.fixture(scope="module", params=["newest", pytest.param("15", marks=pytest.mark.slow)])
def own_server(request) -> Iterator[PostgresServer]:
    """Of this file alone: it is restarted."""
    if request.param == "15" and not (OLDER / "postgres").exists():
        pytest.skip("no PostgreSQL 15 on this machine")
    with start_postgres(bindir=OLDER if request.param == "15" else None, settings=SETTINGS) as server:
        yield server


@pytest.fixture
def log(own_server, tmp_path) -> Iterator[Log]:
    made = Log(own_server, tmp_path)
    yield made
    made.close()


def replica(log: Log) -> Replica:
    assert log.spool is not None
    return Replica(log.spool.cursor(log.start))


def wait(condition, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(params=["native", "python"])
def form(request, monkeypatch) -> None:
    if request.param == "python":
        monkeypatch.setenv("SYNCLINE_NO_NATIVE", "1")


def test_what_is_committed_comes_and_only_what_is_confirmed_is_forgotten(log, form):
    receiver = log.receive()
    copy = replica(log)
    log.execute(
        "INSERT INTO t VALUES (1, 'a')", "INSERT INTO t VALUES (2, 'b'), (3, 'c')", "DELETE FROM t WHERE id = 2"
    )
    log.execute("UPDATE t SET id = 30 WHERE id = 3", "BEGIN", "INSERT INTO t VALUES (9, 'x')", "ROLLBACK")
    assert copy.follow(log.mark()) == log.rows() == {1: "a", 30: "c"}
    assert len(copy.transactions) == 5  # the mark's own among them
    assert receiver.received <= receiver.server_end
    time.sleep(0.3)
    assert log.confirmed() == log.start
    receiver.confirm(copy.transactions[2])
    wait(lambda: log.confirmed() == copy.transactions[2])
    receiver.confirm(copy.transactions[1])  # never back
    log.mark()
    time.sleep(0.3)
    assert log.confirmed() == receiver.confirmed == copy.transactions[2]
    assert [each.kind for each in log.events] == ["connected"]


def test_the_last_confirmation_is_said_before_the_end(log):
    receiver = log.receive()
    copy = replica(log)
    log.execute("INSERT INTO t SELECT g, repeat('x', 1000) FROM generate_series(1, 3000) g")
    end = log.mark()
    copy.follow(end)
    receiver.confirm(copy.cursor.position)
    receiver.stop()
    receiver.stop()
    assert receiver.error is None
    wait(lambda: log.walsender() is None)
    assert log.confirmed() == copy.cursor.position


def test_streamed_transactions_interleaved_with_savepoints_and_ddl(log, form):
    log.receive()
    copy = replica(log)
    with log.server.connect(log.database) as one, log.server.connect(log.database) as two:
        one.execute("BEGIN")
        two.execute("BEGIN")
        one.execute("INSERT INTO t SELECT g, repeat('a', 50) FROM generate_series(1, 2000) g")
        two.execute("INSERT INTO t SELECT g, repeat('b', 50) FROM generate_series(10001, 12000) g")
        log.execute("INSERT INTO t VALUES (50000, 'in between')")
        one.execute("SAVEPOINT s1")
        one.execute("INSERT INTO t SELECT g, repeat('c', 50) FROM generate_series(20001, 22000) g")
        one.execute("ROLLBACK TO s1")
        two.execute("SAVEPOINT s2")
        two.execute("UPDATE t SET v = 'kept' WHERE id BETWEEN 10001 AND 10500")
        two.execute("RELEASE s2")
        one.execute("INSERT INTO t SELECT g, repeat('d', 50) FROM generate_series(30001, 32000) g")
        two.execute("COMMIT")
        one.execute("COMMIT")
        one.execute("BEGIN")
        one.execute("SAVEPOINT s3")
        one.execute("ALTER TABLE t ADD COLUMN gone int")
        one.execute("INSERT INTO t SELECT g, repeat('e', 50), 1 FROM generate_series(40001, 42000) g")
        one.execute("ROLLBACK TO s3")
        one.execute("INSERT INTO t SELECT g, repeat('f', 50) FROM generate_series(60001, 62000) g")
        one.execute("COMMIT")
        one.execute("BEGIN")
        one.execute("DELETE FROM t")
        one.execute("ROLLBACK")
    assert copy.follow(log.mark()) == log.rows()
    assert copy.streamed >= 3
    assert len(log.rows()) == 8001
    assert log.spool is not None
    wait(lambda: log.spool.stream_bytes == 0)


def test_a_transaction_in_two_phases_comes_when_it_is_committed(log):
    log.receive()
    copy = replica(log)
    log.execute("BEGIN", "INSERT INTO t VALUES (1, 'prepared')", "PREPARE TRANSACTION 'one'")
    assert copy.follow(log.mark()) == {}
    log.execute("COMMIT PREPARED 'one'")
    assert copy.follow(log.mark()) == {1: "prepared"}


def test_an_ordinary_transaction_that_is_large_does_not_wait_in_memory(log, form):
    """As the server sends them after a restart, or before version 14."""
    log.execute("ALTER ROLE postgres SET logical_decoding_work_mem = '256MB'")
    try:
        log.receive()
        copy = replica(log)
        log.execute("BEGIN")
        for first in range(0, 12000, 2000):
            log.execute(f"INSERT INTO t SELECT g, repeat('x', 1000) FROM generate_series({first}, {first + 1999}) g")
        log.execute("COMMIT", "INSERT INTO t VALUES (-1, 'after')")
        assert copy.follow(log.mark()) == log.rows()
        assert copy.streamed == 1
    finally:
        log.execute("ALTER ROLE postgres RESET logical_decoding_work_mem")


def test_text_is_written_under_our_settings(log):
    log.execute("ALTER ROLE postgres SET DateStyle = 'SQL, DMY'", "ALTER ROLE postgres SET bytea_output = 'escape'")
    try:
        log.receive()
        copy = replica(log)
        log.execute("ALTER TABLE t ALTER v TYPE date USING NULL", "INSERT INTO t VALUES (1, '2026-11-21')")
        assert copy.follow(log.mark()) == {1: "2026-11-21"}
    finally:
        log.execute("ALTER ROLE postgres RESET DateStyle", "ALTER ROLE postgres RESET bytea_output")


# -- what breaks -------------------------------------------------------------------------------------------------------


def test_the_server_crashes_in_mid_stream(log, form):
    log.receive()
    copy = replica(log)
    with Writers(log) as writers:
        for _ in range(2):
            writers.wait_for(30)
            log.server.restart("immediate")
            log.reconnect()
        writers.wait_for(30)
    assert copy.follow(log.mark()) == log.rows()
    assert copy.streamed > 0
    assert {"connected", "lost"} == {each.kind for each in log.events}


def test_the_walsender_is_terminated_again_and_again(log, form):
    receiver = log.receive()
    copy = replica(log)
    ended = 0
    with Writers(log) as writers:
        while ended < 6:
            writers.wait_for(15)
            if pid := log.walsender():
                ended += log.session.execute("SELECT pg_terminate_backend(%s)", [pid]).fetchone() == (True,)
            if ended == 3:
                receiver.confirm(receiver.received)
    assert copy.follow(log.mark()) == log.rows()
    assert sum(each.kind == "connected" for each in log.events) >= 4


class Proxy:
    """Between us and the server: passes bytes on, holds back those of the connections that are open (`stall`), or cuts
    them all."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._stalled: set[socket.socket] = set()
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def stall(self) -> None:
        self._stalled = set(self._open)

    def cut(self) -> None:
        self._stalled = set()
        for each in list(self._open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self.cut()
        for thread in list(self._threads):
            thread.join(30)
        for each in [self._listening, *self._open]:
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                ours, _ = self._listening.accept()
            except OSError:
                return
            self._open.append(ours)
            try:
                theirs = socket.create_connection((self._server.host, self._server.port))
            except OSError:
                ours.shutdown(socket.SHUT_RDWR)
                continue
            self._open.append(theirs)
            for one, other in ((ours, theirs), (theirs, ours)):
                thread = threading.Thread(target=self._pass, args=(one, other))
                self._threads.append(thread)
                thread.start()

    def _pass(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while data := one.recv(65536):
                while one in self._stalled:
                    time.sleep(0.01)
                other.sendall(data)
        for each in (one, other):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def proxy(own_server) -> Iterator[Proxy]:
    made = Proxy(own_server)
    yield made
    made.close()


def test_the_connection_is_cut(log, proxy, form):
    log.receive(config=log.config(port=proxy.port))
    copy = replica(log)
    with Writers(log) as writers:
        for _ in range(4):
            writers.wait_for(20)
            proxy.cut()
    assert copy.follow(log.mark()) == log.rows()


def test_a_connection_that_says_nothing_any_more_is_made_again(log, proxy):
    """The server does not know that its session is dead: the new one ends it, for it holds the slot."""
    log.receive(config=log.config(port=proxy.port), silence=1.0)
    copy = replica(log)
    log.execute("INSERT INTO t VALUES (1, 'a')")
    assert copy.follow(log.mark()) == {1: "a"}
    former = log.walsender()
    proxy.stall()
    log.execute("INSERT INTO t VALUES (2, 'b')")
    end = log.mark()
    wait(lambda: any(each.kind == "lost" for each in log.events))
    assert "said nothing" in next(each.message for each in log.events if each.kind == "lost")
    wait(lambda: sum(each.kind == "connected" for each in log.events) == 2)
    assert copy.follow(end) == {1: "a", 2: "b"}
    assert log.walsender() != former


def test_a_quiet_connection_is_not_taken_for_a_dead_one(log):
    receiver = log.receive(silence=0.8)
    receiver.wait_until_connected(30)
    time.sleep(2.5)
    assert [each.kind for each in log.events] == ["connected"]


# -- a full spool ------------------------------------------------------------------------------------------------------


def test_a_full_spool_stops_the_reading_and_keeps_the_connection(log):
    """Longer than the server would wait for a silent receiver."""
    log.execute("ALTER ROLE postgres SET wal_sender_timeout = '1500ms'", "ALTER TABLE t ADD COLUMN w int")
    try:
        log.spool = Spool(log.folder / "spool", max_bytes=2 << 20)
        log.receive()
        copy = replica(log)
        for first in range(0, 12000, 200):
            log.execute(f"INSERT INTO t SELECT g, repeat('x', 500) FROM generate_series({first}, {first + 199}) g")
        end = log.mark()
        wait(lambda: any(each.kind == "full" for each in log.events))
        pid = log.walsender()
        size = log.spool.bytes
        assert 1 << 20 < size < 4 << 20
        time.sleep(3.5)
        assert log.walsender() == pid
        assert log.spool.bytes == size
        while copy.cursor.position < end:
            if (stretch := copy.cursor.read(0.2)) is not None:
                copy.apply(stretch)
            log.spool.keep(copy.cursor.position)
        assert copy.rows == dict(log.session.execute("SELECT id, v FROM t").fetchall())
        assert {each.kind for each in log.events} == {"connected", "full", "room"}
    finally:
        log.execute("ALTER ROLE postgres RESET wal_sender_timeout")


def test_a_transaction_larger_than_the_spool_is_said(log):
    log.spool = Spool(log.folder / "spool", max_bytes=1 << 20)
    receiver = log.receive()
    log.execute("INSERT INTO t SELECT g, repeat('x', 500) FROM generate_series(1, 8000) g")
    wait(lambda: receiver.error is not None)
    assert receiver.error is not None
    assert receiver.error.kind is ErrorKind.RESOURCE
    assert "raise the spool's size" in receiver.error.hint
    assert log.confirmed() == log.start


# -- what is wrong from the beginning ----------------------------------------------------------------------------------


def failed(log: Log, **options) -> SynclineError:
    receiver = log.receive(**options)
    wait(lambda: receiver.error is not None)
    assert receiver.error is not None
    assert log.spool is not None
    with pytest.raises(SynclineError):
        log.spool.cursor(log.spool.end).read(5)
    with pytest.raises(SynclineError):
        receiver.wait_until_connected(0)
    return receiver.error


def test_a_slot_that_is_gone(log):
    error = failed(log, slot="nobody")
    assert error.kind is ErrorKind.CONFLICT
    assert "nobody does not exist" in error.message


def test_a_slot_of_another_database(log, own_server):
    other = own_server.create_database()
    try:
        error = failed(log, config=log.config(database=other))
        assert error.kind is ErrorKind.CONFLICT
    finally:
        if log.receiver:
            log.receiver.stop()
        own_server.drop_database(other)


def test_a_slot_that_somebody_else_reads(log, monkeypatch, tmp_path):
    monkeypatch.setattr("syncline.connectors.postgres.changes.receive._RELEASE_SECONDS", 0.5)
    first = log.receive()
    first.wait_until_connected(30)
    pid = log.walsender()
    mine, log.spool = log.spool, Spool(tmp_path / "other")
    error = failed(log)
    assert error.kind is ErrorKind.CONFLICT
    assert error.where["pid"] == pid
    assert str(pid) in error.message
    first.stop()
    assert mine is not None
    mine.close()


def test_a_slot_that_was_invalidated(log):
    log.execute("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'", "SELECT pg_reload_conf()")
    try:
        for _ in range(4):
            log.execute("SELECT pg_switch_wal()", "INSERT INTO t SELECT 1 WHERE false", "CHECKPOINT")
            log.execute("SELECT pg_logical_emit_message(false, 'x', repeat('x', 100000))")
        wait(lambda: log.session.execute("SELECT wal_status FROM pg_replication_slots").fetchone() == ("lost",))
        error = failed(log)
        assert error.kind is ErrorKind.CONFLICT
        assert "invalidated" in error.message
        assert "pg_drop_replication_slot" in error.hint
    finally:
        log.execute("ALTER SYSTEM RESET max_slot_wal_keep_size", "SELECT pg_reload_conf()")


def test_a_publication_that_is_missing_is_no_silent_gap(log):
    """Since version 18 the server only warns and leaves the changes out."""
    log.execute("INSERT INTO t VALUES (1, 'a')")
    error = failed(log, publications=["p", "nobody"])
    assert error.kind is ErrorKind.CONFLICT
    assert "nobody" in error.message
    assert log.spool is not None
    assert log.spool.end == log.start


def test_a_role_without_the_right(log):
    log.execute("CREATE ROLE plain LOGIN PASSWORD 'x'")
    try:
        error = failed(log, config=log.config(username="plain", password="x"))
        assert error.kind is ErrorKind.PERMISSION
        assert "REPLICATION" in error.hint
    finally:
        log.execute("DROP ROLE plain")


def test_nobody_is_there(log):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    error = failed(log, config=log.config(port=port), patience=0.5)
    assert error.kind is ErrorKind.UNREACHABLE
    assert any(each.kind == "lost" for each in log.events)
    assert log.events[-1].kind == "failed"


def test_it_stops_at_once_whatever_it_does(log, proxy, monkeypatch, tmp_path):
    def stopped(receiver) -> bool:
        began = time.monotonic()
        receiver.stop(20)
        return not receiver._thread.is_alive() and time.monotonic() - began < 15

    receiver = log.receive(config=log.config(port=proxy.port))
    receiver.wait_until_connected(30)
    assert stopped(receiver)
    receiver = log.receive(config=log.config(port=proxy.port))
    receiver.wait_until_connected(30)
    proxy.stall()  # in a connection that is dead
    assert stopped(receiver)
    proxy.cut()
    receiver = log.receive(config=log.config(port=1))  # between two attempts
    wait(lambda: log.events[-1].kind == "lost")
    assert stopped(receiver)
    assert receiver.error is None
