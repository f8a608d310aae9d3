"""The order: what a server hands to the process of one attempt, as plain JSON through a pipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from syncline.core.stream import StreamName
from syncline.engine.spec import AttemptSpec

__all__ = ["Order", "Sharing"]


@dataclass(frozen=True, kw_only=True)
class Sharing:
    """The attempt writes to ``destination``, one of ``every`` that read their source together, in one process for all.
    ``folder`` is theirs, ``work_dir`` where the source lays down what it shares; ``when_behind``: leave or wait."""

    folder: str
    work_dir: str
    destination: str
    every: tuple[str, ...]
    when_behind: str = "leave"

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "every": list(self.every)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Sharing:
        return cls(**{**data, "every": tuple(data["every"])})


@dataclass(frozen=True, kw_only=True)
class Order:
    """One attempt of one job. ``task`` is the job's type (sync, clear, reset, refresh), or ``look`` for a look at what
    has arrived, which is no job's; ``streams`` restricts it (None: all of the connection). ``spec.attempt`` is the
    attempt's number. ``log_bytes`` bounds its log file. ``sharing``: with whom it reads its source."""

    job: int
    task: str
    spec: AttemptSpec
    streams: tuple[StreamName, ...] | None = None
    log_bytes: int = 16 << 20
    sharing: Sharing | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "job": self.job,
            "task": self.task,
            "spec": self.spec.to_json(),
            "streams": None if self.streams is None else [name.to_json() for name in self.streams],
            "log_bytes": self.log_bytes,
            "sharing": None if self.sharing is None else self.sharing.to_json(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Order:
        streams = data["streams"]
        return cls(
            job=data["job"],
            task=data["task"],
            spec=AttemptSpec.from_json(data["spec"]),
            streams=None if streams is None else tuple(StreamName.from_json(name) for name in streams),
            log_bytes=data["log_bytes"],
            sharing=Sharing.from_json(data["sharing"]) if data.get("sharing") else None,
        )
