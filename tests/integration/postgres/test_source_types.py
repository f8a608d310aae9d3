"""Every type with its ugly values: the carrier holds it, or the exact text stands beside the row."""

from __future__ import annotations

from typing import Any

import psycopg
import pyarrow as pa
import pytest
from tests.integration.postgres.harness import FULL

from syncline.connectors.postgres.types import BUILTIN, type_matrix_rows

UUID = "00000000-0000-0000-0000-0000000000ff"
#: type -> (carrier, logical, values); a value that is read as it is written is given once, else (written, read).
TYPES: dict[str, tuple[str, str | None, list[Any]]] = {
    "boolean": ("bool", None, [("t", True), ("f", False)]),
    "smallint": ("int16", None, [("-32768", -32768), ("32767", 32767)]),
    "integer": ("int32", None, [("-2147483648", -(2**31))]),
    "bigint": ("int64", None, [("-9223372036854775808", -(2**63)), ("9223372036854775807", 2**63 - 1)]),
    "oid": ("int64", None, [("4294967295", 2**32 - 1)]),
    "real": ("float", None, [("1.5", 1.5), ("Infinity", float("inf"))]),
    "double precision": ("double", None, [("1e-300", 1e-300)]),
    "numeric": ("string", "numeric", ["NaN", "Infinity", "-1.50", "1" + "0" * 90, "0." + "0" * 90 + "1"]),
    "numeric(10,2)": ("decimal128(10, 2)", None, [("-99999999.99", "-99999999.99"), "NaN"]),
    "numeric(38,0)": ("decimal128(38, 0)", None, ["9" * 38]),
    "numeric(60,30)": ("decimal256(60, 30)", None, ["9" * 30 + "." + "9" * 30]),
    "numeric(80,2)": ("string", "numeric", ["9" * 78 + ".99"]),
    "money": ("string", "numeric", [("$-1,234.56", "-1234.56")]),
    "text": ("string", None, ["", "NULL", "\\N", "a\tb\n'\"é🎉"]),
    "character varying(5)": ("string", None, ["ab  "]),
    "character(5)": ("string", None, [("ab", "ab   ")]),
    "name": ("string", None, ["pg_class"]),
    '"char"': ("string", "text", ["x"]),
    "bytea": ("binary", None, [("\\x00ff", b"\x00\xff"), ("", b"")]),
    "date": ("date32[day]", None, [("1970-01-02", 1), ("0001-01-01 BC", -719528), "infinity", "-infinity"]),
    "time without time zone": ("time64[us]", None, [("00:00:01.000002", "00:00:01.000002"), "24:00:00"]),
    "time with time zone": ("string", "text", ["12:00:00.5+05:30"]),
    "timestamp without time zone": ("timestamp[us]", None, [("1970-01-01 00:00:01", 1_000_000), "infinity"]),
    "timestamp with time zone": (
        "timestamp[us, tz=UTC]",
        None,
        [("1970-01-01 02:00:00+02", 0), ("4000-01-01 00:00:00+00 BC", -188363404800000000), "-infinity"],
    ),
    "interval": ("string", "interval", ["1 year 2 mons -3 days +04:05:06.7", "-1 days"]),
    "uuid": ("string", "uuid", [UUID]),
    "json": ("string", "json", ['{"a" :  1, "a": 2}']),
    "jsonb": ("string", "json", ['{"a": [1, null, "é"]}', "null"]),
    "xml": ("string", "xml", ["<a>b</a>"]),
    "inet": ("string", "text", ["10.0.0.1/32", "10.1.2.3/8", "::1/128"]),
    "cidr": ("string", "text", ["10.0.0.0/8"]),
    "macaddr": ("string", "text", ["08:00:2b:01:02:03"]),
    "macaddr8": ("string", "text", ["08:00:2b:01:02:03:04:05"]),
    "bit(3)": ("string", "text", ["101"]),
    "bit varying": ("string", "text", ["1"]),
    "point": ("string", "text", ["(1,2.5)"]),
    "line": ("string", "text", ["{1,2,3}"]),
    "lseg": ("string", "text", ["[(0,0),(1,1)]"]),
    "box": ("string", "text", ["(1,1),(0,0)"]),
    "path": ("string", "text", ["((0,0),(1,1))"]),
    "polygon": ("string", "text", ["((0,0),(1,1))"]),
    "circle": ("string", "text", ["<(0,0),1>"]),
    "tsvector": ("string", "text", ["'a':1 'b':2A"]),
    "tsquery": ("string", "text", ["'a' & 'b'"]),
    "pg_lsn": ("string", "text", ["16/B374D848"]),
    "txid_snapshot": ("string", "text", ["10:20:10,14"]),
    "jsonpath": ("string", "text", ['$."a"']),
    "xid": ("string", "text", ["7"]),
    "cid": ("string", "text", ["7"]),
    "tid": ("string", "text", ["(1,2)"]),
    "regclass": ("string", "text", ["pg_class"]),
    "int4range": ("string", "text", ["[1,5)", "empty", "(,)"]),
    "numrange": ("string", "text", ["[1.5,)"]),
    "tstzrange": ("string", "text", [('["2020-01-01 00:00:00+00",)', '["2020-01-01 00:00:00+00",)')]),
    "integer[]": ("list<int32>", None, [("{}", []), ("{1,NULL}", [1, None]), "[0:1]={1,2}", "{{1},{2}}"]),
    "text[]": ("list<string>", None, [('{"a,b",NULL,"NULL",""}', ["a,b", None, "NULL", ""])]),
    "numeric(5,1)[]": ("list<decimal128(5, 1)>", None, ["{1.5,NaN}"]),
    "numeric[]": ("list<string>", "numeric", [("{1.50,NaN}", ["1.50", "NaN"])]),
    "inet[]": ("list<string>", "text", [("{10.0.0.1,NULL}", ["10.0.0.1/32", None])]),
    "money[]": ("list<string>", "numeric", [('{"$1,000.00"}', ["1000.00"])]),
    "uuid[]": ("list<string>", "uuid", [(f"{{{UUID}}}", [UUID])]),
    "public.mood": ("string", "enum", ["so la la"]),
    "public.mood[]": ("list<string>", "enum", [('{ok,"so la la"}', ["ok", "so la la"])]),
    "public.pair": ("string", "text", ['(1,"a b")']),
    "public.pair[]": ("list<string>", "text", [('{"(1,a)",NULL}', ["(1,a)", None])]),
    "public.floats": ("string", "text", ["[1.5,2.5)"]),
    "public.citext": ("string", "text", ["Ab"]),
    "public.hstore": ("string", "text", ['"a"=>"1", "b"=>NULL']),
}  # fmt: skip

DOMAINS = {
    "public.small": ("smallint", "int16", None, "7", 7),
    "public.code": ("character varying(3)", "string", None, "abc", "abc"),
    "public.price": ("numeric(8,2)", "decimal128(8, 2)", None, "1.50", "1.50"),
    "public.small_again": ("smallint", "int16", None, "8", 8),
    "public.smalls": ("smallint[]", "list<int16>", None, "{1,2}", [1, 2]),
    "public.small[]": ("smallint[]", "list<int16>", None, "{1,2}", [1, 2]),
    "public.mood_too": ("public.mood", "string", "enum", "ok", "ok"),
}

NEWER = {
    "public.ints": (140000, "{[1,3),[5,7)}"),
    "datemultirange": (140000, "{[2020-01-01,2020-01-03)}"),
    "xid8": (130000, "18446744073709551615"),
    "pg_snapshot": (130000, "1:1:"),
}


@pytest.fixture
def types(db):
    db.execute(
        "CREATE EXTENSION hstore",
        "CREATE EXTENSION citext",
        "CREATE TYPE mood AS ENUM ('ok', 'so la la')",
        "CREATE TYPE pair AS (a int, b text)",
        "CREATE TYPE floats AS RANGE (subtype = float8)" if db.session.info.server_version < 140000
        else "CREATE TYPE floats AS RANGE (subtype = float8, multirange_type_name = ints)",
        "CREATE DOMAIN small AS smallint CHECK (VALUE > 0)",
        "CREATE DOMAIN small_again AS small",
        "CREATE DOMAIN code AS varchar(3)",
        "CREATE DOMAIN price AS numeric(8,2)",
        "CREATE DOMAIN smalls AS smallint[]",
        "CREATE DOMAIN mood_too AS mood",
    )  # fmt: skip
    return db


def read(db, values, kind):
    db.execute(
        "DROP TABLE IF EXISTS t", f"CREATE TABLE t (n int PRIMARY KEY, c {kind})", "INSERT INTO t VALUES (0, NULL)"
    )
    for number, value in enumerate(values, 1):
        db.session.execute(f"INSERT INTO t VALUES (%s, %s::{kind})".encode(), [number, value])
    sync = db.sync("t", FULL)
    return sync.selected.stream.schema.field("c"), [r["c"] for r in sorted(sync.run(), key=lambda r: r["n"])]


def has_xml(db):
    try:
        db.execute("SELECT '<a/>'::xml")
    except psycopg.errors.FeatureNotSupported:
        return False
    return True


def plain(value):
    return value if isinstance(value, str | int | float | bytes | bool | list | None) else str(value)


def test_each_type_is_carried_as_the_matrix_says(types):
    for kind, (carrier, logical, given) in TYPES.items():
        if kind == "xml" and not has_xml(types):
            continue
        cases = [case if isinstance(case, tuple) else (case, case) for case in given]
        field, values = read(types, [written for written, _ in cases], kind)
        assert (field.native, field.to_json()["type"], field.logical) == (kind, carrier, logical)
        assert values[0] is None
        assert [plain(v) for v in values[1:]] == [seen for _, seen in cases], kind


def test_domains_are_their_base_types(types):
    for kind, (native, carrier, logical, written, seen) in DOMAINS.items():
        field, values = read(types, [written], kind)
        assert (field.native, field.to_json()["type"], field.logical) == (native, carrier, logical)
        assert plain(values[1]) == seen, kind


def test_types_of_newer_servers_are_text(types):
    for kind, (since, text) in NEWER.items():
        if types.session.info.server_version < since:
            continue
        field, values = read(types, [text], kind)
        assert (field.type, field.logical) == (pa.string(), "text")
        assert values[1] == text, kind


def test_declared_depth_makes_nested_lists(types):
    field, values = read(types, ["{{1,2},{3,NULL}}", "{}", "{1,2}"], "int[][]")
    assert field.type == pa.list_(pa.list_(pa.int32()))
    assert values == [None, [[1, 2], [3, None]], [], "{1,2}"]


def test_odd_scales_fit_their_decimals(types):
    if types.session.info.server_version < 150000:
        pytest.skip("scales below zero and above the precision came with 15")
    field, values = read(types, ["1234567", "-50"], "numeric(5,-2)")
    assert field.type == pa.decimal128(7, 0)
    assert [str(v) for v in values[1:]] == ["1234600", "-100"]
    field, values = read(types, ["0.00999"], "numeric(3,5)")
    assert field.type == pa.decimal128(5, 5)
    assert str(values[1]) == "0.00999"


def test_every_built_in_type_of_the_server_has_a_line(types):
    there = types.rows(
        "SELECT typname FROM pg_type WHERE typnamespace = 'pg_catalog'::regnamespace AND typtype IN ('b', 'r', 'm')"
        " AND typname !~ '^(_|reg|pg_(node|ndistinct|dependencies|mcv|brin|ddl))'"
        " AND typname NOT IN ('gtsvector', 'aclitem', 'refcursor', 'int2vector', 'oidvector')"
    )
    assert {name for (name,) in there} <= set(BUILTIN)
    assert {row.postgres for row in type_matrix_rows()} > set(BUILTIN)


def test_only_generated_and_dropped_columns_may_come_between(types):
    types.execute(
        "CREATE TABLE g (id int PRIMARY KEY, gone int, twice int GENERATED ALWAYS AS (id * 2) STORED)",
        "ALTER TABLE g DROP COLUMN gone",
        "INSERT INTO g VALUES (4)",
    )
    assert types.sync("g", FULL).run() == [{"id": 4, "twice": 8}]
    if types.session.info.server_version >= 180000:
        types.execute("ALTER TABLE g ADD COLUMN thrice int GENERATED ALWAYS AS (id * 3) VIRTUAL")
        assert types.sync("g", FULL).run() == [{"id": 4, "twice": 8, "thrice": 12}]


def test_arrays_of_domains_are_relayed_as_arrays_of_their_base_type(types):
    types.execute("CREATE TABLE d (id int PRIMARY KEY, s small[])", "INSERT INTO d VALUES (1, '{1,2}')")
    source = types.source()
    selected = types.selected("d", source=source)
    raw = source.raw_format(selected)
    assert raw is not None
    assert raw.columns[1] == ("s", "smallint[]")
    data = b"".join(bytes(c) for c in source.read_raw(selected, source.snapshot(selected).partitions[0]))
    with types.session.cursor().copy("COPY (SELECT 1, '{1,2}'::smallint[]) TO STDOUT (FORMAT binary)") as copy:
        assert data == b"".join(bytes(c) for c in copy)
