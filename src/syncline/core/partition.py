"""Partitions and read plans: the work of reading a stream, as values that survive a crash and run anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Partition", "ReadPlan"]


@dataclass(frozen=True, kw_only=True)
class Partition:
    """One stretch of one stream. ``bounds`` is the source's own plain JSON; nobody else looks into it."""

    id: str
    bounds: Mapping[str, Any]
    estimated_rows: int = -1

    def to_json(self) -> dict[str, Any]:
        return {"id": self.id, "bounds": dict(self.bounds), "estimated_rows": self.estimated_rows}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Partition:
        return cls(id=data["id"], bounds=data["bounds"], estimated_rows=data.get("estimated_rows", -1))


@dataclass(frozen=True, kw_only=True)
class ReadPlan:
    """Everything to read for one stream from one position to the next.

    The plan is committed to the destination's ledger before its first partition is read, so that an attempt after a
    crash goes on with the same partitions and re-reads only those that were not committed. ``end`` is the position
    that holds once all partitions are committed. ``resumable`` is False when the plan dies with the session that made
    it (an exported snapshot of a table without a key): then the stream starts over, as a new plan. A plan without
    partitions means that there is nothing to read. ``estimated_*`` are for progress only; -1 when unknown.
    """

    id: str
    partitions: tuple[Partition, ...]
    end: Mapping[str, Any]
    resumable: bool = True
    estimated_rows: int = -1
    estimated_bytes: int = -1
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "partitions": [p.to_json() for p in self.partitions],
            "end": dict(self.end),
            "resumable": self.resumable,
            "estimated_rows": self.estimated_rows,
            "estimated_bytes": self.estimated_bytes,
            "note": self.note,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ReadPlan:
        return cls(
            id=data["id"],
            partitions=tuple(Partition.from_json(p) for p in data["partitions"]),
            end=data["end"],
            resumable=data["resumable"],
            estimated_rows=data.get("estimated_rows", -1),
            estimated_bytes=data.get("estimated_bytes", -1),
            note=data.get("note", ""),
        )
