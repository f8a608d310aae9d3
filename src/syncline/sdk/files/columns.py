"""Columns in the types in which files hold them. No Python object per value."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["decimal_text", "to_file_type"]


def to_file_type(column: pa.ChunkedArray, wanted: pa.DataType) -> pa.ChunkedArray:
    """The column in the type that a file format has for it; itself when that is its own."""
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
