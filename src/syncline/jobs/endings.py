"""Why an attempt ended, or never began, where it could not say so itself."""

from __future__ import annotations

from syncline.core.errors import ErrorKind, SynclineError
from syncline.jobs.verdict import Ending, StopReason
from syncline.store.job_values import Attempt

__all__ = ["lost", "never_begun", "not_started", "overdue"]

#: Of the operating system: no processes, no memory, no descriptors, no disk.
_EXHAUSTED = (11, 12, 24, 28)


def lost(attempt: Attempt) -> Ending:
    """Its folder is in a home that this server does not see."""
    error = SynclineError(
        ErrorKind.TRANSIENT,
        f"the server that ran this attempt is gone, and its folder with it ({attempt.host})",
        hint="it is tried again; if the old process still runs, the destination refuses what it commits",
    )
    return Ending(result=None, error=error, stop=None, committed=attempt.committed)


def never_begun() -> Ending:
    """It was claimed by a server that died before there was a process."""
    error = SynclineError(
        ErrorKind.TRANSIENT, "the server ended before the attempt had begun", hint="it is tried again"
    )
    return Ending(result=None, error=error, stop=StopReason.SHUTDOWN, committed=False)


def not_started(cause: Exception) -> SynclineError:
    """What kept its process from being started, as an error that says what to do."""
    if isinstance(cause, SynclineError):
        return cause
    if isinstance(cause, OSError):
        return SynclineError(
            ErrorKind.RESOURCE if cause.errno in _EXHAUSTED else ErrorKind.TRANSIENT,
            f"the attempt's process could not be started: {cause.strerror}",
            hint="look at memory, disk and the limit of processes on this machine",
        )
    return SynclineError(
        ErrorKind.INTERNAL,
        f"the attempt could not be made ready: {type(cause).__name__}",
        hint="see the server's log, and please report this",
    )


def overdue(seconds: float) -> SynclineError:
    """The job's own time was over before another attempt began."""
    return SynclineError(
        ErrorKind.RESOURCE,
        f"timeout: the job ran longer than its {seconds:g} s",
        hint="raise the connection's timeout_seconds; the next job goes on where this one was",
    )
