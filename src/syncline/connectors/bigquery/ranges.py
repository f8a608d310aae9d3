"""Which keys a set of rows has, roughly: some ranges that hold them all, so that a MERGE reads only those of a table
that is clustered or partitioned by the key."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from syncline.connectors.bigquery.names import literal, quote
from syncline.connectors.bigquery.types import is_text
from syncline.core.schema import Field

__all__ = ["KeyRanges", "Ranges", "joined", "within"]

#: A predicate has so many ranges at most; more would not leave out more of a table in blocks.
_MOST = 100
#: Longer texts are cut before they are compared.
_LONGEST = 200

Ranges = list[list[Any]]


class KeyRanges:
    """Gathers the values of one column. ``ranges`` is None where nothing is known, which reads everything."""

    def __init__(self, field: Field) -> None:
        kind = field.type
        self._integers = bool(pa.types.is_integer(kind)) and not pa.types.is_uint64(kind)
        self._days = bool(pa.types.is_date32(kind))
        self._text = is_text(kind) and field.logical != "json"
        self._found: npt.NDArray[np.int64] = np.empty((0, 2), np.int64)
        self._texts: list[str] | None = None
        self._unknown = not (self._integers or self._days or self._text)

    def add(self, array: pa.Array) -> None:
        if self._unknown or len(array) == array.null_count:
            return
        if self._text:
            self._add_texts(array)
            return
        values = np.unique(array.cast(pa.int32() if self._days else pa.int64()).drop_null().to_numpy())
        self._found = _fewer(np.concatenate([self._found, _grouped(values.astype(np.int64))]))

    def _add_texts(self, array: pa.Array) -> None:
        # Arrow orders by bytes of UTF-8, and so does BigQuery without a collation.
        found = pc.min_max(array)
        low, high = found["min"].as_py(), found["max"].as_py()
        if max(len(low), len(high)) > _LONGEST:
            self._unknown = True
            return
        if self._texts is not None:
            low = min(low, self._texts[0], key=_bytes)
            high = max(high, self._texts[1], key=_bytes)
        self._texts = [low, high]

    @property
    def ranges(self) -> Ranges | None:
        """Plain JSON; no range at all when there was no value."""
        if self._unknown:
            return None
        if self._text:
            return [] if self._texts is None else [self._texts]
        if self._days:
            return [[str(np.datetime64(int(v), "D")) for v in pair] for pair in self._found]
        found: Ranges = self._found.tolist()
        return found


def _bytes(text: str) -> bytes:
    return text.encode()


def _grouped(values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Sorted distinct values as ranges, split at the widest gaps."""
    if not len(values):
        return np.empty((0, 2), np.int64)
    gaps = np.diff(values.astype(np.float64))
    cuts = np.sort(np.argsort(gaps)[-(_MOST - 1) :]) if len(gaps) else np.empty(0, np.int64)
    cuts = cuts[gaps[cuts] > 1]
    starts = np.concatenate([[0], cuts + 1])
    ends = np.concatenate([cuts, [len(values) - 1]])
    return np.stack([values[starts], values[ends]], axis=1)


def _fewer(ranges: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """At most the number that a predicate has: those nearest to each other are joined."""
    ranges = ranges[np.argsort(ranges[:, 0], kind="stable")]
    highest = np.maximum.accumulate(ranges[:, 1])
    gaps = ranges[1:, 0].astype(np.float64) - highest[:-1]
    cuts = np.argsort(gaps)[-(_MOST - 1) :] if len(gaps) else np.empty(0, np.int64)
    cuts = np.sort(cuts[gaps[cuts] > 1])
    starts = np.concatenate([[0], cuts + 1])
    ends = np.concatenate([cuts, [len(ranges) - 1]])
    return np.stack([ranges[starts, 0], highest[ends]], axis=1)


def joined(several: list[Ranges | None]) -> Ranges | None:
    """Ranges that hold what all of these hold."""
    if any(r is None for r in several):
        return None
    flat = [pair for r in several if r is not None for pair in r]
    if len(flat) <= _MOST:
        return flat
    if isinstance(flat[0][0], int):
        found: Ranges = _fewer(np.array(flat, np.int64)).tolist()
        return found
    return [[min((p[0] for p in flat), key=_bytes), max((p[1] for p in flat), key=_bytes)]]


def within(alias: str, column: str, kind: str, ranges: Ranges | None) -> str:
    """SQL that is true for all rows of ``alias`` whose ``column`` (of type ``kind``) lies in one of the ranges; empty
    when nothing is known. Constants, for BigQuery prunes by nothing else."""
    if ranges is None or (ranges and kind not in _PRUNED.get(type(ranges[0][0]), ())):
        return ""
    if not ranges:
        return "FALSE"
    place = f"{alias}.{quote(column)}"
    parts = [f"{place} BETWEEN {_constant(low, kind)} AND {_constant(high, kind)}" for low, high in ranges]
    return f"({' OR '.join(parts)})"


_PRUNED: dict[type, tuple[str, ...]] = {int: ("INT64", "NUMERIC"), str: ("STRING", "DATE")}


def _constant(value: Any, kind: str) -> str:
    if kind in ("INT64", "NUMERIC"):
        return str(value)
    return f"DATE {literal(value)}" if kind == "DATE" else literal(value)
