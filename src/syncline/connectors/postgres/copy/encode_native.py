"""The compiled encoder, reached through ctypes so that the GIL is free while it works.

Used by ``encode.py``; nobody else needs it. Whether it is there is a matter of the installation: without a
compiled ``_encode`` module, or with ``SYNCLINE_NO_NATIVE=1``, :func:`native_library` gives None.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import os
import weakref
from collections.abc import Sequence

import pyarrow as pa

from syncline.connectors.postgres.copy.encode_plan import Node

__all__ = ["NativeEncoder", "native_library"]

_I32, _I64, _POINTER = ctypes.c_int32, ctypes.c_int64, ctypes.c_void_p
_CHECK_AT_ONCE = 1024


class _Node(ctypes.Structure):
    """``struct node`` of ``_encode.c``."""

    _fields_ = [
        ("op", _I32),
        ("source", _I32),
        ("width", _I32),
        ("child", _I32),
        ("scale", _I32),
        ("typmod", _I32),
        ("precision", _I32),
        ("limit", _I32),
        ("oid", ctypes.c_uint32),
        ("unused", _I32),
        ("low", _I64),
        ("high", _I64),
        ("multiply", _I64),
        ("divide", _I64),
        ("grain", _I64),
    ]


class _Result(ctypes.Structure):
    """``struct result``: a cell and why it cannot be written."""

    _fields_ = [("row", _I64), ("column", _I32), ("reason", _I32)]


class _Encoder(ctypes.Structure):
    """The public start of ``struct encoder``."""

    _fields_ = [("buffer", _POINTER), ("used", _I64)]


@functools.cache
def _load() -> ctypes.CDLL | None:
    spec = importlib.util.find_spec("syncline.connectors.postgres.copy._encode")
    if spec is None or spec.origin is None:
        return None
    library = ctypes.CDLL(spec.origin)
    library.sl_encoder_layout.restype = _I32
    if library.sl_encoder_layout() != ctypes.sizeof(_Node):
        return None  # compiled from another version of the source
    library.sl_encoder_open.restype = ctypes.POINTER(_Encoder)
    library.sl_encoder_open.argtypes = [ctypes.POINTER(_Node), _I32, ctypes.POINTER(_I32), _I32]
    library.sl_encoder_bind.restype = None
    library.sl_encoder_bind.argtypes = [_POINTER, _POINTER, ctypes.POINTER(_I32)]
    library.sl_encoder_rows.restype = _I64
    library.sl_encoder_rows.argtypes = [_POINTER, _I64, _I64, _I64, ctypes.POINTER(_Result)]
    library.sl_encoder_check.restype = _I32
    library.sl_encoder_check.argtypes = [_POINTER, _I32, ctypes.POINTER(_I64), _I64, ctypes.POINTER(_Result), _I32]
    library.sl_encoder_close.restype = None
    library.sl_encoder_close.argtypes = [_POINTER]
    return library


def native_library() -> ctypes.CDLL | None:
    """The loaded library, None when there is none or the environment forbids it."""
    return None if os.environ.get("SYNCLINE_NO_NATIVE") == "1" else _load()


class NativeEncoder:
    """Writes batches of one schema. Not for use by two threads at once."""

    def __init__(self, library: ctypes.CDLL, nodes: Sequence[Node], indices: Sequence[int]) -> None:
        flat: list[_Node] = []
        roots = [_flatten(node, flat) for node in nodes]
        self._library = library
        self._handle = library.sl_encoder_open(
            (_Node * len(flat))(*flat), len(flat), (_I32 * len(roots))(*roots), len(roots)
        )
        if not self._handle:
            raise MemoryError
        self._indices = (_I32 * len(indices))(*indices)
        self._columns = len(indices)
        self._rows = 0
        self._bound: object = None
        self._close = weakref.finalize(self, library.sl_encoder_close, self._handle)

    def bind(self, batch: pa.RecordBatch) -> None:
        """The batch that the next calls are about; it is kept alive until the next ``bind``."""
        _, capsule = batch.__arrow_c_array__()
        self._library.sl_encoder_bind(self._handle, _capsule_pointer(capsule, b"arrow_array"), self._indices)
        self._bound, self._rows = capsule, batch.num_rows

    def rows(self, start: int, target: int) -> tuple[int, memoryview, tuple[int, int, int] | None]:
        """Rows from ``start`` until ``target`` bytes: the next row, the bytes (valid until the next call), and row,
        column and reason of a cell that could not be written."""
        problem = _Result()
        stop = self._library.sl_encoder_rows(self._handle, start, self._rows, target, ctypes.byref(problem))
        state = self._handle.contents
        used = state.used
        data = memoryview((ctypes.c_char * used).from_address(state.buffer) if used else b"").cast("B")
        return stop, data, (problem.row, problem.column, problem.reason) if problem.reason else None

    def check(self, column: int) -> list[tuple[int, int]]:
        """Rows of one column, with reasons, that Postgres cannot hold."""
        at, found = _I64(0), (_Result * _CHECK_AT_ONCE)()
        problems: list[tuple[int, int]] = []
        while at.value < self._rows:
            count = self._library.sl_encoder_check(
                self._handle, column, ctypes.byref(at), self._rows, found, _CHECK_AT_ONCE
            )
            problems += [(r.row, r.reason) for r in found[:count]]
        return problems


def _capsule_pointer(capsule: object, name: bytes) -> int:
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    pointer = get(capsule, name)
    assert isinstance(pointer, int)
    return pointer


def _flatten(node: Node, out: list[_Node]) -> int:
    child = -1 if node.child is None else _flatten(node.child, out)
    out.append(
        _Node(
            op=node.op,
            source=node.source,
            width=node.width,
            child=child,
            scale=node.scale,
            typmod=node.typmod,
            precision=node.precision,
            limit=node.limit,
            oid=node.oid,
            low=node.low,
            high=node.high,
            multiply=node.multiply,
            divide=node.divide,
            grain=node.grain,
        )
    )
    return len(out) - 1
