"""Column types for Arrow types and meanings of text carriers; which type fits into which; the published matrix.

What a Parquet load cannot bring into its column lies in the stage as text and is converted when it is committed: bytes
as hexadecimal digits, JSON as its text.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import pyarrow as pa

from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.schema import Field

__all__ = [
    "CLUSTERED",
    "Fit",
    "TypeRow",
    "cast",
    "column_type",
    "fit",
    "is_bytes",
    "is_nested",
    "is_text",
    "rank",
    "stage_arrow",
    "stage_type",
    "staged_value",
    "type_matrix_rows",
    "type_note",
]

#: Types by which a table can be clustered.
CLUSTERED = frozenset({"BOOL", "INT64", "NUMERIC", "BIGNUMERIC", "STRING", "DATE", "DATETIME", "TIMESTAMP"})

_PLAIN: dict[pa.DataType, str] = {
    pa.null(): "STRING",
    pa.bool_(): "BOOL",
    pa.int8(): "INT64",
    pa.int16(): "INT64",
    pa.int32(): "INT64",
    pa.int64(): "INT64",
    pa.uint8(): "INT64",
    pa.uint16(): "INT64",
    pa.uint32(): "INT64",
    pa.uint64(): "NUMERIC",
    pa.float16(): "FLOAT64",
    pa.float32(): "FLOAT64",
    pa.float64(): "FLOAT64",
    pa.date32(): "DATE",
    pa.date64(): "DATE",
}


def is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def is_bytes(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)
    )  # fmt: skip


def is_nested(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_struct(kind))


def column_type(field: Field) -> str:
    """The column type of a field. ``schema`` error for an Arrow type that has none."""
    kind = field.type
    if kind in _PLAIN:
        return _PLAIN[kind]
    if is_text(kind):
        return "JSON" if field.logical == "json" else "STRING"
    if is_bytes(kind):
        return "BYTES"
    if is_nested(kind):
        return "JSON"
    if pa.types.is_decimal(kind):
        return _decimal_type(kind)
    if pa.types.is_time(kind):
        return "TIME"
    if pa.types.is_timestamp(kind):
        return "DATETIME" if kind.tz is None else "TIMESTAMP"
    if pa.types.is_duration(kind):
        return "INT64"
    raise SynclineError(
        ErrorKind.SCHEMA,
        f"column {field.name!r} is of Arrow type {kind}, for which BigQuery has no column type here",
        hint="leave the column out",
        where={"connector": "bigquery", "column": field.name},
    )


def _digits(kind: pa.DataType) -> tuple[int, int]:
    """Digits before and after the point."""
    scale = max(kind.scale, 0)
    return max(kind.precision - kind.scale, 0), scale


def _decimal_type(kind: pa.DataType) -> str:
    whole, scale = _digits(kind)
    if whole <= 29 and scale <= 9:
        return "NUMERIC"
    # Parquet's decimals, and so the stage's, have at most 76 digits here; BIGNUMERIC's 39th digit is only half one.
    return "BIGNUMERIC" if whole <= 38 and scale <= 38 else "STRING"


def stage_arrow(field: Field) -> pa.DataType:
    """The Arrow type in which a column lies in a staged file."""
    kind, column = field.type, column_type(field)
    if column in ("NUMERIC", "BIGNUMERIC"):
        if not pa.types.is_decimal(kind):
            return pa.decimal128(20, 0)
        whole, scale = _digits(kind)
        precision = max(whole + scale, 1)
        return pa.decimal128(precision, scale) if precision <= 38 else pa.decimal256(precision, scale)
    return {
        "BOOL": pa.bool_(),
        "INT64": pa.int64(),
        "FLOAT64": pa.float64(),
        "DATE": pa.date32(),
        "TIME": pa.time64("us"),
        "DATETIME": pa.timestamp("us"),
        "TIMESTAMP": pa.timestamp("us", tz="UTC"),
    }.get(column, pa.string())


def stage_type(field: Field) -> str:
    """The type of a staged column."""
    column = column_type(field)
    return "STRING" if column in ("BYTES", "JSON") else column


def staged_value(field: Field, wanted: str, column: str) -> str:
    """SQL of a staged ``column``'s value in a column of type ``wanted``."""
    own = column_type(field)
    if own == "BYTES":
        return cast(f"FROM_HEX({column})", own, wanted)
    if own == "JSON":
        # A number that JSON's 64 bits cannot hold was set aside before: PARSE_JSON refuses it, if nothing else is said,
        # and never rounds.
        return column if wanted == "STRING" else f"PARSE_JSON({column})"
    return cast(column, own, wanted)


def cast(value: str, own: str, wanted: str) -> str:
    return value if own == wanted else f"CAST({value} AS {wanted})"


def rank(field: Field, value: str) -> str:
    """What a cursor is ordered by: exact decimal text as the number that it is."""
    if is_text(field.type) and field.logical == "numeric":
        return f"SAFE_CAST({value} AS BIGNUMERIC)"
    return value


class Fit(StrEnum):
    """How values of a new type go into a column that exists."""

    SAME = "same"
    KEEP = "keep"  #: the column is wide enough as it is
    WIDEN = "widen"  #: the column can be altered to the new type without changing a value
    NO = "no"  #: a person must decide


_KEEPS = {
    # existing: new types whose every value it holds
    "NUMERIC": {"INT64"},
    "BIGNUMERIC": {"INT64", "NUMERIC"},
    "STRING": {"INT64", "JSON"},
}


def fit(existing: str, new: str) -> Fit:
    """How values of column type ``new`` go into a column of type ``existing``."""
    if existing == new:
        return Fit.SAME
    if new in _KEEPS.get(existing, ()):
        return Fit.KEEP
    # What ALTER COLUMN SET DATA TYPE takes, of which FLOAT64 would lose digits.
    if existing in _KEEPS.get(new, ()) and new != "STRING":
        return Fit.WIDEN
    return Fit.NO


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
    kind, column = field.type, column_type(field)
    if column == "JSON":
        if is_nested(kind):
            return "as JSON: an ARRAY could hold no NULL; bytes as hexadecimal text, NaN and infinity as text"
        return "the value, not its spacing; numbers beyond 64 bits, \\u0000 and broken surrogates go to quarantine"
    if pa.types.is_decimal(kind) and column == "STRING":
        return "exact decimal text: BIGNUMERIC has at most 38 digits before and after the point"
    if is_text(kind) and field.logical == "numeric":
        return "exact decimal text: BigQuery has no numeric without a scale"
    if is_text(kind) and field.logical == "interval":
        return "the interval's text: BigQuery's INTERVAL would print it otherwise"
    if is_text(kind) and field.logical is not None:
        return "the value's text"
    if pa.types.is_duration(kind):
        return "microseconds"
    if pa.types.is_time(kind):
        return (
            "24:00:00" + (", and what is finer than a microsecond," if kind.unit == "ns" else "") + " go to quarantine"
        )
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        finer = ", and what is finer than a microsecond," if getattr(kind, "unit", "") == "ns" else ""
        return f"infinity and years outside of 1 to 9999{finer} go to quarantine"
    return ""


_SHOWN: tuple[tuple[pa.DataType, str | None], ...] = (
    (pa.bool_(), None),
    (pa.int16(), None),
    (pa.int32(), None),
    (pa.int64(), None),
    (pa.uint64(), None),
    (pa.float32(), None),
    (pa.float64(), None),
    (pa.decimal128(15, 2), None),
    (pa.decimal128(38, 18), None),
    (pa.decimal256(76, 38), None),
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
