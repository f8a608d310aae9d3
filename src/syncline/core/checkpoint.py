"""Checkpoints, stages and the ledger: what makes the result exactly once.

The ledger lives at the destination (``_syncline_ledger``, or a log of manifests for files) and is the truth: one entry
per (connection, stream), replaced only by the entry with the next ``sequence`` and the current ``token``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from enum import StrEnum
from typing import Any

from syncline.core.partition import ReadPlan
from syncline.core.schema import StreamSchema
from syncline.core.stream import StreamName, WriteMode

__all__ = ["LedgerEntry", "Phase", "Staged", "StreamCheckpoint", "StreamTarget"]


class Phase(StrEnum):
    """Where a stream stands between two runs."""

    IDLE = "idle"  #: nothing unfinished; set by the last commit of a plan; next comes READING
    READING = "reading"  #: a plan is committed and some of its partitions may be; next comes IDLE


@dataclass(frozen=True, kw_only=True)
class StreamCheckpoint:
    """A mark in the flow of one stream: everything up to here is at the destination.

    ``generation`` counts the whole copies of the stream, ``sequence`` the commits of the ledger. ``position`` is the
    source's (None: never finished). While ``phase`` is READING, ``plan`` is the unfinished plan, ``write`` what its
    rows do, ``done`` the ids of its committed partitions. ``schema`` is what the destination was last prepared for.
    ``rows`` counts the rows committed of the running plan. ``quality`` is what the quality gates remember, in plain
    JSON: counts of the running plan, results, what is held back and why (:mod:`syncline.quality.record`).
    """

    generation: int = 0
    sequence: int = 0
    position: Mapping[str, Any] | None = None
    phase: Phase = Phase.IDLE
    plan: ReadPlan | None = None
    write: WriteMode | None = None
    done: frozenset[str] = field(default_factory=frozenset)
    schema: StreamSchema | None = None
    rows: int = 0
    sync_id: str = ""
    quality: Mapping[str, Any] = field(default_factory=dict)

    def next(self, **changes: Any) -> StreamCheckpoint:
        """The following checkpoint: ``sequence`` one higher, the given fields changed."""
        return replace(self, sequence=self.sequence + 1, **changes)

    def to_json(self) -> dict[str, Any]:
        return {
            "generation": self.generation,
            "sequence": self.sequence,
            "position": None if self.position is None else dict(self.position),
            "phase": self.phase.value,
            "plan": self.plan.to_json() if self.plan else None,
            "write": self.write.value if self.write else None,
            "done": sorted(self.done),
            "schema": self.schema.to_json() if self.schema else None,
            "rows": self.rows,
            "sync_id": self.sync_id,
            **({"quality": dict(self.quality)} if self.quality else {}),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> StreamCheckpoint:
        return cls(
            generation=data["generation"],
            sequence=data["sequence"],
            position=data["position"],
            phase=Phase(data["phase"]),
            plan=ReadPlan.from_json(data["plan"]) if data.get("plan") else None,
            write=WriteMode(data["write"]) if data.get("write") else None,
            done=frozenset(data.get("done", ())),
            schema=StreamSchema.from_json(data["schema"]) if data.get("schema") else None,
            rows=data.get("rows", 0),
            sync_id=data.get("sync_id", ""),
            quality=data.get("quality", {}),
        )


@dataclass(frozen=True, kw_only=True)
class LedgerEntry:
    """What the ledger holds for one stream: the last committed checkpoint and the fencing token that may write next."""

    token: int
    checkpoint: StreamCheckpoint


@dataclass(frozen=True, kw_only=True)
class Staged:
    """Proof of the data of one partition, laid down and not yet visible. Plain JSON: it may come from another process.

    ``payload`` is the destination's own (keys, upload ids, a staging table). ``rows`` are those that become visible,
    ``quarantined`` those beside; ``bytes`` what was laid down, ``files`` the sizes in bytes of its files, where the
    destination writes files. ``note`` is the engine's: what the quality gates counted
    in these rows.
    """

    partition: str
    rows: int
    quarantined: int = 0
    bytes: int = 0
    files: tuple[int, ...] = ()
    payload: Mapping[str, Any] = field(default_factory=dict)
    note: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "partition": self.partition,
            "rows": self.rows,
            "quarantined": self.quarantined,
            "bytes": self.bytes,
            **({"files": list(self.files)} if self.files else {}),
            "payload": dict(self.payload),
            **({"note": dict(self.note)} if self.note else {}),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Staged:
        return cls(
            partition=data["partition"],
            rows=data["rows"],
            quarantined=data["quarantined"],
            bytes=data["bytes"],
            files=tuple(data.get("files", ())),
            payload=data["payload"],
            note=data.get("note", {}),
        )


@dataclass(frozen=True, kw_only=True)
class StreamTarget:
    """One stream as a destination sees it during one plan; plain data, travels inside tasks.

    ``schema`` is the full schema to hold, our metadata columns included (last). ``primary_key`` is set for MERGE and
    for a deduped REPLACE (``dedupe``: at the swap keep one row per key, the one with the greatest ``cursor_field``).
    ``sync_date`` is the UTC date on which the job started, the same for all its attempts. ``constants`` are the
    metadata
    columns with one value for the whole plan, as text (name -> Postgres/DuckDB/ISO text), for relayed bytes that do not
    carry them. ``dialect`` is the stream's, ``source_namespace`` rules live in the destination's configuration.
    ``deletes`` says what a deletion in the source's log does in MERGE: ``hard`` removes the row, ``soft`` keeps it and
    sets ``_syncline_deleted_at``.
    """

    connection: str
    stream: StreamName
    schema: StreamSchema
    write: WriteMode
    generation: int
    sync_id: str
    sync_date: date
    primary_key: tuple[str, ...] = ()
    cursor_field: str | None = None
    dedupe: bool = False
    dialect: str | None = None
    deletes: str = "hard"
    constants: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "connection": self.connection,
            "stream": self.stream.to_json(),
            "schema": self.schema.to_json(),
            "write": self.write.value,
            "generation": self.generation,
            "sync_id": self.sync_id,
            "sync_date": self.sync_date.isoformat(),
            "primary_key": list(self.primary_key),
            "cursor_field": self.cursor_field,
            "dedupe": self.dedupe,
            "dialect": self.dialect,
            "deletes": self.deletes,
            "constants": dict(self.constants),
            "options": dict(self.options),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> StreamTarget:
        return cls(
            connection=data["connection"],
            stream=StreamName.from_json(data["stream"]),
            schema=StreamSchema.from_json(data["schema"]),
            write=WriteMode(data["write"]),
            generation=data["generation"],
            sync_id=data["sync_id"],
            sync_date=date.fromisoformat(data["sync_date"]),
            primary_key=tuple(data["primary_key"]),
            cursor_field=data["cursor_field"],
            dedupe=data["dedupe"],
            dialect=data["dialect"],
            deletes=data.get("deletes", "hard"),
            constants=data["constants"],
            options=data["options"],
        )
