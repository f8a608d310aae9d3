"""Changes of tables in the middle of their log: what goes on by itself, and what stops a stream with a plan."""

from __future__ import annotations

from decimal import Decimal

import pytest
from tests.integration.postgres.following import Following

from syncline.core.errors import ErrorKind


@pytest.fixture
def follow(db):
    opened: list[Following] = []

    def make(*tables: str, **more) -> Following:
        opened.append(Following(db, *tables, **more).open())
        return opened[-1]

    yield make
    for each in opened:
        each.close()


def there(db, table: str, order: str = "id") -> list[dict]:
    cursor = db.session.execute(f"SELECT * FROM {table} ORDER BY {order}")
    names = [c.name for c in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def test_added_columns_give_old_rows_what_the_source_gave_them(db, follow):
    db.execute("CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t SELECT generate_series(1, 3)")
    f = follow("t")
    db.execute(
        "INSERT INTO t VALUES (4)",
        "ALTER TABLE t ADD COLUMN plain text",
        "ALTER TABLE t ADD COLUMN given numeric(10, 2) DEFAULT 1.5",
        "ALTER TABLE t ADD COLUMN at timestamptz NOT NULL DEFAULT '2020-01-01'",
        "ALTER TABLE t ADD COLUMN list text[] DEFAULT '{a,\"b c\"}'",
        "INSERT INTO t VALUES (5, 'five', 5, '2021-01-01', '{}')",
    )
    f.catch_up()
    assert not f.broken
    assert f.table("t") == there(db, "t")
    assert f.table("t")[0]["given"] == Decimal("1.50")
    assert f.table("t")[0]["list"] == ["a", "b c"]


def test_an_added_column_keeps_what_it_gave_when_it_is_renamed_or_dropped_before_the_log_is_read(db, follow):
    db.execute("CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    f = follow("t")
    db.execute(
        "ALTER TABLE t ADD COLUMN n int DEFAULT 7",
        "ALTER TABLE t ADD COLUMN gone text DEFAULT 'g'",
        "INSERT INTO t VALUES (2, 8, 'h')",
        "ALTER TABLE t DROP COLUMN gone",
        "ALTER TABLE t RENAME n TO m",
        "INSERT INTO t VALUES (3, 9)",
    )
    f.catch_up()
    assert not f.broken
    assert [(r["id"], r["m"]) for r in f.table("t")] == [(1, 7), (2, 8), (3, 9)]


def test_dropped_columns_stay_and_renamed_ones_keep_their_values(db, follow):
    db.execute("CREATE TABLE t (id int PRIMARY KEY, a int, b text, c int)", "INSERT INTO t VALUES (1, 10, 'x', 100)")
    f = follow("t")
    db.execute(
        "ALTER TABLE t DROP COLUMN a",
        "INSERT INTO t VALUES (2, 'y', 200)",
        "ALTER TABLE t RENAME b TO bb",
        "INSERT INTO t VALUES (3, 'z', 300)",
        "ALTER TABLE t RENAME id TO ident",
        "UPDATE t SET c = c + 1 WHERE ident = 3",
    )
    f.catch_up()
    assert not f.broken
    assert [(r["ident"], r["bb"], r["c"]) for r in f.table("t")] == [(1, "x", 100), (2, "y", 200), (3, "z", 301)]
    assert f.table("t")[0]["a"] == 10


def test_a_rename_between_two_runs_is_no_new_column(db, follow):
    db.execute(
        "CREATE TABLE t (id int PRIMARY KEY, gone int, b text)",
        "ALTER TABLE t DROP COLUMN gone",
        "INSERT INTO t VALUES (1, 'x')",
    )
    f = follow("t").catch_up()
    db.execute(
        "ALTER TABLE t RENAME b TO bb", "ALTER TABLE t ADD COLUMN n int DEFAULT 9", "INSERT INTO t VALUES (2, 'y', 2)"
    )
    f.again().catch_up()
    assert not f.broken
    assert f.table("t") == there(db, "t")


def test_two_columns_change_names_with_each_other(db, follow):
    db.execute("CREATE TABLE t (id int PRIMARY KEY, a int, b int)", "INSERT INTO t VALUES (1, 10, 20)")
    f = follow("t")
    db.execute(
        "INSERT INTO t VALUES (2, 30, 40)",
        "ALTER TABLE t RENAME a TO x; ALTER TABLE t RENAME b TO a; ALTER TABLE t RENAME x TO b",
        "INSERT INTO t (id, a, b) VALUES (3, 1, 2)",
    )
    f.catch_up()
    # The log is read after the fact, when a is b and b is a: the first rows would be taken for the later columns.
    assert f.broken or f.table("t") == there(db, "t")


@pytest.mark.parametrize(
    ("before", "after", "value"),
    [
        ("int", "bigint", 2**40),
        ("smallint", "int", 100000),
        ("int", "numeric", Decimal("12345678901234567890")),
        ("real", "double precision", 0.1),
        ("varchar(5)", "varchar(50)", "longer than five"),
        ("varchar(5)", "text", "longer than five"),
        ("numeric(6, 2)", "numeric(12, 4)", Decimal("12345678.1234")),
        ("timestamp(0)", "timestamp(6)", "2020-01-01 00:00:00.123456"),
    ],
)
def test_wider_types_go_on(db, follow, before, after, value):
    db.execute(f"CREATE TABLE t (id int PRIMARY KEY, v {before})", "INSERT INTO t VALUES (1, NULL)")
    f = follow("t")
    db.execute("INSERT INTO t VALUES (2, NULL)", f"ALTER TABLE t ALTER v TYPE {after}")
    db.session.execute("INSERT INTO t VALUES (3, %s)", [value])
    f.catch_up()
    assert not f.broken
    found = f.table("t")[2]["v"]
    assert str(found) == str(value) if isinstance(value, Decimal | str) else found == value


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("text", "int USING length(v)"),
        ("bigint", "int"),
        ("timestamp", "timestamptz"),
        ("char(5)", "char(9)"),
        ("numeric(10, 2)", "numeric(10, 1)"),
        ("text", "varchar(3) USING left(v, 3)"),
        ("jsonb", "text"),
    ],
)
def test_a_type_that_may_change_values_stops_its_stream_and_no_other(db, follow, before, after):
    db.execute(
        f"CREATE TABLE t (id int PRIMARY KEY, v {before})",
        "CREATE TABLE other (id int PRIMARY KEY)",
        "INSERT INTO t VALUES (1, NULL)",
    )
    f = follow("t", "other")
    db.execute(
        "INSERT INTO t VALUES (2, NULL)", f"ALTER TABLE t ALTER v TYPE {after}", "INSERT INTO t VALUES (3, NULL)"
    )
    db.execute("INSERT INTO other VALUES (1)")
    f.catch_up()
    error = f.broken["public.t"]
    assert error.kind is ErrorKind.SCHEMA
    assert "syncline state reset --stream public.t" in error.hint
    assert [r["id"] for r in f.table("t")] == [1, 2]
    assert [r["id"] for r in f.table("other")] == [1]


@pytest.mark.parametrize(
    "change",
    [
        "ADD COLUMN v uuid DEFAULT gen_random_uuid()",
        "ADD COLUMN v serial",
        "ADD COLUMN v int GENERATED ALWAYS AS IDENTITY",
    ],
)
def test_a_column_added_with_another_value_in_each_row_stops_the_stream(db, follow, change):
    db.execute("CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    f = follow("t")
    db.execute(f"ALTER TABLE t {change}", "INSERT INTO t VALUES (2)")
    f.catch_up()
    assert "column v was added with values" in f.broken["public.t"].message


def test_a_renamed_table_goes_on_and_one_that_takes_its_name_does_not(db, follow):
    db.execute("CREATE TABLE t (id int PRIMARY KEY)")
    f = follow("t")
    db.execute("INSERT INTO t VALUES (1)", "ALTER TABLE t RENAME TO t_old", "INSERT INTO t_old VALUES (2)")
    f.catch_up()
    assert [r["id"] for r in f.table("t")] == [1, 2]
    assert [str(e.called) for e in f.evolutions if e.called is not None] == ["public.t_old"]
    db.execute("CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t VALUES (9)")
    f.again().catch_up()
    assert "another table has taken its name" in f.broken["public.t"].message


def test_truncates_key_changes_and_replica_identity_full(db, follow):
    db.execute("CREATE TABLE t (id int PRIMARY KEY, big text)", "CREATE TABLE full_one (id int PRIMARY KEY, big text)")
    db.execute("ALTER TABLE full_one REPLICA IDENTITY FULL", "ALTER TABLE t ALTER big SET STORAGE EXTERNAL")
    for table in ("t", "full_one"):
        db.execute(f"INSERT INTO {table} SELECT i, repeat(i::text, 5000) FROM generate_series(1, 5) AS i")
    f = follow("t", "full_one")
    for table in ("t", "full_one"):
        db.execute(f"UPDATE {table} SET id = id + 100 WHERE id > 3", f"DELETE FROM {table} WHERE id = 1")
    f.catch_up()
    for table in ("t", "full_one"):
        assert f.table(table) == there(db, table)
        db.execute(f"TRUNCATE {table}", f"INSERT INTO {table} VALUES (7, 'after')")
    f.catch_up()
    for table in ("t", "full_one"):
        assert f.table(table) == there(db, table)


def test_an_identity_that_no_longer_holds_the_key_stops_the_stream_with_its_statement(db, follow):
    db.execute("CREATE TABLE t (id int PRIMARY KEY, other int NOT NULL UNIQUE)", "INSERT INTO t VALUES (1, 1)")
    f = follow("t")
    db.execute("ALTER TABLE t REPLICA IDENTITY USING INDEX t_other_key", "UPDATE t SET other = 5")
    f.catch_up()
    assert "REPLICA IDENTITY FULL" in f.broken["public.t"].hint


def test_unselected_columns_stay_out_and_one_selected_later_stops_the_stream(db, follow):
    from dataclasses import replace

    db.execute("CREATE TABLE t (id int PRIMARY KEY, a int, b int)", "INSERT INTO t VALUES (1, 2, 3)")
    f = Following(db, "t")
    plain = db.selected

    def narrowed(*args, **kwargs):
        chosen = plain(*args, **kwargs)
        return replace(chosen, stream=replace(chosen.stream, schema=chosen.stream.schema.select(("id", "b"))))

    db.selected = narrowed
    f.open()
    db.execute("INSERT INTO t VALUES (2, 3, 4)", "ALTER TABLE t ADD COLUMN c int", "INSERT INTO t VALUES (3, 4, 5, 6)")
    f.catch_up()
    assert f.table("t") == [{"id": 1, "b": 3}, {"id": 2, "b": 4}, {"id": 3, "b": 5}]
    db.selected = plain
    db.execute("UPDATE t SET b = 0")
    f.again().catch_up()
    assert "selected now and was not" in f.broken["public.t"].message
    f.close()


def test_partitions_are_followed_by_their_root_and_new_ones_too(db, follow):
    db.execute(
        "CREATE TABLE p (id int, k int, PRIMARY KEY (id, k)) PARTITION BY RANGE (k)",
        "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10)",
        "INSERT INTO p VALUES (1, 1)",
    )
    f = follow("p")
    db.execute(
        "CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20)",
        "INSERT INTO p VALUES (2, 11)",
        "CREATE TABLE p3 (LIKE p INCLUDING ALL)",
        "ALTER TABLE p ATTACH PARTITION p3 FOR VALUES FROM (20) TO (30)",
        "INSERT INTO p VALUES (3, 21)",
        "UPDATE p SET k = 12 WHERE id = 1",
        "DELETE FROM p2 WHERE id = 2",
        "ALTER TABLE p ADD COLUMN n int DEFAULT 5",
        "INSERT INTO p VALUES (4, 2, 6)",
    )
    f.catch_up()
    assert f.table("p") == there(db, "p")
    f.log.station.guard._measure(f.log.station.guard._connected())
    f.again().catch_up()
    assert not f.broken


@pytest.mark.parametrize("while_running", [True, False])
def test_a_partition_that_brings_rows_stops_the_stream(db, follow, while_running):
    db.execute("CREATE TABLE p (id int, k int, PRIMARY KEY (id, k)) PARTITION BY RANGE (k)")
    f = follow("p").catch_up()
    if not while_running:
        f.close()
    db.execute("CREATE TABLE p1 (LIKE p INCLUDING ALL)", "INSERT INTO p1 VALUES (1, 1)")
    db.execute("ALTER TABLE p ATTACH PARTITION p1 FOR VALUES FROM (0) TO (10)", "INSERT INTO p VALUES (2, 2)")
    if while_running:
        f.log.station.guard._measure(f.log.station.guard._connected())
    else:
        f.open()
    f.catch_up()
    assert "p1 was attached" in f.broken["public.p"].message


def test_rows_written_earlier_in_the_transaction_that_attaches_count_too(db, follow):
    db.execute("CREATE TABLE p (id int, k int, PRIMARY KEY (id, k)) PARTITION BY RANGE (k)")
    f = follow("p").catch_up()
    with db.connect() as other, other.transaction():
        other.execute("CREATE TABLE p1 (LIKE p INCLUDING ALL)")
        other.execute("INSERT INTO p1 VALUES (1, 1)")
        other.execute("ALTER TABLE p ATTACH PARTITION p1 FOR VALUES FROM (0) TO (10)")
        other.execute("INSERT INTO p VALUES (2, 2)")
    f.log.station.guard._measure(f.log.station.guard._connected())
    assert "public.p" in f.catch_up().broken


@pytest.mark.parametrize("change_between", [True, False])
def test_a_column_that_is_dropped_and_added_again_is_another_one(db, follow, change_between):
    db.execute("CREATE TABLE t (id int PRIMARY KEY, v int)", "INSERT INTO t VALUES (1, 5)")
    f = follow("t")
    db.execute("ALTER TABLE t DROP COLUMN v")
    if change_between:
        db.execute("INSERT INTO t VALUES (2)")
    db.execute("ALTER TABLE t ADD COLUMN v int", "INSERT INTO t VALUES (3, 6)")
    f.catch_up()
    assert "dropped and another added" in f.broken["public.t"].message
