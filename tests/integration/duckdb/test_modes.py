"""Every write mode against a real database file, content compared by SQL."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from tests.integration.duckdb.driver import (
    CONSTANTS,
    PEOPLE,
    STREAM,
    Attempt,
    destination,
    ledger,
    load,
    people,
    plan,
    rows,
    target,
)

from syncline.core.batch import Batch
from syncline.core.checkpoint import Phase
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.stream import StreamName, WriteMode

ALL = "SELECT * FROM orders ORDER BY ALL"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "lake.duckdb"


def test_replace_is_seen_only_when_whole(path: Path) -> None:
    to = destination(path)
    load(to, target(), [people([(1, "a", 1), (2, "b", 1)])], name="p1")
    assert rows(path, ALL) == [(1, "a", 1), (2, "b", 1)]

    attempt = Attempt(to, target(generation=2), plan("0", "1", name="p2"))
    attempt.commit(attempt.stage("0", people([(3, "c", 2)])))
    assert rows(path, ALL) == [(1, "a", 1), (2, "b", 1)]
    attempt.commit(attempt.stage("1", people([(4, "d", 2)])), publish=True)
    assert rows(path, ALL) == [(3, "c", 2), (4, "d", 2)]
    assert rows(path, "SELECT table_name FROM duckdb_tables() WHERE table_name LIKE '_syncline_g%'") == []
    entry = to.committed("c", STREAM)
    assert entry is not None
    assert entry.checkpoint.phase is Phase.IDLE
    assert entry.checkpoint.position == {"at": "p2"}


def test_nothing_is_left_beside_the_file(path: Path) -> None:
    to = destination(path)
    load(to, target(), [people([(1, "a", 1)])])
    to.close()
    assert [p.name for p in path.parent.iterdir()] == ["lake.duckdb"]


def test_replace_by_nothing_is_an_empty_table(path: Path) -> None:
    to = destination(path)
    load(to, target(), [people([(1, "a", 1)])], name="p1")
    load(to, target(generation=2), [], name="p2")
    assert rows(path, ALL) == []


def test_metadata_columns_come_from_constants(path: Path) -> None:
    load(destination(path), target(constants=CONSTANTS), [people([(1, "a", 1)])])
    found = rows(
        path, 'SELECT id, _syncline_extracted_at::VARCHAR, _syncline_sync_id, "_syncline_generation" FROM orders'
    )
    assert found == [(1, "2026-11-21 10:00:00+00", "s1", 1)]


def test_append_adds(path: Path) -> None:
    to = destination(path)
    load(to, target(WriteMode.APPEND), [people([(1, "a", 1)])], [people([(2, "b", 1)])], name="p1")
    load(to, target(WriteMode.APPEND), [people([(1, "a", 1)]), people([(3, "c", 1)])], name="p2")
    assert rows(path, ALL) == [(1, "a", 1), (1, "a", 1), (2, "b", 1), (3, "c", 1)]


def test_merge_replaces_rows_of_the_same_key(path: Path) -> None:
    to = destination(path)
    load(to, target(), [people([(i, "old", 1) for i in range(5)])], name="p1")
    aim = target(WriteMode.MERGE, key=["id"], cursor="seen")
    load(
        to,
        aim,
        [people([(3, "new", 2), (7, "late", 5), (7, "early", 4), (8, "first", 1), (8, "second", 1)])],
        name="p2",
    )
    assert rows(path, ALL) == [
        (0, "old", 1),
        (1, "old", 1),
        (2, "old", 1),
        (3, "new", 2),
        (4, "old", 1),
        (7, "late", 5),
        (8, "second", 1),
    ]


def test_merge_keeps_the_newer_row_of_the_same_plan(path: Path) -> None:
    """A row that moved between partitions while they were read is seen twice; the order of commits must not matter."""
    to = destination(path)
    aim = target(WriteMode.MERGE, key=["id"], cursor="seen", constants=CONSTANTS)
    load(to, aim, [people([(1, "newer", 9)])], [people([(1, "older", 3), (2, "b", 1)])], name="p1")
    assert rows(path, "SELECT id, name FROM orders ORDER BY id") == [(1, "newer"), (2, "b")]
    # Of a later plan the row counts whatever its cursor is: it is what the source holds now.
    later = target(
        WriteMode.MERGE, key=["id"], cursor="seen", constants={**CONSTANTS, "_syncline_sync_id": "s2"}, sync_id="s2"
    )
    load(to, later, [people([(5, "e", 1)])], [people([(1, "reset", 2)])], name="p2")
    assert rows(path, "SELECT id, name FROM orders ORDER BY id") == [(1, "reset"), (2, "b"), (5, "e")]


def test_merge_by_several_key_columns_and_commits_of_several_stages(path: Path) -> None:
    to = destination(path)
    aim = target(WriteMode.MERGE, key=["name", "id"])
    attempt = Attempt(to, aim, plan("0", "1"))
    first, second = attempt.stage("0", people([(1, "a", 1), (1, "b", 1)])), attempt.stage("1", people([(1, "a", 2)]))
    attempt.commit(first, second, publish=True)
    assert rows(path, ALL) == [(1, "a", 2), (1, "b", 1)]


def test_space_of_replaced_rows_is_used_again(path: Path) -> None:
    to = destination(path)
    aim = target(WriteMode.MERGE, key=["id"])
    size, sizes = 200_000, list[int]()
    for number in range(6):
        text = pa.array([f"{number} {i * 7919 % 1_000_003}" for i in range(size)])
        columns = [pa.array(range(size), pa.int64()), text, pa.array([number] * size, pa.int64())]
        load(to, aim, [Batch(data=pa.RecordBatch.from_arrays(columns, schema=PEOPLE.arrow()))], name=f"p{number}")
        sizes.append(path.stat().st_size)
    assert rows(path, "SELECT count(*), count(DISTINCT id), min(seen) FROM orders") == [(size, size, 5)]
    assert sizes[-1] < 2 * sizes[1]


def test_rows_without_key_go_to_quarantine(path: Path) -> None:
    to = destination(path)
    aim = target(WriteMode.MERGE, key=["id"])
    attempt = Attempt(to, aim, plan("0"))
    staged = attempt.stage("0", people([(1, "a", 1), (None, "lost", 2)]))
    assert (staged.rows, staged.quarantined) == (1, 1)
    attempt.commit(staged, publish=True)
    assert rows(path, ALL) == [(1, "a", 1)]
    found = rows(
        path, "SELECT stream_name, partition_id, sync_id, column_name, reason, record FROM _syncline_quarantine"
    )
    assert found == [
        ("orders", "0", "s1", "id", "the primary key has a NULL value", '{"id": null, "name": "lost", "seen": "2"}')
    ]


def test_deduped_replace_keeps_the_newest_row_of_a_key(path: Path) -> None:
    to = destination(path)
    aim = target(key=["id"], cursor="seen", dedupe=True)
    load(to, aim, [people([(1, "old", 1), (2, "b", None)])], [people([(1, "new", 2), (2, "c", 0), (None, "x", 1)])])
    assert rows(path, ALL) == [(1, "new", 2), (2, "c", 0)]
    assert rows(path, "SELECT count(*) FROM _syncline_quarantine") == [(1,)]


def test_quarantine_of_former_generations_goes_with_them(path: Path) -> None:
    to = destination(path)
    aim = target(key=["id"], dedupe=True)
    load(to, aim, [people([(None, "x", 1)])], name="p1")
    load(to, target(key=["id"], dedupe=True, generation=2), [people([(None, "y", 1)])], name="p2")
    assert rows(path, "SELECT generation, record->>'name' FROM _syncline_quarantine") == [(2, "y")]


def test_views_indexes_and_comments_outlive_a_swap(path: Path) -> None:
    to = destination(path)
    load(to, target(), [people([(1, "a", 1)])], name="p1")
    with closing(duckdb.connect(str(path))) as con:
        con.execute("CREATE VIEW names AS SELECT name FROM orders")
        con.execute("CREATE INDEX by_id ON orders (id)")
        con.execute("COMMENT ON TABLE orders IS 'it''s ours'; COMMENT ON COLUMN orders.id IS 'the key'")
    load(to, target(generation=2), [people([(2, "b", 1)])], name="p2")
    assert rows(path, "FROM names") == [("b",)]
    assert rows(path, "SELECT index_name FROM duckdb_indexes()") == [("by_id",)]
    assert rows(path, "SELECT comment FROM duckdb_tables() WHERE table_name = 'orders'") == [("it's ours",)]
    found = rows(path, "SELECT comment FROM duckdb_columns() WHERE table_name = 'orders' AND column_name = 'id'")
    assert found == [("the key",)]


def test_a_table_that_we_did_not_make_is_never_dropped(path: Path) -> None:
    path.parent.mkdir()
    with closing(duckdb.connect(str(path))) as con:
        con.execute("CREATE TABLE orders (precious INTEGER); INSERT INTO orders VALUES (42)")
    to = destination(path)
    with pytest.raises(SynclineError, match="was not made by this stream") as caught:
        Attempt(to, target(), plan("0"))
    assert caught.value.kind is ErrorKind.CONFIG
    with pytest.raises(SynclineError, match="does not have its columns"):
        Attempt(to, target(WriteMode.APPEND), plan("0"))
    assert rows(path, ALL) == [(42,)]


def test_a_table_made_while_we_loaded_is_not_dropped(path: Path) -> None:
    to = destination(path)
    attempt = Attempt(to, target(), plan("0"))
    staged = attempt.stage("0", people([(1, "a", 1)]))
    with closing(duckdb.connect(str(path))) as con:
        con.execute("CREATE TABLE orders (precious INTEGER)")
    with pytest.raises(SynclineError, match="was not made by this stream"):
        attempt.commit(staged, publish=True)
    assert ledger(path).phase is Phase.READING


def test_a_table_of_somebody_that_fits_is_appended_to(path: Path) -> None:
    path.parent.mkdir()
    with closing(duckdb.connect(str(path))) as con:
        con.execute("CREATE TABLE orders (extra VARCHAR, seen HUGEINT, name VARCHAR, id BIGINT)")
    load(destination(path), target(WriteMode.APPEND), [people([(1, "a", 2)])])
    assert rows(path, "SELECT * FROM orders") == [(None, 2, "a", 1)]


def test_two_streams_cannot_share_a_table(path: Path) -> None:
    to = destination(path)
    load(to, target(), [people([(1, "a", 1)])])
    other = StreamName(namespace="sales", name="ORDERS")
    with pytest.raises(SynclineError, match=r"written by stream public\.orders") as caught:
        load(to, target(stream=other), [people([(2, "b", 1)])])
    assert caught.value.kind is ErrorKind.CONFLICT
    load(destination(path, namespace="source"), target(stream=other), [people([(2, "b", 1)])])
    assert rows(path, "FROM sales.orders") == [(2, "b", 1)]


def test_schema_and_prefix(path: Path) -> None:
    to = destination(path, schema='we"ird schema', table_prefix="raw.")
    load(to, target(), [people([(1, "a", 1)])])
    assert rows(path, 'FROM "we""ird schema"."raw.orders"') == [(1, "a", 1)]


def test_committed_changes_nothing(path: Path) -> None:
    assert destination(path).committed("c", STREAM) is None
    assert not path.parent.exists()
