"""What is known of one connection: as much of its runs as rules look at."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from syncline.core.errors import SynclineError
from syncline.engine import events
from syncline.engine.listener import Run, RunEnd

__all__ = ["Facts", "matters"]

#: Of a run with very many files the first ones stand for all.
_MOST_FILES = 10_000


def matters(event: events.Event) -> bool:
    """Whether rules look at such events; progress and logs are the most and do not."""
    return isinstance(
        event,
        events.AttemptStarted
        | events.PartitionCommitted
        | events.StreamFinished
        | events.LogProgress
        | events.SchemaChanged
        | events.RetainedWal,
    )


@dataclass(kw_only=True)
class Facts:
    """Of one connection; changed only by :meth:`hear`, :meth:`end` and who asked the store. Times are UTC.

    ``running_since`` is the start of a run that is under way and follows no log. ``behind_since``: since when the lag
    is over the limit that was asked for. ``schema_changes`` are those not told yet."""

    connection: str
    connection_id: str = ""
    workspace: str = ""
    job: int = 0
    running_since: datetime | None = None
    last_end: RunEnd | None = None
    last_success_at: datetime | None = None
    expected_every: float | None = None
    rows: int = 0
    quarantined: int = 0
    files: list[int] = field(default_factory=list)
    last_seconds: float | None = None
    error: SynclineError | None = None
    lag_seconds: float | None = None
    retained_bytes: int | None = None
    schema_changes: list[str] = field(default_factory=list)

    def hear(self, run: Run, event: events.Event) -> None:
        self._take(run)
        if not run.follows and self.running_since is None:
            self.running_since = run.started_at
            self.files, self.quarantined = [], 0
        match event:
            case events.PartitionCommitted():
                self.quarantined += event.quarantined
                if len(self.files) < _MOST_FILES:
                    self.files.extend(event.files)
            case events.LogProgress():
                self.lag_seconds = event.lag_seconds
                self.retained_bytes = event.retained_bytes
            case events.RetainedWal():
                self.retained_bytes = event.bytes
            case events.SchemaChanged():
                self.schema_changes.append(f"{event.stream}: {event.text}")
            case _:
                pass

    def end(self, run: Run, end: RunEnd, at: datetime) -> None:
        self._take(run)
        self.error = end.error
        if not end.final:
            return
        self.last_end, self.running_since = end, None
        self.last_seconds = end.seconds
        self.rows = end.rows
        if end.status == "succeeded":
            self.last_success_at = at

    def _take(self, run: Run) -> None:
        self.connection = run.connection
        self.connection_id, self.workspace = run.connection_id, run.workspace
        self.job = run.job
