"""Ugly values of every type through both readers of COPY BINARY, against what the server itself prints."""

from __future__ import annotations

import json
import math
import struct
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

from syncline.connectors.postgres.copy import decode as copy_decode
from syncline.connectors.postgres.copy.decode import CellException, CopyColumn, CopyReader, RawCopyReader
from syncline.core.errors import ErrorKind, SynclineError
from syncline.testing.postgres_server import PostgresServer

quick = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def session(postgres_server: PostgresServer) -> Iterator[psycopg.Connection[Any]]:
    database = postgres_server.create_database()
    with psycopg.connect(postgres_server.dsn(database), autocommit=True) as connection:
        connection.execute("SET timezone = 'UTC'")
        yield connection
    postgres_server.drop_database(database)


@pytest.fixture(params=["native", "python"])
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Which of the two readers the test is about."""
    if request.param == "python":
        monkeypatch.setenv("SYNCLINE_NO_NATIVE", "1")
        assert not copy_decode.native_available()
    elif not copy_decode.native_available():
        pytest.skip("the extension is not built here")
    return str(request.param)


def read(
    session: psycopg.Connection[Any], query: sql.Composable | str, *columns: tuple[str, pa.DataType], **bounds: int
) -> tuple[pa.Table, list[CellException]]:
    """Everything, with the rows of the exceptions counted from the first batch on."""
    plan = [CopyColumn(name=f"c{k}", decoder=decoder, arrow=arrow) for k, (decoder, arrow) in enumerate(columns)]
    batches: list[pa.RecordBatch] = []
    exceptions: list[CellException] = []
    with CopyReader(session, query, plan, **bounds) as reading:
        for decoded in reading:
            decoded.batch.validate(full=True)
            before = sum(batch.num_rows for batch in batches)
            exceptions += [
                CellException(row=e.row + before, column=e.column, text=e.text, reason=e.reason)
                for e in decoded.exceptions
            ]
            batches.append(decoded.batch)
    schema = pa.schema([pa.field(column.name, column.arrow) for column in plan])
    return pa.Table.from_batches(batches, schema), exceptions


@dataclass(frozen=True, kw_only=True)
class Case:
    """``values``: texts that the server makes into ``pg``. ``printed``: an expression of ``v`` whose text is that of
    the Arrow value, by ``shown``. ``fits``: whether a printed value has a place in the Arrow type."""

    name: str
    decoder: str
    pg: str
    arrow: pa.DataType
    values: st.SearchStrategy[str]
    printed: str = "v::text"
    shown: Callable[[Any], str] = str
    fits: Callable[[str], bool] = lambda text: True

    def __str__(self) -> str:
        return self.name


def integers(bits: int) -> st.SearchStrategy[str]:
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1).map(str)


def float_bits(layout: str) -> Callable[[Any], str]:
    return lambda value: struct.pack(layout, value).hex() if value == value else "nan"


years = st.integers(1, 4713).map(lambda y: (y, " BC")) | st.integers(1, 294_276).map(lambda y: (y, ""))
days = st.tuples(years, st.integers(1, 12), st.integers(1, 28)).filter(lambda d: d[0] != (4713, " BC"))
clocks = st.tuples(st.integers(0, 23), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999_999)).map(
    lambda t: f"{t[0]:02d}:{t[1]:02d}:{t[2]:02d}.{t[3]:06d}"
)
dates = st.builds(lambda d: f"{d[0][0]:04d}-{d[1]:02d}-{d[2]:02d}{d[0][1]}", days) | st.sampled_from(
    [
        "4713-11-24 BC",
        "0001-01-01 BC",
        "0001-01-01",
        "1969-12-31",
        "2000-02-29",
        "5874897-12-31",
        "-infinity",
        "infinity",
    ]
)
timestamps = st.builds(
    lambda d, t: f"{d[0][0]:04d}-{d[1]:02d}-{d[2]:02d} {t}{d[0][1]}", days, clocks
) | st.sampled_from(
    ["infinity", "-infinity", "294276-12-31 23:59:59.999999", "294247-01-10 04:00:54.775807", "1970-01-01",
     "294247-01-10 04:00:54.775808", "4713-11-24 00:00:00 BC", "1969-12-31 23:59:59.999999", "epoch"]
)  # fmt: skip
digits = st.text("0123456789", min_size=1, max_size=40)
plain_numbers = st.builds(
    lambda sign, whole, fraction: f"{sign}{whole}.{fraction}" if fraction else f"{sign}{whole}",
    st.sampled_from(["", "-"]),
    digits,
    st.text("0123456789", max_size=30),
)
numbers = plain_numbers | st.sampled_from(
    ["NaN", "Infinity", "-Infinity", "0", "-0", "0.00", "1e30", "1e-30", "0.0001", "10000", "9999.9999", "1e400",
     "-1e-400", "1e131071", "9" * 38, "0.1000", "1.50", "12345678901234567890.123456789"]
)  # fmt: skip
small_numbers = st.builds(
    lambda n, e: str(Decimal(n).scaleb(-e)), st.integers(-(10**17), 10**17), st.integers(0, 6)
) | (numbers)
floats = st.floats(width=64).map(repr) | st.sampled_from(
    ["1e23", "5.684341886080801e-14", "9007199254740993", "-0", "NaN"]
)
words = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=40) | st.sampled_from(
    ["", "NULL", "null", '"', "\\", "{}", ",", " ", "a\tb\nc\vd\fe\rf", "é𝄞", "x" * 300]
)
documents = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.text('ab"\\é\n', max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=3),
    max_leaves=5,
).map(json.dumps)
uuids = st.uuids().map(str) | st.sampled_from(["0" * 32, "F" * 32])


def decimal_fits(precision: int, scale: int) -> Callable[[str], bool]:
    def fits(text: str) -> bool:
        """``text`` has no zeros to spare: see ``printed``."""
        if not text.lstrip("-")[:1].isdigit():
            return False
        whole, _, fraction = text.lstrip("-").partition(".")
        if scale < 0:
            kept, rest = whole[:scale], whole[scale:] + fraction
        else:
            kept, rest = whole + fraction[:scale].ljust(scale, "0"), fraction[scale:]
        return not rest.strip("0") and len(kept.lstrip("0")) <= precision

    return fits


def decimal_text(value: Decimal) -> str:
    text = format(value, "f")
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in {"-0", ""} else text


def decimal(name: str, arrow: pa.DataType, values: st.SearchStrategy[str]) -> Case:
    return Case(
        name=name, decoder="numeric", pg="numeric", arrow=arrow, values=values, shown=decimal_text,
        fits=decimal_fits(arrow.precision, arrow.scale), printed="trim_scale(v)::text",
    )  # fmt: skip


#: Microseconds; extract(epoch) of the whole rounds at the end of the calendar.
SINCE_1970 = """CASE WHEN isfinite(v) THEN ((v::date - date '1970-01-01')::numeric * 86400000000
    + extract(epoch FROM v::time) * 1000000)::numeric(40)::text ELSE v::text END"""


def in_64_bits(text: str) -> bool:
    return "inf" not in text and int(text) < 2**63


CASES = [
    Case(name="bool", decoder="bool", pg="bool", arrow=pa.bool_(), values=st.sampled_from(["t", "f"]),
         shown=lambda value: str(value).lower()),
    Case(name="int2", decoder="int2", pg="int2", arrow=pa.int16(), values=integers(16)),
    Case(name="int4", decoder="int4", pg="int4", arrow=pa.int32(), values=integers(32)),
    Case(name="int8", decoder="int8", pg="int8", arrow=pa.int64(), values=integers(64)),
    Case(name="oid", decoder="oid", pg="oid", arrow=pa.uint32(), values=st.integers(0, 2**32 - 1).map(str)),
    Case(name="oid as int8", decoder="oid", pg="oid", arrow=pa.int64(), values=st.integers(0, 2**32 - 1).map(str)),
    Case(name="float4", decoder="float4", pg="float4", arrow=pa.float32(), values=st.floats(width=32).map(repr),
         printed="CASE WHEN v = 'NaN' THEN 'nan' ELSE encode(float4send(v), 'hex') END", shown=float_bits(">f")),
    Case(name="float8", decoder="float8", pg="float8", arrow=pa.float64(), values=floats,
         printed="CASE WHEN v = 'NaN' THEN 'nan' ELSE encode(float8send(v), 'hex') END", shown=float_bits(">d")),
    decimal("decimal(15,2)", pa.decimal128(15, 2), small_numbers),
    decimal("decimal(38,9)", pa.decimal128(38, 9), small_numbers),
    decimal("decimal(18,18)", pa.decimal128(18, 18), small_numbers),
    decimal("decimal(4,0)", pa.decimal128(4, 0), small_numbers),
    decimal("decimal(5,-3)", pa.decimal128(5, -3), small_numbers),
    decimal("decimal(76,20)", pa.decimal256(76, 20), numbers),
    decimal("decimal(10,4) wide", pa.decimal256(10, 4), small_numbers),
    Case(name="numeric", decoder="numeric_text", pg="numeric", arrow=pa.string(), values=numbers),
    Case(name="numeric by its type", decoder="numeric", pg="numeric", arrow=pa.string(), values=small_numbers),
    Case(name="text", decoder="text", pg="text", arrow=pa.string(), values=words),
    Case(name="bpchar", decoder="text", pg="char(400)", arrow=pa.string(), values=words, printed="rpad(v, 400)"),
    Case(name="json", decoder="json", pg="json", arrow=pa.string(), values=documents),
    Case(name="jsonb", decoder="jsonb", pg="jsonb", arrow=pa.string(), values=documents),
    Case(name="bytea", decoder="bytea", pg="bytea", arrow=pa.binary(),
         values=st.binary(max_size=40).map(lambda data: "\\x" + data.hex()),
         printed="encode(v, 'hex')", shown=lambda value: value.hex()),
    Case(name="date", decoder="date", pg="date", arrow=pa.date32(), values=dates, fits=in_64_bits,
         printed="CASE WHEN isfinite(v) THEN (v - date '1970-01-01')::text ELSE v::text END"),
    Case(name="time", decoder="time", pg="time", arrow=pa.time64("us"),
         values=clocks | st.sampled_from(["00:00", "24:00:00"]),
         printed="(extract(epoch FROM v) * 1000000)::numeric(40)::text", fits=lambda text: text != "86400000000"),
    Case(name="timestamp", decoder="timestamp", pg="timestamp", arrow=pa.timestamp("us"), values=timestamps,
         printed=SINCE_1970, fits=in_64_bits),
    Case(name="timestamptz", decoder="timestamptz", pg="timestamptz", arrow=pa.timestamp("us", tz="UTC"),
         values=timestamps, printed=SINCE_1970, fits=in_64_bits),
    Case(name="uuid", decoder="uuid", pg="uuid", arrow=pa.string(), values=uuids),
]  # fmt: skip


def raw_values(array: pa.ChunkedArray | pa.Array) -> list[Any]:
    """Python values; dates and times as the integers that Arrow holds, for Python's own types end at the year 9999."""
    if pa.types.is_date32(array.type):
        array = array.cast(pa.int32())
    elif pa.types.is_temporal(array.type):
        array = array.cast(pa.int64())
    return list(array.to_pylist())


def source(case: Case, values: list[str | None]) -> sql.Composed:
    return sql.SQL("SELECT x::{pg} AS v FROM unnest({values}::text[]) WITH ORDINALITY AS u (x, n) ORDER BY n").format(
        pg=sql.SQL(case.pg), values=sql.Literal(values)
    )


@pytest.mark.parametrize("case", CASES, ids=str)
@quick
@given(data=st.data())
def test_a_value_arrives_as_the_server_prints_it(session, reader, case, data) -> None:
    values = data.draw(st.lists(st.none() | case.values, max_size=30))
    query = source(case, values)
    table, exceptions = read(session, query, (case.decoder, case.arrow))
    expected = session.execute(
        sql.SQL("SELECT {printed}, v::text FROM ({query}) AS q").format(printed=sql.SQL(case.printed), query=query)
    ).fetchall()
    lost = {exception.row: exception.text for exception in exceptions}
    assert table.num_rows == len(values)
    for row, (value, (printed, text)) in enumerate(zip(raw_values(table.column(0)), expected, strict=True)):
        if printed is None:
            assert value is None
            assert row not in lost
        elif case.fits(printed):
            assert row not in lost
            assert case.shown(value) == printed
        else:
            assert value is None
            assert lost[row] == text
    assert len(lost) == len(exceptions)


@pytest.mark.parametrize("case", [case for case in CASES if case.name != "bpchar"], ids=str)
@quick
@given(data=st.data())
def test_an_array_that_no_list_can_hold_is_kept_as_the_server_prints_it(session, reader, case, data) -> None:
    values = data.draw(st.lists(st.none() | case.values, min_size=1, max_size=6))
    first = data.draw(st.sampled_from([0, -3, 2, 10]))
    query = sql.SQL("SELECT ({bounds} || array_agg(v)::text)::{pg}[] AS v FROM ({source}) AS q").format(
        bounds=sql.Literal(f"[{first}:{first + len(values) - 1}]="), pg=sql.SQL(case.pg), source=source(case, values)
    )
    table, exceptions = read(session, query, (case.decoder, pa.list_(case.arrow)))
    assert table.column(0).to_pylist() == [None]
    [(text,)] = session.execute(sql.SQL("SELECT v::text FROM ({query}) AS q").format(query=query)).fetchall()
    assert [(e.row, e.column, e.text) for e in exceptions] == [(0, 0, text)]
    assert exceptions[0].reason == "an array with a lower bound other than 1"


@pytest.mark.parametrize("case", [case for case in CASES if case.name != "bpchar"], ids=str)
@quick
@given(data=st.data())
def test_arrays_keep_their_items_and_nulls(session, reader, case, data) -> None:
    rows = data.draw(st.lists(st.none() | st.lists(st.none() | case.values, max_size=5), max_size=8))
    literal = sql.SQL(", ").join(
        sql.SQL("({row}, {items}::text[]::{pg}[])").format(row=row, items=sql.Literal(items), pg=sql.SQL(case.pg))
        for row, items in enumerate([[], *rows])
    )
    query = sql.SQL("SELECT v FROM (VALUES {rows}) AS u (n, v) ORDER BY n").format(rows=literal)
    table, exceptions = read(session, query, (case.decoder, pa.list_(case.arrow)))
    printed = session.execute(
        sql.SQL("SELECT (SELECT array_agg({printed} ORDER BY n) FROM unnest(a) WITH ORDINALITY AS u (v, n)), "
                "a IS NULL, a::text FROM ({query}) AS q (a)").format(printed=sql.SQL(case.printed), query=query)
    ).fetchall()  # fmt: skip
    lost = {exception.row: exception.text for exception in exceptions}
    lists = table.column(0).combine_chunks()
    for row, (items, is_null, text) in enumerate(printed):
        item_texts = items or []
        if is_null:
            assert not lists[row].is_valid
            assert row not in lost
        elif all(item is None or case.fits(item) for item in item_texts):
            assert lists[row].is_valid
            values = raw_values(lists[row].values)
            assert [None if v is None else case.shown(v) for v in values] == item_texts
            assert row not in lost
        else:
            assert not lists[row].is_valid
            assert lost[row] == text
    assert len(lost) == len(exceptions)


@quick
@given(
    rows=st.lists(
        st.none() | st.sampled_from(["empty", "flat"]) | st.tuples(*[st.integers(1, 3)] * 3),
        max_size=6,
    ),
    data=st.data(),
)
def test_arrays_of_arrays_keep_their_shape(session, reader, rows, data) -> None:
    def cube(shape: Any) -> Any:
        if shape is None or shape == "empty":
            return None if shape is None else []
        if shape == "flat":
            return ["1", "2"]
        a, b, c = shape
        item = st.none() | words
        return [[[data.draw(item) for _ in range(c)] for _ in range(b)] for _ in range(a)]

    cubes = [cube(shape) for shape in rows]
    literal = sql.SQL(", ").join(
        sql.SQL("({n}, {items}::text[])").format(n=n, items=sql.Literal(items)) for n, items in enumerate([[], *cubes])
    )
    query = sql.SQL("SELECT v FROM (VALUES {rows}) AS u (n, v) ORDER BY n").format(rows=literal)
    table, exceptions = read(session, query, ("text", pa.list_(pa.list_(pa.list_(pa.string())))))
    flat = [n + 1 for n, shape in enumerate(rows) if shape == "flat"]
    assert table.column(0).to_pylist() == [
        [],
        *[None if shape == "flat" else c for shape, c in zip(rows, cubes, strict=True)],
    ]
    assert [(e.row, e.text, e.reason) for e in exceptions] == [
        (n, "{1,2}", "an array of another number of dimensions") for n in flat
    ]


def test_many_columns_in_many_batches_are_the_same_rows(session, reader) -> None:
    query = """SELECT g, CASE WHEN g % 3 > 0 THEN 'word ' || g END, CASE WHEN g % 5 > 0 THEN ARRAY[g, NULL, -g] END,
        g / 7.0, CASE WHEN g % 1000 = 0 THEN 'infinity' ELSE timestamptz 'epoch' + g * interval '1 s' END,
        g % 2 = 0, ARRAY[[g::text, 'a'], [NULL, repeat('b', g % 9)]], md5(g::text)::uuid
        FROM generate_series(1, 20000) AS g"""
    columns = (
        ("int4", pa.int32()), ("text", pa.string()), ("int4", pa.list_(pa.int32())), ("numeric", pa.string()),
        ("timestamptz", pa.timestamp("us", tz="UTC")), ("bool", pa.bool_()), ("text", pa.list_(pa.list_(pa.string()))),
        ("uuid", pa.string()),
    )  # fmt: skip
    whole, exceptions = read(session, query, *columns)
    small, same_exceptions = read(session, query, *columns, batch_bytes=10_000)
    single, _ = read(session, query, *columns, batch_rows=777)
    assert whole.num_rows == 20_000
    assert small.equals(whole)
    assert single.equals(whole)
    assert [e.row for e in exceptions] == [k - 1 for k in range(1000, 20_001, 1000)]
    assert {e.text for e in exceptions} == {"infinity"}
    assert same_exceptions == exceptions
    assert small.column(0).num_chunks > 100
    assert [len(chunk) for chunk in single.column(0).chunks] == [777] * 25 + [575]
    rows = session.execute(query).fetchmany(100)
    for row, (number, word, numbers_, quotient, _, even, texts, uid) in enumerate(rows):
        got = [column[row].as_py() for column in whole.drop_columns(["c4"]).columns]
        assert got == [number, word, numbers_, str(quotient), even, texts, str(uid)]


def test_an_empty_text_comes_first(session, reader) -> None:
    """There is no buffer yet, and more than enough of the row behind it for a copy of a fixed size."""
    query = "SELECT '', '\\x'::bytea, ARRAY[''], repeat('x', 100)"
    columns = (("text", pa.string()), ("bytea", pa.binary()), ("text", pa.list_(pa.string())), ("text", pa.string()))
    table, _ = read(session, query, *columns)
    assert table.to_pylist() == [{"c0": "", "c1": b"", "c2": [""], "c3": "x" * 100}]


def test_no_rows_and_no_columns(session, reader) -> None:
    assert read(session, "SELECT 1 WHERE false", ("int4", pa.int32()))[0].num_rows == 0
    with CopyReader(session, "SELECT FROM generate_series(1, 5)", []) as reading:
        assert [decoded.batch.num_rows for decoded in reading] == [5]
        assert reading.rows == 5


def test_a_value_of_many_megabytes(session, reader) -> None:
    table, _ = read(
        session, "SELECT repeat('é', 20000000), 1 UNION ALL SELECT 'x', 2", ("text", pa.string()), ("int4", pa.int32())
    )
    assert [len(value) for value in table.column(0).to_pylist()] == [20_000_000, 1]
    assert table.column(1).to_pylist() == [1, 2]


def test_text_that_grows_when_written_out_keeps_batches_small(session, reader) -> None:
    with CopyReader(
        session,
        "SELECT 1e100000::numeric FROM generate_series(1, 60)",
        [CopyColumn(name="n", decoder="numeric", arrow=pa.string())],
        batch_bytes=1 << 20,
    ) as reading:
        sizes = [decoded.batch.nbytes for decoded in reading]
    assert reading.rows == 60
    assert max(sizes) < 1_300_000


def test_the_raw_stream_is_what_psycopg_gets(session, reader) -> None:
    query = "SELECT g, repeat('x', g % 1000), NULL::int FROM generate_series(1, 5000) AS g"
    with session.cursor().copy(f"COPY ({query}) TO STDOUT (FORMAT binary)") as copy:
        expected = b"".join(copy)
    with RawCopyReader(session, query) as relay:
        chunks = [bytes(chunk) for chunk in relay]
    assert b"".join(chunks) == expected
    assert relay.rows == 5000
    assert len(chunks) == math.ceil(len(expected) / (1 << 20))
    with RawCopyReader(session, query, chunk_bytes=100) as relay:
        chunks = [bytes(chunk) for chunk in relay]
    assert b"".join(chunks) == expected
    assert relay.rows == 5000
    for empty in ("SELECT 1 WHERE false", "SELECT -1::int2 WHERE false"):
        with RawCopyReader(session, empty) as relay:
            assert len(b"".join(relay)) == 21
        assert relay.rows == 0
    with RawCopyReader(session, "SELECT -1::int2") as relay:  # a row whose last bytes look like the trailer
        assert b"".join(relay).endswith(b"\xff\xff\xff\xff")
    assert relay.rows == 1


def test_bytes_of_a_database_without_encoding(postgres_server: PostgresServer, reader) -> None:
    with psycopg.connect(postgres_server.dsn("postgres"), autocommit=True) as admin:
        admin.execute("DROP DATABASE IF EXISTS ascii")
        admin.execute("CREATE DATABASE ascii ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    with psycopg.connect(postgres_server.dsn("ascii"), autocommit=True) as session:
        session.execute(
            "CREATE TABLE t AS SELECT 'fine' AS v UNION ALL SELECT convert_from('\\x636166e9', 'SQL_ASCII')"
        )
        columns = (("text", pa.string()), ("text", pa.list_(pa.string())))
        table, exceptions = read(session, "SELECT v, ARRAY[v] FROM t", *columns)
        assert table.to_pylist() == [{"c0": "fine", "c1": ["fine"]}, {"c0": None, "c1": None}]
        assert [(e.text, e.reason) for e in exceptions] == [("caf\\xe9", "not UTF-8"), ('{"caf\\\\xe9"}', "not UTF-8")]
        session.execute("SET client_encoding = 'UTF8'")
        with pytest.raises(psycopg.errors.CharacterNotInRepertoire):
            read(session, "SELECT v, ARRAY[v] FROM t", *columns)
        session.execute("SET client_encoding = 'LATIN1'")
        with pytest.raises(SynclineError, match="client_encoding is LATIN1") as refused:
            read(session, "SELECT v, ARRAY[v] FROM t", *columns)
        assert refused.value.kind is ErrorKind.INTERNAL


def test_a_pair_that_there_is_not_is_refused(session, reader) -> None:
    for decoder, arrow in [
        ("int4", pa.int64()),
        ("nonsense", pa.string()),
        ("numeric", pa.float64()),
        ("text", pa.large_string()),
    ]:
        with pytest.raises(SynclineError, match="no reader for"):
            CopyReader(session, "SELECT 1", [CopyColumn(name="a", decoder=decoder, arrow=arrow)])
