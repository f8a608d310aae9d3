"""Use case: what the quality gates of a connection have found, and what becomes of rows that they hold back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from syncline.core.checkpoint import StreamCheckpoint
from syncline.core.errors import SynclineError
from syncline.core.stream import SelectedStream
from syncline.engine.held_back import HeldBackRun
from syncline.engine.log_stream import has_log
from syncline.engine.ports import EventSink
from syncline.jobs.lease import connection_lease
from syncline.service.opened import Opened, opened
from syncline.service.project import Connection
from syncline.service.selection import named_streams
from syncline.service.sync import lease_key
from syncline.settings import Settings

__all__ = ["StreamQuality", "publish_held_back", "read_quality", "replay_held_back"]


@dataclass(frozen=True, kw_only=True)
class StreamQuality:
    """One stream's gates: how many there are, what they last said, what is held back and where."""

    stream: str
    gates: int
    results: Sequence[Mapping[str, Any]] = ()
    judged_at: str | None = None
    sync_id: str | None = None
    blocked: Mapping[str, Any] | None = None
    history: Sequence[int] = ()
    error: SynclineError | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "stream": self.stream,
            "gates": self.gates,
            "judged_at": self.judged_at,
            "sync_id": self.sync_id,
            "blocked": None if self.blocked is None else {k: self.blocked[k] for k in ("reason", "place", "since")},
            "results": [dict(r) for r in self.results],
            "history": list(self.history),
            **({"error": self.error.to_json()} if self.error else {}),
        }


def read_quality(connection: Connection, settings: Settings, streams: list[str] | None = None) -> list[StreamQuality]:
    """What the ledger says of each stream; changes nothing."""
    with opened(connection, settings) as ends:
        return [_read(ends, connection, s) for s in named_streams(ends.select(), streams)]


def replay_held_back(
    connection: Connection, settings: Settings, streams: list[str] | None, emit: EventSink
) -> list[StreamQuality]:
    """Judge what is held back by the gates as they are now, and publish what passes. Without ``streams`` all that is
    held back. What does not pass has an ``error``."""
    return _carry_out(connection, settings, streams, emit, anyway=False)


def publish_held_back(
    connection: Connection, settings: Settings, streams: list[str], emit: EventSink
) -> list[StreamQuality]:
    """Publish what is held back, whatever the gates say."""
    return _carry_out(connection, settings, streams, emit, anyway=True)


def _carry_out(
    connection: Connection, settings: Settings, streams: list[str] | None, emit: EventSink, *, anyway: bool
) -> list[StreamQuality]:
    with connection_lease(settings.leases, lease_key(connection)), opened(connection, settings) as ends:
        chosen = named_streams(ends.select(), streams)
        if not streams:
            chosen = [s for s in chosen if _checkpoint(ends, connection, s).quality.get("blocked")]
        found = []
        for selected in chosen:
            run = HeldBackRun(ends.spec, selected, ends.source, ends.destination, emit, logged=has_log(ends.source))
            error = None
            try:
                if anyway:
                    run.publish()
                else:
                    run.replay()
            except SynclineError as raised:
                error = raised.at(stream=str(selected.name))
            found.append(_read(ends, connection, selected, error))
        return found


def _read(
    ends: Opened, connection: Connection, selected: SelectedStream, error: SynclineError | None = None
) -> StreamQuality:
    quality = _checkpoint(ends, connection, selected).quality
    return StreamQuality(
        stream=str(selected.name),
        gates=len(selected.options.get("gates", ())),
        results=quality.get("results", ()),
        judged_at=quality.get("judged_at"),
        sync_id=quality.get("sync_id"),
        blocked=quality.get("blocked"),
        history=quality.get("history", ()),
        error=error,
    )


def _checkpoint(ends: Opened, connection: Connection, selected: SelectedStream) -> StreamCheckpoint:
    entry = ends.destination.committed(connection.name, selected.name)
    return StreamCheckpoint() if entry is None else entry.checkpoint
