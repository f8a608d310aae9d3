"""The compiled decoder, reached through ctypes so that the GIL is free while it works.

Used by ``decode.py``; nobody else needs it. Whether it is there is a matter of the installation: without a
compiled ``_decode`` module, or with ``SYNCLINE_NO_NATIVE=1``, :func:`native_library` gives None.
"""

from __future__ import annotations

import ctypes
import enum
import functools
import importlib.util
import os
import struct
import weakref
from collections.abc import Iterator, Sequence

import pyarrow as pa

from syncline.connectors.postgres.copy.layouts import Layout
from syncline.connectors.postgres.copy.libpq import Functions

__all__ = ["NativeDecoder", "NativeRelay", "Status", "native_library"]

_I32, _I64, _POINTER = ctypes.c_int32, ctypes.c_int64, ctypes.c_void_p
#: sl_decoder_layout() of the source that this file speaks to.
_LAYOUT = 2
#: ``struct misfit``: row, start and length of its bytes, column, reason.
_MISFIT = struct.Struct("=qqqii")

#: ``enum op`` of ``_decode.c``.
_OPS = (
    "bool",
    "int2",
    "int4",
    "int8",
    "oid4",
    "oid8",
    "float4",
    "float8",
    "decimal128",
    "decimal256",
    "numeric_text",
    "text",
    "jsonb",
    "bytea",
    "date",
    "time",
    "timestamp",
    "uuid",
)
_SAME_OP = {"timestamptz": "timestamp"}


class Status(enum.IntEnum):
    """What a call ended with; ``enum status`` of ``_decode.c``."""

    IDLE = 0  #: nothing came for a while, or a signal did: look around and call again
    FULL = 1  #: the batch is as big as it was to be
    END = 2  #: the trailer of the stream was read
    SERVER_ENDED = 3  #: the COPY ended without a trailer: the server has something to say
    CONNECTION = 4  #: libpq has something to say
    MALFORMED = 5
    MEMORY = 6
    TOO_LARGE = 7  #: one row that no batch can hold


class _Spec(ctypes.Structure):
    _fields_ = [("op", _I32), ("depth", _I32), ("precision", _I32), ("scale", _I32)]


class _Relay(ctypes.Structure):
    _fields_ = [
        ("buffer", _POINTER),
        ("used", _I64),
        ("capacity", _I64),
        ("messages", _I64),
        ("waiting", _POINTER),
        ("waiting_length", _I64),
        ("dead", _I32),
        ("unused", _I32),
    ]


class _ArrowArray(ctypes.Structure):
    _fields_ = [
        ("length", _I64),
        ("null_count", _I64),
        ("offset", _I64),
        ("n_buffers", _I64),
        ("n_children", _I64),
        ("buffers", _POINTER),
        ("children", _POINTER),
        ("dictionary", _POINTER),
        ("release", _POINTER),
        ("private_data", _POINTER),
    ]


@functools.cache
def _load() -> ctypes.CDLL | None:
    spec = importlib.util.find_spec("syncline.connectors.postgres.copy._decode")
    if spec is None or spec.origin is None:
        return None
    library = ctypes.CDLL(spec.origin)
    library.sl_decoder_layout.restype = _I32
    if library.sl_decoder_layout() != _LAYOUT:
        return None  # compiled from another version of the source
    library.sl_decoder_open.restype = _POINTER
    library.sl_decoder_open.argtypes = [ctypes.POINTER(_Spec), _I32, _I32]
    library.sl_decoder_read.restype = _I32
    library.sl_decoder_read.argtypes = [_POINTER, _POINTER, ctypes.POINTER(Functions), _I64, _I64, _I32]
    library.sl_decoder_feed.restype = _I32
    library.sl_decoder_feed.argtypes = [_POINTER, ctypes.c_char_p, _I64, _I64, _I64]
    library.sl_decoder_misfits.restype = _I64
    library.sl_decoder_misfits.argtypes = [_POINTER, ctypes.POINTER(_POINTER), ctypes.POINTER(_POINTER)]
    library.sl_decoder_take.restype = _I32
    library.sl_decoder_take.argtypes = [_POINTER, ctypes.POINTER(_ArrowArray)]
    library.sl_decoder_rows.restype = _I64
    library.sl_decoder_rows.argtypes = [_POINTER]
    library.sl_decoder_error.restype = ctypes.c_char_p
    library.sl_decoder_error.argtypes = [_POINTER]
    library.sl_decoder_close.restype = None
    library.sl_decoder_close.argtypes = [_POINTER]
    library.sl_relay_read.restype = _I32
    library.sl_relay_read.argtypes = [ctypes.POINTER(_Relay), _POINTER, ctypes.POINTER(Functions), _I32]
    library.sl_relay_close.restype = None
    library.sl_relay_close.argtypes = [ctypes.POINTER(_Relay)]
    return library


def native_library() -> ctypes.CDLL | None:
    """The loaded library, None when there is none or the environment forbids it."""
    return None if os.environ.get("SYNCLINE_NO_NATIVE") == "1" else _load()


class NativeDecoder:
    """Column buffers that fill from a connection. Not for use by two threads at once."""

    def __init__(self, library: ctypes.CDLL, layouts: Sequence[Layout], schema: pa.Schema, *, check_utf8: bool) -> None:
        specs = [
            _Spec(_OPS.index(_SAME_OP.get(item.op, item.op)), item.depth, item.precision, item.scale)
            for item in layouts
        ]
        self._library = library
        self._schema = schema
        self._handle = library.sl_decoder_open((_Spec * len(specs))(*specs), len(specs), int(check_utf8))
        if not self._handle:
            raise MemoryError
        self.close = weakref.finalize(self, library.sl_decoder_close, self._handle)

    def read(self, connection: int, functions: Functions, max_bytes: int, max_rows: int, timeout_ms: int) -> Status:
        """Decode what the server sends, until one of :class:`Status`. The GIL is free meanwhile."""
        return Status(
            self._library.sl_decoder_read(
                self._handle, connection, ctypes.byref(functions), max_bytes, max_rows, timeout_ms
            )
        )

    def feed(self, message: bytes, max_bytes: int, max_rows: int) -> Status:
        """Decode one message given by the caller; ``b""`` goes on with the last one after ``FULL``."""
        return Status(self._library.sl_decoder_feed(self._handle, message, len(message), max_bytes, max_rows))

    @property
    def rows(self) -> int:
        """Rows that :meth:`take` would give."""
        return int(self._library.sl_decoder_rows(self._handle))

    @property
    def error(self) -> str:
        """What was malformed."""
        return bytes(self._library.sl_decoder_error(self._handle)).decode()

    def misfits(self) -> Iterator[tuple[int, int, int, bytes]]:
        """Row, column, reason and bytes of the cells that :meth:`take`'s batch will not hold. Ask before taking."""
        items, data = _POINTER(), _POINTER()
        count = self._library.sl_decoder_misfits(self._handle, ctypes.byref(items), ctypes.byref(data))
        if not count:
            return
        assert items.value is not None
        table = ctypes.string_at(items.value, count * _MISFIT.size)
        for row, start, length, column, reason in _MISFIT.iter_unpack(table):
            yield row, column, reason, ctypes.string_at((data.value or 0) + start, length) if length else b""

    def take(self) -> pa.RecordBatch:
        """The rows so far, without copying them; their memory goes with the batch."""
        array = _ArrowArray()
        if not self._library.sl_decoder_take(self._handle, ctypes.byref(array)):
            raise MemoryError
        return pa.RecordBatch._import_from_c(ctypes.addressof(array), self._schema)


class NativeRelay:
    """Undecoded messages, in chunks of at least ``chunk_bytes`` where there are so many."""

    def __init__(self, library: ctypes.CDLL, chunk_bytes: int) -> None:
        self._library = library
        self._relay = _Relay()
        self._chunk_bytes = chunk_bytes
        self._chunk = bytearray()
        self.close = weakref.finalize(self, library.sl_relay_close, ctypes.pointer(self._relay))

    def read(self, connection: int, functions: Functions, timeout_ms: int) -> Status:
        """Gather messages until the chunk is full, or another :class:`Status`."""
        if not self._chunk:
            self._chunk = bytearray(max(self._chunk_bytes, self._relay.waiting_length if self._relay.waiting else 0))
            self._relay.capacity = len(self._chunk)
        # The address is that of this call only: a bytearray has no other owner while ctypes looks at it.
        view = (ctypes.c_char * len(self._chunk)).from_buffer(self._chunk)
        self._relay.buffer = ctypes.addressof(view)
        status = Status(
            self._library.sl_relay_read(ctypes.byref(self._relay), connection, ctypes.byref(functions), timeout_ms)
        )
        if status is Status.FULL and not self._relay.used:  # one message larger than the chunk
            self._chunk = bytearray()
            return self.read(connection, functions, timeout_ms)
        return status

    @property
    def messages(self) -> int:
        """Messages so far: one per row and one more."""
        return int(self._relay.messages)

    def take(self) -> memoryview:
        """The bytes so far. They belong to the caller: the next chunk is a new one."""
        chunk, used = self._chunk, self._relay.used
        self._chunk, self._relay.used = bytearray(), 0
        return memoryview(chunk)[:used].toreadonly()
