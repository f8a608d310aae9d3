"""Goes on where it left off, or stops with the reason and a plan: never over a gap."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace

import psycopg
import pytest
from tests.integration.postgres.following import Following
from tests.integration.postgres.harness import Database

from syncline.connectors.postgres.changes.slot import create_slot, drop_slot, look_at_slot
from syncline.core.errors import ErrorKind, SynclineError
from syncline.testing.postgres_server import start_postgres

SLOT = "syncline_test"


@pytest.fixture
def follow(db):
    opened: list[Following] = []

    def make(*tables: str, **more) -> Following:
        opened.append(Following(db, *tables, **more).open())
        return opened[-1]

    yield make
    for each in opened:
        each.close()


@pytest.fixture
def table(db):
    db.execute("CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    return db


def refused(f: Following) -> SynclineError:
    with pytest.raises(SynclineError) as caught:
        f.open()
    f.close()
    return caught.value


def test_runs_follow_each_other(table, follow):
    f = follow("t")
    for number in range(2, 6):
        table.execute(f"INSERT INTO t VALUES ({number})")
        f.catch_up().again()
    f.catch_up()
    assert [r["id"] for r in f.table("t")] == [1, 2, 3, 4, 5]
    slot = look_at_slot(table.session, SLOT)
    assert slot is not None
    assert slot.confirmed <= f.positions[next(iter(f.positions))].lsn


def test_what_was_not_confirmed_comes_again(table, follow):
    f = follow("t")
    table.execute("INSERT INTO t VALUES (2)")
    reader = f.reader()
    end = f.log.end()
    while reader.position < end:
        reader.read(5)
    f.close()  # nothing was confirmed
    table.execute("INSERT INTO t VALUES (3)")
    f.open().catch_up()
    assert [r["id"] for r in f.table("t")] == [1, 2, 3]


def test_a_lost_spool_is_no_loss_when_only_the_destination_was_confirmed(table, follow):
    f = follow("t").catch_up()
    table.execute("INSERT INTO t VALUES (2)")
    f.close()
    shutil.rmtree(table.work_dir / "spool")
    f.open().catch_up()
    assert [r["id"] for r in f.table("t")] == [1, 2]


def test_a_lost_spool_is_a_stop_when_the_source_has_forgotten(table, follow):
    f = follow("t", spool={"durable": True}).catch_up()
    table.execute("INSERT INTO t VALUES (2)")
    behind = f.log.end()
    deadline = time.monotonic() + 20
    while f.log.status().confirmed < behind:  # into the spool and forgotten at the source, the destination is away
        assert time.monotonic() < deadline
        time.sleep(0.05)
    f.close()
    shutil.move(table.work_dir / "spool", table.work_dir / "elsewhere")
    error = refused(f)
    assert error.kind is ErrorKind.CONFLICT
    assert "the spool is gone" in error.message
    shutil.rmtree(table.work_dir / "spool", ignore_errors=True)
    shutil.move(table.work_dir / "elsewhere", table.work_dir / "spool")
    f.open().catch_up()
    assert [r["id"] for r in f.table("t")] == [1, 2]


def test_a_dropped_slot_is_a_stop(table, follow):
    f = follow("t").catch_up().close()
    drop_slot(table.session, SLOT)
    error = refused(f)
    assert error.kind is ErrorKind.CONFLICT
    assert "does not exist any more" in error.message
    assert "syncline state reset" in error.hint
    create_slot(table.session, SLOT, timeout=10, failover=False)
    assert "moved on to" in refused(f).message
    f.open = lambda: f  # closed already


def test_a_slot_that_was_advanced_by_hand_is_a_stop(table, follow):
    f = follow("t").catch_up().close()
    table.execute("SET synchronous_commit = on", "INSERT INTO t VALUES (2)")
    table.execute(f"SELECT pg_replication_slot_advance('{SLOT}', pg_current_wal_lsn())")
    error = refused(f)
    assert error.kind is ErrorKind.CONFLICT
    assert "somebody advanced the slot" in error.message


def test_a_slot_of_another_plugin_or_read_by_another_is_a_stop(table, follow):
    table.execute(f"SELECT pg_create_logical_replication_slot('{SLOT}', 'test_decoding')") if _has_plugin(
        table
    ) else table.execute(f"SELECT pg_create_physical_replication_slot('{SLOT}')")
    error = refused(Following(table, "t"))
    assert error.kind is ErrorKind.CONFIG
    assert "pgoutput" in error.message
    drop_slot(table.session, SLOT)


def _has_plugin(db: Database) -> bool:
    try:
        db.execute(
            "SELECT pg_create_logical_replication_slot('probe', 'test_decoding')",
            "SELECT pg_drop_replication_slot('probe')",
        )
    except psycopg.Error:
        return False
    return True


def test_a_user_s_slot_and_publication_are_used_and_left_alone(table, follow):
    given = {"replication_slot": "mine", "publication": "My pub"}
    error = refused(Following(table, "t", **given))
    assert error.kind is ErrorKind.CONFIG
    assert 'CREATE PUBLICATION "My pub" FOR TABLE ONLY "public"."t"' in error.hint
    table.execute(error.hint.removeprefix("make it: ").split(";")[0])
    error = refused(Following(table, "t", **given))
    table.execute(error.hint.removeprefix("make it: ").split(";")[0])
    f = follow("t", **given)
    table.execute("INSERT INTO t VALUES (2)")
    assert [r["id"] for r in f.catch_up().table("t")] == [1, 2]
    f.close()
    f.source = table.source(replication_method=f.replication)
    assert [w.split()[0] for w in f.source.forget()] == ["spool"]
    assert table.rows("SELECT slot_name FROM pg_replication_slots WHERE database = current_database()") == [("mine",)]


def test_a_stream_that_was_away_from_the_publication_has_a_gap_and_the_others_go_on(table, follow):
    table.execute("CREATE TABLE u (id int PRIMARY KEY)")
    f = follow("t", "u").catch_up()
    kept = dict(f.positions)
    f.close()
    f.tables = ("t",)
    f.positions = {n: p for n, p in kept.items() if n.name == "t"}
    f.open()
    table.execute("INSERT INTO u VALUES (1)", "INSERT INTO t VALUES (2)")
    f.catch_up().close()
    f.tables = ("t", "u")
    f.positions = {**kept, **f.positions}
    f.positions = {name: max(f.positions.values(), key=lambda p: p.lsn) for name in f.positions}
    f.open().catch_up()
    assert "has a gap" in f.broken["public.u"].message
    assert [r["id"] for r in f.table("t")] == [1, 2]


def test_a_stream_that_one_run_left_alone_is_no_stream_without_a_gap(table, follow):
    """It was selected and stayed published, but the log went on and was confirmed without it."""
    table.execute("CREATE TABLE u (id int PRIMARY KEY)")
    f = follow("t", "u").catch_up()
    kept = dict(f.positions)
    f.close()
    f.source = table.source(replication_method=f.replication)
    f.log = f.source.change_log([table.selected(n, f.mode, source=f.source) for n in ("t", "u")])
    only_t = {n: p for n, p in kept.items() if n.name == "t"}
    f.log.open(only_t, f.identity)
    assert len(table.rows("SELECT 1 FROM pg_publication_tables WHERE pubname = 'syncline_test'")) == 2
    table.execute("INSERT INTO u VALUES (1)", "INSERT INTO t VALUES (2)")
    f.positions, f.selected = only_t, {n: f.selected[n] for n in only_t}
    f.catch_up().close()
    at = max(p.lsn for p in f.positions.values())
    f.positions = {n: replace(p, lsn=at) for n, p in kept.items()}
    f.open().catch_up()
    assert "went on in the log without it" in f.broken["public.u"].message
    assert [r["id"] for r in f.table("t")] == [1, 2]


def test_tables_come_into_the_publication_and_leave_it(table, follow):
    table.execute("CREATE TABLE u (id int PRIMARY KEY)")
    f = follow("t", "u")
    members = "SELECT tablename FROM pg_publication_tables WHERE pubname = 'syncline_test' ORDER BY 1"
    assert table.rows(members) == [("t",), ("u",)]
    f.tables = ("u",)
    f.again()
    assert table.rows(members) == [("u",)]


def test_forgetting_a_connection_takes_away_what_it_made(table, follow):
    f = follow("t").catch_up()
    with pytest.raises(SynclineError) as caught:
        _forget_now(f)
    assert caught.value.kind is ErrorKind.CONFLICT
    assert table.rows("SELECT pubname FROM pg_publication") == [("syncline_test",)]
    f.close()
    source = table.source(replication_method=f.replication)
    assert source.lag().state in ("reserved", "extended")
    done = source.forget()
    assert [w.split()[0] for w in done] == ["replication", "publication", "spool"]
    assert source.forget() == []
    assert source.lag().state == "absent"
    assert not (table.work_dir / "spool" / SLOT).exists()


def _forget_now(f: Following) -> None:
    from syncline.connectors.postgres.changes import slot

    former, slot.RELEASE_SECONDS = slot.RELEASE_SECONDS, 0.1
    try:
        f.source.forget()
    finally:
        slot.RELEASE_SECONDS = former


def test_another_server_and_a_restored_one_are_stops(tmp_path):
    with start_postgres() as server, start_postgres() as other:
        for each in (server, other):
            each.create_database("d")
        with Database(server, "d", tmp_path / "a") as db, Database(other, "d", tmp_path / "b") as elsewhere:
            for database in (db, elsewhere):
                database.execute("CREATE TABLE t (id int PRIMARY KEY)")
            f = Following(db, "t").open().catch_up()
            f.close()
            f.db = elsewhere
            error = refused(f)
            assert error.kind is ErrorKind.CONFLICT
            assert "another server" in error.message
            f.db = db
            f.identity = {**(f.identity or {}), "timeline": 7}
            assert "does not come from timeline 7" in refused(f).message


def test_a_slot_that_waits_names_who_it_waits_for(table):
    with table.connect() as writer, writer.transaction():
        pid = writer.info.backend_pid
        writer.execute("INSERT INTO t VALUES (5)")
        with pytest.raises(SynclineError) as caught:
            create_slot(table.session, SLOT, timeout=0.5, failover=False)
    assert caught.value.kind is ErrorKind.TRANSIENT
    assert f"pid {pid}" in caught.value.message
    assert look_at_slot(table.session, SLOT) is None


def test_a_table_without_identity_stops_its_stream_or_gets_one_when_managed(db, follow):
    db.execute(
        "CREATE TABLE bare (id int, v int)", "CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO bare VALUES (1, 1)"
    )
    f = follow("bare", "t", mode="incremental_append")
    assert 'ALTER TABLE "public"."bare" REPLICA IDENTITY FULL' in f.log._followed.broken[f_name("bare")].hint
    db.execute("UPDATE bare SET v = 2")  # its users are not hurt: it is not published
    assert "public.bare" in f.catch_up().broken
    f.close()
    managed = follow("bare", "t", mode="incremental_append", manage=True)
    db.execute("UPDATE bare SET v = 3")
    managed.catch_up()
    assert not managed.broken
    assert managed.changes["public.bare"] == [("update", {"id": 1, "v": 3})]


def f_name(table: str):
    from syncline.core.stream import StreamName

    return StreamName(namespace="public", name=table)


def test_a_heartbeat_can_be_a_row_of_a_table(table, follow):
    f = follow("t", heartbeat={"table": "public.beats"})
    f.log.end()
    f.catch_up()
    assert table.rows("SELECT id FROM beats") == [(1,)]


def test_keys_are_looked_up_by_value(db, follow):
    import datetime as dt

    import pyarrow as pa

    db.execute(
        'CREATE TABLE "T t" (a text, b timestamptz, c numeric(10, 2), v int, gone int, PRIMARY KEY (a, b, c))',
        """INSERT INTO "T t" VALUES ('it''s', '2020-01-01 00:00:00.123456+00', 1.50, 7, 1), ('x', 'epoch', 2, 8, 1)""",
    )
    f = follow("T t")
    chosen = next(iter(f.selected.values()))
    db.execute('ALTER TABLE "T t" DROP COLUMN gone')
    at = dt.datetime(2020, 1, 1, 0, 0, 0, 123456, dt.UTC)
    keys = pa.RecordBatch.from_pylist(
        [{"a": "it's", "b": at, "c": 1.50}, {"a": "none", "b": at, "c": 1}],
        schema=pa.schema([("a", pa.string()), ("b", pa.timestamp("us", "UTC")), ("c", pa.float64())]),
    )
    keys = keys.set_column(2, "c", keys.column("c").cast(pa.decimal128(10, 2)))
    found = f.log.fetch(chosen, keys)
    assert found.data.schema == chosen.stream.schema.arrow()
    assert [(r["a"], r["v"], r["gone"]) for r in found.data.to_pylist()] == [("it's", 7, None)]
