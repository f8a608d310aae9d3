"""Connector definitions as the public API has them."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from syncline.api.public.models.answers import Page
from syncline.api.wire import Name, WireModel

__all__ = [
    "DeclarativeCreate",
    "DeclarativeResponse",
    "DeclarativeUpdate",
    "DeclarativesResponse",
    "DefinitionBody",
    "DefinitionResponse",
    "DefinitionsResponse",
]


class DefinitionBody(WireModel):
    """A connector of the user's own, as an image."""

    name: Name
    docker_repository: str | None = Field(default=None, max_length=512)
    docker_image_tag: str | None = Field(default=None, max_length=128)
    documentation_url: str | None = Field(default=None, max_length=2048)


class DefinitionResponse(WireModel):
    id: str
    name: str
    docker_repository: str
    docker_image_tag: str
    documentation_url: str | None = None


class DefinitionsResponse(Page):
    data: list[DefinitionResponse]


class DeclarativeCreate(WireModel):
    """A source written as a manifest."""

    name: Name
    manifest: dict[str, Any]


class DeclarativeUpdate(WireModel):
    manifest: dict[str, Any]


class DeclarativeResponse(WireModel):
    id: str
    name: str
    manifest: dict[str, Any]
    version: int


class DeclarativesResponse(Page):
    data: list[DeclarativeResponse]
