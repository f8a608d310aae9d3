"""Jobs in the public API, and the two calls beside it that people have written by hand."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import Query

from syncline.api.config.models import ConnectionIdBody, JobInfo
from syncline.api.context import CallerOf, ControlOf
from syncline.api.errors import ApiError
from syncline.api.job_answers import job_info, job_response
from syncline.api.paging import PagingOf, WorkspaceIds, as_uuid
from syncline.api.public.models import JobCreate, JobResponse, JobsResponse, JobStatus, JobType
from syncline.api.routes import Routes
from syncline.service import jobs
from syncline.service.errors import NotFoundError
from syncline.service.jobs import JobFilter
from syncline.store import job_values

__all__ = ["job_number", "jobs_router", "trigger_router"]

jobs_router = Routes(tags=["Jobs"])
trigger_router = Routes(tags=["Jobs"])


@jobs_router.post("/jobs", operation_id="createJob")
def create_job(control: ControlOf, caller: CallerOf, body: JobCreate) -> JobResponse:
    """Asks for a job and returns at once. 409 when one already runs for the connection, or the connection is
    inactive."""
    if body.job_type is JobType.REFRESH:
        raise ApiError(422, "A refresh names streams: POST /api/v1/connections/refresh takes them.")
    view = jobs.trigger(control, caller, body.connection_id, type=job_values.JobType(body.job_type.value))
    return job_response(view.job)


@jobs_router.get("/jobs/{jobId}", operation_id="getJob")
def get_job(control: ControlOf, caller: CallerOf, jobId: str) -> JobResponse:
    return job_response(jobs.find(control, caller, job_number(jobId)))


@jobs_router.delete("/jobs/{jobId}", operation_id="cancelJob")
def cancel_job(control: ControlOf, caller: CallerOf, jobId: str) -> JobResponse:
    """Asks the job to end, waits some seconds for it and answers with the job as it is then. 409 for one that has
    ended."""
    return job_response(jobs.cancel(control, caller, job_number(jobId)).job)


def _moment(value: datetime | None) -> datetime | None:
    """A time without a zone is UTC: Dagster sends its local time so, with a Z."""
    return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


@jobs_router.get("/jobs", operation_id="listJobs")
def list_jobs(
    control: ControlOf,
    caller: CallerOf,
    paging: PagingOf,
    workspace_ids: WorkspaceIds,
    connection_id: Annotated[str | None, Query(alias="connectionId")] = None,
    job_type: Annotated[JobType | None, Query(alias="jobType")] = None,
    status: Annotated[JobStatus | Literal["queued"] | None, Query(description="queued is pending here")] = None,
    created_at_start: Annotated[datetime | None, Query(alias="createdAtStart")] = None,
    created_at_end: Annotated[datetime | None, Query(alias="createdAtEnd")] = None,
    updated_at_start: Annotated[datetime | None, Query(alias="updatedAtStart")] = None,
    updated_at_end: Annotated[datetime | None, Query(alias="updatedAtEnd")] = None,
    order_by: Annotated[
        str | None,
        Query(alias="orderBy", pattern=r"^(createdAt|updatedAt)(\|(ASC|DESC))?$", description="as in createdAt|DESC"),
    ] = None,
) -> JobsResponse:
    """Newest first, unless told otherwise."""
    field, _, direction = (order_by or "createdAt|DESC").partition("|")
    wanted = JobFilter(
        connection_ids=() if connection_id is None else (as_uuid(connection_id),),
        workspace_ids=workspace_ids,
        types=() if job_type is None else (job_values.JobType(job_type.value),),
        statuses=() if status is None else (job_values.JobStatus("pending" if status == "queued" else status),),
        created_from=_moment(created_at_start),
        created_to=_moment(created_at_end),
        updated_from=_moment(updated_at_start),
        updated_to=_moment(updated_at_end),
        order_by="updatedAt" if field == "updatedAt" else "createdAt",
        descending=direction != "ASC",
    )
    found = jobs.list(control, caller, wanted, page=paging.page)
    return JobsResponse(data=[job_response(each.job) for each in found.items], **paging.links(found.more))


@trigger_router.post("/connections/{connectionId}/sync", operation_id="syncConnectionByPath")
def sync_by_path(control: ControlOf, caller: CallerOf, connectionId: str) -> JobInfo:
    """Not one of Airbyte's routes, but one that people call: no body, or any. Answered in the words of both APIs."""
    return job_info(control, jobs.trigger(control, caller, as_uuid(connectionId)))


@trigger_router.post("/connections/sync", operation_id="syncConnectionByBody")
def sync_by_body(control: ControlOf, caller: CallerOf, body: ConnectionIdBody) -> JobInfo:
    """The config API's form of it, at the public prefix: for scripts whose base address ends in /api."""
    return job_info(control, jobs.trigger(control, caller, body.connection_id))


def job_number(text: str) -> int:
    """The number in a path; 404 for what cannot be one of a job."""
    if not text.isascii() or not text.isdecimal() or len(text) > 18:
        raise NotFoundError("job", text)
    return int(text)
