"""What goes into a stage: names, types, values that BigQuery cannot hold, and ranges of keys."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncline.connectors.bigquery.names import column_names, normal
from syncline.connectors.bigquery.ranges import KeyRanges, joined, within
from syncline.connectors.bigquery.types import Fit, column_type, fit, stage_arrow, type_matrix_rows
from syncline.connectors.bigquery.values import LARGEST_ROW, fitted, staged_array
from syncline.core.batch import Batch, Misfit
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.schema import Field, StreamSchema
from syncline.core.stream import StreamName

STREAM = StreamName(namespace="shop", name="items")


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("id", "id"),
        ("Mixed Case", "Mixed_Case"),
        ("prénom", "prenom"),
        ("2nd", "_2nd"),
        ("select", "select"),
        ("日本", "__"),
        ("_PARTITIONDATE", "__PARTITIONDATE"),
        ("_TABLE_x", "__TABLE_x"),
        ("", "_"),
        ("a`b\\", "a_b_"),
        ("_syncline_lsn", "_syncline_lsn"),
    ],
)
def test_names_follow_the_rules(name: str, made: str) -> None:
    assert normal(name) == made


@pytest.mark.parametrize("names", [["a b", "a_b"], ["Id", "id"], ["naïve", "naive"]])
def test_names_that_collide_are_refused(names: list[str]) -> None:
    with pytest.raises(SynclineError, match="would both be named") as caught:
        column_names(names, STREAM)
    assert caught.value.kind is ErrorKind.SCHEMA
    assert caught.value.hint


def test_a_name_that_is_too_long_is_refused() -> None:
    with pytest.raises(SynclineError, match="301 characters"):
        column_names(["x" * 301], STREAM)


@pytest.mark.parametrize(
    ("kind", "logical", "column"),
    [
        (pa.int16(), None, "INT64"),
        (pa.uint64(), None, "NUMERIC"),
        (pa.decimal128(38, 9), None, "NUMERIC"),
        (pa.decimal128(38, 8), None, "BIGNUMERIC"),
        (pa.decimal128(12, 10), None, "BIGNUMERIC"),
        (pa.decimal256(76, 38), None, "BIGNUMERIC"),
        (pa.decimal256(76, 39), None, "STRING"),
        (pa.decimal128(20, -10), None, "BIGNUMERIC"),
        (pa.string(), "json", "JSON"),
        (pa.string(), "uuid", "STRING"),
        (pa.string(), "numeric", "STRING"),
        (pa.timestamp("us"), None, "DATETIME"),
        (pa.timestamp("ns", tz="UTC"), None, "TIMESTAMP"),
        (pa.list_(pa.int64()), None, "JSON"),
        (pa.binary(), None, "BYTES"),
    ],
)
def test_types(kind: pa.DataType, logical: str | None, column: str) -> None:
    assert column_type(Field(name="x", type=kind, logical=logical)) == column


def test_an_interval_of_arrow_has_no_type() -> None:
    with pytest.raises(SynclineError, match="no column type"):
        column_type(Field(name="x", type=pa.month_day_nano_interval()))


def test_the_matrix_has_every_row_once() -> None:
    rows = type_matrix_rows()
    assert len({r.source for r in rows}) == len(rows)
    assert {r.column for r in rows} >= {"NUMERIC", "BIGNUMERIC", "JSON", "TIMESTAMP", "DATETIME", "BYTES"}


@pytest.mark.parametrize(
    ("existing", "new", "how"),
    [
        ("INT64", "INT64", Fit.SAME),
        ("NUMERIC", "INT64", Fit.KEEP),
        ("INT64", "NUMERIC", Fit.WIDEN),
        ("INT64", "FLOAT64", Fit.NO),
        ("STRING", "JSON", Fit.KEEP),
        ("JSON", "STRING", Fit.NO),
        ("STRING", "BOOL", Fit.NO),
        ("TIMESTAMP", "DATETIME", Fit.NO),
    ],
)
def test_fits(existing: str, new: str, how: Fit) -> None:
    assert fit(existing, new) is how


def held(field: Field, *values: Any, array: pa.Array | None = None) -> tuple[list[Any], list[str]]:
    """What is staged, and reasons of rows that go aside."""
    schema = StreamSchema(fields=(Field(name="id", type=pa.int64()), field))
    array = pa.array(list(values), field.type) if array is None else array
    data = pa.RecordBatch.from_arrays([pa.array(range(len(array))), array], schema=schema.arrow())
    kept, aside = fitted(Batch(data=data), schema, ("id",))
    return staged_array(kept.column(1), field).to_pylist(), [a.reason for a in aside]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a": 1.5e300, "b": [1, 2.25, 12345678901234567]}', ""),
        ('{"a": 18446744073709551615}', ""),
        ('{"a": 18446744073709551617}', "18446744073709551617"),
        ('{"a": 0.12345678901234567890123}', "exactly"),
        ('{"a": 1e400}', "1e400"),
        ('{"a": "0.12345678901234567890123"}', ""),
        ('"\\ud83d\\ude00"', ""),
        ('"\\ud83d"', "surrogate"),
        ('"a\\u0000b"', "U+0000"),
        ("[1234567890123456", "does not take"),
    ],
)
def test_json_that_would_be_rounded_goes_aside(text: str, reason: str) -> None:
    kept, aside = held(Field(name="x", type=pa.string(), logical="json"), text, None)
    assert kept == ([text, None] if not reason else [None])
    assert len(aside) == bool(reason)
    assert not reason or reason in aside[0]


def test_times_out_of_range_go_aside() -> None:
    field = Field(name="x", type=pa.timestamp("us", tz="UTC"))
    lowest, end = -62_135_596_800_000_000, 253_402_300_800_000_000
    numbers = pa.array([lowest, lowest - 1, end - 1, end, None, -(2**63), 2**63 - 1], pa.int64()).view(field.type)
    kept, aside = held(field, array=numbers)
    assert [None if v is None else v.year for v in kept] == [1, 9999, None]
    assert len(aside) == 4
    days = pa.array([-719_162, -719_163, 2_932_896, 2_932_897], pa.int32()).view(pa.date32())
    kept, aside = held(Field(name="x", type=pa.date32()), array=days)
    assert [v.year for v in kept] == [1, 9999]
    times = pa.array([0, 86_399_999_999, 86_400_000_000], pa.int64()).view(pa.time64("us"))
    kept, aside = held(Field(name="x", type=pa.time64("us")), array=times)
    assert len(kept) == 2
    assert len(aside) == 1


def test_what_is_finer_than_a_microsecond_goes_aside() -> None:
    numbers = pa.array([1_000, 1_001], pa.int64()).view(pa.timestamp("ns"))
    kept, aside = held(Field(name="x", type=pa.timestamp("ns")), array=numbers)
    assert [v.microsecond for v in kept] == [1]
    assert len(aside) == 1


def test_broken_text_goes_aside() -> None:
    broken = pa.array([b"good", b"\xff\xfe", None], pa.binary()).view(pa.string())
    kept, aside = held(Field(name="x", type=pa.string()), array=broken)
    assert kept == ["good", None]
    assert aside == ["the text is not valid UTF-8"]


def test_a_null_key_goes_aside_and_stays_null() -> None:
    schema = StreamSchema(fields=(Field(name="id", type=pa.int64()),))
    data = pa.RecordBatch.from_arrays([pa.array([1, None])], schema=schema.arrow())
    kept, aside = fitted(Batch(data=data), schema, ("id",))
    assert kept.num_rows == 1
    assert aside[0].record == {"id": None}


def test_misfits_go_aside_in_their_own_text() -> None:
    schema = StreamSchema(fields=(Field(name="x", type=pa.decimal128(12, 2)),))
    data = pa.RecordBatch.from_arrays([pa.array([None, Decimal("1.50")], pa.decimal128(12, 2))], schema=schema.arrow())
    misfit = Misfit(row=0, column="x", text="NaN", reason="not a number")
    kept, aside = fitted(Batch(data=data, misfits=(misfit,)), schema, ())
    assert kept.num_rows == 1
    assert aside[0].record == {"x": "NaN"}


@pytest.mark.slow
def test_a_row_beyond_the_limit_goes_aside() -> None:
    big = pa.array(["small", "x" * (LARGEST_ROW + 1)], pa.large_string())
    kept, aside = held(Field(name="x", type=pa.large_string()), array=big)
    assert kept == ["small"]
    assert "100 MB" in aside[0]


@given(st.lists(st.none() | st.binary(max_size=20), max_size=20), st.integers(0, 5))
def test_bytes_are_hexadecimal(values: list[bytes | None], skipped: int) -> None:
    array = pa.array(values, pa.binary())[skipped:]
    found = staged_array(array, Field(name="x", type=pa.binary())).to_pylist()
    assert found == [None if v is None else v.hex() for v in values[skipped:]]


def test_nested_values_are_json() -> None:
    kind = pa.struct([pa.field("a", pa.list_(pa.float64())), pa.field("b", pa.binary())])
    field = Field(name="x", type=kind)
    kept, _ = held(field, {"a": [1.5, None, float("nan")], "b": b"\x01"}, None)
    assert json.loads(kept[0]) == {"a": [1.5, None, "nan"], "b": "01"}
    assert kept[1] is None


def test_decimals_keep_all_digits() -> None:
    wide = Decimal("-" + "9" * 38 + "." + "1" * 38)
    field = Field(name="x", type=pa.decimal256(76, 38))
    assert stage_arrow(field) == pa.decimal256(76, 38)
    assert held(field, wide)[0] == [wide]
    assert held(Field(name="x", type=pa.decimal256(70, 45)), Decimal("1.5"))[0] == ["1.5" + "0" * 44]
    assert held(Field(name="x", type=pa.uint64()), 2**64 - 1)[0] == [Decimal(2**64 - 1)]


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=300), st.integers(1, 5))
def test_ranges_hold_every_key(keys: list[int], batches: int) -> None:
    gathered = KeyRanges(Field(name="id", type=pa.int64()))
    for start in range(batches):
        gathered.add(pa.array(keys[start::batches], pa.int64()))
    ranges = gathered.ranges
    assert ranges is not None
    assert len(ranges) <= 100
    assert all(any(low <= k <= high for low, high in ranges) for k in keys)


def test_ranges_leave_out_what_lies_between() -> None:
    gathered = KeyRanges(Field(name="id", type=pa.int64()))
    gathered.add(pa.array([*range(100), *range(5_000_000, 5_050_000)]))
    assert gathered.ranges == [[0, 99], [5_000_000, 5_049_999]]
    assert within("t", "id", "INT64", gathered.ranges) == (
        "(t.`id` BETWEEN 0 AND 99 OR t.`id` BETWEEN 5000000 AND 5049999)"
    )


def test_ranges_of_texts_days_and_the_unknown() -> None:
    texts = KeyRanges(Field(name="k", type=pa.string()))
    texts.add(pa.array(["b", "é", None]))
    texts.add(pa.array(["a'b"]))
    assert within("t", "k", "STRING", texts.ranges) == "(t.`k` BETWEEN 'a\\'b' AND 'é')"
    days = KeyRanges(Field(name="d", type=pa.date32()))
    days.add(pa.array([0, 1], pa.int32()).view(pa.date32()))
    assert within("t", "d", "DATE", days.ranges) == "(t.`d` BETWEEN DATE '1970-01-01' AND DATE '1970-01-02')"
    unknown = KeyRanges(Field(name="f", type=pa.float64()))
    unknown.add(pa.array([1.5]))
    assert unknown.ranges is None
    assert within("t", "f", "FLOAT64", None) == ""
    assert joined([[[1, 2]], None]) is None
    many = joined([[[i * 10, i * 10 + 1]] for i in range(300)])
    assert many is not None
    assert len(many) <= 100
    assert (many[0][0], max(high for _, high in many)) == (0, 2991)
    assert np.all(np.diff([low for low, _ in many]) > 0)
