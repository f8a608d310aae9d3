"""Increments by a cursor column: nothing lost, nothing doubled, whatever the values and whoever writes meanwhile."""

from __future__ import annotations

import random
import threading
import time

import pytest
from tests.integration.postgres.harness import APPEND, MERGE, SMALL, ids

from syncline.core.errors import ErrorKind, SynclineError

MODES = [APPEND, MERGE]


@pytest.fixture
def t(db):
    db.execute(
        "CREATE TABLE t (id int PRIMARY KEY, at timestamptz, v text)",
        "CREATE INDEX ON t (at)",
        "INSERT INTO t SELECT i, '2024-01-01'::timestamptz + i * '1 s'::interval, '' FROM generate_series(1, 100) AS i",
    )
    return db


@pytest.mark.parametrize("mode", MODES)
def test_increments_bring_what_is_new_and_nothing_when_nothing_is(t, mode):
    sync = t.sync("t", mode, cursor="at")
    assert ids(sync.run()) == list(range(1, 101))
    assert sync.prepare().partitions == ()
    assert sync.run() == []
    t.execute("INSERT INTO t VALUES (101, '2024-02-01', 'second'), (102, '2024-02-02', 'second')")
    t.execute("UPDATE t SET at = '2024-02-03', v = 'changed' WHERE id = 7")
    assert ids(sync.run()) == [7, 101, 102]
    assert sync.position["cursor"] == "2024-02-03 00:00:00+00"
    assert sync.prepare().partitions == ()
    t.execute("DELETE FROM t WHERE id IN (7, 102)")
    assert sync.run() == []
    assert sync.position["cursor"] == "2024-02-03 00:00:00+00"  # never back
    t.execute("INSERT INTO t VALUES (103, '2024-02-04', 'third')")
    assert ids(sync.run()) == [103]


@pytest.mark.parametrize("mode", MODES)
def test_the_cursor_that_fits_best_is_taken_when_none_is_named(t, mode):
    t.execute(
        "ALTER TABLE t ADD COLUMN updated_at timestamptz DEFAULT now(), ADD COLUMN created_at timestamptz DEFAULT now()"
    )
    sync = t.sync("t", mode)
    sync.run()
    assert sync.position["field"] == "updated_at"
    assert sync.selected.stream.cursor_fields[0] == "updated_at"


@pytest.mark.parametrize("mode", MODES)
def test_ties_at_the_boundary_come_once(t, mode):
    sync = t.sync("t", mode, cursor="at")
    sync.run()
    top = "'2024-01-01'::timestamptz + interval '100 s'"
    t.execute(f"INSERT INTO t VALUES (0, {top}, 'tie below'), (200, {top}, 'tie above')")
    assert ids(sync.run()) == [0, 200]
    t.execute(f"INSERT INTO t VALUES (-5, {top}, 'tie again')")
    assert ids(sync.run()) == [-5]
    t.execute(f"INSERT INTO t VALUES (-6, {top}, 'last tie'), (300, '2024-03-01', 'above')")
    assert ids(sync.run()) == [-6, 300]
    assert sync.run() == []
    assert len(sync.delivered) == len(sync.merged()) == 105


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("keyed", [True, False])
def test_more_ties_than_are_remembered_come_once(db, mode, keyed):
    db.execute(
        f"CREATE TABLE t (id int {'PRIMARY KEY' if keyed else ''}, day date)",
        "INSERT INTO t SELECT i, '2024-01-01' FROM generate_series(2000, 5000) AS i",
    )
    sync = db.sync("t", mode, cursor="day", key="id")
    assert len(sync.run()) == 3001
    assert sync.run() == []
    db.execute("INSERT INTO t SELECT i, '2024-01-01' FROM generate_series(1, 1500) AS i")
    assert ids(sync.run()) == list(range(1, 1501))
    db.execute("INSERT INTO t VALUES (6000, '2024-01-01'), (6001, '2024-01-02')")
    assert ids(sync.run()) == [6000, 6001]
    assert sync.run() == []


def test_keyless_rows_that_are_equal_are_counted_at_the_boundary(db):
    db.execute("CREATE TABLE t (id int, n int, v text)", "INSERT INTO t VALUES (1, 1, 'a'), (1, 2, 'b'), (1, 2, 'b')")
    sync = db.sync("t", APPEND, cursor="n")
    assert len(sync.run()) == 3
    db.execute("INSERT INTO t VALUES (1, 2, 'b'), (1, 2, 'c')")
    assert sorted(r["v"] for r in sync.run()) == ["b", "c"]
    assert sync.run() == []
    db.execute("INSERT INTO t VALUES (1, 2, 'c'), (1, 3, 'c')")
    assert sorted((r["n"], r["v"]) for r in sync.run()) == [(2, "c"), (3, "c")]


@pytest.mark.parametrize("mode", MODES)
def test_rows_that_arrive_at_the_boundary_while_a_plan_is_read_come_once(t, mode):
    sync = t.sync("t", mode, cursor="at")
    sync.prepare()
    top = "'2024-01-01'::timestamptz + interval '100 s'"
    t.execute(f"INSERT INTO t VALUES (0, {top}, 'between'), (101, '2025-01-01', 'above')")
    sync.finish()
    sync.run()
    assert sync.run() == []
    assert sorted(sync.merged()) == list(range(102))
    if mode == APPEND:
        assert len(sync.delivered) == 102


@pytest.mark.parametrize("mode", MODES)
def test_rows_without_a_cursor_have_a_lane_of_their_own(db, mode):
    db.execute("CREATE TABLE t (id int PRIMARY KEY, n bigint)", "INSERT INTO t VALUES (1, NULL), (2, NULL)")
    sync = db.sync("t", mode, cursor="n")
    assert ids(sync.run()) == [1, 2]  # all NULL
    assert sync.position["cursor"] is None
    assert sync.run() == []
    db.execute("INSERT INTO t VALUES (3, NULL), (4, 10), (0, NULL)")
    assert ids(sync.run()) == [0, 3, 4]
    assert sync.run() == []
    db.execute("INSERT INTO t VALUES (5, NULL), (6, 11)", "UPDATE t SET n = 12 WHERE id = 1")
    assert ids(sync.run()) == [1, 5, 6]
    assert sync.run() == []


@pytest.mark.parametrize("mode", MODES)
def test_an_empty_table_has_a_position_too(db, mode):
    db.execute("CREATE TABLE t (id int PRIMARY KEY, at timestamp)")
    sync = db.sync("t", mode, cursor="at")
    assert sync.run() == []
    assert sync.run() == []
    db.execute("INSERT INTO t VALUES (1, '2024-01-01')")
    assert ids(sync.run()) == [1]
    assert sync.run() == []


CURSORS = [
    ("smallint", ["-32768", "-1", "0", "32766", "32767"]),
    ("bigint", ["-9223372036854775808", "0", "9223372036854775807"]),
    ("numeric", ["-1e50", "0.1", "0.10000000000000000000001", "1e60"]),
    ("text", ["", "A", "a", "z\\'\"%s", "é"]),
    ("uuid", ["00000000-0000-0000-0000-000000000001", "a0000000-0000-0000-0000-000000000001"]),
    ("date", ["-infinity", "0044-03-15 BC", "2024-01-01", "12024-01-01"]),
    ("timestamp", ["-infinity", "4000-01-01 BC", "2024-01-01 00:00:00.000001", "294000-01-01"]),
    ("timestamptz", ["-infinity", "0044-03-15 BC", "2024-01-01 00:00:00.123456+02", "294000-01-01"]),
    ("timestamp(3)", ["2024-01-01 00:00:00.123", "2024-01-01 00:00:00.124"]),
    ("char(5)", ["a", "b "]),
    ("double precision", ["-Infinity", "-1.5", "0.1", "1e300"]),
]


@pytest.mark.parametrize("mode", MODES)
def test_cursors_of_every_type_go_there_and_back(db, mode):
    for table, (kind, values) in enumerate(CURSORS):
        db.execute(f"CREATE TABLE t{table} (id int PRIMARY KEY, c {kind})")
        sync = db.sync(f"t{table}", mode, cursor="c")
        insert = f"INSERT INTO t{table} VALUES (%s, %s::{kind}), (%s, %s::{kind})"
        for number, value in enumerate(values):
            db.session.execute(insert.encode(), [number, value, -number - 1, value])
            assert ids(sync.run()) == [-number - 1, number], (kind, value)
        assert sync.run() == []
        assert len(sync.delivered) == 2 * len(values)


@pytest.mark.parametrize("mode", MODES)
def test_infinity_does_not_end_all_increments(db, mode):
    for kind in ("timestamptz", "timestamp", "date", "numeric", "double precision"):
        moment = kind in ("timestamptz", "timestamp", "date")
        low, high = ("2024-01-01", "2024-01-02") if moment else ("1", "2")
        top = "infinity" if moment else "NaN"
        db.execute(
            "DROP TABLE IF EXISTS t",
            f"CREATE TABLE t (id int PRIMARY KEY, c {kind})",
            f"INSERT INTO t VALUES (1, '{low}'), (2, '{top}')",
        )
        sync = db.sync("t", mode, cursor="c")
        assert ids(sync.run()) == [1, 2]
        assert sync.run() == []
        db.execute(f"INSERT INTO t VALUES (3, '{high}'), (4, '{top}')")
        assert ids(sync.run()) == [3, 4]
        assert sync.run() == []


@pytest.mark.parametrize("mode", MODES)
def test_a_row_committed_late_is_not_lost(t, mode):
    """Its now() is the start of its transaction; rows of later, quicker transactions were read before."""
    t.execute("ALTER TABLE t ALTER COLUMN at SET DEFAULT now()")
    sync = t.sync("t", mode, cursor="at")
    sync.run()
    with t.connect() as slow:
        slow.autocommit = False
        slow.execute("INSERT INTO t (id) VALUES (1000)")
        t.execute("INSERT INTO t (id) VALUES (1001)")
        first = sync.run()
        slow.commit()
    second = sync.run()
    third = sync.run()
    assert 1000 in ids(second)
    assert sorted({r["id"] for r in first + second}) == [1000, 1001]
    if mode == APPEND:
        assert len(first + second) == 2
    assert third == []


@pytest.mark.parametrize("mode", MODES)
def test_late_rows_of_other_time_types_are_not_lost(db, mode):
    for kind in ("timestamp", "timestamptz(0)", "timestamp(3)", "date"):
        db.execute("DROP TABLE IF EXISTS t", f"CREATE TABLE t (id int PRIMARY KEY, at {kind} DEFAULT now())")
        sync = db.sync("t", mode, cursor="at")
        with db.connect() as slow:
            slow.autocommit = False
            slow.execute("INSERT INTO t VALUES (1)")
            time.sleep(0.02)
            db.execute("INSERT INTO t VALUES (2)")
            sync.run()
            slow.commit()
        sync.run()
        sync.run()
        assert sorted(sync.merged()) == [1, 2], kind
        assert mode == MERGE or len(sync.delivered) == 2, kind


def test_a_transaction_that_has_not_yet_written_holds_the_position_back_too(db):
    db.execute("CREATE TABLE t (id int PRIMARY KEY, at timestamptz DEFAULT now())")
    sync = db.sync("t", APPEND, cursor="at")
    with db.connect() as slow:
        slow.autocommit = False
        slow.execute("SELECT 1")
        db.execute("INSERT INTO t VALUES (2)")
        sync.run()
        slow.execute("INSERT INTO t VALUES (1)")
        slow.commit()
    sync.run()
    assert ids(sync.delivered) == [1, 2]


@pytest.mark.parametrize("mode", MODES)
def test_a_lookback_window_finds_late_rows_of_any_cursor_once(db, mode):
    db.execute(
        "CREATE TABLE t (id serial PRIMARY KEY, v text)", "INSERT INTO t (v) SELECT 'a' FROM generate_series(1, 50)"
    )
    sync = db.sync("t", mode, cursor="id", lookback_window=10)
    sync.run()
    with db.connect() as slow:
        slow.autocommit = False
        slow.execute("INSERT INTO t (v) VALUES ('slow')")
        db.execute("INSERT INTO t (v) VALUES ('quick')")
        sync.run()
        slow.commit()
    db.execute("INSERT INTO t (v) VALUES ('later')")
    sync.run()
    sync.run()
    assert sorted(sync.merged()) == list(range(1, 54))
    if mode == APPEND:
        assert ids(sync.delivered) == list(range(1, 54))
    assert sync.run() == []


def test_lookback_in_every_unit_reads_again_only_what_may_be_late(db):
    db.execute(
        "CREATE TABLE t (id int PRIMARY KEY, at timestamptz, day date, n numeric)",
        "INSERT INTO t SELECT i, '2024-01-01'::timestamptz + i * interval '1 min', '2024-01-01'::date + i, i / 2.0"
        " FROM generate_series(1, 100) AS i",
    )
    for column, window in (("at", "10 min"), ("day", "5 days"), ("n", 3)):
        sync = db.sync("t", MERGE, cursor=column, lookback_window=window)
        sync.run()
        assert sync.run() == [], column
        db.execute("UPDATE t SET id = id WHERE id > 60")  # new versions, same cursor
        again = ids(sync.run())
        assert again[-1] == 100
        assert 3 <= len(again) <= 12, column


@pytest.mark.parametrize("mode", MODES)
def test_views_are_followed_by_cursor(db, mode):
    db.execute(
        "CREATE TABLE base (id int PRIMARY KEY, n int)",
        "INSERT INTO base SELECT i, i FROM generate_series(1, 20) AS i",
        "CREATE VIEW v AS SELECT id, n FROM base",
    )
    sync = db.sync("v", mode, cursor="n", key="id")
    assert ids(sync.run()) == list(range(1, 21))
    db.execute("INSERT INTO base VALUES (0, 20), (21, 21), (22, NULL)")
    sync.run()
    sync.run()
    assert sorted(sync.merged()) == list(range(23))
    if mode == APPEND:
        assert ids(sync.delivered) == list(range(23))
        assert sync.run() == []
        keyless = db.sync("v", mode, cursor="n")
        keyless.run()
        db.execute("INSERT INTO base VALUES (30, 21), (31, NULL)")
        assert ids(keyless.run()) == [30, 31]
        assert keyless.run() == []


def test_what_cannot_be_told_apart_is_appended_again_and_said(db):
    db.execute("CREATE VIEW v AS SELECT i AS id, 1 AS n FROM generate_series(1, 1500) AS i")
    sync = db.sync("v", APPEND, cursor="n")
    assert len(sync.run()) == 1500
    assert len(sync.run()) == 1500  # rather twice than never
    assert "appended again" in sync.plan.note


@pytest.mark.parametrize("mode", MODES)
def test_partitioned_tables_and_tables_without_a_key_are_followed_by_cursor(db, mode):
    db.execute(
        "CREATE TABLE p (id int, at timestamptz) PARTITION BY RANGE (at)",
        "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM ('2024-01-01') TO ('2024-02-01')",
        "CREATE TABLE p2 PARTITION OF p DEFAULT",
        "CREATE INDEX ON p (at)",
        "INSERT INTO p SELECT i, '2024-01-01'::timestamptz + i * interval '1 h' FROM generate_series(1, 3000) AS i",
        "ANALYZE p",
    )
    sync = db.sync("p", mode, cursor="at", key="id", partition_bytes=SMALL)
    assert ids(sync.run()) == list(range(1, 3001))
    assert sync.run() == []
    db.execute("INSERT INTO p SELECT i, max(at) FROM p, generate_series(3001, 3010) AS i GROUP BY i")
    assert ids(sync.run()) == list(range(3001, 3011))
    db.execute("INSERT INTO p VALUES (4000, '2030-01-01')")
    assert ids(sync.run()) == [4000]
    assert sync.run() == []


@pytest.mark.parametrize(
    ("mode", "indexed", "keyed"),
    [(APPEND, True, False), (APPEND, False, True), (MERGE, True, True), (MERGE, False, False)],
)
def test_a_large_window_is_cut_and_covered_once(db, mode, indexed, keyed):
    db.execute(
        f"CREATE TABLE t (id int {'PRIMARY KEY' if keyed else ''}, n int, v text)",
        "INSERT INTO t SELECT i, i, repeat('x', 200) FROM generate_series(1, 3000) AS i",
        *(["CREATE INDEX ON t (n)"] if indexed else []),
    )
    sync = db.sync("t", mode, cursor="n", key="id", partition_bytes=SMALL)
    sync.run()
    db.execute(
        "INSERT INTO t SELECT i, i, repeat('x', 200) FROM generate_series(3001, 5000) AS i",
        "INSERT INTO t VALUES (9000, NULL, 'odd'), (9001, 3000, 'tie')",
        "ANALYZE t",
    )
    plan = sync.prepare()
    assert len(plan.partitions) > 3
    assert ids(sync.finish()) == [*range(3001, 5001), 9000, 9001]
    assert sync.run() == []


@pytest.mark.parametrize("mode", MODES)
def test_a_restored_server_makes_rows_come_again_rather_than_get_lost(t, mode):
    sync = t.sync("t", mode, cursor="at")
    sync.run()
    sync.position = {**sync.position, "system": "1"}
    t.execute(
        "INSERT INTO t VALUES (101, '2024-01-01'::timestamptz + interval '100 s', 'tie'), (102, '2025-01-01', 'new')"
    )
    assert {101, 102} <= set(ids(sync.run()))
    assert "another" in sync.plan.note or "not the one" in sync.plan.note


def test_a_position_of_another_cursor_is_refused(t):
    sync = t.sync("t", MERGE, cursor="at")
    sync.run()
    other = t.sync("t", MERGE, cursor="id")
    other.position = sync.position
    with pytest.raises(SynclineError, match="'at'") as caught:
        other.prepare()
    assert caught.value.kind is ErrorKind.CONFIG
    assert "state reset" in caught.value.hint


@pytest.mark.parametrize(("cursor", "word"), [("nope", "no column"), ("j", "no order"), ("b", "no order")])
def test_a_column_that_cannot_be_a_cursor_is_refused_with_those_that_can(db, cursor, word):
    db.execute("CREATE TABLE t (id int PRIMARY KEY, j jsonb, b boolean, seen timestamptz)")
    with pytest.raises(SynclineError, match=word) as caught:
        db.sync("t", MERGE, cursor=cursor).prepare()
    assert caught.value.kind is ErrorKind.CONFIG
    assert "seen" in caught.value.hint


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("lookback", [0, "2 s"])
def test_concurrent_writers_lose_nothing_and_double_nothing(db, mode, lookback):
    db.execute(
        "CREATE TABLE t (id int PRIMARY KEY, at timestamptz DEFAULT now(), n int DEFAULT 0)",
        "CREATE INDEX ON t (at)",
        "CREATE SEQUENCE s",
    )
    stop = threading.Event()

    def write(seed: int) -> None:
        rng = random.Random(seed)
        with db.connect() as session:
            session.autocommit = False
            while not stop.is_set():
                for _ in range(rng.randint(1, 5)):
                    session.execute("INSERT INTO t (id) VALUES (nextval('s'))")
                    if rng.random() < 0.3:
                        session.execute("SAVEPOINT a; INSERT INTO t (id) VALUES (nextval('s')); RELEASE a")
                    if mode == MERGE and rng.random() < 0.5:
                        session.execute(
                            "UPDATE t SET n = n + 1, at = now() WHERE id = (SELECT id FROM t ORDER BY random() LIMIT 1"
                            " FOR UPDATE SKIP LOCKED)"
                        )
                    time.sleep(rng.random() * 0.01)
                session.commit() if rng.random() < 0.9 else session.rollback()

    sync = db.sync("t", mode, cursor="at", lookback_window=lookback)
    writers = [threading.Thread(target=write, args=(seed,)) for seed in range(4)]
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
    sync.run()
    expected = dict(db.rows("SELECT id, n FROM t"))
    assert len(expected) > 50
    assert {k: r["n"] for k, r in sync.merged().items()} == expected
    if mode == APPEND:
        assert len(sync.delivered) == len(expected)
    assert sync.run() == []
