"""Why a job failed, as far as it is known."""

from __future__ import annotations

from typing import Any

from syncline.api.context import CallerOf, ControlOf
from syncline.api.public.jobs import job_number
from syncline.api.routes import Routes
from syncline.api.wire import WireModel
from syncline.service import job_diagnosis

__all__ = ["diagnosis_router"]

diagnosis_router = Routes(tags=["Jobs"])


class DiagnosisRead(WireModel):
    """``evidence`` is where it was seen; ``commands`` find out more and mend it."""

    name: str
    because: str
    evidence: str
    commands: list[str]


class JobDiagnosis(WireModel):
    """The likeliest cause first; none for a job that did not fail, and for what is not known."""

    status: str
    error: dict[str, Any] | None = None
    diagnoses: list[DiagnosisRead]


@diagnosis_router.get("/jobs/{jobId}/diagnosis", operation_id="diagnoseJob")
def diagnose_job(control: ControlOf, caller: CallerOf, jobId: str) -> JobDiagnosis:
    """From error and log to causes and the commands that mend them."""
    found = job_diagnosis.of_job(control, caller, job_number(jobId))
    return JobDiagnosis(
        status=found.status,
        error=None if found.error is None else found.error.to_json(),
        diagnoses=[
            DiagnosisRead(name=d.name, because=d.because, evidence=d.evidence, commands=list(d.commands))
            for d in found.diagnoses
        ],
    )
