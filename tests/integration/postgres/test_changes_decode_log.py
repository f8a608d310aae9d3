"""What a real server writes about rows, through both decoders: keys, TOAST, truncates, DDL, open transactions."""

from __future__ import annotations

import pytest
from tests.integration.postgres.changes_log import Log, batches, decoded, described
from tests.unit.connectors.postgres.changes_frames import changes, places, rows

from syncline.connectors.postgres.changes.decode import native_available
from syncline.core.change import Op
from syncline.core.stream import StreamName

I, U, D, T = (int(op) for op in Op)  # noqa: E741
#: Both decoders, where there are two.
TWINS = [True, False] if native_available() else [False]
LONG = "(SELECT string_agg(md5(g::text), '') FROM generate_series(1, 400) AS g)"  # not compressible: out of line


@pytest.fixture
def log(db):
    made = Log(db)
    yield made
    made.close()


def both(source, stretches):
    """The same of both decoders, each with fresh descriptions."""
    stretches = list(stretches)
    return [decoded(described(source), stretches, native=native) for native in TWINS]


def test_updates_that_leave_long_values_out(db, log):
    db.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v text, n int)",
        f"INSERT INTO t VALUES (1, {LONG}, 1)",
        "UPDATE t SET n = 2",
        "UPDATE t SET id = 2",
        "ALTER TABLE t REPLICA IDENTITY FULL",
        "UPDATE t SET n = 3",
        "UPDATE t SET id = 3, v = 'short'",
        "DELETE FROM t",
    )
    for slices in both(db.source(), [log.stretch()]):
        found = changes(slices, "t")
        long = found[0]["v"]
        assert len(long) == 32 * 400
        assert found[1:] == [
            {"op": U, "id": 1, "v": None, "n": 2, "unchanged": ["v"]},
            {"op": U, "id": 2, "v": None, "n": 2, "unchanged": ["v"], "old": {"id": 1}},
            {"op": U, "id": 2, "v": long, "n": 3},
            {"op": U, "id": 3, "v": "short", "n": 3, "old": {"id": 2}},
            {"op": D, "id": 3, "v": "short", "n": 3},
        ]


def test_a_long_key_that_is_left_out_is_filled_from_the_identity(db, log):
    db.execute(
        "CREATE TABLE t (k text PRIMARY KEY, n int, v text)",
        "ALTER TABLE t ALTER k SET STORAGE EXTERNAL",
        f"INSERT INTO t VALUES (left({LONG}, 2100), 1, {LONG})",
        "UPDATE t SET n = 2",
    )
    for slices in both(db.source(), [log.stretch()]):
        first, second = changes(slices, "t")
        assert second == {"op": U, "k": first["k"], "n": 2, "v": None, "unchanged": ["v"]}
        assert len(first["k"]) == 2100


def test_another_index_as_identity(db, log):
    db.execute(
        "CREATE TABLE t (id int PRIMARY KEY, code text NOT NULL UNIQUE, n int)",
        "ALTER TABLE t REPLICA IDENTITY USING INDEX t_code_key",
        "INSERT INTO t VALUES (1, 'a', 1)",
        "UPDATE t SET n = 2",
        "UPDATE t SET code = 'b'",
        "DELETE FROM t",
    )
    for slices in both(db.source(), [log.stretch()]):
        assert changes(slices, "t")[1:] == [
            {"op": U, "id": 1, "code": "a", "n": 2},
            {"op": U, "id": 1, "code": "b", "n": 2},
            {"op": D, "id": None, "code": "b", "n": None},
        ]


def test_truncates_of_several_tables(db, log):
    db.execute(
        "CREATE TABLE t (id int PRIMARY KEY)",
        "CREATE TABLE u (id int PRIMARY KEY, t int REFERENCES t)",
        "INSERT INTO t VALUES (1)",
        "TRUNCATE t CASCADE",
        "TRUNCATE t, u RESTART IDENTITY",
    )
    for slices in both(db.source(), [log.stretch()]):
        assert [row["op"] for row in changes(slices, "t")] == [I, T, T]
        assert [row["op"] for row in changes(slices, "u")] == [T, T]


def test_columns_that_come_and_go(db, log):
    source = db.source()
    db.execute("CREATE TABLE t (id int PRIMARY KEY, a text)", "INSERT INTO t VALUES (1, 'x')")
    before = described(source)
    first = log.stretch()
    db.execute(
        "ALTER TABLE t DROP a",
        "ALTER TABLE t ADD b int DEFAULT 7",
        "UPDATE t SET id = 2",
        "INSERT INTO t VALUES (3, 4)",
    )
    after = described(source)
    second = log.stretch()
    for native in TWINS:
        assert changes(decoded(before, [first], native=native), "t") == [{"op": I, "id": 1, "a": "x"}]
        assert changes(decoded(after, [second], native=native), "t") == [
            {"op": U, "id": 2, "b": 7, "old": {"id": 1}},
            {"op": I, "id": 3, "b": 4},
        ]


def test_generated_columns_are_not_in_the_log(db, log):
    db.execute(
        "CREATE TABLE t (id int PRIMARY KEY, twice int GENERATED ALWAYS AS (id * 2) STORED, z text)",
        "INSERT INTO t (id, z) VALUES (1, 'z')",
    )
    for slices in both(db.source(), [log.stretch()]):
        assert changes(slices, "t") == [{"op": I, "id": 1, "z": "z"}]


def rolled_back(db):
    """A transaction of 3000 rows and a rolled-back savepoint that changed the table; run while a walsender streams."""
    yield "BEGIN"
    yield "INSERT INTO t SELECT g, repeat('x', 50) FROM generate_series(1, 1500) AS g"
    yield "SAVEPOINT a"
    yield "ALTER TABLE t ADD extra int"
    yield "INSERT INTO t SELECT g, repeat('y', 50), g FROM generate_series(10001, 11500) AS g"
    yield "TRUNCATE other"
    yield "ROLLBACK TO a"
    yield "INSERT INTO t SELECT g, repeat('z', 50) FROM generate_series(2001, 3500) AS g"
    yield "SAVEPOINT b"
    yield "INSERT INTO t SELECT g, repeat('w', 50) FROM generate_series(4001, 4010) AS g"
    yield "RELEASE b"


def test_open_transactions_with_rolled_back_savepoints(db, log):
    if db.session.info.server_version < 140000:
        pytest.skip("open transactions are streamed from 14 on")
    db.execute("CREATE TABLE t (id int PRIMARY KEY, v text)", "CREATE TABLE other (id int PRIMARY KEY)")
    live = log.live()
    try:
        held = 0
        for statement in rolled_back(db):
            db.execute(statement)
            if statement.startswith("INSERT") and "4010" not in statement:
                held += 50_000  # every one of them alone is more than the server keeps
                live.wait(lambda: live.held > held)  # noqa: B023
        # Another one commits first, and the log's order is that of commits.
        with db.connect() as session:
            session.execute("INSERT INTO other VALUES (1)")
        db.execute("COMMIT", "INSERT INTO t VALUES (9999, 'after')")
        live.wait(lambda: len(live.ready) == 3)
    finally:
        live.close()
    streamed = [stretch for stretch in live.ready if stretch.header is not None]
    assert len(streamed) == 1
    assert len(streamed[0].aborted) == 1
    for slices in both(db.source(), live.ready):
        found = changes(slices, "t")
        expected = [*range(1, 1501), *range(2001, 3501), *range(4001, 4011)]
        assert [row["id"] for row in found] == [*expected, 9999]
        assert {row["v"][0] for row in found[:-1]} == {"x", "z", "w"}
        [*big, after] = places(slices, "t")
        assert [ordinal for _, ordinal in big] == list(range(1, len(expected) + 1))
        assert len({lsn for lsn, _ in big}) == 1
        [other] = batches(slices, StreamName(namespace="public", name="other"))
        assert [row["op"] for row in rows(other)] == [I]
        assert other.lsn[0].as_py() < big[0][0] < after[0]


def test_streamed_and_ordinary_messages_give_the_same_rows_and_ordinals(db, log):
    if db.session.info.server_version < 140000:
        pytest.skip("open transactions are streamed from 14 on")
    db.execute("CREATE TABLE t (id int PRIMARY KEY, v text)", "CREATE TABLE other (id int PRIMARY KEY)")
    second = Log.__new__(Log)
    second.db, second.slot = db, f"{log.slot}_too"
    db.session.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [second.slot])
    live = log.live()
    try:
        for statement in rolled_back(db):
            db.execute(statement)
        live.wait(lambda: live.held > 100_000)
        db.execute("COMMIT")
        live.wait(lambda: len(live.ready) == 1)
        ordinary = second.stretch()
    finally:
        live.close()
        second.close()
    assert live.ready[0].header is not None
    source = db.source()
    found = [*both(source, live.ready), *both(source, [ordinary])]
    expected = found[0]
    for each in found[1:]:
        assert changes(each, "t") == changes(expected, "t")
        assert places(each, "t") == places(expected, "t")
