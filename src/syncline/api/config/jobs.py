"""Jobs in the config API."""

from __future__ import annotations

from syncline.api.config.models import (
    ConnectionIdBody,
    ConnectionStreamsBody,
    JobIdBody,
    JobInfo,
    JobListBody,
    JobListRead,
    OptionalJob,
    RefreshBody,
)
from syncline.api.config.spelling import CONFIG_TYPES
from syncline.api.context import CallerOf, ControlOf
from syncline.api.job_answers import job_info, job_read, job_with_attempts
from syncline.api.paging import as_uuid
from syncline.api.public.jobs import job_number
from syncline.api.routes import Routes
from syncline.core.stream import StreamName
from syncline.service import jobs
from syncline.service.jobs import JobFilter
from syncline.store.job_values import JobStatus, JobType
from syncline.store.paging import Page

__all__ = ["config_jobs_router"]

config_jobs_router = Routes(tags=["Jobs"])

_TYPES = {config: JobType(public) for public, config in CONFIG_TYPES.items()}


@config_jobs_router.post("/connections/sync", operation_id="syncConnection")
def sync_connection(control: ControlOf, caller: CallerOf, body: ConnectionIdBody) -> JobInfo:
    """Asks for a sync and returns at once. 409 when a job already runs."""
    return job_info(control, jobs.trigger(control, caller, body.connection_id))


@config_jobs_router.post("/connections/reset", operation_id="resetConnection")
def reset_connection(control: ControlOf, caller: CallerOf, body: ConnectionIdBody) -> JobInfo:
    return job_info(control, jobs.trigger(control, caller, body.connection_id, type=JobType.RESET))


@config_jobs_router.post("/connections/reset/stream", operation_id="resetConnectionStream")
def reset_streams(control: ControlOf, caller: CallerOf, body: ConnectionStreamsBody) -> JobInfo:
    return job_info(
        control,
        jobs.trigger(control, caller, body.connection_id, type=JobType.RESET, streams=_named(body)),
    )


@config_jobs_router.post("/connections/clear", operation_id="clearConnection")
def clear_connection(control: ControlOf, caller: CallerOf, body: ConnectionIdBody) -> JobInfo:
    return job_info(control, jobs.trigger(control, caller, body.connection_id, type=JobType.CLEAR))


@config_jobs_router.post("/connections/clear/stream", operation_id="clearConnectionStream")
def clear_streams(control: ControlOf, caller: CallerOf, body: ConnectionStreamsBody) -> JobInfo:
    return job_info(
        control,
        jobs.trigger(control, caller, body.connection_id, type=JobType.CLEAR, streams=_named(body)),
    )


@config_jobs_router.post("/connections/refresh", operation_id="refreshConnectionStream")
def refresh_streams(control: ControlOf, caller: CallerOf, body: RefreshBody) -> JobInfo:
    """Read streams anew: ``Merge`` keeps the old data, ``Truncate`` replaces it when the new is whole."""
    view = jobs.trigger(
        control,
        caller,
        body.connection_id,
        type=JobType.REFRESH,
        streams=_named(body),
        retain=body.refresh_mode == "Merge",
    )
    return job_info(control, view)


def _named(body: ConnectionStreamsBody) -> list[StreamName] | None:
    """None: all streams."""
    return [StreamName(namespace=each.stream_namespace, name=each.stream_name) for each in body.streams or ()] or None


@config_jobs_router.post("/jobs/get", operation_id="getJobInfo")
def get_job(control: ControlOf, caller: CallerOf, body: JobIdBody) -> JobInfo:
    return job_info(control, jobs.get(control, caller, body.id))


@config_jobs_router.get("/jobs/{jobId}", operation_id="getJobInfoByPath")
def get_job_by_path(control: ControlOf, caller: CallerOf, jobId: str) -> JobInfo:
    """In nobody's OpenAPI document, but in people's scripts; with the public API's fields for SDKs that are pointed
    here."""
    return job_info(control, jobs.get(control, caller, job_number(jobId)))


@config_jobs_router.post("/jobs/get_without_logs", operation_id="getJobInfoWithoutLogs")
@config_jobs_router.post("/jobs/get_light", operation_id="getJobInfoLight")
def get_job_without_logs(control: ControlOf, caller: CallerOf, body: JobIdBody) -> JobInfo:
    return job_info(control, jobs.get(control, caller, body.id), with_logs=False)


@config_jobs_router.post("/jobs/cancel", operation_id="cancelJobConfig")
def cancel_job(control: ControlOf, caller: CallerOf, body: JobIdBody) -> JobInfo:
    return job_info(control, jobs.cancel(control, caller, body.id))


@config_jobs_router.post("/jobs/get_last_replication_job", operation_id="getLastReplicationJob")
def last_job(control: ControlOf, caller: CallerOf, body: ConnectionIdBody) -> OptionalJob:
    """Of the syncs; no ``job`` when there was none."""
    view = jobs.latest(control, caller, body.connection_id)
    return OptionalJob(job=None if view is None else job_read(view))


@config_jobs_router.post("/jobs/list", operation_id="listJobsFor")
def list_jobs(control: ControlOf, caller: CallerOf, body: JobListBody) -> JobListRead:
    """Newest first. Types that are no jobs here (``check_connection_source`` …) have none."""
    types = tuple(_TYPES[each] for each in body.config_types if each in _TYPES)
    if body.config_types and not types:
        return JobListRead(jobs=[], total_job_count=0)
    statuses = [*(body.statuses or ()), *([body.status] if body.status else ())]
    wanted = JobFilter(
        connection_ids=() if body.config_id is None else (as_uuid(body.config_id),),
        types=types,
        statuses=tuple(JobStatus(each.value) for each in statuses),
    )
    page = Page(limit=body.pagination.page_size, offset=body.pagination.row_offset)
    found = jobs.list(control, caller, wanted, page=page, attempts=True)
    return JobListRead(
        jobs=[job_with_attempts(each) for each in found.items], total_job_count=jobs.count(control, caller, wanted)
    )
