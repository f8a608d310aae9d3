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
    "QualityJudged",
    "RetainedWal",
    "SchemaChanged",
    "StreamFinished",
    "StreamPlanned",
    "TransformFinished",
    "TransformRunning",
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
    """Rows and bytes (Arrow) read since the last event for this stream; ``queued`` bytes of the partition wait between
    reader and writer now."""

    stream: str
    partition: str
    rows: int
    bytes: int
    queued: int = 0


@dataclass(frozen=True, kw_only=True)
class PartitionCommitted(Event):
    """``bytes`` that the destination wrote; ``files`` their sizes, where it writes files."""

    stream: str
    partition: str
    rows: int
    quarantined: int
    sequence: int
    bytes: int = 0
    files: list[int] = field(default_factory=list)


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
class QualityJudged(Event):
    """The gates of a stream were judged, before its rows became visible (``published``) or were held back; ``place`` is
    then where they lie. ``results`` are :class:`~syncline.quality.gate.GateResult` as JSON."""

    stream: str
    sync_id: str
    rows: int
    published: bool
    place: str
    results: list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class TransformFinished(Event):
    """A step after the sync has ended. ``status``: succeeded | failed; ``kind``: sql, dbt, http, command …"""

    step: str
    kind: str
    status: str
    seconds: float
    error: dict[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class TransformRunning(Event):
    """A step after the sync goes on; said now and then, so that nobody takes its silence for an end."""

    step: str
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


@dataclass(frozen=True, kw_only=True)
class RetainedWal(Event):
    """What the source keeps of its log for us has reached another level: ``half`` of the budget or more, ``over`` it,
    or ``within`` it again. ``seconds_left`` until the source's own limit is reached at the present rate, None when
    unknown or without one."""

    level: str
    slot: str
    bytes: int
    budget: int
    seconds_left: float | None

    @property
    def text(self) -> str:
        """For people."""
        where = {"half": "more than half of", "over": "over"}.get(self.level, "within")
        left = f"; its limit is reached in about {self.seconds_left / 60:.0f} min" if self.seconds_left else ""
        return (
            f"the source keeps {self.bytes / 1e9:.2f} GB of log for slot {self.slot}, {where} its budget of "
            f"{self.budget / 1e9:.2f} GB (max_retained_wal){left}"
        )


@dataclass(frozen=True, kw_only=True)
class SchemaChanged(Event):
    """A stream's table changed: in the log, and the destination followed in the commit that went before this event; or
    since the last run. What is done with it is a matter of the connection's policy.
    ``change``: added | dropped | renamed | widened | narrowed | retyped | optional | required, of the column
    ``before``/``after``; key: of the columns that name a row; called: the table has another name, the stream keeps its
    own; stream_added | stream_vanished. ``before`` is None for what is new, ``after`` for what is gone; with types
    (``name type``) where a type is what changed."""

    stream: str
    change: str
    before: str | None
    after: str | None

    @property
    def text(self) -> str:
        """For people."""
        if self.change == "called":
            return (
                f"the table is called {self.after} now; its stream goes on under the former name until the connection "
                "names the new one"
            )
        if self.change.startswith("stream_"):
            return f"stream {self.change.removeprefix('stream_')}: {self.before or self.after}"
        if self.change == "key":
            return f"key changed: {self.before} -> {self.after}"
        if self.before is not None and self.after is not None:
            return f"column {self.change}: {self.before} -> {self.after}"
        kept = " at the source; the destination keeps it" if self.change == "dropped" else ""
        return f"column {self.change}: {self.before or self.after}{kept}"
