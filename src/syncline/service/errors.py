"""Errors of use cases whose HTTP status their kind alone does not tell."""

from __future__ import annotations

from uuid import UUID

from syncline.core.errors import ErrorKind, SynclineError

__all__ = ["LockedError", "NotFoundError", "RateLimitedError", "invalid"]


class NotFoundError(SynclineError):
    """There is no such thing, or the caller may not know of it. ``noun`` and ``id`` say which was asked for."""

    def __init__(self, noun: str, noun_id: UUID | str) -> None:
        hint = "it may have been deleted, or belong to somebody else"
        super().__init__(ErrorKind.CONFIG, f"there is no {noun} {noun_id}", hint=hint)
        self.noun = noun
        self.id = noun_id


class RateLimitedError(SynclineError):
    """Too many tries; ``retry_after`` is the wait in seconds."""

    def __init__(self, what: str, retry_after: float) -> None:
        super().__init__(ErrorKind.RESOURCE, f"too many {what}", hint=f"try again in {retry_after:.0f} s")
        self.retry_after = retry_after


class LockedError(SynclineError):
    """Not while a sync runs."""

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(ErrorKind.CONFLICT, message, hint=hint)


def invalid(field: str, problem: str, *, hint: str = "") -> SynclineError:
    """``config``: what was sent cannot be taken."""
    return SynclineError(ErrorKind.CONFIG, f"{field}: {problem}", hint=hint, where={"field": field})
