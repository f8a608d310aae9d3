"""What Postgres says about rows that we wrote: every type, ugly values, both encoders.

The oracle is the server: it prints the stored value, and prints the value that it makes of an expression over text.
"""

from __future__ import annotations

import json
import math
import struct
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from syncline.connectors.postgres.copy.encode import (
    CopyWriter,
    EncodeColumn,
    encode_batch,
    encoder_for,
    find_unencodable,
)
from syncline.connectors.postgres.copy.encode_native import native_library
from syncline.core.errors import ErrorKind, SynclineError
from syncline.testing.postgres_server import PostgresServer

EPOCH_DAYS, EPOCH_MICROS = 10_957, 946_684_800_000_000
# In days and the rest: an interval is multiplied in floating point.
SINCE_2000 = "(x::int8 - 946684800000000)"
MICROS = (
    f"({{type}} '2000-01-01 00:00:00{{zone}}' + {SINCE_2000} / 86400000000 * interval '1 day'"
    f" + {SINCE_2000} %% 86400000000 * interval '1 microsecond')"
)
STAMPS = (-211_813_488_000_000_000 + EPOCH_MICROS, 2**63 - 1)

quick = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@dataclass(frozen=True, kw_only=True)
class Case:
    """``sql`` makes the expected value from the text ``x``; ``make`` builds the Arrow array from ``values``."""

    name: str
    arrow: pa.DataType
    pg: str
    values: st.SearchStrategy[Any]
    sql: str = "x::{pg}"
    text: Callable[[Any], str] = str
    make: Callable[[list[Any], pa.DataType], pa.Array] = pa.array


def ints(low: int, high: int) -> st.SearchStrategy[int]:
    return st.one_of(st.integers(low, high), st.sampled_from([low, high, 0, max(low, -1), 1]))


def ticks(values: list[int | None], kind: pa.DataType) -> pa.Array:
    width = pa.int32() if kind.bit_width == 32 else pa.int64()
    return pa.array(values, width).view(kind)


def dictionary(values: list[Any], kind: pa.DataType) -> pa.Array:
    return pa.array(values, kind.value_type).dictionary_encode().cast(kind)


def wide_decimal(precision: int, scale: int) -> st.SearchStrategy[Decimal]:
    top = 10**precision - 1
    small = st.integers(0, precision - 1).map(lambda n: 10**n)
    unscaled = st.one_of(st.integers(-top, top), small, small.map(lambda n: n - 1), st.sampled_from([top, -top, 0]))
    return unscaled.map(lambda n: Decimal((int(n < 0), tuple(map(int, str(abs(n)))), -scale)))


def array_text(value: list[Any]) -> str:
    def item(v: Any) -> str:
        if v is None:
            return "NULL"
        if isinstance(v, list):
            return array_text(v)
        return '"' + str(v).replace("\\", "\\\\").replace('"', '\\"') + '"'

    return "{" + ",".join(map(item, value)) + "}"


def matrices(items: st.SearchStrategy[Any], depth: int) -> st.SearchStrategy[Any]:
    """Rectangles of any depth, none of their sides empty unless all of it is."""

    def build(sides: list[int]) -> st.SearchStrategy[Any]:
        strategy = st.one_of(st.none(), items)
        for side in reversed(sides):
            strategy = st.lists(strategy, min_size=side, max_size=side)
        return strategy

    return st.lists(st.integers(1, 3), min_size=depth, max_size=depth).flatmap(build)


plain_text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | plain_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(plain_text, inner, max_size=3),
    max_leaves=6,
)
PLAIN_NUMBERS = (
    "0 -0 0.000 .5 5. -.5e-3 1e0 1E+10 1e-16383 00000.00001000 1e131071 10000 9999.9999 100000000 0.0001 0.00001"
)
numeric_texts = st.one_of(
    st.decimals(allow_nan=False, allow_infinity=False).map(str),
    st.sampled_from([*PLAIN_NUMBERS.split(), "12345678.12345678", "+1", "000", "0e5", "0e-5", " 12 ", "\t1\n"]),
    st.sampled_from(["NaN", "nan", "Infinity", "-Infinity", "inf", "-inf", "+inf", "+Infinity"]),
    st.sampled_from(["9" * 131072, "0." + "0" * 16382 + "1"]),
)
CASES = [
    Case(name="bool", arrow=pa.bool_(), pg="boolean", values=st.booleans()),
    Case(name="int8-int2", arrow=pa.int8(), pg="smallint", values=ints(-128, 127)),
    Case(name="int2", arrow=pa.int16(), pg="smallint", values=ints(-(2**15), 2**15 - 1)),
    Case(name="int64-int2", arrow=pa.int64(), pg="smallint", values=ints(-(2**15), 2**15 - 1)),
    Case(name="int4", arrow=pa.int32(), pg="integer", values=ints(-(2**31), 2**31 - 1)),
    Case(name="int64-int4", arrow=pa.int64(), pg="integer", values=ints(-(2**31), 2**31 - 1)),
    Case(name="uint64-int4", arrow=pa.uint64(), pg="integer", values=ints(0, 2**31 - 1)),
    Case(name="int8", arrow=pa.int64(), pg="bigint", values=ints(-(2**63), 2**63 - 1)),
    Case(name="uint32-int8", arrow=pa.uint32(), pg="bigint", values=ints(0, 2**32 - 1)),
    Case(name="uint64-int8", arrow=pa.uint64(), pg="bigint", values=ints(0, 2**63 - 1)),
    Case(name="oid", arrow=pa.uint32(), pg="oid", values=ints(0, 2**32 - 1)),
    Case(name="int64-oid", arrow=pa.int64(), pg="oid", values=ints(0, 2**32 - 1)),
    Case(name="float4", arrow=pa.float32(), pg="real", values=st.floats(width=32), text=repr),
    Case(name="float8", arrow=pa.float64(), pg="double precision", values=st.floats(), text=repr),
    Case(name="float4-float8", arrow=pa.float32(), pg="double precision", values=st.floats(width=32), text=repr),
    Case(name="float8-float4", arrow=pa.float64(), pg="real", values=st.floats(width=32), text=repr),
    Case(name="half-float4", arrow=pa.float16(), pg="real", values=st.floats(width=16), text=repr),
    Case(name="int4-float8", arrow=pa.int32(), pg="double precision", values=ints(-(2**31), 2**31 - 1)),
    Case(
        name="numeric-15-2",
        arrow=pa.decimal128(15, 2),
        pg="numeric(15,2)",
        values=wide_decimal(15, 2),
        text="{:f}".format,
    ),
    Case(name="decimal32", arrow=pa.decimal32(9, 3), pg="numeric", values=wide_decimal(9, 3), text="{:f}".format),
    Case(name="decimal64", arrow=pa.decimal64(18, 18), pg="numeric", values=wide_decimal(18, 18), text="{:f}".format),
    Case(name="decimal128", arrow=pa.decimal128(38, 0), pg="numeric", values=wide_decimal(38, 0), text="{:f}".format),
    Case(
        name="decimal128-38", arrow=pa.decimal128(38, 38), pg="numeric", values=wide_decimal(38, 38), text="{:f}".format
    ),
    Case(
        name="decimal128-13", arrow=pa.decimal128(38, 13), pg="numeric", values=wide_decimal(38, 13), text="{:f}".format
    ),
    Case(name="decimal256", arrow=pa.decimal256(76, 37), pg="numeric", values=wide_decimal(76, 37), text="{:f}".format),
    Case(
        name="decimal-negative-scale",
        arrow=pa.decimal128(20, -5),
        pg="numeric",
        values=wide_decimal(20, -5),
        text="{:f}".format,
    ),
    Case(name="uint64-numeric", arrow=pa.uint64(), pg="numeric", values=ints(0, 2**64 - 1)),
    Case(name="int64-numeric", arrow=pa.int64(), pg="numeric(19,0)", values=ints(-(2**63), 2**63 - 1)),
    Case(name="text-numeric", arrow=pa.string(), pg="numeric", values=numeric_texts),
    Case(name="text", arrow=pa.string(), pg="text", values=plain_text),
    Case(name="large-text", arrow=pa.large_string(), pg="text", values=plain_text),
    Case(name="text-view", arrow=pa.string_view(), pg="text", values=plain_text),
    Case(
        name="text-dictionary",
        arrow=pa.dictionary(pa.int32(), pa.string()),
        pg="text",
        values=plain_text,
        make=dictionary,
    ),
    Case(name="varchar", arrow=pa.string(), pg="character varying(40)", values=plain_text),
    Case(name="bpchar", arrow=pa.string(), pg="character(40)", values=plain_text),
    Case(name="name", arrow=pa.string(), pg="name", values=plain_text.filter(lambda s: len(s.encode()) < 64)),
    Case(name="citext", arrow=pa.string(), pg="citext", values=plain_text),
    Case(name="json", arrow=pa.string(), pg="json", values=json_values.map(json.dumps)),
    Case(
        name="jsonb",
        arrow=pa.string(),
        pg="jsonb",
        values=json_values.map(json.dumps),
    ),
    Case(name="bytea", arrow=pa.binary(), pg="bytea", values=st.binary(max_size=40), text=lambda v: "\\x" + v.hex()),
    Case(name="large-bytea", arrow=pa.large_binary(), pg="bytea", values=st.binary(), text=lambda v: "\\x" + v.hex()),
    Case(name="bytea-view", arrow=pa.binary_view(), pg="bytea", values=st.binary(), text=lambda v: "\\x" + v.hex()),
    Case(
        name="fixed-bytea",
        arrow=pa.binary(5),
        pg="bytea",
        values=st.binary(min_size=5, max_size=5),
        text=lambda v: "\\x" + v.hex(),
    ),
    Case(name="uuid", arrow=pa.string(), pg="uuid", values=st.uuids().map(str)),
    Case(
        name="uuid-bytes",
        arrow=pa.binary(16),
        pg="uuid",
        values=st.binary(min_size=16, max_size=16),
        text=lambda v: str(uuid.UUID(bytes=v)),
    ),
    Case(
        name="uuid-forms",
        arrow=pa.large_string(),
        pg="uuid",
        values=st.sampled_from(
            [
                "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
                "{a0eebc99-9c0b4ef8-bb6d6bb9-bd380a11}",
                "a0ee-bc99-9c0b-4ef8-bb6d-6bb9-bd38-0a11",
                "a0eebc999c0b4ef8bb6d6bb9bd380a11",
            ]
        ),
    ),
    Case(
        name="date32",
        arrow=pa.date32(),
        pg="date",
        values=ints(-2_451_545 + EPOCH_DAYS, 2_145_031_948 + EPOCH_DAYS),
        sql="date '2000-01-01' + (x::int8 - 10957)::int4",
        make=ticks,
    ),
    Case(
        name="date64",
        arrow=pa.date64(),
        pg="date",
        values=ints(-719_162, 2_932_896).map(lambda d: d * 86_400_000),
        sql="date '1970-01-01' + (x::int8 / 86400000)::int4",
        make=ticks,
    ),
    Case(
        name="date32-timestamp",
        arrow=pa.date32(),
        pg="timestamp without time zone",
        values=ints(-719_162, 2_932_896),
        sql="(date '1970-01-01' + x::int4)::timestamp",
        make=ticks,
    ),
    Case(
        name="time64-us",
        arrow=pa.time64("us"),
        pg="time without time zone",
        values=ints(0, 86_400_000_000 - 1),
        sql="time '00:00' + x::int8 * interval '1 microsecond'",
        make=ticks,
    ),
    Case(
        name="time-24",
        arrow=pa.time64("us"),
        pg="time without time zone",
        values=st.just(86_400_000_000),
        sql="CASE WHEN x IS NOT NULL THEN time '24:00' END",
        make=ticks,
    ),
    Case(
        name="time64-ns",
        arrow=pa.time64("ns"),
        pg="time without time zone",
        values=ints(0, 86_400_000_000 - 1).map(lambda n: n * 1000),
        sql="time '00:00' + x::int8 / 1000 * interval '1 microsecond'",
        make=ticks,
    ),
    Case(
        name="time32-ms",
        arrow=pa.time32("ms"),
        pg="time(3) without time zone",
        values=ints(0, 86_399_999),
        sql="time '00:00' + x::int8 * interval '1 millisecond'",
        make=ticks,
    ),
    Case(
        name="time32-s",
        arrow=pa.time32("s"),
        pg="time(0) without time zone",
        values=ints(0, 86_399),
        sql="time '00:00' + x::int8 * interval '1 second'",
        make=ticks,
    ),
    Case(
        name="timestamp-us",
        arrow=pa.timestamp("us"),
        pg="timestamp without time zone",
        values=ints(*STAMPS),
        sql=MICROS.format(type="timestamp", zone=""),
        make=ticks,
    ),
    Case(
        name="timestamptz-us",
        arrow=pa.timestamp("us", "Asia/Tokyo"),
        pg="timestamp with time zone",
        values=ints(*STAMPS),
        sql=MICROS.format(type="timestamptz", zone="+00"),
        make=ticks,
    ),
    Case(
        name="timestamp-s",
        arrow=pa.timestamp("s"),
        pg="timestamp(0) without time zone",
        values=ints(-(-STAMPS[0] // 10**6), STAMPS[1] // 10**6),
        sql="timestamp '2000-01-01' + (x::int8 - 946684800) * interval '1 second'",
        make=ticks,
    ),
    Case(
        name="timestamp-ms",
        arrow=pa.timestamp("ms"),
        pg="timestamp(3) without time zone",
        values=ints(-(-STAMPS[0] // 1000), STAMPS[1] // 1000),
        sql=MICROS.format(type="timestamp", zone="").replace("x::int8", "x::int8 * 1000"),
        make=ticks,
    ),
    Case(
        name="timestamptz-ns",
        arrow=pa.timestamp("ns", "UTC"),
        pg="timestamp with time zone",
        values=ints(-(2**63) // 1000 + 1, (2**63 - 1) // 1000).map(lambda n: n * 1000),
        sql=MICROS.format(type="timestamptz", zone="+00").replace("x::int8", "x::int8 / 1000"),
        make=ticks,
    ),
    Case(
        name="int4-array",
        arrow=pa.list_(pa.int32()),
        pg="integer[]",
        values=st.lists(st.none() | ints(-(2**31), 2**31 - 1), max_size=5),
        text=array_text,
    ),
    Case(
        name="text-array",
        arrow=pa.large_list(pa.string()),
        pg="text[]",
        values=st.lists(st.none() | plain_text, max_size=5),
        text=array_text,
    ),
    Case(
        name="varchar-matrix",
        arrow=pa.list_(pa.list_(pa.string())),
        pg="character varying(40)[]",
        values=matrices(plain_text, 2),
        text=array_text,
    ),
    Case(
        name="numeric-cube",
        arrow=pa.list_(pa.large_list(pa.list_(pa.decimal128(20, 4)))),
        pg="numeric(20,4)[]",
        values=matrices(wide_decimal(20, 4).map("{:f}".format).map(Decimal), 3),
        text=array_text,
    ),
    Case(
        name="fixed-size-list",
        arrow=pa.list_(pa.float64(), 3),
        pg="double precision[]",
        values=st.lists(st.none() | st.floats(), min_size=3, max_size=3),
        text=array_text,
    ),
    Case(
        name="six-dimensions",
        arrow=pa.list_(pa.list_(pa.list_(pa.list_(pa.list_(pa.list_(pa.bool_())))))),
        pg="boolean[]",
        values=matrices(st.booleans(), 6),
        text=array_text,
    ),
    Case(
        name="list-view",
        arrow=pa.list_view(pa.int64()),
        pg="bigint[]",
        values=st.lists(ints(-(2**63), 2**63 - 1), max_size=4),
        text=array_text,
    ),
]


@pytest.fixture(scope="module")
def connection(postgres_server: PostgresServer) -> Iterator[psycopg.Connection[Any]]:
    name = postgres_server.create_database()
    with postgres_server.connect(name) as conn:
        conn.autocommit = False
        conn.execute("CREATE EXTENSION citext")
        conn.execute("SET timezone TO 'UTC'")
        conn.execute("SET datestyle TO 'ISO'")
        conn.commit()
        yield conn
    postgres_server.drop_database(name)


@pytest.fixture(params=["native", "fallback"])
def encoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "fallback":
        monkeypatch.setenv("SYNCLINE_NO_NATIVE", "1")
    elif native_library() is None:
        pytest.skip("the extension was not compiled")
    return str(request.param)


def copy(
    connection: psycopg.Connection[Any], table: str, batches: list[pa.RecordBatch], columns: list[EncodeColumn]
) -> int:
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(
        sql.Identifier(table), sql.SQL(", ").join(sql.Identifier(c.name) for c in columns)
    )
    with CopyWriter(connection, statement, columns) as writer:
        for batch in batches:
            writer.write(batch)
        return writer.finish()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@quick
@given(data=st.data())
def test_the_server_reads_back_what_was_written(
    connection: psycopg.Connection[Any], encoder: str, case: Case, data: st.DataObject
) -> None:
    values = data.draw(st.lists(st.none() | case.values, min_size=1, max_size=20))
    cut = data.draw(st.integers(0, len(values) - 1))
    encoder_name = encoder_for(case.arrow, case.pg)
    assert encoder_name is not None
    columns = [EncodeColumn(name="Value", encoder=encoder_name), EncodeColumn(name="n", encoder="int4")]
    array = case.make(values, case.arrow)
    batch = pa.RecordBatch.from_arrays([array, pa.array(range(len(values)), pa.int64())], names=["Value", "n"])
    assert find_unencodable(batch, columns) == []

    connection.execute(f'CREATE TEMP TABLE t ("Value" {case.pg}, n int4)')
    try:
        # In two slices: offsets that are not zero, and bits that do not start at a byte.
        assert copy(connection, "t", [batch.slice(cut), batch.slice(0, cut)], columns) == len(values)
        got = connection.execute('SELECT "Value"::text FROM t ORDER BY n').fetchall()
        texts = [None if v is None else case.text(v) for v in values]
        want = connection.execute(
            f"SELECT ({case.sql.format(pg=case.pg)})::{case.pg}::text"
            " FROM unnest(%s::text[]) WITH ORDINALITY AS u(x, n) ORDER BY n",
            [texts],
        ).fetchall()
        assert got == want
    finally:
        connection.rollback()


@quick
@given(
    rows=st.lists(
        st.tuples(
            st.text(max_size=20),
            st.lists(
                st.sampled_from(["\\u0000", "\\ud800", "\\udc00", "\\\\", "\\u0041", "x", "\\ude00", "\\n"]), max_size=5
            ),
            st.binary(max_size=6),
            ints(-(2**63), 2**63 - 1),
            ints(-(2**31), 2**31 - 1),
        ),
        min_size=1,
        max_size=12,
    )
)
def test_what_is_not_found_unencodable_can_be_copied_and_what_is_found_cannot(
    connection: psycopg.Connection[Any],
    encoder: str,
    rows: list[tuple[str, list[str], bytes, int, int]],
) -> None:
    texts, escapes, raw, stamps, days = zip(*rows, strict=True)
    raw_text = pa.array(raw, pa.binary())
    broken = pa.Array.from_buffers(pa.string(), len(raw), raw_text.buffers())
    texts = tuple(t.encode("utf-8", "surrogatepass").decode("utf-8", "replace") for t in texts)
    arrays = [
        pa.array(texts, pa.string()),
        pa.array(['{"k": "' + "".join(e) + '"}' for e in escapes], pa.string()),
        broken,
        pa.array(stamps, pa.int64()).view(pa.timestamp("ms")),
        pa.array(days, pa.int32()).view(pa.date32()),
    ]
    types = {"a": "text", "b": "jsonb", "c": "text", "d": "timestamp", "e": "date"}
    batch = pa.RecordBatch.from_arrays(arrays, names=list(types))
    columns = [EncodeColumn(name=n, encoder=t) for n, t in types.items()]
    problems = find_unencodable(batch, columns)
    bad = {p.row for p in problems}
    good = batch.take(pa.array([r for r in range(len(rows)) if r not in bad], pa.int64()))
    ddl = f"CREATE TEMP TABLE t ({', '.join(f'{n} {t}' for n, t in types.items())})"
    connection.execute(ddl)
    try:
        assert copy(connection, "t", [good], columns) == len(rows) - len(bad)
        stored = [row[0] for row in connection.execute("SELECT a FROM t")]
        assert stored == [texts[r] for r in range(len(rows)) if r not in bad]
        connection.execute("TRUNCATE t")
        for problem in problems[:3]:
            one = [c for c in columns if c.name == problem.column]
            with pytest.raises(SynclineError) as refused, connection.transaction():
                copy(connection, "t", [batch.slice(problem.row, 1)], one)
            assert refused.value.kind is ErrorKind.DATA
    finally:
        connection.rollback()


def test_many_columns_and_rows_go_in_several_chunks(connection: psycopg.Connection[Any], encoder: str) -> None:
    rows = 30_000
    numbers = pa.array(range(rows), pa.int64())
    texts = pa.array([f"row {i} " + "é" * (i % 50) for i in range(rows)])
    batch = pa.RecordBatch.from_arrays([numbers, texts], names=["n", "t"])
    columns = [EncodeColumn(name="n", encoder="int4"), EncodeColumn(name="t", encoder="text")]
    connection.execute("CREATE TEMP TABLE t (n int4, t text)")
    try:
        assert copy(connection, "t", [batch, batch.slice(100, 0), batch.slice(29_000)], columns) == rows + 1000
        got = connection.execute("SELECT count(*), sum(n), sum(octet_length(t)) FROM t").fetchone()
        lengths = [len(t.encode()) for t in texts.to_pylist()]
        assert got == (rows + 1000, sum(range(rows)) + sum(range(29_000, rows)), sum(lengths) + sum(lengths[29_000:]))
    finally:
        connection.rollback()


def test_a_relayed_stream_is_joined_with_others(connection: psycopg.Connection[Any], encoder: str) -> None:
    connection.execute("CREATE TEMP TABLE s AS SELECT g AS n, 'row ' || g AS t FROM generate_series(1, 20000) g")
    connection.execute("CREATE TEMP TABLE t (LIKE s)")
    try:
        with connection.cursor().copy("COPY s TO STDOUT (FORMAT binary)") as out:
            raw = b"".join(bytes(chunk) for chunk in out)
        columns = [EncodeColumn(name="n", encoder="int4"), EncodeColumn(name="t", encoder="text")]
        writer = CopyWriter(connection, sql.SQL("COPY t FROM STDIN (FORMAT binary)"), columns)
        for size in (5, 7, 4096, 65_536, 100_001, len(raw)):
            for at in range(0, len(raw), size):
                writer.write_raw(memoryview(raw)[at : at + size])
            writer.end_raw()
        writer.write_raw(raw)
        writer.write(pa.RecordBatch.from_arrays([pa.array([0]), pa.array(["last"])], names=["n", "t"]))
        assert writer.finish() == 7 * 20_000 + 1
        got = connection.execute("SELECT count(*), sum(n) FROM t").fetchone()
        assert got == (140_001, 7 * 20_000 * 20_001 // 2)
    finally:
        connection.rollback()


def test_a_relayed_stream_that_ends_early_is_refused(connection: psycopg.Connection[Any]) -> None:
    connection.execute("CREATE TEMP TABLE t (n int4)")
    writer = CopyWriter(connection, sql.SQL("COPY t FROM STDIN (FORMAT binary)"), [])
    writer.write_raw(b"PGCOPY\n\xff\r\n\0" + bytes(8) + b"\0\1\0\0\0\4\0\0\0\1")
    with pytest.raises(SynclineError, match="ended early"):
        writer.finish()
    writer.abort()
    connection.rollback()


def test_nothing_written_is_an_empty_copy(connection: psycopg.Connection[Any]) -> None:
    connection.execute("CREATE TEMP TABLE t (n int4)")
    assert CopyWriter(connection, sql.SQL("COPY t FROM STDIN (FORMAT binary)"), []).finish() == 0
    connection.rollback()


def test_abort_leaves_a_usable_connection_and_no_rows(connection: psycopg.Connection[Any], encoder: str) -> None:
    connection.execute("CREATE TABLE kept (n int4)")
    connection.commit()
    columns = [EncodeColumn(name="n", encoder="int4")]
    writer = CopyWriter(connection, sql.SQL("COPY kept FROM STDIN (FORMAT binary)"), columns)
    writer.write(pa.RecordBatch.from_arrays([pa.array([1, 2], pa.int32())], names=["n"]))
    with pytest.raises(SynclineError) as refused:
        writer.write(pa.RecordBatch.from_arrays([pa.array([1, 2**40])], names=["n"]))
    assert refused.value.kind is ErrorKind.DATA
    assert refused.value.where == {"row": 1, "column": "n"}
    writer.abort()
    connection.rollback()
    assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)
    connection.execute("DROP TABLE kept")
    connection.commit()


def test_a_constraint_gives_the_servers_words_and_a_kind(connection: psycopg.Connection[Any], encoder: str) -> None:
    connection.execute("CREATE TEMP TABLE t (n int4 CONSTRAINT small CHECK (n < 1000))")
    columns = [EncodeColumn(name="n", encoder="int4")]
    batch = pa.RecordBatch.from_arrays([pa.array(range(200_000), pa.int32())], names=["n"])
    with pytest.raises(SynclineError, match="small") as refused:
        copy(connection, "t", [batch] * 5, columns)
    assert refused.value.kind is ErrorKind.DATA
    assert isinstance(refused.value.__cause__, psycopg.errors.CheckViolation)
    connection.rollback()


def test_a_copy_that_has_failed_is_not_fed_any_longer(connection: psycopg.Connection[Any], encoder: str) -> None:
    connection.execute("CREATE TEMP TABLE t (n int4 CONSTRAINT small CHECK (n < 1000))")
    columns = [EncodeColumn(name="n", encoder="int4")]
    batch = pa.RecordBatch.from_arrays([pa.array(range(200_000), pa.int32())], names=["n"])
    written = []
    writer = CopyWriter(connection, sql.SQL("COPY t FROM STDIN (FORMAT binary)"), columns)

    def write_on() -> None:
        for number in range(100):  # 200 MB
            writer.write(batch)
            written.append(number)

    with pytest.raises(SynclineError, match="small") as refused:
        write_on()
    assert refused.value.kind is ErrorKind.DATA
    assert len(written) < 100
    connection.rollback()


def test_notices_of_the_server_do_not_stop_a_copy(connection: psycopg.Connection[Any], encoder: str) -> None:
    connection.execute("CREATE TEMP TABLE t (n int4)")
    connection.execute(
        "CREATE FUNCTION pg_temp.talk() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE NOTICE 'row %', repeat('x', 500); RETURN NEW; END $$"
    )
    connection.execute("CREATE TRIGGER talk BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION pg_temp.talk()")
    columns = [EncodeColumn(name="n", encoder="int4")]
    batch = pa.RecordBatch.from_arrays([pa.array(range(30_000), pa.int32())], names=["n"])
    assert copy(connection, "t", [batch] * 2, columns) == 60_000
    connection.rollback()


def test_a_missing_table_is_a_schema_error(connection: psycopg.Connection[Any]) -> None:
    with pytest.raises(SynclineError) as refused:
        CopyWriter(connection, sql.SQL("COPY nowhere FROM STDIN (FORMAT binary)"), [])
    assert refused.value.kind is ErrorKind.SCHEMA
    connection.rollback()


def test_text_is_not_misread_on_a_connection_with_another_encoding(
    postgres_server: PostgresServer, connection: psycopg.Connection[Any], encoder: str
) -> None:
    with postgres_server.connect(connection.info.dbname, client_encoding="LATIN1") as other:
        other.execute("CREATE TEMP TABLE t (t text)")
        columns = [EncodeColumn(name="t", encoder="text")]
        copy(other, "t", [pa.RecordBatch.from_arrays([pa.array(["é€"])], names=["t"])], columns)
        assert other.execute("SELECT t FROM t").fetchone() == ("é€",)


def test_an_enum_takes_its_labels_as_text(connection: psycopg.Connection[Any], encoder: str) -> None:
    connection.execute("CREATE TYPE pg_temp.mood AS ENUM ('sad', 'happy')")
    connection.execute("CREATE TEMP TABLE t (m pg_temp.mood)")
    encoder_name = encoder_for(pa.string(), "mood", typtype="e")
    assert encoder_name == "text"
    columns = [EncodeColumn(name="m", encoder=encoder_name)]
    copy(connection, "t", [pa.RecordBatch.from_arrays([pa.array(["happy", None])], names=["m"])], columns)
    assert connection.execute("SELECT m::text FROM t").fetchall() == [("happy",), (None,)]
    connection.rollback()


def test_run_ends_and_extensions_are_written_as_their_values(connection: psycopg.Connection[Any], encoder: str) -> None:
    ids = [uuid.UUID(int=1), uuid.UUID(int=2), None]
    batch = pa.RecordBatch.from_arrays(
        [
            pa.RunEndEncodedArray.from_arrays(pa.array([2, 3], pa.int32()), pa.array(["a", None])),
            pa.array([None if i is None else i.bytes for i in ids], pa.uuid()),
            pa.array(["{}", None, "[1]"], pa.json_(pa.string())),
            pa.array([[i.bytes] if i else None for i in ids], pa.list_(pa.binary(16))),
        ],
        names=["a", "b", "c", "d"],
    )
    types = ["text", "uuid", "jsonb", "uuid[]"]
    columns = []
    for name, kind, pg in zip(batch.schema.names, batch.schema.types, types, strict=True):
        encoder_name = encoder_for(kind, pg)
        assert encoder_name is not None
        columns.append(EncodeColumn(name=name, encoder=encoder_name))
    connection.execute("CREATE TEMP TABLE t (a text, b uuid, c jsonb, d uuid[])")
    assert copy(connection, "t", [batch, batch.slice(1)], columns) == 5
    got = connection.execute("SELECT a, b, c::text, d FROM t").fetchall()
    one, two = ids[0], ids[1]
    whole = [("a", one, "{}", [one]), ("a", two, None, [two]), (None, None, "[1]", None)]
    assert got == whole + whole[1:]
    connection.rollback()


def test_a_batch_alone_is_its_tuples() -> None:
    batch = pa.RecordBatch.from_arrays([pa.array([1, None], pa.int32()), pa.array([math.pi, 0.0])], names=["a", "b"])
    columns = [EncodeColumn(name="b", encoder="float8"), EncodeColumn(name="a", encoder="int4")]
    assert encode_batch(batch, columns) == (
        struct.pack(">hidii", 2, 8, math.pi, 4, 1) + struct.pack(">hidi", 2, 8, 0.0, -1)
    )
