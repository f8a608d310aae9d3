"""Jobs in few numbers: what a scrape or an alarm looks at every some seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa

from syncline.store.database import Transaction
from syncline.store.job_tables import jobs
from syncline.store.job_values import JobStatus, JobType
from syncline.store.tables import connections

__all__ = ["ConnectionSummary", "active_by_status", "of_connections"]


@dataclass(frozen=True, kw_only=True)
class ConnectionSummary:
    """An active connection and when it last succeeded (None: never since jobs are remembered)."""

    id: UUID
    workspace_id: UUID
    name: str
    created_at: datetime
    last_success_at: datetime | None


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
