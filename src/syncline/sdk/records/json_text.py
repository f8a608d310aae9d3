"""Arrow columns as JSON text, without a Python object per value.

NULL is ``null``. Numbers are written as numbers when every reader takes them exactly: integers, floats, decimals of up
to 15 digits; longer decimals as strings. NaN and the infinities, which JSON lacks, are the strings ``NaN``,
``Infinity``, ``-Infinity``. Dates and times are ISO 8601, bytes ``\\x`` and hexadecimal digits.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from syncline.sdk.files.columns import decimal_text

__all__ = ["calendar_text", "far_from_now", "hex_text", "iso_text", "json_lines", "json_text"]

#: A double, which most readers of JSON take a number for, holds every decimal of so many digits.
_EXACT_DIGITS = 15
_ESCAPES = [("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t")]
_CONTROLS = [(chr(i), f"\\u{i:04x}") for i in range(32) if chr(i) not in "\n\r\t"]
_SPECIAL = '[\\x00-\\x1f"\\\\]'
_CONTROL = "[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f]"


def json_lines(batch: pa.RecordBatch, *, raw: Collection[str] = (), before: str = "", after: str = "\n") -> pa.Array:
    """One line of JSON per row: ``before``, an object of the columns in their order, ``after``. NULL is ``null``; text
    columns named in ``raw`` hold JSON and are put in as it."""
    if batch.num_columns == 0:
        return pa.repeat(pa.scalar(before + "{}" + after), batch.num_rows)
    parts: list[pa.Array | pa.Scalar] = []
    for i, (name, column) in enumerate(zip(batch.schema.names, batch.columns, strict=True)):
        value = _one_line(column) if name in raw else json_text(column)
        parts += [pa.scalar(("," if i else before + "{") + _quoted_text(name) + ":"), value]
    return pc.binary_join_element_wise(*parts, pa.scalar("}" + after), "")


def _one_line(json: pa.Array) -> pa.Array:
    """JSON may be laid out over several lines; within its texts a line's end is always escaped."""
    for end in ("\n", "\r"):
        if pc.any(pc.match_substring(json, end)).as_py():
            json = pc.replace_substring(json, end, " ")
    return pc.fill_null(json, "null")


def json_text(array: pa.Array) -> pa.Array:
    """Each value as JSON; the result has no NULL."""
    return pc.fill_null(_values(array), "null")


def _values(array: pa.Array) -> pa.Array:
    """Each value as JSON, NULL where it is NULL."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        return _values(array.dictionary_decode())
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind):
        return array.cast(pa.string())
    if pa.types.is_floating(kind):
        return _floats(array)
    if pa.types.is_decimal(kind):
        text = decimal_text(array)
        return text if kind.precision <= _EXACT_DIGITS else _in_quotes(text)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return _in_quotes(_escaped(array.cast(pa.string())))
    if pa.types.is_temporal(kind):
        return array.cast(pa.int64()).cast(pa.string()) if pa.types.is_duration(kind) else _in_quotes(iso_text(array))
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return _in_quotes(pc.replace_substring(hex_text(array), "\\", "\\\\"))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _lists(array)
    if pa.types.is_struct(kind):
        return _structs(array)
    if pa.types.is_null(kind):
        return array.cast(pa.string())
    raise TypeError(f"no JSON form for {kind}")


def _floats(array: pa.Array) -> pa.Array:
    if pa.types.is_float16(array.type):
        array = array.cast(pa.float32())
    text = array.cast(pa.string())
    # Many readers take ``-0`` for the integer, which has no sign.
    text = pc.if_else(pc.equal(text, "-0"), "-0.0", text)
    usual = pc.fill_null(pc.is_finite(array), True)
    if pc.all(usual).as_py() is not False:
        return text
    named = text
    for ours, theirs in (("-inf", '"-Infinity"'), ("inf", '"Infinity"'), ("nan", '"NaN"'), ("-nan", '"NaN"')):
        named = pc.if_else(pc.equal(text, ours), theirs, named)
    return named


def iso_text(array: pa.Array) -> pa.Array:
    """Dates and times as ISO 8601, with a ``T``; an aware timestamp in UTC, ending with ``Z``."""
    text = calendar_text(array)
    return pc.replace_substring(text, " ", "T", max_replacements=1) if pa.types.is_timestamp(array.type) else text


def calendar_text(array: pa.Array) -> pa.Array:
    """Dates and times as Arrow writes them (a blank before the time), also in years where Arrow gives up."""
    kind = array.type
    if not (pa.types.is_timestamp(kind) or pa.types.is_date32(kind)):
        return array.cast(pa.string())
    numbers = array.cast(pa.int32() if pa.types.is_date32(kind) else pa.int64())
    if far_from_now(array):
        # So few values, if any, that one after the other is well enough.
        return pa.array([None if n is None else _far_text(n, kind) for n in numbers.to_pylist()], pa.string())
    if not pa.types.is_timestamp(kind) or kind.tz is None:
        return array.cast(pa.string())
    # What an aware timestamp holds is UTC; Arrow formats it several times faster without the zone.
    plain = numbers.cast(pa.timestamp(kind.unit)).cast(pa.string())
    return pc.binary_join_element_wise(plain, "Z", "")


def far_from_now(array: pa.Array) -> bool:
    """Whether dates or timestamps lie beyond the years -28000 to 32000: Arrow writes those wrong, or not at all."""
    kind = array.type
    limit = _FAR_DAYS * (_PER_DAY[kind.unit] if pa.types.is_timestamp(kind) else 1)
    ends = pc.min_max(array.cast(pa.int32() if pa.types.is_date32(kind) else pa.int64()))
    return any(end.is_valid and abs(end.as_py()) > limit for end in (ends["min"], ends["max"]))


#: Some 30,000 years.
_FAR_DAYS = 10_957_000
_PER_DAY = {"s": 86_400, "ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}


def _far_text(number: int, kind: pa.DataType) -> str:
    """A date or timestamp of any year as text, from its number of days or units since 1970."""
    is_time = pa.types.is_timestamp(kind)
    days, rest = divmod(number, _PER_DAY[kind.unit]) if is_time else (number, 0)
    # The Gregorian calendar repeats after 400 years, which are 146,097 days.
    eras, day = divmod(days, 146_097)
    near = date(1970, 1, 1) + timedelta(days=day)
    year = near.year + 400 * eras
    text = f"{'-' if year < 0 else ''}{abs(year):04}-{near:%m-%d}"
    if not is_time:
        return text
    per_second = _PER_DAY[kind.unit] // 86_400
    seconds, part = divmod(rest, per_second)
    text += f" {seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    if per_second > 1:
        text += f".{part:0{len(str(per_second)) - 1}}"
    return text + ("Z" if kind.tz is not None else "")


def hex_text(array: pa.Array) -> pa.Array:
    """Bytes as ``\\x`` and two hexadecimal digits each, as Postgres writes them."""
    array = array.cast(pa.large_binary())
    offsets = np.frombuffer(array.buffers()[1], dtype=np.int64)[array.offset : array.offset + len(array) + 1]
    data = array.buffers()[2]
    first, last = (int(offsets[0]), int(offsets[-1])) if len(array) else (0, 0)
    raw = np.frombuffer(data, dtype=np.uint8)[first:last] if data is not None else np.empty(0, np.uint8)
    digits = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)
    text = np.empty((len(raw), 2), dtype=np.uint8)
    text[:, 0], text[:, 1] = digits[raw >> 4], digits[raw & 15]
    places = np.ascontiguousarray((offsets - first) * 2) if len(array) else np.zeros(1, np.int64)
    plain = pa.LargeStringArray.from_buffers(len(array), pa.py_buffer(places), pa.py_buffer(text.tobytes()))
    joined = pc.binary_join_element_wise(pa.scalar("\\x", pa.large_string()), plain, pa.scalar("", pa.large_string()))
    nothing = pa.scalar(None, pa.large_string())
    return pc.if_else(array.is_null(), nothing, joined).cast(pa.string())


def _in_quotes(text: pa.Array) -> pa.Array:
    return pc.binary_join_element_wise('"', text, '"', "")


def _escaped(text: pa.Array) -> pa.Array:
    """Backslash first: the others bring new ones. Most columns hold nothing to escape, and one look tells."""
    if not _any(text, _SPECIAL):
        return text
    for plain, escape in _ESCAPES:
        if pc.any(pc.match_substring(text, plain)).as_py():
            text = pc.replace_substring(text, plain, escape)
    if _any(text, _CONTROL):
        for plain, escape in _CONTROLS:
            text = pc.replace_substring(text, plain, escape)
    return text


def _any(text: pa.Array, pattern: str) -> bool:
    return bool(pc.any(pc.match_substring_regex(text, pattern)).as_py())


def _quoted_text(text: str) -> str:
    import json

    return json.dumps(text, ensure_ascii=False)


def _lists(array: pa.Array) -> pa.Array:
    child = json_text(array.values)
    make = pa.LargeListArray if pa.types.is_large_list(array.type) else pa.ListArray
    mask = array.is_null() if array.null_count else None
    offsets = array.offsets
    if mask is not None and offsets.offset:
        offsets = pa.array(offsets.to_numpy(zero_copy_only=False), offsets.type)
    texts = make.from_arrays(offsets, child, mask=mask)
    return pc.binary_join_element_wise("[", pc.binary_join(texts, ","), "]", "")


def _structs(array: pa.Array) -> pa.Array:
    flat = array.flatten()
    parts: list[pa.Array | str] = []
    for i, (field, column) in enumerate(zip(array.type, flat, strict=True)):
        parts += [("," if i else "{") + _quoted_text(field.name) + ":", json_text(column)]
    text = pc.binary_join_element_wise(*parts, "}", "") if parts else pa.repeat(pa.scalar("{}"), len(array))
    return pc.if_else(array.is_null(), pa.scalar(None, pa.string()), text) if array.null_count else text
