"""Who listens to runs from outside: metrics, traces and alerts. What is told is what journals hold, so that a listener
hears the same of an attempt in this process, of one in its own, and of one that went on while no server ran."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from syncline.core.errors import SynclineError
from syncline.engine.events import Event

__all__ = ["Listener", "Listeners", "Run", "RunEnd"]


@dataclass(frozen=True, kw_only=True)
class Run:
    """The run that an event is about. ``connection`` is its name; ``connection_id``, ``workspace`` and ``job`` are
    the server's, empty and 0 on the command line. ``attempt`` counts from 1. ``started_at`` (UTC) is the first
    attempt's start; ``kind`` what the job does, in Airbyte's words (``sync``, ``clear``, ``refresh``)."""

    connection: str
    sync_id: str
    attempt: int
    started_at: datetime
    connection_id: str = ""
    workspace: str = ""
    job: int = 0
    kind: str = "sync"
    follows: bool = False


@dataclass(frozen=True, kw_only=True)
class RunEnd:
    """How an attempt ended, and with it the run when ``final``. ``status``: succeeded | failed | cancelled, of the
    attempt, and of the run when it is final. ``seconds`` and counts are of the whole run so far."""

    status: str
    final: bool
    error: SynclineError | None
    seconds: float
    rows: int
    bytes: int


class Listener(Protocol):
    """Called from the thread that reads the journal, in the order of events. Must be quick, must not raise, must not
    wait: whatever may take time goes to a thread of the listener's own."""

    def heard(self, run: Run, event: Event) -> None:
        """Something happened. An event may come twice: a server that died before it remembered reads it again."""
        ...

    def ended(self, run: Run, end: RunEnd) -> None:
        """An attempt is over. Told once of each by the server that settled it."""
        ...


class Listeners:
    """Several as one."""

    def __init__(self, each: Sequence[Listener]) -> None:
        self._each = tuple(each)

    def heard(self, run: Run, event: Event) -> None:
        for listener in self._each:
            listener.heard(run, event)

    def ended(self, run: Run, end: RunEnd) -> None:
        for listener in self._each:
            listener.ended(run, end)
