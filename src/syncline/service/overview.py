"""Use case: all connections at a glance. Is the data fresh, what failed and why, what runs next?"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Any
from uuid import UUID

from syncline.core.errors import SynclineError
from syncline.jobs.schedule import next_due
from syncline.service.callers import Caller
from syncline.service.control import Control
from syncline.store import actors, connections, job_events, run_history, schedule_states
from syncline.store.job_values import JobStatus
from syncline.store.paging import Page
from syncline.store.run_history import Run
from syncline.store.values import Actor, Schedule, StoredConnection

__all__ = ["Glance", "Health", "expected_every", "follows_log", "glances", "health", "last_event"]

#: Jobs shown of each connection.
RECENT = 14
#: A connection that follows a log should never be further behind; its job never ends, so a running one is fresh.
_CONTINUOUS = timedelta(minutes=1)


class Health(StrEnum):
    """What a connection is to the person who looks, worst first."""

    FAILING = "failing"  #: the last run failed, and nothing runs now
    RETRYING = "retrying"  #: an attempt failed, and is tried again
    LATE = "late"  #: the data is older than the schedule promises
    NEVER = "never"  #: nothing was ever copied
    RUNNING = "running"  #: a run is under way for the first time, or after a failure
    FRESH = "fresh"  #: the data is as new as it should be
    PAUSED = "paused"  #: somebody switched it off, or a changed source did


@dataclass(frozen=True, kw_only=True)
class Glance:
    """One connection. ``expected`` is how old the data may get before the schedule brings newer one; None where no
    schedule promises anything. ``data_from`` is the start of the last run that succeeded."""

    connection: StoredConnection
    source: Actor | None
    destination: Actor | None
    health: Health
    follows_log: bool
    expected: timedelta | None
    data_from: datetime | None
    next_run_at: datetime | None
    recent: tuple[Run, ...]


def glances(control: Control, caller: Caller, workspace_ids: Sequence[UUID] = ()) -> list[Glance]:
    """Every connection that the caller may see, in the order of their making."""
    allowed = caller.among(frozenset(workspace_ids))
    with control.database.read() as tx:
        found = connections.list_connections(tx, workspaces=allowed, page=Page(limit=None)).items
        ends: dict[UUID, Actor] = {}
        for role in ("source", "destination"):
            listed = actors.list_actors(
                tx,
                role=role,
                workspaces=allowed,
                include_deleted=True,
                page=Page(limit=None),
            )
            ends |= {actor.id: actor for actor in listed.items}
        runs = run_history.recent(tx, allowed, RECENT)
        successes = run_history.last_successes(tx, allowed)
        due = schedule_states.due_times(tx)
    at = datetime.now(UTC)
    seen = []
    for connection in found:
        recent = tuple(runs.get(connection.id, ()))
        expected, data_from = expected_every(connection.schedule), successes.get(connection.id)
        source = ends.get(connection.source_id)
        seen.append(
            Glance(
                connection=connection,
                source=source,
                destination=ends.get(connection.destination_id),
                health=health(connection, recent, data_from, expected, at),
                follows_log=source is not None and follows_log(source.configuration),
                expected=expected,
                data_from=data_from,
                next_run_at=due.get(connection.id) if connection.status == "active" else None,
                recent=recent,
            )
        )
    return seen


def last_event(control: Control) -> int:
    """The number of the newest event: who follows events from here on misses nothing that came after. Ask before
    :func:`glances`."""
    with control.database.read() as tx:
        return job_events.newest(tx)


def health(
    connection: StoredConnection,
    recent: Sequence[Run],
    data_from: datetime | None,
    expected: timedelta | None,
    at: datetime,
) -> Health:
    """What to call it, at a moment. ``recent``: its jobs, newest first."""
    if connection.status != "active":
        return Health.PAUSED
    active = next((run for run in recent if run.status.active), None)
    ended = next((run for run in recent if not run.status.active), None)
    if active is not None and active.status is JobStatus.INCOMPLETE:
        return Health.RETRYING
    if active is not None and connection.schedule.kind == "continuous":
        return Health.FRESH if active.rows or data_from is not None else Health.RUNNING
    if ended is not None and ended.status is JobStatus.FAILED:
        return Health.RUNNING if active is not None else Health.FAILING
    if data_from is None:
        return Health.RUNNING if active is not None else Health.NEVER
    if expected is not None and at - data_from > expected + _grace(expected, recent):
        return Health.LATE
    return Health.FRESH


def _grace(expected: timedelta, recent: Sequence[Run]) -> timedelta:
    """A run that has just become due needs as long as the longest of the last ones, and a little, to be done."""
    lasted = [run.ended_at - run.started_at for run in recent if run.ended_at and run.started_at]
    return max([expected / 4, timedelta(minutes=1), *(each * 1.5 for each in lasted)])


def expected_every(schedule: Schedule) -> timedelta | None:
    """How old the data may become between two runs; None for a schedule that promises nothing by itself."""
    if schedule.kind == "continuous":
        return _CONTINUOUS
    if schedule.kind not in ("cron", "basic"):
        return None
    return _longest_gap(json.dumps(schedule.to_json(), sort_keys=True), datetime.now(UTC).date().isoformat())


@lru_cache(maxsize=4096)
def _longest_gap(schedule: str, today: str) -> timedelta | None:
    """The longest pause among the next due times: a schedule of weekdays promises nothing for the weekend. ``today``
    only makes the answer of another day another one."""
    known = Schedule.from_json(json.loads(schedule))
    moment, longest = datetime.fromisoformat(today).replace(tzinfo=UTC), None
    try:
        for _ in range(8):
            following = next_due(known, moment)
            if following is None:
                break
            longest = max(longest or timedelta(0), following - moment)
            moment = following
    except SynclineError:
        return None
    return longest


def follows_log(configuration: Mapping[str, Any]) -> bool:
    """Whether a source's configuration asks for its log, in ours or Airbyte's words."""
    method = configuration.get("replication_method")
    if isinstance(method, Mapping):
        method = method.get("method")
    return isinstance(method, str) and method.upper() == "CDC"
