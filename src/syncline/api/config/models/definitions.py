"""Connector definitions as the config API has them."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from syncline.api.config.models.jobs import SynchronousJob
from syncline.api.wire import WireModel

__all__ = [
    "DestinationDefinitionIdBody",
    "DestinationDefinitionList",
    "DestinationDefinitionRead",
    "DestinationSpecification",
    "SourceDefinitionIdBody",
    "SourceDefinitionList",
    "SourceDefinitionRead",
    "SourceSpecification",
    "WorkspaceBody",
]


class SourceDefinitionRead(WireModel):
    source_definition_id: str
    name: str
    docker_repository: str
    docker_image_tag: str
    documentation_url: str | None = None
    protocol_version: str = "0.2.0"
    source_type: str = "custom"
    custom: bool = False


class DestinationDefinitionRead(WireModel):
    destination_definition_id: str
    name: str
    docker_repository: str
    docker_image_tag: str
    documentation_url: str = ""
    protocol_version: str = "0.2.0"
    custom: bool = False


class SourceDefinitionList(WireModel):
    source_definitions: list[SourceDefinitionRead]


class DestinationDefinitionList(WireModel):
    destination_definitions: list[DestinationDefinitionRead]


class WorkspaceBody(WireModel):
    """Some clients name a workspace, some do not."""

    workspace_id: UUID | None = None


class SourceDefinitionIdBody(WorkspaceBody):
    source_definition_id: UUID


class DestinationDefinitionIdBody(WorkspaceBody):
    destination_definition_id: UUID


class SourceSpecification(WireModel):
    source_definition_id: str
    connection_specification: dict[str, Any]
    documentation_url: str | None = None
    job_info: SynchronousJob


class DestinationSpecification(WireModel):
    destination_definition_id: str
    connection_specification: dict[str, Any]
    documentation_url: str | None = None
    supported_destination_sync_modes: list[str]
    job_info: SynchronousJob
