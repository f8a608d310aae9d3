"""Values on their way into a stage: those that BigQuery cannot hold are found, all others take the staged type.

Nothing here makes a Python object per row, except for nested values (which become JSON), for JSON that looks as if
BigQuery could not hold it exactly, and for rows that go to quarantine.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from syncline.connectors.bigquery.types import column_type, is_bytes, is_nested, is_text, stage_arrow
from syncline.core.batch import Batch, Misfit, QuarantinedRow
from syncline.core.schema import Field, StreamSchema
from syncline.sdk.decimals import decimal_text
from syncline.sdk.quarantine import set_aside, value_text

__all__ = ["LARGEST_ROW", "fitted", "staged_array"]

_NULL_KEY = "the primary key has a NULL value"
#: BigQuery's rows have at most 100 MB, and ours come with what the stage adds.
LARGEST_ROW = 90_000_000
_DAY = {"s": 86_400, "ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
#: 0001-01-01 and 10000-01-01, days and seconds from 1970.
_FIRST_DAY, _NO_DAY = -719_162, 2_932_897
#: Numbers with many digits or an exponent, escapes that may be no character: worth looking at one by one.
_SUSPICIOUS = r"[0-9.]{16,}|[0-9][eE]|\\u[dD][89abABcdefCDEF]|\\u0000"


def fitted(
    batch: Batch, schema: StreamSchema, key: Sequence[str], *, largest: int = LARGEST_ROW
) -> tuple[pa.RecordBatch, list[QuarantinedRow]]:
    """The rows of a batch that can be held, still in their carriers, and the others. ``key``: columns that must not be
    NULL. ``largest``: bytes of a row. Returns the batch's own data when all rows fit."""
    columns = list(batch.data.columns)
    bad = list(batch.misfits)
    known = {(m.row, m.column) for m in bad}
    for i, field in enumerate(schema.fields):
        found = [m for m in _misfits(columns[i], field) if (m.row, m.column) not in known]
        if found and is_text(field.type) and not _is_utf8(columns[i]):
            # Broken text must not be looked at again when the row's other values are written down.
            columns[i] = _without(columns[i], [m.row for m in found])
        bad += found
        if field.name in key:
            bad += [m for m in _nulls(columns[i], field.name) if (m.row, m.column) not in known]
    bad += _too_large(batch.data, largest)
    if not bad:
        return batch.data, []
    data = pa.RecordBatch.from_arrays(columns, schema=batch.data.schema)
    kept, rows = set_aside(data, sorted(bad, key=lambda m: m.row), original=batch.data)
    return kept, [_null_key_shown(row) for row in rows]


def _null_key_shown(row: QuarantinedRow) -> QuarantinedRow:
    """A NULL key is a NULL in the record too, not an empty text."""
    if row.reason != _NULL_KEY:
        return row
    return QuarantinedRow(
        column=row.column, reason=row.reason, record={**row.record, row.column: None}, original=row.original, id=row.id
    )


def _nulls(array: pa.Array, name: str) -> list[Misfit]:
    if not array.null_count:
        return []
    rows = np.flatnonzero(array.is_null().to_numpy(zero_copy_only=False)).tolist()
    return [Misfit(row=row, column=name, text="", reason=_NULL_KEY) for row in rows]


def _too_large(data: pa.RecordBatch, largest: int) -> list[Misfit]:
    if data.nbytes < largest:
        return []
    found = []
    for row in range(data.num_rows):
        one = data.slice(row, 1)
        sizes = [pa.concat_arrays([c]).nbytes for c in one.columns]
        if sum(sizes) >= largest:
            widest = int(np.argmax(sizes))
            name = data.schema.names[widest]
            reason = f"the row has {sum(sizes)} bytes; BigQuery takes {'100' if largest == LARGEST_ROW else '10'} MB"
            found.append(Misfit(row=row, column=name, text=f"({sizes[widest]} bytes)", reason=reason))
    return found


# -- values that their carrier holds and BigQuery does not -----------------------------------------------------------


def _misfits(array: pa.Array, field: Field) -> Iterator[Misfit]:
    if len(array) == array.null_count:
        return
    kind = array.type
    if is_text(kind) and not _is_utf8(array):
        for row in _bad_rows(array, _is_utf8):
            yield Misfit(row=row, column=field.name, text=_broken(array, row), reason="the text is not valid UTF-8")
    elif is_text(kind) and column_type(field) == "JSON":
        yield from _bad_json(array, field.name)
    elif pa.types.is_temporal(kind) and not _in_range(array):
        column = column_type(field)
        for row in _bad_rows(array, _in_range):
            reason = f"BigQuery's {column} cannot hold this value exactly"
            yield Misfit(row=row, column=field.name, text=_temporal_text(array, row), reason=reason)


def _bad_rows(array: pa.Array, fits: Callable[[pa.Array], bool], start: int = 0) -> Iterator[int]:
    """Rows that do not fit: the whole is looked at first, and halved only where something is wrong."""
    if len(array) == 0 or fits(array):
        return
    if len(array) == 1:
        yield start
        return
    half = len(array) // 2
    yield from _bad_rows(array.slice(0, half), fits, start)
    yield from _bad_rows(array.slice(half), fits, start + half)


def _in_range(array: pa.Array) -> bool:
    kind = array.type
    if pa.types.is_date32(kind):
        return _within(array.view(pa.int32()), _FIRST_DAY, _NO_DAY)
    if pa.types.is_time32(kind):
        return _within(array.view(pa.int32()), 0, _DAY[kind.unit])
    integers = array.view(pa.int64())
    finer = pa.types.is_date64(kind) is False and kind.unit == "ns"
    if finer and not _multiples(integers, 1000):
        return False
    if pa.types.is_date64(kind):
        return _within(integers, _FIRST_DAY * 86_400_000, _NO_DAY * 86_400_000) and _multiples(integers, 86_400_000)
    if pa.types.is_time(kind):
        return _within(integers, 0, _DAY[kind.unit])
    if pa.types.is_timestamp(kind):
        per_day = 86_400 * _PER_SECOND[kind.unit]
        # In nanoseconds every value that 64 bits have is within the years.
        return kind.unit == "ns" or _within(integers, _FIRST_DAY * per_day, _NO_DAY * per_day)
    return kind.unit in ("us", "ns") or _within(integers, -(2**63) // 10**6, 2**63 // 10**6)


def _within(integers: pa.Array, low: int, end: int) -> bool:
    found = pc.min_max(integers)
    smallest, largest = found["min"].as_py(), found["max"].as_py()
    return smallest is None or (low <= smallest and largest < end)


def _multiples(integers: pa.Array, factor: int) -> bool:
    numbers = integers.drop_null().to_numpy(zero_copy_only=False)
    return not np.any(numbers % factor)


def _is_utf8(array: pa.Array) -> bool:
    # BigQuery refuses a whole load for one broken text; nothing else in the house has looked at the bytes.
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _bad_json(array: pa.Array, name: str) -> Iterator[Misfit]:
    suspicious = pc.fill_null(pc.match_substring_regex(array, _SUSPICIOUS), False)
    for row in pc.indices_nonzero(suspicious).to_pylist():
        text = array[row].as_py()
        if reason := _json_problem(text):
            yield Misfit(row=row, column=name, text=text, reason=reason)


class _InexactError(ValueError):
    pass


def _exact_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value) or Decimal(repr(value)) != Decimal(text):
        raise _InexactError(text)
    return value


def _exact_int(text: str) -> int:
    value = int(text)
    if not -(2**63) <= value < 2**64 and int(float(text)) != value:
        raise _InexactError(text)
    return value


def _json_problem(text: str) -> str:
    try:
        value = json.loads(text, parse_float=_exact_float, parse_int=_exact_int)
        plain = json.dumps(value, ensure_ascii=False)
    except _InexactError as error:
        return f"BigQuery's JSON cannot hold the number {str(error)[:60]} exactly"
    except (ValueError, RecursionError):
        return "BigQuery's JSON does not take this text"
    try:
        plain.encode()
    except UnicodeEncodeError:
        return "BigQuery's JSON cannot hold half a surrogate pair"
    return "BigQuery's JSON cannot hold the character U+0000" if "\\u0000" in plain else ""


def _broken(array: pa.Array, row: int) -> str:
    raw = array.view(pa.binary() if pa.types.is_string(array.type) else pa.large_binary())[row].as_py()
    return str(raw.decode("utf-8", "backslashreplace"))


def _temporal_text(array: pa.Array, row: int) -> str:
    value = array[row]
    try:
        return value_text(value) or ""
    except (ValueError, OverflowError, pa.ArrowException):
        return f"{value.value} {array.type}"


def _without(array: pa.Array, rows: Sequence[int]) -> pa.Array:
    """The array with NULL in these rows."""
    keep = np.ones(len(array), dtype=bool)
    keep[list(rows)] = False
    as_bytes = array.view(pa.binary() if pa.types.is_string(array.type) else pa.large_binary())
    return pc.if_else(pa.array(keep), as_bytes, pa.scalar(None, as_bytes.type)).view(array.type)


# -- the staged type -------------------------------------------------------------------------------------------------


def staged_array(array: pa.Array, field: Field) -> pa.Array:
    """A column in the type of :func:`~syncline.connectors.bigquery.types.stage_arrow`."""
    wanted, kind = stage_arrow(field), array.type
    if kind == wanted:
        return array
    if is_bytes(kind):
        return _hexadecimal(array)
    if is_nested(kind):
        return pa.array([None if v is None else _nested_text(v) for v in array.to_pylist()], wanted)
    if pa.types.is_decimal(kind) and pa.types.is_string(wanted):
        return decimal_text(array)
    if pa.types.is_duration(kind):
        return pc.cast(array, pa.duration("us")).view(pa.int64())
    if pa.types.is_date64(kind) or pa.types.is_float16(kind) or pa.types.is_unsigned_integer(kind):
        return array.cast(wanted)
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        return array.cast(pa.timestamp("us", tz=kind.tz)).cast(wanted)
    return array.cast(wanted)


_HEX = np.frombuffer(b"".join(f"{i:02x}".encode() for i in range(256)), dtype=np.uint16)


def _hexadecimal(array: pa.Array) -> pa.Array:
    """Bytes as hexadecimal digits."""
    large = array.cast(pa.large_binary())
    _, offsets, data = large.buffers()
    places = np.frombuffer(offsets, np.int64)[large.offset : large.offset + len(large) + 1]
    raw = np.frombuffer(data, np.uint8)[places[0] : places[-1]] if data is not None else np.empty(0, np.uint8)
    digits = _HEX[raw]
    made = pa.LargeStringArray.from_buffers(
        len(large), pa.py_buffer(((places - places[0]) * 2).tobytes()), pa.py_buffer(digits.tobytes())
    )
    if large.null_count:
        made = pc.if_else(large.is_valid(), made, pa.scalar(None, pa.large_string()))
    return made.cast(pa.string())


def _nested_text(value: Any) -> str:
    return json.dumps(_plain(value), ensure_ascii=False, separators=(",", ":"), default=str)


def _plain(value: Any) -> Any:
    """With nothing in it that JSON has no form for, or would round."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    if isinstance(value, bytes):
        return base64.b16encode(value).decode().lower()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
