"""A Databricks job as a step: started through the Jobs API 2.1 and followed to its end."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from syncline.core.errors import ErrorKind, SynclineError
from syncline.jobs.transform.step import step_error
from syncline.jobs.transform.web import call

__all__ = ["run_databricks"]

_REQUEST_SECONDS = 30.0
#: Polls that may fail one after the other before the run is given up: a restart of the other side is no failure of it.
_PATIENCE = 5
_ENDED = ("TERMINATED", "SKIPPED", "INTERNAL_ERROR", "BLOCKED")


def run_databricks(options: Mapping[str, Any], facts: Mapping[str, str | int], timeout: float, key: str) -> str:
    """Start the job and wait for it. ``key`` makes the start safe to repeat: the same key never starts a second run.
    When the time is over the run is cancelled. Raises ``data`` with the run's own words when it fails."""
    host = str(options["host"]).rstrip("/")
    host = host if "://" in host else f"https://{host}"
    api = _Api(host, str(options["token"]))
    try:
        job = int(options["job_id"])
    except (TypeError, ValueError):
        raise step_error(f"job_id is a number, not {options['job_id']!r}") from None
    parameters = {str(k): str(v) for k, v in {**facts, **(options.get("parameters") or {})}.items()}
    started = api.post("run-now", {"job_id": job, "idempotency_token": key[:64], "job_parameters": parameters})
    run = started.get("run_id")
    if run is None:
        raise SynclineError(ErrorKind.DATA, "Databricks answered without a run_id", hint="check host and job_id")
    poll = float(options.get("poll_seconds", 5.0))
    deadline, failures = time.monotonic() + timeout, 0
    while time.monotonic() < deadline:
        try:
            found = api.get(f"runs/get?run_id={run}")
            failures = 0
        except SynclineError as error:
            failures += 1
            if not error.policy.retry or failures >= _PATIENCE:
                raise
            time.sleep(poll)
            continue
        state = found.get("state", {})
        if state.get("life_cycle_state") in _ENDED:
            return _outcome(found, state, run)
        time.sleep(min(poll, max(deadline - time.monotonic(), 0.0)))
    api.post("runs/cancel", {"run_id": run})
    raise SynclineError(
        ErrorKind.RESOURCE,
        f"run {run} of Databricks job {job} took longer than {timeout:g} s and was cancelled",
        hint="raise the step's timeout, or look at the run",
    )


def _outcome(found: Mapping[str, Any], state: Mapping[str, Any], run: int) -> str:
    page = found.get("run_page_url", "")
    result = state.get("result_state") or state.get("life_cycle_state")
    if result == "SUCCESS":
        return f"run {run} succeeded {page}".strip()
    raise SynclineError(
        ErrorKind.DATA,
        f"run {run} of the Databricks job ended as {result}: {state.get('state_message') or 'no message'}",
        hint=f"see {page}" if page else "see the run in the workspace",
    )


class _Api:
    def __init__(self, host: str, token: str) -> None:
        self._host = host
        self._headers = {"Authorization": f"Bearer {token}"}

    def get(self, path: str) -> dict[str, Any]:
        return self._call("GET", path, None)

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return self._call("POST", path, dict(body))

    def _call(self, method: str, path: str, body: Any) -> dict[str, Any]:
        status, answer = call(
            method, f"{self._host}/api/2.1/jobs/{path}", headers=self._headers, body=body, timeout=_REQUEST_SECONDS
        )
        try:
            data = json.loads(answer or b"{}")
        except ValueError:
            data = {}
        if 200 <= status < 300 and isinstance(data, dict):
            return data
        kind = ErrorKind.AUTH if status in (401, 403) else ErrorKind.TRANSIENT if status >= 500 else ErrorKind.CONFIG
        if status == 429:
            kind = ErrorKind.TRANSIENT
        said = data.get("message") if isinstance(data, dict) else None
        raise SynclineError(
            kind,
            f"Databricks answered {status}: {said or 'no message'}",
            hint="check host, token and job_id of the step",
        )
