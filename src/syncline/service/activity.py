"""Use cases: what happens to jobs, as a list or as it happens."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from uuid import UUID

from syncline.jobs.bell import BELL
from syncline.service.callers import Caller
from syncline.service.control import Control
from syncline.store import job_events
from syncline.store.job_values import JobEvent

__all__ = ["events", "follow"]

_KEEP_ALIVE_SECONDS = 10.0
_POLL_SECONDS = 0.5


def events(
    control: Control,
    caller: Caller,
    *,
    after: int = 0,
    workspace_ids: Sequence[UUID] = (),
    connection_id: UUID | None = None,
    job_id: int | None = None,
    limit: int = 100,
) -> list[JobEvent]:
    """Events later than the one with the number ``after``, oldest first, of what the caller may see. They are kept some
    days."""
    allowed = caller.among(frozenset(workspace_ids))
    if allowed is not None and not allowed:
        return []
    with control.database.read() as tx:
        return job_events.after(
            tx,
            after,
            workspace_ids=() if allowed is None else tuple(sorted(allowed)),
            connection_id=connection_id,
            job_id=job_id,
            limit=limit,
        )


def follow(
    control: Control,
    caller: Caller,
    *,
    after: int = 0,
    workspace_ids: Sequence[UUID] = (),
    connection_id: UUID | None = None,
    job_id: int | None = None,
) -> Iterator[JobEvent | None]:
    """As :func:`events`, for ever: None about every ten seconds when nothing happens. Blocks between items."""
    told_at = time.monotonic()
    while True:
        heard = BELL.count
        found = events(
            control, caller, after=after, workspace_ids=workspace_ids, connection_id=connection_id, job_id=job_id
        )
        for event in found:
            after, told_at = event.id, time.monotonic()
            yield event
        if found:
            continue
        if time.monotonic() - told_at >= _KEEP_ALIVE_SECONDS:
            told_at = time.monotonic()
            yield None
        BELL.wait(heard, _POLL_SECONDS)
