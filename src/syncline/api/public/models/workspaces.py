"""Workspaces as the public API has them."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from pydantic import Field

from syncline.api.public.models.answers import Page
from syncline.api.wire import Name, WireModel

__all__ = ["WorkspaceCreate", "WorkspacePatch", "WorkspaceResponse", "WorkspacesResponse"]


class WorkspaceCreate(WireModel):
    name: Name
    organization_id: UUID | None = None
    notifications: dict[str, Any] | None = None
    data_residency: str | None = None


class WorkspacePatch(WireModel):
    name: Name | None = None
    notifications: dict[str, Any] | None = None
    data_residency: str | None = None


class WorkspaceResponse(WireModel):
    workspace_id: str
    name: str
    data_residency: str = "auto"
    notifications: dict[str, Any] = Field(default_factory=dict)


class WorkspacesResponse(Page):
    data: list[WorkspaceResponse]
