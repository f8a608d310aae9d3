"""What the engine needs from the floors above it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from syncline.engine.events import Event
from syncline.engine.task import PartitionTask, TaskOutcome
from syncline.sdk.connector import ConnectorContext
from syncline.sdk.reference import ConnectorReference
from syncline.sdk.source import Source

__all__ = ["EventSink", "Executor", "SourceOpener"]

#: Takes every event, from any thread, quickly and without raising.
EventSink = Callable[[Event], None]
#: As :func:`syncline.sdk.reference.open_source`; runs that share one reading get a source that shares.
SourceOpener = Callable[[ConnectorReference, ConnectorContext], Source]


class Executor(Protocol):
    """Runs partition tasks somewhere and hands their outcomes back, in any order.

    A task is plain JSON data and idempotent until committed, so an executor may run it again after losing a worker.
    """

    @property
    def slots(self) -> int:
        """How many tasks run at once."""
        ...

    def submit(self, task: PartitionTask) -> None:
        """Queue a task; returns at once."""
        ...

    def outcomes(self) -> Iterator[TaskOutcome]:
        """Outcomes as they come; blocks for the next one; ends when no submitted task is left."""
        ...

    def cancel(self) -> None:
        """Stop running tasks soon; their outcomes report ``cancelled`` errors."""
        ...

    def close(self) -> None: ...
