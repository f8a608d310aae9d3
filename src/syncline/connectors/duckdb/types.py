"""Column types for Arrow types and meanings of text carriers; which type fits into which; the published matrix."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

import pyarrow as pa

from syncline.connectors.duckdb.sql import quote
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.schema import Field

__all__ = [
    "Fit",
    "TypeRow",
    "column_type",
    "fit",
    "holds_text",
    "is_list",
    "is_text",
    "natural_type",
    "stage_type",
    "type_matrix_rows",
    "type_note",
]

#: DuckDB's DECIMAL has at most this many digits.
_MOST_DIGITS = 38

_PLAIN: dict[pa.DataType, str] = {
    pa.null(): "VARCHAR",
    pa.bool_(): "BOOLEAN",
    pa.int8(): "TINYINT",
    pa.int16(): "SMALLINT",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.uint8(): "UTINYINT",
    pa.uint16(): "USMALLINT",
    pa.uint32(): "UINTEGER",
    pa.uint64(): "UBIGINT",
    pa.float16(): "FLOAT",
    pa.float32(): "FLOAT",
    pa.float64(): "DOUBLE",
    pa.string(): "VARCHAR",
    pa.large_string(): "VARCHAR",
    pa.binary(): "BLOB",
    pa.large_binary(): "BLOB",
    pa.date32(): "DATE",
    pa.date64(): "DATE",
}


def is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def holds_text(kind: pa.DataType) -> bool:
    """Whether the type is text, or nested with text inside."""
    if is_list(kind):
        return holds_text(kind.value_type)
    if pa.types.is_struct(kind):
        return any(holds_text(f.type) for f in kind)
    return is_text(kind)


def is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def column_type(field: Field) -> str:
    """The column type of a field, as DuckDB prints it. ``schema`` error for an Arrow type that has none."""
    if is_text(field.type) and field.logical == "json":
        return "JSON"
    return _type(field.type, field.logical, field.name)


def _type(kind: pa.DataType, logical: str | None, name: str) -> str:
    if is_text(kind) and logical == "uuid":
        return "UUID"
    if kind in _PLAIN:
        return _PLAIN[kind]
    if pa.types.is_decimal(kind):
        fitted = _decimal(kind)
        return f"DECIMAL({fitted.precision},{fitted.scale})" if fitted is not None else "VARCHAR"
    if pa.types.is_fixed_size_binary(kind):
        return "BLOB"
    if pa.types.is_time(kind):
        return "TIME"
    if pa.types.is_timestamp(kind):
        if kind.tz is not None:
            return "TIMESTAMP WITH TIME ZONE"
        return "TIMESTAMP_NS" if kind.unit == "ns" else "TIMESTAMP"
    if pa.types.is_duration(kind):
        return "INTERVAL"
    if is_list(kind):
        return _type(kind.value_type, logical, name) + "[]"
    if pa.types.is_struct(kind) and kind.num_fields:
        return "STRUCT(" + ", ".join(f"{quote(f.name)} {_type(f.type, None, name)}" for f in kind) + ")"
    raise SynclineError(
        ErrorKind.SCHEMA,
        f"column {name!r} is of Arrow type {kind}, for which DuckDB has no column type here",
        hint="leave the column out",
        where={"connector": "duckdb", "column": name},
    )


def _decimal(kind: pa.DataType) -> pa.DataType | None:
    """The decimal with a scale that DuckDB takes (0 to the precision); None when it needs too many digits."""
    scale = max(kind.scale, 0)
    precision = max(kind.precision - min(kind.scale, 0), scale)
    return pa.decimal128(precision, scale) if precision <= _MOST_DIGITS else None


def stage_type(kind: pa.DataType) -> pa.DataType:
    """The Arrow type in which a column lies in a staged file: one that DuckDB reads into the column without loss."""
    if pa.types.is_null(kind):
        return pa.string()
    if pa.types.is_float16(kind):
        return pa.float32()
    if pa.types.is_decimal(kind):
        return _decimal(kind) or pa.string()
    if pa.types.is_date64(kind):
        return pa.date32()
    if pa.types.is_time(kind):
        return pa.time64("us")
    if pa.types.is_timestamp(kind):
        if kind.tz is not None:
            return pa.timestamp("us", tz="UTC")
        return kind if kind.unit == "ns" else pa.timestamp("us")
    if pa.types.is_duration(kind):
        return pa.duration("us")
    if is_list(kind):
        inner = stage_type(kind.value_type)
        return kind if inner == kind.value_type else pa.list_(inner)
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(f.name, stage_type(f.type)) for f in kind])
    return kind


def natural_type(field: Field) -> str:
    """The type in which DuckDB sees the staged column of a field before any cast."""
    if is_text(field.type) and field.logical == "json":
        return "JSON"  # marked so in the staged file's schema, which saves DuckDB from parsing the text
    return _type(stage_type(field.type), None, field.name)


class Fit(StrEnum):
    """How values of a new type go into a column that exists."""

    SAME = "same"
    KEEP = "keep"  #: the column is wide enough as it is
    WIDEN = "widen"  #: the column can be altered to the new type without changing a value
    NO = "no"  #: a person must decide


_INTEGERS = {
    # type: (smallest, largest), as powers of two
    "TINYINT": (-(2**7), 2**7 - 1),
    "SMALLINT": (-(2**15), 2**15 - 1),
    "INTEGER": (-(2**31), 2**31 - 1),
    "BIGINT": (-(2**63), 2**63 - 1),
    "HUGEINT": (-(2**127), 2**127 - 1),
    "UTINYINT": (0, 2**8 - 1),
    "USMALLINT": (0, 2**16 - 1),
    "UINTEGER": (0, 2**32 - 1),
    "UBIGINT": (0, 2**64 - 1),
}
_DECIMAL = re.compile(r"DECIMAL\((\d+),(\d+)\)")
#: Types whose text in DuckDB is the text in which the value arrives.
_SAME_AS_TEXT = frozenset({*_INTEGERS, "UUID", "JSON"})


def fit(existing: str, new: str, carrier: pa.DataType) -> Fit:
    """How values of column type ``new``, carried as ``carrier``, go into a column of type ``existing``. Both types as
    DuckDB prints them."""
    if existing == new:
        return Fit.SAME
    if existing == "VARCHAR" and (is_text(carrier) or new in _SAME_AS_TEXT or _DECIMAL.fullmatch(new)):
        return Fit.KEEP
    if _contains(existing, new):
        return Fit.KEEP
    if _contains(new, existing) or (new == "VARCHAR" and existing in _SAME_AS_TEXT):
        return Fit.WIDEN
    return Fit.NO


def _contains(wide: str, narrow: str) -> bool:
    """Whether each value of ``narrow`` is a value of ``wide``, exactly."""
    if wide in _INTEGERS and narrow in _INTEGERS:
        return _INTEGERS[wide][0] <= _INTEGERS[narrow][0] and _INTEGERS[wide][1] >= _INTEGERS[narrow][1]
    if wide == "DOUBLE":
        return narrow in ("FLOAT", "TINYINT", "SMALLINT", "INTEGER", "UTINYINT", "USMALLINT", "UINTEGER")
    if w := _DECIMAL.fullmatch(wide):
        whole = int(w[1]) - int(w[2])
        if n := _DECIMAL.fullmatch(narrow):
            return int(w[2]) >= int(n[2]) and whole >= int(n[1]) - int(n[2])
        return narrow in _INTEGERS and 10**whole > max(abs(v) for v in _INTEGERS[narrow])
    return False


# -- the published matrix --------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class TypeRow:
    """One row of the published matrix: ``source`` type (Arrow, with the meaning of a text carrier in brackets), the
    ``column`` type here, whether every value survives exactly, and what happens to those that do not."""

    source: str
    column: str
    lossless: bool
    note: str = ""


def type_note(field: Field) -> str:
    """What a reader should know about a column: a fallback, or values that go to quarantine. Empty for most."""
    kind = field.type
    while is_list(kind):
        kind = kind.value_type
    if pa.types.is_decimal(kind) and _decimal(kind) is None:
        return f"exact decimal text: DuckDB's DECIMAL has at most {_MOST_DIGITS} digits"
    if is_text(kind) and field.logical == "numeric":
        return "exact decimal text: DuckDB has no numeric without a scale"
    if is_text(kind) and field.logical == "interval":
        return "the interval's text: DuckDB's INTERVAL would print it otherwise"
    if is_text(kind) and field.logical == "json":
        if kind != field.type:
            return "lists of JSON text"
        return "the text itself, not checked again"
    if is_text(kind) and field.logical not in (None, "uuid"):
        return "the value's text"
    if pa.types.is_timestamp(kind) and kind.tz is not None and kind.unit == "ns":
        return "values finer than a microsecond go to quarantine"
    if (pa.types.is_time(kind) or pa.types.is_duration(kind)) and kind.unit == "ns":
        return "values finer than a microsecond go to quarantine"
    if pa.types.is_timestamp(kind):
        return "infinity included; years beyond DuckDB's (290309 BC to 294246) go to quarantine"
    if pa.types.is_date(kind):
        return "infinity included"
    if pa.types.is_time(kind):
        return "24:00:00 included"
    return ""


_SHOWN: tuple[tuple[pa.DataType, str | None], ...] = (
    (pa.bool_(), None),
    (pa.int8(), None),
    (pa.int16(), None),
    (pa.int32(), None),
    (pa.int64(), None),
    (pa.uint8(), None),
    (pa.uint16(), None),
    (pa.uint32(), None),
    (pa.uint64(), None),
    (pa.float16(), None),
    (pa.float32(), None),
    (pa.float64(), None),
    (pa.decimal128(15, 2), None),
    (pa.decimal256(76, 10), None),
    (pa.string(), None),
    (pa.string(), "numeric"),
    (pa.string(), "uuid"),
    (pa.string(), "json"),
    (pa.string(), "interval"),
    (pa.string(), "xml"),
    (pa.string(), "enum"),
    (pa.string(), "text"),
    (pa.binary(), None),
    (pa.binary(16), None),
    (pa.date32(), None),
    (pa.time64("us"), None),
    (pa.time64("ns"), None),
    (pa.timestamp("us"), None),
    (pa.timestamp("us", tz="UTC"), None),
    (pa.timestamp("ns"), None),
    (pa.timestamp("ns", tz="UTC"), None),
    (pa.duration("us"), None),
    (pa.list_(pa.int64()), None),
    (pa.list_(pa.list_(pa.string())), None),
    (pa.list_(pa.string()), "uuid"),
    (pa.struct([pa.field("a", pa.int32()), pa.field("b", pa.string())]), None),
    (pa.null(), None),
)


def type_matrix_rows() -> list[TypeRow]:
    """The matrix for the documentation, computed by the functions that a sync uses."""
    rows = []
    for kind, logical in _SHOWN:
        field = Field(name="x", type=kind, logical=logical)
        note = type_note(field)
        rows.append(
            TypeRow(
                source=f"{kind} ({logical})" if logical else str(kind),
                column=column_type(field),
                lossless="quarantine" not in note,
                note=note,
            )
        )
    return rows
