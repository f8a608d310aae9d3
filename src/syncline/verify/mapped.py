"""Comparing a stream that a connection maps: the source is read under its own names, and what a mapping computed is
left out, with the reason. A filter is asked of the source in its own SQL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.stream import SelectedStream
from syncline.sdk.mapping import Mapper, mapper_of
from syncline.verify.columns import Chunking, ColumnSpec
from syncline.verify.side import Progress, RowCells, Side
from syncline.verify.sums import Sums

__all__ = ["MappedSide", "MappedView", "mapped_view"]


@dataclass(frozen=True, kw_only=True)
class MappedView:
    """``names``: mapped name -> the source's, of columns whose values are what they were. ``reasons``: why the others
    cannot be compared. ``where``: the filters as one condition over the source's columns."""

    names: Mapping[str, str]
    reasons: Mapping[str, str]
    where: str | None

    def comparable(
        self, columns: Sequence[ColumnSpec], excluded: Mapping[str, str]
    ) -> tuple[tuple[ColumnSpec, ...], dict[str, str]]:
        """The columns that can be compared, and why not the others."""
        kept = tuple(column for column in columns if column.name in self.names)
        left = {column.name: self.reasons.get(column.name, "") for column in columns if column.name not in self.names}
        return kept, {**excluded, **left}


def mapped_view(selected: SelectedStream) -> MappedView | None:
    """None for a stream that is not mapped."""
    if selected.origin is None:
        return None
    mapper = mapper_of(selected)
    names: dict[str, str] = {}
    reasons: dict[str, str] = {}
    for name in selected.stream.schema.names:
        origin = mapper.origin_of(name)
        if origin is None:
            reasons[name] = "a mapping makes it of other columns"
        elif not (lineage := mapper.lineage(origin)).same:
            reasons[name] = f"a mapping changes its values ({lineage.verb})"
        else:
            names[name] = origin
    return MappedView(names=names, reasons=reasons, where=_where(selected.origin))


def _where(origin: SelectedStream) -> str | None:
    """The filters of a stream. Raises ``config`` for one that looks at values which a mapping has made."""
    conditions = []
    steps = origin.stream.mapping
    for place, step in enumerate(steps):
        if "filter" not in step:
            continue
        before = Mapper(origin.stream.schema, steps[:place])
        after = Mapper(origin.stream.schema, steps[: place + 1])
        (stage,) = (s for s in after.stages[len(before.stages) :] if s.verb == "filter")
        for column in stage.inputs:
            if before.origin_of(column) != column or not before.lineage(column).same:
                raise SynclineError(
                    ErrorKind.CONFIG,
                    f"the filter {step['filter']!r} looks at {column!r}, which a mapping made, so the source cannot be "
                    "asked",
                    hint="put the filter before the other steps, in words of the source's columns",
                    where={"stream": str(origin.name)},
                )
        conditions.append(f"({step['filter']}) IS TRUE")
    return " AND ".join(conditions) or None


class MappedSide:
    """A :class:`~syncline.verify.side.Side` whose columns go by other names."""

    def __init__(self, inner: Side, names: Mapping[str, str]) -> None:
        self._inner, self._names = inner, dict(names)
        self.label, self.notes = inner.label, inner.notes

    def names(self) -> set[str]:
        there = self._inner.names()
        return {name for name, origin in self._names.items() if origin in there}

    def jsonb(self, column: str) -> bool:
        return self._inner.jsonb(self._names.get(column, column))

    def refusal(self, column: ColumnSpec) -> str | None:
        return self._inner.refusal(self._back(column))

    def orders(self, column: ColumnSpec) -> bool:
        return self._inner.orders(self._back(column))

    def estimated_rows(self) -> int:
        return self._inner.estimated_rows()

    def sample(self, key: Sequence[ColumnSpec], want: int) -> list[tuple[str | None, ...]]:
        return self._inner.sample([self._back(c) for c in key], want)

    def chunk_sums(self, columns: Sequence[ColumnSpec], chunking: Chunking, progress: Progress) -> Sums:
        return self._inner.chunk_sums([self._back(c) for c in columns], self._divided(chunking), progress)

    def key_hashes(
        self, columns: Sequence[ColumnSpec], chunking: Chunking, chunks: Sequence[int]
    ) -> Iterator[pa.RecordBatch]:
        return self._inner.key_hashes([self._back(c) for c in columns], self._divided(chunking), chunks)

    def cells(
        self, columns: Sequence[ColumnSpec], chunking: Chunking, chunks: Sequence[int], keys: Sequence[str]
    ) -> list[RowCells]:
        return self._inner.cells([self._back(c) for c in columns], self._divided(chunking), chunks, keys)

    def moment(self) -> dict[str, Any]:
        return self._inner.moment()

    def close(self) -> None:
        self._inner.close()

    def _back(self, column: ColumnSpec) -> ColumnSpec:
        return replace(column, name=self._names.get(column.name, column.name))

    def _divided(self, chunking: Chunking) -> Chunking:
        return replace(chunking, key=tuple(self._back(c) for c in chunking.key))
