"""Connector definitions and their specifications in the config API."""

from __future__ import annotations

import time
from uuid import UUID

from syncline.api.config.actors import synchronous_job
from syncline.api.config.models import (
    DestinationDefinitionIdBody,
    DestinationDefinitionList,
    DestinationDefinitionRead,
    DestinationSpecification,
    SourceDefinitionIdBody,
    SourceDefinitionList,
    SourceDefinitionRead,
    SourceSpecification,
    WorkspaceBody,
)
from syncline.api.context import CallerOf, ControlOf
from syncline.api.routes import Routes
from syncline.service import definitions
from syncline.service.definitions import Definition

__all__ = ["config_definitions_router"]

config_definitions_router = Routes(tags=["Definitions"])
_route = config_definitions_router

#: In the config API's words: what a destination may be asked for.
DESTINATION_MODES = ["overwrite", "append", "append_dedup", "overwrite_dedup"]


def _source(definition: Definition) -> SourceDefinitionRead:
    return SourceDefinitionRead(
        source_definition_id=str(definition.id),
        name=definition.name,
        docker_repository=definition.docker_repository,
        docker_image_tag=definition.docker_image_tag,
        documentation_url=definition.documentation_url,
        custom=definition.custom,
    )


def _destination(definition: Definition) -> DestinationDefinitionRead:
    return DestinationDefinitionRead(
        destination_definition_id=str(definition.id),
        name=definition.name,
        docker_repository=definition.docker_repository,
        docker_image_tag=definition.docker_image_tag,
        documentation_url=definition.documentation_url or "",
        custom=definition.custom,
    )


@_route.post("/source_definitions/list", operation_id="listSourceDefinitionsConfig")
@_route.post("/source_definitions/list_latest", operation_id="listLatestSourceDefinitions")
@_route.post("/source_definitions/list_for_workspace", operation_id="listSourceDefinitionsForWorkspace")
def list_source_definitions(
    control: ControlOf, caller: CallerOf, body: WorkspaceBody | None = None
) -> SourceDefinitionList:
    found = definitions.list_definitions(control, caller, "source", _workspace(body))
    return SourceDefinitionList(source_definitions=[_source(each) for each in found])


@_route.post("/destination_definitions/list", operation_id="listDestinationDefinitionsConfig")
@_route.post("/destination_definitions/list_latest", operation_id="listLatestDestinationDefinitions")
@_route.post("/destination_definitions/list_for_workspace", operation_id="listDestinationDefinitionsForWorkspace")
def list_destination_definitions(
    control: ControlOf, caller: CallerOf, body: WorkspaceBody | None = None
) -> DestinationDefinitionList:
    found = definitions.list_definitions(control, caller, "destination", _workspace(body))
    return DestinationDefinitionList(destination_definitions=[_destination(each) for each in found])


@_route.post("/source_definitions/get", operation_id="getSourceDefinitionConfig")
@_route.post("/source_definitions/get_for_workspace", operation_id="getSourceDefinitionForWorkspace")
def get_source_definition(control: ControlOf, caller: CallerOf, body: SourceDefinitionIdBody) -> SourceDefinitionRead:
    return _source(definitions.get(control, caller, "source", body.source_definition_id))


@_route.post("/destination_definitions/get", operation_id="getDestinationDefinitionConfig")
@_route.post("/destination_definitions/get_for_workspace", operation_id="getDestinationDefinitionForWorkspace")
def get_destination_definition(
    control: ControlOf, caller: CallerOf, body: DestinationDefinitionIdBody
) -> DestinationDefinitionRead:
    return _destination(definitions.get(control, caller, "destination", body.destination_definition_id))


@_route.post("/source_definition_specifications/get", operation_id="getSourceDefinitionSpecification")
def source_specification(control: ControlOf, caller: CallerOf, body: SourceDefinitionIdBody) -> SourceSpecification:
    """The JSON schema of the connector's configuration."""
    started = time.time()
    specification = definitions.specification(definitions.get(control, caller, "source", body.source_definition_id))
    return SourceSpecification(
        source_definition_id=str(body.source_definition_id),
        connection_specification=dict(specification),
        job_info=synchronous_job("get_spec", started),
    )


@_route.post("/destination_definition_specifications/get", operation_id="getDestinationDefinitionSpecification")
def destination_specification(
    control: ControlOf, caller: CallerOf, body: DestinationDefinitionIdBody
) -> DestinationSpecification:
    """The JSON schema of the connector's configuration."""
    started = time.time()
    specification = definitions.specification(
        definitions.get(control, caller, "destination", body.destination_definition_id)
    )
    return DestinationSpecification(
        destination_definition_id=str(body.destination_definition_id),
        connection_specification=dict(specification),
        supported_destination_sync_modes=DESTINATION_MODES,
        job_info=synchronous_job("get_spec", started),
    )


def _workspace(body: WorkspaceBody | None) -> UUID | None:
    return None if body is None else body.workspace_id
