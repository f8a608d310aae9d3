"""Attempts and their streams in the store. Written by the leading server's supervisor only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from syncline.core.errors import SynclineError
from syncline.core.stream import StreamName
from syncline.store.database import Transaction
from syncline.store.job_tables import attempts, jobs, stream_statuses
from syncline.store.job_values import Attempt, AttemptStatus, Job, StreamStatus

__all__ = ["end", "insert", "of_jobs", "running", "save_progress", "save_streams", "set_process"]


#: Made once: asked for at every poll, and composing them costs more than running them.
_OF_JOBS = (
    sa.select(attempts)
    .where(attempts.c.job_id.in_(sa.bindparam("job_ids", expanding=True)))
    .order_by(attempts.c.job_id, attempts.c.number)
)
_OF_ATTEMPTS = (
    sa.select(stream_statuses)
    .where(stream_statuses.c.attempt_id.in_(sa.bindparam("attempt_ids", expanding=True)))
    .order_by(stream_statuses.c.attempt_id, stream_statuses.c.stream)
)


def insert(tx: Transaction, job: Job, host: str, at: datetime) -> Attempt:
    """The attempt of a job that was just started; its number is the job's count of attempts."""
    number = tx.execute(
        sa.insert(attempts)
        .values(
            job_id=job.id,
            number=job.attempts,
            status=AttemptStatus.RUNNING.value,
            host=host,
            journal_offset=0,
            created_at=at,
            updated_at=at,
            committed=False,
            rows_read=0,
            rows_written=0,
            bytes_read=0,
        )
        .returning(attempts.c.id)
    ).scalar_one()
    return Attempt(
        id=number,
        job_id=job.id,
        number=job.attempts,
        status=AttemptStatus.RUNNING,
        host=host,
        process=None,
        created_at=at,
        updated_at=at,
    )


def set_process(tx: Transaction, attempt_id: int, process: str) -> None:
    """Remember the process, for people; what proves that it lives is its lock."""
    tx.execute(sa.update(attempts).where(attempts.c.id == attempt_id).values(process=process))


def running(tx: Transaction) -> list[Attempt]:
    """Attempts that have not been ended, oldest first, with what is known of their streams."""
    query = sa.select(attempts).where(attempts.c.status == AttemptStatus.RUNNING.value).order_by(attempts.c.id)
    return _with_streams(tx, [_attempt(row) for row in tx.execute(query).mappings()])


def of_jobs(tx: Transaction, job_ids: Sequence[int]) -> dict[int, list[Attempt]]:
    """The attempts of each job, oldest first."""
    if not job_ids:
        return {}
    rows = tx.execute(_OF_JOBS, {"job_ids": list(job_ids)}).mappings()
    found: dict[int, list[Attempt]] = {}
    for attempt in _with_streams(tx, [_attempt(row) for row in rows]):
        found.setdefault(attempt.job_id, []).append(attempt)
    return found


def save_progress(tx: Transaction, attempt: Attempt, at: datetime) -> None:
    """How far the journal was read and what it said, in one act: after a crash it goes on there and counts nothing
    twice."""
    tx.execute(
        sa.update(attempts)
        .where(attempts.c.id == attempt.id, attempts.c.status == AttemptStatus.RUNNING.value)
        .values(
            journal_offset=attempt.journal_offset,
            committed=attempt.committed,
            rows_read=attempt.rows_read,
            rows_written=attempt.rows_written,
            bytes_read=attempt.bytes_read,
            updated_at=at,
        )
    )
    # What clients see of a running job; the sums of a job that has ended are set with its last status.
    of_job = sa.select(
        sa.func.coalesce(sa.func.sum(attempts.c.rows_written), 0),
        sa.func.coalesce(sa.func.sum(attempts.c.bytes_read), 0),
    ).where(attempts.c.job_id == attempt.job_id)
    rows, size = tx.execute(of_job).one()
    tx.execute(
        sa.update(jobs).where(jobs.c.id == attempt.job_id).values(rows_synced=rows, bytes_synced=size, updated_at=at)
    )


def save_streams(tx: Transaction, attempt_id: int, streams: Mapping[str, StreamStatus]) -> None:
    """Replace the named streams' rows; the keys are the streams as the attempt's events name them."""
    if not streams:
        return
    tx.execute(
        sa.delete(stream_statuses).where(
            stream_statuses.c.attempt_id == attempt_id, stream_statuses.c.stream.in_(list(streams))
        )
    )
    tx.execute(
        sa.insert(stream_statuses),
        [
            {
                "attempt_id": attempt_id,
                "stream": key,
                "namespace": status.stream.namespace,
                "name": status.stream.name,
                "status": status.status,
                "rows_read": status.rows_read,
                "rows_written": status.rows_written,
                "rows_quarantined": status.rows_quarantined,
                "bytes_read": status.bytes_read,
                "error": status.error.to_json() if status.error else None,
                "started_at": status.started_at,
                "ended_at": status.ended_at,
            }
            for key, status in streams.items()
        ],
    )


def end(
    tx: Transaction, attempt: Attempt, status: AttemptStatus, at: datetime, error: SynclineError | None = None
) -> bool:
    """running -> ``status``; False when it was ended before."""
    done = tx.execute(
        sa.update(attempts)
        .where(attempts.c.id == attempt.id, attempts.c.status == AttemptStatus.RUNNING.value)
        .values(
            status=status.value,
            ended_at=at,
            updated_at=at,
            error=error.to_json() if error else None,
            journal_offset=attempt.journal_offset,
            committed=attempt.committed,
            rows_read=attempt.rows_read,
            rows_written=attempt.rows_written,
            bytes_read=attempt.bytes_read,
        )
    )
    return done.rowcount == 1


def _with_streams(tx: Transaction, found: list[Attempt]) -> list[Attempt]:
    if not found:
        return found
    streams: dict[int, list[StreamStatus]] = {}
    for row in tx.execute(_OF_ATTEMPTS, {"attempt_ids": [a.id for a in found]}).mappings():
        streams.setdefault(row["attempt_id"], []).append(_stream(row))
    return [replace(a, streams=tuple(streams.get(a.id, ()))) for a in found]


def _stream(row: Any) -> StreamStatus:
    return StreamStatus(
        stream=StreamName(namespace=row["namespace"], name=row["name"]),
        status=row["status"],
        rows_read=row["rows_read"],
        rows_written=row["rows_written"],
        rows_quarantined=row["rows_quarantined"],
        bytes_read=row["bytes_read"],
        error=None if row["error"] is None else SynclineError.from_json(row["error"]),
        started_at=row["started_at"],
        ended_at=row["ended_at"],
    )


def _attempt(row: Any) -> Attempt:
    return Attempt(
        id=row["id"],
        job_id=row["job_id"],
        number=row["number"],
        status=AttemptStatus(row["status"]),
        host=row["host"],
        process=row["process"],
        journal_offset=row["journal_offset"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        ended_at=row["ended_at"],
        committed=row["committed"],
        rows_read=row["rows_read"],
        rows_written=row["rows_written"],
        bytes_read=row["bytes_read"],
        error=None if row["error"] is None else SynclineError.from_json(row["error"]),
    )
