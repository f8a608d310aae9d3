"""Use case: why a job of the server failed."""

from __future__ import annotations

from syncline.service import jobs, logs
from syncline.service.callers import Caller
from syncline.service.causes import diagnose
from syncline.service.control import Control
from syncline.service.diagnosis import RunReport

__all__ = ["of_job"]

#: The newest lines; what ended a run stands at its end.
_LINES = 2000


def of_job(control: Control, caller: Caller, job_id: int) -> RunReport:
    """From the job's error, those of its attempts and streams, and the log."""
    view = jobs.get(control, caller, job_id)
    job = view.job
    error = job.error
    for attempt in reversed(view.attempts):
        for stream in attempt.streams:
            error = error or stream.error
        error = error or attempt.error
    lines = [f"{line.level} {line.message}" for line in logs.of_view(control, view, tail=_LINES)]
    found = () if error is None else tuple(diagnose(error, lines))
    return RunReport(
        connection=str(job.connection_id), run=str(job.id), status=job.status.value, error=error, diagnoses=found
    )
