"""Which Arrow type turns into which Postgres type by binary COPY, and the plan by which it is done.

The plan is a tree of :class:`Node` per column. The native encoder (``_encode.c``) and the pure Python one
(``encode_fallback.py``) follow the same plan, so that both refuse the same things for the same reasons.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

import pyarrow as pa

from syncline.core.errors import ErrorKind, SynclineError

__all__ = ["EncodeColumn", "Node", "Op", "Reason", "Source", "compile_plan", "encoder_for"]


class Source(IntEnum):
    """Layout of the Arrow values. Same numbers as ``enum source`` in ``_encode.c``."""

    NULL = 0
    BOOL = 1
    I8 = 2
    I16 = 3
    I32 = 4
    I64 = 5
    U8 = 6
    U16 = 7
    U32 = 8
    U64 = 9
    F16 = 10
    F32 = 11
    F64 = 12
    D32 = 13
    D64 = 14
    D128 = 15
    D256 = 16
    BYTES32 = 17
    BYTES64 = 18
    VIEW = 19
    FIXED = 20
    LIST32 = 21
    LIST64 = 22
    LISTFIX = 23
    LISTVIEW32 = 24
    LISTVIEW64 = 25


class Op(IntEnum):
    """What is written. Same numbers as ``enum op`` in ``_encode.c``. ``COPYn``: the same bits, turned around."""

    NULL = 0
    BOOL = 1
    COPY2 = 2
    COPY4 = 3
    COPY8 = 4
    INT = 5
    FLOAT4 = 6
    FLOAT8 = 7
    DATE = 8
    TIME = 9
    STAMP = 10
    DECIMAL = 11
    NUMERIC_INT = 12
    NUMERIC_TEXT = 13
    TEXT = 14
    JSONB = 15
    BYTES = 16
    UUID_TEXT = 17
    ARRAY = 18
    DICT = 19


class Reason(IntEnum):
    """Why a cell cannot be written. Same numbers as ``enum reason`` in ``_encode.c``."""

    INT_RANGE = 1
    INEXACT_FLOAT = 2
    DATE_RANGE = 3
    TIME_RANGE = 4
    STAMP_RANGE = 5
    SUB_UNIT = 6
    NUMERIC_RANGE = 7
    NUMERIC_SCALE = 8
    NUMERIC_TEXT = 9
    NUMERIC_SPECIAL = 10
    TOO_LONG = 11
    UUID_TEXT = 12
    RAGGED = 13
    TOO_BIG = 14
    NUL = 15
    UTF8 = 16
    JSON_NUL = 17
    JSON_SURROGATE = 18
    MEMORY = 19

    @property
    def text(self) -> str:
        """The reason for people, to stand in a quarantine and after a column's name."""
        return _REASON_TEXTS[self]


_REASON_TEXTS = {
    Reason.INT_RANGE: "the integer is outside the range of the column's type",
    Reason.INEXACT_FLOAT: "the number has no exact form in the column's floating-point type",
    Reason.DATE_RANGE: "the date is outside the range of Postgres (4713 BC to 5874897 AD)",
    Reason.TIME_RANGE: "the time is outside 00:00:00 to 24:00:00",
    Reason.STAMP_RANGE: "the timestamp is outside the range of Postgres (4713 BC to 294276 AD)",
    Reason.SUB_UNIT: "the time is finer than the column's type can hold",
    Reason.NUMERIC_RANGE: "the number has more digits than the column's type can hold",
    Reason.NUMERIC_SCALE: "the number has more decimals than the column's type",
    Reason.NUMERIC_TEXT: "the text is not a number",
    Reason.NUMERIC_SPECIAL: "infinity does not fit a numeric column with a precision",
    Reason.TOO_LONG: "the text is longer than the column's type allows",
    Reason.UUID_TEXT: "the text is not a UUID",
    Reason.RAGGED: "the nested list is not a rectangle, as a Postgres array must be",
    Reason.TOO_BIG: "the value is larger than the 1 GB that Postgres can hold",
    Reason.NUL: "the text contains the character U+0000, which Postgres cannot hold",
    Reason.UTF8: "the text is not valid UTF-8",
    Reason.JSON_NUL: "the JSON contains \\u0000, which jsonb cannot hold",
    Reason.JSON_SURROGATE: "the JSON contains half of a surrogate pair, which jsonb cannot hold",
    Reason.MEMORY: "out of memory",
}


@dataclass(frozen=True, kw_only=True)
class EncodeColumn:
    """One column of the COPY. ``name``: of the batch's column. ``encoder``: the Postgres wire type to produce, as
    :func:`encoder_for` gives it:

    bool int2 int4 int8 oid float4 float8 numeric text varchar bpchar name json jsonb bytea date time timestamp
    timestamptz uuid; with a modifier where it matters (``numeric(15,2)``, ``varchar(20)``, ``bpchar(3)``,
    ``timestamp(3)``: the value must fit without rounding or cutting) and ``[]`` for arrays of any depth.
    """

    name: str
    encoder: str


@dataclass(frozen=True, kw_only=True)
class Node:
    """How one Arrow array is written; fields as in ``struct node`` of ``_encode.c``."""

    op: Op
    source: Source
    width: int = 0
    child: Node | None = None
    scale: int = 0
    typmod: bool = False
    precision: int = 0
    limit: int = 0
    oid: int = 0
    low: int = 0
    high: int = 0
    multiply: int = 1
    divide: int = 1
    grain: int = 1


#: Names as ``format_type`` prints them, to ours. xml is missing on purpose: its binary input obeys the encoding named
#: in the document's own declaration, which is not the encoding of the bytes that we would send.
_BASES = {
    "boolean": "bool",
    "smallint": "int2",
    "integer": "int4",
    "bigint": "int8",
    "real": "float4",
    "double precision": "float8",
    "character varying": "varchar",
    "character": "bpchar",
    "time without time zone": "time",
    "timestamp without time zone": "timestamp",
    "timestamp with time zone": "timestamptz",
}

#: OIDs of the built-in types, which never change; an array names its items' type.
_OIDS = {
    "bool": 16,
    "bytea": 17,
    "name": 19,
    "int8": 20,
    "int2": 21,
    "int4": 23,
    "text": 25,
    "oid": 26,
    "json": 114,
    "float4": 700,
    "float8": 701,
    "bpchar": 1042,
    "varchar": 1043,
    "date": 1082,
    "time": 1083,
    "timestamp": 1114,
    "timestamptz": 1184,
    "numeric": 1700,
    "uuid": 2950,
    "jsonb": 3802,
}

_TYPE = re.compile(
    r"(?P<base>[a-z0-9 ]+?)(?:\((?P<mods>-?\d+(?:,-?\d+)?)\))?(?P<zone> with(?:out)? time zone)?(?P<array>(?:\[\])*)"
)
_CITEXT = re.compile(r"(?:.+\.)?citext")
_MAX_DIMENSIONS = 6

_INT_SOURCES = {
    pa.int8(): Source.I8,
    pa.int16(): Source.I16,
    pa.int32(): Source.I32,
    pa.int64(): Source.I64,
    pa.uint8(): Source.U8,
    pa.uint16(): Source.U16,
    pa.uint32(): Source.U32,
    pa.uint64(): Source.U64,
}
_FLOAT_SOURCES = {pa.float16(): Source.F16, pa.float32(): Source.F32, pa.float64(): Source.F64}
_TEXT_SOURCES = {pa.string(): Source.BYTES32, pa.large_string(): Source.BYTES64, pa.string_view(): Source.VIEW}
_BINARY_SOURCES = {pa.binary(): Source.BYTES32, pa.large_binary(): Source.BYTES64, pa.binary_view(): Source.VIEW}
_INT_TARGETS = {
    "int2": (2, -(1 << 15), (1 << 15) - 1, Source.I16, Op.COPY2),
    "int4": (4, -(1 << 31), (1 << 31) - 1, Source.I32, Op.COPY4),
    "int8": (8, -(1 << 63), (1 << 63) - 1, Source.I64, Op.COPY8),
    "oid": (4, 0, (1 << 32) - 1, Source.U32, Op.COPY4),
}
#: (multiply, divide) from an Arrow unit to microseconds
_UNITS = {"s": (1_000_000, 1), "ms": (1_000, 1), "us": (1, 1), "ns": (1, 1_000)}


def encoder_for(arrow: pa.DataType, pg_type: str, *, typtype: str = "b") -> str | None:
    """The encoder that turns ``arrow`` into the Postgres type ``pg_type``, None when binary COPY cannot do it exactly.

    ``pg_type`` is ``format_type(atttypid, atttypmod)`` (``numeric(15,2)``, ``character varying(20)``, ``integer[]``);
    of a domain give the base type. ``typtype`` is pg_type.typtype: with ``e`` (enum) the labels go as text. With None
    the caller loads the text form and casts it in SQL.
    """
    if pa.types.is_run_end_encoded(arrow):
        arrow = arrow.value_type
    if typtype == "e" or _CITEXT.fullmatch(pg_type):
        pg_type = "text"
    parsed = _parse(pg_type)
    if parsed is None:
        return None
    base, mods, is_array = parsed
    encoder = base + (f"({','.join(map(str, mods))})" if mods else "") + ("[]" if is_array else "")
    return encoder if _column(arrow, encoder) is not None else None


def compile_plan(schema: pa.Schema, columns: Sequence[EncodeColumn]) -> tuple[tuple[Node, ...], tuple[int, ...]]:
    """One node per column, and the index in ``schema`` of each. Raises ``schema`` for a column that is not there or is
    not of a type that its encoder takes."""
    nodes, indices = [], []
    for position, column in enumerate(columns):
        if position < len(schema.names) and schema.names[position] == column.name:
            index = position
        else:
            index = schema.get_field_index(column.name)
        if index < 0:
            raise SynclineError(
                ErrorKind.SCHEMA,
                f"the batch has no column {column.name!r}, or more than one",
                hint="discover the stream again",
                where={"column": column.name},
            )
        node = _column(schema.field(index).type, column.encoder)
        if node is None:
            raise SynclineError(
                ErrorKind.SCHEMA,
                f"Arrow type {schema.field(index).type} cannot be written as Postgres {column.encoder}",
                hint="discover the stream again; the column's type may have changed",
                where={"column": column.name},
            )
        nodes.append(node)
        indices.append(index)
    return tuple(nodes), tuple(indices)


def _parse(pg_type: str) -> tuple[str, tuple[int, ...], bool] | None:
    found = _TYPE.fullmatch(pg_type)
    if found is None:
        return None
    name = found["base"] + (found["zone"] or "")
    base = _BASES.get(name, name)
    if base not in _OIDS:
        return None
    mods = tuple(int(m) for m in found["mods"].split(",")) if found["mods"] else ()
    if base == "numeric" and len(mods) == 1:
        mods = (*mods, 0)
    return base, mods, bool(found["array"])


def _column(arrow: pa.DataType, encoder: str) -> Node | None:
    parsed = _parse(encoder)
    if parsed is None:
        return None
    base, mods, is_array = parsed
    return _array(arrow, base, mods, 1) if is_array else _value(arrow, base, mods)


def _array(arrow: pa.DataType, base: str, mods: tuple[int, ...], depth: int) -> Node | None:
    arrow = _storage(arrow)
    if pa.types.is_null(arrow):
        return Node(op=Op.NULL, source=Source.NULL)
    width = 0
    if pa.types.is_list(arrow):
        source = Source.LIST32
    elif pa.types.is_large_list(arrow):
        source = Source.LIST64
    elif pa.types.is_fixed_size_list(arrow):
        source, width = Source.LISTFIX, arrow.list_size
    elif pa.types.is_list_view(arrow):
        source = Source.LISTVIEW32
    elif pa.types.is_large_list_view(arrow):
        source = Source.LISTVIEW64
    else:
        return None
    if depth > _MAX_DIMENSIONS:
        return None
    inner = _storage(arrow.value_type)
    child = _array(inner, base, mods, depth + 1) if pa.types.is_nested(inner) else _value(inner, base, mods)
    return child and Node(op=Op.ARRAY, source=source, width=width, child=child, oid=_OIDS[base])


def _value(arrow: pa.DataType, base: str, mods: tuple[int, ...]) -> Node | None:
    arrow = _storage(arrow)
    if pa.types.is_null(arrow):
        return Node(op=Op.NULL, source=Source.NULL)
    if pa.types.is_dictionary(arrow):
        child = _value(arrow.value_type, base, mods)
        return child and Node(op=Op.DICT, source=_INT_SOURCES[arrow.index_type], child=child)
    if base in _INT_TARGETS:
        return _int(arrow, base)
    match base:
        case "bool":
            return Node(op=Op.BOOL, source=Source.BOOL) if pa.types.is_boolean(arrow) else None
        case "float4" | "float8":
            return _float(arrow, base)
        case "numeric":
            return _numeric(arrow, mods)
        case "date" | "time" | "timestamp" | "timestamptz":
            return _time(arrow, base, mods)
        case "bytea":
            return _binary(arrow)
        case "uuid":
            if arrow == pa.binary(16):
                return _binary(arrow)
            text = _TEXT_SOURCES.get(arrow)
            return None if text is None else Node(op=Op.UUID_TEXT, source=text)
        case _:
            return _text(arrow, base, mods)


def _int(arrow: pa.DataType, base: str) -> Node | None:
    source = _INT_SOURCES.get(arrow)
    if source is None:
        return None
    width, low, high, same, copy = _INT_TARGETS[base]
    op = copy if source is same else Op.INT
    return Node(op=op, source=source, width=width, low=low, high=high)


def _float(arrow: pa.DataType, base: str) -> Node | None:
    source = _FLOAT_SOURCES.get(arrow) or _INT_SOURCES.get(arrow)
    if source is None:
        return None
    if base == "float4":
        return Node(op=Op.COPY4 if source is Source.F32 else Op.FLOAT4, source=source)
    return Node(op=Op.COPY8 if source is Source.F64 else Op.FLOAT8, source=source)


def _numeric(arrow: pa.DataType, mods: tuple[int, ...]) -> Node | None:
    precision, limit = mods if mods else (0, 0)
    node = Node(op=Op.NULL, source=Source.NULL, typmod=bool(mods), precision=precision, limit=limit)
    if arrow in _INT_SOURCES:
        return replace(node, op=Op.NUMERIC_INT, source=_INT_SOURCES[arrow])
    if arrow in _TEXT_SOURCES:
        return replace(node, op=Op.NUMERIC_TEXT, source=_TEXT_SOURCES[arrow])
    if not pa.types.is_decimal(arrow):
        return None
    source = {32: Source.D32, 64: Source.D64, 128: Source.D128, 256: Source.D256}[arrow.bit_width]
    fits = arrow.scale <= limit and arrow.precision - arrow.scale <= precision - limit
    return replace(node, op=Op.DECIMAL, source=source, scale=arrow.scale, typmod=bool(mods) and not fits)


def _time(arrow: pa.DataType, base: str, mods: tuple[int, ...]) -> Node | None:
    grain = 10 ** (6 - mods[0]) if mods and mods[0] < 6 else 1
    if base == "date":
        if pa.types.is_date32(arrow):
            return Node(op=Op.DATE, source=Source.I32)
        return Node(op=Op.DATE, source=Source.I64, divide=86_400_000) if pa.types.is_date64(arrow) else None
    if base == "time":
        if not pa.types.is_time(arrow):
            return None
        multiply, divide = _UNITS[arrow.unit]
        source = Source.I32 if arrow.bit_width == 32 else Source.I64
        return Node(op=Op.TIME, source=source, multiply=multiply, divide=divide, grain=grain)
    if base == "timestamp" and pa.types.is_date32(arrow):
        return Node(op=Op.STAMP, source=Source.I32, multiply=86_400_000_000)
    if not pa.types.is_timestamp(arrow) or (arrow.tz is not None) != (base == "timestamptz"):
        return None
    multiply, divide = _UNITS[arrow.unit]
    return Node(op=Op.STAMP, source=Source.I64, multiply=multiply, divide=divide, grain=grain)


def _binary(arrow: pa.DataType) -> Node | None:
    if pa.types.is_fixed_size_binary(arrow):
        return Node(op=Op.BYTES, source=Source.FIXED, width=arrow.byte_width)
    source = _BINARY_SOURCES.get(arrow)
    return None if source is None else Node(op=Op.BYTES, source=source)


def _text(arrow: pa.DataType, base: str, mods: tuple[int, ...]) -> Node | None:
    source = _TEXT_SOURCES.get(arrow)
    if source is None:
        return None
    if base == "jsonb":
        return Node(op=Op.JSONB, source=source)
    if base == "name":
        return Node(op=Op.TEXT, source=source, typmod=True, precision=1, limit=63)
    if mods:
        return Node(op=Op.TEXT, source=source, typmod=True, precision=2 if base == "bpchar" else 0, limit=mods[0])
    return Node(op=Op.TEXT, source=source)


def _storage(arrow: pa.DataType) -> pa.DataType:
    """The type that the bytes have, without an extension's name."""
    while isinstance(arrow, pa.BaseExtensionType):
        arrow = arrow.storage_type
    return arrow
