"""Values of COPY BINARY as the server itself prints them, for the cells that have no place in an Arrow array.

Used by both readers of COPY; such cells are few, so this is plain Python. The rules are those of the ``*_out``
functions in Postgres' src/backend/utils/adt, under DateStyle ISO, TimeZone UTC, bytea_output hex and
extra_float_digits 1 (or more), which are what our sessions set.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from fractions import Fraction

__all__ = ["MalformedError", "cell_text"]

_EPOCH_DAY = 2451545  # Julian day of 2000-01-01, where Postgres counts from
_DAY = 86_400_000_000
#: array_out puts quotes around items with these, the word NULL and the empty string.
_QUOTED = frozenset('{},"\\ \t\n\v\f\r')


class MalformedError(ValueError):
    """Bytes that are not of their type."""


def cell_text(op: str, depth: int, data: bytes) -> str:
    """``data``: the bytes of a cell; ``op`` and ``depth``: its layout (see ``layouts``). Raises MalformedError."""
    try:
        return _array(_PRINTERS[op], data) if depth else _PRINTERS[op](data)
    except (struct.error, IndexError) as error:
        raise MalformedError(str(error)) from error


def _integer(code: str) -> Callable[[bytes], str]:
    layout = struct.Struct(code)
    return lambda data: str(layout.unpack(data)[0])


def numeric_text(data: bytes) -> str:
    """numeric_out()."""
    count, weight, sign, scale = struct.unpack_from(">HhHH", data)
    if len(data) != 8 + 2 * count:
        raise MalformedError("numeric of a wrong length")
    if sign not in {0, 0x4000}:
        name = {0xC000: "NaN", 0xD000: "Infinity", 0xF000: "-Infinity"}.get(sign)
        if name is None or count:
            raise MalformedError("numeric of an unknown sign")
        return name
    groups = struct.unpack_from(f">{count}H", data, 8)
    if scale > 0x3FFF or any(group > 9999 for group in groups):
        raise MalformedError("numeric with an impossible digit or scale")

    def digits(start: int, stop: int) -> str:
        return "".join(f"{groups[i] if 0 <= i < count else 0:04d}" for i in range(start, stop))

    whole = digits(0, weight + 1)
    text = (whole[: min(3, len(whole) - 1)].lstrip("0") + whole[min(3, len(whole) - 1) :]) if whole else "0"
    if scale:
        text += "." + digits(weight + 1, weight + 1 + (scale + 3) // 4)[:scale]
    return "-" + text if sign else text


def _float(layout: str, digits: int, plain_below: int) -> Callable[[bytes], str]:
    """float4out, float8out: the shortest digits that read back as the same value (src/common/{f2s,d2s}.c)."""
    integer = {">f": ">i", ">d": ">q"}[layout]

    def text(data: bytes) -> str:
        (value,) = struct.unpack(layout, data)
        if math.isnan(value):
            return "NaN"
        if math.isinf(value):
            return "Infinity" if value > 0 else "-Infinity"
        sign = "-" if math.copysign(1.0, value) < 0 else ""
        if value == 0:
            return sign + "0"
        (bits,) = struct.unpack(integer, struct.pack(layout, abs(value)))
        digits_found, exponent = _shortest(layout, integer, bits, digits)
        return sign + _notation(digits_found, exponent, plain_below)

    return text


def _shortest(layout: str, integer: str, bits: int, most: int) -> tuple[str, int]:
    """Digits d and exponent e with 0.d * 10^(e+1) nearest to the value among the shortest that lie *within* half a unit
    of it; Postgres does not accept the bounds themselves, which Python's repr() does."""

    def at(pattern: int) -> Fraction:
        (value,) = struct.unpack(layout, struct.pack(integer, pattern))
        return Fraction(2) ** (128 if layout == ">f" else 1024) if math.isinf(value) else Fraction(value)

    value = at(bits)
    low, high = (at(bits - 1) + value) / 2, (value + at(bits + 1)) / 2
    exponent = math.floor(math.log10(value)) if value > Fraction(1, 10**300) else -324
    while Fraction(10) ** (exponent + 1) <= value:
        exponent += 1
    while Fraction(10) ** exponent > value:
        exponent -= 1
    for length in range(1, most + 1):
        unit = Fraction(10) ** (exponent - length + 1)
        below = value // unit
        inside = [n for n in (below, below + 1) if low < n * unit < high]
        if inside:
            best = min(inside, key=lambda n: (abs(n * unit - value), n % 2))
            found = str(best)
            if len(found) > length:  # 9.99… became 10
                exponent += 1
            return found.rstrip("0"), exponent
    raise AssertionError("a float needs more digits than there are")


def _notation(digits: str, exponent: int, plain_below: int) -> str:
    if -4 <= exponent < plain_below:
        if exponent < 0:
            return "0." + "0" * (-exponent - 1) + digits
        whole = digits[: exponent + 1].ljust(exponent + 1, "0")
        rest = digits[exponent + 1 :]
        return f"{whole}.{rest}" if rest else whole
    head = f"{digits[0]}.{digits[1:]}" if len(digits) > 1 else digits
    return f"{head}e{'-' if exponent < 0 else '+'}{abs(exponent):02d}"


def _civil(day: int) -> tuple[int, int, int]:
    """Year (astronomical: 0 is 1 BC), month, day of a Julian day; proleptic Gregorian, without bounds."""
    z = day - 1721120 + 60 - 60  # days since 0000-03-01
    era, of_era = divmod(z, 146097)
    year_of_era = (of_era - of_era // 1460 + of_era // 36524 - of_era // 146096) // 365
    of_year = of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    month_index = (5 * of_year + 2) // 153
    month = month_index + 3 if month_index < 10 else month_index - 9
    return year_of_era + era * 400 + (month <= 2), month, of_year - (153 * month_index + 2) // 5 + 1


def _day_text(days: int) -> tuple[str, str]:
    year, month, day = _civil(days + _EPOCH_DAY)
    shown, suffix = (year, "") if year > 0 else (1 - year, " BC")
    return f"{shown:04d}-{month:02d}-{day:02d}", suffix


def _clock_text(microseconds: int) -> str:
    seconds, fraction = divmod(microseconds, 1_000_000)
    text = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    return text + f".{fraction:06d}".rstrip("0") if fraction else text


def _date(data: bytes) -> str:
    (days,) = struct.unpack(">i", data)
    if days in {2**31 - 1, -(2**31)}:
        return "infinity" if days > 0 else "-infinity"
    return "".join(_day_text(days))


def _time(data: bytes) -> str:
    return _clock_text(*struct.unpack(">q", data))


def _timestamp(zone: str) -> Callable[[bytes], str]:
    def text(data: bytes) -> str:
        (value,) = struct.unpack(">q", data)
        if value in {2**63 - 1, -(2**63)}:
            return "infinity" if value > 0 else "-infinity"
        days, clock = divmod(value, _DAY)
        date, suffix = _day_text(days)
        return f"{date} {_clock_text(clock)}{zone}{suffix}"

    return text


def _characters(data: bytes) -> str:
    """Text as it is; bytes that are not UTF-8 (only a SQL_ASCII database sends them) as ``\\x..``."""
    return data.decode("utf-8", "backslashreplace")


def _uuid(data: bytes) -> str:
    text = data.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


_PRINTERS: dict[str, Callable[[bytes], str]] = {
    "bool": lambda data: "t" if data[0] else "f",
    "int2": _integer(">h"),
    "int4": _integer(">i"),
    "int8": _integer(">q"),
    "oid4": _integer(">I"),
    "oid8": _integer(">I"),
    "float4": _float(">f", 9, 6),
    "float8": _float(">d", 17, 15),
    "decimal128": numeric_text,
    "decimal256": numeric_text,
    "numeric_text": numeric_text,
    "text": _characters,
    "jsonb": lambda data: _characters(data[1:]),
    "bytea": lambda data: "\\x" + data.hex(),
    "date": _date,
    "time": _time,
    "timestamp": _timestamp(""),
    "timestamptz": _timestamp("+00"),
    "uuid": _uuid,
}


def _array(printer: Callable[[bytes], str], data: bytes) -> str:
    """array_out()."""
    dimensions, _, _ = struct.unpack_from(">iiI", data)
    bounds = [struct.unpack_from(">ii", data, 12 + 8 * k) for k in range(dimensions)]
    at, items = 12 + 8 * dimensions, []
    for _ in range(math.prod(size for size, _ in bounds) if bounds else 0):
        (length,) = struct.unpack_from(">i", data, at)
        at += 4
        if length < 0:
            items.append("NULL")
        else:
            items.append(_item(printer(data[at : at + length])))
            at += length
    if at != len(data):
        raise MalformedError("array of a wrong length")
    if not bounds:
        return "{}"
    for size, _ in reversed(bounds):
        items = ["{" + ",".join(items[k : k + size]) + "}" for k in range(0, len(items), size)]
    prefix = "".join(f"[{lower}:{lower + size - 1}]" for size, lower in bounds)
    return f"{prefix}={items[0]}" if any(lower != 1 for _, lower in bounds) else items[0]


def _item(text: str) -> str:
    if text and text.upper() != "NULL" and not _QUOTED.intersection(text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
