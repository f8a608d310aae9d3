"""Whole copies: every row once, of every kind of relation, while others write."""

from __future__ import annotations

import threading
import time

import psycopg
import pytest
from tests.integration.postgres.harness import SMALL, ids, read_all

from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.stream import SelectedStream, SyncMode

ENDS = "WHEN 1 THEN 'infinity' WHEN 2 THEN '-infinity' WHEN 3 THEN '0044-03-15 BC'"
FILL = "SELECT i, repeat('x', 100) || i FROM generate_series(1, 5000) AS i"


def test_a_keyed_table_is_cut_into_key_ranges_that_cover_it_once(db):
    db.execute("CREATE TABLE t (id int PRIMARY KEY, v text)", f"INSERT INTO t {FILL}", "ANALYZE t")
    source = db.source(partition_bytes=SMALL)
    selected = db.selected("t", source=source)
    plan = source.snapshot(selected)
    assert len(plan.partitions) > 5
    assert plan.resumable
    assert ids(read_all(source, selected, plan)) == list(range(1, 5001))
    assert plan.estimated_rows == 5000


def test_a_small_table_is_one_partition(db):
    db.execute("CREATE TABLE t (id int PRIMARY KEY, v text)", f"INSERT INTO t {FILL}")
    sync = db.sync("t", "full_refresh_overwrite")
    assert len(sync.prepare().partitions) == 1
    assert len(sync.finish()) == 5000


KEYS = [
    ("int8", "(i - 2500) * 1000000000000"),
    ("text", "CASE i % 3 WHEN 0 THEN 'Z' WHEN 1 THEN 'a' ELSE 'é''\\ \"%' END || i"),
    ('text COLLATE "C"', "md5(i::text)"),
    ("varchar(40)", "md5(i::text)"),
    ("char(40)", "md5(i::text)"),
    ("uuid", "md5(i::text)::uuid"),
    ("numeric", "CASE i WHEN 1 THEN 'NaN' WHEN 2 THEN '-1e100' ELSE i / 7.0 END::numeric"),
    ("float8", "CASE i WHEN 1 THEN 'NaN' WHEN 2 THEN '-Infinity' WHEN 3 THEN 'Infinity' ELSE 1.0 / i END::float8"),
    (
        "timestamptz",
        f"CASE i {ENDS} WHEN 3 THEN '0044-03-15 BC' ELSE '2020-01-01' END::timestamptz + i * '1 s'::interval",
    ),
    ("date", f"CASE i {ENDS} ELSE '2020-01-01' END::date + CASE WHEN i < 3 THEN 0 ELSE i END"),
    ("bytea", "decode(md5(i::text), 'hex')"),
    ("interval", "i * interval '1 hour 3 s'"),
    ("inet", "'10.0.0.0'::inet + i"),
    ("int[]", "ARRAY[i % 7, i]"),
    ("bit varying", "i::bit(16)::bit varying"),
]


def test_keys_of_every_type_are_cut(db):
    for number, (kind, value) in enumerate(KEYS):
        db.execute(
            f"CREATE TABLE t{number} (k {kind} PRIMARY KEY, id int, v text)",
            f"INSERT INTO t{number} SELECT {value}, i, repeat('x', 150) FROM generate_series(1, 1000) AS i",
            f"ANALYZE t{number}",
        )
    source = db.source(partition_bytes=SMALL)
    for stream in source.discover().streams:
        selected = SelectedStream(stream=stream, sync_mode=SyncMode.FULL_REFRESH_OVERWRITE)
        plan = source.snapshot(selected)
        assert len(plan.partitions) > 1, stream.schema.field("k")
        assert ids(read_all(source, selected, plan)) == list(range(1, 1001)), stream.schema.field("k")


def test_composite_keys_are_cut_by_all_their_columns_in_the_order_of_the_index(db):
    db.execute(
        'CREATE TABLE "Odd "" name" (id int, "Tenant" text, "select" date, v text)',
        'ALTER TABLE "Odd "" name" ADD PRIMARY KEY ("Tenant", "select", id)',
        """INSERT INTO "Odd "" name" SELECT i, 't' || i % 2, '2020-01-01'::date + i % 3, repeat('x', 150)
           FROM generate_series(1, 3000) AS i""",
        'ANALYZE "Odd "" name"',
    )
    source = db.source(partition_bytes=SMALL)
    selected = db.selected('Odd " name', source=source)
    assert selected.stream.primary_key == ("Tenant", "select", "id")
    plan = source.snapshot(selected)
    assert len(plan.partitions) > 2
    assert ids(read_all(source, selected, plan)) == list(range(1, 3001))


def test_a_key_of_users_types_in_another_schema_is_cut(db):
    db.execute(
        'CREATE SCHEMA "Other one"',
        "CREATE TYPE \"Other one\".\"Mood\" AS ENUM ('sad', 'ok', 'happy')",
        'CREATE DOMAIN "Other one".small AS int CHECK (VALUE > 0)',
        'CREATE TABLE "Other one".t (mood "Other one"."Mood", id "Other one".small, v text, PRIMARY KEY (mood, id))',
        """INSERT INTO "Other one".t SELECT (ARRAY['sad', 'ok', 'happy'])[i % 3 + 1]::"Other one"."Mood", i,
           repeat('x', 150) FROM generate_series(1, 2000) AS i""",
        'ANALYZE "Other one".t',
    )
    source = db.source(partition_bytes=SMALL, schemas=["Other one"])
    selected = db.selected("Other one.t", source=source)
    plan = source.snapshot(selected)
    assert len(plan.partitions) > 1
    assert ids(read_all(source, selected, plan)) == list(range(1, 2001))


def test_every_kind_of_relation_is_read_whole(db):
    db.execute(
        "CREATE TABLE base (id int PRIMARY KEY, v text, doubled int GENERATED ALWAYS AS (id * 2) STORED)",
        f"INSERT INTO base (id, v) {FILL}",
        "CREATE VIEW a_view AS SELECT id, v FROM base",
        "CREATE MATERIALIZED VIEW a_matview AS SELECT id, v FROM base",
        "CREATE TABLE keyless AS SELECT id, v FROM base",
        "CREATE TABLE parted (id int PRIMARY KEY, v text) PARTITION BY RANGE (id)",
        "CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (2000)",
        "CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (2000) TO (10000) PARTITION BY RANGE (id)",
        "CREATE TABLE parted_2a PARTITION OF parted_2 FOR VALUES FROM (2000) TO (2500)",
        "CREATE TABLE parted_2b PARTITION OF parted_2 DEFAULT",
        "INSERT INTO parted SELECT id, v FROM base",
        "CREATE TABLE parted_keyless (id int, v text) PARTITION BY HASH (id)",
        "CREATE TABLE parted_keyless_1 PARTITION OF parted_keyless FOR VALUES WITH (MODULUS 2, REMAINDER 0)",
        "CREATE TABLE parted_keyless_2 PARTITION OF parted_keyless FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
        "INSERT INTO parted_keyless SELECT id, v FROM base",
        "CREATE TABLE parent (id int PRIMARY KEY, v text)",
        "CREATE TABLE child (more int) INHERITS (parent)",
        "INSERT INTO parent SELECT id, v FROM base WHERE id <= 2500",
        "INSERT INTO child SELECT id, v, 1 FROM base WHERE id > 2500",
        "CREATE UNLOGGED TABLE unlogged (id int PRIMARY KEY, v text)",
        "INSERT INTO unlogged SELECT id, v FROM base",
        "CREATE TABLE empty (id int PRIMARY KEY)",
        "ANALYZE",
    )
    source = db.source(partition_bytes=SMALL)
    catalog = source.discover()
    kinds = {s.name.name: s.kind for s in catalog.streams}
    assert kinds == {
        "a_matview": "materialized view",
        "a_view": "view",
        "base": "table",
        "child": "table",
        "empty": "table",
        "keyless": "table",
        "parent": "table",
        "parted": "partitioned table",
        "parted_keyless": "partitioned table",
        "unlogged": "table",
    }
    for name in kinds:
        selected = db.selected(name, source=source)
        plan = source.snapshot(selected)
        rows = read_all(source, selected, plan)
        expected = {"empty": [], "child": list(range(2501, 5001))}.get(name, list(range(1, 5001)))
        assert ids(rows) == expected, name
        if name in ("base", "keyless", "parent", "parted", "parted_keyless", "unlogged"):
            assert len(plan.partitions) > 2, name
        assert plan.resumable == (name not in ("child", "keyless", "parent", "parted_keyless")), name
        source.acknowledge(selected, plan.end)
    assert {r["doubled"] for r in read_all(source, db.selected("base"), source.snapshot(db.selected("base")))} == set(
        range(2, 10001, 2)
    )


def test_a_foreign_table_is_read_as_one(db):
    db.execute("CREATE EXTENSION file_fdw", "CREATE SERVER files FOREIGN DATA WRAPPER file_fdw")
    db.execute(
        "CREATE FOREIGN TABLE remote (id int) SERVER files OPTIONS (program 'printf \"1\\n2\\n\"', format 'csv')"
    )
    sync = db.sync("remote", "full_refresh_overwrite")
    assert sync.selected.stream.kind == "foreign table"
    assert ids(sync.run()) == [1, 2]


def test_every_key_that_existed_throughout_is_read_once_while_rows_move_and_come(db):
    """Updates of unindexed columns move rows to other pages; page ranges read one after the other would miss some."""
    db.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v text, n int) WITH (fillfactor = 100)",
        "INSERT INTO t SELECT i, repeat('x', 200), 0 FROM generate_series(1, 20000) AS i",
        "ANALYZE t",
    )
    stop = threading.Event()
    written = [0]

    def write(seed: int) -> None:
        with db.connect() as session:
            while not stop.is_set():
                session.execute(
                    "UPDATE t SET v = repeat('y', 150 + (random() * 300)::int), n = n + 1"
                    " WHERE id BETWEEN %(low)s AND %(low)s + 40",
                    {"low": (seed * 7919) % 20000},
                )
                session.execute("INSERT INTO t SELECT max(id) + 1, 'new', 0 FROM t ON CONFLICT DO NOTHING")
                session.execute("DELETE FROM t WHERE id > 20000 AND id % 3 = 0")
                seed += 1
                written[0] += 1

    source = db.source(partition_bytes=4 * SMALL)
    selected = db.selected("t", source=source)
    writers = [threading.Thread(target=write, args=(seed,)) for seed in (1, 500)]
    for writer in writers:
        writer.start()
    try:
        while written[0] < 10:
            time.sleep(0.01)
        plan = source.snapshot(selected)
        assert len(plan.partitions) > 8
        rows = []
        for partition in plan.partitions:
            before = written[0]
            for batch in source.read(selected, partition):
                rows += batch.data.column("id").to_pylist()
            deadline = time.monotonic() + 5
            while written[0] < before + 3 and time.monotonic() < deadline:
                time.sleep(0.005)
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    assert len(rows) == len(set(rows))
    assert set(range(1, 20001)) <= set(rows)


def test_a_table_without_a_key_is_read_as_of_one_moment_while_rows_move(db):
    db.execute(
        "CREATE TABLE t (id int, v text)",
        "INSERT INTO t SELECT i, repeat('x', 200) FROM generate_series(1, 5000) AS i",
        "ANALYZE t",
    )
    sync = db.sync("t", "full_refresh_overwrite", partition_bytes=SMALL)
    plan = sync.prepare()
    assert not plan.resumable
    assert "no key" in plan.note
    assert len(plan.partitions) > 5
    db.execute(
        "UPDATE t SET v = repeat('y', 300)", "INSERT INTO t VALUES (6000, 'late')", "DELETE FROM t WHERE id < 100"
    )
    rows = sync.finish()
    assert ids(rows) == list(range(1, 5001))
    assert {row["v"][0] for row in rows} == {"x"}


def test_the_shared_snapshot_keeps_others_from_truncating_until_the_stream_is_done(db):
    db.execute("CREATE TABLE t (id int, v text)", f"INSERT INTO t {FILL}", "ANALYZE t")
    sync = db.sync("t", "full_refresh_overwrite", partition_bytes=SMALL)
    sync.prepare()
    with db.connect() as other, pytest.raises(psycopg.errors.LockNotAvailable):
        other.execute("SET lock_timeout = '100 ms'; TRUNCATE t")
    assert len(sync.finish()) == 5000
    db.execute("SET lock_timeout = '5 s'", "TRUNCATE t")


def test_a_lost_shared_snapshot_is_an_error_that_a_new_attempt_mends(db):
    db.execute("CREATE TABLE t (id int, v text)", f"INSERT INTO t {FILL}", "ANALYZE t")
    sync = db.sync("t", "full_refresh_overwrite", partition_bytes=SMALL)
    sync.prepare()
    db.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'syncline test'")
    with pytest.raises(SynclineError) as caught:
        sync.finish()
    assert caught.value.kind is ErrorKind.TRANSIENT
    assert "starts over" in caught.value.hint
    assert len(db.sync("t", "full_refresh_overwrite", partition_bytes=SMALL).run()) == 5000


def test_keys_that_do_not_follow_the_disk_are_cut_into_fewer_partitions(db):
    db.execute(
        "CREATE TABLE t (k uuid PRIMARY KEY, id int, v text)",
        "INSERT INTO t SELECT md5(i::text)::uuid, i, repeat('x', 100) FROM generate_series(1, 10000) AS i",
        "ANALYZE t",
    )
    source = db.source(partition_bytes=SMALL)
    selected = db.selected("t", source=source)
    plan = source.snapshot(selected)
    assert "do not lie in the order of k" in plan.note
    assert 2 <= len(plan.partitions) <= 6
    assert ids(read_all(source, selected, plan)) == list(range(1, 10001))


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ("DROP TABLE t", "does not exist"),
        ("ALTER TABLE t RENAME TO u", "does not exist"),
        ("ALTER TABLE t DROP COLUMN v", "v"),
        ("ALTER TABLE t ALTER COLUMN n TYPE date USING '2020-01-01'", "n was integer and is date now"),
        ("ALTER TABLE t ALTER COLUMN a TYPE numeric(12,3)", "a was numeric(10,2) and is numeric(12,3) now"),
    ],
)
def test_a_table_that_changed_since_discover_is_an_error_of_its_stream(db, change, word):
    db.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v text, n int, a numeric(10,2))", "INSERT INTO t VALUES (1, 'a', 2, 3)"
    )
    sync = db.sync("t", "full_refresh_overwrite")
    sync.prepare()
    db.execute(change)
    with pytest.raises(SynclineError) as caught:
        sync.finish()
    assert caught.value.kind is ErrorKind.SCHEMA
    assert word in caught.value.message
    assert "run again" in caught.value.hint
    assert caught.value.where["stream"] == "public.t"


def test_a_table_that_is_gone_before_planning_is_an_error_of_its_stream(db):
    db.execute("CREATE TABLE t (id int PRIMARY KEY)")
    sync = db.sync("t", "full_refresh_overwrite")
    db.execute("DROP TABLE t")
    with pytest.raises(SynclineError) as caught:
        sync.prepare()
    assert caught.value.kind is ErrorKind.SCHEMA


def test_a_rewrite_that_commits_while_we_wait_is_read_as_it_is_and_not_as_empty(db):
    db.execute("CREATE TABLE t (id int PRIMARY KEY, v text)", f"INSERT INTO t {FILL}")
    sync = db.sync("t", "full_refresh_overwrite")
    sync.prepare()
    with db.connect() as other:
        other.autocommit = False
        other.execute("TRUNCATE t")
        other.execute("INSERT INTO t SELECT i, 'new' FROM generate_series(1, 10) AS i")
        timer = threading.Timer(0.5, other.commit)
        timer.start()
        rows = sync.finish()
        timer.join()
    assert [row["v"] for row in rows] == ["new"] * 10


def test_closing_the_iterator_early_ends_the_query_at_the_server(db):
    db.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v text)",
        "INSERT INTO t SELECT i, repeat(md5(i::text), 20) FROM generate_series(1, 100000) AS i",
    )
    sync = db.sync("t", "full_refresh_overwrite")
    plan = sync.prepare()
    batches = sync.source.read(sync.selected, plan.partitions[0])
    next(batches)
    batches.close()
    deadline = time.monotonic() + 5
    query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'syncline test' AND xact_start IS NOT NULL"
    while db.rows(query) != [(0,)] and time.monotonic() < deadline:
        time.sleep(0.02)
    assert db.rows(query) == [(0,)]


def test_a_transaction_older_than_allowed_is_ended_and_says_so(db):
    db.execute("CREATE VIEW v AS SELECT i AS id, pg_sleep(0.2)::text AS slept FROM generate_series(1, 50) AS i")
    sync = db.sync("v", "full_refresh_overwrite", max_transaction_age="1 s")
    with pytest.raises(SynclineError) as caught:
        sync.run()
    assert caught.value.kind is ErrorKind.RESOURCE
    assert "max_transaction_age" in caught.value.hint


def test_the_shared_snapshot_ends_at_its_age(db):
    db.execute("CREATE TABLE t (id int, v text)", f"INSERT INTO t {FILL}", "ANALYZE t")
    sync = db.sync("t", "full_refresh_overwrite", partition_bytes=SMALL, max_transaction_age="1 s")
    sync.prepare()
    time.sleep(1.1)
    with pytest.raises(SynclineError) as caught:
        sync.finish()
    assert caught.value.kind is ErrorKind.RESOURCE
    query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'syncline test' AND xact_start IS NOT NULL"
    deadline = time.monotonic() + 5
    while db.rows(query) != [(0,)] and time.monotonic() < deadline:
        time.sleep(0.05)
    assert db.rows(query) == [(0,)]


def test_a_statement_and_a_lock_time_out(db):
    db.execute("CREATE VIEW v AS SELECT 1 AS id, pg_sleep(5)::text AS slept", "CREATE TABLE t (id int PRIMARY KEY)")
    slow = db.sync("v", "full_refresh_overwrite", statement_timeout="300 ms")
    with pytest.raises(SynclineError) as caught:
        slow.run()
    assert caught.value.kind is ErrorKind.TRANSIENT
    assert "statement_timeout" in caught.value.hint
    locked = db.sync("t", "full_refresh_overwrite", lock_timeout="300 ms")
    locked.prepare()
    with db.connect() as other:
        other.autocommit = False
        other.execute("LOCK TABLE t")
        with pytest.raises(SynclineError) as caught:
            locked.finish()
    assert caught.value.kind is ErrorKind.TRANSIENT
    assert "lock" in caught.value.hint


def test_views_run_under_the_roles_own_search_path(db):
    db.execute(
        "CREATE TABLE rates (id int, rate numeric)",
        "INSERT INTO rates VALUES (1, 2.5)",
        "CREATE FUNCTION rate_of(int) RETURNS numeric LANGUAGE sql AS 'SELECT rate FROM rates WHERE id = $1'",
        "CREATE VIEW v AS SELECT 1 AS id, rate_of(1) AS rate",
    )
    assert [str(r["rate"]) for r in db.sync("v", "full_refresh_overwrite").run()] == ["2.5"]


def test_raw_bytes_are_those_of_the_server(db):
    db.execute(
        "CREATE TABLE t (id int PRIMARY KEY, i inet, n numeric, a int[], r int4range)",
        "INSERT INTO t VALUES (1, '10.0.0.1', 'NaN', '{{1,2},{3,4}}', '[1,5)'), (2, NULL, NULL, NULL, NULL)",
    )
    source = db.source()
    selected = db.selected("t", source=source)
    raw = source.raw_format(selected)
    assert raw is not None
    assert raw.columns[1:3] == (("i", "inet"), ("n", "numeric"))
    stream = source.read_raw(selected, source.snapshot(selected).partitions[0])
    data = b"".join(bytes(chunk) for chunk in stream)
    with db.session.cursor().copy("COPY t TO STDOUT (FORMAT binary)") as copy:
        assert data == b"".join(bytes(chunk) for chunk in copy)
    assert stream.rows == 2
    stream.close()


def test_types_of_users_are_not_relayed(db):
    db.execute("CREATE TYPE pair AS (a int, b int)", "CREATE TABLE t (id int PRIMARY KEY, p pair)")
    source = db.source()
    assert source.raw_format(db.selected("t", source=source)) is None
