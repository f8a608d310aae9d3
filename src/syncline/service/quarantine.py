"""Use case: look at quarantined rows, write them after all, or drop them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.stream import SelectedStream
from syncline.engine.log_stream import has_log
from syncline.engine.replay import Replayed, kept_entries, replay
from syncline.jobs.lease import connection_lease
from syncline.sdk.quarantine import KeepsQuarantine, QuarantineEntry
from syncline.service.opened import Opened, opened
from syncline.service.project import Connection
from syncline.service.selection import named_streams
from syncline.service.sync import lease_key
from syncline.settings import Settings

__all__ = ["StreamQuarantine", "drop_quarantined", "list_quarantine", "replay_quarantined"]


@dataclass(frozen=True, kw_only=True)
class StreamQuarantine:
    """One stream's rows in the store, oldest first."""

    stream: str
    entries: tuple[QuarantineEntry, ...]

    def reasons(self) -> list[tuple[str | None, str, int]]:
        """(column, reason, rows), the most frequent first."""
        found = Counter((e.column, e.reason) for e in self.entries)
        return [(column, reason, count) for (column, reason), count in found.most_common()]

    def to_json(self, *, rows: bool) -> dict[str, Any]:
        summary: dict[str, Any] = {
            "stream": self.stream,
            "rows": len(self.entries),
            "reasons": [{"column": c, "reason": r, "rows": n} for c, r, n in self.reasons()],
        }
        return {**summary, "entries": [e.to_json() for e in self.entries]} if rows else summary


def list_quarantine(
    connection: Connection, settings: Settings, streams: list[str] | None = None
) -> list[StreamQuarantine]:
    """What the store holds of each stream; changes nothing."""
    with opened(connection, settings) as ends:
        return [_read(ends, connection, s) for s in named_streams(ends.select(), streams)]


def replay_quarantined(connection: Connection, settings: Settings, stream: str, ids: Sequence[str] | None) -> Replayed:
    """Write the named rows of a stream (all when None) through the normal path, each once."""
    with connection_lease(settings.leases, lease_key(connection)), opened(connection, settings) as ends:
        (selected,) = named_streams(ends.select(), [stream])
        _ensure_known(_read(ends, connection, selected), ids)
        return replay(ends.spec, selected, ends.destination, ids, logged=has_log(ends.source))


def drop_quarantined(connection: Connection, settings: Settings, stream: str, ids: Sequence[str] | None) -> int:
    """Remove the named rows of a stream (all when None) for good; returns how many."""
    with connection_lease(settings.leases, lease_key(connection)), opened(connection, settings) as ends:
        (selected,) = named_streams(ends.select(), [stream])
        known = _read(ends, connection, selected)
        _ensure_known(known, ids)
        assert isinstance(ends.destination, KeepsQuarantine)
        chosen = [e.id for e in known.entries if e.id] if ids is None else list(ids)
        return ends.destination.forget_quarantined(connection.name, selected.name, chosen)


def _read(ends: Opened, connection: Connection, selected: SelectedStream) -> StreamQuarantine:
    return StreamQuarantine(
        stream=str(selected.name), entries=tuple(kept_entries(ends.destination, connection.name, selected))
    )


def _ensure_known(known: StreamQuarantine, ids: Sequence[str] | None) -> None:
    there = {e.id for e in known.entries}
    unknown = [i for i in ids or () if i not in there]
    if unknown:
        raise SynclineError(
            ErrorKind.CONFIG,
            f"no row {unknown[0]!r} lies in the quarantine of {known.stream}",
            hint="see: syncline quarantine show",
        )
