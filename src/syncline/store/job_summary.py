"""Jobs in few numbers: what a scrape or an alarm looks at every some seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa

from syncline.core.errors import SynclineError
from syncline.store.database import Transaction
from syncline.store.job_tables import jobs
from syncline.store.job_values import JobStatus, JobType
from syncline.store.tables import connections

__all__ = ["ConnectionSummary", "LastEnd", "active_by_status", "last_ends", "of_connections"]


@dataclass(frozen=True, kw_only=True)
class ConnectionSummary:
    """An active connection and when it last succeeded (None: never since jobs are remembered)."""

    id: UUID
    workspace_id: UUID
    name: str
    created_at: datetime
    last_success_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class LastEnd:
    """How the last run of a connection ended that was not cancelled."""

    connection_id: UUID
    job_id: int
    succeeded: bool
    error: SynclineError | None
    seconds: float
    rows: int


def last_ends(tx: Transaction) -> list[LastEnd]:
    """Of every active connection that has run."""
    order = (jobs.c.created_at.desc(), jobs.c.id.desc())
    number = sa.func.row_number().over(partition_by=jobs.c.connection_id, order_by=order).label("number")
    columns = (jobs.c.connection_id, jobs.c.id, jobs.c.status, jobs.c.error, jobs.c.started_at, jobs.c.ended_at)
    ended = (
        sa.select(*columns, jobs.c.rows_synced, number)
        .join(connections, connections.c.id == jobs.c.connection_id)
        .where(
            connections.c.status == "active",
            connections.c.deleted_at.is_(None),
            jobs.c.status.in_([JobStatus.SUCCEEDED.value, JobStatus.FAILED.value]),
            jobs.c.type.in_([JobType.SYNC.value, JobType.REFRESH.value]),
        )
        .subquery()
    )
    found = tx.execute(sa.select(ended).where(ended.c.number == 1)).mappings()
    return [
        LastEnd(
            connection_id=row["connection_id"],
            job_id=row["id"],
            succeeded=row["status"] == JobStatus.SUCCEEDED.value,
            error=SynclineError.from_json(row["error"]) if row["error"] else None,
            seconds=(row["ended_at"] - row["started_at"]).total_seconds() if row["started_at"] else 0.0,
            rows=row["rows_synced"],
        )
        for row in found
    ]


def active_by_status(tx: Transaction) -> Mapping[str, int]:
    """How many jobs wait and run; every active status is there."""
    active = [status for status in JobStatus if status.active]
    counted = sa.select(jobs.c.status, sa.func.count()).where(jobs.c.status.in_(active)).group_by(jobs.c.status)
    return {status.value: 0 for status in active} | {row[0]: row[1] for row in tx.execute(counted)}


def of_connections(tx: Transaction) -> list[ConnectionSummary]:
    """Every active connection, by name."""
    last = (
        sa.select(jobs.c.ended_at)
        .where(
            jobs.c.connection_id == connections.c.id,
            jobs.c.status == JobStatus.SUCCEEDED.value,
            jobs.c.type.in_([JobType.SYNC.value, JobType.REFRESH.value]),
        )
        .order_by(jobs.c.created_at.desc(), jobs.c.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    query = (
        sa.select(
            connections.c.id,
            connections.c.workspace_id,
            connections.c.name,
            connections.c.created_at,
            last.label("last_success_at"),
        )
        .where(connections.c.status == "active", connections.c.deleted_at.is_(None))
        .order_by(connections.c.name)
    )
    return [ConnectionSummary(**row) for row in tx.execute(query).mappings()]
