"""The compiled hash, reached through ctypes so that the GIL is free while it works.

Used by ``hashing.py``; nobody else needs it. Without a compiled ``_hash`` module, or with ``SYNCLINE_NO_NATIVE=1``,
:func:`native_hash` gives None.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import os
from typing import Any

import numpy as np
import pyarrow as pa

__all__ = ["NativeHash", "native_hash"]

_I32, _I64, _POINTER = ctypes.c_int32, ctypes.c_int64, ctypes.c_void_p
#: sl_hash_layout() of the source that this file speaks to.
_LAYOUT = 2
_DIGITS = 64


class NativeHash:
    """SHA-256 of a column, keyed or not. ``plain`` forbids the processor's SHA instructions (tests)."""

    def __init__(self, library: ctypes.CDLL, key: bytes | None, *, plain: bool = False) -> None:
        self._library, self._plain = library, int(plain)
        self._inner = self._outer = None
        if key is not None:
            from hashlib import sha256

            block = (sha256(key).digest() if len(key) > 64 else key).ljust(64, b"\0")
            self._inner, self._outer = self._state(block, 0x36), self._state(block, 0x5C)

    def _state(self, block: bytes, mask: int) -> Any:
        state = (ctypes.c_uint32 * 8)()
        self._library.sl_hash_state(bytes(byte ^ mask for byte in block), state, self._plain)
        return state

    def __call__(self, column: pa.Array) -> pa.Array:
        """``column`` is of a text or binary type with 32 or 64-bit offsets; gives 64 digits of text a value."""
        rows = len(column)
        valid, offsets, data = column.buffers()
        wide = pa.types.is_large_string(column.type) or pa.types.is_large_binary(column.type)
        # From Arrow's pool, which keeps its pages: new ones would cost a fault each.
        out = pa.allocate_buffer(rows * _DIGITS)
        if rows:
            self._library.sl_hash_column(
                data.address if data is not None else None,
                offsets.address + column.offset * (8 if wide else 4),
                int(wide),
                valid.address if valid is not None else None,
                column.offset,
                rows,
                self._inner,
                self._outer,
                self._plain,
                out.address,
            )
        places = pa.py_buffer(np.arange(0, (rows + 1) * _DIGITS, _DIGITS, dtype=np.int32))
        mask = column.is_valid().buffers()[1] if column.null_count else None
        return pa.Array.from_buffers(pa.string(), rows, [mask, places, out], column.null_count)


def native_hash(key: bytes | None) -> NativeHash | None:
    """The compiled hash, None where there is none."""
    library = None if os.environ.get("SYNCLINE_NO_NATIVE") == "1" else _library()
    return None if library is None else NativeHash(library, key)


@functools.cache
def _library() -> ctypes.CDLL | None:
    spec = importlib.util.find_spec("syncline.sdk.mapping._hash")
    if spec is None or spec.origin is None:
        return None
    library = ctypes.CDLL(spec.origin)
    if library.sl_hash_layout() != _LAYOUT:
        return None
    library.sl_hash_state.argtypes = [_POINTER, _POINTER, _I32]
    library.sl_hash_state.restype = None
    library.sl_hash_column.argtypes = [
        _POINTER, _POINTER, _I32, _POINTER, _I64, _I64, _POINTER, _POINTER, _I32, _POINTER,
    ]  # fmt: skip
    library.sl_hash_column.restype = None
    return library
