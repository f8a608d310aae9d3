"""Values and what their canonical text must be: the test vectors of ``syncline verify``.

Each vector is one value in several writings: as an Arrow value, as SQL of Postgres and of DuckDB where these can hold
it, and its cell. Whoever writes canonical text for another engine checks it against these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

__all__ = ["ROWS", "VECTORS", "Row", "Vector"]


@dataclass(frozen=True, kw_only=True)
class Vector:
    """``arrow`` and ``logical`` are the column's carrier; ``value`` what ``pa.scalar(value, arrow)`` takes (decimals as
    text). ``postgres`` and ``duckdb`` are expressions with the value, None where that engine has none. ``cell`` None
    stands for NULL."""

    arrow: pa.DataType
    value: Any
    cell: str | None
    postgres: str | None = None
    duckdb: str | None = None
    logical: str | None = None

    @property
    def id(self) -> str:
        """A short name for test reports."""
        return f"{self.logical or self.arrow} {self.postgres or self.duckdb or self.value}"


def _v(
    arrow: pa.DataType,
    value: Any,
    cell: str | None,
    postgres: str | None = None,
    duckdb: str | None = None,
    logical: str | None = None,
) -> Vector:
    return Vector(arrow=arrow, value=value, cell=cell, postgres=postgres, duckdb=duckdb, logical=logical)


_US = pa.timestamp("us")
_UTC = pa.timestamp("us", tz="UTC")
_TEXT = pa.string()
_NAN = "7ff8000000000000"

#: One value each.
VECTORS: tuple[Vector, ...] = (
    # bool
    _v(pa.bool_(), True, "t", "true", "true"),
    _v(pa.bool_(), False, "f", "false", "false"),
    _v(pa.bool_(), None, None, "NULL::bool", "NULL::BOOLEAN"),
    # int
    _v(pa.int16(), -32768, "-32768", "(-32768)::int2", "(-32768)::SMALLINT"),
    _v(pa.int32(), 0, "0", "0::int4", "0::INTEGER"),
    _v(pa.int64(), 2**63 - 1, "9223372036854775807", "9223372036854775807::int8", "9223372036854775807::BIGINT"),
    _v(pa.int64(), -(2**63), "-9223372036854775808", "(-9223372036854775808)::int8", "(-9223372036854775808)::BIGINT"),
    _v(pa.int64(), 4294967295, "4294967295", "4294967295::oid", "4294967295::UINTEGER"),
    _v(
        pa.uint64(), 2**64 - 1, "18446744073709551615", "18446744073709551615::numeric", "18446744073709551615::UBIGINT"
    ),
    _v(pa.int32(), None, None, "NULL::int4", "NULL::INTEGER"),
    # numeric
    _v(pa.decimal128(15, 2), "1.10", "1.1", "1.10::numeric(15,2)", "1.10::DECIMAL(15,2)"),
    _v(pa.decimal128(15, 1), "1.1", "1.1", "1.1::numeric", "1.1::DECIMAL(15,1)"),
    _v(pa.decimal128(15, 2), "100.00", "100", "100.00::numeric(15,2)", "100.00::DECIMAL(15,2)"),
    _v(pa.decimal128(15, 2), "0.00", "0", "0.00::numeric(15,2)", "0.00::DECIMAL(15,2)"),
    _v(pa.decimal128(15, 2), "-0.50", "-0.5", "(-0.50)::numeric(15,2)", "(-0.50)::DECIMAL(15,2)"),
    _v(pa.decimal128(2, 2), "0.50", "0.5", "0.50::numeric(2,2)", "0.50::DECIMAL(2,2)"),
    _v(pa.decimal128(2, 2), "-0.05", "-0.05", "(-0.05)::numeric(2,2)", "(-0.05)::DECIMAL(2,2)"),
    _v(pa.decimal128(2, 2), "0.00", "0", "0::numeric(2,2)", "0::DECIMAL(2,2)"),
    _v(pa.decimal128(18, 0), "1200", "1200", "1200::numeric(18,0)", "1200::DECIMAL(18,0)"),
    _v(
        pa.decimal128(38, 10),
        "1234567890123456789012345678.0123456789",
        "1234567890123456789012345678.0123456789",
        "1234567890123456789012345678.0123456789::numeric(38,10)",
        "'1234567890123456789012345678.0123456789'::DECIMAL(38,10)",
    ),
    _v(_TEXT, "NaN", "NaN", "'NaN'::numeric", "'NaN'", "numeric"),
    _v(_TEXT, "Infinity", "Infinity", None, "'Infinity'", "numeric"),
    _v(_TEXT, "1.000", "1", "1.000::numeric", "'1.000'", "numeric"),
    _v(_TEXT, "1000", "1000", "1000::numeric", "'1000'", "numeric"),
    _v(_TEXT, "1.50", "1.5", "'1.50'::text", "'1.50'", "numeric"),
    _v(
        _TEXT,
        "0.0000000000000000000000000000000000000001",
        "0.0000000000000000000000000000000000000001",
        "1e-40::numeric",
        "'0.0000000000000000000000000000000000000001'",
        "numeric",
    ),
    _v(_TEXT, "1" + "0" * 60, "1" + "0" * 60, "1e60::numeric", f"'1{'0' * 60}'", "numeric"),
    _v(_TEXT, "1.23", "1.23", "1.23::money", "'1.23'", "numeric"),
    # float
    _v(pa.float64(), 1.5, "3ff8000000000000", "1.5::float8", "1.5::DOUBLE"),
    _v(pa.float64(), 0.0, "0000000000000000", "0::float8", "0::DOUBLE"),
    _v(pa.float64(), -0.0, "8000000000000000", "'-0'::float8", "'-0'::DOUBLE"),
    _v(pa.float64(), float("nan"), _NAN, "'NaN'::float8", "'nan'::DOUBLE"),
    _v(pa.float64(), -float("nan"), _NAN, "'NaN'::float8", "'-nan'::DOUBLE"),
    _v(pa.float64(), float("inf"), "7ff0000000000000", "'Infinity'::float8", "'inf'::DOUBLE"),
    _v(pa.float64(), float("-inf"), "fff0000000000000", "'-Infinity'::float8", "'-inf'::DOUBLE"),
    _v(pa.float64(), 5e-324, "0000000000000001", "5e-324::float8", "5e-324::DOUBLE"),
    _v(pa.float64(), 0.1, "3fb999999999999a", "0.1::float8", "0.1::DOUBLE"),
    _v(pa.float32(), 0.1, "3fb99999a0000000", "0.1::float4", "0.1::FLOAT"),
    _v(pa.float32(), float("nan"), _NAN, "'NaN'::float4", "'nan'::FLOAT"),
    _v(pa.float32(), -0.0, "8000000000000000", "'-0'::float4", "'-0'::FLOAT"),
    _v(pa.float32(), 1e-45, "36a0000000000000", "1e-45::float4", "1e-45::FLOAT"),
    # text
    _v(_TEXT, "", "0:", "''::text", "''"),
    _v(_TEXT, None, None, "NULL::text", "NULL::VARCHAR"),
    _v(_TEXT, "a|b", "3:a|b", "'a|b'::text", "'a|b'"),
    _v(_TEXT, "NULL", "4:NULL", "'NULL'::text", "'NULL'"),
    _v(_TEXT, "Grüße", "7:Grüße", "'Grüße'::text", "'Grüße'"),
    _v(_TEXT, "𝄞", "4:𝄞", "'𝄞'::varchar(3)", "'𝄞'"),
    _v(_TEXT, " a \n\t\\x\"'", "9: a \n\t\\x\"'", "E' a \\n\\t\\\\x\"'''::text", "E' a \\n\\t\\\\x\"'''"),
    _v(_TEXT, "ab  ", "4:ab  ", "'ab'::char(4)", "'ab  '"),
    _v(_TEXT, "1 day 02:00:00", "14:1 day 02:00:00", "'1 day 2 hours'::interval", "'1 day 02:00:00'", "interval"),
    _v(_TEXT, "192.168.0.1/32", "14:192.168.0.1/32", "'192.168.0.1'::inet", "'192.168.0.1/32'", "text"),
    _v(_TEXT, "[1,5)", "5:[1,5)", "'[1,5)'::int4range", "'[1,5)'", "text"),
    _v(_TEXT, "<a>1</a>", "8:<a>1</a>", "'<a>1</a>'::text", "'<a>1</a>'", "xml"),
    _v(_TEXT, "x", "1:x", "'x'::\"char\"", "'x'", "text"),
    # json
    _v(_TEXT, '{"a": 1}', '8:{"a": 1}', "'{\"a\":1}'::jsonb", "'{\"a\": 1}'", "json"),
    _v(_TEXT, '{"a":1}', '7:{"a":1}', "'{\"a\":1}'::json", "'{\"a\":1}'::JSON", "json"),
    # bytes
    _v(pa.binary(), b"", "x", "''::bytea", "''::BLOB"),
    _v(pa.binary(), b"\x00\xffA", "x00ff41", "'\\x00ff41'::bytea", "'\\x00\\xFFA'::BLOB"),
    _v(pa.binary(), None, None, "NULL::bytea", "NULL::BLOB"),
    # date
    _v(pa.date32(), 0, "0", "'1970-01-01'::date", "'1970-01-01'::DATE"),
    _v(pa.date32(), -1, "-1", "'1969-12-31'::date", "'1969-12-31'::DATE"),
    _v(pa.date32(), -719163, "-719163", "'0001-12-31 BC'::date", "'0001-12-31 (BC)'::DATE"),
    _v(pa.date32(), 2932897, "2932897", "'10000-01-01'::date", "'10000-01-01'::DATE"),
    # time
    _v(pa.time64("us"), 0, "0", "'00:00'::time", "'00:00:00'::TIME"),
    _v(pa.time64("us"), 86399999999, "86399999999", "'23:59:59.999999'::time", "'23:59:59.999999'::TIME"),
    # timestamp
    _v(_US, 0, "0", "'1970-01-01'::timestamp", "'1970-01-01'::TIMESTAMP"),
    _v(_US, -1, "-1", "'1969-12-31 23:59:59.999999'::timestamp", "'1969-12-31 23:59:59.999999'::TIMESTAMP"),
    _v(
        _US,
        1577836800000001,
        "1577836800000001",
        "'2020-01-01 00:00:00.000001'::timestamp",
        "'2020-01-01 00:00:00.000001'::TIMESTAMP",
    ),
    _v(
        _UTC,
        1577833200000001,
        "1577833200000001",
        "'2020-01-01 00:00:00.000001+01'::timestamptz",
        "'2020-01-01 00:00:00.000001+01'::TIMESTAMPTZ",
    ),
    _v(_US, -63517824000000000, "-63517824000000000", "'0044-03-15 BC'::timestamp", "'0044-03-15 (BC)'::TIMESTAMP"),
    _v(_US, 253402300800000000, "253402300800000000", "'10000-01-01'::timestamp", "'10000-01-01'::TIMESTAMP"),
    _v(pa.timestamp("ns"), 1500, "1.5", None, "make_timestamp_ns(1500)"),
    _v(pa.timestamp("ns"), -1, "-0.001", None, "make_timestamp_ns(-1)"),
    _v(pa.timestamp("ns"), 2000, "2", "'1970-01-01 00:00:00.000002'::timestamp", "make_timestamp_ns(2000)"),
    # uuid
    _v(
        _TEXT,
        "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'::uuid",
        "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'::UUID",
        "uuid",
    ),
    # list
    _v(pa.list_(pa.int32()), [], "0[]", "'{}'::int4[]", "[]::INTEGER[]"),
    _v(pa.list_(pa.int32()), [None], "1[]", "'{NULL}'::int4[]", "[NULL]::INTEGER[]"),
    _v(pa.list_(pa.int32()), None, None, "NULL::int4[]", "NULL::INTEGER[]"),
    _v(pa.list_(pa.int32()), [1, None, -3], "3[1,,-3]", "'{1,NULL,-3}'::int4[]", "[1, NULL, -3]::INTEGER[]"),
    _v(pa.list_(pa.bool_()), [True, None], "2[t,]", "'{t,NULL}'::bool[]", "[true, NULL]"),
    _v(pa.list_(_TEXT), [""], "1[0:]", "ARRAY['']::text[]", "['']"),
    _v(pa.list_(_TEXT), ["a,b", None, "]"], "3[3:a,b,,1:]]", "ARRAY['a,b', NULL, ']']::text[]", "['a,b', NULL, ']']"),
    _v(pa.list_(pa.float64()), [-0.0], "1[8000000000000000]", "ARRAY['-0'::float8]", "['-0'::DOUBLE]"),
    _v(pa.list_(pa.decimal128(5, 2)), ["1.50"], "1[1.5]", "ARRAY[1.50]::numeric(5,2)[]", "[1.50::DECIMAL(5,2)]"),
    _v(pa.list_(pa.date32()), [1], "1[1]", "ARRAY['1970-01-02'::date]", "['1970-01-02'::DATE]"),
    _v(pa.list_(_US), [1], "1[1]", "ARRAY['1970-01-01 00:00:00.000001'::timestamp]", "[make_timestamp(1)]"),
    _v(pa.list_(pa.binary()), [b"A"], "1[x41]", "ARRAY['\\x41'::bytea]", "['A'::BLOB]"),
    _v(pa.list_(_TEXT), ["(1,2)"], "1[5:(1,2)]", "ARRAY[point(1,2)]", "['(1,2)']", "text"),
    _v(
        pa.list_(pa.list_(pa.int32())),
        [[1, 2], [3, None]],
        "2[2[1,2],2[3,]]",
        "'{{1,2},{3,NULL}}'::int4[]",
        "[[1, 2], [3, NULL]]::INTEGER[][]",
    ),
    _v(
        pa.list_(pa.list_(pa.list_(_TEXT))),
        [[["a"], ["b"], ["c"]], [["d"], [None], ["f"]]],
        "2[3[1[1:a],1[1:b],1[1:c]],3[1[1:d],1[],1[1:f]]]",
        "'{{{a},{b},{c}},{{d},{NULL},{f}}}'::text[]",
        "[[['a'], ['b'], ['c']], [['d'], [NULL], ['f']]]",
    ),
    _v(pa.list_(pa.list_(pa.int32())), [[1], [2, 3]], "2[1[1],2[2,3]]", None, "[[1], [2, 3]]::INTEGER[][]"),
    # struct
    _v(
        pa.struct([("a", pa.int32()), ("b", _TEXT)]),
        {"a": 1, "b": None},
        "{1,}",
        None,
        "{'a': 1::INTEGER, 'b': NULL::VARCHAR}",
    ),
    _v(pa.struct([("a", pa.int32())]), None, None, None, "NULL::STRUCT(a INTEGER)"),
    _v(pa.list_(pa.struct([("a", pa.int32())])), [{"a": 1}, None], "2[{1},]", None, "[{'a': 1::INTEGER}, NULL]"),
)


@dataclass(frozen=True, kw_only=True)
class Row:
    """A whole row: its cells, its text, and its hash in hex."""

    cells: Sequence[str | None]
    text: str
    hash: str


#: Rows of several columns.
ROWS: tuple[Row, ...] = (
    Row(cells=("1", "0:", None), text="1|0:|", hash="724f24ad27bacc56f4c6df3f84d07d90"),
    Row(cells=("1", None, "0:"), text="1||0:", hash="ada9cf684f08d8f31181d3bff173f460"),
    Row(cells=("3:a|b", "1:c"), text="3:a|b|1:c", hash="def9738bb2b358c95530b846a68df065"),
    Row(cells=("1:a", "3:b|c"), text="1:a|3:b|c", hash="5bf8ed55de9ddb58f8fa4eea0c116582"),
    Row(cells=(None,), text="", hash="d41d8cd98f00b204e9800998ecf8427e"),
)
