"""Bounds of columns as a Delta log writes them (JSON of dates, times and numbers), and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa

from syncline.sdk.tables.bounds import exact_decimal
from syncline.sdk.tables.table import Bounds, TableFile

__all__ = ["bounds_of_stats", "stats_of_file"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: A double holds so many digits exactly: decimals are plain numbers in a log.
_EXACT_DIGITS = 15


def stats_of_file(file: TableFile, schema: pa.Schema) -> str:
    """The ``stats`` of an add action."""
    low: dict[str, Any] = {}
    high: dict[str, Any] = {}
    nulls: dict[str, int] = {}
    for field in schema:
        bounds = file.bounds.get(field.name)
        if bounds is None:
            continue
        nulls[field.name] = bounds.nulls
        least, most = _written(bounds.low, field.type, up=False), _written(bounds.high, field.type, up=True)
        if least is not None and most is not None:
            low[field.name], high[field.name] = least, most
    stats = {"numRecords": file.rows, "minValues": low, "maxValues": high, "nullCount": nulls}
    return json.dumps(stats, ensure_ascii=False, separators=(",", ":"))


def _written(value: int | str | None, kind: pa.DataType, *, up: bool) -> Any:
    """A bound as JSON; None where the log has no exact form for it."""
    if value is None or isinstance(value, str):
        return value
    try:
        if pa.types.is_date32(kind):
            return (date(1970, 1, 1) + timedelta(days=value)).isoformat()
        if pa.types.is_timestamp(kind):
            # Milliseconds are what readers expect: rounded so that the bound still holds.
            millis = -(-value // 1000) if up else value // 1000
            moment = (_EPOCH + timedelta(milliseconds=millis)).replace(tzinfo=None)
            return moment.isoformat(timespec="milliseconds") + ("Z" if kind.tz is not None else "")
    except OverflowError:
        return None
    if pa.types.is_decimal(kind):
        return float(exact_decimal(value, kind.scale)) if kind.precision <= _EXACT_DIGITS else None
    return value


def bounds_of_stats(text: str | None, kinds: Mapping[str, pa.DataType]) -> tuple[int, dict[str, Bounds]]:
    """Number of rows (-1: not told) and bounds of a file that anybody may have written."""
    if not text:
        return -1, {}
    try:
        stats = json.loads(text, parse_float=Decimal)
        low, high, nulls = stats.get("minValues") or {}, stats.get("maxValues") or {}, stats.get("nullCount") or {}
        rows = int(stats.get("numRecords", -1))
    except (ValueError, TypeError, AttributeError):
        return -1, {}
    found = {}
    for name, kind in kinds.items():
        least, most = _read(low.get(name), kind, up=False), _read(high.get(name), kind, up=True)
        count = nulls.get(name)
        if least is not None and most is not None:
            found[name] = Bounds(nulls=int(count) if isinstance(count, int) else 0, low=least, high=most)
    return rows, found


def _read(value: Any, kind: pa.DataType, *, up: bool) -> int | str | None:
    try:
        if pa.types.is_string(kind):
            return value if isinstance(value, str) else None
        if pa.types.is_integer(kind):
            return value if isinstance(value, int) and not isinstance(value, bool) else None
        if pa.types.is_date32(kind):
            return (date.fromisoformat(value) - date(1970, 1, 1)).days
        if pa.types.is_timestamp(kind):
            moment = datetime.fromisoformat(value)
            moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
            micros = (moment - _EPOCH) // timedelta(microseconds=1)
            return micros + 999 if up else micros  # others cut to milliseconds
        if pa.types.is_decimal(kind) and isinstance(value, int | Decimal):
            sign, digits, exponent = Decimal(value).as_tuple()
            power = int(exponent) + kind.scale
            whole = int("".join(map(str, digits)) or "0") * (-1 if sign else 1)
            return whole * 10**power if power >= 0 else None
    except (ValueError, TypeError, OverflowError):
        return None
    return None
