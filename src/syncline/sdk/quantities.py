"""Sizes and lengths of time as people write them in a configuration."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator

__all__ = ["Size", "Span"]

_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_SPANS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_SPAN_WORDS = {
    **dict.fromkeys(("second", "seconds", "sec"), "s"),
    **dict.fromkeys(("minute", "minutes", "min"), "m"),
    **dict.fromkeys(("hour", "hours"), "h"),
    **dict.fromkeys(("day", "days"), "d"),
    **dict.fromkeys(("week", "weeks"), "w"),
}
_QUANTITY = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*")


def _size(value: Any) -> Any:
    """``"256 MB"`` as a number of bytes; anything but text is left to the model."""
    if not isinstance(value, str):
        return value
    found = _QUANTITY.fullmatch(value)
    if found is None or found[2].lower() not in _UNITS:
        raise ValueError(f"{value!r} is not a size; write for example '256 MB' or a number of bytes")
    return int(float(found[1]) * _UNITS[found[2].lower()])


def _span(value: Any) -> Any:
    """``"7 days"`` as a number of seconds."""
    if not isinstance(value, str):
        return value
    found = _QUANTITY.fullmatch(value)
    unit = "" if found is None else _SPAN_WORDS.get(found[2].lower(), found[2].lower() or "s")
    if found is None or unit not in _SPANS:
        raise ValueError(f"{value!r} is not a length of time; write for example '7 days', '12h' or a number of seconds")
    return float(found[1]) * _SPANS[unit]


#: Bytes.
Size = Annotated[int, BeforeValidator(_size)]
#: Seconds.
Span = Annotated[float, BeforeValidator(_span)]
