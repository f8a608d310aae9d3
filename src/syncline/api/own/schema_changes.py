"""How the source of a connection has changed, run by run."""

from __future__ import annotations

from syncline.api.context import CallerOf, ControlOf
from syncline.api.paging import as_uuid
from syncline.api.routes import Routes
from syncline.api.wire import WireModel
from syncline.service import schema_events

__all__ = ["schema_changes_router"]

schema_changes_router = Routes(tags=["Connections"])


class SchemaChangeRead(WireModel):
    """``change``: added, dropped, renamed, widened, narrowed, retyped, optional, required, key, called, stream_added or
    stream_vanished. ``before`` is absent for what is new, ``after`` for what is gone; ``text`` is for people."""

    at: str
    job_id: int
    stream: str
    change: str
    before: str | None = None
    after: str | None = None
    text: str


class SchemaChangesRead(WireModel):
    connection_id: str
    changes: list[SchemaChangeRead]


@schema_changes_router.get("/connections/{connectionId}/schema-changes", operation_id="getConnectionSchemaChanges")
def connection_schema_changes(control: ControlOf, caller: CallerOf, connectionId: str) -> SchemaChangesRead:
    """Oldest first, as far back as events are kept."""
    found = schema_events.schema_changes_of(control, caller, as_uuid(connectionId))
    changes = [
        SchemaChangeRead(
            at=event.at.isoformat(),
            job_id=event.job_id,
            stream=event.data["stream"],
            change=event.data["change"],
            before=event.data["before"],
            after=event.data["after"],
            text=event.data["text"],
        )
        for event in found
    ]
    return SchemaChangesRead(connection_id=connectionId, changes=changes)
