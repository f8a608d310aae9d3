"""Durations and sizes in a configuration: numbers of the base unit, or text with a unit."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator

__all__ = ["Bytes", "Names", "Seconds"]

_SECONDS = {
    "": 1.0,
    "ms": 0.001,
    "s": 1,
    "sec": 1,
    "second": 1,
    "m": 60,
    "min": 60,
    "minute": 60,
    "h": 3600,
    "hour": 3600,
    "d": 86400,
    "day": 86400,
}
_BYTES = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
}


def _quantity(value: Any, units: Mapping[str, float], example: str) -> Any:
    """``"10 min"`` as a number of the base unit; anything but text is left to the model."""
    if not isinstance(value, str):
        return value
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", value)
    unit = found[2].lower() if found else ""
    if unit not in units and unit.removesuffix("s") in units:
        unit = unit.removesuffix("s")
    if found is None or unit not in units:
        raise ValueError(f"{value!r} is not understood; write for example {example}")
    number = float(found[1]) * units[unit]
    return int(number) if number == int(number) else number


def _duration(value: Any) -> Any:
    return _quantity(value, _SECONDS, "'10 min', '30 s' or a number of seconds")


def _size(value: Any) -> Any:
    return _quantity(value, _BYTES, "'256 MiB' or a number of bytes")


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Seconds = Annotated[float, BeforeValidator(_duration)]
Bytes = Annotated[int, BeforeValidator(_size)]
Names = Annotated[tuple[str, ...], BeforeValidator(_listed)]
