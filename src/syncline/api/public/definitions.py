"""Connector definitions of a workspace: images of the user's own, and manifests."""

from __future__ import annotations

from syncline.api.context import CallerOf, ControlOf
from syncline.api.errors import ApiError
from syncline.api.paging import as_uuid
from syncline.api.public.models import (
    DeclarativeCreate,
    DeclarativeResponse,
    DeclarativesResponse,
    DeclarativeUpdate,
    DefinitionBody,
    DefinitionResponse,
    DefinitionsResponse,
)
from syncline.api.routes import Routes
from syncline.sdk.connector import Role
from syncline.service import definitions, workspaces
from syncline.service.callers import Caller
from syncline.service.changes import UNSET
from syncline.service.control import Control
from syncline.service.definitions import Definition, DefinitionChange, NewDefinition
from syncline.service.errors import NotFoundError

__all__ = ["definitions_router"]

definitions_router = Routes(tags=["Definitions"])


def definition_response(definition: Definition) -> DefinitionResponse:
    return DefinitionResponse(
        id=str(definition.id),
        name=definition.name,
        docker_repository=definition.docker_repository,
        docker_image_tag=definition.docker_image_tag,
        documentation_url=definition.documentation_url,
    )


def declarative_response(definition: Definition) -> DeclarativeResponse:
    return DeclarativeResponse(
        id=str(definition.id), name=definition.name, manifest=dict(definition.manifest or {}), version=1
    )


def _add_routes(role: Role) -> None:
    """The same five routes for sources and for destinations."""
    base, word = f"/workspaces/{{workspaceId}}/definitions/{role}s", role.capitalize()
    route = definitions_router

    @route.get(base, operation_id=f"list{word}Definitions")
    def list_definitions(control: ControlOf, caller: CallerOf, workspaceId: str) -> DefinitionsResponse:
        """The built-in ones and the workspace's own."""
        found = _listed(control, caller, role, workspaceId)
        return DefinitionsResponse(data=[definition_response(each) for each in found if each.manifest is None])

    @route.post(base, operation_id=f"create{word}Definition")
    def create_definition(
        control: ControlOf,
        caller: CallerOf,
        workspaceId: str,
        body: DefinitionBody,
    ) -> DefinitionResponse:
        return definition_response(definitions.create(control, caller, role, as_uuid(workspaceId), _new(body)))

    @route.get(base + "/{definitionId}", operation_id=f"get{word}Definition")
    def get_definition(
        control: ControlOf,
        caller: CallerOf,
        workspaceId: str,
        definitionId: str,
    ) -> DefinitionResponse:
        return definition_response(_own(control, caller, role, workspaceId, definitionId))

    @route.put(base + "/{definitionId}", operation_id=f"update{word}Definition")
    def update_definition(
        control: ControlOf,
        caller: CallerOf,
        workspaceId: str,
        definitionId: str,
        body: DefinitionBody,
    ) -> DefinitionResponse:
        found = _own(control, caller, role, workspaceId, definitionId)
        change = DefinitionChange(
            name=body.name,
            docker_image_tag=UNSET if body.docker_image_tag is None else body.docker_image_tag,
            documentation_url=body.documentation_url,
        )
        return definition_response(definitions.update(control, caller, role, found.id, change))

    @route.delete(base + "/{definitionId}", operation_id=f"delete{word}Definition")
    def delete_definition(
        control: ControlOf,
        caller: CallerOf,
        workspaceId: str,
        definitionId: str,
    ) -> DefinitionResponse:
        """Answered with what was deleted, unlike every other deletion."""
        found = _own(control, caller, role, workspaceId, definitionId)
        definitions.delete(control, caller, role, found.id)
        return definition_response(found)


_add_routes("source")
_add_routes("destination")

_DECLARATIVE = "/workspaces/{workspaceId}/definitions/declarative_sources"


@definitions_router.get(_DECLARATIVE, operation_id="listDeclarativeSourceDefinitions")
def list_declarative(control: ControlOf, caller: CallerOf, workspaceId: str) -> DeclarativesResponse:
    found = _listed(control, caller, "source", workspaceId)
    return DeclarativesResponse(data=[declarative_response(each) for each in found if each.manifest is not None])


@definitions_router.post(_DECLARATIVE, operation_id="createDeclarativeSourceDefinition")
def create_declarative(
    control: ControlOf,
    caller: CallerOf,
    workspaceId: str,
    body: DeclarativeCreate,
) -> DeclarativeResponse:
    new = NewDefinition(name=body.name, manifest=body.manifest)
    return declarative_response(definitions.create(control, caller, "source", as_uuid(workspaceId), new))


@definitions_router.get(_DECLARATIVE + "/{definitionId}", operation_id="getDeclarativeSourceDefinition")
def get_declarative(
    control: ControlOf,
    caller: CallerOf,
    workspaceId: str,
    definitionId: str,
) -> DeclarativeResponse:
    return declarative_response(_manifest(control, caller, workspaceId, definitionId))


@definitions_router.put(_DECLARATIVE + "/{definitionId}", operation_id="updateDeclarativeSourceDefinition")
def update_declarative(
    control: ControlOf,
    caller: CallerOf,
    workspaceId: str,
    definitionId: str,
    body: DeclarativeUpdate,
) -> DeclarativeResponse:
    found = _manifest(control, caller, workspaceId, definitionId)
    change = DefinitionChange(manifest=body.manifest)
    return declarative_response(definitions.update(control, caller, "source", found.id, change))


@definitions_router.delete(_DECLARATIVE + "/{definitionId}", operation_id="deleteDeclarativeSourceDefinition")
def delete_declarative(
    control: ControlOf,
    caller: CallerOf,
    workspaceId: str,
    definitionId: str,
) -> DeclarativeResponse:
    found = _manifest(control, caller, workspaceId, definitionId)
    definitions.delete(control, caller, "source", found.id)
    return declarative_response(found)


def _new(body: DefinitionBody) -> NewDefinition:
    if not body.docker_repository or not body.docker_image_tag:
        raise ApiError(422, "dockerRepository and dockerImageTag are required.")
    return NewDefinition(
        name=body.name,
        docker_repository=body.docker_repository,
        docker_image_tag=body.docker_image_tag,
        documentation_url=body.documentation_url,
    )


def _listed(control: Control, caller: Caller, role: Role, workspace_id: str) -> list[Definition]:
    """404 for a workspace that is not there."""
    workspace = workspaces.get(control, caller, as_uuid(workspace_id))
    return definitions.list_definitions(control, caller, role, workspace.id)


def _own(control: Control, caller: Caller, role: Role, workspace_id: str, definition_id: str) -> Definition:
    """One that the workspace can use: built in, or its own."""
    workspace = workspaces.get(control, caller, as_uuid(workspace_id))
    found = definitions.get(control, caller, role, as_uuid(definition_id))
    if found.workspace_id not in (None, workspace.id):
        raise NotFoundError(f"{role} definition", definition_id)
    return found


def _manifest(control: Control, caller: Caller, workspace_id: str, definition_id: str) -> Definition:
    found = _own(control, caller, "source", workspace_id, definition_id)
    if found.manifest is None:
        raise NotFoundError("declarative source definition", definition_id)
    return found
