"""Arrow columns as JSON text, without a Python object per value.

NULL is ``null``. Numbers are written as numbers when every reader takes them exactly: integers, floats, decimals of up
to 15 digits; longer decimals as strings. NaN and the infinities, which JSON lacks, are the strings ``NaN``,
``Infinity``, ``-Infinity``. Dates and times are ISO 8601, bytes ``\\x`` and hexadecimal digits.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from syncline.connectors.files.types import decimal_text

__all__ = ["hex_text", "iso_text", "json_lines", "json_text"]

#: A double, which most readers of JSON take a number for, holds every decimal of so many digits.
_EXACT_DIGITS = 15
_ESCAPES = [("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t")]
_CONTROLS = [(chr(i), f"\\u{i:04x}") for i in range(32) if chr(i) not in "\n\r\t"]
_SPECIAL = '[\\x00-\\x1f"\\\\]'
_CONTROL = "[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f]"


def json_lines(batch: pa.RecordBatch) -> pa.Array:
    """One line of JSON per row, each with its newline; the columns in order, NULL as ``null``."""
    if batch.num_columns == 0:
        return pa.repeat(pa.scalar("{}\n"), batch.num_rows)
    parts: list[pa.Array | pa.Scalar] = []
    for i, (name, column) in enumerate(zip(batch.schema.names, batch.columns, strict=True)):
        parts += [pa.scalar(("," if i else "{") + _quoted_text(name) + ":"), json_text(column)]
    return pc.binary_join_element_wise(*parts, pa.scalar("}\n"), "")


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
    usual = pc.fill_null(pc.is_finite(array), True)
    if pc.all(usual).as_py() is not False:
        return text
    named = text
    for ours, theirs in (("-inf", '"-Infinity"'), ("inf", '"Infinity"'), ("nan", '"NaN"'), ("-nan", '"NaN"')):
        named = pc.if_else(pc.equal(text, ours), theirs, named)
    return named


def iso_text(array: pa.Array) -> pa.Array:
    """Dates and times as ISO 8601, with a ``T``; an aware timestamp in UTC, ending with ``Z``."""
    kind = array.type
    if not pa.types.is_timestamp(kind):
        return array.cast(pa.string())
    if kind.tz is not None and kind.tz != "UTC":
        array = array.cast(pa.timestamp(kind.unit, tz="UTC"))
    return pc.replace_substring(array.cast(pa.string()), " ", "T", max_replacements=1)


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
