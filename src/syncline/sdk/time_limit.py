"""An end for what somebody else's words may make endless: a question in SQL, an expression over a row."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from syncline.core.errors import ErrorKind, SynclineError

__all__ = ["ANSWER_SECONDS", "TimeLimit", "time_limit", "too_long"]

#: Ten minutes for a gate's question, unless the gate says otherwise: what is to be published waits for it.
ANSWER_SECONDS = 600.0


class TimeLimit:
    """``passed``: the time was over before the block was."""

    def __init__(self) -> None:
        self._late = threading.Event()

    @property
    def passed(self) -> bool:
        return self._late.is_set()

    def over(self) -> None:
        self._late.set()


@contextmanager
def time_limit(seconds: float, interrupt: Callable[[], None]) -> Iterator[TimeLimit]:
    """Call ``interrupt`` from another thread when the block lasts longer than ``seconds``. What it makes of that is the
    block's own matter: it asks :attr:`TimeLimit.passed` when an error comes."""
    limit = TimeLimit()

    def end() -> None:
        limit.over()
        interrupt()

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield limit
    finally:
        timer.cancel()


def too_long(seconds: float) -> SynclineError:
    """A gate's question that was given up."""
    return SynclineError(
        ErrorKind.RESOURCE,
        f"a gate's question took longer than {seconds:g} s and was given up",
        hint="make it cheaper, index what it refers to, or give the gate more time (timeout: 30m)",
    )
