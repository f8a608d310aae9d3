"""Increments by transaction id."""

from __future__ import annotations

import subprocess
import threading
import time

import pytest
from tests.integration.postgres.harness import APPEND, MERGE, SMALL, Database, ids

from syncline.core.errors import ErrorKind, SynclineError
from syncline.testing.postgres_server import start_postgres

MODES = [APPEND, MERGE]
XMIN = {"replication_method": {"method": "Xmin"}}


@pytest.fixture
def t(db):
    db.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v text)",
        "INSERT INTO t SELECT i, 'first' FROM generate_series(1, 100) AS i",
    )
    return db


@pytest.mark.parametrize("mode", MODES)
def test_increments_bring_inserts_and_updates(t, mode):
    sync = t.sync("t", mode, **XMIN)
    assert sync.selected.stream.source_defined_cursor
    assert ids(sync.run()) == list(range(1, 101))
    assert sync.prepare().partitions == ()
    sync.run()
    t.execute("INSERT INTO t VALUES (101, 'second')", "UPDATE t SET v = 'changed' WHERE id = 7")
    assert ids(sync.run()) == [7, 101]
    t.execute("VACUUM (FREEZE, FULL) t")
    assert sync.run() == []
    t.execute("BEGIN; INSERT INTO t VALUES (102, 'a'); SAVEPOINT s; INSERT INTO t VALUES (103, 'b'); COMMIT")
    assert ids(sync.run()) == [102, 103]
    assert sync.run() == []


@pytest.mark.parametrize("mode", MODES)
def test_a_long_transaction_is_not_missed_and_not_doubled(t, mode):
    sync = t.sync("t", mode, **XMIN)
    sync.run()
    with t.connect() as slow:
        slow.autocommit = False
        slow.execute("INSERT INTO t VALUES (200, 'slow'); SAVEPOINT s; INSERT INTO t VALUES (201, 'slow')")
        t.execute("INSERT INTO t VALUES (300, 'quick')")
        sync.run()
        slow.execute("INSERT INTO t VALUES (202, 'slow')")
        sync.run()
        slow.commit()
    sync.run()
    assert sync.run() == []
    assert set(sync.merged()) == {*range(1, 101), 200, 201, 202, 300}
    if mode == APPEND:
        assert len(sync.delivered) == 104


@pytest.mark.parametrize("mode", MODES)
def test_partitioned_roots_and_large_tables_are_cut(db, mode):
    db.execute(
        "CREATE TABLE p (id int PRIMARY KEY, v text) PARTITION BY RANGE (id)",
        "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (2000)",
        "CREATE TABLE p2 PARTITION OF p DEFAULT",
        "INSERT INTO p SELECT i, repeat('x', 100) FROM generate_series(1, 5000) AS i",
        "ANALYZE p",
    )
    sync = db.sync("p", mode, partition_bytes=SMALL, **XMIN)
    assert ids(sync.run()) == list(range(1, 5001))
    db.execute("UPDATE p SET v = 'y' WHERE id % 100 = 0", "UPDATE p SET id = 9001 WHERE id = 1999")
    assert len(sync.prepare().partitions) > 3
    assert ids(sync.finish()) == sorted([*range(100, 5001, 100), 9001])


def test_views_are_refused_with_what_can_be_done(t):
    t.execute("CREATE VIEW v AS SELECT * FROM t")
    sync = t.sync("v", MERGE, key="id", **XMIN)
    assert not sync.selected.stream.incremental
    with pytest.raises(SynclineError, match="no xmin") as caught:
        sync.prepare()
    assert caught.value.kind is ErrorKind.CONFIG
    assert "full_refresh" in caught.value.hint


def test_another_servers_position_brings_everything_or_asks(t):
    merge = t.sync("t", MERGE, **XMIN)
    merge.run()
    merge.position = {**merge.position, "system": "1"}
    assert len(merge.run()) == 100
    assert "not the one" in merge.plan.note
    append = t.sync("t", APPEND, **XMIN)
    append.run()
    append.position = {**append.position, "horizon": append.position["horizon"] + 10**9}
    with pytest.raises(SynclineError, match="restored") as caught:
        append.prepare()
    assert "state reset" in caught.value.hint


def test_concurrent_writers_lose_nothing_and_append_doubles_nothing(db):
    db.execute("CREATE TABLE t (id serial PRIMARY KEY, v text)")
    stop = threading.Event()

    def write() -> None:
        with db.connect() as session:
            session.autocommit = False
            while not stop.is_set():
                session.execute(
                    "INSERT INTO t (v) VALUES ('a'); SAVEPOINT s; INSERT INTO t (v) VALUES ('b'); RELEASE s"
                )
                time.sleep(0.003)
                session.execute("INSERT INTO t (v) VALUES ('c')")
                session.commit()

    sync = db.sync("t", APPEND, **XMIN)
    writers = [threading.Thread(target=write) for _ in range(4)]
    for writer in writers:
        writer.start()
    try:
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline:
            sync.run()
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    sync.run()
    expected = [row[0] for row in db.rows("SELECT id FROM t ORDER BY id")]
    assert len(expected) > 50
    assert ids(sync.delivered) == expected


@pytest.fixture
def old_server(tmp_path):
    """A server that has given out nearly all of the 2^32 ids that a row can hold, every table frozen on the way."""
    with start_postgres(settings={"autovacuum": "off"}) as server:
        # At most 2^31 at once: what is older seems to lie in the future.
        for xid in (2_000_000_000, 4_000_000_000, 2**32 - 2048):
            server.execute("ALTER DATABASE template0 ALLOW_CONNECTIONS true")
            for database in ("postgres", "template1", "template0"):
                server.execute("VACUUM FREEZE", dbname=database)
            server.stop()
            segment = server.data_dir / "pg_xact" / f"{xid // 2**20:04X}"
            segment.touch(mode=0o600)
            segment.write_bytes(bytes(2**18))
            server._own(segment)
            command = [str(server._bindir / "pg_resetwal"), "-f", "-x", str(xid), str(server.data_dir)]
            subprocess.run(command, check=True, capture_output=True, **server._as_account())
            server.start()
        name = server.create_database()
        with Database(server, name, tmp_path) as db:
            yield db


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_the_counter_may_wrap_around(old_server, mode):
    db = old_server
    db.execute("CREATE TABLE t (id int PRIMARY KEY, v text)", "INSERT INTO t VALUES (1, 'before'), (2, 'before')")
    xmin, cursor = db.sync("t", mode, **XMIN), db.sync("t", mode, cursor="id", lookback_window=2)
    assert ids(xmin.run()) == ids(cursor.run()) == [1, 2]
    assert xmin.position["horizon"] < 2**32
    for number in range(3, 8):
        for _ in range(600):
            db.execute("SELECT txid_current()")
        db.execute(f"INSERT INTO t VALUES ({number}, 'more')", "UPDATE t SET v = v || 'x' WHERE id = 1")
        assert ids(xmin.run()) == [1, number]
        assert number in ids(cursor.run())
        assert xmin.run() == []
        if number == 6:
            db.execute("VACUUM FREEZE t")
            assert xmin.run() == []
    assert xmin.position["horizon"] > 2**32
    assert len(db.rows("SELECT 1 FROM t WHERE xmin::text::int8 < 10000")) > 0
