"""Which type a column has in an Iceberg table, and schemas from Arrow's to Iceberg's and back."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
from pyiceberg.schema import Schema
from pyiceberg.types import (
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    FloatType,
    IcebergType,
    IntegerType,
    ListType,
    LongType,
    NestedField,
    StringType,
    StructType,
    TimestampType,
    TimestamptzType,
    TimeType,
)

from syncline.core.errors import ErrorKind, SynclineError

__all__ = ["arrow_schema", "iceberg_fields", "storage_type", "type_name", "type_note"]

_MOST_DIGITS = 38
_PLAIN: dict[pa.DataType, IcebergType] = {
    pa.bool_(): BooleanType(),
    pa.int32(): IntegerType(),
    pa.int64(): LongType(),
    pa.float32(): FloatType(),
    pa.float64(): DoubleType(),
    pa.string(): StringType(),
    pa.binary(): BinaryType(),
    pa.date32(): DateType(),
    pa.time64("us"): TimeType(),
    pa.timestamp("us", tz="UTC"): TimestamptzType(),
    pa.timestamp("us"): TimestampType(),
}
_BACK = {str(kind): arrow for arrow, kind in _PLAIN.items()}
_WIDER = {
    pa.int8(): pa.int32(),
    pa.int16(): pa.int32(),
    pa.uint8(): pa.int32(),
    pa.uint16(): pa.int32(),
    pa.uint32(): pa.int64(),
    pa.uint64(): pa.decimal128(20, 0),
    pa.float16(): pa.float32(),
}


def storage_type(kind: pa.DataType) -> pa.DataType:
    """The type in which files hold it: one of Iceberg's own (format version 2)."""
    if kind in _PLAIN:
        return kind
    if kind in _WIDER:
        return _WIDER[kind]
    if pa.types.is_dictionary(kind):
        return storage_type(kind.value_type)
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
        return pa.time64("us")
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us") if kind.tz is None else pa.timestamp("us", tz="UTC")
    if pa.types.is_duration(kind):
        return pa.int64()
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return pa.list_(pa.field("element", storage_type(kind.value_type)))
    if pa.types.is_struct(kind) and kind.num_fields:
        return pa.struct([pa.field(f.name, storage_type(f.type)) for f in kind])
    raise SynclineError(
        ErrorKind.SCHEMA, f"Iceberg has no type for a column of Arrow type {kind}", hint="leave the column out"
    )


def type_note(kind: pa.DataType) -> str | None:
    """Why a column is not kept in its own type; None when it is."""
    if pa.types.is_decimal(kind) and pa.types.is_string(storage_type(kind)):
        return f"exact decimal text: Iceberg holds at most {_MOST_DIGITS} digits"
    if pa.types.is_duration(kind):
        return f"64-bit integer: {kind.unit}"
    if kind in _WIDER and not pa.types.is_floating(kind):
        return "the next larger type that Iceberg has"
    return None


def iceberg_fields(schema: pa.Schema, next_id: Callable[[], int], known: Schema | None = None) -> Schema:
    """The schema with an id for every field: that of ``known`` where name and type fit it, else the next free one."""
    fields = []
    for field in schema:
        before = None
        if known is not None:
            before = next((f for f in known.fields if f.name == field.name), None)
        if before is not None and _arrow(before.field_type).equals(field.type):
            fields.append(before)
            continue
        kind = _iceberg(field.type, next_id)
        # A promotion keeps its id; any other type is another column.
        promoted = before is not None and before.field_type.is_primitive and _promotes(before.field_type, kind)
        number = before.field_id if promoted and before is not None else next_id()
        fields.append(NestedField(field_id=number, name=field.name, field_type=kind, required=False))
    return Schema(*fields)


def _promotes(old: IcebergType, new: IcebergType) -> bool:
    if isinstance(old, DecimalType) and isinstance(new, DecimalType):
        return bool(old.scale == new.scale and old.precision <= new.precision)
    pair = (str(old), str(new))
    return pair in {("int", "long"), ("float", "double")}


def _iceberg(kind: pa.DataType, next_id: Callable[[], int]) -> IcebergType:
    if kind in _PLAIN:
        return _PLAIN[kind]
    if pa.types.is_decimal(kind):
        return DecimalType(kind.precision, kind.scale)
    if pa.types.is_list(kind):
        element = next_id()
        return ListType(element_id=element, element_type=_iceberg(kind.value_type, next_id), element_required=False)
    if pa.types.is_struct(kind):
        fields = [
            NestedField(field_id=next_id(), name=f.name, field_type=_iceberg(f.type, next_id), required=False)
            for f in kind
        ]
        return StructType(*fields)
    raise SynclineError(ErrorKind.INTERNAL, f"{kind} is not a type of Iceberg's")


def arrow_schema(schema: Schema) -> pa.Schema:
    """The columns in the types in which files hold them."""
    return pa.schema([pa.field(f.name, _arrow(f.field_type)) for f in schema.fields])


def _arrow(kind: IcebergType) -> pa.DataType:
    if str(kind) in _BACK:
        return _BACK[str(kind)]
    if isinstance(kind, DecimalType):
        return pa.decimal128(kind.precision, kind.scale)
    if isinstance(kind, ListType):
        return pa.list_(pa.field("element", _arrow(kind.element_type)))
    if isinstance(kind, StructType):
        return pa.struct([pa.field(f.name, _arrow(f.field_type)) for f in kind.fields])
    raise SynclineError(
        ErrorKind.SCHEMA,
        f"the table has a column of Iceberg type {kind}, which is not written here",
        hint="drop the column, or write the stream to a table of its own",
    )


def type_name(kind: pa.DataType) -> str:
    """Iceberg's word for a storage type, as people write it."""
    if pa.types.is_list(kind):
        return f"list<{type_name(kind.value_type)}>"
    return str(_iceberg(kind, lambda: 1))
