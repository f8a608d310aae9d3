"""How the rows of a table lie in the log: what a TABLE_MAP event says of its columns (binlog_row_metadata = FULL)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["PhysicalColumn", "TableLayout", "bits", "length_encoded"]

TINY, SHORT, LONG, FLOAT, DOUBLE, TIMESTAMP, LONGLONG, INT24 = 1, 2, 3, 4, 5, 7, 8, 9
DATE, TIME, DATETIME, YEAR, VARCHAR, BIT, TIMESTAMP2, DATETIME2, TIME2 = 10, 11, 12, 13, 15, 16, 17, 18, 19
BLOB_COMPRESSED, VARCHAR_COMPRESSED, VECTOR = 140, 141, 242
JSON, NEWDECIMAL, ENUM, SET, BLOB, VAR_STRING, STRING, GEOMETRY = 245, 246, 247, 248, 252, 253, 254, 255

_NUMBERS = frozenset({TINY, SHORT, INT24, LONG, LONGLONG, FLOAT, DOUBLE, NEWDECIMAL, YEAR})
_TEXTS = frozenset({VARCHAR, VAR_STRING, STRING, BLOB, VARCHAR_COMPRESSED, BLOB_COMPRESSED})
_TWO_BYTES = frozenset({VARCHAR, VARCHAR_COMPRESSED, BIT, NEWDECIMAL, STRING, VAR_STRING, ENUM, SET})
_ONE_BYTE = frozenset({FLOAT, DOUBLE, BLOB, BLOB_COMPRESSED, GEOMETRY, JSON, VECTOR, TIMESTAMP2, DATETIME2, TIME2})
_BINARY_COLLATION = 63


@dataclass(frozen=True, kw_only=True)
class PhysicalColumn:
    """``type`` is the column's type number, ``meta`` its one or two bytes as a number (low byte first). ``labels`` are
    an enumeration's, as bytes of the collation's character set."""

    name: str
    type: int
    meta: int
    unsigned: bool
    collation: int
    labels: tuple[bytes, ...] = ()

    @property
    def binary(self) -> bool:
        return self.collation == _BINARY_COLLATION


@dataclass(frozen=True, kw_only=True)
class TableLayout:
    database: str
    table: str
    columns: tuple[PhysicalColumn, ...]
    primary_key: tuple[str, ...] | None  #: None when the log does not say
    named: bool  #: whether the log names its columns

    @classmethod
    def parse(cls, data: bytes) -> TableLayout:
        """``data`` is the event after the table's number and flags."""
        at = 0
        database, at = _short_text(data, at)
        table, at = _short_text(data, at)
        count, at = length_encoded(data, at)
        types = list(data[at : at + count])
        at += count
        size, at = length_encoded(data, at)
        metas: list[int] = []
        end = at + size
        for number, kind in enumerate(types):
            width = 2 if kind in _TWO_BYTES else 1 if kind in _ONE_BYTE else 0
            meta = int.from_bytes(data[at : at + width], "little")
            at += width
            if kind in (STRING, ENUM, SET):
                types[number], meta = _string(kind, meta)
            metas.append(meta)
        at = end + (count + 7) // 8  # which columns may be NULL
        return _described(database, table, types, metas, _blocks(data, at))


def _string(kind: int, meta: int) -> tuple[int, int]:
    """CHAR, ENUM and SET share a number; the true one and the length share the two bytes."""
    first, second = meta & 0xFF, meta >> 8
    if first & 0x30 != 0x30:
        return first | 0x30, second | (((first & 0x30) ^ 0x30) << 4)
    return (first, second) if first in (ENUM, SET, STRING) else (kind, second)


def _blocks(data: bytes, at: int) -> dict[int, bytes]:
    found = {}
    while at < len(data):
        kind = data[at]
        size, at = length_encoded(data, at + 1)
        found[kind] = data[at : at + size]
        at += size
    return found


def _described(
    database: str, table: str, types: list[int], metas: list[int], blocks: Mapping[int, bytes]
) -> TableLayout:
    names = _texts(blocks.get(4, b""))
    numbers = [i for i, kind in enumerate(types) if kind in _NUMBERS]
    signs = bits(blocks.get(1, b""), len(numbers), high_first=True)
    unsigned = {i for i, flag in zip(numbers, signs, strict=True) if flag}
    texts = [i for i, kind in enumerate(types) if kind in _TEXTS]
    labelled = [i for i, kind in enumerate(types) if kind in (ENUM, SET)]
    collations = {
        **_collations(texts, blocks.get(2), blocks.get(3)),
        **_collations(labelled, blocks.get(10), blocks.get(11)),
    }
    labels: dict[int, tuple[bytes, ...]] = {}
    for kind, block in ((SET, 5), (ENUM, 6)):
        lists = _lists(blocks.get(block, b""))
        labels |= dict(zip([i for i in labelled if types[i] == kind], lists, strict=False))
    columns = tuple(
        PhysicalColumn(
            name=names[i].decode("utf-8") if i < len(names) else f"@{i + 1}",
            type=kind,
            meta=meta,
            unsigned=i in unsigned,
            collation=collations.get(i, _BINARY_COLLATION),
            labels=labels.get(i, ()),
        )
        for i, (kind, meta) in enumerate(zip(types, metas, strict=True))
    )
    named = len(names) == len(types)
    # Without a primary key there is no block at all; that is only sure where the columns are named.
    key: tuple[str, ...] | None = () if named else None
    if 8 in blocks:
        key = tuple(columns[i].name for i in _integers(blocks[8]))
    elif 9 in blocks:
        key = tuple(columns[i].name for i in _integers(blocks[9])[::2])
    return TableLayout(database=database, table=table, columns=columns, primary_key=key, named=named)


def _collations(which: list[int], default: bytes | None, each: bytes | None) -> dict[int, int]:
    if each is not None:
        return dict(zip(which, _integers(each), strict=False))
    if default is None:
        return {}
    first, *rest = _integers(default)
    found = dict.fromkeys(which, first)
    for place, collation in zip(rest[::2], rest[1::2], strict=True):
        found[which[place]] = collation
    return found


def _integers(data: bytes) -> list[int]:
    found, at = [], 0
    while at < len(data):
        number, at = length_encoded(data, at)
        found.append(number)
    return found


def _texts(data: bytes) -> list[bytes]:
    found, at = [], 0
    while at < len(data):
        size, at = length_encoded(data, at)
        found.append(data[at : at + size])
        at += size
    return found


def _lists(data: bytes) -> list[tuple[bytes, ...]]:
    found, at = [], 0
    while at < len(data):
        count, at = length_encoded(data, at)
        one = []
        for _ in range(count):
            size, at = length_encoded(data, at)
            one.append(data[at : at + size])
            at += size
        found.append(tuple(one))
    return found


def bits(data: bytes, count: int, *, high_first: bool = False) -> list[bool]:
    """The first ``count`` bits of a bitmap; missing ones are 0."""
    data = data.ljust((count + 7) // 8, b"\0")
    return [bool(data[i >> 3] & (0x80 >> (i & 7) if high_first else 1 << (i & 7))) for i in range(count)]


def length_encoded(data: bytes, at: int) -> tuple[int, int]:
    """A number of one to nine bytes, and what follows it."""
    first = data[at]
    if first < 251:
        return first, at + 1
    width = {252: 2, 253: 3, 254: 8}[first]
    return int.from_bytes(data[at + 1 : at + 1 + width], "little"), at + 1 + width


def _short_text(data: bytes, at: int) -> tuple[str, int]:
    size = data[at]
    return data[at + 1 : at + 1 + size].decode("utf-8"), at + 2 + size
