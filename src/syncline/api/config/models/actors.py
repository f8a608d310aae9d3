"""Sources and destinations as the config API has them."""

from __future__ import annotations

from typing import Any, Literal
from uuid import UUID

from pydantic import Field

from syncline.api.config.models.connections import SyncCatalog
from syncline.api.config.models.jobs import SynchronousJob
from syncline.api.wire import Name, WireModel

__all__ = [
    "ActorCreate",
    "ActorRead",
    "ActorUpdate",
    "CheckRead",
    "DestinationCreateBody",
    "DestinationIdBody",
    "DestinationList",
    "DestinationRead",
    "DestinationUpdateBody",
    "DiscoverBody",
    "DiscoverRead",
    "SourceCreateBody",
    "SourceIdBody",
    "SourceList",
    "SourceRead",
    "SourceUpdateBody",
]


class ActorCreate(WireModel):
    name: Name
    workspace_id: UUID
    connection_configuration: dict[str, Any]


class SourceCreateBody(ActorCreate):
    source_definition_id: UUID


class DestinationCreateBody(ActorCreate):
    destination_definition_id: UUID


class ActorUpdate(WireModel):
    """What is absent stays."""

    name: Name | None = None
    connection_configuration: dict[str, Any] | None = None


class SourceUpdateBody(ActorUpdate):
    source_id: UUID


class DestinationUpdateBody(ActorUpdate):
    destination_id: UUID


class SourceIdBody(WireModel):
    source_id: UUID


class DiscoverBody(SourceIdBody):
    disable_cache: bool = Field(default=False, alias="disable_cache")


class DestinationIdBody(WireModel):
    destination_id: UUID


class ActorRead(WireModel):
    """Secrets in ``connectionConfiguration`` are ``**********``."""

    workspace_id: str
    connection_configuration: dict[str, Any]
    name: str
    created_at: int


class SourceRead(ActorRead):
    source_definition_id: str
    source_id: str
    source_name: str


class DestinationRead(ActorRead):
    destination_definition_id: str
    destination_id: str
    destination_name: str


class SourceList(WireModel):
    sources: list[SourceRead]


class DestinationList(WireModel):
    destinations: list[DestinationRead]


class CheckRead(WireModel):
    status: Literal["succeeded", "failed"]
    message: str | None = None
    job_info: SynchronousJob


class DiscoverRead(WireModel):
    catalog: SyncCatalog | None = None
    catalog_id: str | None = None
    job_info: SynchronousJob
    breaking_change: bool = False
