"""Retry: a pure function of the failure and the history."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from syncline.core.errors import SynclineError
from syncline.engine.sync import AttemptResult

__all__ = ["MAX_ATTEMPTS", "RetryPolicy", "errors_of", "retry_delay"]

MAX_ATTEMPTS = 3


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """``max_attempts`` that fail one after the other, with nothing committed in between, end a job. Before the second
    one it waits about ``base_seconds``, then twice as long each time, at most ``ceiling_seconds``."""

    max_attempts: int = MAX_ATTEMPTS
    base_seconds: float = 1.0
    ceiling_seconds: float = 30.0


def retry_delay(errors: Sequence[SynclineError], failures: int, policy: RetryPolicy) -> float | None:
    """Seconds to wait after the ``failures``-th failure in a row, or None when it should not be tried again.

    One error that may pass by itself is reason enough: what cannot be mended by trying does not keep the other streams
    from another try. What a person must change is never tried again, nor anything once a newer run has taken over: to
    claim the streams a second time would take them from it. Exponential, with jitter, so that connections that
    failed together do not come back together."""
    if failures >= policy.max_attempts or any(e.final for e in errors) or not any(e.policy.retry for e in errors):
        return None
    wait = min(policy.ceiling_seconds, policy.base_seconds * 2.0 ** min(failures - 1, 30))
    return random.uniform(0.5, 1.0) * wait  # noqa: S311 - jitter, not a secret


def errors_of(result: AttemptResult) -> list[SynclineError]:
    """What failed in an attempt: its streams' errors, or its own."""
    return [s.error for s in result.streams if s.error] or ([result.error] if result.error else [])
