"""Values in Postgres' text form into Arrow without a compiler: exactly what ``_values.h`` makes of the same texts.

Used by ``decode_fallback.py`` where the extension was not built. One Python object per cell: that is what it costs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa

from syncline.connectors.postgres.changes.values import Form, MalformedValueError, inet_text, money_text, parse_array

__all__ = ["Misfitting", "column_of", "parse_value"]

#: Numbers of ``REASONS``.
_INFINITE, _RANGE, _NAN, _PRECISION, _SCALE, _END_OF_DAY, _DIMENSIONS, _LOWER_BOUND, _UTF8 = range(1, 10)

_INTEGER = re.compile(rb"-?[0-9]{1,19}")
_FLOAT = re.compile(rb"-?[0-9]+(?:\.[0-9]+)?(?:e[+-][0-9]{1,3})?")
_DECIMAL = re.compile(rb"(-?)([0-9]+)(?:\.([0-9]+))?")
_DAY = re.compile(rb"([0-9]{4,7})-([0-9]{2})-([0-9]{2})( BC)?")
_CLOCK = re.compile(rb"([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,6}))?")
_MOMENT = re.compile(
    rb"([0-9]{4,7}-[0-9]{2}-[0-9]{2}) ([0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?)"
    rb"(?:([+-])([0-9]{2})(?::([0-9]{2})(?::([0-9]{2}))?)?)?( BC)?"
)
_HEX = re.compile(rb"\\x((?:[0-9a-fA-F]{2})*)")
_BOUNDS = re.compile(rb"((?:\[-?[0-9]+:-?[0-9]+\])+)=\{")

_DAY_MICROS = 86_400_000_000
_RANGES = {
    "int2": (-(2**15), 2**15 - 1),
    "int4": (-(2**31), 2**31 - 1),
    "int8": (-(2**63), 2**63 - 1),
    "oid8": (0, 2**32 - 1),
}


class Misfitting(Exception):  # noqa: N818  (no error: such a cell travels beside its batch)
    """The value has no place in its Arrow type; ``reason`` is a number of REASONS."""

    def __init__(self, reason: int) -> None:
        super().__init__(reason)
        self.reason = reason


def parse_value(form: Form, data: bytes, *, check_utf8: bool) -> Any:
    """The cell for :func:`column_of`. Raises MalformedValueError, Misfitting."""
    if not form.depth:
        return _scalar(form, data, check_utf8)
    if len(data) < 2:
        raise MalformedValueError("an array without brackets")
    if data.startswith(b"["):
        bounds = _BOUNDS.match(data)
        dimensions = bounds[1].count(b"[") if bounds else 0
        if not 1 <= dimensions <= 6:
            raise MalformedValueError("an array of unknown bounds")
        raise Misfitting(_LOWER_BOUND if dimensions == form.depth else _DIMENSIONS)
    if data == b"{}":
        return []
    dimensions = len(data) - len(data.lstrip(b"{"))
    if not 1 <= dimensions <= 6:
        raise MalformedValueError("an array without brackets")
    if dimensions != form.depth:
        raise Misfitting(_DIMENSIONS)
    reasons: list[int] = []
    items = _items(parse_array(data.decode("latin-1"), form.delimiter), form, check_utf8, reasons)
    if reasons:
        raise Misfitting(reasons[0])
    return items


def _items(texts: Sequence[object], form: Form, check_utf8: bool, reasons: list[int]) -> list[Any]:
    """Every item is looked at, also after one that does not fit: the text must be an array to its end."""
    items: list[Any] = []
    for text in texts:
        if isinstance(text, list):
            items.append(_items(text, form, check_utf8, reasons))
        elif text is None:
            items.append(None)
        else:
            assert isinstance(text, str)
            try:
                items.append(_scalar(form, text.encode("latin-1"), check_utf8))
            except Misfitting as error:
                reasons.append(error.reason)
    return items


def _scalar(form: Form, data: bytes, check_utf8: bool) -> Any:
    op = form.op
    if op == "text":
        if check_utf8:
            try:
                data.decode("utf-8")
            except UnicodeDecodeError:
                raise Misfitting(_UTF8) from None
        return data
    if op in _RANGES:
        low, high = _RANGES[op]
        if not _INTEGER.fullmatch(data) or not low <= (value := int(data)) <= high:
            raise MalformedValueError("an integer of an unknown form")
        return value
    if op in {"decimal128", "decimal256"}:
        return _decimal(form, data)
    return _PARSERS[op](data)


def _bool(data: bytes) -> bool:
    if data not in (b"t", b"f"):
        raise MalformedValueError("a bool of an unknown form")
    return data == b"t"


def _float8(data: bytes) -> float:
    if len(data) > 63 or not (data in (b"NaN", b"Infinity", b"-Infinity") or _FLOAT.fullmatch(data)):
        raise MalformedValueError("a float of an unknown form")
    value = float(data)
    if math.isinf(value) and b"I" not in data:
        raise MalformedValueError("a float beyond its range")
    return value


def _float4(data: bytes) -> float:
    """Rounded once: the nearest double may lie in the middle of two floats where the text does not."""
    value = _float8(data)
    if math.isnan(value) or math.isinf(value):
        return value
    with np.errstate(over="ignore", under="ignore"):
        near = np.float32(value)
        if math.isinf(near):
            largest = Fraction(2**24 - 1) * 2**104
            if abs(Fraction(data.decode())) >= largest + 2**103:
                raise MalformedValueError("a float beyond its range")
            return math.copysign(float(largest), value)
        exact = Fraction(data.decode())
        around = [near, np.nextafter(near, np.float32(-np.inf)), np.nextafter(near, np.float32(np.inf))]
        finite = [each for each in around if not math.isinf(each)]
        best = min(finite, key=lambda each: (abs(Fraction(float(each)) - exact), int(each.view(np.uint32)) & 1))
    return math.copysign(float(best), value)


def _decimal(form: Form, data: bytes) -> Decimal:
    if data == b"NaN":
        raise Misfitting(_NAN)
    if data in (b"Infinity", b"-Infinity"):
        raise Misfitting(_INFINITE)
    found = _DECIMAL.fullmatch(data)
    if not found:
        raise MalformedValueError("a numeric of an unknown form")
    sign, whole, decimals = found[1], found[2].lstrip(b"0"), found[3] or b""
    significant = decimals.rstrip(b"0")
    if not whole and not significant:
        return Decimal((0, (0,), -form.scale))
    high = len(whole) - 1 if whole else -(len(significant) - len(significant.lstrip(b"0"))) - 1
    if high + 1 + form.scale > form.precision:
        raise Misfitting(_PRECISION)
    if len(significant) > form.scale:
        raise Misfitting(_SCALE)
    digits = whole + significant.ljust(form.scale, b"0")
    return Decimal((int(bool(sign)), tuple(digit - 48 for digit in digits), -form.scale))


def _bytea(data: bytes) -> bytes:
    found = _HEX.fullmatch(data)
    if not found:
        raise MalformedValueError("a bytea that is not in hex")
    return bytes.fromhex(found[1].decode())


def _days(year: int, month: int, day: int) -> int:
    """Days from 1970-01-01 in the proleptic Gregorian calendar; year 0 is 1 BC."""
    year -= month <= 2
    era, of_era = divmod(year, 400)
    of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return era * 146097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719468


def _day(data: bytes) -> int | None:
    found = _DAY.fullmatch(data)
    if not found:
        return None
    year, month, day = int(found[1]), int(found[2]), int(found[3])
    if year < 1 or not 1 <= month <= 12 or not 1 <= day <= 31:
        return None
    return _days(1 - year if found[4] else year, month, day)


def _clock(data: bytes) -> int | None:
    found = _CLOCK.fullmatch(data)
    if not found:
        return None
    hour, minute, second = int(found[1]), int(found[2]), int(found[3])
    if hour > 24 or minute > 59 or second > 60:
        return None
    return (hour * 3600 + minute * 60 + second) * 1_000_000 + int((found[4] or b"").ljust(6, b"0"))


def _date(data: bytes) -> int:
    days = _day(data)
    if days is None:
        if data in (b"infinity", b"-infinity"):
            raise Misfitting(_INFINITE)
        raise MalformedValueError("a date of an unknown form")
    if not -(2**31) <= days < 2**31:
        raise MalformedValueError("a date beyond its range")
    return days


def _time(data: bytes) -> int:
    clock = _clock(data)
    if clock is None or clock > _DAY_MICROS:
        raise MalformedValueError("a time of an unknown form")
    if clock == _DAY_MICROS:
        raise Misfitting(_END_OF_DAY)
    return clock


def _timestamp(zoned: bool) -> Callable[[bytes], int]:
    def parse(data: bytes) -> int:
        if data in (b"infinity", b"-infinity"):
            raise Misfitting(_INFINITE)
        found = _MOMENT.fullmatch(data)
        if not found or (found[3] is not None) != zoned:
            raise MalformedValueError("a timestamp of an unknown form")
        days, clock = _day(found[1] + (found[7] or b"")), _clock(found[2])
        minutes, seconds = int(found[5] or 0), int(found[6] or 0)
        if days is None or clock is None or minutes > 59 or seconds > 59:
            raise MalformedValueError("a timestamp of an unknown form")
        zone = (int(found[4] or 0) * 3600 + minutes * 60 + seconds) * 1_000_000
        moment = days * _DAY_MICROS + clock - (-zone if found[3] == b"-" else zone)
        if not -(2**63) <= moment < 2**63:
            raise Misfitting(_RANGE)
        return moment

    return parse


_PARSERS: dict[str, Callable[[bytes], Any]] = {
    "bool": _bool,
    "float4": _float4,
    "float8": _float8,
    "bytea": _bytea,
    "date": _date,
    "time": _time,
    "timestamp": _timestamp(False),
    "timestamptz": _timestamp(True),
    "money": lambda data: money_text(data.decode("latin-1")).encode("latin-1"),
    "inet": lambda data: inet_text(data.decode("latin-1")).encode("latin-1"),
}


def column_of(values: Sequence[Any], arrow: pa.DataType) -> pa.Array:
    """What :func:`parse_value` gave, None for NULL, as an array."""
    if pa.types.is_list(arrow):
        offsets = np.zeros(len(values) + 1, np.int32)
        np.cumsum([len(value or ()) for value in values], out=offsets[1:])
        items = column_of([item for value in values if value for item in value], arrow.value_type)
        known = pa.array([value is not None for value in values], pa.bool_())
        validity = known.buffers()[1] if known.false_count else None
        return pa.Array.from_buffers(arrow, len(values), [validity, pa.py_buffer(offsets)], children=[items])
    if pa.types.is_string(arrow):  # without a look at the bytes, as the compiled decoder
        return pa.array(values, pa.binary()).view(arrow)
    if pa.types.is_date32(arrow):
        return pa.array(values, pa.int32()).view(arrow)
    if pa.types.is_time64(arrow) or pa.types.is_timestamp(arrow):
        return pa.array(values, pa.int64()).view(arrow)
    return pa.array(values, arrow)
