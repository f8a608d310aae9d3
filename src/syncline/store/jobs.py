"""Jobs in the store. Each change of a job's status is one conditional update: whoever comes second changes nothing.

Functions over a transaction; the ones that change something belong into ``Database.write()``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from syncline.core.errors import SynclineError
from syncline.core.stream import StreamName
from syncline.store import job_events
from syncline.store.database import Transaction
from syncline.store.job_tables import attempts, jobs
from syncline.store.job_values import DueTimes, Job, JobFilter, JobStatus, JobType, NewJob
from syncline.store.paging import Listed, Page, listed
from syncline.store.tables import actors, connections, workspaces

__all__ = [
    "active_among",
    "active_of",
    "ask_to_cancel",
    "cancel_waiting",
    "count",
    "find",
    "insert",
    "insert_many",
    "jobs_listed",
    "last_ended",
    "latest",
    "limits_of_places",
    "next_ready_at",
    "prune",
    "ready",
    "running",
    "settle",
    "start",
    "to_cancel",
    "unwanted",
]

_ACTIVE = [status.value for status in JobStatus if status.active]
_WAITING = [JobStatus.PENDING.value, JobStatus.INCOMPLETE.value]


def insert(tx: Transaction, new: NewJob, at: datetime) -> Job | None:
    """Add a pending job; None when the connection has an active one already, however close the race."""
    number = insert_many(tx, [new], at).get(new.connection_id)
    return None if number is None else find(tx, number)


def insert_many(tx: Transaction, news: Sequence[NewJob], at: datetime) -> dict[UUID, int]:
    """Add pending jobs of different connections; returns the new numbers by connection. One whose connection has an
    active job is left out."""
    if not news:
        return {}
    make = postgresql.insert if tx.dialect.name == "postgresql" else sqlite.insert
    # The rows are parameters beside the statement, not part of it: composing a statement of a thousand rows costs more
    # than a second of processor time.
    statement = make(jobs).on_conflict_do_nothing().returning(jobs.c.connection_id, jobs.c.id)
    numbers = {row[0]: row[1] for row in tx.execute(statement, [_new_row(new, at) for new in news])}
    job_events.add_many(
        tx,
        [
            job_events.row(
                "created",
                at,
                new.connection_id,
                new.workspace_id,
                job_id=numbers[new.connection_id],
                data={"type": new.type.value, "cause": new.cause, "caller": new.caller},
            )
            for new in news
            if new.connection_id in numbers
        ],
    )
    return numbers


def _new_row(new: NewJob, at: datetime) -> dict[str, Any]:
    return {
        "type": new.type.value,
        "status": JobStatus.PENDING.value,
        "connection_id": new.connection_id,
        "workspace_id": new.workspace_id,
        "source_id": new.source_id,
        "destination_id": new.destination_id,
        "cause": new.cause,
        "caller": new.caller,
        "priority": new.priority,
        "sync_id": new.sync_id,
        "streams": None if new.streams is None else [name.to_json() for name in new.streams],
        "retain": new.retain,
        "due_first_at": new.due.first if new.due else None,
        "due_at": new.due.last if new.due else None,
        "due_count": new.due.count if new.due else 0,
        "created_at": at,
        "updated_at": at,
        "attempts": 0,
        "failures": 0,
        "rows_synced": 0,
        "bytes_synced": 0,
    }


def find(tx: Transaction, job_id: int, *, lock: bool = False) -> Job | None:
    """The job; with ``lock`` nobody else changes it until the transaction ends."""
    row = tx.execute(_FIND.with_for_update() if lock else _FIND, {"job_id": job_id}).mappings().first()
    return None if row is None else _job(row)


#: Made once: asked for at every poll of every client, and composing it costs more than running it.
_FIND = sa.select(jobs).where(jobs.c.id == sa.bindparam("job_id"))


def active_of(tx: Transaction, connection_id: UUID) -> Job | None:
    """The connection's pending, running or incomplete job; there is at most one."""
    query = sa.select(jobs).where(jobs.c.connection_id == connection_id, jobs.c.status.in_(_ACTIVE))
    row = tx.execute(query).mappings().first()
    return None if row is None else _job(row)


def active_among(tx: Transaction, connection_ids: Sequence[UUID]) -> dict[UUID, Job]:
    """The active jobs of those connections that have one."""
    query = sa.select(jobs).where(jobs.c.connection_id.in_(connection_ids), jobs.c.status.in_(_ACTIVE))
    return {job.connection_id: job for job in (_job(row) for row in tx.execute(query).mappings())}


def latest(tx: Transaction, connection_id: UUID, types: Sequence[JobType] = ()) -> Job | None:
    """The connection's newest job of these types (of any when none are given)."""
    query = sa.select(jobs).where(jobs.c.connection_id == connection_id)
    if types:
        query = query.where(jobs.c.type.in_([t.value for t in types]))
    row = tx.execute(query.order_by(jobs.c.created_at.desc(), jobs.c.id.desc()).limit(1)).mappings().first()
    return None if row is None else _job(row)


def last_ended(tx: Transaction, connection_ids: Sequence[UUID], statuses: Sequence[JobStatus]) -> dict[UUID, int]:
    """For each connection the number of its newest sync or refresh that ended in one of ``statuses``."""
    query = (
        sa.select(jobs.c.connection_id, sa.func.max(jobs.c.id))
        .where(
            jobs.c.connection_id.in_(connection_ids),
            jobs.c.type.in_([JobType.SYNC.value, JobType.REFRESH.value]),
            jobs.c.status.in_([status.value for status in statuses]),
        )
        .group_by(jobs.c.connection_id)
    )
    return {row[0]: row[1] for row in tx.execute(query)}


def ready(
    tx: Transaction,
    at: datetime,
    *,
    following: bool | None = None,
    full: Collection[UUID] = (),
    limit: int | None = None,
) -> list[Job]:
    """Waiting jobs whose time has come, in the order in which they should start. ``following`` True or False wants only
    those that follow a log, or the others; those that want one of the ``full`` places are left out."""
    query = sa.select(jobs).where(
        jobs.c.status.in_(_WAITING),
        sa.or_(jobs.c.not_before.is_(None), jobs.c.not_before <= at),
        jobs.c.cancel_requested_at.is_(None),
    )
    if following is not None:
        query = query.where(jobs.c.cause == "continuous" if following else jobs.c.cause != "continuous")
    if full:
        for place in (jobs.c.workspace_id, jobs.c.source_id, jobs.c.destination_id):
            query = query.where(place.not_in(full))
    query = query.order_by(jobs.c.priority.desc(), jobs.c.id).limit(limit)
    return [_job(row) for row in tx.execute(query).mappings()]


def next_ready_at(tx: Transaction, after: datetime) -> datetime | None:
    """When the next waiting job may start that may not yet."""
    query = sa.select(sa.func.min(jobs.c.not_before)).where(jobs.c.status.in_(_WAITING), jobs.c.not_before > after)
    found = tx.execute(query).scalar()
    return found if isinstance(found, datetime) else None


def limits_of_places(tx: Transaction) -> dict[UUID, int]:
    """The limits of those workspaces, sources and destinations that have one."""
    found: dict[UUID, int] = {}
    for table in (workspaces, actors):
        rows = tx.execute(sa.select(table.c.id, table.c.max_jobs).where(table.c.max_jobs.is_not(None)))
        found.update({row[0]: row[1] for row in rows})
    return found


def unwanted(tx: Transaction) -> list[Job]:
    """Active jobs that should not go on: of a deleted or deprecated connection any, of an inactive one those that
    read."""
    reads = jobs.c.type.in_([JobType.SYNC.value, JobType.REFRESH.value])
    query = (
        sa.select(jobs)
        .join(connections, connections.c.id == jobs.c.connection_id)
        .where(
            jobs.c.status.in_(_ACTIVE),
            jobs.c.cancel_requested_at.is_(None),
            sa.or_(
                connections.c.deleted_at.is_not(None),
                connections.c.status == "deprecated",
                sa.and_(connections.c.status == "inactive", reads),
            ),
        )
    )
    return [_job(row) for row in tx.execute(query).mappings()]


def to_cancel(tx: Transaction) -> list[int]:
    """Running jobs that somebody asked to stop."""
    query = sa.select(jobs.c.id).where(
        jobs.c.status == JobStatus.RUNNING.value, jobs.c.cancel_requested_at.is_not(None)
    )
    return [row[0] for row in tx.execute(query)]


def running(tx: Transaction) -> list[Job]:
    """Every job that has an attempt under way."""
    query = sa.select(jobs).where(jobs.c.status == JobStatus.RUNNING.value).order_by(jobs.c.id)
    return [_job(row) for row in tx.execute(query).mappings()]


def start(tx: Transaction, job: Job, at: datetime) -> Job | None:
    """pending or incomplete -> running, and one more attempt; None when somebody was faster."""
    done = tx.execute(
        sa.update(jobs)
        .where(
            jobs.c.id == job.id,
            jobs.c.status == job.status.value,
            jobs.c.attempts == job.attempts,
            jobs.c.cancel_requested_at.is_(None),
        )
        .values(
            status=JobStatus.RUNNING.value,
            attempts=job.attempts + 1,
            started_at=job.started_at or at,
            updated_at=at,
            not_before=None,
        )
    )
    if done.rowcount != 1:
        return None
    started = find(tx, job.id)
    assert started is not None
    job_events.record(tx, started, "started", at, attempt=started.attempts)
    return started


def settle(
    tx: Transaction,
    job: Job,
    status: JobStatus,
    at: datetime,
    *,
    error: SynclineError | None = None,
    not_before: datetime | None = None,
    failures: int = 0,
) -> bool:
    """running -> ``status`` (or incomplete -> failed); False when the job has left the status that ``job`` shows."""
    done = tx.execute(
        sa.update(jobs)
        .where(jobs.c.id == job.id, jobs.c.status == job.status.value, jobs.c.attempts == job.attempts)
        .values(
            status=status.value,
            updated_at=at,
            ended_at=None if status.active else at,
            not_before=not_before,
            failures=failures,
            error=error.to_json() if error else None,
            rows_synced=_sum(attempts.c.rows_written, job.id),
            bytes_synced=_sum(attempts.c.bytes_read, job.id),
        )
    )
    if done.rowcount != 1:
        return False
    told: dict[str, Any] = {"attempt": job.attempts}
    if error is not None:
        told["error"] = error.to_json()
    if status is JobStatus.INCOMPLETE:
        job_events.record(tx, job, "retrying", at, not_before=not_before.isoformat() if not_before else None, **told)
    elif status is JobStatus.SUCCEEDED:
        job_events.record(tx, job, "succeeded", at, **told)
    elif status is JobStatus.FAILED:
        job_events.record(tx, job, "failed", at, **told)
    else:
        job_events.record(tx, job, "cancelled", at, **told)
    return True


def _sum(column: sa.Column[Any], job_id: int) -> Any:
    return sa.select(sa.func.coalesce(sa.func.sum(column), 0)).where(attempts.c.job_id == job_id).scalar_subquery()


def ask_to_cancel(tx: Transaction, job: Job, at: datetime, caller: str, reason: str = "") -> bool:
    """Mark a running job to be stopped; the supervisor does it. False when it is marked already or has ended."""
    done = tx.execute(
        sa.update(jobs)
        .where(jobs.c.id == job.id, jobs.c.status == JobStatus.RUNNING.value, jobs.c.cancel_requested_at.is_(None))
        .values(cancel_requested_at=at, updated_at=at)
    )
    if done.rowcount == 1:
        job_events.record(tx, job, "cancel_requested", at, caller=caller, reason=reason)
    return done.rowcount == 1


def cancel_waiting(tx: Transaction, job: Job, at: datetime, caller: str, reason: str = "") -> bool:
    """pending or incomplete -> cancelled, at once; False when it has started or ended meanwhile."""
    done = tx.execute(
        sa.update(jobs)
        .where(jobs.c.id == job.id, jobs.c.status.in_(_WAITING))
        .values(status=JobStatus.CANCELLED.value, cancel_requested_at=at, updated_at=at, ended_at=at, not_before=None)
    )
    if done.rowcount == 1:
        job_events.record(tx, job, "cancelled", at, caller=caller, reason=reason)
    return done.rowcount == 1


def jobs_listed(tx: Transaction, which: JobFilter, page: Page) -> Listed[Job]:
    """One page, in the order asked for; ties are broken by number, so that pages never overlap."""
    column = jobs.c.created_at if which.order_by == "createdAt" else jobs.c.updated_at
    order = (column.desc(), jobs.c.id.desc()) if which.descending else (column, jobs.c.id)
    return listed(tx, _filtered(sa.select(jobs), which).order_by(*order), page, _jobs)


def count(tx: Transaction, which: JobFilter) -> int:
    return int(tx.execute(_filtered(sa.select(sa.func.count()).select_from(jobs), which)).scalar_one())


def prune(tx: Transaction, before: datetime, limit: int = 1000) -> int:
    """Delete at most ``limit`` jobs, with their attempts, that ended before that time and are not their connection's
    newest; returns how many."""
    newer = jobs.alias()
    old = (
        sa.select(jobs.c.id)
        .where(
            jobs.c.ended_at < before,
            sa.exists().where(newer.c.connection_id == jobs.c.connection_id, newer.c.id > jobs.c.id),
        )
        .limit(limit)
    )
    numbers = [row[0] for row in tx.execute(old)]
    if numbers:
        tx.execute(sa.delete(jobs).where(jobs.c.id.in_(numbers)))
    return len(numbers)


def _filtered(query: sa.Select[Any], which: JobFilter) -> sa.Select[Any]:
    for column, wanted in (
        (jobs.c.connection_id, which.connection_ids),
        (jobs.c.workspace_id, which.workspace_ids),
        (jobs.c.type, [t.value for t in which.types]),
        (jobs.c.status, [s.value for s in which.statuses]),
    ):
        if len(wanted) == 1:
            query = query.where(column == wanted[0])  # an index can then give the order as well
        elif wanted:
            query = query.where(column.in_(wanted))
    if which.created_from is not None:
        query = query.where(jobs.c.created_at >= which.created_from)
    if which.created_to is not None:
        query = query.where(jobs.c.created_at <= which.created_to)
    if which.updated_from is not None:
        query = query.where(jobs.c.updated_at >= which.updated_from)
    if which.updated_to is not None:
        query = query.where(jobs.c.updated_at <= which.updated_to)
    return query


def _jobs(rows: Iterable[Any]) -> list[Job]:
    return [_job(row._mapping) for row in rows]


def _job(row: Any) -> Job:
    due = None
    if row["due_at"] is not None:
        due = DueTimes(first=row["due_first_at"], last=row["due_at"], count=row["due_count"])
    return Job(
        id=row["id"],
        type=JobType(row["type"]),
        status=JobStatus(row["status"]),
        connection_id=row["connection_id"],
        workspace_id=row["workspace_id"],
        source_id=row["source_id"],
        destination_id=row["destination_id"],
        cause=row["cause"],
        caller=row["caller"],
        priority=row["priority"],
        sync_id=row["sync_id"],
        streams=None if row["streams"] is None else tuple(StreamName.from_json(name) for name in row["streams"]),
        retain=row["retain"],
        due=due,
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        not_before=row["not_before"],
        cancel_requested_at=row["cancel_requested_at"],
        attempts=row["attempts"],
        failures=row["failures"],
        rows_synced=row["rows_synced"],
        bytes_synced=row["bytes_synced"],
        error=None if row["error"] is None else SynclineError.from_json(row["error"]),
    )
