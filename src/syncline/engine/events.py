"""What a run says while it goes: a closed list of events, each plain data for journals, progress bars and metrics."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

__all__ = [
    "AttemptFinished",
    "AttemptStarted",
    "Event",
    "Log",
    "LogProgress",
    "PartitionCommitted",
    "Progress",
    "StreamFinished",
    "StreamPlanned",
]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@dataclass(frozen=True, kw_only=True)
class Event:
    """Base: ``at`` is UTC, ISO 8601."""

    at: str = field(default_factory=_now)

    def to_json(self) -> dict[str, Any]:
        return {"event": type(self).__name__, **asdict(self)}


@dataclass(frozen=True, kw_only=True)
class AttemptStarted(Event):
    connection: str
    sync_id: str
    attempt: int
    streams: list[str]


@dataclass(frozen=True, kw_only=True)
class StreamPlanned(Event):
    """A plan is committed (or taken up again: ``resumed``); estimates are -1 when unknown."""

    stream: str
    write: str
    partitions: int
    done: int
    resumed: bool
    estimated_rows: int
    estimated_bytes: int
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Progress(Event):
    """Rows and bytes (Arrow) read since the last event for this stream."""

    stream: str
    partition: str
    rows: int
    bytes: int


@dataclass(frozen=True, kw_only=True)
class PartitionCommitted(Event):
    stream: str
    partition: str
    rows: int
    quarantined: int
    sequence: int


@dataclass(frozen=True, kw_only=True)
class StreamFinished(Event):
    """``status``: succeeded | failed | skipped. Counts are of this attempt."""

    stream: str
    status: str
    rows_read: int
    rows_written: int
    rows_quarantined: int
    bytes_read: int
    seconds: float
    error: dict[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class AttemptFinished(Event):
    status: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Log(Event):
    """A line for people. ``level``: DEBUG | INFO | WARN | ERROR."""

    level: str
    message: str
    stream: str | None = None


@dataclass(frozen=True, kw_only=True)
class LogProgress(Event):
    """Where the log's changes stand, about once a second. ``rows`` changes applied since the last event; ``position``
    and ``end`` (of the source's log) are LSNs; ``lag_seconds`` is 0.0 when nothing waits. ``retained_bytes`` is what
    the source keeps for us, ``spool_bytes`` what we keep, ``slot`` the slot's state in the source's word."""

    rows: int
    position: int
    end: int
    lag_bytes: int
    lag_seconds: float
    retained_bytes: int
    spool_bytes: int
    slot: str
    catching_up: list[str]
