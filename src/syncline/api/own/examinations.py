"""Looking at both ends of a connection: what a sync would do, whether both are equal, how far a log is behind."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import Request
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from syncline.api.context import CallerOf, ControlOf
from syncline.api.looking import LONG_WAIT, Looking, outside
from syncline.api.paging import as_uuid
from syncline.api.routes import Routes
from syncline.api.wire import WireModel
from syncline.core.errors import SynclineError
from syncline.service import connections, examinations
from syncline.service.examinations import Verification

__all__ = ["examinations_router"]

examinations_router = Routes(tags=["Examinations"])


class StreamPlanRead(WireModel):
    """What a sync would do with one stream. ``step``: an unfinished plan is taken up again, the whole stream is copied,
    or what came after ``position`` is read."""

    name: str
    namespace: str | None = None
    mode: str
    step: Literal["resume", "snapshot", "increment"]
    write: Literal["replace", "append", "merge"]
    reads_all: bool
    position: dict[str, Any] | None = None
    partitions: int
    partitions_done: int
    estimated_rows: int | None = None
    estimated_bytes: int | None = None
    note: str = ""


class PlanRead(WireModel):
    connection_id: str
    streams: list[StreamPlanRead]


class LogLagRead(WireModel):
    """Of a connection that follows a log. ``seconds`` 0: nothing waits. Positions are log sequence numbers."""

    connection_id: str
    seconds: float | None = None
    bytes: int | None = None
    position: int | None = None
    end: int
    retained_bytes: int
    spool_bytes: int
    slot: str
    held: dict[str, str] = {}


class VerifyBody(WireModel):
    """Without streams, all of them; a stream is ``name`` or ``namespace.name``."""

    streams: list[str] | None = Field(default=None, max_length=10_000)


class VerificationRead(WireModel):
    """``succeeded`` says that the comparison was made; ``equal`` how it came out, ``streams`` why."""

    verification_id: str
    connection_id: str
    status: Literal["running", "succeeded", "failed"]
    started_at: str
    ended_at: str | None = None
    equal: bool | None = None
    streams: list[dict[str, Any]] = []
    error: dict[str, Any] | None = None


def _read(found: Verification) -> VerificationRead:
    return VerificationRead(
        verification_id=str(found.id),
        connection_id=str(found.connection_id),
        status=found.status,
        started_at=found.started_at.isoformat(),
        ended_at=None if found.ended_at is None else found.ended_at.isoformat(),
        equal=found.equal,
        streams=[dict(each) for each in found.streams],
        error=None if found.error is None else found.error.to_json(),
    )


@examinations_router.post("/connections/{connectionId}/plan", operation_id="planConnection")
async def plan(request: Request, control: ControlOf, caller: CallerOf, connectionId: str) -> PlanRead:
    """What a sync would do now. Looks at both ends and changes neither. 409 while that lasts."""
    looking: Looking = request.app.state.looking
    connection = await run_in_threadpool(connections.get, control, caller, as_uuid(connectionId))
    try:
        found = await looking.run(
            ("plan", caller.user_id, connection.id),
            LONG_WAIT,
            lambda: examinations.plan(control, caller, connection.id),
        )
    except SynclineError as error:
        raise outside(error) from error
    streams = [StreamPlanRead.model_validate(each, by_name=True) for each in found]
    return PlanRead(connection_id=str(connection.id), streams=streams)


@examinations_router.get("/connections/{connectionId}/lag/log", operation_id="getConnectionLogLag")
async def log_lag(request: Request, control: ControlOf, caller: CallerOf, connectionId: str) -> LogLagRead:
    """How far a connection that follows a log is behind, in seconds and bytes; 422 for one that follows none. Asks both
    ends; 409 while that lasts."""
    looking: Looking = request.app.state.looking
    connection = await run_in_threadpool(connections.get, control, caller, as_uuid(connectionId))
    try:
        found = await looking.run(
            ("lag", caller.user_id, connection.id),
            LONG_WAIT,
            lambda: examinations.log_lag(control, caller, connection.id),
        )
    except SynclineError as error:
        raise outside(error) from error
    return LogLagRead.model_validate({**found, "connection_id": str(connection.id)}, by_name=True)


@examinations_router.post("/connections/{connectionId}/verify", operation_id="verifyConnection")
def verify(control: ControlOf, caller: CallerOf, connectionId: str, body: VerifyBody | None = None) -> VerificationRead:
    """Begin to compare both ends by content; ask for the result under its id. 409 when it is being done."""
    streams = None if body is None else body.streams
    return _read(examinations.verify(control, caller, as_uuid(connectionId), streams))


@examinations_router.get("/verifications/{verificationId}", operation_id="getVerification")
def verification(control: ControlOf, caller: CallerOf, verificationId: str) -> VerificationRead:
    """Kept in memory by the server that made it: gone after a restart."""
    return _read(examinations.verification(control, caller, as_uuid(verificationId)))
