"""What happened to jobs, as a list that only grows at its end: for following along, and for looking back some days."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from syncline.store.database import Transaction
from syncline.store.job_tables import job_events
from syncline.store.job_values import Job, JobEvent, JobEventKind

__all__ = ["add_many", "after", "newest", "newest_of_kind", "prune", "record", "row"]


def record(tx: Transaction, job: Job, kind: JobEventKind, at: datetime, **data: Any) -> None:
    """Add an event of a job; ``data`` is JSON without secrets."""
    told = {"type": job.type.value, **data}
    add_many(tx, [row(kind, at, job.connection_id, job.workspace_id, job_id=job.id, data=told)])


def add_many(tx: Transaction, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add events made by :func:`row`."""
    if rows:
        tx.execute(sa.insert(job_events), [dict(each) for each in rows])


def row(
    kind: JobEventKind,
    at: datetime,
    connection_id: UUID,
    workspace_id: UUID,
    *,
    job_id: int,
    data: Mapping[str, Any],
) -> dict[str, Any]:
    """An event for :func:`add_many`."""
    return {
        "at": at,
        "job_id": job_id,
        "connection_id": connection_id,
        "workspace_id": workspace_id,
        "kind": kind,
        "data": dict(data),
    }


def newest(tx: Transaction) -> int:
    """The id of the last event, 0 when there is none."""
    return int(tx.execute(sa.select(sa.func.max(job_events.c.id))).scalar() or 0)


def after(
    tx: Transaction,
    last: int,
    *,
    workspace_ids: Sequence[UUID] = (),
    connection_id: UUID | None = None,
    job_id: int | None = None,
    limit: int = 100,
) -> list[JobEvent]:
    """Events later than the one with id ``last``, oldest first."""
    query = sa.select(job_events).where(job_events.c.id > last).order_by(job_events.c.id).limit(limit)
    if workspace_ids:
        query = query.where(job_events.c.workspace_id.in_(workspace_ids))
    if connection_id is not None:
        query = query.where(job_events.c.connection_id == connection_id)
    if job_id is not None:
        query = query.where(job_events.c.job_id == job_id)
    return [JobEvent(**row) for row in tx.execute(query).mappings()]


def newest_of_kind(tx: Transaction, connection_id: UUID, kind: JobEventKind, *, limit: int) -> list[JobEvent]:
    """The last events of one kind of a connection, oldest first."""
    query = (
        sa.select(job_events)
        .where(job_events.c.connection_id == connection_id, job_events.c.kind == kind)
        .order_by(job_events.c.id.desc())
        .limit(limit)
    )
    return [JobEvent(**row) for row in tx.execute(query).mappings()][::-1]


def prune(tx: Transaction, before: datetime) -> int:
    """Forget events older than ``before``; returns how many."""
    return tx.execute(sa.delete(job_events).where(job_events.c.at < before)).rowcount
