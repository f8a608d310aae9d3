"""Quality gates of a connection as they are written, and what becomes of rows that they hold back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from fastapi import Request
from pydantic import Field

from syncline.api.context import CallerOf, ControlOf
from syncline.api.looking import at_both_ends
from syncline.api.own.quality import GateResultRead
from syncline.api.paging import as_uuid
from syncline.api.routes import Routes
from syncline.api.wire import WireModel
from syncline.service import stored_gates

__all__ = ["gates_router"]

gates_router = Routes(tags=["Quality"])


class LimitsWire(WireModel):
    """More rows than these set aside, or a greater part of the rows read, fail the run."""

    max_rows: int | None = Field(default=None, ge=0)
    max_percent: float | None = Field(default=None, ge=0, le=100)


class StreamGates(WireModel):
    """Gates as a project file has them: ``{"not_null": "id", "severity": "warn"}``."""

    gates: list[dict[str, Any]] = Field(default=[], max_length=10_000)
    quarantine: LimitsWire | None = None


class GatesBody(StreamGates):
    """``gates`` and ``quarantine`` hold for every stream, ``streams`` has more of both by name."""

    streams: dict[str, StreamGates] = {}


class HeldRead(WireModel):
    """Rows that gates keep from being seen: why, since when, and where they lie."""

    reason: str
    place: str
    since: str


class ProblemRead(WireModel):
    kind: str
    message: str
    hint: str = ""


class StreamHeldRead(WireModel):
    """What the ledger says: how many ``gates`` there are, what they said last, what is ``held`` back. ``error``: why
    a stream was not published."""

    stream: str
    gates: int
    judged_at: str | None = None
    held: HeldRead | None = None
    results: list[GateResultRead]
    error: ProblemRead | None = None


class HeldBack(WireModel):
    connection_id: str
    streams: list[StreamHeldRead]


class ReplayBody(WireModel):
    """Without ``streams`` all that is held back."""

    streams: list[str] | None = Field(default=None, max_length=10_000)


class PublishBody(WireModel):
    streams: list[str] = Field(min_length=1, max_length=10_000)


@gates_router.get("/connections/{connectionId}/gates", operation_id="getGates")
def get_gates(control: ControlOf, caller: CallerOf, connectionId: str) -> GatesBody:
    """As they were written."""
    return _written(stored_gates.get(control, caller, as_uuid(connectionId)))


@gates_router.put("/connections/{connectionId}/gates", operation_id="setGates")
def set_gates(control: ControlOf, caller: CallerOf, connectionId: str, body: GatesBody) -> GatesBody:
    """Take the place of what was said; the next run judges by them. 422 for a rule that cannot be, with its place."""
    said = body.model_dump(by_alias=False, exclude_none=True)
    return _written(stored_gates.replace_gates(control, caller, as_uuid(connectionId), said))


def _written(quality: Mapping[str, Any]) -> GatesBody:
    return GatesBody.model_validate(quality, by_name=True)


@gates_router.get("/connections/{connectionId}/quality/held", operation_id="getHeldBack")
async def held_back(request: Request, control: ControlOf, caller: CallerOf, connectionId: str) -> HeldBack:
    """What the ledger says of each stream's gates. Asks both ends; 409 while that lasts."""
    wanted = as_uuid(connectionId)
    found = await at_both_ends(
        request, caller, ("held", wanted), lambda: stored_gates.held_back(control, caller, wanted)
    )
    return _held(wanted, found)


@gates_router.post("/connections/{connectionId}/quality/replay", operation_id="replayHeldBack")
async def replay(
    request: Request, control: ControlOf, caller: CallerOf, connectionId: str, body: ReplayBody | None = None
) -> HeldBack:
    """Judge staged rows by the gates as they are now and publish what passes. Does not read the source. 409 while a job
    of the connection waits or runs, and while this goes on: ask again for its outcome."""
    wanted, streams = as_uuid(connectionId), None if body is None else body.streams
    found = await at_both_ends(
        request,
        caller,
        ("quality-replay", wanted, *(streams or ())),
        lambda: stored_gates.replay(control, caller, wanted, streams),
    )
    return _held(wanted, found)


@gates_router.post("/connections/{connectionId}/quality/publish", operation_id="publishHeldBack")
async def publish(
    request: Request, control: ControlOf, caller: CallerOf, connectionId: str, body: PublishBody
) -> HeldBack:
    """Publish staged rows although they break gates. 409 as for a replay."""
    wanted = as_uuid(connectionId)
    found = await at_both_ends(
        request,
        caller,
        ("quality-publish", wanted, *body.streams),
        lambda: stored_gates.publish(control, caller, wanted, body.streams),
    )
    return _held(wanted, found)


def _held(connection: UUID, found: Sequence[Mapping[str, Any]]) -> HeldBack:
    streams = [
        StreamHeldRead(
            stream=each["stream"],
            gates=each["gates"],
            judged_at=each["judged_at"],
            held=None if each["blocked"] is None else HeldRead(**each["blocked"]),
            results=[GateResultRead(**result) for result in each["results"]],
            error=ProblemRead.model_validate(each["error"], by_name=True) if "error" in each else None,
        )
        for each in found
    ]
    return HeldBack(connection_id=str(connection), streams=streams)
