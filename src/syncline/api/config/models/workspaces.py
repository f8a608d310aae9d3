"""Workspaces, and whom they belong to, as the config API has them."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from pydantic import Field

from syncline.api.wire import Name, WireModel

__all__ = [
    "AuthIdBody",
    "OrganizationIdBody",
    "OrganizationInfo",
    "OrganizationList",
    "OrganizationRead",
    "PermissionList",
    "PermissionRead",
    "UserIdBody",
    "UserRead",
    "UserUpdateBody",
    "WorkspaceCreateBody",
    "WorkspaceIdBody",
    "WorkspaceList",
    "WorkspaceRead",
    "WorkspaceUpdateBody",
]


class WorkspaceIdBody(WireModel):
    workspace_id: UUID


class WorkspaceCreateBody(WireModel):
    name: Name
    organization_id: UUID | None = None


class WorkspaceUpdateBody(WireModel):
    workspace_id: UUID
    name: Name | None = None


class WorkspaceRead(WireModel):
    workspace_id: str
    name: str
    slug: str
    initial_setup_complete: bool = True
    organization_id: str
    tombstone: bool = False
    notifications: list[Any] = []
    data_residency: str = "auto"
    customer_id: str
    email: str | None = None


class WorkspaceList(WireModel):
    workspaces: list[WorkspaceRead]


class OrganizationIdBody(WireModel):
    organization_id: UUID


class OrganizationInfo(WireModel):
    organization_id: str
    organization_name: str
    sso: bool = False


class OrganizationRead(WireModel):
    organization_id: str
    organization_name: str
    email: str


class OrganizationList(WireModel):
    organizations: list[OrganizationRead]


class UserIdBody(WireModel):
    user_id: UUID


class AuthIdBody(WireModel):
    """``authUserId`` is the ``sub`` of a token."""

    auth_user_id: str = Field(max_length=256)


class UserUpdateBody(WireModel):
    user_id: UUID
    name: Name | None = None
    default_workspace_id: UUID | None = None


class UserRead(WireModel):
    user_id: str
    name: str
    email: str
    auth_user_id: str
    default_workspace_id: str | None = None


class PermissionRead(WireModel):
    permission_id: str
    permission_type: str
    user_id: str
    workspace_id: str | None = None
    organization_id: str | None = None


class PermissionList(WireModel):
    permissions: list[PermissionRead]
