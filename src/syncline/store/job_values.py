"""Jobs and attempts as values, and the closed lists of their states."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Literal
from uuid import UUID

from syncline.core.errors import SynclineError
from syncline.core.stream import StreamName

__all__ = [
    "Attempt",
    "AttemptStatus",
    "DueTimes",
    "Job",
    "JobCause",
    "JobEvent",
    "JobEventKind",
    "JobFilter",
    "JobStatus",
    "JobType",
    "JobView",
    "Lease",
    "NewJob",
    "ScheduleState",
    "StreamStatus",
    "Webhook",
    "WebhookScheme",
]


class JobType(StrEnum):
    """What a job does, in Airbyte's words."""

    SYNC = "sync"  #: reads what is new and writes it
    RESET = "reset"  #: Airbyte's older word for CLEAR; does the same
    CLEAR = "clear"  #: empties the streams at the destination and forgets how far they were read
    REFRESH = "refresh"  #: reads the streams anew from the beginning


class JobStatus(StrEnum):
    """Where a job stands. The list is closed, and its words are those that every Airbyte client knows.

        pending ──> running ──> succeeded | failed | cancelled
           │           │  ^
           │           v  │
           └────> incomplete ──> cancelled
           └──────────────────> cancelled

    Every edge has somebody who sets it and a time by which it is set; so no job stays in an active state for ever:

    =========================  ==================================================================================
    pending -> running         the supervisor of the leading server, by compare-and-set, when a slot and the limits
                               allow it; looked at within a second of every change. Waits for ever only while no
                               server runs or the limits are used up by others.
    pending -> cancelled       whoever cancels, at once
    running -> succeeded       the supervisor, from the result that the attempt wrote, within a second
    running -> failed          the supervisor: the result's error is not tried again, the attempts are used up, or the
                               job's own time-out has passed
    running -> incomplete      the supervisor: the attempt ended with an error that is tried again, was lost (its
                               process is gone, or gave no sign for the attempt's lease), made no progress for the
                               watchdog's time, or was stopped together with the server
    running -> cancelled       the supervisor, when the process is gone: asked at once, SIGTERM again after 5 s, SIGKILL
                               after 8 s
    incomplete -> running      the supervisor, at ``not_before`` at the earliest (back-off, ten minutes at most)
    incomplete -> failed       the supervisor: the job's own time-out has passed, its connection is deleted
    incomplete -> cancelled    whoever cancels, at once
    =========================  ==================================================================================
    """

    PENDING = "pending"  #: asked for; no attempt was made. Set by whoever asks. Next: running, cancelled
    RUNNING = "running"  #: an attempt runs, or is being started. Next: any but pending
    INCOMPLETE = "incomplete"  #: between two attempts. Next: running, failed, cancelled
    FAILED = "failed"  #: over: it did not succeed
    SUCCEEDED = "succeeded"  #: over: every stream was read to its end and written
    CANCELLED = "cancelled"  #: over: somebody stopped it

    @property
    def active(self) -> bool:
        """A connection has at most one job in these states; the store itself refuses a second."""
        return self in (JobStatus.PENDING, JobStatus.RUNNING, JobStatus.INCOMPLETE)


class AttemptStatus(StrEnum):
    """Where one try stands. Set to RUNNING by the claim, to anything else by the supervisor: from the result in the
    attempt's journal, or because its process is gone (which an advisory lock proves), or because its lease ran out.
    The others are final."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"  #: stopped by somebody, or together with the server


JobCause = Literal["api", "schedule", "catch_up", "continuous", "after", "file", "webhook"]
JobEventKind = Literal[
    "created",
    "started",
    "adopted",
    "attempt_failed",
    "retrying",
    "due_waits",
    "cancel_requested",
    "succeeded",
    "failed",
    "cancelled",
    "quality_judged",
    "schema_changed",
]
WebhookScheme = Literal["stripe", "github", "standard"]


@dataclass(frozen=True, kw_only=True)
class DueTimes:
    """The due times of a schedule that one job answers: all ``count`` of them from ``first`` to ``last``. More than
    one when the server was down, or an earlier job still ran."""

    first: datetime
    last: datetime
    count: int = 1


@dataclass(frozen=True, kw_only=True)
class NewJob:
    """What is asked for. ``streams`` None means all; ``retain`` (refresh): rows that are there stay until replaced."""

    connection_id: UUID
    workspace_id: UUID
    source_id: UUID
    destination_id: UUID
    type: JobType
    cause: JobCause
    caller: str
    sync_id: str
    priority: int = 0
    streams: tuple[StreamName, ...] | None = None
    retain: bool = False
    due: DueTimes | None = None


@dataclass(frozen=True, kw_only=True)
class Job:
    """One asked-for run of a connection. ``sync_id`` is the same for all its attempts, and stands in the rows it wrote.
    ``failures`` counts the attempts that failed since something was last committed; it decides whether there is
    another one."""

    id: int
    type: JobType
    status: JobStatus
    connection_id: UUID
    workspace_id: UUID
    source_id: UUID
    destination_id: UUID
    cause: JobCause
    caller: str
    priority: int
    sync_id: str
    streams: tuple[StreamName, ...] | None
    retain: bool
    due: DueTimes | None
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    not_before: datetime | None
    cancel_requested_at: datetime | None
    attempts: int
    failures: int
    rows_synced: int
    bytes_synced: int
    error: SynclineError | None

    @property
    def public_start(self) -> datetime:
        """What clients take for the start: of the first attempt, and until there is one of the job."""
        return self.started_at or self.created_at

    @property
    def duration(self) -> timedelta | None:
        """From the first attempt's start to the end, or until it was last heard of; None before it started."""
        if self.started_at is None:
            return None
        return (self.ended_at or self.updated_at) - self.started_at


@dataclass(frozen=True, kw_only=True)
class StreamStatus:
    """One stream in one attempt; counts are the attempt's."""

    stream: StreamName
    status: Literal["pending", "running", "succeeded", "failed", "skipped", "stopped"]
    rows_read: int = 0
    rows_written: int = 0
    rows_quarantined: int = 0
    bytes_read: int = 0
    error: SynclineError | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One try. ``number`` counts from 1 in each job. ``host`` names the machine and home folder of the server that
    started it, ``process`` the process as ``pid start-time``; ``journal_offset`` is how far its journal was read.
    ``committed``: something became visible at the destination."""

    id: int
    job_id: int
    number: int
    status: AttemptStatus
    host: str
    process: str | None
    journal_offset: int = 0
    created_at: datetime
    updated_at: datetime
    ended_at: datetime | None = None
    committed: bool = False
    rows_read: int = 0
    rows_written: int = 0
    bytes_read: int = 0
    error: SynclineError | None = None
    streams: tuple[StreamStatus, ...] = ()


@dataclass(frozen=True, kw_only=True)
class JobView:
    """A job with its attempts, oldest first; never without one: a job that waits for its first shows that one as
    running, with nothing done."""

    job: Job
    attempts: tuple[Attempt, ...]


@dataclass(frozen=True, kw_only=True)
class JobFilter:
    """Which jobs, and in which order. Empty tuples do not restrict; times are inclusive."""

    connection_ids: tuple[UUID, ...] = ()
    workspace_ids: tuple[UUID, ...] = ()
    types: tuple[JobType, ...] = ()
    statuses: tuple[JobStatus, ...] = ()
    created_from: datetime | None = None
    created_to: datetime | None = None
    updated_from: datetime | None = None
    updated_to: datetime | None = None
    order_by: Literal["createdAt", "updatedAt"] = "createdAt"
    descending: bool = True


@dataclass(frozen=True, kw_only=True)
class JobEvent:
    """Something that happened to a job. ``id`` grows; who follows the events remembers the last one."""

    id: int
    at: datetime
    job_id: int
    connection_id: UUID
    workspace_id: UUID
    kind: JobEventKind
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ScheduleState:
    """Where the schedule of one connection stands.

    ``fingerprint`` is the schedule that ``next_due_at`` was computed from. ``waiting`` are due times that found the
    connection busy; they become one job as soon as it is free, together with what comes due until then. ``marks``
    remembers what was last seen of what the connection comes after: the last job of each connection, or the files."""

    connection_id: UUID
    fingerprint: str
    next_due_at: datetime | None
    waiting: DueTimes | None
    waiting_cause: JobCause | None
    marks: Mapping[str, Any]
    looked_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Lease:
    """Who leads. ``token`` grows with each new holder, ``beat`` with each sign of life of the present one. No clocks
    are compared: whoever waits watches the beat by its own."""

    name: str
    holder: str
    token: int
    beat: int


@dataclass(frozen=True, kw_only=True)
class Webhook:
    """A door for signed messages that start a connection. ``secret_id`` names the sealed secret."""

    id: UUID
    connection_id: UUID
    workspace_id: UUID
    scheme: WebhookScheme
    tolerance_seconds: int
    secret_id: UUID
    created_at: datetime
    deleted_at: datetime | None = None
