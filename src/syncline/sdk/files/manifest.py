"""What a stream's files are, as the log of its manifests tells it.

One log per (connection, stream): entries ``log/00000000000000000012.json``, each put only if its number is still
free. An entry is a *claim* (a new fencing token), a *commit* (files and checkpoint, in one act) or a *mark*
(everything decided so far is done). :class:`Manifest` is the sum of all entries up to one.

    commit put           files are decided (``pending``), not yet under their names
    uploads completed    files are under their names
    mark put             readers of the manifest see them (``live``); files that they replace become ``trash``
    trash deleted        the next entry says so

Whoever takes the next token carries on where a dead process stopped: every step may be repeated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from syncline.core.checkpoint import StreamCheckpoint
from syncline.core.partition import ReadPlan
from syncline.core.stream import WriteMode
from syncline.sdk.files.store import StagedObject

__all__ = ["EntryKind", "FileKind", "LogEntry", "Manifest", "ManifestFile"]


class EntryKind(StrEnum):
    """What one entry of the log does."""

    CLAIM = "claim"  #: takes the next token; put by ``fence``
    COMMIT = "commit"  #: files and checkpoint; put by ``commit``
    MARK = "mark"  #: pending files are complete; put when the last upload of a decision is


class FileKind(StrEnum):
    """What a file holds."""

    DATA = "data"
    QUARANTINE = "quarantine"  #: JSON lines of the rows that the format cannot hold


@dataclass(frozen=True, kw_only=True)
class ManifestFile:
    """One file. ``values`` are its partition columns as text (None: NULL); they are not inside the file when they are
    columns of the data kept as they are. ``staged`` completes it; a live file no longer needs that."""

    key: str
    rows: int
    bytes: int
    generation: int
    partition: str
    kind: FileKind = FileKind.DATA
    values: Mapping[str, str | None] = field(default_factory=dict)
    staged: StagedObject | None = None

    def to_json(self) -> dict[str, Any]:
        out: dict[str, Any] = {
            "key": self.key,
            "rows": self.rows,
            "bytes": self.bytes,
            "generation": self.generation,
            "partition": self.partition,
        }
        if self.kind is not FileKind.DATA:
            out["kind"] = self.kind.value
        if self.values:
            out["values"] = dict(self.values)
        if self.staged is not None:
            out["staged"] = self.staged.to_json()
        return out

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ManifestFile:
        return cls(
            key=data["key"],
            rows=data["rows"],
            bytes=data["bytes"],
            generation=data["generation"],
            partition=data["partition"],
            kind=FileKind(data.get("kind", "data")),
            values=data.get("values", {}),
            staged=StagedObject.from_json(data["staged"]) if "staged" in data else None,
        )


@dataclass(frozen=True, kw_only=True)
class LogEntry:
    """One entry as a change to the manifest before it. ``id`` tells our own entry from another's with the same number.

    ``published``: the files pending before this entry are complete. ``cleaned``: the trash before it is deleted. Both
    are known only to the process that did it, and ride on its next entry. ``columns`` are the types in the added files.
    """

    kind: EntryKind
    id: str
    token: int
    checkpoint: StreamCheckpoint | None = None
    write: WriteMode | None = None
    publish: bool = False
    added: tuple[ManifestFile, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    published: bool = False
    cleaned: bool = False

    def to_json(self, before: Manifest) -> dict[str, Any]:
        """As a change to ``before``; a plan that has not changed is left out (it can be megabytes)."""
        checkpoint = None
        same_plan = False
        if self.checkpoint is not None:
            same_plan = self.checkpoint.plan is not None and self.checkpoint.plan == before.checkpoint.plan
            checkpoint = (replace(self.checkpoint, plan=None) if same_plan else self.checkpoint).to_json()
        return {
            "kind": self.kind.value,
            "id": self.id,
            "token": self.token,
            "checkpoint": checkpoint,
            "same_plan": same_plan,
            "write": self.write.value if self.write else None,
            "publish": self.publish,
            "added": [f.to_json() for f in self.added],
            "columns": dict(self.columns),
            "published": self.published,
            "cleaned": self.cleaned,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], before: Manifest) -> LogEntry:
        checkpoint = StreamCheckpoint.from_json(data["checkpoint"]) if data["checkpoint"] else None
        if checkpoint is not None and data["same_plan"]:
            checkpoint = replace(checkpoint, plan=before.checkpoint.plan)
        return cls(
            kind=EntryKind(data["kind"]),
            id=data["id"],
            token=data["token"],
            checkpoint=checkpoint,
            write=WriteMode(data["write"]) if data["write"] else None,
            publish=data["publish"],
            added=tuple(ManifestFile.from_json(f) for f in data["added"]),
            columns=data["columns"],
            published=data["published"],
            cleaned=data["cleaned"],
        )


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The state of a stream's files after log entry ``number`` (0: no entry yet).

    ``live``: visible to readers of the manifest, and under their keys. ``pending``: decided, their uploads perhaps not
    yet completed; they add to ``live``, or replace it when ``superseding``. ``hidden``: committed parts of a generation
    that is not whole yet. ``trash``: keys of a former generation. ``columns``: type per column over all live and
    pending files, as text.
    """

    number: int = 0
    token: int = 0
    checkpoint: StreamCheckpoint = field(default_factory=StreamCheckpoint)
    live: tuple[ManifestFile, ...] = ()
    pending: tuple[ManifestFile, ...] = ()
    superseding: bool = False
    hidden: tuple[ManifestFile, ...] = ()
    trash: tuple[str, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)

    @property
    def staged(self) -> tuple[ManifestFile, ...]:
        """Files whose uploads must not be thrown away."""
        return (*self.pending, *self.hidden)

    @property
    def size(self) -> int:
        """How many things a full copy of this manifest lists."""
        plan: ReadPlan | None = self.checkpoint.plan
        lists: Sequence[Sequence[Any]] = (
            self.live,
            self.pending,
            self.hidden,
            self.trash,
            plan.partitions if plan else (),
        )
        return sum(len(each) for each in lists)

    def after(self, entry: LogEntry) -> Manifest:
        """The manifest once ``entry`` is put."""
        now = self._published() if entry.published else self
        if entry.cleaned:
            now = replace(now, trash=())
        now = replace(now, number=self.number + 1, token=entry.token)
        if entry.kind is not EntryKind.COMMIT:
            return now
        assert entry.checkpoint is not None
        return now._committed(entry, entry.checkpoint)

    def _published(self) -> Manifest:
        done = tuple(replace(f, staged=None) for f in self.pending)
        if self.superseding:
            trash = (*self.trash, *(f.key for f in self.live))
            return replace(self, live=done, pending=(), superseding=False, trash=trash)
        return replace(self, live=(*self.live, *done), pending=())

    def _committed(self, entry: LogEntry, checkpoint: StreamCheckpoint) -> Manifest:
        # Parts of a generation outlive a commit only while that generation's own plan goes on. Once it is given up (a
        # new plan, a reset) nothing refers to them any more, and `prepare` removes their uploads.
        same = _plan_of(self.checkpoint) is not None and _plan_of(self.checkpoint) == _plan_of(checkpoint)
        if entry.write is WriteMode.REPLACE:
            kept = self.hidden if same or entry.publish else ()
            if not entry.publish:
                return replace(self, checkpoint=checkpoint, hidden=(*kept, *entry.added))
            return replace(
                self,
                checkpoint=checkpoint,
                hidden=(),
                pending=(*kept, *entry.added),
                superseding=True,
                columns=dict(entry.columns),
            )
        return replace(
            self,
            checkpoint=checkpoint,
            hidden=(),
            pending=(*self.pending, *entry.added),
            columns={**self.columns, **entry.columns},
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "token": self.token,
            "checkpoint": self.checkpoint.to_json(),
            "live": [f.to_json() for f in self.live],
            "pending": [f.to_json() for f in self.pending],
            "superseding": self.superseding,
            "hidden": [f.to_json() for f in self.hidden],
            "trash": list(self.trash),
            "columns": dict(self.columns),
        }

    @classmethod
    def from_json(cls, number: int, data: Mapping[str, Any]) -> Manifest:
        return cls(
            number=number,
            token=data["token"],
            checkpoint=StreamCheckpoint.from_json(data["checkpoint"]),
            live=tuple(ManifestFile.from_json(f) for f in data["live"]),
            pending=tuple(ManifestFile.from_json(f) for f in data["pending"]),
            superseding=data["superseding"],
            hidden=tuple(ManifestFile.from_json(f) for f in data["hidden"]),
            trash=tuple(data["trash"]),
            columns=data["columns"],
        )


def _plan_of(checkpoint: StreamCheckpoint) -> tuple[str, int, str] | None:
    """What tells one plan from the next."""
    return (checkpoint.plan.id, checkpoint.generation, checkpoint.sync_id) if checkpoint.plan else None
