"""Values on their way into a stage: those that DuckDB cannot hold are found, all others take the staged type.

DuckDB keeps infinite dates and timestamps, and 24:00, in the same integers as Arrow: as the greatest (smallest) value,
and as 86,400,000,000 microseconds. So a misfit of that kind is put into its cell, and a plain value that happens to be
such an integer is refused. Nothing here makes a Python object per row, except for rows that go to quarantine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from syncline.connectors.duckdb.types import is_list, is_text, stage_type
from syncline.core.batch import Batch, Misfit, QuarantinedRow
from syncline.core.schema import StreamSchema
from syncline.sdk.decimals import decimal_text
from syncline.sdk.quarantine import set_aside, value_text

__all__ = ["fitted", "staged_array"]

_MICROS = {"s": 10**6, "ms": 10**3, "us": 1}
_NULL_KEY = "the primary key has a NULL value"
_INT64_MAX = 2**63 - 1
_INT32_MAX = 2**31 - 1
_DAY_MICROS = 86_400_000_000
#: DuckDB's own bounds of finite values; one beyond the upper one is its infinity.
_TIMESTAMP = (-9223372022400000000, _INT64_MAX - 1)
_TIMESTAMP_NS = (-9223286400000000000, _INT64_MAX - 1)
_DATE = (-_INT32_MAX + 1, _INT32_MAX - 1)


def fitted(batch: Batch, schema: StreamSchema, key: Sequence[str]) -> tuple[pa.RecordBatch, list[QuarantinedRow]]:
    """The rows of a batch that can be held, still in their carriers, and the others. ``key``: columns that must not be
    NULL. Returns the batch's own data when all rows fit."""
    columns = list(batch.data.columns)
    bad = [m for m in batch.misfits if m.rule or _sentinel(schema.field(m.column).type, m.text) is None]
    for i, field in enumerate(schema.fields):
        found = _misfits(columns[i], field.name)
        if found and is_text(field.type):
            # Broken text must not be looked at again when the row's other values are written down.
            columns[i] = _without(columns[i], [m.row for m in found])
        bad += found
    known = {(m.row, m.column) for m in (*batch.misfits, *bad)}
    bad += [m for name in key for m in _nulls(columns[schema.names.index(name)], name) if (m.row, name) not in known]
    if not bad and not batch.misfits:
        return batch.data, []
    # Only now are the sentinels put in, which would have looked like values out of range.
    bad_rows = {m.row for m in bad}
    good = [m for m in batch.misfits if m.row not in bad_rows]
    for name in {m.column for m in good}:
        i = schema.names.index(name)
        columns[i] = _with_sentinels(columns[i], [(m.row, m.text) for m in good if m.column == name])
    # Of a row that goes, its other misfits are shown in their own text too.
    shown = {(m.row, m.column) for m in bad}
    bad += [m for m in batch.misfits if m.row in bad_rows and (m.row, m.column) not in shown]
    kept, rows = set_aside(pa.RecordBatch.from_arrays(columns, schema=batch.data.schema), bad, original=batch.data)
    return kept, [_null_key_shown(row) for row in rows]


def _null_key_shown(row: QuarantinedRow) -> QuarantinedRow:
    """A NULL key is a NULL in the record too, not an empty text."""
    if row.reason != _NULL_KEY:
        return row
    return replace(row, record={**row.record, row.column: None})


# -- values that DuckDB holds though their carrier does not ----------------------------------------------------------


def _sentinel(kind: pa.DataType, text: str) -> int | None:
    """DuckDB's integer for a misfit's text; None when it has none."""
    if pa.types.is_time(kind):
        return _DAY_MICROS if kind == pa.time64("us") and text in ("24:00:00", "24:00") else None
    if text not in ("infinity", "-infinity"):
        return None
    sign = -1 if text.startswith("-") else 1
    if pa.types.is_date32(kind):
        return sign * _INT32_MAX
    return sign * _INT64_MAX if pa.types.is_timestamp(kind) and kind.unit in ("us", "ns") else None


def _with_sentinels(array: pa.Array, cells: Sequence[tuple[int, str]]) -> pa.Array:
    storage = pa.int32() if pa.types.is_date32(array.type) else pa.int64()
    values = array.view(storage).fill_null(0).to_numpy(zero_copy_only=False).copy()
    nulls = array.is_null().to_numpy(zero_copy_only=False).copy()
    for row, text in cells:
        values[row] = _sentinel(array.type, text)
        nulls[row] = False
    return pa.array(values, type=storage, mask=nulls).view(array.type)


# -- values that their carrier holds and DuckDB does not -------------------------------------------------------------


def _misfits(array: pa.Array, name: str) -> list[Misfit]:
    reason = _reason(array.type)
    return [Misfit(row=row, column=name, text=_text(array, row), reason=reason) for row in _bad_rows(array)]


def _nulls(array: pa.Array, name: str) -> list[Misfit]:
    if not array.null_count:
        return []
    rows = np.flatnonzero(array.is_null().to_numpy(zero_copy_only=False)).tolist()
    return [Misfit(row=row, column=name, text="", reason=_NULL_KEY) for row in rows]


def _bad_rows(array: pa.Array, start: int = 0) -> Iterator[int]:
    """Rows that do not fit: the whole is looked at first, and halved only where something is wrong."""
    if len(array) == 0 or _fits(array):
        return
    if len(array) == 1:
        yield start
        return
    half = len(array) // 2
    yield from _bad_rows(array.slice(0, half), start)
    yield from _bad_rows(array.slice(half), start + half)


def _fits(array: pa.Array) -> bool:
    kind = array.type
    if is_list(kind):
        return _checked(kind.value_type) is False or _fits(array.flatten())
    if pa.types.is_struct(kind):
        return all(_fits(child) for child in array.flatten())
    if is_text(kind):
        return _is_utf8(array)
    if not _checked(kind) or array.null_count == len(array):
        return True
    if pa.types.is_date32(kind):
        return _within(array.view(pa.int32()), _DATE)
    if pa.types.is_time32(kind):
        return _within(array.view(pa.int32()), (0, _DAY_MICROS // _MICROS[kind.unit]))
    integers = array.view(pa.int64())
    if pa.types.is_date64(kind):
        return _within(integers, (_DATE[0] * 86_400_000, _DATE[1] * 86_400_000)) and _multiples(integers, 86_400_000)
    if pa.types.is_time(kind):
        if kind.unit == "us":
            return _within(integers, (0, _DAY_MICROS))
        return _within(integers, (0, _DAY_MICROS * 1000)) and _multiples(integers, 1000)
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        if kind.tz is not None:
            return _multiples(integers, 1000)
        return _within(integers, _TIMESTAMP_NS)
    if kind.unit == "ns":
        return _multiples(integers, 1000)
    lowest, highest = _TIMESTAMP if pa.types.is_timestamp(kind) else (-_INT64_MAX, _INT64_MAX)
    factor = _MICROS[kind.unit]
    return _within(integers, (-(-lowest // factor), highest // factor))


def _checked(kind: pa.DataType) -> bool:
    """Whether values of the type can be out of DuckDB's range."""
    return bool(pa.types.is_temporal(kind) or pa.types.is_nested(kind) or is_text(kind))


def _within(integers: pa.Array, bounds: tuple[int, int]) -> bool:
    found = pc.min_max(integers)
    low, high = found["min"].as_py(), found["max"].as_py()
    return low is None or (bounds[0] <= low and high <= bounds[1])


def _multiples(integers: pa.Array, factor: int) -> bool:
    numbers = integers.drop_null().to_numpy(zero_copy_only=False)
    return not np.any(numbers % factor)


def _is_utf8(array: pa.Array) -> bool:
    # DuckDB refuses a whole commit for one broken text; nothing else in the house has looked at the bytes.
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _reason(kind: pa.DataType) -> str:
    if is_text(kind):
        return "the text is not valid UTF-8"
    return f"DuckDB cannot hold this value of {kind} exactly"


def _text(array: pa.Array, row: int) -> str:
    if is_text(array.type):
        raw = array.view(pa.binary() if pa.types.is_string(array.type) else pa.large_binary())[row].as_py()
        return str(raw.decode("utf-8", "backslashreplace"))
    value = array[row]
    if pa.types.is_temporal(array.type):
        try:
            return value_text(value) or ""
        except (ValueError, OverflowError, pa.ArrowException):
            return f"{value.value} {array.type}"
    return value_text(value) or ""


def _without(array: pa.Array, rows: Sequence[int]) -> pa.Array:
    """The array with NULL in these rows."""
    keep = np.ones(len(array), dtype=bool)
    keep[list(rows)] = False
    as_bytes = array.view(pa.binary() if pa.types.is_string(array.type) else pa.large_binary())
    return pc.if_else(pa.array(keep), as_bytes, pa.scalar(None, as_bytes.type)).view(array.type)


# -- the staged type -------------------------------------------------------------------------------------------------


def staged_array(array: pa.Array) -> pa.Array:
    """A column in the type of :func:`~syncline.connectors.duckdb.types.stage_type`; itself when that is its own."""
    wanted = stage_type(array.type)
    return array if wanted == array.type else _converted(array, wanted)


def _converted(array: pa.Array, wanted: pa.DataType) -> pa.Array:
    kind = array.type
    if kind == wanted:
        return array
    if pa.types.is_decimal(kind) and pa.types.is_string(wanted):
        return decimal_text(array)
    if is_list(kind):
        lengths = pc.list_value_length(array).fill_null(0).to_numpy(zero_copy_only=False)
        offsets = np.zeros(len(array) + 1, dtype=np.int32)
        np.cumsum(lengths, out=offsets[1:])
        child = _converted(array.flatten(), wanted.value_type)
        mask = array.is_null() if array.null_count else None
        return pa.ListArray.from_arrays(pa.array(offsets), child, type=wanted, mask=mask)
    if pa.types.is_struct(kind):
        children = [_converted(child, f.type) for child, f in zip(array.flatten(), wanted, strict=True)]
        mask = array.is_null() if array.null_count else None
        return pa.StructArray.from_arrays(children, fields=list(wanted), mask=mask)
    return array.cast(wanted)
