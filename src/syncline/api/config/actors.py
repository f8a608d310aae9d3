"""Sources and destinations in the config API, and the looks at the systems that they name."""

from __future__ import annotations

import time
import uuid
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from fastapi import Request, Response
from starlette.concurrency import run_in_threadpool

from syncline.api.config.models import (
    ActorUpdate,
    AttemptLogs,
    CheckRead,
    DestinationCreateBody,
    DestinationIdBody,
    DestinationList,
    DestinationRead,
    DestinationUpdateBody,
    DiscoverBody,
    DiscoverRead,
    SourceCreateBody,
    SourceIdBody,
    SourceList,
    SourceRead,
    SourceUpdateBody,
    SyncCatalog,
    SynchronousJob,
    WorkspaceBody,
)
from syncline.api.context import CallerOf, ControlOf
from syncline.api.job_answers import failure_reason
from syncline.api.looking import LONG_WAIT, Looking, about_caller
from syncline.api.routes import Routes
from syncline.core.errors import SynclineError
from syncline.sdk.connector import Role
from syncline.service import actors, catalogs, probes
from syncline.service.actors import ActorChange, NewActor
from syncline.service.callers import Caller
from syncline.service.changes import UNSET
from syncline.service.control import Control
from syncline.store.paging import Page
from syncline.store.values import Actor

__all__ = ["config_actors_router", "destination_read", "source_read", "synchronous_job"]

config_actors_router = Routes()
_route = config_actors_router


def source_read(source: Actor) -> SourceRead:
    return SourceRead(
        source_id=str(source.id),
        source_definition_id=str(source.definition_id),
        source_name=source.type_name,
        **_shared(source),
    )


def destination_read(destination: Actor) -> DestinationRead:
    return DestinationRead(
        destination_id=str(destination.id),
        destination_definition_id=str(destination.definition_id),
        destination_name=destination.type_name,
        **_shared(destination),
    )


def _shared(actor: Actor) -> dict[str, Any]:
    return {
        "workspace_id": str(actor.workspace_id),
        "connection_configuration": dict(actor.configuration),
        "name": actor.name,
        "created_at": int(actor.created_at.timestamp()),
    }


def _all(control: Control, caller: Caller, role: Role, workspace_id: UUID | None) -> tuple[Actor, ...]:
    """Config clients know no pages here."""
    wanted = () if workspace_id is None else (workspace_id,)
    return actors.list_actors(control, caller, role, workspace_ids=wanted, page=Page(limit=None)).items


def _change(body: ActorUpdate) -> ActorChange:
    return ActorChange(
        name=UNSET if body.name is None else body.name,
        configuration=UNSET if body.connection_configuration is None else body.connection_configuration,
    )


@_route.post("/sources/create", operation_id="createSourceConfig", tags=["Sources"])
def create_source(control: ControlOf, caller: CallerOf, body: SourceCreateBody) -> SourceRead:
    new = NewActor(
        workspace_id=body.workspace_id,
        name=body.name,
        configuration=body.connection_configuration,
        definition_id=body.source_definition_id,
    )
    return source_read(actors.create(control, caller, "source", new))


@_route.post("/sources/get", operation_id="getSourceConfig", tags=["Sources"])
def get_source(control: ControlOf, caller: CallerOf, body: SourceIdBody) -> SourceRead:
    return source_read(actors.get(control, caller, "source", body.source_id))


@_route.post("/sources/list", operation_id="listSourcesForWorkspace", tags=["Sources"])
def list_sources(control: ControlOf, caller: CallerOf, body: WorkspaceBody) -> SourceList:
    return SourceList(sources=[source_read(each) for each in _all(control, caller, "source", body.workspace_id)])


@_route.post("/sources/update", operation_id="updateSourceConfig", tags=["Sources"])
@_route.post("/sources/partial_update", operation_id="partialUpdateSource", tags=["Sources"])
def update_source(control: ControlOf, caller: CallerOf, body: SourceUpdateBody) -> SourceRead:
    return source_read(actors.update(control, caller, "source", body.source_id, _change(body)))


@_route.post("/sources/delete", operation_id="deleteSourceConfig", status_code=204, tags=["Sources"])
def delete_source(control: ControlOf, caller: CallerOf, body: SourceIdBody) -> Response:
    actors.delete(control, caller, "source", body.source_id)
    return Response(status_code=204)


@_route.post("/sources/check_connection", operation_id="checkConnectionToSource", tags=["Sources"])
async def check_source(request: Request, control: ControlOf, caller: CallerOf, body: SourceIdBody) -> CheckRead:
    """``failed`` is a success of the request: it says why."""
    return await _check(request, control, caller, "source", body.source_id)


@_route.post("/sources/discover_schema", operation_id="discoverSchemaForSource", tags=["Sources"])
async def discover(request: Request, control: ControlOf, caller: CallerOf, body: DiscoverBody) -> DiscoverRead:
    """What the source offers now. A source that cannot be looked at is no failed request: ``jobInfo.succeeded`` says
    so."""
    looking: Looking = request.app.state.looking
    started = time.time()
    # A source that is not there must be 404, not a failed discovery.
    await _there(control, caller, "source", body.source_id)
    try:
        stored = await looking.run(
            ("discover", caller.user_id, body.source_id),
            LONG_WAIT,
            lambda: probes.discover(control, caller, body.source_id, fresh=True),
        )
    except SynclineError as error:
        if about_caller(error):
            raise
        return DiscoverRead(job_info=synchronous_job("discover_schema", started, error))
    catalog = SyncCatalog.model_validate(catalogs.airbyte_catalog(stored))
    return DiscoverRead(
        catalog=catalog, catalog_id=str(stored.id), job_info=synchronous_job("discover_schema", started)
    )


@_route.post("/destinations/create", operation_id="createDestinationConfig", tags=["Destinations"])
def create_destination(control: ControlOf, caller: CallerOf, body: DestinationCreateBody) -> DestinationRead:
    new = NewActor(
        workspace_id=body.workspace_id,
        name=body.name,
        configuration=body.connection_configuration,
        definition_id=body.destination_definition_id,
    )
    return destination_read(actors.create(control, caller, "destination", new))


@_route.post("/destinations/get", operation_id="getDestinationConfig", tags=["Destinations"])
def get_destination(control: ControlOf, caller: CallerOf, body: DestinationIdBody) -> DestinationRead:
    return destination_read(actors.get(control, caller, "destination", body.destination_id))


@_route.post("/destinations/list", operation_id="listDestinationsForWorkspace", tags=["Destinations"])
def list_destinations(control: ControlOf, caller: CallerOf, body: WorkspaceBody) -> DestinationList:
    return DestinationList(
        destinations=[destination_read(each) for each in _all(control, caller, "destination", body.workspace_id)]
    )


@_route.post("/destinations/update", operation_id="updateDestinationConfig", tags=["Destinations"])
@_route.post("/destinations/partial_update", operation_id="partialUpdateDestination", tags=["Destinations"])
def update_destination(control: ControlOf, caller: CallerOf, body: DestinationUpdateBody) -> DestinationRead:
    return destination_read(actors.update(control, caller, "destination", body.destination_id, _change(body)))


@_route.post("/destinations/delete", operation_id="deleteDestinationConfig", status_code=204, tags=["Destinations"])
def delete_destination(control: ControlOf, caller: CallerOf, body: DestinationIdBody) -> Response:
    actors.delete(control, caller, "destination", body.destination_id)
    return Response(status_code=204)


@_route.post("/destinations/check_connection", operation_id="checkConnectionToDestination", tags=["Destinations"])
async def check_destination(
    request: Request, control: ControlOf, caller: CallerOf, body: DestinationIdBody
) -> CheckRead:
    """``failed`` is a success of the request: it says why."""
    return await _check(request, control, caller, "destination", body.destination_id)


async def _there(control: Control, caller: Caller, role: Role, actor_id: UUID) -> None:
    await run_in_threadpool(actors.get, control, caller, role, actor_id)


async def _check(request: Request, control: Control, caller: Caller, role: Role, actor_id: UUID) -> CheckRead:
    looking: Looking = request.app.state.looking
    started = time.time()
    await _there(control, caller, role, actor_id)
    kind = f"check_connection_{role}"

    def look() -> probes.ProbeResult:
        return probes.check_actor(control, caller, role, actor_id)

    try:
        result = await looking.run((kind, caller.user_id, actor_id), LONG_WAIT, look)
    except SynclineError as error:
        if about_caller(error):
            raise
        return CheckRead(status="failed", message=error.message, job_info=synchronous_job(kind, started, error))
    return CheckRead(
        status="succeeded" if result.ok else "failed",
        message=result.message or None,
        job_info=synchronous_job(kind, started),
    )


def synchronous_job(kind: str, started: float, error: SynclineError | None = None) -> SynchronousJob:
    """The record of a look that began at ``started`` (epoch seconds) and has ended now."""
    return SynchronousJob(
        id=str(uuid.uuid4()),
        config_type=kind,
        created_at=int(started),
        ended_at=int(time.time()),
        succeeded=error is None,
        logs=AttemptLogs(log_lines=[] if error is None else [f"ERROR {error}"]),
        failure_reason=None if error is None else failure_reason(error, datetime.now(UTC)),
    )
