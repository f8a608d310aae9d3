"""What each Arrow type becomes in each file format; :mod:`syncline.sdk.files.columns` converts."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa

from syncline.connectors.files.config import FormatType

__all__ = ["file_type", "type_note"]

#: Readers of Parquet (DuckDB, Spark, Trino, Athena) stop at 38 digits or silently take a float for more.
_MOST_DIGITS = 38


def file_type(kind: pa.DataType, format_type: FormatType) -> pa.DataType:
    """The type of a column of type ``kind`` in a file of the format. For CSV and JSON lines, whose values are all text,
    it is the type that the text stands for."""
    return _map(kind, _parquet if format_type == "Parquet" else _text)


def type_note(kind: pa.DataType, format_type: FormatType) -> str | None:
    """Why a column is not kept in its own type; None when it is. For ``check`` and the documentation."""
    if pa.types.is_decimal(kind) and kind.precision > _MOST_DIGITS and format_type == "Parquet":
        return f"exact decimal text: readers of Parquet hold at most {_MOST_DIGITS} digits, and it has {kind.precision}"
    if pa.types.is_decimal(kind) and format_type == "JSONL" and kind.precision > 15:
        return "exact decimal text in quotes: readers of JSON take a number for a double, which holds 15 digits"
    if _is_bytes(kind) and format_type != "Parquet":
        return "text: \\x and two hexadecimal digits per byte"
    if pa.types.is_nested(kind) and format_type == "CSV":
        return "JSON text"
    if pa.types.is_duration(kind):
        return f"64-bit integer: {kind.unit}"
    if pa.types.is_float16(kind):
        return "32-bit float"
    return None


def _map(kind: pa.DataType, leaf: Callable[[pa.DataType], pa.DataType]) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        return _map(kind.value_type, leaf)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return pa.list_(pa.field("element", _map(kind.value_type, leaf)))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(f.name, _map(f.type, leaf)) for f in kind])
    return leaf(kind)


def _parquet(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_decimal(kind):
        if kind.precision > _MOST_DIGITS:
            return pa.string()
        return pa.decimal128(kind.precision, kind.scale)
    return _text(kind)


def _text(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_float16(kind):
        return pa.float32()
    if pa.types.is_null(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return pa.binary()
    if pa.types.is_duration(kind):
        return pa.int64()
    if pa.types.is_date64(kind):
        return pa.date32()
    return kind


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind))
