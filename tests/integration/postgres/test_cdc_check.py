"""What check says of change data capture: each trouble with the statement that mends it, and the statement does."""

from __future__ import annotations

import pytest
from tests.integration.postgres.harness import APPEND, MERGE, Database

from syncline.core.errors import ErrorKind
from syncline.sdk.findings import Finding, Severity
from syncline.testing.postgres_server import start_postgres

CDC = {"method": "CDC"}


def troubles(db: Database, *tables: str, mode: str = MERGE, config=None, **replication) -> list[Finding]:
    source = db.source(replication_method={**CDC, **replication}, **(config or {}))
    selection = [db.selected(t, mode, source=source) for t in tables]
    return [f for f in source.check(selection) if f.severity is not Severity.OK]


def only(found: list[Finding], *words: str) -> Finding:
    fits = [f for f in found if all(w in f"{f.message} {f.hint}" for w in words)]
    assert len(fits) == 1, found
    return fits[0]


def test_a_fit_database_has_no_troubles(db):
    db.execute("CREATE TABLE t (id int PRIMARY KEY)")
    assert troubles(db, "t") == []
    assert [f.message for f in db.source(replication_method=CDC).check() if f.severity is not Severity.OK] == []


@pytest.fixture(scope="module")
def small():
    """A server without a logical log, with one slot and one walsender."""
    settings: dict[str, str | int] = {"wal_level": "replica", "max_replication_slots": 1, "max_wal_senders": 0}
    with start_postgres(settings=settings) as server:
        yield server


def test_a_server_that_is_not_prepared(small, tmp_path):
    name = small.create_database()
    with Database(small, name, tmp_path) as db:
        db.execute("CREATE TABLE t (id int PRIMARY KEY)", "SELECT pg_create_physical_replication_slot('other')")
        found = troubles(db, "t")
        assert only(found, "wal_level").severity is Severity.ERROR
        assert "ALTER SYSTEM SET wal_level = logical" in only(found, "wal_level").hint
        assert "max_replication_slots = 5" in only(found, "replication slots are taken").hint
        assert "max_wal_senders = 4" in only(found, "walsenders are taken").hint
        db.execute("SELECT pg_drop_replication_slot('other')")


def test_rights(db):
    db.execute(
        "DROP ROLE IF EXISTS poor",
        "CREATE ROLE poor LOGIN PASSWORD 'p'",
        "CREATE TABLE t (id int PRIMARY KEY)",
        "GRANT SELECT ON t TO poor",
    )
    try:
        found = troubles(db, "t", config={"username": "poor", "password": "p"})
        right = only(found, "may not read the replication log")
        assert right.kind is ErrorKind.PERMISSION
        assert right.hint == 'ALTER ROLE "poor" REPLICATION'
        assert "GRANT CREATE ON DATABASE" in only(found, "may not make a publication").hint
        assert 'FOR TABLE ONLY "public"."t"' in only(found, "not ours").hint
        db.execute(right.hint, 'CREATE PUBLICATION given FOR TABLE ONLY "public"."t"')
        assert troubles(db, "t", config={"username": "poor", "password": "p"}, publication="given") == []
    finally:
        db.execute("DROP OWNED BY poor", "DROP ROLE poor")


def test_identities(db):
    db.execute(
        "CREATE TABLE nothing (id int PRIMARY KEY)",
        "ALTER TABLE nothing REPLICA IDENTITY NOTHING",
        "CREATE TABLE by_index (id int NOT NULL UNIQUE, v int)",
        "CREATE TABLE part (id int, k int, PRIMARY KEY (id, k)) PARTITION BY RANGE (k)",
        "CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (0) TO (9)",
        "ALTER TABLE part_1 REPLICA IDENTITY NOTHING",
    )
    for table, statement in {
        "nothing": 'ALTER TABLE "public"."nothing" REPLICA IDENTITY USING INDEX "nothing_pkey"',
        "by_index": 'ALTER TABLE "public"."by_index" REPLICA IDENTITY USING INDEX "by_index_id_key"',
        "part": 'ALTER TABLE "public"."part_1" REPLICA IDENTITY USING INDEX "part_1_pkey"',
    }.items():
        found = only(troubles(db, table), statement)
        assert (found.severity, found.stream) == (Severity.ERROR, f"public.{table}")
        managed = only(troubles(db, table, manage=True), statement)
        assert managed.severity is Severity.WARNING
        db.execute(statement)
        assert troubles(db, table) == []


def test_a_table_without_a_key_needs_the_whole_row(db):
    db.execute("CREATE TABLE bare (id int, v int)")
    found = troubles(db, "bare", mode=APPEND)
    statement = 'ALTER TABLE "public"."bare" REPLICA IDENTITY FULL'
    assert only(found, statement).severity is Severity.ERROR
    db.execute(statement)
    assert [f for f in troubles(db, "bare", mode=APPEND) if f.severity is Severity.ERROR] == []


def test_tables_without_a_log(db):
    db.execute(
        "CREATE UNLOGGED TABLE u (id int PRIMARY KEY)",
        "CREATE TABLE parent (id int PRIMARY KEY)",
        "CREATE TABLE child (more int) INHERITS (parent)",
        "CREATE VIEW v AS SELECT 1 AS id",
        "CREATE TABLE part (id int PRIMARY KEY) PARTITION BY RANGE (id)",
        "CREATE UNLOGGED TABLE part_1 (id int NOT NULL PRIMARY KEY)",
        "CREATE TABLE g (id int PRIMARY KEY, twice int GENERATED ALWAYS AS (id * 2) STORED)",
    )
    attached = True
    try:
        db.execute("ALTER TABLE part ATTACH PARTITION part_1 FOR VALUES FROM (0) TO (9)")
    except Exception:  # noqa: BLE001 - newer servers do not let it in
        attached = False
    source = db.source(replication_method=CDC)
    found = [f for f in source.check() if f.severity is not Severity.OK]
    assert 'ALTER TABLE "public"."u" SET LOGGED' in only(found, "u is unlogged: the log").hint
    assert "full_refresh" in only(found, "inherit").hint
    assert "full_refresh" in only(found, "v is a view").hint
    if attached:
        assert only(found, "partition public.part_1").severity is Severity.ERROR
    streams = {s.name.name: s for s in source.discover().streams}
    assert not streams["u"].incremental
    assert not streams["v"].incremental
    assert streams["g"].incremental
    assert streams["g"].source_defined_cursor
    published = db.session.info.server_version >= 180000
    assert streams["g"].schema.names == (("id", "twice") if published else ("id",))
    if not published:
        only(found, "generated columns of public.g")


def test_a_slot_that_does_not_fit(db):
    db.execute("CREATE TABLE t (id int PRIMARY KEY)", "SELECT pg_create_physical_replication_slot('syncline_test')")
    try:
        assert "pgoutput" in only(troubles(db, "t"), "physical slot").message
    finally:
        db.execute("SELECT pg_drop_replication_slot('syncline_test')")
    elsewhere = db.server.create_database()
    with db.server.connect(elsewhere) as session:
        session.execute("SELECT pg_create_logical_replication_slot('syncline_test', 'pgoutput')")
        found = only(troubles(db, "t"), "belongs to database")
        assert elsewhere in found.message
        session.execute("SELECT pg_drop_replication_slot('syncline_test')")
    db.server.drop_database(elsewhere)
    assert (
        "pg_create_logical_replication_slot('mine', 'pgoutput'"
        in only(troubles(db, "t", replication_slot="mine"), "no replication slot mine").hint
    )


def test_a_slot_that_was_left_behind_is_named_with_its_size_and_statement(db):
    db.execute(
        "CREATE TABLE t (id int PRIMARY KEY)",
        "SELECT pg_create_logical_replication_slot('syncline_gone', 'pgoutput')",
        "INSERT INTO t SELECT generate_series(1, 20000)",
    )
    found = only(troubles(db, "t"), "syncline_gone")
    assert found.severity is Severity.WARNING
    assert " MB of log" in found.message
    for statement in found.hint.split(": ")[1].split("; "):
        db.execute(statement)
    assert troubles(db, "t") == []


def test_a_publication_that_does_not_fit(db):
    db.execute("CREATE TABLE t (id int PRIMARY KEY, v int)", "CREATE TABLE other (id int PRIMARY KEY)")
    assert (
        'CREATE PUBLICATION "p" FOR TABLE ONLY "public"."t"'
        in only(troubles(db, "t", publication="p"), "no publication").hint
    )
    db.execute("CREATE PUBLICATION p FOR TABLE other")
    assert "ADD TABLE" in only(troubles(db, "t", publication="p"), "not in publication").hint
    db.execute("ALTER PUBLICATION p SET TABLE t", "ALTER PUBLICATION p SET (publish = 'insert, update')")
    assert "delete, truncate" in only(troubles(db, "t", publication="p"), "does not publish").message
    db.execute("ALTER PUBLICATION p SET (publish = 'insert, update, delete, truncate')")
    db.execute("ALTER PUBLICATION p SET TABLE t WHERE (id > 5)")
    assert only(troubles(db, "t", publication="p"), "leaves out rows").severity is Severity.ERROR
    db.execute("ALTER PUBLICATION p SET TABLE t (id)")
    assert only(troubles(db, "t", publication="p"), "list of columns").severity is Severity.WARNING
    db.execute(
        "CREATE TABLE part (id int PRIMARY KEY) PARTITION BY RANGE (id)",
        "CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (0) TO (9)",
        "ALTER PUBLICATION p SET TABLE part",
    )
    found = only(troubles(db, "part", publication="p"), "publish_via_partition_root")
    db.execute(found.hint)
    assert troubles(db, "part", publication="p") == []


def test_limits_that_cost_a_slot(tmp_path):
    settings = {"max_slot_wal_keep_size": "1GB", "idle_replication_slot_timeout": "1h"}
    settings["synchronized_standby_slots"] = "gone"
    with start_postgres(settings=settings) as server:
        name = server.create_database()
        with Database(server, name, tmp_path) as db:
            db.execute("CREATE TABLE t (id int PRIMARY KEY)")
            found = troubles(db, "t")
            assert "1GB" in only(found, "max_slot_wal_keep_size").message
            assert "SET idle_replication_slot_timeout = 0" in only(found, "idle_replication_slot_timeout").hint
            assert "holds back" in only(found, "synchronized_standby_slots").message
