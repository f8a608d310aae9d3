"""Use cases: ask for a job, cancel it, look at jobs. Running them is the supervisor's."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.stream import StreamName
from syncline.engine.stream_run import new_sync_id
from syncline.jobs.bell import BELL
from syncline.service.audit import record
from syncline.service.callers import Caller, Role
from syncline.service.control import Control
from syncline.service.errors import NotFoundError, invalid
from syncline.store import attempts as attempt_rows
from syncline.store import connections, schedule_states
from syncline.store import jobs as rows
from syncline.store.database import Transaction
from syncline.store.job_values import (
    Attempt,
    AttemptStatus,
    DueTimes,
    Job,
    JobCause,
    JobFilter,
    JobStatus,
    JobType,
    JobView,
    NewJob,
)
from syncline.store.paging import Listed, Page
from syncline.store.schema import now
from syncline.store.values import StoredConnection

__all__ = [
    "JobFilter",
    "active",
    "cancel",
    "count",
    "find",
    "get",
    "latest",
    "list",
    "start_or_wait",
    "trigger",
    "wait",
]

#: Other servers' changes are looked for this often while somebody waits.
_POLL_SECONDS = 0.25
_FIRST_PAGE = Page()


def trigger(
    control: Control,
    caller: Caller,
    connection_id: UUID,
    *,
    type: JobType = JobType.SYNC,  # noqa: A002 - the word of the API
    streams: Sequence[StreamName] | None = None,
    retain: bool = False,
    cause: JobCause = "api",
) -> JobView:
    """Ask for a job; returns at once, with the job pending. ``streams`` and ``retain`` are for clears and refreshes.

    Raises ``conflict`` when the connection has an active job (``where`` names it) or is not active."""
    with control.database.write() as tx:
        connection = _connection(tx, caller, connection_id, Role.RUNNER, lock=True)
        if connection.status != "active" and type in (JobType.SYNC, JobType.REFRESH):
            raise SynclineError(
                ErrorKind.CONFLICT,
                f"connection {connection.name!r} is {connection.status}",
                hint=connection.status_reason or "make it active, then start it",
                where={"connection": str(connection_id)},
            )
        _check_streams(connection, streams)
        at = now()
        job = rows.insert(tx, _new(connection, type, streams, retain, cause, caller.name), at)
        if job is None:
            raise _already_running(tx, connection)
        record(
            tx, caller, f"job.{type.value}", "job", job.id, job.workspace_id, None, {"connection": str(connection_id)}
        )
    BELL.ring()
    return _view(job, [])


def start_or_wait(tx: Transaction, connection: StoredConnection, cause: JobCause, caller: str) -> Job | None:
    """Inside a transaction: a pending job, or, when the connection is busy, a due time that waits for it to be free
    (None). For events, which nobody repeats."""
    at = now()
    job = rows.insert(tx, _new(connection, JobType.SYNC, None, False, cause, caller), at)
    if job is None:
        schedule_states.add_waiting(tx, connection, DueTimes(first=at, last=at), cause)
    return job


def cancel(control: Control, caller: Caller, job_id: int, *, wait_seconds: float = 3.0) -> JobView:
    """Stop a job. One that waits is cancelled at once; a running one is asked to end, and waited for that long at most:
    the answer may still show it running. Raises ``conflict`` for one that has ended."""
    with control.database.write() as tx:
        job = _job(tx, caller, job_id, Role.RUNNER, lock=True)
        if not job.status.active:
            raise SynclineError(
                ErrorKind.CONFLICT,
                f"job {job_id} has ended: it {_ENDED[job.status]}",
                hint="there is nothing to cancel",
                where={"job": job_id},
            )
        if not rows.cancel_waiting(tx, job, now(), caller.name):
            rows.ask_to_cancel(tx, job, now(), caller.name)
        record(tx, caller, "job.cancel", "job", job.id, job.workspace_id)
    BELL.ring()
    return wait(control, caller, job_id, wait_seconds)


_ENDED = {JobStatus.SUCCEEDED: "succeeded", JobStatus.FAILED: "failed", JobStatus.CANCELLED: "was cancelled"}


def wait(control: Control, caller: Caller, job_id: int, seconds: float) -> JobView:
    """The job as soon as it has ended, or as it is after ``seconds``. Blocks."""
    deadline = time.monotonic() + seconds
    while True:
        heard = BELL.count
        view = get(control, caller, job_id)
        left = deadline - time.monotonic()
        if not view.job.status.active or left <= 0:
            return view
        BELL.wait(heard, min(left, _POLL_SECONDS))


def find(control: Control, caller: Caller, job_id: int) -> Job:
    """The job alone."""
    with control.database.read() as tx:
        return _job(tx, caller, job_id, Role.READER)


def get(control: Control, caller: Caller, job_id: int) -> JobView:
    """The job with its attempts."""
    with control.database.read() as tx:
        job = _job(tx, caller, job_id, Role.READER)
        return _view(job, attempt_rows.of_jobs(tx, [job.id]).get(job.id, []))


def list(  # noqa: A001 - called as jobs.list
    control: Control,
    caller: Caller,
    which: JobFilter,
    *,
    page: Page = _FIRST_PAGE,
    attempts: bool = False,
) -> Listed[JobView]:
    """One page of the jobs that the caller may see. With ``attempts`` each has its own; otherwise only what every view
    has."""
    mine = _visible(caller, which)
    if mine is None:
        return Listed(items=(), more=False)
    with control.database.read() as tx:
        found = rows.jobs_listed(tx, mine, page)
        known = attempt_rows.of_jobs(tx, [job.id for job in found.items]) if attempts else {}
    return Listed(items=tuple(_view(job, known.get(job.id, [])) for job in found.items), more=found.more)


def count(control: Control, caller: Caller, which: JobFilter) -> int:
    """How many there are in all pages."""
    mine = _visible(caller, which)
    if mine is None:
        return 0
    with control.database.read() as tx:
        return rows.count(tx, mine)


def latest(
    control: Control, caller: Caller, connection_id: UUID, types: Sequence[JobType] = (JobType.SYNC,)
) -> JobView | None:
    """The connection's newest job of these types, None when there was none."""
    with control.database.read() as tx:
        _connection(tx, caller, connection_id, Role.READER)
        job = rows.latest(tx, connection_id, types)
        return None if job is None else _view(job, attempt_rows.of_jobs(tx, [job.id]).get(job.id, []))


def active(control: Control, caller: Caller, connection_id: UUID) -> Job | None:
    """The job that waits or runs for the connection, None when there is none."""
    with control.database.read() as tx:
        _connection(tx, caller, connection_id, Role.READER)
        return rows.active_of(tx, connection_id)


def _view(job: Job, attempts: Sequence[Attempt]) -> JobView:
    """Clients look at the last attempt of a job that they have only just asked for: there is always one."""
    if attempts:
        return JobView(job=job, attempts=tuple(attempts))
    first = Attempt(
        id=0,
        job_id=job.id,
        number=1,
        status=AttemptStatus.RUNNING if job.status.active else AttemptStatus.CANCELLED,
        host="",
        process=None,
        created_at=job.created_at,
        updated_at=job.updated_at,
        ended_at=job.ended_at,
    )
    return JobView(job=job, attempts=(first,))


def _visible(caller: Caller, which: JobFilter) -> JobFilter | None:
    """The filter with what the caller may see; None when that is nothing."""
    allowed = caller.among(frozenset(which.workspace_ids))
    if allowed is None:
        return which
    return replace(which, workspace_ids=tuple(sorted(allowed))) if allowed else None


def _job(tx: Transaction, caller: Caller, job_id: int, role: Role, *, lock: bool = False) -> Job:
    # Numbers beyond a 64-bit integer are no job's, and the database would complain.
    job = rows.find(tx, job_id, lock=lock) if 0 < job_id < 2**63 else None
    if job is None or not caller.may(Role.READER, job.workspace_id):
        raise NotFoundError("job", str(job_id))
    caller.require(role, job.workspace_id)
    return job


def _connection(
    tx: Transaction, caller: Caller, connection_id: UUID, role: Role, *, lock: bool = False
) -> StoredConnection:
    connection = connections.find(tx, connection_id, lock=lock)
    if connection is None or connection.deleted_at is not None or not caller.may(Role.READER, connection.workspace_id):
        raise NotFoundError("connection", connection_id)
    caller.require(role, connection.workspace_id)
    return connection


def _check_streams(connection: StoredConnection, streams: Sequence[StreamName] | None) -> None:
    if streams is None or connection.streams is None:
        return  # of a connection that takes everything, the attempt finds out
    known = {StreamName(namespace=s.namespace, name=s.name) for s in connection.streams}
    known |= {StreamName(name=s.name) for s in connection.streams}
    for stream in streams:
        if stream not in known and StreamName(name=stream.name) not in known:
            raise invalid("streams", f"the connection has no stream {str(stream)!r}")


def _new(
    connection: StoredConnection,
    type: JobType,  # noqa: A002
    streams: Sequence[StreamName] | None,
    retain: bool,
    cause: JobCause,
    caller: str,
) -> NewJob:
    return NewJob(
        connection_id=connection.id,
        workspace_id=connection.workspace_id,
        source_id=connection.source_id,
        destination_id=connection.destination_id,
        type=type,
        cause=cause,
        caller=caller,
        sync_id=new_sync_id(),
        priority=connection.options.priority,
        streams=None if streams is None else tuple(streams),
        retain=retain,
    )


def _already_running(tx: Transaction, connection: StoredConnection) -> SynclineError:
    other = rows.active_of(tx, connection.id)
    number = "" if other is None else f" {other.id}"
    return SynclineError(
        ErrorKind.CONFLICT,
        f"a job of connection {connection.name!r} is already running{f': job{number}' if number else ''}",
        hint="wait for it to end, or cancel it",
        where={"connection": str(connection.id), "job": None if other is None else other.id},
    )
