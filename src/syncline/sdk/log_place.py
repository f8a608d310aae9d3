"""A destination that was taken out of its connection, and put back when the log had moved on without it."""

from __future__ import annotations

from syncline.core.errors import SynclineError

__all__ = ["PlaceGoneError"]


class PlaceGoneError(SynclineError):
    """Raised by :meth:`~syncline.sdk.change_log.ChangeLog.open`: nothing was kept for this destination, as its user
    wanted, and its positions cannot be continued. Whoever opens forgets them, so that all streams are copied anew and
    join, and opens again."""
