"""Use cases: when a schedule is due."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from syncline.jobs.cron import parse_cron
from syncline.jobs.schedule import first_due, next_due
from syncline.service.callers import Caller, Role
from syncline.service.control import Control
from syncline.service.errors import NotFoundError
from syncline.store import connections, schedule_states
from syncline.store.values import Schedule

__all__ = ["next_runs", "preview"]


def next_runs(control: Control, caller: Caller, connection_id: UUID, count: int = 5) -> list[datetime]:
    """When the connection is due next, as far as its schedule tells by itself; none for one that is inactive, manual or
    comes after others."""
    with control.database.read() as tx:
        connection = connections.find(tx, connection_id)
        if (
            connection is None
            or connection.deleted_at is not None
            or not caller.may(Role.READER, connection.workspace_id)
        ):
            raise NotFoundError("connection", connection_id)
        state = schedule_states.find(tx, connection_id)
    if connection.status != "active" or connection.schedule.kind not in ("cron", "basic"):
        return []
    if state is None or state.next_due_at is None:
        return preview(control, caller, connection.schedule, count)
    return _series(connection.schedule, state.next_due_at, count)


def preview(control: Control, caller: Caller, schedule: Schedule, count: int = 5) -> list[datetime]:
    """When a schedule would be due if it were set now. Raises ``config`` for one that cannot be."""
    _check_form(schedule)
    if schedule.kind not in ("cron", "basic"):
        return []
    first = first_due(schedule, datetime.now(UTC), None)
    return [] if first is None else _series(schedule, first, count)


def _series(schedule: Schedule, first: datetime, count: int) -> list[datetime]:
    found: list[datetime] = []
    moment: datetime | None = first
    while moment is not None and len(found) < count:
        found.append(moment)
        moment = next_due(schedule, moment)
    return found


def _check_form(schedule: Schedule) -> None:
    if schedule.kind == "cron":
        parse_cron(schedule.cron_expression or "", schedule.time_zone)
    elif schedule.kind == "basic":
        first_due(schedule, datetime.now(UTC), datetime.now(UTC))
