"""Retry: a pure function of the failure and the history."""

from __future__ import annotations

import random

from syncline.core.errors import SynclineError

__all__ = ["MAX_ATTEMPTS", "retry_delay"]

MAX_ATTEMPTS = 3


def retry_delay(error: SynclineError, attempt: int, *, max_attempts: int = MAX_ATTEMPTS) -> float | None:
    """Seconds to wait before attempt ``attempt + 1``, or None when it should not be tried again.

    Exponential from 1 s with full jitter, at most 30 s. What a person must change is never tried again."""
    if not error.policy.retry or attempt >= max_attempts:
        return None
    return random.uniform(0.5, 1.0) * min(30.0, 2.0 ** (attempt - 1))  # noqa: S311 - jitter, not a secret
