"""Counts and sums of chunks, and how an engine's partial sums become them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

__all__ = ["ChunkSum", "Sums"]

_MODULUS = 1 << 128


@dataclass(frozen=True, kw_only=True)
class ChunkSum:
    """The rows of one chunk: their number and the sum of their hashes modulo 2^128."""

    count: int = 0
    total: int = 0

    def __add__(self, other: ChunkSum) -> ChunkSum:
        return ChunkSum(count=self.count + other.count, total=(self.total + other.total) % _MODULUS)

    @classmethod
    def of_halves(cls, *, count: int, high: int, low: int) -> ChunkSum:
        """From the sums of the upper and the lower 64 bits of the hashes, both taken as unsigned."""
        return cls(count=count, total=((high << 64) + low) % _MODULUS)


@dataclass(kw_only=True)
class Sums:
    """The sums of one end by chunk, added up as they come."""

    chunks: dict[int, ChunkSum] = field(default_factory=dict)

    def add(self, chunk: int, part: ChunkSum) -> None:
        self.chunks[chunk] = self.chunks.get(chunk, ChunkSum()) + part

    def get(self, chunk: int) -> ChunkSum:
        return self.chunks.get(chunk, ChunkSum())

    def differing(self, other: Sums) -> list[int]:
        """The chunks in which two ends are not the same, in order."""
        return [chunk for chunk in sorted({*self.chunks, *other.chunks}) if self.get(chunk) != other.get(chunk)]

    @property
    def total(self) -> ChunkSum:
        return _sum(self.chunks.values())


def _sum(parts: Iterable[ChunkSum]) -> ChunkSum:
    whole = ChunkSum()
    for part in parts:
        whole = whole + part
    return whole
