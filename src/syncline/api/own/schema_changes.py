"""How the source of a connection has changed, run by run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from fastapi import Request
from pydantic import Field

from syncline.api.context import CallerOf, ControlOf
from syncline.api.looking import at_both_ends
from syncline.api.paging import as_uuid
from syncline.api.routes import Routes
from syncline.api.wire import WireModel
from syncline.service import previews, schema_events

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


class PendingChangeRead(WireModel):
    stream: str
    text: str


class RefusalRead(WireModel):
    """Why the next run would stop, at one stream or (without one) whole."""

    stream: str | None = None
    message: str
    hint: str = ""


class PendingChangesRead(WireModel):
    """How the source differs from what the last run saw. ``refused``: what waits for somebody to accept it;
    ``accepted``: streams whose changes were accepted just now."""

    connection_id: str
    changes: list[PendingChangeRead]
    refused: list[RefusalRead]
    accepted: list[str]


class AcceptBody(WireModel):
    """Without ``streams`` the changes of all."""

    streams: list[str] | None = Field(default=None, min_length=1, max_length=10_000)


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


@schema_changes_router.get("/connections/{connectionId}/schema-changes/pending", operation_id="getPendingSchemaChanges")
async def pending(request: Request, control: ControlOf, caller: CallerOf, connectionId: str) -> PendingChangesRead:
    """What the next run would find and do about it. Looks at both ends and changes neither; 409 while that lasts."""
    wanted = as_uuid(connectionId)
    look = ("changes", wanted)
    return _pending(
        wanted, await at_both_ends(request, caller, look, lambda: previews.changes(control, caller, wanted))
    )


@schema_changes_router.post("/connections/{connectionId}/schema-changes/accept", operation_id="acceptSchemaChanges")
async def accept(
    request: Request, control: ControlOf, caller: CallerOf, connectionId: str, body: AcceptBody | None = None
) -> PendingChangesRead:
    """Somebody has looked at them: the next run goes on with the source as it is. 409 while a job of the connection
    waits or runs, and while this goes on."""
    wanted, streams = as_uuid(connectionId), None if body is None else body.streams
    found = await at_both_ends(
        request,
        caller,
        ("accept", wanted, *(streams or ())),
        lambda: previews.accept_changes(control, caller, wanted, streams),
    )
    return _pending(wanted, found)


def _pending(connection: UUID, found: Mapping[str, Any]) -> PendingChangesRead:
    return PendingChangesRead(
        connection_id=str(connection),
        changes=[PendingChangeRead(stream=each["stream"], text=each["change"]) for each in found["changes"]],
        refused=[
            RefusalRead(stream=each.get("where", {}).get("stream"), message=each["message"], hint=each.get("hint", ""))
            for each in found["refused"]
        ],
        accepted=found["accepted"],
    )
