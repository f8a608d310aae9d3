"""What goes into the readers of COPY BINARY and comes out: columns, batches, and cells that have no place in these."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from syncline.core.errors import ErrorKind, SynclineError

__all__ = ["REASONS", "CellException", "CopyColumn", "DecodedBatch", "Layout", "layout_of", "schema_of"]

#: Dimensions of an array in Postgres (MAXDIM).
_MAX_DEPTH = 6

#: Why a cell is not in its batch, by the number that ``enum reason`` of ``_decode.c`` gives it.
REASONS = (
    "",
    "the type has no infinity",
    "outside the range of the type",
    "the type has no NaN",
    "more digits than the precision of the type",
    "more digits after the point than the scale of the type",
    "the type ends before 24:00",
    "an array of another number of dimensions",
    "an array with a lower bound other than 1",
    "not UTF-8",
)


@dataclass(frozen=True, kw_only=True)
class CopyColumn:
    """One column of the COPY, in the order of the query.

    ``decoder`` names the binary form that the server sends: bool, int2, int4, int8, oid, float4, float8, numeric,
    numeric_text, text (also varchar, bpchar, name, enum, citext), json, xml, jsonb, bytea, date, time, timestamp,
    timestamptz, uuid. For an array it is that of the items, and ``arrow`` a list as deep as the array has dimensions.
    ``numeric`` with a string type is ``numeric_text``. Any other type must be cast to text in the query.
    """

    name: str
    decoder: str
    arrow: pa.DataType


@dataclass(frozen=True, kw_only=True)
class CellException:
    """A cell whose value the Arrow type cannot hold; the batch has NULL there.

    ``row`` counts from 0 within the batch, ``column`` within the columns. ``text`` is the value exactly as the server
    prints it (DateStyle ISO, TimeZone UTC, bytea_output hex). ``reason`` completes "not kept because: …".
    """

    row: int
    column: int
    text: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class DecodedBatch:
    """Rows of the COPY, in its order, and the few cells that are not in them."""

    batch: pa.RecordBatch
    exceptions: tuple[CellException, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A column as the decoders see it: what a value is (``op``, one word per pair of wire form and Arrow type), in how
    many lists it lies, and the decimals' digits."""

    op: str
    depth: int
    precision: int = 0
    scale: int = 0


_FIXED: dict[str, pa.DataType] = {
    "bool": pa.bool_(),
    "int2": pa.int16(),
    "int4": pa.int32(),
    "int8": pa.int64(),
    "float4": pa.float32(),
    "float8": pa.float64(),
    "numeric_text": pa.string(),
    "text": pa.string(),
    "jsonb": pa.string(),
    "bytea": pa.binary(),
    "date": pa.date32(),
    "time": pa.time64("us"),
    "timestamp": pa.timestamp("us"),
    "timestamptz": pa.timestamp("us", tz="UTC"),
    "uuid": pa.string(),
}
_SAME_WIRE = {"json": "text", "xml": "text"}


def layout_of(column: CopyColumn) -> Layout:
    """Raises ``internal`` for a pair of decoder and Arrow type that there is not: callers choose from a closed list."""
    leaf, depth = column.arrow, 0
    while pa.types.is_list(leaf):
        leaf, depth = leaf.value_type, depth + 1
    layout = _leaf_layout(_SAME_WIRE.get(column.decoder, column.decoder), leaf)
    if layout is None or depth > _MAX_DEPTH:
        raise SynclineError(
            ErrorKind.INTERNAL,
            f"no reader for COPY's {column.decoder} into Arrow's {column.arrow}",
            hint="cast the column to text in the query and read it as text",
            where={"column": column.name},
        )
    return dataclasses.replace(layout, depth=depth)


def _leaf_layout(decoder: str, leaf: pa.DataType) -> Layout | None:
    if decoder == "numeric" and pa.types.is_decimal128(leaf):
        return Layout(op="decimal128", depth=0, precision=leaf.precision, scale=leaf.scale)
    if decoder == "numeric" and pa.types.is_decimal256(leaf):
        return Layout(op="decimal256", depth=0, precision=leaf.precision, scale=leaf.scale)
    if decoder == "numeric" and leaf == pa.string():
        return Layout(op="numeric_text", depth=0)
    if decoder == "oid":
        return {pa.uint32(): Layout(op="oid4", depth=0), pa.int64(): Layout(op="oid8", depth=0)}.get(leaf)
    return Layout(op=decoder, depth=0) if _FIXED.get(decoder) == leaf else None


def schema_of(columns: Sequence[CopyColumn]) -> pa.Schema:
    return pa.schema([pa.field(column.name, column.arrow) for column in columns])
