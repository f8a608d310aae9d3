"""Keys and bounds: what decides which files a merge opens and which rows it replaces."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncline.connectors.delta.statistics import bounds_of_stats, stats_of_file
from syncline.sdk.files.parquet import ParquetEncoder
from syncline.sdk.tables.bounds import bounds_of, may_hold
from syncline.sdk.tables.keys import KeySet, newest
from syncline.sdk.tables.table import Bounds, TableFile

Key = tuple[int, str, float]
_KEY = st.tuples(st.integers(-3, 3), st.sampled_from(["", "a", "A", "ä", "a\0"]), st.sampled_from([0.0, -0.0, 1.5]))


def _table(keys: list[Key]) -> pa.Table:
    columns = [pa.array([k[i] for k in keys], t) for i, t in enumerate((pa.int64(), pa.string(), pa.float64()))]
    return pa.table(dict(zip(("i", "s", "f"), columns, strict=True)))


@given(st.lists(_KEY, max_size=30), st.lists(_KEY, max_size=30))
def test_keys_are_found_where_they_are(known: list[Key], asked: list[Key]) -> None:
    distinct = list(dict.fromkeys(known))  # -0.0 and 0.0 are one key to Python too
    found = KeySet(_table(distinct)).find(_table(asked))
    assert found.tolist() == [distinct.index(key) if key in distinct else -1 for key in asked]


@given(st.lists(st.tuples(st.integers(0, 3), st.none() | st.integers(0, 3)), max_size=20))
def test_the_newest_of_each_key_stays(rows: list[tuple[int, int | None]]) -> None:
    key = pa.chunked_array([pa.array([r[0] for r in rows], pa.int64())])
    cursor = pa.chunked_array([pa.array([r[1] for r in rows], pa.int64())])
    best: dict[int, int] = {}
    for place, (number, version) in enumerate(rows):
        before = best.get(number)
        if before is None or (-1 if version is None else version) >= (-1 if (b := rows[before][1]) is None else b):
            best[number] = place
    assert newest([key], cursor).tolist() == sorted(best.values())


_VALUES: list[tuple[pa.DataType, list[Any]]] = [
    (pa.int16(), [-(2**15), 0, 7]),
    (pa.int64(), [-(2**63), 2**63 - 1]),
    (pa.decimal128(12, 2), [Decimal("-99.99"), Decimal("0.01")]),
    (pa.decimal128(38, 10), [Decimal("9" * 28 + "." + "9" * 10), Decimal("-0.0000000001")]),
    (pa.string(), ["", "a", "z" * 200, "\U0010ffff" * 80]),
    (pa.date32(), [date(1, 1, 1), date(9999, 12, 31)]),
    (pa.timestamp("us", tz="UTC"), [datetime(1, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, 0, 0, 0, 999_999, UTC)]),
    (pa.timestamp("us"), [datetime(1969, 12, 31, 23, 59, 59, 1), datetime(2026, 1, 1)]),  # noqa: DTZ001
]


@pytest.mark.parametrize(("kind", "values"), _VALUES, ids=[str(k) for k, _ in _VALUES])
def test_no_key_of_a_file_is_outside_of_its_bounds(kind: pa.DataType, values: list[Any], tmp_path: Path) -> None:
    """Neither as the footer gives them nor as they come back from a Delta log."""
    schema = pa.schema([pa.field("k", kind)])
    table = pa.table({"k": pa.array([*values, None], kind)})
    with pa.OSFile(str(tmp_path / "x.parquet"), "wb") as sink:
        encoder = ParquetEncoder(schema, sink)
        encoder.write(table.slice(0, 1))
        encoder.write(table.slice(1))
        footer = encoder.close()
    assert pq.read_table(tmp_path / "x.parquet").num_rows == len(values) + 1
    bounds = bounds_of(footer, schema)
    assert bounds["k"].nulls == 1
    keys = pa.table({"k": pa.array(values, kind)})
    assert may_hold(bounds, keys).all()
    file = TableFile(key="x", rows=len(values) + 1, bytes=1, bounds=bounds)
    rows, read = bounds_of_stats(stats_of_file(file, schema), {"k": kind})
    assert rows == len(values) + 1
    assert may_hold(read, keys).all()


def test_bounds_exclude_what_is_outside() -> None:
    keys = pa.table({"i": pa.array([1, 5, 9], pa.int64()), "s": ["a", "m", "z"]})
    bounds = {"i": Bounds(nulls=0, low=2, high=9), "s": Bounds(nulls=0, low="b", high="n")}
    assert may_hold(bounds, keys).tolist() == [False, True, False]
    assert may_hold({}, keys).all()


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"numRecords": "x"}', '{"minValues": {"k": "b"}}'])
def test_stats_of_others_that_say_nothing_exclude_nothing(text: str | None) -> None:
    _, bounds = bounds_of_stats(text, {"k": pa.int64()})
    assert may_hold(bounds, pa.table({"k": np.array([1, 2])})).all()
