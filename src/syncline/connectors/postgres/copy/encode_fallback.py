"""The encoder without a compiled module: the same bytes and the same reasons as ``_encode.c``, by ``pyarrow.compute``.

Integers, times and texts go column by column through Arrow kernels; numerics, UUIDs and arrays cost a Python object per
(distinct) value. Used by ``encode.py`` when :func:`~.encode_native.native_library` gives None, and by the tests as
the second opinion on the compiled one.
"""

from __future__ import annotations

import array
import itertools
import re
import struct
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from syncline.connectors.postgres.copy.encode_plan import Node, Op, Reason, Source

__all__ = ["PythonEncoder", "numeric_cell"]

_NULL = b"\xff\xff\xff\xff"
_CELLS = pa.large_binary()
_SLICE_BYTES = 4 * 1024 * 1024
_EPOCH_DAYS = 10_957
_EPOCH_MICROS = 946_684_800_000_000
_MIN_DATE, _END_DATE = -2_451_545, 2_145_031_949
_MIN_STAMP, _END_STAMP = -211_813_488_000_000_000, 9_223_371_331_200_000_000
_DAY_MICROS = 86_400_000_000
_MAX_FIELD = 0x3FFFFFF0
_MAX_ITEMS = 134_217_727
_INT64 = (-(1 << 63), (1 << 63) - 1)


@dataclass
class _Column:
    """A column as cells: length and bytes of each field, never null; and the cells that could not be written."""

    cells: pa.Array
    problems: dict[int, Reason] = field(default_factory=dict)


class PythonEncoder:
    """As :class:`~.encode_native.NativeEncoder`."""

    def __init__(self, nodes: Sequence[Node], indices: Sequence[int]) -> None:
        self._nodes = tuple(nodes)
        self._indices = tuple(indices)
        self._batch: pa.RecordBatch | None = None

    def bind(self, batch: pa.RecordBatch) -> None:
        self._batch = batch

    def rows(self, start: int, target: int) -> tuple[int, memoryview, tuple[int, int, int] | None]:
        assert self._batch is not None
        parts: list[bytes] = []
        done, row, total = 0, start, self._batch.num_rows
        per_row = 1 + self._batch.nbytes // max(total, 1)
        while row < total and done < target:
            count = min(max(1, min(target, _SLICE_BYTES) // per_row), total - row)
            data, good, problem = self._slice(row, count)
            parts.append(data)
            done += len(data)
            row += good
            if problem is not None:
                return row, memoryview(b"".join(parts)), problem
        return row, memoryview(b"".join(parts)), None

    def check(self, column: int) -> list[tuple[int, int]]:
        assert self._batch is not None
        node, values = self._nodes[column], self._batch.column(self._indices[column])
        problems = _encode(node, values, check=True).problems
        return sorted((row, int(reason)) for row, reason in problems.items())

    def _slice(self, start: int, count: int) -> tuple[bytes, int, tuple[int, int, int] | None]:
        """Bytes, rows in them, and the first problem, of ``count`` rows from ``start``."""
        assert self._batch is not None
        if not self._nodes:
            return b"\0\0" * count, count, None
        columns = [
            _encode(node, self._batch.column(index).slice(start, count), check=False)
            for node, index in zip(self._nodes, self._indices, strict=True)
        ]
        first = min(
            ((row, c, int(reason)) for c, column in enumerate(columns) for row, reason in column.problems.items()),
            default=None,
        )
        good = count if first is None else first[0]
        head = pa.scalar(struct.pack(">h", len(self._nodes)), _CELLS)
        cells = [column.cells.slice(0, good) for column in columns]
        rows = pc.binary_join_element_wise(head, *cells, pa.scalar(b"", _CELLS))
        problem = None if first is None else (start + first[0], first[1], first[2])
        return _bytes_of(rows), good, problem


def _encode(node: Node, values: pa.Array, *, check: bool) -> _Column:
    if isinstance(values, pa.ExtensionArray):
        values = values.storage
    if node.op is Op.NULL:
        return _Column(pa.repeat(pa.scalar(_NULL, _CELLS), len(values)))
    column = _WRITERS[node.op](node, values, check)
    if values.null_count:
        column.cells = pc.if_else(values.is_valid(), column.cells, pa.scalar(_NULL, _CELLS))
        column.problems = {row: reason for row, reason in column.problems.items() if values[row].is_valid}
    return column


# -- building cells --------------------------------------------------------------------------------------------------


def _big_endian(values: pa.Array, width: int) -> pa.Array:
    """The bits of a primitive array, ``width`` bytes each, turned around. Nulls become anything."""
    if not len(values):
        return pa.array([], _CELLS)
    code = {2: "h", 4: "i", 8: "q"}[width]
    data = array.array(code)
    values = values.view({2: pa.int16(), 4: pa.int32(), 8: pa.int64()}[width])
    data.frombytes(values.buffers()[1][values.offset * width : (values.offset + len(values)) * width])
    if sys.byteorder == "little":
        data.byteswap()
    return pa.Array.from_buffers(pa.binary(width), len(values), [None, pa.py_buffer(data)]).cast(_CELLS)


def _fixed(values: pa.Array, width: int) -> pa.Array:
    """Cells of ``width`` bytes from the bits of a primitive array."""
    return _join(pa.scalar(struct.pack(">i", width), _CELLS), _big_endian(values, width))


def _sized(values: pa.Array, *prefix: bytes) -> pa.Array:
    """Cells of any size: length, prefix, bytes."""
    extra = sum(map(len, prefix))
    lengths = pc.add(pc.binary_length(values).cast(pa.int64()), extra)
    # Lengths above the limit are reported by the caller; here they must only not overflow.
    sizes = pc.min_element_wise(lengths, pa.scalar(_MAX_FIELD + 8, pa.int64())).cast(pa.int32())
    return _join(_big_endian(sizes, 4), *(pa.scalar(p, _CELLS) for p in prefix), values)


def _join(*parts: pa.Array | pa.Scalar) -> pa.Array:
    return pc.binary_join_element_wise(*parts, pa.scalar(b"", _CELLS))


def _filled(values: pa.Array) -> pa.Array:
    """Without nulls: what stands in their place does not matter, it is replaced at the end."""
    return values.fill_null(0) if values.null_count else values


def _where(mask: pa.Array, reason: Reason, problems: dict[int, Reason]) -> None:
    """Note ``reason`` for the rows where ``mask`` holds and nothing was noted before."""
    for row in pc.indices_nonzero(mask.fill_null(False)).to_pylist():
        problems.setdefault(row, reason)


def _bytes_of(rows: pa.Array) -> bytes:
    """The values of a large_binary array, one after the other."""
    if not len(rows):
        return b""
    offsets = memoryview(rows.buffers()[1]).cast("q")
    first, last = offsets[rows.offset], offsets[rows.offset + len(rows)]
    return rows.buffers()[2][first:last].to_pybytes() if last > first else b""


def _cell(data: bytes) -> bytes:
    return struct.pack(">i", len(data)) + data


# -- numbers and times -----------------------------------------------------------------------------------------------


def _bool(node: Node, values: pa.Array, check: bool) -> _Column:
    yes, no = (pa.scalar(_cell(b), _CELLS) for b in (b"\1", b"\0"))
    return _Column(pc.if_else(values.fill_null(False), yes, no))


def _copy(node: Node, values: pa.Array, check: bool) -> _Column:
    return _Column(_fixed(values, {Op.COPY2: 2, Op.COPY4: 4, Op.COPY8: 8}[node.op]))


def _int(node: Node, values: pa.Array, check: bool) -> _Column:
    column = _Column(values)
    _where(_outside(values, node.low, node.high), Reason.INT_RANGE, column.problems)
    unsigned = node.low == 0 and node.width == 4
    target = {2: pa.int16(), 4: pa.uint32() if unsigned else pa.int32(), 8: pa.int64()}[node.width]
    column.cells = _fixed(_filled(values).cast(target, safe=False), node.width)
    return column


def _outside(values: pa.Array, low: int, high: int) -> pa.Array:
    """Which integers are below ``low`` or above ``high``, where these need not be of the array's own type."""
    bits = values.type.bit_width
    signed = pa.types.is_signed_integer(values.type)
    least, most = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    mask = pa.scalar(False)
    if low > least:
        mask = pc.or_(mask, pc.less(values, pa.scalar(min(low, most), values.type)))
    if high < most:
        mask = pc.or_(mask, pc.greater(values, pa.scalar(max(high, least), values.type)))
    return pa.repeat(mask, len(values)) if isinstance(mask, pa.Scalar) else mask


def _float(node: Node, values: pa.Array, check: bool) -> _Column:
    column = _Column(values)
    target = pa.float32() if node.op is Op.FLOAT4 else pa.float64()
    if pa.types.is_integer(values.type):
        limit = 1 << (24 if node.op is Op.FLOAT4 else 53)
        for row in pc.indices_nonzero(_outside(values, -limit, limit).fill_null(False)).to_pylist():
            number = values[row].as_py()
            # Through double first, as the compiled encoder: rounding twice can only make an inexact number more so.
            if int(_to_float4(float(number)) if node.op is Op.FLOAT4 else float(number)) != number:
                column.problems[row] = Reason.INEXACT_FLOAT
        converted = _filled(values).cast(pa.float64(), safe=False).cast(target, safe=False)
    else:
        wide = _filled(values.cast(pa.float64(), safe=False))
        converted = wide.cast(target, safe=False)
        changed = pc.not_equal(converted.cast(pa.float64(), safe=False), wide)
        _where(pc.and_(changed, pc.invert(pc.is_nan(wide))), Reason.INEXACT_FLOAT, column.problems)
    column.cells = _fixed(converted, 4 if node.op is Op.FLOAT4 else 8)
    return column


def _to_float4(number: float) -> float:
    try:
        return float(struct.unpack("f", struct.pack("f", number))[0])
    except OverflowError:
        return 0.0  # only its being another number counts


def _time(node: Node, values: pa.Array, check: bool) -> _Column:
    """Dates, times and timestamps: to Postgres's unit and epoch, in the order of tests of the compiled encoder."""
    low, high, epoch, out_of_range = {
        Op.DATE: (_MIN_DATE, _END_DATE - 1, _EPOCH_DAYS, Reason.DATE_RANGE),
        Op.TIME: (0, _DAY_MICROS, 0, Reason.TIME_RANGE),
        Op.STAMP: (_MIN_STAMP, _END_STAMP - 1, _EPOCH_MICROS, Reason.STAMP_RANGE),
    }[node.op]
    ticks = _filled(values.view(pa.int32() if node.source is Source.I32 else pa.int64())).cast(pa.int64())
    column = _Column(ticks)
    if node.divide > 1:
        whole = pc.divide(ticks, node.divide)
        _where(pc.not_equal(pc.multiply(whole, node.divide), ticks), Reason.SUB_UNIT, column.problems)
        ticks = whole
    first = max(-(-(low + epoch) // node.multiply), _INT64[0])
    last = min((high + epoch) // node.multiply, _INT64[1])
    bad = pc.or_(pc.less(ticks, first), pc.greater(ticks, last))
    _where(bad, out_of_range, column.problems)
    ticks = pc.subtract(pc.multiply(pc.if_else(bad, first, ticks), node.multiply), epoch)
    if node.grain > 1:
        rest = pc.subtract(ticks, pc.multiply(pc.divide(ticks, node.grain), node.grain))
        _where(pc.not_equal(rest, 0), Reason.SUB_UNIT, column.problems)
    column.cells = _fixed(ticks.cast(pa.int32()), 4) if node.op is Op.DATE else _fixed(ticks, 8)
    return column


# -- numeric ---------------------------------------------------------------------------------------------------------

_NUMERIC = re.compile(rb"([+-]?)(?:(\d+)(?:\.(\d*))?|\.(\d+))(?:[eE]([+-]?\d+))?")
_BLANKS = b" \t\n\v\f\r"
_SPECIALS = {
    b"nan": 0xC000,
    b"inf": 0xD000,
    b"+inf": 0xD000,
    b"-inf": 0xF000,
    b"infinity": 0xD000,
    b"+infinity": 0xD000,
    b"-infinity": 0xF000,
}


def numeric_cell(text: bytes, node: Node) -> bytes | Reason:
    """Numeric text as a field, or why not. The grammar is that of numeric_in up to Postgres 15."""
    text = text.strip(_BLANKS)
    special = _SPECIALS.get(text.lower())
    if special is not None:
        if node.typmod and special != 0xC000:
            return Reason.NUMERIC_SPECIAL
        return _cell(struct.pack(">hhHh", 0, 0, special, 0))
    found = _NUMERIC.fullmatch(text)
    if found is None:
        return Reason.NUMERIC_TEXT
    sign, whole, behind, alone, power = found.groups()
    whole, behind = whole or b"", behind or alone or b""
    size = (power or b"").lstrip(b"+-").lstrip(b"0")
    if len(size) > 6 or len(text) > 2_000_000:
        return Reason.NUMERIC_RANGE
    exponent = int(power) if size else 0
    return _numeric(sign == b"-", (whole + behind).decode(), exponent - len(behind), node)


def _numeric(negative: bool, digits: str, exponent: int, node: Node) -> bytes | Reason:
    """``digits`` * 10^``exponent`` as a field of numeric_recv: base-10000 digits around the decimal point."""
    dscale = max(-exponent, 0)
    if dscale > 16_383:
        return Reason.NUMERIC_RANGE
    digits = digits.lstrip("0")
    lead = len(digits) + exponent  # decimal digits before the point
    digits = digits.rstrip("0")
    if not digits:
        return _cell(struct.pack(">hhHh", 0, 0, 0, dscale))
    weight = (lead - 1) // 4
    if not -32_768 <= weight <= 32_767:
        return Reason.NUMERIC_RANGE
    digits = "0" * ((weight + 1) * 4 - lead) + digits
    digits += "0" * (-len(digits) % 4)
    groups = [int(digits[i : i + 4]) for i in range(0, len(digits), 4)]
    if node.typmod:
        fraction = (len(groups) - 1 - weight) * 4
        for unit in (10, 100, 1000):
            fraction -= groups[-1] % unit == 0
        if fraction > node.limit:
            return Reason.NUMERIC_SCALE
        if lead > node.precision - node.limit:
            return Reason.NUMERIC_RANGE
    head = (len(groups), weight, 0x4000 if negative else 0, dscale)
    return _cell(struct.pack(f">HhHh{len(groups)}H", *head, *groups))


def _decimal_cell(value: object, node: Node) -> bytes | Reason:
    assert isinstance(value, bytes)  # the unscaled number; several times quicker than by way of decimal.Decimal
    number = int.from_bytes(value, "little", signed=True)
    return _numeric(number < 0, str(abs(number)), -node.scale, node)


def _numeric_int_cell(value: object, node: Node) -> bytes | Reason:
    assert isinstance(value, int)
    return _numeric(value < 0, str(abs(value)), 0, node)


def _numeric_text_cell(value: object, node: Node) -> bytes | Reason:
    assert isinstance(value, bytes)
    return numeric_cell(value, node)


# -- values one by one -----------------------------------------------------------------------------------------------

_UUID = re.compile(rb"(\{)?((?:[0-9a-fA-F]{4}-?){7}[0-9a-fA-F]{4})(?(1)\})")


def _uuid_cell(value: object, node: Node) -> bytes | Reason:
    assert isinstance(value, bytes)
    found = _UUID.fullmatch(value)
    return Reason.UUID_TEXT if found is None else _cell(bytes.fromhex(found[2].replace(b"-", b"").decode()))


def _each(convert: Callable[[object, Node], bytes | Reason]) -> Callable[[Node, pa.Array, bool], _Column]:
    """A column written value by value, each distinct value once."""

    def write(node: Node, values: pa.Array, check: bool) -> _Column:
        if node.source in (Source.BYTES32, Source.BYTES64, Source.VIEW):
            values = _binary(values)
        elif node.op is Op.DECIMAL:
            values = values.view(pa.binary(values.type.bit_width // 8))
        distinct = values.dictionary_encode()
        made = [None if v is None else convert(v, node) for v in distinct.dictionary.to_pylist()]
        cells = pa.array([v if isinstance(v, bytes) else _NULL for v in made], _CELLS)
        column = _Column(cells.take(distinct.indices))
        reasons = {i: v for i, v in enumerate(made) if isinstance(v, Reason)}
        if reasons:
            for row, index in enumerate(distinct.indices.to_pylist()):
                if index in reasons:
                    column.problems[row] = reasons[index]
        return column

    return write


# -- texts and bytes -------------------------------------------------------------------------------------------------


def _binary(values: pa.Array) -> pa.Array:
    """Any text or bytes as large_binary."""
    if values.type == pa.string_view():
        values = values.cast(pa.large_string())
    return values.cast(_CELLS)


def _bytes(node: Node, values: pa.Array, check: bool) -> _Column:
    raw = _binary(values)
    if raw.null_count:
        raw = raw.fill_null(b"")
    column = _Column(raw)
    if node.op is not Op.BYTES:
        if check:
            _look_at_text(node, raw, column.problems)
        if node.typmod:
            lengths = pc.binary_length(raw)
            for row in pc.indices_nonzero(pc.greater(lengths, node.limit)).to_pylist():
                if not _fits_limit(node, raw[row].as_py()):
                    column.problems.setdefault(row, Reason.TOO_LONG)
        if check and node.op is Op.JSONB:
            for row in pc.indices_nonzero(pc.match_substring(raw, "\\u")).to_pylist():
                reason = _look_at_json(raw[row].as_py())
                if reason is not None:
                    column.problems.setdefault(row, reason)
    _where(pc.greater(pc.binary_length(raw), _MAX_FIELD), Reason.TOO_BIG, column.problems)
    column.cells = _sized(raw, *([b"\1"] if node.op is Op.JSONB else []))
    return column


def _fits_limit(node: Node, text: bytes) -> bool:
    if node.precision == 1:
        return len(text) <= node.limit
    if node.precision == 2:
        text = text.rstrip(b" ")
    return sum(byte & 0xC0 != 0x80 for byte in text) <= node.limit


def _look_at_text(node: Node, raw: pa.Array, problems: dict[int, Reason]) -> None:
    data = _bytes_of(raw)
    if b"\0" not in data and data.isascii():
        return
    for row, text in enumerate(raw.to_pylist()):
        nul = text.find(b"\0")
        try:
            text.decode("utf-8")
        except UnicodeDecodeError as error:
            problems[row] = Reason.NUL if 0 <= nul < error.start else Reason.UTF8
        else:
            if nul >= 0:
                problems[row] = Reason.NUL


_ESCAPE = re.compile(rb"\\(?:u([0-9a-fA-F]{4})|.)?", re.DOTALL)


def _look_at_json(text: bytes) -> Reason | None:
    """What jsonb refuses though it is valid JSON: ``\\u0000``, and halves of surrogate pairs."""
    expect_low_at = -1
    for found in _ESCAPE.finditer(text):
        code = int(found[1], 16) if found[1] else -1
        if expect_low_at >= 0:
            if found.start() != expect_low_at or not 0xDC00 <= code <= 0xDFFF:
                return Reason.JSON_SURROGATE
            expect_low_at = -1
        elif code == 0:
            return Reason.JSON_NUL
        elif 0xDC00 <= code <= 0xDFFF:
            return Reason.JSON_SURROGATE
        elif 0xD800 <= code <= 0xDBFF:
            expect_low_at = found.end()
    return Reason.JSON_SURROGATE if expect_low_at >= 0 else None


# -- arrays and dictionaries -----------------------------------------------------------------------------------------


class _RaggedError(Exception):
    """A nested list that is not a rectangle."""


class _Level:
    """One depth of nested lists: where each list begins and ends among the items of the next."""

    def __init__(self, node: Node, values: pa.Array, check: bool) -> None:
        assert node.child is not None
        self.validity = values.is_valid().to_pylist()
        if node.source is Source.LISTFIX:
            first = values.offset * node.width
            self.bounds = [(i * node.width, (i + 1) * node.width) for i in range(len(values))]
            items = values.values.slice(first, len(values) * node.width)
        elif node.source in (Source.LISTVIEW32, Source.LISTVIEW64):
            starts, sizes = values.offsets.to_pylist(), values.sizes.to_pylist()
            self.bounds = [(start, start + size) for start, size in zip(starts, sizes, strict=True)]
            items = values.values
        else:
            offsets = values.offsets.to_pylist()
            base = offsets[0] if offsets else 0
            self.bounds = [(a - base, b - base) for a, b in itertools.pairwise(offsets)]
            items = values.values.slice(base, offsets[-1] - base if offsets else 0)
        self.inner: _Level | None = None
        self.cells: list[bytes] = []
        self.problems: dict[int, Reason] = {}
        if isinstance(items, pa.ExtensionArray):
            items = items.storage
        if node.child.op is Op.ARRAY:
            self.inner = _Level(node.child, items, check)
        else:
            leaf = _encode(node.child, items, check=check)
            self.cells, self.problems = leaf.cells.to_pylist(), leaf.problems

    def depth(self) -> int:
        return 1 + (self.inner.depth() if self.inner else 0)

    def measure(self, item: int, depth: int, dims: list[int]) -> None:
        start, stop = self.bounds[item]
        if dims[depth] < 0:
            dims[depth] = stop - start
        elif dims[depth] != stop - start:
            raise _RaggedError
        if self.inner:
            for inner in range(start, stop):
                if not self.inner.validity[inner]:
                    raise _RaggedError
                self.inner.measure(inner, depth + 1, dims)

    def leaves(self, item: int) -> list[bytes] | Reason:
        start, stop = self.bounds[item]
        if self.inner is None:
            for row in range(start, stop):
                if row in self.problems:
                    return self.problems[row]
            return self.cells[start:stop]
        out: list[bytes] = []
        for inner in range(start, stop):
            found = self.inner.leaves(inner)
            if isinstance(found, Reason):
                return found
            out += found
        return out

    def cell(self, item: int, oid: int) -> bytes | Reason:
        dims = [-1] * self.depth()
        try:
            self.measure(item, 0, dims)
        except _RaggedError:
            return Reason.RAGGED
        count = 1
        for size in dims:
            count *= max(size, 0)
            if count > _MAX_ITEMS:
                return Reason.TOO_BIG
        if not count:
            return _cell(struct.pack(">iiI", 0, 0, oid))
        leaves = self.leaves(item)
        if isinstance(leaves, Reason):
            return leaves
        head = struct.pack(">iiI", len(dims), int(_NULL in leaves), oid)
        data = head + b"".join(struct.pack(">ii", size, 1) for size in dims) + b"".join(leaves)
        return Reason.TOO_BIG if len(data) > _MAX_FIELD else _cell(data)


def _array(node: Node, values: pa.Array, check: bool) -> _Column:
    level = _Level(node, values, check)
    made = [level.cell(row, node.oid) if valid else _NULL for row, valid in enumerate(level.validity)]
    cells = pa.array([v if isinstance(v, bytes) else _NULL for v in made], _CELLS)
    return _Column(cells, {row: v for row, v in enumerate(made) if isinstance(v, Reason)})


def _dictionary(node: Node, values: pa.Array, check: bool) -> _Column:
    assert node.child is not None
    inner = _encode(node.child, values.dictionary, check=check)
    column = _Column(inner.cells.take(values.indices))
    if inner.problems:
        for row, index in enumerate(values.indices.to_pylist()):
            if index in inner.problems:
                column.problems[row] = inner.problems[index]
    return column


_WRITERS: dict[Op, Callable[[Node, pa.Array, bool], _Column]] = {
    Op.BOOL: _bool,
    Op.COPY2: _copy,
    Op.COPY4: _copy,
    Op.COPY8: _copy,
    Op.INT: _int,
    Op.FLOAT4: _float,
    Op.FLOAT8: _float,
    Op.DATE: _time,
    Op.TIME: _time,
    Op.STAMP: _time,
    Op.DECIMAL: _each(_decimal_cell),
    Op.NUMERIC_INT: _each(_numeric_int_cell),
    Op.NUMERIC_TEXT: _each(_numeric_text_cell),
    Op.TEXT: _bytes,
    Op.JSONB: _bytes,
    Op.BYTES: _bytes,
    Op.UUID_TEXT: _each(_uuid_cell),
    Op.ARRAY: _array,
    Op.DICT: _dictionary,
}
