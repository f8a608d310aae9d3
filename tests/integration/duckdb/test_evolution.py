"""Tables that exist and schemas that have changed."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from tests.integration.duckdb.driver import Attempt, destination, load, plan, rows, target

from syncline.core.batch import Batch
from syncline.core.checkpoint import StreamTarget
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.schema import Field, StreamSchema
from syncline.core.stream import WriteMode


def stream(write: WriteMode, generation: int, **columns: tuple[pa.DataType, Any]) -> tuple[StreamTarget, Batch]:
    """A target and a batch of one row; ``columns``: name -> (type, value)."""
    schema = StreamSchema(fields=tuple(Field(name=n, type=kind) for n, (kind, _) in columns.items()))
    arrays = [pa.array([value], kind) for kind, value in columns.values()]
    key = ["id"] if write is WriteMode.MERGE else []
    aim = target(write, schema=schema, generation=generation, key=key)
    return aim, Batch(data=pa.RecordBatch.from_arrays(arrays, schema=schema.arrow()))


@pytest.mark.parametrize("write", list(WriteMode))
def test_added_columns_come_and_dropped_ones_stay_and_are_null(tmp_path: Path, write: WriteMode) -> None:
    to, path = destination(tmp_path / "x.duckdb"), tmp_path / "x.duckdb"
    aim, batch = stream(write, 1, id=(pa.int64(), 1), gone=(pa.string(), "g"))
    load(to, aim, [batch], name="p1")
    aim, batch = stream(write, 2, new=(pa.list_(pa.int32()), [1]), ID=(pa.int64(), 2))
    aim = aim if write is not WriteMode.MERGE else stream_with_key(aim, "ID")
    load(to, aim, [batch], name="p2")
    expected = [] if write is WriteMode.REPLACE else [(1, "g", None)]
    assert rows(path, "SELECT id, gone, new FROM orders ORDER BY id") == [*expected, (2, None, [1])]


def stream_with_key(aim: StreamTarget, key: str) -> StreamTarget:
    return target(aim.write, schema=aim.schema, generation=aim.generation, key=[key])


@pytest.mark.parametrize(
    ("before", "after", "column"),
    [
        ((pa.int32(), 1), (pa.int64(), 2**40), "BIGINT"),
        ((pa.int16(), 1), (pa.decimal128(10, 2), 2), "DECIMAL(10,2)"),
        ((pa.decimal128(12, 2), 1), (pa.decimal128(10, 2), 2), "DECIMAL(12,2)"),
        ((pa.int64(), 1), (pa.string(), "x"), "VARCHAR"),
        ((pa.string(), "x"), (pa.int64(), 5), "VARCHAR"),
    ],
)
def test_safe_changes_of_type(tmp_path: Path, before: Any, after: Any, column: str) -> None:
    to, path = destination(tmp_path / "x.duckdb"), tmp_path / "x.duckdb"
    for number, value in enumerate((before, after), 1):
        aim, batch = stream(WriteMode.APPEND, 1, id=(pa.int64(), number), v=value)
        load(to, aim, [batch], name=f"p{number}")
    assert rows(path, "SELECT data_type FROM duckdb_columns() WHERE column_name = 'v'") == [(column,)]
    text = [str(v) for _, v in (before, after)]
    found = [v for (v,) in rows(path, "SELECT v::VARCHAR FROM orders ORDER BY id")]
    assert [f.removesuffix(".00") for f in found] == text


@pytest.mark.parametrize("write", list(WriteMode))
def test_an_unsafe_change_stops_the_stream_and_says_what_to_run(tmp_path: Path, write: WriteMode) -> None:
    to, path = destination(tmp_path / "x.duckdb"), tmp_path / "x.duckdb"
    aim, batch = stream(write, 1, id=(pa.int64(), 1), v=(pa.float64(), 0.5))
    load(to, aim, [batch], name="p1")
    aim, _ = stream(write, 2, id=(pa.int64(), 1), v=(pa.date32(), None))
    with pytest.raises(SynclineError, match="DOUBLE, the source's is DATE") as caught:
        Attempt(to, aim, plan("0", name="p2"))
    assert caught.value.kind is ErrorKind.SCHEMA
    assert 'ALTER TABLE "main"."orders" ALTER COLUMN "v" TYPE DATE' in caught.value.hint
    assert [f.kind for f in to.check([aim]) if f.kind] == [ErrorKind.SCHEMA]
    assert rows(path, "FROM orders") == [(1, 0.5)]


def test_an_index_in_the_way_of_a_wider_type(tmp_path: Path) -> None:
    to, path = destination(tmp_path / "x.duckdb"), tmp_path / "x.duckdb"
    aim, batch = stream(WriteMode.APPEND, 1, id=(pa.int32(), 1))
    load(to, aim, [batch], name="p1")
    with closing(duckdb.connect(str(path))) as con:
        con.execute("CREATE INDEX by_id ON orders (id)")
    aim, batch = stream(WriteMode.APPEND, 1, id=(pa.int64(), 1))
    with pytest.raises(SynclineError, match="cannot follow the source") as caught:
        load(to, aim, [batch], name="p2")
    assert caught.value.kind is ErrorKind.SCHEMA


def test_a_unique_index_that_refuses_rows_is_named(tmp_path: Path) -> None:
    to, path = destination(tmp_path / "x.duckdb"), tmp_path / "x.duckdb"
    aim, batch = stream(WriteMode.APPEND, 1, id=(pa.int32(), 1))
    load(to, aim, [batch], name="p1")
    with closing(duckdb.connect(str(path))) as con:
        con.execute("CREATE UNIQUE INDEX by_id ON orders (id)")
    with pytest.raises(SynclineError, match="constraint") as caught:
        load(to, aim, [batch], name="p2")
    assert caught.value.kind is ErrorKind.SCHEMA
    assert rows(path, "FROM orders") == [(1,)]


def test_a_merge_under_a_unique_index(tmp_path: Path) -> None:
    """Right, or refused with the reason; never half done."""
    to, path = destination(tmp_path / "x.duckdb"), tmp_path / "x.duckdb"
    aim, batch = stream(WriteMode.MERGE, 1, id=(pa.int32(), 1), v=(pa.int32(), 1))
    load(to, aim, [batch], name="p1")
    with closing(duckdb.connect(str(path))) as con:
        con.execute("CREATE UNIQUE INDEX by_id ON orders (id)")
    aim, batch = stream(WriteMode.MERGE, 1, id=(pa.int32(), 1), v=(pa.int32(), 2))
    with pytest.raises(SynclineError, match="constraint") as caught:
        load(to, aim, [batch], name="p2")
    assert caught.value.kind is ErrorKind.SCHEMA
    assert "unique index" in caught.value.hint
    assert rows(path, "FROM orders") == [(1, 1)]


@pytest.mark.parametrize("lines", ["CREATE VIEW orders AS SELECT 1 AS id", "CREATE VIEW ORDERS AS SELECT 1 AS id"])
def test_a_view_in_the_way_is_left_alone(tmp_path: Path, lines: str) -> None:
    path = tmp_path / "x.duckdb"
    with closing(duckdb.connect(str(path))) as con:
        con.execute(lines)
    for write in WriteMode:
        aim, _ = stream(write, 1, id=(pa.int64(), 1))
        with pytest.raises(SynclineError, match=r"view .* is there already"):
            Attempt(destination(path), aim, plan("0"))
    assert rows(path, "FROM orders") == [(1,)]
