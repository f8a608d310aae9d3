"""One job in the words of both APIs: the same number and the same status in each, because clients mix them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from syncline.api.config.models import (
    AttemptAnswer,
    AttemptLogs,
    AttemptRead,
    AttemptStreamStats,
    ConfigType,
    FailureReason,
    FailureSummary,
    JobInfo,
    JobRead,
    JobWithAttempts,
    StreamCounts,
    StreamDescriptor,
)
from syncline.api.config.spelling import CONFIG_TYPES
from syncline.api.public.models import JobResponse
from syncline.api.public.models import JobStatus as WireStatus
from syncline.api.wire import iso_duration, iso_time
from syncline.core.errors import ErrorKind, SynclineError
from syncline.service import logs
from syncline.service.control import Control
from syncline.store.job_values import Attempt, AttemptStatus, Job, JobStatus, JobView

__all__ = ["attempt_read", "job_info", "job_read", "job_response", "job_with_attempts"]

#: Of each attempt, the newest lines: what a person looks at, and not a document of many megabytes at every poll.
MAX_LOG_LINES = 1000


def job_response(job: Job) -> JobResponse:
    """``lastUpdatedAt`` only when the job has ended (Dagster takes it for the end), ``duration`` once it has
    started."""
    return JobResponse(**_public_fields(job))


def _public_fields(job: Job) -> dict[str, Any]:
    return {
        "job_id": job.id,
        "status": job.status.value,
        "job_type": job.type.value,
        "start_time": iso_time(job.started_at or job.created_at),
        "connection_id": str(job.connection_id),
        "last_updated_at": None if job.status.active else iso_time(job.ended_at or job.updated_at),
        "duration": None if job.status is JobStatus.PENDING or job.duration is None else iso_duration(job.duration),
        "bytes_synced": job.bytes_synced,
        "rows_synced": job.rows_synced,
    }


def job_read(view: JobView) -> JobRead:
    job = view.job
    return JobRead(
        id=job.id,
        config_type=ConfigType(CONFIG_TYPES[job.type.value]),
        config_id=str(job.connection_id),
        enabled_streams=[StreamDescriptor(name=s.name, namespace=s.namespace) for s in job.streams or ()],
        created_at=_seconds(job.created_at),
        updated_at=_seconds(job.updated_at),
        started_at=None if job.started_at is None else _seconds(job.started_at),
        status=WireStatus(job.status.value),
    )


def job_info(control: Control, view: JobView, *, with_logs: bool = True) -> JobInfo:
    """The envelope of the config API with the public API's fields beside it."""
    attempts = []
    for attempt in view.attempts:
        found = logs.of_view(control, view, attempt=attempt.number, tail=MAX_LOG_LINES) if with_logs else []
        lines = [line.text() for line in found]
        attempts.append(AttemptAnswer(attempt=attempt_read(attempt), logs=AttemptLogs(log_lines=lines)))
    return JobInfo(job=job_read(view), attempts=attempts, **_public_fields(view.job))


def job_with_attempts(view: JobView) -> JobWithAttempts:
    return JobWithAttempts(job=job_read(view), attempts=[attempt_read(each) for each in view.attempts])


_ATTEMPT_STATUSES: dict[AttemptStatus, Literal["running", "failed", "succeeded"]] = {
    AttemptStatus.RUNNING: "running",
    AttemptStatus.SUCCEEDED: "succeeded",
    AttemptStatus.FAILED: "failed",
    AttemptStatus.CANCELLED: "failed",
}


def attempt_read(attempt: Attempt) -> AttemptRead:
    """Airbyte counts attempts from 0 and knows no cancelled ones."""
    return AttemptRead(
        id=attempt.number - 1,
        status=_ATTEMPT_STATUSES[attempt.status],
        created_at=_seconds(attempt.created_at),
        updated_at=_seconds(attempt.updated_at),
        ended_at=None if attempt.ended_at is None else _seconds(attempt.ended_at),
        bytes_synced=attempt.bytes_read,
        records_synced=attempt.rows_written,
        total_stats=StreamCounts(
            records_emitted=attempt.rows_read,
            bytes_emitted=attempt.bytes_read,
            records_committed=attempt.rows_written,
            bytes_committed=attempt.bytes_read,
        ),
        stream_stats=[
            AttemptStreamStats(
                stream_name=each.stream.name,
                stream_namespace=each.stream.namespace,
                stats=StreamCounts(
                    records_emitted=each.rows_read,
                    bytes_emitted=each.bytes_read,
                    records_committed=each.rows_written,
                    bytes_committed=each.bytes_read,
                ),
            )
            for each in attempt.streams
        ],
        failure_summary=None if attempt.error is None else _failure(attempt.error, attempt.updated_at),
    )


#: The closed list of Airbyte's failure types that says most of what our kinds say.
_FAILURE_TYPES = {
    ErrorKind.CONFIG: "config_error",
    ErrorKind.AUTH: "config_error",
    ErrorKind.PERMISSION: "config_error",
}


def failure_reason(error: SynclineError, at: datetime) -> FailureReason:
    """Whose fault it was, what it was, and whether it is tried again by itself."""
    origin = str(error.where.get("connector", "")).partition(" ")[0]
    return FailureReason(
        failure_origin=origin if origin in ("source", "destination") else "replication",
        failure_type=_FAILURE_TYPES.get(error.kind, "transient_error" if error.policy.retry else "system_error"),
        external_message=f"{error.message}. {error.hint}" if error.hint else error.message,
        internal_message=str(error),
        retryable=error.policy.retry,
        timestamp=_seconds(at),
    )


def _failure(error: SynclineError, at: datetime) -> FailureSummary:
    return FailureSummary(failures=[failure_reason(error, at)])


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())
