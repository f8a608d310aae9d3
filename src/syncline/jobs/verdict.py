"""What becomes of a job when one of its attempts has ended: a pure function of how it ended and of what came before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from syncline.core.errors import ErrorKind, SynclineError
from syncline.engine.sync import AttemptResult
from syncline.jobs.retry import RetryPolicy, errors_of, retry_delay
from syncline.store.job_values import AttemptStatus, Job, JobStatus

__all__ = ["Ending", "StopReason", "Verdict", "judge"]

#: Attempts that commit something before they fail do not use up the attempts of a job; but even so it ends.
_ROUNDS = 10


class StopReason(StrEnum):
    """Why the supervisor stops an attempt before it ends by itself."""

    CANCEL = "cancel"  #: somebody asked for it, or the connection is gone or inactive
    SHUTDOWN = "shutdown"  #: the server ends; the job goes on with the next one
    TIMEOUT = "timeout"  #: the job's own time is over
    STALLED = "stalled"  #: nothing was read or committed for the watchdog's time
    LOST = "lost"  #: the process lives and gives no sign, or nobody can see it


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How an attempt ended: with a ``result``, or without one because of ``error``. ``stop`` when we ended it,
    ``committed`` when something became visible at the destination."""

    result: AttemptResult | None
    error: SynclineError | None
    stop: StopReason | None
    committed: bool


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The new states of attempt and job."""

    attempt: AttemptStatus
    job: JobStatus
    error: SynclineError | None
    not_before: datetime | None
    failures: int


def judge(job: Job, ending: Ending, policy: RetryPolicy, at: datetime, *, follows: bool) -> Verdict:
    """Decide. ``follows``: the attempt follows a log, so that its good end only means that it was told to end."""
    if ending.result is not None and ending.result.succeeded and (ending.stop is None or not follows):
        # Whatever was asked meanwhile: it is done, and that is the truth.
        return Verdict(
            attempt=AttemptStatus.SUCCEEDED, job=JobStatus.SUCCEEDED, error=None, not_before=None, failures=0
        )
    errors = _errors(ending)
    first = errors[0] if errors else None
    if ending.stop is StopReason.CANCEL:
        return Verdict(
            attempt=AttemptStatus.CANCELLED, job=JobStatus.CANCELLED, error=None, not_before=None, failures=job.failures
        )
    if ending.stop is StopReason.SHUTDOWN:
        return Verdict(
            attempt=AttemptStatus.CANCELLED,
            job=JobStatus.INCOMPLETE,
            error=None,
            not_before=at,
            failures=job.failures,
        )
    failures = 1 if ending.committed else job.failures + 1
    delay = None
    if ending.stop is not StopReason.TIMEOUT and (follows or job.attempts < _ROUNDS * policy.max_attempts):
        delay = retry_delay(errors, failures, policy)
    return Verdict(
        attempt=AttemptStatus.FAILED,
        job=JobStatus.FAILED if delay is None else JobStatus.INCOMPLETE,
        error=first,
        not_before=None if delay is None else at + timedelta(seconds=delay),
        failures=failures,
    )


def _errors(ending: Ending) -> Sequence[SynclineError]:
    if ending.error is not None:
        return [ending.error]
    if ending.result is not None and (found := errors_of(ending.result)):
        return found
    return [SynclineError(ErrorKind.TRANSIENT, "the attempt was stopped before it had finished", hint="run it again")]
