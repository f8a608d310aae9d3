"""Ugly names and values: kept exactly, or put aside with their text."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import replace
from decimal import Decimal
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from tests.integration.postgres_destination.harness import ORDERS, Run, batch, destination, orders, target

from syncline.core.batch import Misfit
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.schema import Field
from syncline.core.stream import WriteMode

ALL_MODES: list[dict[str, Any]] = [
    {"write": WriteMode.REPLACE},
    {"write": WriteMode.APPEND},
    {"write": WriteMode.MERGE, "primary_key": ("id",)},
]

NAIVE = dt.datetime(2026, 1, 1, tzinfo=dt.UTC).replace(tzinfo=None)
#: Columns of these types cannot be sent in binary form.
NEED_A_CAST = ("interval", "interval[]", "jsonb", "xml")


def column_type(db, table, column):
    query = "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = %s::regclass AND attname = %s"
    return db.execute(query, [table, column]).fetchone()[0]


def reads_xml(db):
    try:
        db.execute("SELECT '<a/>'::xml")
    except psycopg.errors.FeatureNotSupported:
        return False
    return True


def rows(db, query):
    return db.execute(query).fetchall()


NAMES = ['we"ird', "100%", "ümläut 🐘", "a.b", "select", "x" * 63, "Tab\tle\n", "%s{}", "'; --"]


@pytest.mark.parametrize("mode", ALL_MODES)
def test_names(dsn, db, mode):
    for name in NAMES:
        fields = (Field(name="id", type=pa.int64()), Field(name=name, type=pa.string()))
        for number in (1, 2):
            data = batch(fields, {"id": [number], name: ["v"]})
            aim = target(fields=fields, stream=name, namespace=name, generation=number, sync_id=f"s{number}", **mode)
            with destination(dsn, connection=name, schema='sch"%ema', namespace="destination") as made:
                Run(made, aim, {name: [data]}, f"plan{number}").all()
        quoted = '"' + name.replace('"', '""') + '"'
        found = rows(db, f'SELECT id, {quoted} FROM "sch""%ema".{quoted} ORDER BY id'.encode())
        assert found == ([(2, "v")] if mode["write"] is WriteMode.REPLACE else [(1, "v"), (2, "v")])


@pytest.mark.parametrize(
    ("stream", "fields", "words"),
    [
        ("é" * 32, ORDERS, "64 bytes"),
        ("_syncline_x", ORDERS, "kept for our own"),
        ("", ORDERS, "is empty"),
        ("orders", (Field(name="c" * 64, type=pa.string()),), "64 bytes"),
        ("orders", (Field(name="ctid", type=pa.string()),), "system columns"),
        ("orders", (Field(name="", type=pa.string()),), "empty name"),
    ],
)
def test_names_that_cannot_be_are_refused_before_any_data(dsn, db, stream, fields, words):
    aim = target(stream=stream, fields=fields)
    with destination(dsn) as made:
        assert any(words in f.message for f in made.check([aim]))
        with pytest.raises(SynclineError) as caught:
            Run(made, aim, {}).all()
    assert caught.value.kind in (ErrorKind.CONFIG, ErrorKind.SCHEMA)
    assert words in caught.value.message


#: Arrow type, logical type, column type, values, and their text in Postgres.
TYPES: tuple[tuple[pa.DataType, str | None, str, list[Any], list[str | None]], ...] = (
    (pa.bool_(), None, "boolean", [True, None], ["true", None]),
    (pa.int8(), None, "smallint", [-128, 127], ["-128", "127"]),
    (pa.uint32(), None, "bigint", [2**32 - 1], ["4294967295"]),
    (pa.uint64(), None, "numeric(20,0)", [2**64 - 1], ["18446744073709551615"]),
    (pa.float32(), None, "real", [0.1, math.inf, math.nan], ["0.1", "Infinity", "NaN"]),
    (pa.float64(), None, "double precision", [5e-324, -0.0], ["5e-324", "-0"]),
    (pa.decimal128(38, 9), None, "numeric(38,9)", [Decimal("-" + "9" * 29 + ".1")], ["-" + "9" * 29 + ".100000000"]),
    (pa.decimal256(76, 0), None, "numeric(76,0)", [Decimal("9" * 76)], ["9" * 76]),
    (pa.string(), None, "text", ["", "NULL", "\\N", "a\nb\t\"'", "🐘"], ["", "NULL", "\\N", "a\nb\t\"'", "🐘"]),
    (pa.string(), "numeric", "numeric", ["NaN", "-Infinity", "1e3", "0.10"], ["NaN", "-Infinity", "1000", "0.10"]),
    (pa.string(), "uuid", "uuid", ["00000000-0000-0000-0000-00000000000a"], ["00000000-0000-0000-0000-00000000000a"]),
    (pa.string(), "json", "jsonb", ['{"a":[1,null,1.50]}', '"x"'], ['{"a": [1, null, 1.50]}', '"x"']),
    (pa.string(), "interval", "interval", ["1 year -3 days 00:00:06.789"], ["1 year -3 days +00:00:06.789"]),
    (pa.string(), "xml", "xml", ["<a>ü</a>"], ["<a>ü</a>"]),
    (pa.binary(), None, "bytea", [b"", b"\x00\xff"], ["\\x", "\\x00ff"]),
    (pa.date32(), None, "date", [dt.date(1, 1, 1), dt.date(9999, 12, 31)], ["0001-01-01", "9999-12-31"]),
    (pa.time64("us"), None, "time without time zone", [dt.time(23, 59, 59, 999999)], ["23:59:59.999999"]),
    (pa.timestamp("us"), None, "timestamp without time zone", [NAIVE.replace(year=1)], ["0001-01-01 00:00:00"]),
    (
        pa.timestamp("s", tz="Europe/Berlin"),
        None,
        "timestamp with time zone",
        [NAIVE.replace(tzinfo=dt.UTC)],
        ["2026-01-01 00:00:00+00"],
    ),
    (pa.duration("ms"), None, "interval", [dt.timedelta(days=-1, milliseconds=1)], ["-23:59:59.999"]),
    (
        pa.month_day_nano_interval(),
        None,
        "interval",
        [pa.MonthDayNano([13, -1, 5000])],
        ["1 year 1 mon -1 days +00:00:00.000005"],
    ),
    (pa.list_(pa.int32()), None, "integer[]", [[1, None], [], None], ["{1,NULL}", "{}", None]),
    (pa.list_(pa.string()), None, "text[]", [["a,b", 'q"', "NULL", None, ""]], ['{"a,b","q\\"","NULL",NULL,""}']),
    (pa.list_(pa.duration("us")), None, "interval[]", [[dt.timedelta(1), None], None], ["{24:00:00,NULL}", None]),
    (pa.list_(pa.list_(pa.int32())), None, "jsonb", [[[1], [2, 3]]], ["[[1], [2, 3]]"]),
    (pa.struct([("a", pa.binary())]), None, "jsonb", [{"a": b"x"}], ['{"a": "eA=="}']),
    (pa.map_(pa.string(), pa.int64()), None, "jsonb", [[("k", 1)]], ['[["k", 1]]']),
    (pa.dictionary(pa.int32(), pa.string()), None, "text", ["x", "y", "x"], ["x", "y", "x"]),
    (pa.large_string(), None, "text", ["x"], ["x"]),
    (pa.null(), None, "text", [None], [None]),
)


@pytest.mark.parametrize("mode", ["append", "replace"])
def test_arrow_types(dsn, db, mode):
    """All types in one table, once with and once without columns that the server must cast."""
    for stream, known in (("easy", [t for t in TYPES if t[2] not in NEED_A_CAST]), ("mixed", TYPES)):
        longest = max(len(values) for *_, values, _ in known)
        fields = [Field(name="id", type=pa.int64())]
        fields += [Field(name=f"v{i}", type=kind, logical=logical) for i, (kind, logical, *_) in enumerate(known)]
        columns = {f"v{i}": values + [None] * (longest - len(values)) for i, (*_, values, _) in enumerate(known)}
        data = batch(fields, {"id": list(range(longest)), **columns})
        with destination(dsn) as made:
            laid = Run(made, target(stream=stream, fields=fields, write=WriteMode(mode)), {"a": [data]}).all()
        assert laid[0].quarantined == 0
        for i, (_, logical, column, _, texts) in enumerate(known):
            wanted = "text" if logical == "xml" and not reads_xml(db) else column
            assert column_type(db, stream, f"v{i}") == wanted
            found = [r[0] for r in rows(db, f"SELECT v{i}::text FROM {stream} ORDER BY id")]
            assert found == texts + [None] * (longest - len(texts))


def test_rows_that_cannot_be_held_go_aside_and_the_rest_comes_in(dsn, db):
    fields = (
        Field(name="id", type=pa.int64()),
        Field(name="t", type=pa.string()),
        Field(name="j", type=pa.string(), logical="json"),
        Field(name="ns", type=pa.timestamp("ns")),
        Field(name="d", type=pa.duration("ns")),
        Field(name="x", type=pa.string(), logical="interval"),
    )
    good = {"t": "ok", "j": '{"a":1}', "ns": 1_000, "d": 2_000, "x": "1 day"}
    bad = [
        {**good, "t": "nul\0"},
        {**good, "j": '{"a":'},
        {**good, "j": '"\\u0000"'},
        {**good, "ns": 1},
        {**good, "d": 1},
        {**good, "x": "not an interval"},
    ]
    every = [good, bad[0], bad[1], good, bad[2], bad[3], good, bad[4], bad[5], good]
    columns = {name: [row[name] for row in every] for name in good}
    for mode in ALL_MODES:
        stream = f"orders_{mode['write'].value}"
        data = batch(fields, {"id": list(range(10)), **columns})
        with destination(dsn) as made:
            laid = Run(made, target(fields=fields, stream=stream, **mode), {"a": [data]}).all()
        assert (laid[0].rows, laid[0].quarantined) == (4, 6)
        assert rows(
            db, f"SELECT id, t, j ->> 'a', extract(microseconds FROM ns), d::text, x::text FROM {stream} ORDER BY id"
        ) == [(i, "ok", "1", Decimal(1), "00:00:00.000002", "1 day") for i in (0, 3, 6, 9)]
        aside = rows(
            db,
            f"SELECT record ->> 'id', column_name FROM _syncline_quarantine WHERE stream_name = '{stream}' ORDER BY 1",
        )
        assert [a[0] for a in aside] == ["1", "2", "4", "5", "7", "8"]
        assert [a[1] for a in aside][:5] == ["t", "j", "j", "ns", "d"]
    assert rows(db, "SELECT DISTINCT record ->> 'x' FROM _syncline_quarantine WHERE record ->> 'id' = '8'") == [
        ("not an interval",)
    ]


MISFITS = (
    Misfit(row=1, column="amount", text="NaN", reason="NaN"),
    Misfit(row=2, column="changed", text="infinity", reason="infinite"),
    Misfit(row=2, column="amount", text="NaN", reason="NaN"),
    Misfit(row=3, column="changed", text="garbage", reason="odd"),
)


@pytest.mark.parametrize("mode", ALL_MODES)
def test_misfits_of_a_postgres_source_are_written_from_their_text(dsn, db, mode):
    data = orders((0, "plain", "1"), (1, "nan"), (2, "inf"), (3, "bad"), (4, "nul\0"), (5, "plain"))
    data = replace(data, misfits=(*MISFITS, Misfit(row=4, column="amount", text="NaN", reason="NaN")))
    with destination(dsn) as made:
        laid = Run(made, target(dialect="postgres", **mode), {"a": [data]}).all()
    assert (laid[0].rows, laid[0].quarantined) == (4, 2)
    assert rows(db, "SELECT id, amount::text, changed::text FROM orders ORDER BY id") == [
        (0, "1.00", None),
        (1, "NaN", None),
        (2, "NaN", "infinity"),
        (5, None, None),
    ]
    assert rows(
        db,
        "SELECT record ->> 'id', column_name, record ->> 'changed', record ->> 'amount' "
        "FROM _syncline_quarantine ORDER BY 1",
    ) == [
        ("3", "changed", "garbage", None),
        ("4", "name", None, "NaN"),
    ]


def test_misfits_of_other_sources_go_aside(dsn, db):
    data = replace(orders((0, "plain"), (1, "nan")), misfits=(MISFITS[0],))
    with destination(dsn) as made:
        laid = Run(made, target(), {"a": [data]}).all()
    assert (laid[0].rows, laid[0].quarantined) == (1, 1)
    assert rows(db, "SELECT column_name, reason, record ->> 'amount' FROM _syncline_quarantine") == [
        ("amount", "NaN", "NaN")
    ]


NATIVE = [
    ("numeric(15,2)", pa.decimal128(15, 2), None, Decimal("1.50"), "numeric(15,2)", "1.50"),
    ("character varying(20)", pa.string(), None, "x", "character varying(20)", "x"),
    ("character(3)", pa.string(), None, "x  ", "character(3)", None),
    ('"char"', pa.string(), "text", "q", '"char"', "q"),
    ("json", pa.string(), "json", '{"a":1, "a":2}', "json", '{"a":1, "a":2}'),
    ("interval(3)", pa.string(), "interval", "1 mon", "interval(3)", "1 mon"),
    ("interval day to second(3)", pa.string(), "interval", "1 day", "interval day to second(3)", "1 day"),
    (
        "timestamp(3) without time zone",
        pa.timestamp("us"),
        None,
        NAIVE,
        "timestamp(3) without time zone",
        None,
    ),
    ("time with time zone", pa.string(), "text", "10:00:00+02", "time with time zone", "10:00:00+02"),
    ("inet", pa.string(), "text", "10.0.0.0/8", "inet", "10.0.0.0/8"),
    ("bit(3)", pa.string(), "text", "101", "bit(3)", "101"),
    ("bit varying(5)", pa.string(), "text", "1", "bit varying(5)", "1"),
    ("int4range", pa.string(), "text", "[1,5)", "int4range", "[1,5)"),
    ("point", pa.string(), "text", "(1,2)", "point", "(1,2)"),
    ("tsvector", pa.string(), "text", "'a' 'b'", "tsvector", "'a' 'b'"),
    ("pg_lsn", pa.string(), "text", "0/16B3748", "pg_lsn", "0/16B3748"),
    ("oid", pa.int64(), None, 2**32 - 1, "oid", "4294967295"),
    ("name", pa.string(), None, "n", "name", "n"),
    ("money", pa.string(), "numeric", "12.34", "numeric", "12.34"),
    ("regclass", pa.string(), "text", "pg_class", "text", "pg_class"),
    ("integer[]", pa.list_(pa.int32()), None, [1, 2], "integer[]", "{1,2}"),
    ("integer[]", pa.list_(pa.list_(pa.int32())), None, [[1, 2], [3, 4]], "integer[]", "{{1,2},{3,4}}"),
    ("interval[]", pa.list_(pa.string()), "interval", ["1 day"], "interval[]", '{"1 day"}'),
    ("mood", pa.string(), "enum", "so so", "mood", "so so"),
    ("mood[]", pa.list_(pa.string()), "enum", ["so so", None], "mood[]", '{"so so",NULL}'),
    ('elsewhere."My Type"', pa.string(), "text", "(1,b)", 'elsewhere."My Type"', "(1,b)"),
    ("posint", pa.int32(), None, 5, "posint", "5"),
    ("nowhere.mood", pa.string(), "enum", "x", "text", "x"),
    ("missing_domain", pa.int32(), None, 5, "integer", "5"),
    ("hstore", pa.string(), "text", '"a"=>"1"', "text", '"a"=>"1"'),
    ("text); DROP TABLE x; --", pa.string(), "text", "x", "text", "x"),
    ("vector(3)", pa.string(), "text", "[1,2,3]", "text", "[1,2,3]"),
]


def test_native_types(dsn, db):
    db.execute("CREATE TYPE mood AS ENUM ('so so', 'good')")
    db.execute("CREATE SCHEMA elsewhere")
    db.execute('CREATE TYPE elsewhere."My Type" AS (a int, b text)')
    db.execute("CREATE DOMAIN posint AS int CHECK (VALUE > 0)")
    fields = [
        Field(name=f"v{i}", type=kind, native=native, logical=logical)
        for i, (native, kind, logical, *_) in enumerate(NATIVE)
    ]
    data = batch(fields, {f"v{i}": [value, None] for i, (_, _, _, value, *_) in enumerate(NATIVE)})
    with destination(dsn, schema="target") as made:
        aim = target(fields=fields, dialect="postgres")
        laid = Run(made, aim, {"a": [data]}).all()
        found = made.check([aim])
        # The same again finds everything as it should be, and the rows go in as well.
        Run(made, replace(aim, generation=2), {"a": [data]}, "plan2").all()
    assert laid[0].quarantined == 0
    for i, (_, _, _, _, column, shown) in enumerate(NATIVE):
        assert column_type(db, "target.orders", f"v{i}") == column
        texts = rows(db, f"SELECT v{i}::text FROM target.orders WHERE v{i} IS NOT NULL")
        assert texts == [(shown,)] or shown is None
    assert all(f.severity.value != "error" for f in found)


def test_cast_columns_beside_enums_and_domains(dsn, db):
    """One column that the server must cast sends the whole row through the scratch table."""
    db.execute("CREATE TYPE mood AS ENUM ('good')")
    db.execute("CREATE DOMAIN posint AS int CHECK (VALUE > 0)")
    fields = (
        Field(name="m", type=pa.string(), native="mood", logical="enum"),
        Field(name="p", type=pa.int32(), native="posint"),
        Field(name="c", type=pa.string(), native="character(3)"),
        Field(name="i", type=pa.string(), native="interval", logical="interval"),
    )
    data = batch(fields, {"m": ["good", None], "p": [1, None], "c": ["x  ", None], "i": ["1 day", None]})
    told = replace(data, misfits=(Misfit(row=1, column="m", text="good", reason="told as text"),))
    with destination(dsn) as made:
        laid = Run(made, target(fields=fields, dialect="postgres"), {"a": [data], "b": [told]}).all()
    assert [(s.rows, s.quarantined) for s in laid] == [(2, 0), (2, 0)]
    assert rows(db, "SELECT m::text, p, octet_length(c), i::text FROM orders ORDER BY 1, 2, 3, 4") == [
        ("good", 1, 3, "1 day"),
        ("good", 1, 3, "1 day"),
        ("good", None, None, None),
        (None, None, None, None),
    ]


def test_values_that_an_enum_or_domain_refuses_go_aside(dsn, db):
    db.execute("CREATE TYPE mood AS ENUM ('good')")
    db.execute("CREATE DOMAIN posint AS int CHECK (VALUE > 0)")
    fields = (
        Field(name="id", type=pa.int64(), native="bigint"),
        Field(name="m", type=pa.string(), native="mood", logical="enum"),
        Field(name="p", type=pa.int32(), native="posint"),
    )
    data = batch(fields, {"id": [1, 2, 3], "m": ["good", "bad", "good"], "p": [1, 1, -1]})
    with destination(dsn) as made:
        laid = Run(made, target(fields=fields, dialect="postgres"), {"a": [data]}).all()
    assert (laid[0].rows, laid[0].quarantined) == (1, 2)
    assert rows(db, "SELECT record ->> 'id' FROM _syncline_quarantine ORDER BY 1") == [("2",), ("3",)]


def test_wide_batches_with_some_refused_rows(dsn, db):
    fields = (Field(name="id", type=pa.int64()), Field(name="j", type=pa.string(), logical="json"))
    count = 3000
    data = batch(fields, {"id": list(range(count)), "j": ["{" if i % 301 == 7 else "{}" for i in range(count)]})
    with destination(dsn) as made:
        laid = Run(made, target(fields=fields), {"a": [data, data]}).all()
    assert (laid[0].rows, laid[0].quarantined) == (5980, 20)
    assert rows(db, "SELECT count(*), count(DISTINCT id) FROM orders") == [(5980, 2990)]
