"""The last runs of every connection, in one look: what a page of all connections shows."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa

from syncline.core.errors import SynclineError
from syncline.store.database import Transaction
from syncline.store.job_tables import jobs
from syncline.store.job_values import JobStatus, JobType

__all__ = ["Run", "last_successes", "recent"]

#: What moves data; clearing is no run that says how fresh the data is.
_READING = [JobType.SYNC.value, JobType.REFRESH.value]


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a list shows of a job."""

    id: int
    connection_id: UUID
    type: JobType
    status: JobStatus
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    updated_at: datetime
    rows: int
    size: int
    attempts: int
    error: SynclineError | None


def recent(tx: Transaction, workspaces: Collection[UUID] | None, each: int) -> dict[UUID, list[Run]]:
    """For each connection in these workspaces (None: in all) its newest ``each`` jobs, newest first."""
    place = sa.func.row_number().over(
        partition_by=jobs.c.connection_id, order_by=(jobs.c.created_at.desc(), jobs.c.id.desc())
    )
    columns = (
        jobs.c.id,
        jobs.c.connection_id,
        jobs.c.type,
        jobs.c.status,
        jobs.c.created_at,
        jobs.c.started_at,
        jobs.c.ended_at,
        jobs.c.updated_at,
        jobs.c.rows_synced,
        jobs.c.bytes_synced,
        jobs.c.attempts,
        jobs.c.error,
    )
    query = sa.select(*columns, place.label("place"))
    if workspaces is not None:
        query = query.where(jobs.c.workspace_id.in_(workspaces))
    numbered = query.subquery()
    newest = sa.select(numbered).where(numbered.c.place <= each).order_by(numbered.c.connection_id, numbered.c.place)
    found: dict[UUID, list[Run]] = {}
    for row in tx.execute(newest):
        run = Run(
            id=row.id,
            connection_id=row.connection_id,
            type=JobType(row.type),
            status=JobStatus(row.status),
            created_at=row.created_at,
            started_at=row.started_at,
            ended_at=row.ended_at,
            updated_at=row.updated_at,
            rows=row.rows_synced,
            size=row.bytes_synced,
            attempts=row.attempts,
            error=None if row.error is None else SynclineError.from_json(row.error),
        )
        found.setdefault(run.connection_id, []).append(run)
    return found


def last_successes(tx: Transaction, workspaces: Collection[UUID] | None) -> dict[UUID, datetime]:
    """When each connection's last successful run began: what the source had then is at the destination."""
    query = (
        sa.select(jobs.c.connection_id, sa.func.max(sa.func.coalesce(jobs.c.started_at, jobs.c.created_at)))
        .where(jobs.c.type.in_(_READING), jobs.c.status == JobStatus.SUCCEEDED.value)
        .group_by(jobs.c.connection_id)
    )
    if workspaces is not None:
        query = query.where(jobs.c.workspace_id.in_(workspaces))
    return {row[0]: row[1] for row in tx.execute(query)}
