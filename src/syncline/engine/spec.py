"""The attempt spec: one try of one job as plain JSON, from whoever launches it to whoever runs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from syncline.core.stream import StreamName
from syncline.engine.evolution.policy import SchemaPolicy
from syncline.engine.selection import StreamChoice
from syncline.sdk.metadata import MetadataColumns
from syncline.sdk.reference import ConnectorReference

__all__ = ["AttemptSpec"]


@dataclass(frozen=True, kw_only=True)
class AttemptSpec:
    """``streams`` are the connection's choices (None: all streams, by ``default_mode``). ``sync_date`` is the UTC date
    on which the job started and ``started_at`` when this attempt did. ``completed`` names streams that an earlier
    attempt of the same job finished. ``deletes`` (``hard`` or ``soft``) is what a deletion in the source's log does in
    deduped modes. ``follow``: the changes of the log are applied as they come until the attempt is told to stop;
    otherwise up to ``until`` (an LSN; None: the log's end as of now). ``retain``: whole copies of
    incremental streams are merged into what is there (a refresh that keeps the old data). ``evolution`` is what is done
    when the source changes, ``transforms`` are the steps that follow a success. Secrets stay references."""

    connection: str
    source: ConnectorReference
    destination: ConnectorReference
    choices: tuple[StreamChoice, ...] | None
    default: StreamChoice
    sync_id: str
    sync_date: date
    started_at: datetime
    attempt: int
    work_dir: str
    concurrency: int = 2
    metadata: MetadataColumns = MetadataColumns.SYNCLINE
    completed: tuple[StreamName, ...] = ()
    deletes: str = "hard"
    follow: bool = False
    until: int | None = None
    retain: bool = False
    evolution: SchemaPolicy = field(default_factory=SchemaPolicy)
    transforms: tuple[Mapping[str, Any], ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "connection": self.connection,
            "source": self.source.to_json(),
            "destination": self.destination.to_json(),
            "choices": None if self.choices is None else [c.to_json() for c in self.choices],
            "default": self.default.to_json(),
            "sync_id": self.sync_id,
            "sync_date": self.sync_date.isoformat(),
            "started_at": self.started_at.isoformat(),
            "attempt": self.attempt,
            "work_dir": self.work_dir,
            "concurrency": self.concurrency,
            "metadata": self.metadata.value,
            "completed": [n.to_json() for n in self.completed],
            "deletes": self.deletes,
            "follow": self.follow,
            "until": self.until,
            "retain": self.retain,
            "evolution": self.evolution.to_json(),
            "transforms": [dict(t) for t in self.transforms],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> AttemptSpec:
        choices = data["choices"]
        return cls(
            connection=data["connection"],
            source=ConnectorReference.from_json(data["source"]),
            destination=ConnectorReference.from_json(data["destination"]),
            choices=None if choices is None else tuple(StreamChoice.from_json(c) for c in choices),
            default=StreamChoice.from_json(data["default"]),
            sync_id=data["sync_id"],
            sync_date=date.fromisoformat(data["sync_date"]),
            started_at=datetime.fromisoformat(data["started_at"]),
            attempt=data["attempt"],
            work_dir=data["work_dir"],
            concurrency=data["concurrency"],
            metadata=MetadataColumns(data["metadata"]),
            completed=tuple(StreamName.from_json(n) for n in data["completed"]),
            deletes=data.get("deletes", "hard"),
            follow=data.get("follow", False),
            until=data.get("until"),
            retain=data.get("retain", False),
            evolution=SchemaPolicy.from_json(data["evolution"]) if "evolution" in data else SchemaPolicy(),
            transforms=tuple(data.get("transforms", ())),
        )
