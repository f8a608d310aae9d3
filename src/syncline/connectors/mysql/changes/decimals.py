"""Decimals in MySQL's packing: groups of nine digits in four bytes each, complemented when negative."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["decimal_reader"]

#: Digits of a group that is not full -> bytes that they take.
_DIGIT_BYTES = (0, 1, 1, 2, 2, 3, 3, 4, 4, 4)


def decimal_reader(precision: int, scale: int) -> Callable[[bytes, int], tuple[str, int]]:
    """Takes a value of that precision and scale at a place; gives its text and the place after it."""
    whole, whole_rest = divmod(precision - scale, 9)
    fraction, fraction_rest = divmod(scale, 9)
    lead = _DIGIT_BYTES[whole_rest]
    tail = _DIGIT_BYTES[fraction_rest]
    size = lead + 4 * whole + 4 * fraction + tail
    widths = [
        *([(lead, whole_rest)] if lead else []),
        *([(4, 9)] * whole),
    ]
    after = [*([(4, 9)] * fraction), *([(tail, fraction_rest)] if tail else [])]

    def read(data: bytes, at: int) -> tuple[str, int]:
        negative = not data[at] & 0x80
        raw = bytearray(data[at : at + size])
        raw[0] ^= 0x80
        if negative:
            raw = bytearray(b ^ 0xFF for b in raw)
        place, digits = 0, []
        for width, count in widths:
            digits.append(str(int.from_bytes(raw[place : place + width], "big")).rjust(count, "0"))
            place += width
        text = "".join(digits).lstrip("0") or "0"
        if after:
            parts = []
            for width, count in after:
                parts.append(str(int.from_bytes(raw[place : place + width], "big")).rjust(count, "0"))
                place += width
            text += "." + "".join(parts)
        return ("-" + text if negative else text), at + size

    return read
