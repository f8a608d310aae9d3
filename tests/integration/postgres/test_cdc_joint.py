"""Copy and log meet without a gap and, where rows are appended, without a row that comes twice."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager

import pytest
from tests.integration.postgres.following import Following
from tests.integration.postgres.harness import APPEND, SMALL, Database, ids, read_all

from syncline.connectors.postgres.changes.reader import shows
from syncline.core.change import LogPosition
from syncline.core.errors import ErrorKind, SynclineError
from syncline.testing.postgres_server import start_postgres

pytestmark = pytest.mark.slow


@contextmanager
def in_thread(act):
    """Runs ``act`` beside the block; its result, or its error, is in the list afterwards."""
    found: list = []

    def run() -> None:
        try:
            found.append(act())
        except Exception as error:  # noqa: BLE001 - raised by whoever looks
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    yield found
    thread.join(30)
    assert not thread.is_alive()


def until(condition) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture(scope="module")
def lonely():
    """A primary that waits for a standby which will never come, whoever asks it to (synchronous_commit = on)."""
    with start_postgres(settings={"synchronous_standby_names": "nobody"}) as server:
        yield server


def test_a_commit_that_is_written_and_not_yet_visible_is_not_lost(lonely, tmp_path):
    name = lonely.create_database()
    with Database(lonely, name, tmp_path) as db:
        db.execute("CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t VALUES (1)")
        f = Following(db, slot_timeout=20)
        f.tables = ("t",)
        f.open()
        # The slot knows nothing of t's copy any more: it is made again while a commit hangs.
        chosen = f.selected[next(iter(f.selected))]
        with db.connect() as waiting:
            pid = waiting.info.backend_pid
            waiting.execute("SET synchronous_commit = on")
            with in_thread(lambda: waiting.execute("INSERT INTO t VALUES (2)")):
                until(lambda: db.rows(f"SELECT 1 FROM pg_stat_activity WHERE pid = {pid} AND wait_event = 'SyncRep'"))
                assert db.rows("SELECT id FROM t") == [(1,)]
                with in_thread(lambda: f.source.snapshot(chosen)) as found:
                    time.sleep(0.5)
                    planned = list(found)
                    f.log.end()  # the log goes on past that commit
                    db.execute(f"SELECT pg_cancel_backend({pid})")  # it stops waiting, and is visible then
                assert not planned, "planned while a commit was written and not visible"
                plan = found[0]
                assert not isinstance(plan, Exception), plan
        position = LogPosition.from_json(plan.end)
        rows = ids(read_all(f.source, chosen, plan))
        reader = f.log.reader({chosen.name: (chosen, position)}, position.lsn)
        end = f.log.end()
        while reader.position < end:
            for _, batch in reader.read(5).batches:
                rows += batch.data.column("id").to_pylist()
        assert sorted(rows) == [1, 2]
        f.close()
    lonely.drop_database(name)


def test_who_is_waited_for_is_named_when_it_takes_too_long(db):
    db.execute("CREATE TABLE t (id int PRIMARY KEY)", "CREATE TABLE other (id int PRIMARY KEY)")
    f = Following(db, slot_timeout=0.3).open()
    f.tables = ("t", "other")
    t, other = db.selected("t", source=f.source, mode=f.mode), db.selected("other", source=f.source, mode=f.mode)
    with db.connect() as writer, writer.transaction():
        pid = writer.info.backend_pid
        writer.execute("INSERT INTO t VALUES (1)")
        assert f.source.snapshot(other).partitions  # nobody writes that one
        with pytest.raises(SynclineError) as caught:
            f.source.snapshot(t)
    assert caught.value.kind is ErrorKind.TRANSIENT
    assert f"pid {pid}" in caught.value.message
    assert caught.value.where["stream"] == "public.t"
    f.close()


def test_a_transaction_that_wrote_before_its_table_was_published_is_in_the_copy(db):
    """What it did before is not sent, so the copy waits for its end."""
    db.execute("CREATE TABLE first (id int PRIMARY KEY)", "CREATE TABLE t (id int PRIMARY KEY)")
    f = Following(db, "first").open().catch_up()
    with db.connect() as writer:
        writer.execute("BEGIN")
        writer.execute("INSERT INTO t VALUES (1)")
        f.tables = ("first", "t")
        with in_thread(f.again) as found:
            until(lambda: db.rows("SELECT 1 FROM pg_publication_tables WHERE tablename = 't'"))
            time.sleep(0.3)
            assert not found
            writer.execute("INSERT INTO t VALUES (2)")
            writer.execute("COMMIT")
        assert not isinstance(found[0], Exception), found
    assert [row["id"] for row in f.catch_up().table("t")] == [1, 2]
    f.close()


def test_nothing_is_lost_or_doubled_while_many_write(db):
    """Appended: every inserted row exactly once, from the copy or from the log, with savepoints in half of them."""
    db.execute("CREATE TABLE t (id int PRIMARY KEY, pad text)")
    db.execute("INSERT INTO t SELECT i, repeat('x', 200) FROM generate_series(1, 2000) AS i", "ANALYZE t")
    f = Following(db, mode=APPEND)
    stop = threading.Event()

    def write(lane: int) -> int:
        number = 0
        with db.connect() as session:
            while not stop.is_set():
                with session.transaction():
                    session.execute("INSERT INTO t VALUES (%s, 'new')", [1_000_000 * lane + number])
                    number += 1
                    with session.transaction():
                        session.execute("INSERT INTO t VALUES (%s, 'inner')", [1_000_000 * lane + number])
                        number += 1
        return number

    with in_thread(lambda: write(1)), in_thread(lambda: write(2)), in_thread(lambda: write(3)):
        try:
            f.tables = ("t",)
            for _ in range(5):  # each a copy of its own
                f.positions, f.identity = {}, None
                f.changes.clear()
                f.open(partition_bytes=SMALL)
                assert len(f.copied["public.t"]) >= 2000
                time.sleep(0.2)
                if _ < 4:
                    f.close()
        finally:
            stop.set()
    f.catch_up()
    rows = [row["id"] for row in f.copied["public.t"]]
    rows += [row["id"] for op, row in f.changes["public.t"] if op == "insert"]
    assert len(rows) == len(set(rows))
    assert sorted(rows) == [i for (i,) in db.rows("SELECT id FROM t ORDER BY id")]
    f.close()


def test_rows_of_subtransactions_that_were_open_come_once(db):
    """An open transaction with savepoints that writes the table only after the snapshot, under ids from before it."""
    db.execute("CREATE TABLE t (id int PRIMARY KEY)", "CREATE TABLE u (id int)", "INSERT INTO t VALUES (1)")
    f = Following(db, mode=APPEND).open()
    chosen = db.selected("t", APPEND, source=f.source)
    f.tables = ("t",)
    f.again()
    with db.connect() as writer:
        writer.execute("BEGIN")
        writer.execute("INSERT INTO u VALUES (1)")
        writer.execute("SAVEPOINT s")
        writer.execute("INSERT INTO u VALUES (2)")  # now the savepoint has an id of its own
        db.execute("INSERT INTO t VALUES (2)")  # a later one that is finished: the open ids lie within the snapshot
        plan = f.source.snapshot(chosen)
        writer.execute("INSERT INTO t VALUES (3)")
        writer.execute("COMMIT")
    assert "," not in plan.end["snapshot"].split(":")[2]
    assert plan.end["snapshot"].split(":")[2], "the open transaction is in the snapshot's list"
    copied = ids(read_all(f.source, chosen, plan))
    position = LogPosition.from_json(plan.end)
    reader, end, logged = f.log.reader({chosen.name: (chosen, position)}, position.lsn), f.log.end(), []
    while reader.position < end:
        for _, batch in reader.read(5).batches:
            logged += batch.data.column("id").to_pylist()
    assert (copied, logged) == ([1, 2], [3])
    f.close()


def test_a_rewrite_in_the_middle_of_an_appending_copy_stops_it(db):
    db.execute("CREATE TABLE t (id int PRIMARY KEY, v int)", "INSERT INTO t VALUES (1, 1)")
    f = Following(db, "t", mode=APPEND).open()
    chosen = f.selected[next(iter(f.selected))]
    plan = f.source.snapshot(chosen)
    db.execute(
        "ALTER TABLE t ALTER v TYPE int USING v + 1", "ALTER TABLE t ADD COLUMN u uuid DEFAULT gen_random_uuid()"
    )
    with pytest.raises(SynclineError, match="rewritten"):
        read_all(f.source, chosen, plan)
    f.close()


def test_a_large_table_without_a_key_is_copied_under_the_snapshot_that_the_log_continues(db):
    db.execute(
        "CREATE TABLE t (id int, pad text)",
        "ALTER TABLE t REPLICA IDENTITY FULL",
        "INSERT INTO t SELECT i, repeat('x', 200) FROM generate_series(1, 3000) AS i",
        "ANALYZE t",
    )
    f = Following(db, mode=APPEND)
    f.tables = ("t",)
    with db.connect() as writer:
        f.open(partition_bytes=SMALL)
        writer.execute("INSERT INTO t SELECT i, 'after' FROM generate_series(3001, 3100) AS i")
    f.catch_up()
    rows = [row["id"] for row in f.copied["public.t"]] + [row["id"] for _, row in f.changes["public.t"]]
    assert sorted(rows) == list(range(1, 3101))
    f.close()


def test_what_a_snapshot_shows_is_told_across_the_wrap_around_of_ids():
    epoch = 3 << 32
    visible = shows(f"{epoch - 5}:{epoch + 5}:{epoch - 4},{epoch + 2}")
    assert visible((epoch - 6) & 0xFFFFFFFF)
    assert not visible((epoch - 4) & 0xFFFFFFFF)
    assert visible((epoch - 3) & 0xFFFFFFFF)
    assert visible(3)
    assert not visible(2)
    assert not visible(5)
    assert not visible(1 << 30)
    assert visible((1 << 31) + 10)
