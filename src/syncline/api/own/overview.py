"""What a page that shows everything asks for: all connections at a glance, runs, and one job with all that is known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import Query

from syncline.api.context import CallerOf, ControlOf
from syncline.api.paging import PagingOf, WorkspaceIds, uuids
from syncline.api.public.jobs import job_number
from syncline.api.routes import Routes
from syncline.api.wire import WireModel
from syncline.core.errors import SynclineError
from syncline.service import jobs, overview
from syncline.service.overview import Glance
from syncline.store.job_values import Attempt, Job, JobFilter, JobStatus, StreamStatus
from syncline.store.run_history import Run

__all__ = ["overview_router"]

overview_router = Routes(tags=["Overview"])


class ErrorRead(WireModel):
    """``message`` is what happened, ``hint`` what to do, ``where`` the place. ``retryable``: it may pass by itself."""

    kind: str
    message: str
    hint: str = ""
    where: dict[str, str] = {}
    retryable: bool


class RunRead(WireModel):
    """``seconds`` from the first attempt's start to the end, or until it was last heard of."""

    job_id: int
    type: str
    status: str
    created_at: str
    started_at: str | None = None
    seconds: float | None = None
    rows: int
    bytes: int


class EndRead(WireModel):
    id: str
    name: str
    type: str


class TagRead(WireModel):
    tag_id: str
    name: str
    color: str


class FanOutRead(WireModel):
    """Connections that read one source together: the name of them all, and of the destination of this one."""

    connection: str
    destination: str


class GlanceRead(WireModel):
    """``expectedSeconds``: how old the data may get by the schedule; absent where that promises nothing. ``dataFrom``:
    the start of the last run that succeeded. ``error``: why the newest ended run failed, if it did. ``fanOut``: with
    whom it reads its source; absent when it reads alone."""

    connection_id: str
    workspace_id: str
    name: str
    status: str
    status_reason: str | None = None
    health: Literal["failing", "retrying", "late", "never", "running", "fresh", "paused"]
    source: EndRead
    destination: EndRead
    follows_log: bool
    fan_out: FanOutRead | None = None
    schedule_kind: str
    expected_seconds: float | None = None
    data_from: str | None = None
    next_run_at: str | None = None
    active_job_id: int | None = None
    tags: list[TagRead] = []
    recent: list[RunRead]
    error: ErrorRead | None = None


class Overview(WireModel):
    """``lastEvent``: where ``/events/stream`` goes on from what is told here."""

    connections: list[GlanceRead]
    last_event: int


class StreamRead(WireModel):
    """One stream in one attempt; counts are the attempt's."""

    name: str
    namespace: str | None = None
    status: str
    rows_read: int
    rows_written: int
    rows_quarantined: int
    bytes_read: int
    started_at: str | None = None
    ended_at: str | None = None
    error: ErrorRead | None = None


class AttemptRead(WireModel):
    number: int
    status: str
    started_at: str
    ended_at: str | None = None
    updated_at: str
    committed: bool
    rows_read: int
    rows_written: int
    bytes_read: int
    host: str
    error: ErrorRead | None = None
    streams: list[StreamRead]


class JobDetail(WireModel):
    """``cause`` is what asked for it (``api``, ``schedule``, …), ``caller`` who. ``notBefore``: when the next attempt
    may begin."""

    job_id: int
    connection_id: str
    workspace_id: str
    type: str
    status: str
    cause: str
    caller: str
    created_at: str
    updated_at: str
    started_at: str | None = None
    ended_at: str | None = None
    not_before: str | None = None
    cancel_requested_at: str | None = None
    rows: int
    bytes: int
    seconds: float | None = None
    only_streams: list[str] | None = None
    error: ErrorRead | None = None
    attempts: list[AttemptRead]


class RunList(WireModel):
    runs: list[JobDetail]
    next: str = ""
    previous: str = ""


def error_read(error: SynclineError | None) -> ErrorRead | None:
    if error is None:
        return None
    where = {key: str(value) for key, value in error.where.items()}
    return ErrorRead(
        kind=error.kind.value, message=error.message, hint=error.hint, where=where, retryable=error.policy.retry
    )


def _iso(moment: Any) -> str | None:
    return None if moment is None else moment.isoformat()


def _run(run: Run) -> RunRead:
    end = run.ended_at or run.updated_at
    return RunRead(
        job_id=run.id,
        type=run.type.value,
        status=run.status.value,
        created_at=run.created_at.isoformat(),
        started_at=_iso(run.started_at),
        seconds=None if run.started_at is None else round((end - run.started_at).total_seconds(), 3),
        rows=run.rows,
        bytes=run.size,
    )


def _fan_out(said: Mapping[str, str]) -> FanOutRead | None:
    return FanOutRead(connection=said["connection"], destination=said["destination"]) if said else None


def _glance(glance: Glance) -> GlanceRead:
    connection = glance.connection
    ended = next((run for run in glance.recent if not run.status.active), None)
    active = next((run for run in glance.recent if run.status.active), None)
    failed = ended is not None and ended.status is JobStatus.FAILED
    ends = [
        EndRead(id=str(actor_id), name=actor.name if actor else "(deleted)", type=actor.connector if actor else "")
        for actor_id, actor in (
            (connection.source_id, glance.source),
            (connection.destination_id, glance.destination),
        )
    ]
    return GlanceRead(
        connection_id=str(connection.id),
        workspace_id=str(connection.workspace_id),
        name=connection.name,
        status=connection.status,
        status_reason=connection.status_reason,
        health=glance.health.value,
        source=ends[0],
        destination=ends[1],
        follows_log=glance.follows_log,
        fan_out=_fan_out(connection.options.fan_out),
        schedule_kind=connection.schedule.kind,
        expected_seconds=None if glance.expected is None else glance.expected.total_seconds(),
        data_from=_iso(glance.data_from),
        next_run_at=_iso(glance.next_run_at),
        active_job_id=None if active is None else active.id,
        tags=[TagRead(tag_id=str(tag.id), name=tag.name, color=tag.color) for tag in connection.tags],
        recent=[_run(run) for run in glance.recent],
        error=error_read(ended.error) if failed and ended is not None else None,
    )


def _stream(stream: StreamStatus) -> StreamRead:
    return StreamRead(
        name=stream.stream.name,
        namespace=stream.stream.namespace,
        status=stream.status,
        rows_read=stream.rows_read,
        rows_written=stream.rows_written,
        rows_quarantined=stream.rows_quarantined,
        bytes_read=stream.bytes_read,
        started_at=_iso(stream.started_at),
        ended_at=_iso(stream.ended_at),
        error=error_read(stream.error),
    )


def _attempt(attempt: Attempt) -> AttemptRead:
    return AttemptRead(
        number=attempt.number,
        status=attempt.status.value,
        started_at=attempt.created_at.isoformat(),
        ended_at=_iso(attempt.ended_at),
        updated_at=attempt.updated_at.isoformat(),
        committed=attempt.committed,
        rows_read=attempt.rows_read,
        rows_written=attempt.rows_written,
        bytes_read=attempt.bytes_read,
        host=attempt.host,
        error=error_read(attempt.error),
        streams=[_stream(each) for each in attempt.streams],
    )


def _detail(job: Job, attempts: tuple[Attempt, ...]) -> JobDetail:
    return JobDetail(
        job_id=job.id,
        connection_id=str(job.connection_id),
        workspace_id=str(job.workspace_id),
        type=job.type.value,
        status=job.status.value,
        cause=job.cause,
        caller=job.caller,
        created_at=job.created_at.isoformat(),
        updated_at=job.updated_at.isoformat(),
        started_at=_iso(job.started_at),
        ended_at=_iso(job.ended_at),
        not_before=_iso(job.not_before),
        cancel_requested_at=_iso(job.cancel_requested_at),
        rows=job.rows_synced,
        bytes=job.bytes_synced,
        seconds=None if job.duration is None else round(job.duration.total_seconds(), 3),
        only_streams=None if job.streams is None else [str(each) for each in job.streams],
        error=error_read(job.error),
        # A job that waits for its first attempt has none: the number 0 is a view's stand-in.
        attempts=[_attempt(each) for each in attempts if each.id],
    )


@overview_router.get("/overview", operation_id="getOverview")
def get_overview(control: ControlOf, caller: CallerOf, workspace_ids: WorkspaceIds) -> Overview:
    """Every connection with its health, its freshness against what its schedule promises, and its last runs."""
    last_event = overview.last_event(control)
    glances = overview.glances(control, caller, workspace_ids)
    return Overview(connections=[_glance(each) for each in glances], last_event=last_event)


@overview_router.get("/jobs", operation_id="listRuns")
def list_runs(
    control: ControlOf,
    caller: CallerOf,
    paging: PagingOf,
    workspace_ids: WorkspaceIds,
    connection_id: Annotated[list[str] | None, Query(alias="connectionId")] = None,
    status: Annotated[list[JobStatus] | None, Query()] = None,
) -> RunList:
    """Jobs, newest first, with their attempts and why they failed."""
    which = JobFilter(
        connection_ids=uuids(connection_id), workspace_ids=tuple(workspace_ids), statuses=tuple(status or ())
    )
    found = jobs.list(control, caller, which, page=paging.page, attempts=True)
    return RunList(runs=[_detail(each.job, each.attempts) for each in found.items], **paging.links(found.more))


@overview_router.get("/jobs/{jobId}", operation_id="getJobDetail")
def get_job(control: ControlOf, caller: CallerOf, jobId: str) -> JobDetail:
    """A job with its attempts, their streams, and the cause of each failure with what to do about it."""
    view = jobs.get(control, caller, job_number(jobId))
    return _detail(view.job, view.attempts)
