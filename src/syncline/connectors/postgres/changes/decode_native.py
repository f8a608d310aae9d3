"""The compiled decoder of changes, reached through ctypes so that the GIL is free while it works.

Used by ``decode.py``; nobody else needs it. Whether it is there is a matter of the installation: without a compiled
``_changes`` module, or with ``SYNCLINE_NO_NATIVE=1``, :func:`native_library` gives None.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import os
import struct
import weakref
from collections.abc import Sequence

import pyarrow as pa

from syncline.connectors.postgres.changes.decode_form import META, Column, Status, Taken, View
from syncline.connectors.postgres.changes.stretch import Stretch

__all__ = ["NativeWalker", "native_library"]

_I32, _I64, _U32, _U64, _POINTER = ctypes.c_int32, ctypes.c_int64, ctypes.c_uint32, ctypes.c_uint64, ctypes.c_void_p
#: sl_changes_layout() of the source that this file speaks to.
_LAYOUT = 2
#: Combinations of masks for which a table's layout is kept.
_REMEMBERED = 64
#: ``struct misfit``: row, start and length of its bytes, field, reason.
_MISFIT = struct.Struct("=qqqii")

#: ``enum op`` of ``_values.h``.
_OPS = (
    "bool",
    "int2",
    "int4",
    "int8",
    "oid8",
    "float4",
    "float8",
    "decimal128",
    "decimal256",
    "text",
    "bytea",
    "date",
    "time",
    "timestamp",
    "timestamptz",
    "money",
    "inet",
)


class _Spec(ctypes.Structure):
    _fields_ = [(name, _I32) for name in ("op", "depth", "precision", "scale", "source", "delimiter")]


class _Input(ctypes.Structure):
    _fields_ = [
        ("frames", _POINTER),
        ("length", _I64),
        ("aborted", _POINTER),
        ("aborted_count", _I64),
        ("commit_lsn", _U64),
        ("committed_at", _I64),
        ("xid", _U32),
        ("streamed", _I32),
        ("resumed", _I32),
    ]


class _View(ctypes.Structure):
    _fields_ = [
        ("lsn", _U64),
        ("end_lsn", _U64),
        ("committed_at", _I64),
        ("bytes", _I64),
        ("at", _I64),
        ("xid", _U32),
        ("oid", _U32),
        ("inside", _I32),
        ("field", _I32),
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
    spec = importlib.util.find_spec("syncline.connectors.postgres.changes._changes")
    if spec is None or spec.origin is None:
        return None
    library = ctypes.CDLL(spec.origin)
    library.sl_changes_layout.restype = _I32
    if library.sl_changes_layout() != _LAYOUT:
        return None  # compiled from another version of the source
    for name, restype, argtypes in (
        ("open", _POINTER, [_I32]),
        ("close", None, [_POINTER]),
        ("load", _I32, [_POINTER, ctypes.POINTER(_Input)]),
        ("run", _I32, [_POINTER, _I64, _I64]),
        ("view", ctypes.POINTER(_View), [_POINTER]),
        ("error", ctypes.c_char_p, [_POINTER]),
        ("relation", _I64, [_POINTER, _U32, ctypes.POINTER(_POINTER)]),
        ("describe", _I32, [_POINTER, _U32, ctypes.POINTER(_Spec), _I32, ctypes.POINTER(_I32), _I32, _U64, _I32]),
        ("skip", None, [_POINTER, _U32]),
        ("ask_again", None, [_POINTER, _U32]),
        ("filter", None, [_POINTER, _U32, _U64, _I32]),
        ("answer", None, [_POINTER, _U32, _I32]),
        ("rows", _I64, [_POINTER, _U32, ctypes.c_char_p, ctypes.POINTER(_I32)]),
        ("misfits", _I64, [_POINTER, _U32, ctypes.POINTER(_POINTER), ctypes.POINTER(_POINTER)]),
        ("take", _I32, [_POINTER, _U32, ctypes.POINTER(_ArrowArray)]),
        ("touched", _I64, [_POINTER, ctypes.POINTER(ctypes.POINTER(_U32))]),
        ("emptied", None, [_POINTER]),
    ):
        function = getattr(library, f"sl_changes_{name}")
        function.restype, function.argtypes = restype, argtypes
    return library


def native_library() -> ctypes.CDLL | None:
    """The loaded library, None when there is none or the environment forbids it."""
    return None if os.environ.get("SYNCLINE_NO_NATIVE") == "1" else _load()


class _Layout:
    """What sl_changes_take gives of one table. ``masked`` is filled by sl_changes_rows: a byte per field."""

    def __init__(self, types: list[pa.DataType], keys: list[int]) -> None:
        self.count = len(types)
        self.masked = ctypes.create_string_buffer(self.count + 1)
        self._types, self._keys = types, keys
        self._schemas: dict[tuple[bytes, bool], tuple[pa.Schema, list[int]]] = {}

    def schema(self, *, moved: bool) -> tuple[pa.Schema, list[int]]:
        """For the masks of now, and which fields have one. Remembered: small slices come thousands of times a
        second."""
        key = (self.masked.raw, moved)
        found = self._schemas.get(key)
        if found is None:
            masks = [index for index in range(self.count) if self.masked.raw[index]]
            kinds = [*self._types, *META, *(pa.bool_() for _ in masks)]
            if moved:
                kinds += [pa.bool_(), *(self._types[index] for index in self._keys)]
            found = pa.schema([pa.field(str(index), kind) for index, kind in enumerate(kinds)]), masks
            if len(self._schemas) < _REMEMBERED:
                self._schemas[key] = found
        return found


class NativeWalker:
    """A :class:`~.decode_form.Walker`. ``check_utf8``: text may be in no encoding at all."""

    def __init__(self, library: ctypes.CDLL, *, check_utf8: bool) -> None:
        self._library = library
        self._handle = library.sl_changes_open(int(check_utf8))
        if not self._handle:
            raise MemoryError
        self._view = library.sl_changes_view(self._handle).contents
        self._tables: dict[int, _Layout] = {}
        self._frames: pa.Buffer | None = None
        self._aborted: ctypes.Array[ctypes.c_uint32] | None = None
        self.close = weakref.finalize(self, library.sl_changes_close, self._handle)

    def load(self, stretch: Stretch, *, resumed: bool) -> None:
        # Both are kept: the walk looks at them until it ends.
        self._frames = pa.py_buffer(stretch.frames)
        self._aborted = (_U32 * len(stretch.aborted))(*sorted(stretch.aborted))
        header = stretch.header
        loaded = _Input(
            frames=self._frames.address,
            length=self._frames.size,
            aborted=ctypes.addressof(self._aborted),
            aborted_count=len(stretch.aborted),
            commit_lsn=header.commit_lsn if header else 0,
            committed_at=header.committed_at if header else 0,
            xid=header.xid if header else 0,
            streamed=header is not None,
            resumed=resumed,
        )
        # A time that is none is said by the next run, which finds no transaction.
        self._library.sl_changes_load(self._handle, ctypes.byref(loaded))

    def run(self, full: int, most: int) -> Status:
        status = Status(self._library.sl_changes_run(self._handle, full, most))
        if status is Status.END:  # nothing looks at them again, and their owner may want to reuse the memory
            self._frames = None
        return status

    @property
    def view(self) -> View:
        view = self._view
        return View(
            lsn=view.lsn,
            xid=view.xid,
            inside=bool(view.inside),
            end_lsn=view.end_lsn,
            committed_at=view.committed_at,
            oid=view.oid,
            field=view.field,
            at=view.at,
        )

    @property
    def error(self) -> str:
        return bytes(self._library.sl_changes_error(self._handle)).decode()

    def relation(self, oid: int) -> bytes:
        data = _POINTER()
        length = self._library.sl_changes_relation(self._handle, oid, ctypes.byref(data))
        return b"R" + (ctypes.string_at(data.value, length) if data.value and length else b"")

    def describe(self, oid: int, columns: Sequence[Column], keys: Sequence[int], start: int, *, asks: bool) -> None:
        specs = [
            _Spec(
                op=_OPS.index(column.form.op),
                depth=column.form.depth,
                precision=column.form.precision,
                scale=column.form.scale,
                source=column.source,
                delimiter=ord(column.form.delimiter),
            )
            for column in columns
        ]
        if not self._library.sl_changes_describe(
            self._handle,
            oid,
            (_Spec * len(specs))(*specs),
            len(specs),
            (_I32 * len(keys))(*keys),
            len(keys),
            start,
            int(asks),
        ):
            raise MemoryError
        self._tables[oid] = _Layout([column.arrow for column in columns], list(keys))

    def skip(self, oid: int) -> None:
        self._library.sl_changes_skip(self._handle, oid)

    def ask_again(self, oid: int) -> None:
        self._library.sl_changes_ask_again(self._handle, oid)

    def filter(self, oid: int, start: int, *, asks: bool) -> None:
        self._library.sl_changes_filter(self._handle, oid, start, int(asks))

    def answer(self, oid: int, *, wanted: bool) -> None:
        self._library.sl_changes_answer(self._handle, oid, int(wanted))

    def take(self, oid: int) -> Taken | None:
        layout = self._tables.get(oid)
        if layout is None:
            return None
        moved = _I32()
        rows = self._library.sl_changes_rows(self._handle, oid, layout.masked, ctypes.byref(moved))
        if not rows:
            return None
        misfits = self._misfits(oid)
        schema, masks = layout.schema(moved=bool(moved.value))
        array = _ArrowArray()
        if not self._library.sl_changes_take(self._handle, oid, ctypes.byref(array)):
            raise MemoryError
        arrays = pa.RecordBatch._import_from_c(ctypes.addressof(array), schema).columns
        data, rest = arrays[: layout.count], arrays[layout.count :]
        meta, rest = rest[: len(META)], rest[len(META) :]
        marks, rest = rest[: len(masks)], rest[len(masks) :]
        return Taken(
            rows=rows,
            data=data,
            meta=meta,
            masks=dict(zip(masks, marks, strict=True)),
            moved=rest[0] if moved.value else None,
            old=rest[1:],
            misfits=misfits,
        )

    def touched(self) -> list[int]:
        oids = ctypes.POINTER(_U32)()
        count = self._library.sl_changes_touched(self._handle, ctypes.byref(oids))
        return list(dict.fromkeys(oids[:count])) if count else []

    def emptied(self) -> None:
        self._library.sl_changes_emptied(self._handle)

    def _misfits(self, oid: int) -> list[tuple[int, int, int, bytes]]:
        items, data = _POINTER(), _POINTER()
        count = self._library.sl_changes_misfits(self._handle, oid, ctypes.byref(items), ctypes.byref(data))
        if not count:
            return []
        assert items.value is not None
        table = ctypes.string_at(items.value, count * _MISFIT.size)
        base = data.value or 0
        return [
            (row, field, reason, ctypes.string_at(base + start, length) if length else b"")
            for row, start, length, field, reason in _MISFIT.iter_unpack(table)
        ]
