"""Jobs and attempts as the config API has them."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal
from uuid import UUID

from pydantic import Field

from syncline.api.public.models import JobStatus
from syncline.api.wire import Name, WireModel

__all__ = [
    "AttemptAnswer",
    "AttemptLogs",
    "AttemptRead",
    "AttemptStreamStats",
    "ConfigType",
    "ConnectionIdBody",
    "ConnectionStreamsBody",
    "FailureReason",
    "FailureSummary",
    "JobIdBody",
    "JobInfo",
    "JobListBody",
    "JobListRead",
    "JobRead",
    "JobWithAttempts",
    "OptionalJob",
    "Pagination",
    "RefreshBody",
    "StreamCounts",
    "StreamDescriptor",
    "StreamReference",
    "SynchronousJob",
]


class ConnectionIdBody(WireModel):
    connection_id: UUID


class ConfigType(StrEnum):
    SYNC = "sync"
    RESET_CONNECTION = "reset_connection"
    CLEAR = "clear"
    REFRESH = "refresh"


class JobIdBody(WireModel):
    """A numeric text is as good as a number."""

    id: int = Field(ge=0, lt=2**63)


class Pagination(WireModel):
    page_size: int = Field(default=20, ge=1, le=1000)
    row_offset: int = Field(default=0, ge=0, lt=2**31)


class JobListBody(WireModel):
    config_types: list[str] = []
    config_id: str | None = None
    including_job_id: int | None = None
    pagination: Pagination = Field(default_factory=Pagination)
    status: JobStatus | None = None
    statuses: list[JobStatus] | None = None


class StreamDescriptor(WireModel):
    name: str
    namespace: str | None = None


class StreamCounts(WireModel):
    """Sums of one stream in one attempt."""

    records_emitted: int = 0
    bytes_emitted: int = 0
    records_committed: int = 0
    bytes_committed: int = 0


class AttemptStreamStats(WireModel):
    stream_name: str
    stream_namespace: str | None = None
    stats: StreamCounts


class FailureReason(WireModel):
    failure_origin: str
    failure_type: str
    external_message: str
    internal_message: str | None = None
    retryable: bool
    timestamp: int


class FailureSummary(WireModel):
    failures: list[FailureReason]
    partial_success: bool = False


class AttemptRead(WireModel):
    """One try. ``status`` is never anything else: a job that waits is ``running`` here."""

    id: int
    status: Literal["running", "failed", "succeeded"]
    created_at: int
    updated_at: int
    ended_at: int | None = None
    bytes_synced: int = 0
    records_synced: int = 0
    total_stats: StreamCounts
    stream_stats: list[AttemptStreamStats] = []
    failure_summary: FailureSummary | None = None


class AttemptLogs(WireModel):
    """Always a list, even if empty."""

    log_lines: list[str] = []


class AttemptAnswer(WireModel):
    attempt: AttemptRead
    log_type: Literal["formatted"] = "formatted"
    logs: AttemptLogs = Field(default_factory=AttemptLogs)


class JobRead(WireModel):
    id: int
    config_type: ConfigType
    config_id: str
    enabled_streams: list[StreamDescriptor] = []
    created_at: int
    updated_at: int
    started_at: int | None = None
    status: JobStatus


class JobInfo(WireModel):
    """The envelope, with the public API's fields beside it: clients of either find theirs."""

    job: JobRead
    attempts: list[AttemptAnswer]
    job_id: int
    status: JobStatus
    job_type: str
    start_time: str
    connection_id: str
    last_updated_at: str | None = None
    duration: str | None = None
    bytes_synced: int | None = None
    rows_synced: int | None = None


class JobWithAttempts(WireModel):
    """In lists the attempts are not nested."""

    job: JobRead
    attempts: list[AttemptRead]


class JobListRead(WireModel):
    jobs: list[JobWithAttempts]
    total_job_count: int


class OptionalJob(WireModel):
    job: JobRead | None = None


class StreamReference(WireModel):
    stream_name: Name
    stream_namespace: str | None = None


class ConnectionStreamsBody(WireModel):
    """Without streams, all of them."""

    connection_id: UUID
    streams: list[StreamReference] | None = None


class RefreshBody(ConnectionStreamsBody):
    refresh_mode: Literal["Merge", "Truncate"] = "Truncate"


class SynchronousJob(WireModel):
    """A look at a connector, told as if it had been a job."""

    id: str
    config_type: str
    created_at: int
    ended_at: int
    succeeded: bool
    connector_configuration_updated: bool = False
    logs: AttemptLogs = Field(default_factory=AttemptLogs)
    failure_reason: FailureReason | None = None
