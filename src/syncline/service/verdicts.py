"""Verdicts of quality gates, kept by the server as events of its jobs, and read back by stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from syncline.core.errors import SynclineError
from syncline.engine.events import Event, QualityJudged
from syncline.engine.listener import Run, RunEnd
from syncline.service import connections
from syncline.service.callers import Caller
from syncline.service.control import Control
from syncline.store import job_events
from syncline.store.job_values import JobEvent, JobEventKind

__all__ = ["StreamVerdicts", "VerdictKeeper", "failing", "verdicts_of"]

#: Verdicts of a connection that are looked at: enough for a chart of its last runs.
_NEWEST = 1000
_KIND: JobEventKind = "quality_judged"


@dataclass(frozen=True, kw_only=True)
class StreamVerdicts:
    """``newest`` is the last verdict on the stream; ``history`` all that are kept, oldest first, without results."""

    stream: str
    newest: JobEvent
    history: tuple[JobEvent, ...]


class VerdictKeeper:
    """Hears verdicts among what attempts say and writes them into the store."""

    def __init__(self, control: Control) -> None:
        self._control = control

    def heard(self, run: Run, event: Event) -> None:
        if not isinstance(event, QualityJudged) or not run.connection_id:
            return
        row = job_events.row(
            _KIND,
            datetime.fromisoformat(event.at),
            UUID(run.connection_id),
            UUID(run.workspace),
            job_id=run.job,
            data={k: v for k, v in event.to_json().items() if k not in ("event", "at")},
        )
        # The journal has it too: a store that is away must not hold up the run that is told of.
        with suppress(SynclineError), self._control.database.write() as tx:
            job_events.add_many(tx, [row])

    def ended(self, run: Run, end: RunEnd) -> None:
        pass


def verdicts_of(control: Control, caller: Caller, connection_id: UUID) -> list[StreamVerdicts]:
    """By stream, in the order of their names; none where nothing was judged. "Not found" for what the caller may not
    see."""
    connections.get(control, caller, connection_id)
    with control.database.read() as tx:
        found = job_events.newest_of_kind(tx, connection_id, _KIND, limit=_NEWEST)
    by_stream: dict[str, dict[tuple[Any, ...], JobEvent]] = {}
    for event in found:
        # One that was read twice after a restart counts once.
        by_stream.setdefault(event.data["stream"], {})[event.job_id, event.at] = event
    return [_verdicts(name, list(events.values())) for name, events in sorted(by_stream.items())]


def _verdicts(stream: str, events: Sequence[JobEvent]) -> StreamVerdicts:
    return StreamVerdicts(stream=stream, newest=events[-1], history=tuple(events))


def failing(results: Sequence[Mapping[str, Any]]) -> int:
    """How many gates were broken."""
    return sum(r["status"] in ("blocked", "warned", "quarantined") for r in results)
