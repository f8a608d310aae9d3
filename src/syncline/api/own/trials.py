"""Trying before saving: a configuration that is not stored, and what a changed selection would do."""

from __future__ import annotations

import hashlib
from typing import Any
from uuid import UUID

from fastapi import Request

from syncline.api.context import CallerOf, ControlOf
from syncline.api.looking import LONG_WAIT, Looking, about_caller, outside
from syncline.api.own.examinations import PlanRead, StreamPlanRead
from syncline.api.paging import as_uuid
from syncline.api.public.connections import streams_of
from syncline.api.public.models import StreamConfigurations
from syncline.api.routes import Routes
from syncline.api.wire import WireModel
from syncline.core.errors import SynclineError
from syncline.service import examinations, probes
from syncline.service.callers import Caller
from syncline.service.control import Control
from syncline.store.values import ActorRole

__all__ = ["trials_router"]

trials_router = Routes(tags=["Examinations"])


class TrialBody(WireModel):
    """``actorId``: a stored source or destination whose secrets stand where the configuration has ``**********``."""

    workspace_id: UUID
    configuration: dict[str, Any]
    definition_id: UUID | None = None
    actor_id: UUID | None = None


class FindingRead(WireModel):
    """One thing that the connector looked at. ``severity``: ``error`` keeps it from working."""

    severity: str
    message: str
    hint: str = ""


class TrialRead(WireModel):
    """``ok`` says that it can be used; ``message`` why not, and what to do, ``field`` where, if it is one field's."""

    ok: bool
    message: str = ""
    field: str | None = None
    findings: list[FindingRead] = []


@trials_router.post("/sources/check", operation_id="checkSourceConfiguration")
async def check_source(request: Request, control: ControlOf, caller: CallerOf, body: TrialBody) -> TrialRead:
    """Can a source with this configuration be used? Nothing is stored. 409 while the other system has not answered."""
    return await _check(request, control, caller, "source", body)


@trials_router.post("/destinations/check", operation_id="checkDestinationConfiguration")
async def check_destination(request: Request, control: ControlOf, caller: CallerOf, body: TrialBody) -> TrialRead:
    """The same for a destination."""
    return await _check(request, control, caller, "destination", body)


async def _check(request: Request, control: Control, caller: Caller, role: ActorRole, body: TrialBody) -> TrialRead:
    looking: Looking = request.app.state.looking
    # The very configuration is part of the key: who corrects a password must not get the former one's answer.
    # A digest, because the configuration holds secrets.
    key = ("trial", role, caller.user_id, hashlib.sha256(body.model_dump_json().encode()).hexdigest())

    def look() -> probes.ProbeResult:
        return probes.check_configuration(
            control,
            caller,
            role,
            body.configuration,
            workspace_id=body.workspace_id,
            definition_id=body.definition_id,
            actor_id=body.actor_id,
        )

    try:
        result = await looking.run(key, LONG_WAIT, look)
    except SynclineError as error:
        if about_caller(error):
            raise
        # A configuration that its model refuses is answered like one that the system refuses: it can be mended here.
        message = f"{error.message}. {error.hint}" if error.hint else error.message
        return TrialRead(ok=False, message=message, field=error.where.get("field"))
    findings = [FindingRead.model_validate(each, by_name=True) for each in result.findings]
    return TrialRead(ok=result.ok, message=result.message, findings=findings)


@trials_router.post("/connections/{connectionId}/plan/draft", operation_id="planConnectionDraft")
async def plan_draft(
    request: Request, control: ControlOf, caller: CallerOf, connectionId: str, body: StreamConfigurations
) -> PlanRead:
    """What a sync would do if the connection took these streams. Looks at both ends, changes neither, stores nothing.
    409 while that lasts."""
    looking: Looking = request.app.state.looking
    wanted = as_uuid(connectionId)
    key = ("draft", caller.user_id, wanted, hashlib.sha256(body.model_dump_json().encode()).hexdigest())
    try:
        found = await looking.run(
            key,
            LONG_WAIT,
            lambda: examinations.plan(control, caller, wanted, streams=streams_of(body)),
        )
    except SynclineError as error:
        raise outside(error) from error
    streams = [StreamPlanRead.model_validate(each, by_name=True) for each in found]
    return PlanRead(connection_id=str(wanted), streams=streams)
