"""What becomes of a job, for every way in which an attempt can end."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from tests.unit.jobs.test_schedule import job

from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.stream import StreamName, SyncMode
from syncline.engine.sync import AttemptResult, StreamResult
from syncline.jobs.retry import RetryPolicy, retry_delay
from syncline.jobs.verdict import Ending, StopReason, Verdict, judge
from syncline.store.job_values import AttemptStatus, JobStatus

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
POLICY = RetryPolicy(max_attempts=3, base_seconds=10, ceiling_seconds=60)
GOOD = AttemptResult(streams=(), seconds=1.0)


def error(kind: ErrorKind) -> SynclineError:
    return SynclineError(kind, "it broke")


def result(*kinds: ErrorKind | None) -> AttemptResult:
    streams = tuple(
        StreamResult(
            stream=StreamName(name=str(n)),
            mode=SyncMode.FULL_REFRESH_OVERWRITE,
            status="failed" if kind else "succeeded",
            error=error(kind) if kind else None,
        )
        for n, kind in enumerate(kinds)
    )
    return AttemptResult(streams=streams, seconds=1.0, error=next((s.error for s in streams if s.error), None))


def judged(ending: Ending, *, follows: bool = False, **changes: Any) -> Verdict:
    running = job(1, status=JobStatus.RUNNING, **{"attempts": 1, **changes})
    return judge(running, ending, POLICY, NOW, follows=follows)


def ended(
    outcome: AttemptResult | None = None,
    failure: SynclineError | None = None,
    stop: StopReason | None = None,
    committed: bool = False,
) -> Ending:
    return Ending(result=outcome, error=failure, stop=stop, committed=committed)


def test_a_good_result_is_success_whatever_was_asked_meanwhile() -> None:
    for stop in (None, StopReason.CANCEL, StopReason.SHUTDOWN, StopReason.STALLED):
        verdict = judged(ended(GOOD, stop=stop))
        assert (verdict.attempt, verdict.job, verdict.error) == (AttemptStatus.SUCCEEDED, JobStatus.SUCCEEDED, None)


def test_a_cancelled_attempt_cancels_the_job() -> None:
    verdict = judged(ended(failure=error(ErrorKind.TRANSIENT), stop=StopReason.CANCEL))
    assert (verdict.attempt, verdict.job) == (AttemptStatus.CANCELLED, JobStatus.CANCELLED)


def test_one_that_follows_a_log_and_was_cancelled_ends_well_and_is_cancelled() -> None:
    assert judged(ended(GOOD, stop=StopReason.CANCEL), follows=True).job is JobStatus.CANCELLED


def test_a_server_that_ends_costs_no_attempt() -> None:
    verdict = judged(ended(failure=error(ErrorKind.TRANSIENT), stop=StopReason.SHUTDOWN), failures=2)
    assert (verdict.attempt, verdict.job) == (AttemptStatus.CANCELLED, JobStatus.INCOMPLETE)
    assert (verdict.failures, verdict.not_before) == (2, NOW)


def test_one_that_follows_a_log_goes_on_with_the_next_server() -> None:
    assert judged(ended(GOOD, stop=StopReason.SHUTDOWN), follows=True).job is JobStatus.INCOMPLETE


@pytest.mark.parametrize("kind", list(ErrorKind))
def test_what_is_tried_again_is_what_the_table_says(kind: ErrorKind) -> None:
    verdict = judged(ended(result(kind)))
    assert verdict.attempt is AttemptStatus.FAILED
    assert verdict.job is (JobStatus.INCOMPLETE if error(kind).policy.retry else JobStatus.FAILED)
    assert (verdict.not_before is None) == (verdict.job is JobStatus.FAILED)
    assert verdict.error is not None
    assert verdict.error.kind is kind


def test_one_stream_that_may_mend_itself_is_reason_enough() -> None:
    verdict = judged(ended(result(ErrorKind.CONFIG, ErrorKind.TRANSIENT, None)))
    assert verdict.job is JobStatus.INCOMPLETE


def test_attempts_are_used_up_only_by_failures_without_progress() -> None:
    lost = error(ErrorKind.TRANSIENT)
    assert judged(ended(failure=lost), failures=2, attempts=3).job is JobStatus.FAILED
    verdict = judged(ended(failure=lost, committed=True), failures=2, attempts=3)
    assert (verdict.job, verdict.failures) == (JobStatus.INCOMPLETE, 1)


def test_even_progress_ends_some_time() -> None:
    lost = error(ErrorKind.TRANSIENT)
    assert judged(ended(failure=lost, committed=True), attempts=29).job is JobStatus.INCOMPLETE
    assert judged(ended(failure=lost, committed=True), attempts=30).job is JobStatus.FAILED
    assert judged(ended(failure=lost, committed=True), attempts=3000, follows=True).job is JobStatus.INCOMPLETE


def test_the_jobs_own_time_is_not_tried_again() -> None:
    assert judged(ended(failure=error(ErrorKind.TRANSIENT), stop=StopReason.TIMEOUT)).job is JobStatus.FAILED


@pytest.mark.parametrize("stop", [StopReason.STALLED, StopReason.LOST])
def test_a_stalled_or_lost_attempt_is_tried_again(stop: StopReason) -> None:
    assert judged(ended(failure=error(ErrorKind.TRANSIENT), stop=stop)).job is JobStatus.INCOMPLETE


def test_what_a_newer_run_has_taken_over_is_not_taken_back() -> None:
    policy = RetryPolicy(max_attempts=100)
    taken = SynclineError.from_json(SynclineError(ErrorKind.CONFLICT, "taken over", final=True).to_json())
    assert retry_delay([error(ErrorKind.TRANSIENT), taken], 1, policy) is None
    assert retry_delay([error(ErrorKind.CONFLICT)], 1, policy) is not None


def test_waits_grow_up_to_the_ceiling_with_jitter() -> None:
    policy = RetryPolicy(max_attempts=100, base_seconds=10, ceiling_seconds=60)
    for failures, longest in ((1, 10.0), (2, 20.0), (3, 40.0), (4, 60.0), (50, 60.0)):
        waits = {retry_delay([error(ErrorKind.TRANSIENT)], failures, policy) for _ in range(50)}
        assert all(wait is not None and longest / 2 <= wait <= longest for wait in waits)
        assert len(waits) > 10
