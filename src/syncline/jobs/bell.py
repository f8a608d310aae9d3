"""The bell: whoever changed what the supervisor looks at rings, and it looks at once instead of at its next round.

Only within one process, and only to be quick: whatever is rung for stands in the store, and is found there without it.
"""

from __future__ import annotations

import threading

__all__ = ["BELL", "Bell"]


class Bell:
    """Safe from any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._count = 0

    def ring(self) -> None:
        with self._changed:
            self._count += 1
            self._changed.notify_all()

    @property
    def count(self) -> int:
        """How often it was rung; to be read before looking, and handed to :meth:`wait` after."""
        return self._count

    def wait(self, heard: int, timeout: float) -> bool:
        """Return as soon as it was rung more often than ``heard``, or after ``timeout`` seconds; whether it was."""
        with self._changed:
            return self._changed.wait_for(lambda: self._count > heard, timeout)


#: Of this process's server.
BELL = Bell()
