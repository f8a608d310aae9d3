"""What is compared: columns, the key, and how the rows are divided into chunks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from syncline.core.schema import Field
from syncline.verify.canonical import Kind, kind_of

__all__ = ["METADATA", "Chunking", "ColumnSpec", "column_of", "cut_points", "readable"]

#: Columns that we add; they have no counterpart at the source.
METADATA = frozenset(
    (
        "_syncline_extracted_at",
        "_syncline_sync_id",
        "_syncline_generation",
        "_airbyte_raw_id",
        "_airbyte_extracted_at",
        "_airbyte_meta",
        "_airbyte_generation_id",
        "_syncline_op",
        "_syncline_lsn",
        "_syncline_ordinal",
        "_syncline_committed_at",
        "_syncline_unchanged",
        "_syncline_old_key",
        "_syncline_deleted_at",
        "_ab_cdc_lsn",
        "_ab_cdc_updated_at",
        "_ab_cdc_deleted_at",
    )
)

#: A chunk's border may be any text; a long one would make the statements long.
_BORDER_CHARACTERS = 100


@dataclass(frozen=True, kw_only=True)
class ColumnSpec:
    """One column to compare. ``jsonb``: one end keeps it as ``jsonb``, so both write it as that prints it."""

    name: str
    kind: Kind
    native: str | None = None
    jsonb: bool = False


def column_of(field: Field) -> ColumnSpec | None:
    """A column of a stream's schema, None when its type has no canonical text."""
    kind = kind_of(field.type, field.logical)
    return None if kind is None else ColumnSpec(name=field.name, kind=kind, native=field.native)


@dataclass(frozen=True, kw_only=True)
class Chunking:
    """How rows are divided. Every end must put a row into the same chunk.

    ``key`` are the columns that identify a row, none when nothing does: then a row is identified by its own hash. With
    ``cuts`` (ascending, cells of the first key columns) chunk n holds the keys from cut n-1 on and below cut n, and a
    key that is NULL where it is decided lies in the last. Without cuts the chunk is the first 16 bits of the MD5 of the
    key's text (of the row's when there is no key), modulo ``number``.
    """

    key: tuple[ColumnSpec, ...] = ()
    cuts: tuple[tuple[str, ...], ...] = ()
    number: int = 1

    @property
    def width(self) -> int:
        """How many key columns the cuts have."""
        return len(self.cuts[0]) if self.cuts else 0

    def border(self, chunk: int) -> tuple[list[str] | None, list[str] | None]:
        """Lowest key of a chunk and the key that it ends before, for people; None where it is open or not by range."""
        if not self.cuts:
            return None, None
        low = self.cuts[chunk - 1] if chunk else None
        high = self.cuts[chunk] if chunk < len(self.cuts) else None
        return self._readable(low), self._readable(high)

    def _readable(self, cut: tuple[str, ...] | None) -> list[str] | None:
        if cut is None:
            return None
        return [readable(c, column.kind) or "" for c, column in zip(cut, self.key, strict=False)]


def cut_points(
    key: Sequence[ColumnSpec], width: int, sample: Sequence[tuple[str | None, ...]], number: int
) -> Chunking:
    """Divide by ranges of the first ``width`` key columns, as a sample of keys suggests, into about ``number`` chunks.
    Without a column, or without a sample, the chunks are by hash."""
    usable = [cut for row in sample if (cut := _border(key, row[:width])) is not None] if width else []
    if number <= 1 or not usable:
        return Chunking(key=tuple(key), number=max(number, 1))
    usable.sort(key=lambda cut: cut[0])
    cuts: list[tuple[str, ...]] = []
    for n in range(1, number):
        border = usable[len(usable) * n // number][1]
        if not cuts or cuts[-1] != border:
            cuts.append(border)
    return Chunking(key=tuple(key), cuts=tuple(cuts), number=len(cuts) + 1)


def readable(text: str | None, kind: Kind) -> str | None:
    """A cell for people: dates and times as such, texts without their length."""
    if text is None:
        return None
    if kind.name in ("text", "json"):
        return text.split(":", 1)[1]
    if kind.name in ("date", "time", "timestamp") and text.lstrip("-").isdecimal():
        try:
            return _moment(int(text), kind.name)
        except OverflowError:
            return text
    if kind.name == "float":
        return repr(_double(text))
    return text


def _moment(count: int, kind: str) -> str:
    if kind == "date":
        return (date(1970, 1, 1) + timedelta(days=count)).isoformat()
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=count)
    return at.time().isoformat() if kind == "time" else at.replace(tzinfo=None).isoformat(sep=" ")


def _double(text: str) -> float:
    import struct

    value: float = struct.unpack(">d", bytes.fromhex(text))[0]
    return value


def _border(key: Sequence[ColumnSpec], row: tuple[str | None, ...]) -> tuple[tuple[Any, ...], tuple[str, ...]] | None:
    """(something to sort by, the cut) of a sampled key; None when it cannot be a border."""
    order, cut = [], []
    for column, text in zip(key, row, strict=False):
        if text is None:
            return None
        shortened = _shortened(text, column.kind.name)
        sortable = _sortable(shortened, column.kind.name)
        if sortable is None:
            return None
        order.append(sortable)
        cut.append(shortened)
    return tuple(order), tuple(cut)


def _shortened(text: str, kind: str) -> str:
    """A cell that is no longer than a border may be."""
    if kind == "text":
        begin = text.split(":", 1)[1][:_BORDER_CHARACTERS]
        return f"{len(begin.encode())}:{begin}"
    return text[: 1 + 2 * _BORDER_CHARACTERS] if kind == "bytes" else text


def _sortable(text: str, kind: str) -> Any:
    """A cell as a Python value that sorts as the engines sort it; None for what makes no good border."""
    if kind == "int":
        return int(text)
    if kind in ("numeric", "timestamp", "date", "time"):
        if not text.lstrip("-").replace(".", "", 1).isdecimal():
            return None
        if kind != "numeric" and readable(text, Kind(name=kind)) == text:
            return None  # outside of the years that both engines read from a literal
        return Decimal(text)
    if kind == "float":
        value = _double(text)
        return value if math.isfinite(value) else None
    if kind == "text":
        return text.split(":", 1)[1].encode()
    return text  # bool (f < t), bytes and uuid in hex, which sort as text
