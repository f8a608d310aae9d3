"""Values through each file format and back, read by others: Python's json, pyarrow's CSV reader, pyarrow and DuckDB."""

from __future__ import annotations

import gzip
import json
import math
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syncline.connectors.files.config import FormatConfig
from syncline.connectors.files.encoding import encoder
from syncline.connectors.files.types import file_type, type_note
from syncline.sdk.files.columns import decimal_text, to_file_type

UTC_MICROS = pa.timestamp("us", tz="UTC")


def encoded(table: pa.Table, format_type: str, codec: str | None = None, constants: tuple[str, ...] = ()) -> bytes:
    config = FormatConfig.model_validate({"format_type": format_type, "compression_codec": codec})
    sink = pa.BufferOutputStream()
    out = encoder(config, table.schema, sink, constants)
    # In two steps, so that what is written once per file (a header, a footer) shows.
    half = table.num_rows // 2
    out.write(table.slice(0, half))
    out.write(table.slice(half))
    out.close()
    data: bytes = sink.getvalue().to_pybytes()
    return data


def json_rows(table: pa.Table) -> list[dict[str, Any]]:
    text = encoded(table, "JSONL", "UNCOMPRESSED").decode()
    assert text.endswith("\n")
    return [json.loads(line) for line in text.removesuffix("\n").split("\n")]


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
COLUMNS: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "b": (pa.bool_(), st.booleans()),
    "i": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "f": (pa.float64(), st.floats(allow_nan=False)),
    "n": (pa.decimal128(38, 9), st.decimals(-(10**28), 10**28, places=9)),
    "w": (pa.decimal256(60, 20), st.decimals(-(10**39), 10**39, places=20)),
    "m": (pa.decimal128(12, 2), st.decimals(-(10**9), 10**9, places=2)),
    "t": (pa.string(), TEXTS),
    "y": (pa.binary(), st.binary(max_size=20)),
    "d": (pa.date32(), st.dates()),
    "c": (pa.time64("us"), st.times()),
    "ts": (pa.timestamp("us"), st.datetimes()),
    "tz": (UTC_MICROS, st.datetimes(timezones=st.just(UTC))),
    "l": (pa.list_(pa.string()), st.lists(st.none() | TEXTS, max_size=4)),
    "ll": (pa.list_(pa.list_(pa.int32())), st.lists(st.none() | st.lists(st.none() | st.integers(-9, 9)), max_size=3)),
}
SCHEMA = pa.schema([pa.field(name, kind) for name, (kind, _) in COLUMNS.items()])
ROWS = st.lists(st.fixed_dictionaries({n: st.none() | values for n, (_, values) in COLUMNS.items()}), max_size=8)


def stamp(value: datetime) -> str:
    text = f"{value.year:04}-{value:%m-%dT%H:%M:%S.%f}"
    return text + "Z" if value.tzinfo else text


def as_json(name: str, value: Any) -> Any:
    """What a JSON reader should find for a value."""
    if value is None:
        return None
    if name == "f" and math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    if name == "m":
        return float(value)
    if name == "n":
        return f"{value:.9f}"
    if name == "w":
        return f"{value:.20f}"
    if name == "y":
        return "\\x" + value.hex()
    if name == "d":
        return f"{value.year:04}-{value:%m-%d}"
    if name == "c":
        return value.isoformat(timespec="microseconds")
    if name in ("ts", "tz"):
        return stamp(value)
    return value


def plain_zero(value: Any) -> Any:
    """Arrow has no negative zero decimal."""
    return abs(value) if isinstance(value, Decimal) and value == 0 else value


@settings(max_examples=60, deadline=None)
@given(ROWS)
def test_json_lines_hold_every_value(rows: list[dict[str, Any]]) -> None:
    rows = [{k: plain_zero(v) for k, v in row.items()} for row in rows]
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    found = json_rows(table) if rows else []
    assert found == [{name: as_json(name, value) for name, value in row.items()} for row in rows]


@settings(max_examples=60, deadline=None)
@given(ROWS)
def test_parquet_holds_every_value(rows: list[dict[str, Any]]) -> None:
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    back = pq.read_table(pa.BufferReader(encoded(table, "Parquet")))
    wanted = [{**row, "w": None if row["w"] is None else f"{plain_zero(row['w']):.20f}"} for row in rows]
    assert back.to_pylist() == wanted
    assert back.schema.field("n").type == pa.decimal128(38, 9)
    assert back.schema.field("w").type == pa.string()
    assert back.schema.metadata is None


@settings(max_examples=60, deadline=None)
@given(ROWS.filter(bool))  # a file is only begun when there is a row for it
def test_csv_tells_null_from_empty_text(rows: list[dict[str, Any]]) -> None:
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    data = encoded(table, "CSV", "UNCOMPRESSED")
    read = pyarrow.csv.ConvertOptions(
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
        column_types={n: SCHEMA.field(n).type for n in "bifnmtd"}
        | dict.fromkeys(("w", "y", "l", "ll", "c", "ts", "tz"), pa.string()),
    )
    parse = pyarrow.csv.ParseOptions(newlines_in_values=True)
    back = pyarrow.csv.read_csv(pa.BufferReader(data), convert_options=read, parse_options=parse).to_pylist()
    assert len(back) == len(rows)
    for found, row in zip(back, rows, strict=True):
        for name in "bifnmtd":
            assert found[name] == row[name]
        assert found["w"] == (None if row["w"] is None else f"{plain_zero(row['w']):.20f}")
        assert found["y"] == (None if row["y"] is None else "\\x" + row["y"].hex())
        assert found["tz"] == (None if row["tz"] is None else stamp(row["tz"]).replace("T", " "))
        assert (None if found["l"] is None else json.loads(found["l"])) == row["l"]
        assert (None if found["ll"] is None else json.loads(found["ll"])) == row["ll"]


def test_json_has_no_nan_so_it_is_text() -> None:
    table = pa.table({"f": [1.5, math.nan, math.inf, -math.inf, None], "g": pa.array([1.0] * 5, pa.float32())})
    assert [r["f"] for r in json_rows(table)] == [1.5, "NaN", "Infinity", "-Infinity", None]


def test_json_of_structs_and_control_characters() -> None:
    value = "".join(map(chr, range(128))) + 'é😀 "quoted" back\\slash'
    table = pa.table({'a "b"': [value, None], "s": [{"x": 1, "y": [value]}, None]})
    assert json_rows(table) == [{'a "b"': value, "s": {"x": 1, "y": [value]}}, {'a "b"': None, "s": None}]


def test_times_beyond_the_calendar_of_arrow_are_right() -> None:
    numbers = [9223372036854775807, -9223372036854775808, 0, None]
    table = pa.table({"ts": pa.array(numbers, UTC_MICROS), "d": pa.array([2**31 - 1, -(2**31), 0, None], pa.date32())})
    rows = json_rows(table)
    # As Postgres has it: the largest is in the year 294247; 5881580-07-11 is its documented end of dates, too.
    assert [r["ts"] for r in rows] == [
        "294247-01-10T04:00:54.775807Z",
        "-290308-12-21T19:59:05.224192Z",
        "1970-01-01T00:00:00.000000Z",
        None,
    ]
    assert [r["d"] for r in rows] == ["5881580-07-11", "-5877641-06-23", "1970-01-01", None]
    assert '"294247-01-10 04:00:54.775807Z"' in encoded(table, "CSV", "UNCOMPRESSED").decode()


def test_slices_are_not_read_beyond_their_ends() -> None:
    rows = [{"t": "a", "y": b"\x01", "l": ["p"]}, {"t": None, "y": None, "l": None}, {"t": "c", "y": b"", "l": []}]
    schema = pa.schema([("t", pa.string()), ("y", pa.binary()), ("l", pa.list_(pa.string()))])
    whole = pa.Table.from_pylist(rows * 3, schema=schema)
    assert json_rows(whole.slice(4, 4)) == [
        {"t": None, "y": None, "l": None},
        {"t": "c", "y": "\\x", "l": []},
        {"t": "a", "y": "\\x01", "l": ["p"]},
        {"t": None, "y": None, "l": None},
    ]


@pytest.mark.parametrize("codec", ["SNAPPY", "ZSTD", "GZIP", "UNCOMPRESSED"])
def test_parquet_codecs(codec: str) -> None:
    table = pa.table({"a": list(range(1000))})
    data = encoded(table, "Parquet", codec)
    meta = pq.read_metadata(pa.BufferReader(data))
    assert meta.row_group(0).column(0).compression == codec
    assert meta.format_version == "2.6"
    assert meta.row_group(0).column(0).is_stats_set


def test_gzip_text_is_one_file() -> None:
    data = encoded(pa.table({"a": [1, 2, 3]}), "CSV", "GZIP")
    assert gzip.decompress(data).decode() == '"a"\n1\n2\n3\n'


def test_duckdb_reads_the_plain_types(tmp_path: Any) -> None:
    table = pa.table(
        {
            "small": pa.array([Decimal("1.50"), None], pa.decimal128(9, 2)),
            "money": pa.array([Decimal("-99999999999999.99"), None], pa.decimal128(16, 2)),
            "big": pa.array([Decimal("1" * 29 + ".123456789"), None], pa.decimal128(38, 9)),
            "at": pa.array([datetime(2026, 11, 21, tzinfo=UTC), None], UTC_MICROS),
            "day": pa.array([date(2026, 11, 21), None]),
            "clock": pa.array([time(23, 59, 59, 999999), None], pa.time64("us")),
            "list": [["a", None], None],
        }
    )
    path = tmp_path / "a.parquet"
    path.write_bytes(encoded(table, "Parquet"))
    types = duckdb.sql(f"DESCRIBE SELECT * FROM '{path}'").fetchall()
    assert {t[0]: t[1] for t in types} == {
        "small": "DECIMAL(9,2)",
        "money": "DECIMAL(16,2)",
        "big": "DECIMAL(38,9)",
        "at": "TIMESTAMP WITH TIME ZONE",
        "day": "DATE",
        "clock": "TIME",
        "list": "VARCHAR[]",
    }
    row = duckdb.sql(f"SELECT small, money, big, day, clock, list FROM '{path}'").fetchone()
    assert row == tuple(table[n][0].as_py() for n in ("small", "money", "big", "day", "clock", "list"))


def test_a_constant_column_is_the_same_with_and_without_the_hint() -> None:
    table = pa.table({"k": ["s"] * 5 + [None], "c": ["x"] * 6, "n": [1] * 6})
    hinted = pq.read_table(pa.BufferReader(encoded(table, "Parquet", constants=("k", "c", "n"))))
    assert hinted.equals(pq.read_table(pa.BufferReader(encoded(table, "Parquet"))))
    assert hinted.equals(table)


def test_a_dictionary_is_made_only_where_values_repeat() -> None:
    rng = np.random.default_rng(1)
    table = pa.table({"key": rng.permutation(50_000), "few": rng.integers(0, 5, 50_000), "a.b": ["x"] * 50_000})
    meta = pq.read_metadata(pa.BufferReader(encoded(table.select(["key", "few"]), "Parquet")))
    assert [meta.row_group(1).column(i).has_dictionary_page for i in range(2)] == [False, True]
    assert pq.read_table(pa.BufferReader(encoded(table, "Parquet"))).equals(table)


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        (pa.null(), pa.string()),
        (pa.large_string(), pa.string()),
        (pa.float16(), pa.float32()),
        (pa.duration("us"), pa.int64()),
        (pa.dictionary(pa.int8(), pa.string()), pa.string()),
        (pa.decimal256(38, 2), pa.decimal128(38, 2)),
        (pa.decimal256(39, 2), pa.string()),
        (pa.list_(pa.decimal256(50, 2)), pa.list_(pa.string())),
        (pa.struct([("a", pa.decimal256(50, 2))]), pa.struct([("a", pa.string())])),
    ],
)
def test_types_that_parquet_readers_lack_have_a_declared_stand_in(kind: pa.DataType, wanted: pa.DataType) -> None:
    assert file_type(kind, "Parquet") == wanted
    empty = pa.chunked_array([pa.nulls(2, kind)])
    assert to_file_type(empty, wanted).type == wanted


def test_stand_ins_are_told() -> None:
    assert "50" in (type_note(pa.decimal256(50, 2), "Parquet") or "")
    assert type_note(pa.decimal128(15, 2), "JSONL") is None
    assert type_note(pa.decimal128(16, 2), "JSONL") is not None
    assert type_note(pa.list_(pa.string()), "CSV") == "JSON text"
    assert type_note(pa.list_(pa.string()), "Parquet") is None


@settings(max_examples=200, deadline=None)
@given(st.lists(st.none() | st.integers(-(10**30), 10**30)), st.integers(0, 30))
def test_decimal_text_is_plain_digits(numbers: list[int | None], scale: int) -> None:
    values = [None if n is None else Decimal(n).scaleb(-scale) for n in numbers]
    array = pa.array(values, pa.decimal256(60, scale))
    assert decimal_text(array).to_pylist() == [None if v is None else f"{plain_zero(v):.{scale}f}" for v in values]
    assert decimal_text(array[1:]).to_pylist() == decimal_text(array).to_pylist()[1:]
