"""The order: what a server hands to the process of one attempt, as plain JSON through a pipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from syncline.core.stream import StreamName
from syncline.engine.spec import AttemptSpec

__all__ = ["Order"]


@dataclass(frozen=True, kw_only=True)
class Order:
    """One attempt of one job. ``task`` is the job's type (sync, clear, reset, refresh), or ``look`` for a look at what
    has arrived, which is no job's; ``streams`` restricts it (None: all of the connection). ``spec.attempt`` is the
    attempt's number. ``log_bytes`` bounds its log file."""

    job: int
    task: str
    spec: AttemptSpec
    streams: tuple[StreamName, ...] | None = None
    log_bytes: int = 16 << 20

    def to_json(self) -> dict[str, Any]:
        return {
            "job": self.job,
            "task": self.task,
            "spec": self.spec.to_json(),
            "streams": None if self.streams is None else [name.to_json() for name in self.streams],
            "log_bytes": self.log_bytes,
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
        )
