"""Jobs as the public API has them."""

from __future__ import annotations

from enum import StrEnum
from uuid import UUID

from syncline.api.public.models.answers import Page
from syncline.api.wire import WireModel

__all__ = ["JobCreate", "JobResponse", "JobStatus", "JobType", "JobsResponse"]


class JobStatus(StrEnum):
    """``incomplete``: between attempts. The last three are final."""

    PENDING = "pending"
    RUNNING = "running"
    INCOMPLETE = "incomplete"
    FAILED = "failed"
    SUCCEEDED = "succeeded"
    CANCELLED = "cancelled"


class JobType(StrEnum):
    SYNC = "sync"
    RESET = "reset"
    REFRESH = "refresh"
    CLEAR = "clear"


class JobCreate(WireModel):
    connection_id: UUID
    job_type: JobType


class JobResponse(WireModel):
    """``startTime`` and ``lastUpdatedAt`` are ISO 8601, ``duration`` an ISO 8601 duration."""

    job_id: int
    status: JobStatus
    job_type: JobType
    start_time: str
    connection_id: str
    last_updated_at: str | None = None
    duration: str | None = None
    bytes_synced: int | None = None
    rows_synced: int | None = None


class JobsResponse(Page):
    data: list[JobResponse]
