"""What each Arrow type becomes in each file format, and the conversion of a column to it. No Python object per
value."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

from syncline.connectors.files.config import FormatType

__all__ = ["decimal_text", "file_type", "to_file_type", "type_note"]

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


def to_file_type(column: pa.ChunkedArray, wanted: pa.DataType) -> pa.ChunkedArray:
    """The column in the type that :func:`file_type` chose for it; itself when that is its own."""
    if column.type == wanted:
        return column
    return pa.chunked_array([_converted(chunk, wanted) for chunk in column.chunks], wanted)


def _converted(array: pa.Array, wanted: pa.DataType) -> pa.Array:
    kind = array.type
    if pa.types.is_decimal(kind) and pa.types.is_string(wanted):
        return decimal_text(array)
    if pa.types.is_dictionary(kind):
        return _converted(array.dictionary_decode(), wanted)
    if pa.types.is_list(kind) and not kind.value_type.equals(wanted.value_type):
        # `values` is the child as it lies there; offsets and NULLs are kept.
        child = _converted(array.values, wanted.value_type)
        return pa.ListArray.from_arrays(_whole(array.offsets), child, type=wanted, mask=_nulls(array))
    if pa.types.is_struct(kind):
        children = [_converted(array.field(i), f.type) for i, f in enumerate(wanted)]
        return pa.StructArray.from_arrays(children, fields=list(wanted), mask=_nulls(array))
    return array.cast(wanted)


def _nulls(array: pa.Array) -> pa.Array | None:
    return array.is_null() if array.null_count else None


def _whole(offsets: pa.Array) -> pa.Array:
    # A mask is only taken together with offsets that do not themselves start inside a buffer.
    return pa.concat_arrays([offsets]) if offsets.offset == 0 else pa.array(offsets.to_numpy(zero_copy_only=False))


def decimal_text(array: pa.Array) -> pa.Array:
    """Decimals as plain digits: never with an exponent, always with all digits of the scale."""
    scale = array.type.scale
    if 0 <= scale <= 6:
        return array.cast(pa.string())  # Arrow writes an exponent only below 1e-6
    whole = _unscaled(array).cast(pa.string())
    if scale < 0:
        zero = pc.equal(whole, "0")
        return pc.if_else(zero, "0", pc.binary_join_element_wise(whole, "0" * -scale, ""))
    negative = pc.starts_with(whole, "-")
    digits = pc.utf8_lpad(pc.utf8_ltrim(whole, "-"), scale + 1, "0")
    sign = pc.if_else(negative, "-", "")
    return pc.binary_join_element_wise(
        sign,
        pc.utf8_slice_codeunits(digits, 0, -scale),
        pa.scalar("."),
        pc.utf8_slice_codeunits(digits, -scale),
        "",
    )


def _unscaled(array: pa.Array) -> pa.Array:
    """The same digits without the decimal point: a decimal of scale 0 over the same buffers."""
    kind = array.type
    make = pa.decimal256 if kind.bit_width == 256 else pa.decimal128
    return pa.Array.from_buffers(
        make(kind.precision, 0), len(array), array.buffers(), null_count=array.null_count, offset=array.offset
    )
