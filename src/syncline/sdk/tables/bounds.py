"""Bounds of a file's columns, from the footer that was written, and which keys may lie within them."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from syncline.sdk.tables.table import Bounds, TableFile

__all__ = ["bounds_of", "exact_decimal", "may_hold"]

#: Longer texts are cut: bounds are for skipping files, and a log holds those of every file.
_TEXT = 64


def bounds_of(footer: pq.FileMetaData, schema: pa.Schema) -> dict[str, Bounds]:
    """Of the plain columns of ``schema``, where every row group tells. Floating-point numbers have none: readers differ
    on where NaN lies."""
    found: dict[str, Bounds] = {}
    places = {footer.schema.column(i).path: i for i in range(footer.num_columns)}
    for field in schema:
        place = places.get(field.name)
        if place is None or pa.types.is_nested(field.type):
            continue
        nulls, lows, highs, known = 0, [], [], True
        for group in range(footer.num_row_groups):
            column = footer.row_group(group).column(place)
            told = column.statistics
            if told is None or not told.has_null_count:
                break
            nulls += told.null_count
            if told.has_min_max:
                lows.append(_plain(told.min_raw, field.type))
                highs.append(_plain(told.max_raw, field.type))
            elif told.null_count < column.num_values:
                known = False
        else:
            if not known or None in lows or None in highs or not lows:
                found[field.name] = Bounds(nulls=nulls)
            else:
                low, high = min(lows), max(highs)  # type: ignore[type-var]
                found[field.name] = Bounds(nulls=nulls, low=_below(low), high=_above(high))
    return found


def _plain(raw: Any, kind: pa.DataType) -> int | str | None:
    """A bound as Parquet keeps it, as an integer or text; None for types that have none here."""
    if pa.types.is_integer(kind) or pa.types.is_date32(kind) or pa.types.is_timestamp(kind) or pa.types.is_time(kind):
        return int(raw)
    if pa.types.is_decimal(kind):
        return raw if isinstance(raw, int) else int.from_bytes(raw, "big", signed=True)
    if pa.types.is_string(kind):
        try:
            return raw if isinstance(raw, str) else bytes(raw).decode()
        except UnicodeDecodeError:
            return None
    return None


def _below(value: int | str | None) -> int | str | None:
    return value[:_TEXT] if isinstance(value, str) else value


def _above(value: int | str | None) -> int | str | None:
    if not isinstance(value, str) or len(value) <= _TEXT:
        return value
    return None if value[_TEXT - 1] >= "\U0010ffff" else value[: _TEXT - 1] + "\U0010ffff"


def may_hold(file: TableFile | Mapping[str, Bounds], keys: pa.Table) -> npt.NDArray[np.bool_]:
    """For each of ``keys`` (columns of the key in storage types) whether a file with these bounds may have it."""
    bounds = file.bounds if isinstance(file, TableFile) else file
    mask: npt.NDArray[np.bool_] = np.ones(keys.num_rows, np.bool_)
    for name in keys.column_names:
        known = bounds.get(name)
        if known is None or known.low is None:
            continue
        column = keys[name]
        if isinstance(known.low, str) and not pa.types.is_string(column.type):
            continue
        low = _scalar(known.low, column.type)
        mask &= _numpy(pc.greater_equal(column, low))
        if known.high is not None:
            mask &= _numpy(pc.less_equal(column, _scalar(known.high, column.type)))
    return mask


def _scalar(value: int | str, kind: pa.DataType) -> pa.Scalar:
    if pa.types.is_decimal(kind):
        return pa.scalar(exact_decimal(int(value), kind.scale), kind)
    return pa.scalar(value, kind)


def exact_decimal(digits: int, scale: int) -> Decimal:
    """The number of these digits, the last ``scale`` of them behind the point: exact, whatever the context's precision
    (28 digits by default)."""
    return Decimal((int(digits < 0), tuple(map(int, str(abs(digits)))), -scale))


def _numpy(column: pa.ChunkedArray | pa.Array) -> npt.NDArray[np.bool_]:
    values: npt.NDArray[np.bool_] = (
        column.to_numpy(zero_copy_only=False) if isinstance(column, pa.Array) else (column.to_numpy())
    )
    return values.astype(np.bool_)
