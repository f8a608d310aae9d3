"""Which changes of a column's type keep every value that was copied before."""

from __future__ import annotations

import re

import pyarrow as pa

from syncline.core.schema import Field

__all__ = ["widens"]

_VARYING = re.compile(r"character varying(?:\((\d+)\))?")
_PRECISION = re.compile(r"(timestamp|time)(?:\((\d)\))? (with|without) time zone")
#: Decimals of a second that a type without a precision keeps.
_ALL_DIGITS = 6


def widens(narrow: Field, wide: Field) -> bool:
    """Whether every value of ``narrow`` is the same value in ``wide``, in Postgres's own conversion. Both are fields of
    a Postgres stream. The conversion of an ``ALTER … USING`` is not in the log and is taken to be the plain one."""
    before, after = narrow.type, wide.type
    if pa.types.is_integer(before):
        return (pa.types.is_integer(after) and after.bit_width > before.bit_width) or _holds_integers(before, wide)
    if pa.types.is_floating(before):
        return bool(pa.types.is_floating(after) and after.bit_width > before.bit_width)
    if pa.types.is_decimal(before):
        if pa.types.is_decimal(after):
            whole = after.precision - after.scale
            return bool(after.scale >= before.scale and whole >= before.precision - before.scale)
        return wide.logical == "numeric"
    if before != after:
        return False
    return _text_widens(narrow, wide) or _precision_widens(narrow.native or "", wide.native or "")


def _holds_integers(kind: pa.DataType, wide: Field) -> bool:
    if pa.types.is_decimal(wide.type):
        digits = {16: 5, 32: 10, 64: 19}.get(kind.bit_width, 20)
        return bool(wide.type.precision - wide.type.scale >= digits)
    return wide.logical == "numeric" and wide.native == "numeric"


def _text_widens(narrow: Field, wide: Field) -> bool:
    if not pa.types.is_string(narrow.type) or wide.logical is not None:
        return False
    room = _room(wide.native or "")
    if room is None:
        return False
    if narrow.logical == "enum":
        return room == 0
    before = _room(narrow.native or "") if narrow.logical is None else None
    return before is not None and (room == 0 or 0 < before <= room)


def _room(native: str) -> int | None:
    """Characters that a type holds, 0 for any number; None when it is no plain text."""
    if native == "text":
        return 0
    found = _VARYING.fullmatch(native)
    return None if found is None else int(found[1] or 0)


def _precision_widens(narrow: str, wide: str) -> bool:
    before, after = _PRECISION.fullmatch(narrow), _PRECISION.fullmatch(wide)
    if before is None or after is None or (before[1], before[3]) != (after[1], after[3]):
        return False
    return int(after[2] or _ALL_DIGITS) >= int(before[2] or _ALL_DIGITS)
