"""Sources and destinations as the public API has them."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from syncline.api.public.models.answers import Page
from syncline.api.wire import Name, WireModel

__all__ = [
    "ActorCreate",
    "ActorPatch",
    "ActorPut",
    "DestinationCreate",
    "DestinationResponse",
    "DestinationsResponse",
    "SourceCreate",
    "SourceResponse",
    "SourcesResponse",
]


class ActorCreate(WireModel):
    name: Name
    workspace_id: UUID
    configuration: dict[str, Any]
    definition_id: UUID | None = None
    resource_allocation: dict[str, Any] | None = None


class SourceCreate(ActorCreate):
    """The connector comes from ``definitionId``, else from ``configuration.sourceType``."""


class DestinationCreate(ActorCreate):
    """The connector comes from ``definitionId``, else from ``configuration.destinationType``."""


class ActorPatch(WireModel):
    """What is absent stays."""

    name: Name | None = None
    configuration: dict[str, Any] | None = None
    resource_allocation: dict[str, Any] | None = None


class ActorPut(WireModel):
    name: Name
    configuration: dict[str, Any]


class SourceResponse(WireModel):
    """Secrets in ``configuration`` are ``**********``; ``createdAt`` is in epoch seconds."""

    source_id: str
    name: str
    source_type: str
    definition_id: str
    workspace_id: str
    configuration: dict[str, Any]
    created_at: int
    resource_allocation: dict[str, Any] | None = None


class SourcesResponse(Page):
    data: list[SourceResponse]


class DestinationResponse(WireModel):
    """As :class:`SourceResponse`. ``configuration`` always holds ``destinationType``: the Python SDK cannot read it
    without."""

    destination_id: str
    name: str
    destination_type: str
    definition_id: str
    workspace_id: str
    configuration: dict[str, Any]
    created_at: int
    resource_allocation: dict[str, Any] | None = None


class DestinationsResponse(Page):
    data: list[DestinationResponse]
