"""Values of every type, ugly ones among them, staged, committed and read back by DuckDB itself."""

from __future__ import annotations

import uuid
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tests.integration.duckdb.driver import Attempt, destination, load, plan, rows, target

from syncline.core.batch import Batch, Misfit
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.schema import Field, StreamSchema
from syncline.core.stream import WriteMode

INT64_MAX = 2**63 - 1
naive = datetime.fromisoformat


def one_column(field: Field, values: list[Any], *misfits: Misfit) -> tuple[StreamSchema, Batch]:
    """A stream of a row number and one column of interest."""
    schema = StreamSchema(fields=(Field(name="n", type=pa.int64()), field))
    array = values if isinstance(values, pa.Array) else pa.array(values, field.type)
    data = pa.RecordBatch.from_arrays([pa.array(range(len(array)), pa.int64()), array], schema=schema.arrow())
    return schema, Batch(data=data, misfits=misfits)


def kept(tmp_path: Path, field: Field, values: Any, *misfits: Misfit, show: str = "v") -> list[Any]:
    """What DuckDB gives back for the column ``v``."""
    schema, batch = one_column(field, values, *misfits)
    path = tmp_path / "x.duckdb"
    load(destination(path), target(schema=schema), [batch])
    return [value for (value,) in rows(path, f"SELECT {show} FROM orders ORDER BY n")]


def all_kept(tmp_path: Path, fields: list[Field], arrays: list[pa.Array], shows: list[str] | None = None) -> list[Any]:
    """As :func:`kept` for many columns at once; shorter ones are filled up with NULL."""
    longest = max(len(a) for a in arrays)
    filled = [pa.concat_arrays([a, pa.nulls(longest - len(a), a.type)]) for a in arrays]
    schema = StreamSchema(fields=(Field(name="n", type=pa.int64()), *fields))
    data = pa.RecordBatch.from_arrays([pa.array(range(longest), pa.int64()), *filled], schema=schema.arrow())
    path = tmp_path / "x.duckdb"
    load(destination(path), target(schema=schema), [Batch(data=data)])
    columns = [(show).format(f.name) for show, f in zip(shows or ["{}"] * len(fields), fields, strict=True)]
    return [list(c) for c in zip(*rows(path, f"SELECT {', '.join(columns)} FROM orders ORDER BY n"), strict=True)]


MICROS = pa.timestamp("us")
UTC_MICROS = pa.timestamp("us", tz="UTC")
LISTS = pa.list_(pa.list_(pa.string()))
STRUCT = pa.struct([pa.field("a.b", pa.int32()), pa.field('q"', pa.list_(pa.decimal128(5, 2)))])


#: (carrier, meaning, column type in DuckDB, values that come back as they went)
SAME: list[tuple[pa.DataType, str | None, str, list[Any]]] = [
    (pa.bool_(), None, "BOOLEAN", [True, False, None]),
    (pa.int8(), None, "TINYINT", [-128, 127, None]),
    (pa.int16(), None, "SMALLINT", [-(2**15), 2**15 - 1]),
    (pa.int32(), None, "INTEGER", [-(2**31), 2**31 - 1]),
    (pa.int64(), None, "BIGINT", [-(2**63), INT64_MAX, None]),
    (pa.uint8(), None, "UTINYINT", [0, 255]),
    (pa.uint16(), None, "USMALLINT", [0, 65535]),
    (pa.uint32(), None, "UINTEGER", [0, 2**32 - 1]),
    (pa.uint64(), None, "UBIGINT", [0, 2**64 - 1, None]),
    (pa.float32(), None, "FLOAT", [1.5, -0.0, float("inf"), float("-inf"), None]),
    (pa.float64(), None, "DOUBLE", [0.1, 5e-324, 1.7976931348623157e308, float("inf"), None]),
    (pa.decimal128(15, 2), None, "DECIMAL(15,2)", [Decimal("-0.01"), Decimal("9999999999999.99"), None]),
    (pa.decimal128(38, 0), None, "DECIMAL(38,0)", [Decimal("9" * 38), Decimal("-" + "9" * 38)]),
    (pa.decimal256(20, 3), None, "DECIMAL(20,3)", [Decimal("12345678901234567.891"), None]),
    (pa.string(), None, "VARCHAR", ["", " ", "NULL", "a\0b", "é\u2028😀", "'; DROP TABLE orders; --", "\\N", None]),
    (pa.large_string(), None, "VARCHAR", ["x" * 100_000, None]),
    (pa.string(), "json", "JSON", ['{"a": 1, "a": 2}', "[1e400]", '"\\u0000"', "null", None]),
    (pa.string(), "uuid", "UUID", ["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"]),
    (pa.string(), "numeric", "VARCHAR", ["0.1" + "0" * 40, "-1", "NaN", None]),
    (pa.string(), "interval", "VARCHAR", ["1 year 2 mons -3 days +04:05:06.7", None]),
    (pa.string(), "enum", "VARCHAR", ["a b", None]),
    (pa.binary(), None, "BLOB", [b"", b"\0\xff", None]),
    (pa.binary(3), None, "BLOB", [b"\0\1\2", None]),
    (pa.date32(), None, "DATE", [date(1, 1, 1), date(9999, 12, 31), None]),
    (pa.time64("us"), None, "TIME", [time(0), time(23, 59, 59, 999999), None]),
    (pa.time32("ms"), None, "TIME", [time(1, 2, 3, 4000), None]),
    (MICROS, None, "TIMESTAMP", [naive("0001-01-01"), naive("9999-12-31 23:59:59.999999"), None]),
    (pa.timestamp("s"), None, "TIMESTAMP", [naive("1969-12-31"), None]),
    (pa.duration("us"), None, "INTERVAL", [timedelta(days=-1, microseconds=1), None]),
    (pa.list_(pa.int64()), None, "BIGINT[]", [[1, None], [], None]),
    (LISTS, None, "VARCHAR[][]", [[["a", None], None, []], [], None]),
    (pa.list_(pa.decimal128(5, 2)), None, "DECIMAL(5,2)[]", [[Decimal("1.50"), None], None]),
    (STRUCT, None, 'STRUCT("a.b" INTEGER, "q""" DECIMAL(5,2)[])', [{"a.b": 1, 'q"': [Decimal("1.50")]}, None]),
]


def test_values_are_the_same(tmp_path: Path) -> None:
    fields = [Field(name=f"v{i}", type=kind, logical=logical) for i, (kind, logical, _, _) in enumerate(SAME)]
    found = all_kept(tmp_path, fields, [pa.array(values, kind) for kind, _, _, values in SAME])
    for (kind, logical, _, values), got in zip(SAME, found, strict=True):
        expected = [uuid.UUID(v) for v in values] if logical == "uuid" else values
        assert (kind, logical, got[: len(values)]) == (kind, logical, expected)
    query = "SELECT data_type FROM duckdb_columns() WHERE table_name = 'orders' ORDER BY column_index"
    assert rows(tmp_path / "x.duckdb", query) == [("BIGINT",), *((column,) for _, _, column, _ in SAME)]


#: (carrier, values, how to show the column, what is shown)
ANOTHER_FORM: list[tuple[pa.DataType, list[Any], str, list[Any]]] = [
    (UTC_MICROS, [datetime(2026, 10, 25, 0, 30, tzinfo=UTC)], "{}::VARCHAR", ["2026-10-25 00:30:00+00"]),
    (pa.timestamp("ms", tz="America/New_York"), [1_000], "{}::VARCHAR", ["1970-01-01 00:00:01+00"]),
    (pa.timestamp("ns"), [1, -1], "{}::VARCHAR", ["1970-01-01 00:00:00.000000001", "1969-12-31 23:59:59.999999999"]),
    (pa.float64(), [float("nan")], "isnan({})", [True]),
    (pa.null(), [None], "{}", [None]),
    (pa.float16(), [1.5], "{}", [1.5]),
    (pa.date64(), [date(2000, 1, 2)], "{}", [date(2000, 1, 2)]),
    (pa.decimal256(76, 40), [Decimal("1E-40"), Decimal("-12.5"), Decimal(0)], "{}",
     ["0." + "0" * 39 + "1", "-12.5" + "0" * 39, "0." + "0" * 40]),
    (pa.decimal128(5, -2), [Decimal("-1200"), Decimal(0), None], "{}", [-1200, 0, None]),
    (pa.decimal256(70, -3), [Decimal("-12000"), Decimal(0), None], "{}", ["-12000", "0", None]),
    (pa.list_(pa.decimal256(60, 2)), [[Decimal("0.01"), None], None, []], "{}", [["0.01", None], None, []]),
]  # fmt: skip


def test_values_in_another_form(tmp_path: Path) -> None:
    fields = [Field(name=f"v{i}", type=kind) for i, (kind, *_) in enumerate(ANOTHER_FORM)]
    arrays = [pa.array(values, kind) for kind, values, _, _ in ANOTHER_FORM]
    found = all_kept(tmp_path, fields, arrays, [show for _, _, show, _ in ANOTHER_FORM])
    for (kind, _, _, expected), got in zip(ANOTHER_FORM, found, strict=True):
        assert (kind, got[: len(expected)]) == (kind, expected)


def test_a_decimal_of_more_scale_than_precision(tmp_path: Path) -> None:
    kind = pa.decimal128(2, 5)
    array = pa.array([12, None], pa.decimal128(38, 0)).view(pa.binary(16)).view(kind)
    assert kept(tmp_path, Field(name="v", type=kind), array) == [Decimal("0.00012"), None]


@pytest.mark.parametrize(
    ("kind", "texts"),
    [
        (MICROS, ["infinity", "-infinity"]),
        (UTC_MICROS, ["infinity", "-infinity"]),
        (pa.timestamp("ns"), ["infinity", "-infinity"]),
        (pa.date32(), ["infinity", "-infinity"]),
        (pa.time64("us"), ["24:00:00"]),
    ],
)
def test_values_that_only_the_carrier_lacks_are_kept(tmp_path: Path, kind: pa.DataType, texts: list[str]) -> None:
    misfits = [Misfit(row=i + 1, column="v", text=t, reason="beyond the carrier") for i, t in enumerate(texts)]
    values = pa.array([7, *[None] * len(texts), None], pa.int32() if kind == pa.date32() else pa.int64()).view(kind)
    found = kept(tmp_path, Field(name="v", type=kind), values, *misfits, show="v::VARCHAR")
    assert found[1:] == [*texts, None]
    assert found[0] not in (None, *texts)
    assert rows(tmp_path / "x.duckdb", "SELECT count(*) FROM _syncline_quarantine") == [(0,)]


#: Integers that DuckDB would take for another value, or refuse.
OUT_OF_RANGE: list[tuple[pa.DataType, int]] = [
    (MICROS, INT64_MAX),
    (MICROS, -INT64_MAX),
    (UTC_MICROS, -INT64_MAX - 1),
    (pa.timestamp("s"), INT64_MAX),
    (pa.timestamp("ns"), INT64_MAX),
    (pa.timestamp("ns"), -INT64_MAX),
    (pa.timestamp("ns", tz="UTC"), 1),
    (pa.time64("us"), 86_400_000_001),
    (pa.time64("us"), -1),
    (pa.time64("ns"), 1),
    (pa.date32(), 2**31 - 1),
    (pa.date32(), -(2**31) + 1),
    (pa.date32(), -(2**31)),
]


def test_values_that_duckdb_would_take_for_others_go_to_quarantine(tmp_path: Path) -> None:
    """One column per case and one row for each, in which only that column is set; the last row has nothing wrong."""
    fields, arrays = [Field(name="n", type=pa.int64())], [pa.array(range(len(OUT_OF_RANGE) + 1), pa.int64())]
    for i, (kind, value) in enumerate(OUT_OF_RANGE):
        cells = [value if row == i else 0 if row == len(OUT_OF_RANGE) else None for row in range(len(OUT_OF_RANGE) + 1)]
        arrays.append(pa.array(cells, pa.int32() if kind == pa.date32() else pa.int64()).view(kind))
        fields.append(Field(name=f"v{i}", type=kind))
    schema = StreamSchema(fields=tuple(fields))
    path = tmp_path / "x.duckdb"
    to = destination(path)
    attempt = Attempt(to, target(schema=schema), plan("0"))
    staged = attempt.stage("0", Batch(data=pa.RecordBatch.from_arrays(arrays, schema=schema.arrow())))
    assert (staged.rows, staged.quarantined) == (1, len(OUT_OF_RANGE))
    attempt.commit(staged, publish=True)
    assert rows(path, "SELECT n FROM orders") == [(len(OUT_OF_RANGE),)]
    found = rows(path, "SELECT column_name, record->>column_name IS NOT NULL FROM _syncline_quarantine ORDER BY rowid")
    assert found == [(f"v{i}", True) for i in range(len(OUT_OF_RANGE))]


def test_lists_with_one_value_out_of_range(tmp_path: Path) -> None:
    values = pa.array([[1, 2], [3, INT64_MAX], None, []], pa.list_(pa.int64())).cast(pa.list_(pa.duration("us")))
    kind = pa.list_(MICROS)
    values = pa.ListArray.from_arrays(values.offsets, values.values.view(MICROS), type=kind, mask=values.is_null())
    found = kept(tmp_path, Field(name="v", type=kind), values, show="n")
    assert found == [0, 2, 3]


def test_misfits_that_cannot_be_held_go_to_quarantine_with_their_text(tmp_path: Path) -> None:
    schema = StreamSchema(
        fields=(
            Field(name="n", type=pa.int64()),
            Field(name="d", type=pa.decimal128(10, 2)),
            Field(name="t", type=MICROS),
            Field(name="b", type=pa.binary()),
        )
    )
    arrays = [
        pa.array([0, 1, 2], pa.int64()),
        pa.array([Decimal("1.00"), None, None], pa.decimal128(10, 2)),
        pa.array([None, None, None], MICROS),
        pa.array([b"\1", b"\2", None], pa.binary()),
    ]
    misfits = (
        Misfit(row=0, column="t", text="infinity", reason="beyond the carrier"),
        Misfit(row=1, column="t", text="-infinity", reason="beyond the carrier"),
        Misfit(row=1, column="d", text="NaN", reason="not a number"),
        Misfit(row=2, column="t", text="294277-01-01 00:00:00 BC", reason="beyond the carrier"),
    )
    batch = Batch(data=pa.RecordBatch.from_arrays(arrays, schema=schema.arrow()), misfits=misfits)
    path = tmp_path / "x.duckdb"
    load(destination(path), target(schema=schema), [batch])
    assert rows(path, "SELECT n, t::VARCHAR FROM orders") == [(0, "infinity")]
    assert rows(path, "SELECT column_name, reason, record FROM _syncline_quarantine ORDER BY 1") == [
        ("d", "not a number", '{"n": "1", "d": "NaN", "t": "-infinity", "b": "\\\\x02"}'),
        ("t", "beyond the carrier", '{"n": "2", "d": null, "t": "294277-01-01 00:00:00 BC", "b": null}'),
    ]


def test_an_infinite_key_is_a_key(tmp_path: Path) -> None:
    field = Field(name="v", type=pa.date32())
    schema, batch = one_column(field, [None, None], Misfit(row=0, column="v", text="infinity", reason="r"))
    path = tmp_path / "x.duckdb"
    load(destination(path), target(WriteMode.MERGE, schema=schema, key=["v"]), [batch])
    assert rows(path, "SELECT n, v::VARCHAR FROM orders") == [(0, "infinity")]
    assert rows(path, "SELECT record->>'n' FROM _syncline_quarantine") == [("1",)]


def test_broken_text_goes_to_quarantine(tmp_path: Path) -> None:
    raw = pa.array([b"fine", b"\xff\xfe", None], pa.binary())
    found = kept(tmp_path, Field(name="v", type=pa.string()), raw.view(pa.string()))
    assert found == ["fine", None]
    assert rows(tmp_path / "x.duckdb", "SELECT reason, record->>'v' FROM _syncline_quarantine") == [
        ("the text is not valid UTF-8", "\\xff\\xfe")
    ]


def test_text_that_is_no_uuid_is_an_error_of_the_stream(tmp_path: Path) -> None:
    field = Field(name="v", type=pa.string(), logical="uuid")
    with pytest.raises(SynclineError, match="uuid") as caught:
        kept(tmp_path, field, ["not-one"])
    assert caught.value.kind is ErrorKind.DATA


UGLY = ["select", "a b", 'q"uote', "semi;colon", "ünï", "c0", "rowid", "a.b", "_syncline_x", "1", "'", "\n", "x" * 300]


@pytest.mark.parametrize("write", [WriteMode.MERGE, WriteMode.REPLACE])
def test_ugly_names(tmp_path: Path, write: WriteMode) -> None:
    schema = StreamSchema(fields=tuple(Field(name=n, type=pa.int64()) for n in UGLY))

    def batch(last: int) -> Batch:
        arrays = [pa.array([i], pa.int64()) for i in (*range(len(UGLY) - 1), last)]
        return Batch(data=pa.RecordBatch.from_arrays(arrays, schema=schema.arrow()))

    path = tmp_path / "da\"ta b'ase.duckdb"
    dedupe = write is WriteMode.REPLACE
    aim = target(write, schema=schema, key=['q"uote', "rowid"], cursor="a.b", dedupe=dedupe)
    to = destination(path, table_prefix='tab"le; ')
    load(to, aim, [batch(1), batch(2)], [batch(3), batch(4)], name="p1")
    assert rows(path, 'FROM "tab""le; orders"') == [(*range(len(UGLY) - 1), 4)]
    query = "SELECT column_name FROM duckdb_columns() WHERE table_name = ? ORDER BY column_index"
    assert rows(path, query, ['tab"le; orders']) == [(name,) for name in UGLY]


@pytest.mark.parametrize("names", [["Id", "ID"], ["a", ""], ["a\0b"]])
def test_names_that_duckdb_does_not_take_are_refused(tmp_path: Path, names: list[str]) -> None:
    schema = StreamSchema(fields=tuple(Field(name=n, type=pa.int64()) for n in names))
    to = destination(tmp_path / "x.duckdb")
    with pytest.raises(SynclineError) as caught:
        Attempt(to, target(schema=schema), plan("0"))
    assert caught.value.kind is ErrorKind.SCHEMA
    assert [f.kind for f in to.check([target(schema=schema)]) if f.kind] == [ErrorKind.SCHEMA]


def test_a_batch_larger_than_a_chunk_and_slices_of_it(tmp_path: Path) -> None:
    texts = pa.array(["x" * 1000 + str(i) for i in range(20_000)])
    schema = StreamSchema(fields=(Field(name="v", type=pa.string()), Field(name="d", type=pa.decimal256(50, 1))))
    decimals = pa.array([Decimal(i) / 2 for i in range(20_000)], pa.decimal256(50, 1))
    data = pa.RecordBatch.from_arrays([texts, decimals], schema=schema.arrow())
    path = tmp_path / "x.duckdb"
    load(destination(path), target(schema=schema), [Batch(data=data.slice(0, 7)), Batch(data=data.slice(7))])
    query = "SELECT count(*), count(DISTINCT v), sum(length(v)), sum(d::DECIMAL(38,1)) FROM orders"
    expected = (20_000, 20_000, sum(len(t) for t in texts.to_pylist()), Decimal(19_999 * 20_000 // 4))
    assert rows(path, query) == [expected]
