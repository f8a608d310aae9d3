"""Organizations, tags, users and permissions as the public API has them."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from syncline.api.wire import WireModel

__all__ = [
    "OrganizationResponse",
    "OrganizationsResponse",
    "PermissionCreate",
    "PermissionResponse",
    "PermissionResponseRead",
    "PermissionType",
    "PermissionUpdate",
    "PermissionsResponse",
    "TagCreate",
    "TagPatch",
    "TagResponse",
    "TagsResponse",
    "UserResponse",
    "UsersResponse",
]


class TagResponse(WireModel):
    tag_id: str
    name: str
    color: str
    workspace_id: str


class OrganizationResponse(WireModel):
    organization_id: str
    organization_name: str
    email: str


class OrganizationsResponse(WireModel):
    data: list[OrganizationResponse]


class TagCreate(WireModel):
    name: Annotated[str, Field(min_length=1, max_length=30)]
    color: Annotated[str, Field(pattern=r"^[0-9A-Fa-f]{6}$", description="as in FF5733")]
    workspace_id: UUID


class TagPatch(WireModel):
    name: Annotated[str, Field(min_length=1, max_length=30)]
    color: Annotated[str, Field(pattern=r"^[0-9A-Fa-f]{6}$", description="as in FF5733")]


class TagsResponse(WireModel):
    data: list[TagResponse]


class UserResponse(WireModel):
    id: str
    name: str
    email: str


class UsersResponse(WireModel):
    data: list[UserResponse]


class PermissionType(StrEnum):
    """Airbyte's words for who may do what where."""

    INSTANCE_ADMIN = "instance_admin"
    ORGANIZATION_ADMIN = "organization_admin"
    ORGANIZATION_EDITOR = "organization_editor"
    ORGANIZATION_RUNNER = "organization_runner"
    ORGANIZATION_READER = "organization_reader"
    WORKSPACE_ADMIN = "workspace_admin"
    WORKSPACE_EDITOR = "workspace_editor"
    WORKSPACE_RUNNER = "workspace_runner"
    WORKSPACE_READER = "workspace_reader"


class PermissionCreate(WireModel):
    permission_type: PermissionType
    user_id: UUID
    workspace_id: UUID | None = None
    organization_id: UUID | None = None


class PermissionUpdate(WireModel):
    permission_type: PermissionType


class PermissionResponse(WireModel):
    permission_id: str
    permission_type: PermissionType
    user_id: str
    workspace_id: str | None = None
    organization_id: str | None = None


class PermissionResponseRead(PermissionResponse):
    """As a list has it: clients of Airbyte's fail without ``scope`` and ``scopeId``."""

    scope: Literal["workspace", "organization", "none"]
    scope_id: str


class PermissionsResponse(WireModel):
    data: list[PermissionResponseRead]
