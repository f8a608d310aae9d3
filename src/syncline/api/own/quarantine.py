"""Quarantine of a connection: rows that were set aside, looked through, written after all, or dropped."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query, Request
from pydantic import Field

from syncline.api.context import CallerOf, ControlOf
from syncline.api.looking import at_both_ends
from syncline.api.paging import as_uuid
from syncline.api.routes import Routes
from syncline.api.wire import WireModel
from syncline.service import stored_quarantine

__all__ = ["quarantine_router"]

quarantine_router = Routes(tags=["Quarantine"])


class ReasonRead(WireModel):
    column: str | None = None
    reason: str
    rows: int


class StreamQuarantineRead(WireModel):
    stream: str
    rows: int
    reasons: list[ReasonRead]


class QuarantineRead(WireModel):
    connection_id: str
    streams: list[StreamQuarantineRead]


class CellRead(WireModel):
    column: str
    value: str | None = None


class QuarantinedRowRead(WireModel):
    """``record`` has the row's values as text, NULL as null; long ones are cut. ``replayable``: its own bytes were
    kept."""

    id: str
    column: str | None = None
    reason: str
    partition: str
    sync_id: str
    generation: int
    at: str
    replayable: bool
    record: list[CellRead]


class QuarantinedRows(WireModel):
    """``total``: how many there are of the stream, or of the reason that was asked for."""

    stream: str
    total: int
    rows: list[QuarantinedRowRead]


class ChosenRows(WireModel):
    """Rows of one stream by their ids, or ``all`` of them."""

    stream: str = Field(min_length=1, max_length=1000)
    ids: list[str] | None = Field(default=None, min_length=1, max_length=100_000)
    all: bool = False


class StaysRead(WireModel):
    id: str
    why: str


class ReplayedRead(WireModel):
    """``written`` rows are visible now, ``aside`` were refused by the destination again; the others stay: they still
    break a gate, have a newer row under their key, or cannot be made rows again."""

    written: int
    aside: int
    stays: list[StaysRead]


class DroppedRead(WireModel):
    dropped: int


@quarantine_router.get("/connections/{connectionId}/quarantine", operation_id="getQuarantine")
async def summary(request: Request, control: ControlOf, caller: CallerOf, connectionId: str) -> QuarantineRead:
    """How many rows lie there, by stream and reason. Asks the destination; 409 while that lasts."""
    wanted = as_uuid(connectionId)
    found = await at_both_ends(
        request, caller, ("quarantine", wanted), lambda: stored_quarantine.summary(control, caller, wanted)
    )
    streams = [StreamQuarantineRead.model_validate(each, by_name=True) for each in found]
    return QuarantineRead(connection_id=str(wanted), streams=streams)


@quarantine_router.get("/connections/{connectionId}/quarantine/rows", operation_id="getQuarantinedRows")
async def rows(
    request: Request,
    control: ControlOf,
    caller: CallerOf,
    connectionId: str,
    stream: Annotated[str, Query(min_length=1, max_length=1000)],
    reason: Annotated[str | None, Query(max_length=10_000)] = None,
    offset: Annotated[int, Query(ge=0, le=2**31 - 1)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
) -> QuarantinedRows:
    """The rows of one stream, oldest first. Asks the destination; 409 while that lasts."""
    wanted = as_uuid(connectionId)
    found = await at_both_ends(
        request,
        caller,
        ("quarantine-rows", wanted, stream, reason, offset, limit),
        lambda: stored_quarantine.rows(control, caller, wanted, stream, reason=reason, offset=offset, limit=limit),
    )
    return QuarantinedRows(stream=found["stream"], total=found["total"], rows=[_row(each) for each in found["rows"]])


def _row(found: Any) -> QuarantinedRowRead:
    cells = [CellRead(column=column, value=value) for column, value in found["record"].items()]
    return QuarantinedRowRead.model_validate({**found, "record": cells}, by_name=True)


@quarantine_router.post("/connections/{connectionId}/quarantine/replay", operation_id="replayQuarantine")
async def replay(
    request: Request, control: ControlOf, caller: CallerOf, connectionId: str, body: ChosenRows
) -> ReplayedRead:
    """Write rows after all, by the normal path and each once. 409 while a job of the connection waits or runs, and
    while the writing goes on: ask again for its outcome."""
    wanted, ids = as_uuid(connectionId), stored_quarantine.chosen(body.ids, body.all)
    found = await at_both_ends(
        request,
        caller,
        ("quarantine-replay", wanted, body.model_dump_json()),
        lambda: stored_quarantine.replay(control, caller, wanted, body.stream, ids),
    )
    stays = {**found["failing"], **found["superseded"], **found["unreadable"]}
    return ReplayedRead(
        written=found["written"],
        aside=found["aside"],
        stays=[StaysRead(id=number, why=why) for number, why in stays.items()],
    )


@quarantine_router.post("/connections/{connectionId}/quarantine/drop", operation_id="dropQuarantine")
async def drop(
    request: Request, control: ControlOf, caller: CallerOf, connectionId: str, body: ChosenRows
) -> DroppedRead:
    """Remove rows for good. 409 as for a replay."""
    wanted, ids = as_uuid(connectionId), stored_quarantine.chosen(body.ids, body.all)
    found = await at_both_ends(
        request,
        caller,
        ("quarantine-drop", wanted, body.model_dump_json()),
        lambda: stored_quarantine.drop(control, caller, wanted, body.stream, ids),
    )
    return DroppedRead(dropped=found)
