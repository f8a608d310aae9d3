"""Changes of sources, kept by the server as events of its jobs, and read back by connection. A connection that is to
stop at a change is made inactive."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any
from uuid import UUID

from syncline.core.errors import SynclineError
from syncline.engine.events import Event, SchemaChanged
from syncline.engine.listener import Run, RunEnd
from syncline.service import audit, connections
from syncline.service.callers import SYSTEM, Caller
from syncline.service.control import Control
from syncline.store import connections as rows
from syncline.store import job_events
from syncline.store.job_values import JobEvent, JobEventKind

__all__ = ["SchemaKeeper", "schema_changes_of"]

_log = logging.getLogger("syncline.server")

_NEWEST = 1000
_STOPS = "disable_connection"
_NEXT = "Accept the changes, then set the connection active."
#: As long as a reason may be that a caller gives.
_REASON = 1000
_KIND: JobEventKind = "schema_changed"


class SchemaKeeper:
    """Hears changes among what attempts say and writes them into the store."""

    def __init__(self, control: Control) -> None:
        self._control = control

    def heard(self, run: Run, event: Event) -> None:
        if not isinstance(event, SchemaChanged) or not run.connection_id:
            return
        told = {k: v for k, v in event.to_json().items() if k not in ("event", "at")}
        row = job_events.row(
            _KIND,
            datetime.fromisoformat(event.at),
            UUID(run.connection_id),
            UUID(run.workspace),
            job_id=run.job,
            data={**told, "text": event.text},
        )
        with self._control.database.write() as tx:
            job_events.add_many(tx, [row])

    def ended(self, run: Run, end: RunEnd) -> None:
        """A run that its policy has stopped takes its connection out of service, until somebody has looked. Should this
        be missed (the server dies now), the next run is stopped at the same place and it is done then."""
        error = end.error
        if not run.connection_id or not end.final or error is None or error.where.get("policy") != _STOPS:
            return
        try:
            with self._control.database.write() as tx:
                known = rows.find(tx, UUID(run.connection_id), lock=True)
                if known is None or known.status != "active":
                    return
                rows.set_status(tx, known.id, "inactive", f"{error.message}. {_NEXT}"[:_REASON])
                states: list[dict[str, Any]] = [{"status": known.status}, {"status": "inactive"}]
                audit.record(tx, SYSTEM, "update", "connection", known.id, known.workspace_id, *states)
        except SynclineError as failed:
            _log.error("connection %s could not be made inactive, the next run tries again: %s", run.connection, failed)


def schema_changes_of(control: Control, caller: Caller, connection_id: UUID) -> list[JobEvent]:
    """Oldest first, as far back as events are kept. "Not found" for what the caller may not see."""
    connections.get(control, caller, connection_id)
    with control.database.read() as tx:
        found = job_events.newest_of_kind(tx, connection_id, _KIND, limit=_NEWEST)
    # One that was read twice after a restart counts once.
    once: dict[tuple[Any, ...], JobEvent] = {}
    for event in found:
        data = event.data
        once[event.job_id, event.at, data["stream"], data["change"], data["before"], data["after"]] = event
    return list(once.values())
