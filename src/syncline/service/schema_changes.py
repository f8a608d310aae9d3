"""Use case: what has changed at the source since the last run, accepting it, and filling new columns in old rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from syncline.core.errors import SynclineError
from syncline.engine.evolution.backfill import Backfilled, backfill
from syncline.engine.evolution.review import SchemaReview
from syncline.engine.log_stream import has_log
from syncline.jobs.lease import connection_lease
from syncline.service.opened import Opened, opened
from syncline.service.project import Connection
from syncline.service.selection import named_streams
from syncline.service.sync import lease_key
from syncline.settings import Settings

__all__ = ["ChangesSeen", "accept_changes", "backfill_columns", "look_for_changes"]


@dataclass(frozen=True, kw_only=True)
class ChangesSeen:
    """``changes`` are (stream, words); ``refused`` why the next run would stop, whole or at a stream; ``accepted`` the
    streams whose changes were accepted just now."""

    changes: tuple[tuple[str, str], ...]
    refused: tuple[SynclineError, ...]
    accepted: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "changes": [{"stream": stream, "change": words} for stream, words in self.changes],
            "refused": [error.to_json() for error in self.refused],
            "accepted": list(self.accepted),
        }


def look_for_changes(connection: Connection, settings: Settings) -> ChangesSeen:
    """What the next run would tell; changes nothing."""
    with opened(connection, settings) as ends:
        review = _review(ends)
        try:
            review.ensure_wanted()
        except SynclineError as stopped:
            seen = _seen(review)
            return replace(seen, refused=(stopped, *seen.refused))
        return _seen(review)


def accept_changes(connection: Connection, settings: Settings, streams: Sequence[str] | None) -> ChangesSeen:
    """The present shape of these streams (None: of all) is what the next run begins with. One commit of the ledger."""
    with connection_lease(settings.leases, lease_key(connection)), opened(connection, settings) as ends:
        review = _review(ends)
        chosen = None if not streams else [s.name for s in named_streams(review.selection, list(streams))]
        return _seen(review, tuple(review.accept(chosen)))


def backfill_columns(connection: Connection, settings: Settings, stream: str, columns: Sequence[str]) -> Backfilled:
    """Fill columns of a stream in the rows that are at the destination. In the connection's lease: no run goes on."""
    with connection_lease(settings.leases, lease_key(connection)), opened(connection, settings) as ends:
        (selected,) = named_streams(ends.select(), [stream])
        return backfill(ends.spec, ends.source, ends.destination, selected, columns)


def _review(ends: Opened) -> SchemaReview:
    return SchemaReview(ends.spec, ends.source.discover(), ends.destination, logged=has_log(ends.source))


def _seen(review: SchemaReview, accepted: tuple[str, ...] = ()) -> ChangesSeen:
    return ChangesSeen(
        changes=tuple((change.stream, change.text) for change in review.changes),
        refused=(*review.refused.values(), *review.vanished.values()),
        accepted=accepted,
    )
