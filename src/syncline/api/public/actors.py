"""Sources and destinations in the public API: the same routes twice, in two words.

Creating and changing look at the configuration, never at the system that it names: clients wait five seconds.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query, Response

from syncline.api.context import CallerOf, ControlOf
from syncline.api.paging import PagingOf, WorkspaceIds, as_uuid
from syncline.api.public.models import (
    ActorPatch,
    ActorPut,
    DestinationCreate,
    DestinationResponse,
    DestinationsResponse,
    SourceCreate,
    SourceResponse,
    SourcesResponse,
)
from syncline.api.routes import Routes
from syncline.service import actors
from syncline.service.actors import ActorChange, NewActor
from syncline.service.changes import UNSET
from syncline.store.values import Actor

__all__ = ["destinations_router", "sources_router"]

sources_router = Routes(tags=["Sources"])
destinations_router = Routes(tags=["Destinations"])

Deleted = Annotated[bool, Query(alias="includeDeleted")]


def source_response(source: Actor) -> SourceResponse:
    return SourceResponse(source_id=str(source.id), source_type=source.type_name, **_shared(source))


def destination_response(destination: Actor) -> DestinationResponse:
    return DestinationResponse(
        destination_id=str(destination.id), destination_type=destination.type_name, **_shared(destination)
    )


def _shared(actor: Actor) -> dict[str, Any]:
    return {
        "name": actor.name,
        "definition_id": str(actor.definition_id),
        "workspace_id": str(actor.workspace_id),
        "configuration": dict(actor.configuration),
        "created_at": int(actor.created_at.timestamp()),
        "resource_allocation": actor.resource_allocation,
    }


def _new(body: SourceCreate | DestinationCreate) -> NewActor:
    return NewActor(
        workspace_id=body.workspace_id,
        name=body.name,
        configuration=body.configuration,
        definition_id=body.definition_id,
        resource_allocation=body.resource_allocation,
    )


def _change(body: ActorPatch) -> ActorChange:
    return ActorChange(
        name=UNSET if body.name is None else body.name,
        configuration=UNSET if body.configuration is None else body.configuration,
        resource_allocation=UNSET if body.resource_allocation is None else body.resource_allocation,
    )


@sources_router.get("/sources", operation_id="listSources")
def list_sources(
    control: ControlOf,
    caller: CallerOf,
    paging: PagingOf,
    workspace_ids: WorkspaceIds,
    include_deleted: Deleted = False,
) -> SourcesResponse:
    found = actors.list_actors(
        control, caller, "source", workspace_ids=workspace_ids, include_deleted=include_deleted, page=paging.page
    )
    return SourcesResponse(data=[source_response(each) for each in found.items], **paging.links(found.more))


@sources_router.post("/sources", operation_id="createSource")
def create_source(control: ControlOf, caller: CallerOf, body: SourceCreate) -> SourceResponse:
    return source_response(actors.create(control, caller, "source", _new(body)))


@sources_router.get("/sources/{sourceId}", operation_id="getSource")
def get_source(control: ControlOf, caller: CallerOf, sourceId: str) -> SourceResponse:
    return source_response(actors.get(control, caller, "source", as_uuid(sourceId)))


@sources_router.patch("/sources/{sourceId}", operation_id="patchSource")
def patch_source(control: ControlOf, caller: CallerOf, sourceId: str, body: ActorPatch) -> SourceResponse:
    """What is absent stays, and so does a secret given as ``**********``."""
    return source_response(actors.update(control, caller, "source", as_uuid(sourceId), _change(body)))


@sources_router.put("/sources/{sourceId}", operation_id="putSource")
def put_source(control: ControlOf, caller: CallerOf, sourceId: str, body: ActorPut) -> SourceResponse:
    """The whole configuration anew; a secret given as ``**********`` stays."""
    replaced = actors.replace(
        control, caller, "source", as_uuid(sourceId), name=body.name, configuration=body.configuration
    )
    return source_response(replaced)


@sources_router.delete("/sources/{sourceId}", operation_id="deleteSource", status_code=204)
def delete_source(control: ControlOf, caller: CallerOf, sourceId: str) -> Response:
    actors.delete(control, caller, "source", as_uuid(sourceId))
    return Response(status_code=204)


@destinations_router.get("/destinations", operation_id="listDestinations")
def list_destinations(
    control: ControlOf,
    caller: CallerOf,
    paging: PagingOf,
    workspace_ids: WorkspaceIds,
    include_deleted: Deleted = False,
) -> DestinationsResponse:
    found = actors.list_actors(
        control, caller, "destination", workspace_ids=workspace_ids, include_deleted=include_deleted, page=paging.page
    )
    return DestinationsResponse(data=[destination_response(each) for each in found.items], **paging.links(found.more))


@destinations_router.post("/destinations", operation_id="createDestination")
def create_destination(control: ControlOf, caller: CallerOf, body: DestinationCreate) -> DestinationResponse:
    return destination_response(actors.create(control, caller, "destination", _new(body)))


@destinations_router.get("/destinations/{destinationId}", operation_id="getDestination")
def get_destination(control: ControlOf, caller: CallerOf, destinationId: str) -> DestinationResponse:
    return destination_response(actors.get(control, caller, "destination", as_uuid(destinationId)))


@destinations_router.patch("/destinations/{destinationId}", operation_id="patchDestination")
def patch_destination(
    control: ControlOf,
    caller: CallerOf,
    destinationId: str,
    body: ActorPatch,
) -> DestinationResponse:
    """What is absent stays, and so does a secret given as ``**********``."""
    return destination_response(actors.update(control, caller, "destination", as_uuid(destinationId), _change(body)))


@destinations_router.put("/destinations/{destinationId}", operation_id="putDestination")
def put_destination(
    control: ControlOf,
    caller: CallerOf,
    destinationId: str,
    body: ActorPut,
) -> DestinationResponse:
    """The whole configuration anew; a secret given as ``**********`` stays."""
    replaced = actors.replace(
        control, caller, "destination", as_uuid(destinationId), name=body.name, configuration=body.configuration
    )
    return destination_response(replaced)


@destinations_router.delete("/destinations/{destinationId}", operation_id="deleteDestination", status_code=204)
def delete_destination(control: ControlOf, caller: CallerOf, destinationId: str) -> Response:
    actors.delete(control, caller, "destination", as_uuid(destinationId))
    return Response(status_code=204)
