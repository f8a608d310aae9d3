"""The compiled way from JSON objects to Arrow columns, reached through ctypes so that the GIL is free while it works.

Used by ``reader.py``; nobody else needs it. Without a compiled ``_parse`` module, or with ``SYNCLINE_NO_NATIVE=1``,
:func:`native_records` gives None.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import os
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import pyarrow as pa

from syncline.core.schema import Field

__all__ = ["NativeRecords", "native_records"]

_I32, _I64, _POINTER = ctypes.c_int32, ctypes.c_int64, ctypes.c_void_p
#: sl_records_layout() of the source that this file speaks to.
_LAYOUT = 1
_TYPES = (pa.string(), pa.int64(), pa.float64(), pa.bool_())
_TEXT, _INTEGER, _NUMBER, _BOOLEAN, _NESTED = range(5)


class _Memory:
    """Keeps what the library has allocated until the last column of it is gone."""

    def __init__(self, library: ctypes.CDLL, handle: int) -> None:
        self._library, self._handle = library, handle

    def __del__(self) -> None:
        self._library.sl_records_free(self._handle)

    def column(self, number: int, kind: int, rows: int) -> pa.Array:
        out = (_I64 * 5)()
        self._library.sl_records_column(self._handle, number, out)
        valid, nulls, values, text, length = out
        bits = rows // 8 + 1
        mask = pa.foreign_buffer(valid, bits, base=self) if nulls else None
        if kind in (_TEXT, _NESTED):
            ends = pa.foreign_buffer(values, (rows + 1) * 4, base=self)
            data = pa.foreign_buffer(text, length, base=self)
            return pa.Array.from_buffers(pa.string(), rows, [mask, ends, data], nulls)
        size = bits if kind == _BOOLEAN else rows * 8
        arrow = {_INTEGER: pa.int64(), _NUMBER: pa.float64(), _BOOLEAN: pa.bool_()}[kind]
        return pa.Array.from_buffers(arrow, rows, [mask, pa.foreign_buffer(values, size, base=self)], nulls)


class NativeRecords:
    """For the columns of one stream: integers, doubles, booleans, nested JSON, and text (times too)."""

    def __init__(self, library: ctypes.CDLL, fields: Sequence[Field]) -> None:
        self._library = library
        self._names = b"".join(f.name.encode() for f in fields)
        self._kinds = [_kind(f) for f in fields]
        ends = list(accumulate(len(f.name.encode()) for f in fields))
        self._ends = (_I32 * len(fields))(*ends)
        self._packed = bytes(self._kinds)

    def __call__(self, records: Sequence[Any]) -> list[pa.Array] | None:
        """A column for each field, text as it is written; None for records that are not all plain."""
        text = b"\n".join(records)
        if not text.isascii():
            text.decode()  # UnicodeDecodeError for what is no UTF-8
        rows = len(records)
        handle = self._library.sl_records_parse(
            text, len(text), rows, len(self._kinds), self._names, self._ends, self._packed
        )
        if not handle:
            return None
        memory = _Memory(self._library, handle)
        return [memory.column(i, kind, rows) for i, kind in enumerate(self._kinds)]


def _kind(field: Field) -> int:
    if field.logical == "json":
        return _NESTED
    if pa.types.is_int64(field.type):
        return _INTEGER
    if pa.types.is_float64(field.type):
        return _NUMBER
    return _BOOLEAN if pa.types.is_boolean(field.type) else _TEXT


def native_records(fields: Sequence[Field]) -> NativeRecords | None:
    """The compiled reader, None where there is none, or for a column of another type."""
    fit = bool(fields) and all(f.type in _TYPES or pa.types.is_temporal(f.type) for f in fields)
    library = _library() if fit and os.environ.get("SYNCLINE_NO_NATIVE") != "1" else None
    return None if library is None else NativeRecords(library, fields)


@functools.cache
def _library() -> ctypes.CDLL | None:
    spec = importlib.util.find_spec("syncline.sdk.records._parse")
    if spec is None or spec.origin is None:
        return None
    library = ctypes.CDLL(spec.origin)
    if library.sl_records_layout() != _LAYOUT:
        return None
    library.sl_records_parse.argtypes = [_POINTER, _I64, _I64, _I32, _POINTER, _POINTER, _POINTER]
    library.sl_records_parse.restype = _POINTER
    library.sl_records_column.argtypes = [_POINTER, _I32, _POINTER]
    library.sl_records_column.restype = None
    library.sl_records_free.argtypes = [_POINTER]
    library.sl_records_free.restype = None
    return library
