"""Decimals with more digits than a destination's own type takes, as text."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["decimal_text"]


def decimal_text(array: pa.Array) -> pa.Array:
    """Plain digits: never an exponent, always all digits of the scale. No Python object per value."""
    kind = array.type
    make = pa.decimal256 if kind.bit_width == 256 else pa.decimal128
    # Arrow's own text has an exponent for small values; that of the digits without their point never does.
    digits = pa.Array.from_buffers(
        make(kind.precision, 0), len(array), array.buffers(), null_count=array.null_count, offset=array.offset
    ).cast(pa.string())
    if kind.scale == 0:
        return digits
    if kind.scale < 0:
        zeros = pa.scalar("0" * -kind.scale)
        return pc.if_else(pc.equal(digits, "0"), digits, pc.binary_join_element_wise(digits, zeros, ""))
    sign = pc.if_else(pc.starts_with(digits, "-"), "-", "")
    digits = pc.utf8_lpad(pc.utf8_ltrim(digits, "-"), kind.scale + 1, "0")
    whole = pc.utf8_slice_codeunits(digits, 0, -kind.scale)
    fraction = pc.utf8_slice_codeunits(digits, -kind.scale)
    return pc.binary_join_element_wise(sign, whole, pa.scalar("."), fraction, "")
