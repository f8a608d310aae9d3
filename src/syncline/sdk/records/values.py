"""One value that its declared type did not let through the fast path, from its JSON text."""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa

__all__ = ["Contradiction", "instant", "value_of"]

_DIGITS = re.compile(r"-?[0-9]+")
_NANOSECONDS = re.compile(r"(\.[0-9]{6})[0-9]+")
_INT64 = range(-(2**63), 2**63)


class Contradiction(ValueError):  # noqa: N818 - a finding about data, caught where it is counted
    """The text is no value of the type, whichever way it is turned."""


def value_of(text: str, kind: pa.DataType) -> tuple[Any, bool]:
    """The value for a column of that type, and whether it had to be turned into it without loss (``"12"`` for an
    integer, a number for text). Raises :class:`Contradiction`."""
    if text in ("", "null"):
        return None, False
    said = json.loads(text) if text[0] == '"' else None
    if pa.types.is_string(kind):
        return (text, True) if said is None else (_encodable(said), False)
    if pa.types.is_int64(kind):
        return _integer(text if said is None else said), said is not None or not _DIGITS.fullmatch(text)
    if pa.types.is_float64(kind):
        return _number(text if said is None else said), said is not None
    if pa.types.is_boolean(kind):
        word = text if said is None else said.lower()
        if word not in ("true", "false"):
            raise Contradiction("not a boolean")
        return word == "true", said is not None
    if said is None:
        raise Contradiction("not a date or time")
    if pa.types.is_date32(kind):
        return _day(said)
    return instant(said, zoned=kind.tz is not None), False


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Contradiction("half of a surrogate pair is no text") from None
    return text


def _integer(text: str) -> int:
    if _DIGITS.fullmatch(text):
        found = int(text) if len(text) < 30 else 2**63
    else:
        number = _number(text)
        if not number.is_integer() or abs(number) > 2**53:
            raise Contradiction("not a whole number")
        found = int(number)
    if found not in _INT64:
        raise Contradiction("an integer of more than 64 bits")
    return found


def _number(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        raise Contradiction("not a number") from None
    if not math.isfinite(found):
        raise Contradiction("a number beyond a double's range")
    return found


def _day(text: str) -> tuple[date, bool]:
    try:
        return date.fromisoformat(text), False
    except ValueError:
        at = instant(text, zoned=False)
    if at.time() != datetime.min.time():
        raise Contradiction("a time where a date is declared")
    return at.date(), True


def instant(text: str, *, zoned: bool) -> datetime:
    """An ISO 8601 time; without an offset it is UTC, with one and no zone declared it is turned into UTC."""
    try:
        found = datetime.fromisoformat(_NANOSECONDS.sub(r"\1", text.strip()))
    except ValueError:
        raise Contradiction("not a date and time in ISO 8601") from None
    try:
        aware = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except OverflowError:
        raise Contradiction("a time outside of the years 1 to 9999") from None
    return aware if zoned else aware.replace(tzinfo=None)
