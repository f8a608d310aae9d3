"""Where each connection's schedule stands: when it is due next, and which due times still wait for their job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from syncline.store.database import Transaction
from syncline.store.job_tables import jobs, schedule_states
from syncline.store.job_values import DueTimes, JobCause, JobStatus, ScheduleState
from syncline.store.tables import connections
from syncline.store.values import StoredConnection

__all__ = [
    "add_waiting",
    "delete",
    "due",
    "due_times",
    "find",
    "fingerprints",
    "insert_many",
    "next_due_at",
    "ready",
    "stamp",
    "update_many",
]


def find(tx: Transaction, connection_id: UUID) -> ScheduleState | None:
    row = tx.execute(sa.select(schedule_states).where(schedule_states.c.connection_id == connection_id)).mappings()
    found = row.first()
    return None if found is None else _state(found)


def due_times(tx: Transaction) -> dict[UUID, datetime]:
    """When each connection is due next, of those that are."""
    query = sa.select(schedule_states.c.connection_id, schedule_states.c.next_due_at)
    rows = tx.execute(query.where(schedule_states.c.next_due_at.is_not(None)))
    return {row[0]: row[1] for row in rows}


def fingerprints(tx: Transaction) -> dict[UUID, tuple[str, bool]]:
    """Of each connection that has a state: the schedule that it was made from, and whether due times wait."""
    columns = (
        schedule_states.c.connection_id,
        schedule_states.c.fingerprint,
        schedule_states.c.waiting_first_at.is_not(None),
    )
    return {row[0]: (row[1], bool(row[2])) for row in tx.execute(sa.select(*columns))}


def due(tx: Transaction, at: datetime, limit: int) -> list[ScheduleState]:
    """Those that are due by ``at``, longest due first."""
    query = (
        sa.select(schedule_states)
        .where(schedule_states.c.next_due_at <= at)
        .order_by(schedule_states.c.next_due_at, schedule_states.c.connection_id)
        .limit(limit)
    )
    return [_state(row) for row in tx.execute(query).mappings()]


def next_due_at(tx: Transaction) -> datetime | None:
    """When anything is due next."""
    found = tx.execute(
        sa.select(schedule_states.c.next_due_at)
        .where(schedule_states.c.next_due_at.is_not(None))
        .order_by(schedule_states.c.next_due_at)
        .limit(1)
    ).scalar()
    return found if isinstance(found, datetime) else None


def insert_many(tx: Transaction, states: Sequence[ScheduleState]) -> None:
    if states:
        tx.execute(sa.insert(schedule_states), [{"connection_id": s.connection_id, **_values(s)} for s in states])


def update_many(tx: Transaction, states: Sequence[ScheduleState]) -> None:
    """Replace states that exist."""
    if states:
        at = schedule_states.c.connection_id == sa.bindparam("of")
        tx.execute(sa.update(schedule_states).where(at), [{"of": s.connection_id, **_values(s)} for s in states])


def _values(state: ScheduleState) -> dict[str, Any]:
    return {
        "fingerprint": state.fingerprint,
        "next_due_at": state.next_due_at,
        "waiting_first_at": state.waiting.first if state.waiting else None,
        "waiting_last_at": state.waiting.last if state.waiting else None,
        "waiting_count": state.waiting.count if state.waiting else 0,
        "waiting_cause": state.waiting_cause,
        "marks": dict(state.marks),
        "looked_at": state.looked_at,
    }


def add_waiting(tx: Transaction, connection: StoredConnection, due: DueTimes, cause: JobCause) -> None:
    """Let a due time wait for a busy connection, together with those that wait already. A connection without a schedule
    gets a state that is never due by itself."""
    state = find(tx, connection.id)
    if state is None:
        kept = ScheduleState(
            connection_id=connection.id,
            fingerprint="",
            next_due_at=None,
            waiting=due,
            waiting_cause=cause,
            marks={},
            looked_at=None,
        )
        insert_many(tx, [kept])
        return
    if state.waiting is not None:
        due = DueTimes(
            first=min(state.waiting.first, due.first),
            last=max(state.waiting.last, due.last),
            count=state.waiting.count + due.count,
        )
    update_many(tx, [replace(state, waiting=due, waiting_cause=state.waiting_cause or cause)])


def stamp(tx: Transaction) -> tuple[int, datetime | None]:
    """Differs after any connection was made, changed or deleted."""
    row = tx.execute(sa.select(sa.func.count(), sa.func.max(connections.c.updated_at))).one()
    return row[0], row[1]


def ready(tx: Transaction) -> list[ScheduleState]:
    """Those with due times that found their connection busy, and find it free now; longest waiting first."""
    busy = sa.exists().where(
        jobs.c.connection_id == schedule_states.c.connection_id,
        jobs.c.status.in_([status.value for status in JobStatus if status.active]),
    )
    query = (
        sa.select(schedule_states)
        .where(schedule_states.c.waiting_first_at.is_not(None), ~busy)
        .order_by(schedule_states.c.waiting_first_at)
    )
    return [_state(row) for row in tx.execute(query).mappings()]


def delete(tx: Transaction, connection_ids: Sequence[UUID]) -> None:
    tx.execute(sa.delete(schedule_states).where(schedule_states.c.connection_id.in_(connection_ids)))


def _state(row: Any) -> ScheduleState:
    waits = None
    if row["waiting_first_at"] is not None:
        waits = DueTimes(first=row["waiting_first_at"], last=row["waiting_last_at"], count=row["waiting_count"])
    return ScheduleState(
        connection_id=row["connection_id"],
        fingerprint=row["fingerprint"],
        next_due_at=row["next_due_at"],
        waiting=waits,
        waiting_cause=row["waiting_cause"],
        marks=row["marks"],
        looked_at=row["looked_at"],
    )
