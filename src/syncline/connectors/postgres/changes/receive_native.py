"""The compiled receiving end, reached through ctypes so that the GIL is free while it waits and works.

Used by ``receive_session.py``; nobody else needs it. Whether it is there is a matter of the installation: without a
compiled ``_receive`` module, or with ``SYNCLINE_NO_NATIVE=1``, :func:`native_receiver_library` gives None and
``receive_fallback.py`` serves.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import os
import weakref

import psycopg

from syncline.connectors.postgres.changes.receive_fallback import Status
from syncline.connectors.postgres.copy.libpq import Functions, connection_pointer, libpq

__all__ = ["NativeReceiver", "native_receiver_library"]

_I32, _U32, _I64, _U64, _POINTER = ctypes.c_int32, ctypes.c_uint32, ctypes.c_int64, ctypes.c_uint64, ctypes.c_void_p
#: sl_receiver_layout() of the source that this file speaks to.
_LAYOUT = 2


class _Buffer(ctypes.Structure):
    _fields_ = [("bytes", _POINTER), ("used", _I64), ("capacity", _I64)]


class _Fields(ctypes.Structure):
    """``struct receiver`` of ``_receive.c``, without its inner part."""

    _fields_ = [
        ("main", _Buffer),
        ("whole", _I64),
        ("relations_whole", _I64),
        ("block", _Buffer),
        ("relations", _Buffer),
        ("block_relations", _Buffer),
        ("dropped_relations", _Buffer),
        ("position", _U64),
        ("server_end", _U64),
        ("skip_below", _U64),
        ("commit_lsn", _U64),
        ("end_lsn", _U64),
        ("committed_at", _I64),
        ("messages", _I64),
        ("received_bytes", _I64),
        ("block_xid", _U32),
        ("xid", _U32),
        ("subxid", _U32),
        ("open", _I32),
    ]


@functools.cache
def _load() -> ctypes.CDLL | None:
    spec = importlib.util.find_spec("syncline.connectors.postgres.changes._receive")
    if spec is None or spec.origin is None:
        return None
    library = ctypes.CDLL(spec.origin)
    library.sl_receiver_layout.restype = _I32
    if library.sl_receiver_layout() != _LAYOUT:
        return None  # compiled from another version of the source
    library.sl_receiver_open.restype = ctypes.POINTER(_Fields)
    library.sl_receiver_open.argtypes = [_I64, _I64, _U64]
    library.sl_receiver_read.restype = _I32
    library.sl_receiver_read.argtypes = [_POINTER, _POINTER, ctypes.POINTER(Functions), _I32, _I32]
    library.sl_receiver_feed.restype = _I32
    library.sl_receiver_feed.argtypes = [_POINTER, ctypes.c_char_p, _I64]
    for name in ("clear", "clear_block", "close"):
        function = getattr(library, f"sl_receiver_{name}")
        function.restype = None
        function.argtypes = [_POINTER]
    return library


def native_receiver_library() -> ctypes.CDLL | None:
    """The loaded library; None when there is none, psycopg's libpq is out of reach, or the environment forbids it."""
    if os.environ.get("SYNCLINE_NO_NATIVE") == "1" or libpq() is None:
        return None
    return _load()


class NativeReceiver:
    """The same as :class:`~syncline.connectors.postgres.changes.receive_fallback.PythonReceiver`, which says what each
    part means. The memory that the properties show is gone with the next call."""

    def __init__(self, library: ctypes.CDLL, *, target_bytes: int, spill_bytes: int, position: int) -> None:
        self._library = library
        self._functions = libpq()
        found = library.sl_receiver_open(target_bytes, spill_bytes, position)
        if not found:
            raise MemoryError
        self._fields = found.contents
        self._handle = ctypes.addressof(self._fields)
        self.close = weakref.finalize(self, library.sl_receiver_close, self._handle)

    def read(self, connection: psycopg.Connection[tuple[object, ...]], wake: int, timeout_ms: int) -> Status:
        pointer = connection_pointer(connection)
        return Status(self._library.sl_receiver_read(self._handle, pointer, self._functions, wake, timeout_ms))

    def feed(self, message: bytes) -> Status:
        return Status(self._library.sl_receiver_feed(self._handle, message, len(message)))

    def clear(self) -> None:
        self._library.sl_receiver_clear(self._handle)

    def clear_block(self) -> None:
        self._library.sl_receiver_clear_block(self._handle)

    @property
    def frames(self) -> memoryview:
        return _view(self._fields.main, self._fields.whole)

    @property
    def relations(self) -> bytes:
        return _copy(self._fields.relations, self._fields.relations_whole)

    @property
    def dropped_relations(self) -> bytes:
        return _copy(self._fields.dropped_relations, self._fields.dropped_relations.used)

    @property
    def block(self) -> memoryview:
        return _view(self._fields.block, self._fields.block.used)

    @property
    def block_relations(self) -> bytes:
        return _copy(self._fields.block_relations, self._fields.block_relations.used)

    @property
    def block_xid(self) -> int:
        return int(self._fields.block_xid)

    @property
    def position(self) -> int:
        return int(self._fields.position)

    @position.setter
    def position(self, lsn: int) -> None:
        self._fields.position = lsn

    @property
    def server_end(self) -> int:
        return int(self._fields.server_end)

    @property
    def messages(self) -> int:
        return int(self._fields.messages)

    @property
    def bytes(self) -> int:
        return int(self._fields.received_bytes)

    @property
    def xid(self) -> int:
        return int(self._fields.xid)

    @property
    def subxid(self) -> int:
        return int(self._fields.subxid)

    @property
    def commit_lsn(self) -> int:
        return int(self._fields.commit_lsn)

    @property
    def end_lsn(self) -> int:
        return int(self._fields.end_lsn)

    @property
    def committed_at(self) -> int:
        return int(self._fields.committed_at)


def _view(buffer: _Buffer, length: int) -> memoryview:
    if not length:
        return memoryview(b"")
    return memoryview((ctypes.c_char * length).from_address(buffer.bytes)).cast("B")


def _copy(buffer: _Buffer, length: int) -> bytes:
    return ctypes.string_at(buffer.bytes, length) if length else b""
