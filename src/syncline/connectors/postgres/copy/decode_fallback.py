"""COPY BINARY into Arrow without a compiler: the same rows and the same exceptions as ``_decode.c`` gives.

Used by ``decode.py`` where the extension was not built. psycopg hands over one message per row, which are joined;
then numpy walks through all rows of a batch at once, column by column. Numbers, text, dates and uuids cost no Python
object per row; arrays, unbounded numerics and whatever is rare are plain Python.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from syncline.connectors.postgres.copy.cell_text import MalformedError, numeric_text
from syncline.connectors.postgres.copy.layouts import Layout

__all__ = ["Misfit", "PythonDecoder", "TooLargeError"]

Misfit = tuple[int, int, int, bytes]
"""Row, column, number of the reason (see ``REASONS``), the bytes of the cell."""

_Ints = npt.NDArray[np.int64]
_Reasons = npt.NDArray[np.uint8]

#: Numbers of ``REASONS``.
_INFINITE, _RANGE, _NAN, _PRECISION, _SCALE, _END_OF_DAY, _DIMENSIONS, _LOWER_BOUND, _UTF8 = range(1, 10)

_SIGNATURE = b"PGCOPY\n\xff\r\n\0"
_TRAILER = b"\xff\xff"
_DAYS = 10957  # 1970 to 2000
_MICROSECONDS = 946_684_800_000_000
_DAY = 86_400_000_000
_PADDING = 64  # so that every gather may look at some bytes after the last row
_MOST_BYTES = 2**31 - 1

#: How a fixed-size value lies on the wire and in Arrow.
_PLAIN = {
    "int2": (">i2", np.int16),
    "int4": (">i4", np.int32),
    "int8": (">i8", np.int64),
    "oid4": (">u4", np.uint32),
    "oid8": (">u4", np.int64),
    "float4": (">u4", np.uint32),  # as bits: a NaN keeps its payload
    "float8": (">u8", np.uint64),
}


class TooLargeError(Exception):
    """The rows at hand give more text than one batch may have."""


@dataclass(frozen=True, kw_only=True)
class _Cells:
    """Where the values of one column (or of a list's items) lie in the bytes of a batch."""

    data: npt.NDArray[np.uint8]
    at: _Ints
    length: _Ints
    null: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.at)

    def gather(self, layout: str, shift: int = 0) -> npt.NDArray[Any]:
        """One number per cell, ``shift`` bytes after its start; whatever lies there for NULL cells."""
        size = np.dtype(layout).itemsize
        everywhere = np.ndarray((len(self.data) - size + 1,), dtype=layout, buffer=self.data, strides=(1,))
        # A cell near the end may be shorter than what is asked for; its length is checked by whoever asks.
        return everywhere[np.minimum(self.at + shift, len(everywhere) - 1)]

    def cell(self, row: int | np.integer[Any]) -> bytes:
        start = int(self.at[row])
        return self.data[start : start + int(self.length[row])].tobytes()


class PythonDecoder:
    """Gathers messages and turns them into batches. Not for use by two threads at once."""

    def __init__(self, layouts: Sequence[Layout], schema: pa.Schema, *, check_utf8: bool, batch_bytes: int) -> None:
        self._layouts = layouts
        self._schema = schema
        self._check_utf8 = check_utf8
        self._batch_bytes = batch_bytes
        self._data = bytearray()
        self._ends: list[int] = []
        self._header_seen = False
        self.ended = False

    @property
    def rows(self) -> int:
        """Rows that wait to be taken."""
        return len(self._ends)

    @property
    def size(self) -> int:
        """Bytes that wait to be taken."""
        return len(self._data)

    def feed(self, message: bytes | memoryview) -> None:
        """The next message of the stream. Raises MalformedError."""
        if not self._header_seen:
            message = _without_header(bytes(message))
            self._header_seen = True
        if self.ended:
            raise MalformedError("data after the trailer")
        if message == _TRAILER:
            self.ended = True
            return
        self._data += message
        self._ends.append(len(self._data))

    def take(self) -> Iterator[tuple[pa.RecordBatch, list[Misfit]]]:
        """The rows fed so far, as one batch or more. Raises MalformedError."""
        self._data += bytes(_PADDING)
        data = np.frombuffer(self._data, np.uint8)
        stops = np.array(self._ends, np.int64)
        self._data, self._ends = bytearray(), []
        starts = np.concatenate([np.zeros(1, np.int64), stops])[:-1]
        yield from self._batches(data, starts, stops)

    def _batches(
        self, data: npt.NDArray[np.uint8], starts: _Ints, stops: _Ints
    ) -> Iterator[tuple[pa.RecordBatch, list[Misfit]]]:
        if not len(starts):
            return
        try:
            yield self._batch(data, starts, stops)
        except TooLargeError:
            half = len(starts) // 2
            if not half:
                raise
            yield from self._batches(data, starts[:half], stops[:half])
            yield from self._batches(data, starts[half:], stops[half:])

    def _batch(self, data: npt.NDArray[np.uint8], starts: _Ints, stops: _Ints) -> tuple[pa.RecordBatch, list[Misfit]]:
        arrays: list[pa.Array] = []
        misfits: list[Misfit] = []
        _demand(stops - starts >= 2, "a row without its count of columns")
        everywhere = _Cells(data=data, at=starts, length=stops - starts, null=np.zeros(len(starts), np.bool_))
        _demand(everywhere.gather(">i2") == len(self._layouts), "a row of another count of columns")
        at = starts + 2
        for column, (layout, field) in enumerate(zip(self._layouts, self._schema, strict=True)):
            _demand(stops - at >= 4, "the row ends before its last column")
            length = _Cells(data=data, at=at, length=at, null=everywhere.null).gather(">i4").astype(np.int64)
            null = length == -1
            _demand((length >= -1) & (length <= stops - at - 4), "a value longer than its row")
            length[null] = 0
            at = at + 4
            cells = _Cells(data=data, at=at, length=length, null=null)
            leaf = _Leaf(layout=layout, check_utf8=self._check_utf8, most_text=max(self._batch_bytes, 1 << 20))
            if layout.depth:
                array, reasons = _lists(cells, leaf, field.type)
            else:
                array, reasons = leaf.decode(cells, field.type)
            arrays.append(array)
            misfits += [(int(row), column, int(reasons[row]), cells.cell(row)) for row in np.flatnonzero(reasons)]
            at = at + length
        _demand(at == stops, "a row longer than its columns")
        misfits.sort(key=lambda misfit: misfit[:2])
        if not arrays:  # a table without columns has rows all the same
            empty = pa.array([{}] * len(starts), pa.struct([]))
            return pa.RecordBatch.from_struct_array(empty), misfits
        return pa.RecordBatch.from_arrays(arrays, schema=self._schema), misfits


def _without_header(message: bytes) -> bytes:
    if len(message) < 19 or not message.startswith(_SIGNATURE):
        raise MalformedError("no signature of COPY BINARY")
    flags, extension = struct.unpack_from(">II", message, 11)
    if flags >> 16:
        raise MalformedError("flags of COPY BINARY that we do not know")
    if extension > len(message) - 19:
        raise MalformedError("a header longer than its message")
    return message[19 + extension :]


def _demand(held: npt.NDArray[np.bool_] | np.bool_, otherwise: str) -> None:
    if not np.all(held):
        raise MalformedError(otherwise)


@dataclass(frozen=True, kw_only=True)
class _Leaf:
    """Values of one layout, outside of any list."""

    layout: Layout
    check_utf8: bool
    most_text: int

    def decode(self, cells: _Cells, arrow: pa.DataType) -> tuple[pa.Array, _Reasons]:
        """The array, NULL where a value has no place in it, and the reasons for those."""
        op = self.layout.op
        if op in _PLAIN:
            wire, native = _PLAIN[op]
            _same_length(cells, np.dtype(wire).itemsize)
            return _fixed(arrow, cells, cells.gather(wire).astype(native), _none(cells))
        if op == "bool":
            _same_length(cells, 1)
            values = cells.gather("u1")
            _demand(cells.null | (values <= 1), "a bool that is neither")
            return pa.array(values == 1, pa.bool_(), mask=cells.null), _none(cells)
        if op in {"date", "time", "timestamp", "timestamptz"}:
            values, reasons = _moment(op, cells)
            return _fixed(arrow, cells, values, reasons)
        if op in {"decimal128", "decimal256"}:
            return self._decimal(cells, arrow)
        if op == "uuid":
            return _uuid(cells)
        if op == "numeric_text":
            return self._numeric_text(cells)
        return self._characters(cells, arrow)

    def _characters(self, cells: _Cells, arrow: pa.DataType) -> tuple[pa.Array, _Reasons]:
        if self.layout.op == "jsonb":
            _demand(cells.null | ((cells.length >= 1) & (cells.gather("u1") == 1)), "a jsonb of another version")
            step = np.where(cells.null, 0, 1)
            cells = _Cells(data=cells.data, at=cells.at + step, length=cells.length - step, null=cells.null)
        reasons = _none(cells)
        if self.check_utf8 and self.layout.op != "bytea":
            for row in np.flatnonzero(~cells.null):
                reasons[row] = 0 if _is_utf8(cells.cell(row)) else _UTF8
        if int(cells.length.sum()) > _MOST_BYTES:
            raise TooLargeError
        # An array over the whole batch that has each cell as an item, and between two of them what is not the cell;
        # every second item of it, copied by Arrow, is the column.
        edges = np.empty(2 * len(cells), np.int64)
        edges[0::2], edges[1::2] = cells.at, cells.at + cells.length
        all_items = pa.Array.from_buffers(
            pa.large_binary(),
            len(edges) - 1 if len(edges) else 0,
            [None, pa.py_buffer(edges), pa.py_buffer(cells.data)],
        )
        wanted = pa.array(np.arange(0, len(edges), 2), mask=cells.null | (reasons > 0))
        taken = all_items.take(wanted).cast(pa.binary())
        return taken.view(arrow), reasons

    def _numeric_text(self, cells: _Cells) -> tuple[pa.Array, _Reasons]:
        texts: list[str | None] = []
        total = 0
        for row in range(len(cells)):
            text = None if cells.null[row] else _numeric_text(cells.cell(row))
            texts.append(text)
            total += len(text or "")
            if total > self.most_text and (len(cells) > 1 or total > _MOST_BYTES):
                raise TooLargeError
        return pa.array(texts, pa.string()), _none(cells)

    def _decimal(self, cells: _Cells, arrow: pa.DataType) -> tuple[pa.Array, _Reasons]:
        known = ~cells.null
        _demand(cells.null | (cells.length >= 8), "a numeric without its header")
        count = cells.gather(">u2").astype(np.int64)
        weight = cells.gather(">i2", 2).astype(np.int64)
        sign = cells.gather(">u2", 4)
        _demand(cells.null | (cells.length == 8 + 2 * count), "a numeric of a wrong length")
        shift = 4 * (weight - count + 1) + self.layout.scale
        # All that stays below 10^18 is done here, in 64 bits; the rest one by one.
        fast = known & ((sign & 0xBFFF) == 0) & (count <= 4) & (shift >= -3) & (4 * count + shift <= 18)
        total = np.zeros(len(cells), np.int64)
        for k in range(4):
            digit = cells.gather(">u2", 8 + 2 * k).astype(np.int64)
            has = count > k
            fast &= ~has | (digit <= 9999)
            total = np.where(fast & has, total * 10000 + digit, total)
        unit = 10 ** np.where(fast & (shift < 0), -shift, 0)
        fast &= total % unit == 0
        total = total // unit * 10 ** np.where(fast & (shift > 0), shift, 0)
        if self.layout.precision <= 18:
            fast &= total < 10**self.layout.precision
        total = np.where(fast, np.where(sign == 0, total, -total), 0)
        words = np.empty((len(cells), arrow.bit_width // 64), np.int64)
        words[:, 0] = total
        words[:, 1:] = (total >> 63)[:, None]
        reasons = _none(cells)
        for row in np.flatnonzero(known & ~fast):
            value, reasons[row] = _decimal(cells.cell(row), self.layout)
            words[row] = np.frombuffer(value.to_bytes(arrow.bit_width // 8, "little", signed=True), "<i8")
        return _fixed(arrow, cells, words, reasons)


def _decimal(data: bytes, layout: Layout) -> tuple[int, int]:
    """A numeric as a multiple of 10^-scale, and the reason if there is none."""
    count, weight, sign, _ = struct.unpack_from(">HhHH", data)
    if sign not in {0, 0x4000}:
        name = numeric_text(data)
        return 0, _NAN if name == "NaN" else _INFINITE
    groups = list(struct.unpack_from(f">{count}H", data, 8))
    if any(group > 9999 for group in groups):
        raise MalformedError("a numeric with an impossible digit")
    while groups and not groups[0]:
        groups.pop(0)
        weight -= 1
    while groups and not groups[-1]:
        groups.pop()
    if not groups:
        return 0, 0
    written = 4 * weight + len(str(groups[0])) + layout.scale
    if written > layout.precision:
        return 0, _PRECISION
    shift = 4 * (weight - len(groups) + 1) + layout.scale
    if written <= 0 or shift <= -4:
        return 0, _SCALE
    total = int("".join(f"{group:04d}" for group in groups))
    value, rest = divmod(total * 10 ** max(shift, 0), 10 ** max(-shift, 0))
    if rest:
        return 0, _SCALE
    return -value if sign else value, 0


def _numeric_text(data: bytes) -> str:
    try:
        return numeric_text(data)
    except struct.error as error:
        raise MalformedError("a numeric without its header") from error


def _moment(op: str, cells: _Cells) -> tuple[npt.NDArray[Any], _Reasons]:
    reasons = _none(cells)
    if op == "date":
        _same_length(cells, 4)
        days = cells.gather(">i4").astype(np.int64)
        reasons[(days == 2**31 - 1) | (days == -(2**31))] = _INFINITE
        _demand(cells.null | (reasons > 0) | (days <= 2**31 - 1 - _DAYS), "a date after the last one")
        values: npt.NDArray[Any] = (days + _DAYS).astype(np.int32)
    else:
        _same_length(cells, 8)
        raw = cells.gather(">i8").astype(np.int64)
        if op == "time":
            reasons[raw == _DAY] = _END_OF_DAY
            _demand(cells.null | ((raw >= 0) & (raw <= _DAY)), "a time outside of the day")
            values = raw
        else:
            infinite = (raw == 2**63 - 1) | (raw == -(2**63))
            late = raw > 2**63 - 1 - _MICROSECONDS
            reasons[late] = _RANGE
            reasons[infinite] = _INFINITE
            values = np.where(infinite | late, 0, raw) + _MICROSECONDS
    reasons[cells.null] = 0
    return values, reasons


_HEX = np.array([[ord(c) for c in f"{byte:02x}"] for byte in range(256)], np.uint8)
_HEX_PLACES = np.array([k for k in range(36) if k not in {8, 13, 18, 23}])


def _uuid(cells: _Cells) -> tuple[pa.Array, _Reasons]:
    _same_length(cells, 16)
    known = np.flatnonzero(~cells.null)
    if 36 * len(known) > _MOST_BYTES:
        raise TooLargeError
    raw = cells.data[cells.at[known][:, None] + np.arange(16)]
    text = np.full((len(known), 36), ord("-"), np.uint8)
    text[:, _HEX_PLACES] = _HEX[raw].reshape(len(known), 32)
    offsets = np.zeros(len(cells) + 1, np.int32)
    np.cumsum(np.where(cells.null, 0, 36), out=offsets[1:])
    buffers = [_validity(~cells.null), pa.py_buffer(offsets), pa.py_buffer(text)]
    return pa.Array.from_buffers(pa.string(), len(cells), buffers), _none(cells)


def _lists(cells: _Cells, leaf: _Leaf, arrow: pa.DataType) -> tuple[pa.Array, _Reasons]:
    """A column of arrays: which items each has, one by one; the items themselves, all at once."""
    depth = leaf.layout.depth
    reasons = _none(cells)
    sizes: list[tuple[int, ...]] = []  # of each cell, () for an empty or NULL one
    at: list[int] = []
    lengths: list[int] = []
    counts = np.zeros(len(cells), np.int64)
    for row in range(len(cells)):
        before = len(at)
        shape: tuple[int, ...] = ()
        if not cells.null[row]:
            shape, reason = _items(cells.cell(row), int(cells.at[row]), depth, at, lengths)
            reasons[row] = reason
        if reasons[row]:
            del at[before:], lengths[before:]
            shape = ()
        sizes.append(shape)
        counts[row] = len(at) - before
    length = np.array(lengths, np.int64)
    items = _Cells(data=cells.data, at=np.array(at, np.int64), length=np.maximum(length, 0), null=length < 0)
    inner = arrow
    for _ in range(depth):
        inner = inner.value_type
    array, item_reasons = leaf.decode(items, inner)
    if item_reasons.any():
        owners = np.repeat(np.arange(len(cells)), counts)
        for item in np.flatnonzero(item_reasons):
            row = owners[item]
            if not reasons[row]:
                reasons[row] = item_reasons[item]
                sizes[row] = ()
        array = array.filter(pa.array(reasons[owners] == 0))
    types = [arrow]
    for _ in range(depth - 1):
        types.append(types[-1].value_type)
    for level in range(depth - 1, 0, -1):
        inner_sizes = [shape[level] for shape in sizes if shape for _ in range(_product(shape[:level]))]
        array = _list(types[level], inner_sizes, array)
    outer = [shape[0] if shape else 0 for shape in sizes]
    return _list(arrow, outer, array, _validity(~cells.null & (reasons == 0))), reasons


def _items(data: bytes, position: int, depth: int, at: list[int], lengths: list[int]) -> tuple[tuple[int, ...], int]:
    """Append where the items of one array lie. Gives its sizes and a reason, 0 when it fits a list of that depth."""
    if len(data) < 12:
        raise MalformedError("an array without its header")
    dimensions, flags, _ = struct.unpack_from(">iII", data)
    if not 0 <= dimensions <= 6 or flags > 1 or len(data) - 12 < 8 * dimensions:
        raise MalformedError("an array with an impossible header")
    bounds = struct.unpack_from(f">{2 * dimensions}i", data, 12)
    shape, lower = bounds[0::2], bounds[1::2]
    place = 12 + 8 * dimensions
    count = _product(shape) if shape else 0
    if any(size < 1 for size in shape) or count > (len(data) - place) // 4:
        raise MalformedError("an array of an impossible size")
    for _ in range(count):
        if len(data) - place < 4:
            raise MalformedError("an array that ends before its last item")
        (length,) = struct.unpack_from(">i", data, place)
        place += 4
        if length < -1 or length > len(data) - place:
            raise MalformedError("an item longer than its array")
        at.append(position + place)
        lengths.append(length)
        place += max(length, 0)
    if place != len(data):
        raise MalformedError("an array longer than its items")
    if dimensions and dimensions != depth:
        return shape, _DIMENSIONS
    return shape, _LOWER_BOUND if any(bound != 1 for bound in lower) else 0


def _product(sizes: Sequence[int]) -> int:
    product = 1
    for size in sizes:
        product *= size
    return product


def _list(arrow: pa.DataType, sizes: Sequence[int], items: pa.Array, validity: pa.Buffer | None = None) -> pa.Array:
    offsets = np.zeros(len(sizes) + 1, np.int64)
    np.cumsum(np.array(sizes, np.int64), out=offsets[1:])
    if offsets[-1] > _MOST_BYTES:
        raise TooLargeError
    buffers = [validity, pa.py_buffer(offsets.astype(np.int32))]
    return pa.Array.from_buffers(arrow, len(sizes), buffers, children=[items])


def _none(cells: _Cells) -> _Reasons:
    return np.zeros(len(cells), np.uint8)


def _same_length(cells: _Cells, length: int) -> None:
    _demand(cells.null | (cells.length == length), "a value of a wrong length")


def _validity(known: npt.NDArray[np.bool_]) -> pa.Buffer | None:
    return None if known.all() else pa.array(known).buffers()[1]


def _fixed(arrow: pa.DataType, cells: _Cells, values: npt.NDArray[Any], reasons: _Reasons) -> tuple[pa.Array, _Reasons]:
    known = ~cells.null & (reasons == 0)
    values = np.ascontiguousarray(values)
    values[~known] = 0
    return pa.Array.from_buffers(arrow, len(cells), [_validity(known), pa.py_buffer(values)]), reasons


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
