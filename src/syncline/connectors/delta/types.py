"""Which type a column has in a Delta table, and the table's schema as its log writes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from syncline.core.errors import ErrorKind, SynclineError

__all__ = ["arrow_schema", "delta_schema", "storage_type", "type_name", "type_note", "uses_ntz"]

_MOST_DIGITS = 38
_PLAIN: dict[pa.DataType, str] = {
    pa.bool_(): "boolean",
    pa.int8(): "byte",
    pa.int16(): "short",
    pa.int32(): "integer",
    pa.int64(): "long",
    pa.float32(): "float",
    pa.float64(): "double",
    pa.string(): "string",
    pa.binary(): "binary",
    pa.date32(): "date",
    pa.timestamp("us", tz="UTC"): "timestamp",
    pa.timestamp("us"): "timestamp_ntz",
}
_NAMED = {name: kind for kind, name in _PLAIN.items()}
_UNSIGNED = {
    pa.uint8(): pa.int16(),
    pa.uint16(): pa.int32(),
    pa.uint32(): pa.int64(),
    pa.uint64(): pa.decimal128(20, 0),
}


def storage_type(kind: pa.DataType) -> pa.DataType:
    """The type in which files hold it: one of Delta's own."""
    if kind in _PLAIN:
        return kind
    if kind in _UNSIGNED:
        return _UNSIGNED[kind]
    if pa.types.is_dictionary(kind):
        return storage_type(kind.value_type)
    if pa.types.is_float16(kind):
        return pa.float32()
    if pa.types.is_null(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind) or pa.types.is_binary_view(kind):
        return pa.binary()
    if pa.types.is_decimal(kind):
        scale = max(kind.scale, 0)
        digits = max(kind.precision - min(kind.scale, 0), scale)
        return pa.decimal128(digits, scale) if digits <= _MOST_DIGITS else pa.string()
    if pa.types.is_date64(kind):
        return pa.date32()
    if pa.types.is_time(kind):
        return pa.string()
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us") if kind.tz is None else pa.timestamp("us", tz="UTC")
    if pa.types.is_duration(kind):
        return pa.int64()
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return pa.list_(pa.field("element", storage_type(kind.value_type)))
    if pa.types.is_struct(kind) and kind.num_fields:
        return pa.struct([pa.field(f.name, storage_type(f.type)) for f in kind])
    raise SynclineError(
        ErrorKind.SCHEMA, f"Delta Lake has no type for a column of Arrow type {kind}", hint="leave the column out"
    )


def type_note(kind: pa.DataType) -> str | None:
    """Why a column is not kept in its own type; None when it is."""
    if pa.types.is_decimal(kind) and pa.types.is_string(storage_type(kind)):
        return f"exact decimal text: Delta holds at most {_MOST_DIGITS} digits"
    if pa.types.is_time(kind):
        return "text (HH:MM:SS.ffffff): Delta has no time of day"
    if pa.types.is_duration(kind):
        return f"64-bit integer: {kind.unit}"
    if pa.types.is_unsigned_integer(kind):
        return "the next larger signed type"
    return None


def type_name(kind: pa.DataType) -> Any:
    """Delta's word for a storage type; nested ones are objects."""
    if kind in _PLAIN:
        return _PLAIN[kind]
    if pa.types.is_decimal(kind):
        return f"decimal({kind.precision},{kind.scale})"
    if pa.types.is_list(kind):
        return {"type": "array", "elementType": type_name(kind.value_type), "containsNull": True}
    if pa.types.is_struct(kind):
        return {"type": "struct", "fields": [_field(f) for f in kind]}
    raise SynclineError(ErrorKind.INTERNAL, f"{kind} is not a type of Delta's")


def _field(field: pa.Field) -> dict[str, Any]:
    return {"name": field.name, "type": type_name(field.type), "nullable": True, "metadata": {}}


def delta_schema(schema: pa.Schema) -> dict[str, Any]:
    """The schema as the log's ``schemaString`` holds it."""
    return {"type": "struct", "fields": [_field(f) for f in schema]}


def arrow_schema(data: Mapping[str, Any]) -> pa.Schema:
    """Inverse of :func:`delta_schema`."""
    return pa.schema([pa.field(f["name"], _arrow(f["type"])) for f in data["fields"]])


def _arrow(name: Any) -> pa.DataType:
    if isinstance(name, str):
        if name in _NAMED:
            return _NAMED[name]
        if name == "decimal":
            return pa.decimal128(10, 0)
        if name.startswith("decimal("):
            precision, scale = name[8:-1].split(",")
            return pa.decimal128(int(precision), int(scale))
    elif name["type"] == "array":
        return pa.list_(pa.field("element", _arrow(name["elementType"])))
    elif name["type"] == "struct":
        return pa.struct([pa.field(f["name"], _arrow(f["type"])) for f in name["fields"]])
    raise SynclineError(
        ErrorKind.SCHEMA,
        f"the table has a column of Delta type {name!r}, which is not written here",
        hint="drop the column, or write the stream to a table of its own",
    )


def uses_ntz(schema: pa.Schema) -> bool:
    """Whether any column is a timestamp without a time zone, which readers must know of."""
    return any(_has_ntz(f.type) for f in schema)


def _has_ntz(kind: pa.DataType) -> bool:
    if pa.types.is_list(kind):
        return _has_ntz(kind.value_type)
    if pa.types.is_struct(kind):
        return any(_has_ntz(f.type) for f in kind)
    return bool(pa.types.is_timestamp(kind) and kind.tz is None)
