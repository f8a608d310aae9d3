"""Parquet: types from the footers, rows by row groups."""

from __future__ import annotations

import uuid
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.integration.files_source.harness import Lake

from syncline.connectors.files import source_listing
from syncline.core.errors import ErrorKind, SynclineError


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path, globs="**/*.parquet")


def _write(lake: Lake, key: str, table: pa.Table, **options: Any) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **options)
    lake.put(key, bytes(sink.getvalue()))


def test_types(lake: Lake) -> None:
    moment = datetime(2026, 11, 21, 10, tzinfo=UTC)
    table = pa.table(
        {
            "i8": pa.array([1], pa.int8()),
            "u64": pa.array([2**64 - 1], pa.uint64()),
            "f": pa.array([1.5], pa.float32()),
            "d": pa.array([Decimal("1.20")], pa.decimal128(10, 2)),
            "s": pa.array(["x"], pa.large_string()),
            "dict": pa.array(["x"]).dictionary_encode(),
            "bin": pa.array([b"\x00"], pa.binary(1)),
            "day": pa.array([date(2026, 11, 21)]),
            "t": pa.array([time(1, 2, 3)], pa.time32("s")),
            "ns": pa.array([datetime.fromisoformat("2026-11-21")], pa.timestamp("ns")),
            "tz": pa.array([moment], pa.timestamp("ms", "Europe/Paris")),
            "list": pa.array([[1, None]], pa.large_list(pa.int32())),
            "struct": pa.array([{"a": 1, "b": [None]}], pa.struct([("a", pa.int64()), ("b", pa.list_(pa.string()))])),
            "map": pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())),
            "none": pa.nulls(1),
            "uuid": pa.ExtensionArray.from_storage(pa.uuid(), pa.array([uuid.UUID(int=1).bytes], pa.binary(16))),
        }
    )
    _write(lake, "a.parquet", table)
    types = lake.types()
    assert types == {
        "i8": "int8",
        "u64": "uint64",
        "f": "float",
        "d": "decimal128(10, 2)",
        "s": "string",
        "dict": "string",
        "bin": "binary",
        "day": "date32[day]",
        "t": "time64[us]",
        "ns": "timestamp[us]",
        "tz": "timestamp[us, tz=UTC]",
        "list": "list<item: int32>",
        "struct": "json",
        "map": "json",
        "none": "string",
        "uuid": "binary",
    }
    (row,) = lake.rows()
    assert row["u64"] == 2**64 - 1
    assert row["struct"] == '{"a":1,"b":[null]}'
    assert row["map"] == '[{"key":"k","value":1}]'
    assert row["tz"] == moment
    assert row["list"] == [1, None]
    assert row["t"] == time(1, 2, 3)


def test_files_are_joined_by_name_and_widened(lake: Lake) -> None:
    _write(lake, "a.parquet", pa.table({"x": pa.array([1], pa.int32()), "n": [1], "d": [Decimal("1.5")], "k": [1]}))
    _write(lake, "b.parquet", pa.table({"n": [1.5], "x": [2], "d": [Decimal("10.25")], "k": ["t"], "new": [True]}))
    assert lake.types() == {
        "x": "int64",
        "n": "double",
        "d": "decimal128(4, 2)",
        "k": "string",
        "new": "bool",
    }
    assert sorted((r["x"], r["n"], r["d"], r["k"], r["new"]) for r in lake.rows()) == [
        (1, 1.0, Decimal("1.50"), "1", None),
        (2, 1.5, Decimal("10.25"), "t", True),
    ]


def test_what_does_not_fit_is_set_aside(lake: Lake) -> None:
    ns = pa.array([1_000_000_000, 1_000_000_001, None], pa.timestamp("ns"))
    _write(lake, "a.parquet", pa.table({"at": ns, "n": [1, 2**53 + 1, 3]}))
    _write(lake, "b.parquet", pa.table({"n": [0.5]}))
    rows, misfits = lake.read()
    assert len(rows) == 4
    assert [(m.row, m.column, m.text) for m in misfits] == [
        (1, "at", "1970-01-01 00:00:01.000000001"),
        (1, "n", "9007199254740993"),
    ]


def test_large_files_are_split_by_row_groups(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_listing, "_PART_BYTES", 4096)
    _write(lake, "large.parquet", pa.table({"id": list(range(20_000))}), row_group_size=1000)
    _write(lake, "small.parquet", pa.table({"id": [-1]}))
    source = lake.source()
    selected = lake.select(source)
    plan = source.snapshot(selected)
    assert 10 < len(plan.partitions) <= 21
    rows, _ = lake.read_plan(source, selected, plan)
    assert sorted(r["id"] for r in rows) == [-1, *range(20_000)]
    lake.put("large.parquet", (lake.root / "small.parquet").read_bytes())
    with pytest.raises(SynclineError, match="has changed since the run was planned") as raised:
        lake.read_plan(source, selected, plan)
    assert raised.value.kind is ErrorKind.CONFLICT


def test_batches_are_bounded(lake: Lake) -> None:
    _write(lake, "a.parquet", pa.table({"s": ["x" * 1000] * 100_000}))
    source = lake.source()
    selected = lake.select(source)
    (partition,) = source.snapshot(selected).partitions
    sizes = [batch.bytes for batch in source.read(selected, partition)]
    assert sum(sizes) > 100_000_000
    assert max(sizes) <= 17 << 20


def test_a_file_that_is_none_is_named(lake: Lake) -> None:
    lake.put("a.parquet", b"PAR1 but no more")
    with pytest.raises(SynclineError, match=r"a\.parquet") as raised:
        lake.source().discover()
    assert raised.value.kind is ErrorKind.DATA
