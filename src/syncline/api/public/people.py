"""Organizations, users, permissions and tags in the public API."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Query, Response

from syncline.api.context import CallerOf, ControlOf
from syncline.api.errors import ApiError
from syncline.api.paging import WorkspaceIds, as_uuid
from syncline.api.public.models import (
    OrganizationResponse,
    OrganizationsResponse,
    PermissionCreate,
    PermissionResponse,
    PermissionResponseRead,
    PermissionsResponse,
    PermissionType,
    PermissionUpdate,
    TagCreate,
    TagPatch,
    TagResponse,
    TagsResponse,
    UserResponse,
    UsersResponse,
)
from syncline.api.routes import Routes
from syncline.service import organizations, permissions, tags, users
from syncline.service.callers import Role
from syncline.store.values import Permission, Tag

__all__ = ["people_router", "permission_response", "tag_response"]

people_router = Routes()


@people_router.get("/organizations", operation_id="listOrganizationsForUser", tags=["Organizations"])
def list_organizations(control: ControlOf, caller: CallerOf) -> OrganizationsResponse:
    return OrganizationsResponse(
        data=[
            OrganizationResponse(organization_id=str(each.id), organization_name=each.name, email=each.email)
            for each in organizations.list_organizations(control, caller)
        ]
    )


@people_router.get("/users", operation_id="listUsersWithinAnOrganization", tags=["Users"])
def list_users(
    control: ControlOf,
    caller: CallerOf,
    ids: Annotated[list[str] | None, Query(description="only these")] = None,
    emails: Annotated[list[str] | None, Query(description="only these")] = None,
) -> UsersResponse:
    found = [
        each
        for each in users.list_users(control, caller)
        if (not ids or str(each.id) in ids) and (not emails or each.email in emails)
    ]
    return UsersResponse(data=[UserResponse(id=str(each.id), name=each.name, email=each.email) for each in found])


# Permissions


def permission_response(permission: Permission) -> PermissionResponse:
    everywhere = "instance_admin" if permission.role == Role.ADMIN else f"organization_{permission.role}"
    word = f"workspace_{permission.role}" if permission.workspace_id else everywhere
    return PermissionResponse(
        permission_id=str(permission.id),
        permission_type=PermissionType(word),
        user_id=str(permission.user_id),
        workspace_id=str(permission.workspace_id) if permission.workspace_id else None,
    )


@people_router.get("/permissions", operation_id="listPermissions", tags=["Permissions"])
def list_permissions(
    control: ControlOf,
    caller: CallerOf,
    user_id: Annotated[str | None, Query(alias="userId")] = None,
) -> PermissionsResponse:
    """All that the caller may see, or one user's."""
    found = permissions.list_permissions(control, caller, user_id=None if user_id is None else as_uuid(user_id))
    everywhere = next((str(each.id) for each in organizations.list_organizations(control, caller)), "")
    return PermissionsResponse(data=[_scoped(permission_response(each), everywhere) for each in found])


def _scoped(said: PermissionResponse, organization: str) -> PermissionResponseRead:
    """With what it holds for; what holds on the whole server is given the organization's id, as there is one."""
    word = said.permission_type.partition("_")[0]
    scope: Literal["workspace", "organization", "none"] = "none"
    if said.workspace_id is not None:
        scope = "workspace"
    elif word == "organization":
        scope = "organization"
    return PermissionResponseRead(**said.model_dump(), scope=scope, scope_id=said.workspace_id or organization)


@people_router.post("/permissions", operation_id="createPermission", tags=["Permissions"])
def create_permission(control: ControlOf, caller: CallerOf, body: PermissionCreate) -> PermissionResponse:
    """A role in one workspace (``workspaceId``), or everywhere."""
    scope, _, word = body.permission_type.partition("_")
    if scope == "workspace" and body.workspace_id is None:
        raise ApiError(422, f"workspaceId is required for {body.permission_type}.")
    made = permissions.create(
        control,
        caller,
        user_id=body.user_id,
        role=Role(word),
        workspace_id=body.workspace_id if scope == "workspace" else None,
    )
    return permission_response(made)


@people_router.get("/permissions/{permissionId}", operation_id="getPermission", tags=["Permissions"])
def get_permission(control: ControlOf, caller: CallerOf, permissionId: str) -> PermissionResponse:
    return permission_response(permissions.get(control, caller, as_uuid(permissionId)))


@people_router.patch("/permissions/{permissionId}", operation_id="updatePermission", tags=["Permissions"])
def update_permission(
    control: ControlOf,
    caller: CallerOf,
    permissionId: str,
    body: PermissionUpdate,
) -> PermissionResponse:
    role = Role(body.permission_type.partition("_")[2])
    return permission_response(permissions.update(control, caller, as_uuid(permissionId), role=role))


@people_router.delete(
    "/permissions/{permissionId}", operation_id="deletePermission", status_code=204, tags=["Permissions"]
)
def delete_permission(control: ControlOf, caller: CallerOf, permissionId: str) -> Response:
    permissions.delete(control, caller, as_uuid(permissionId))
    return Response(status_code=204)


# Tags


def tag_response(tag: Tag) -> TagResponse:
    return TagResponse(tag_id=str(tag.id), name=tag.name, color=tag.color, workspace_id=str(tag.workspace_id))


@people_router.get("/tags", operation_id="listTags", tags=["Tags"])
def list_tags(control: ControlOf, caller: CallerOf, workspace_ids: WorkspaceIds) -> TagsResponse:
    return TagsResponse(data=[tag_response(each) for each in tags.list_tags(control, caller, workspace_ids)])


@people_router.post("/tags", operation_id="createTag", tags=["Tags"])
def create_tag(control: ControlOf, caller: CallerOf, body: TagCreate) -> TagResponse:
    return tag_response(tags.create(control, caller, body.workspace_id, name=body.name, color=body.color))


@people_router.get("/tags/{tagId}", operation_id="getTag", tags=["Tags"])
def get_tag(control: ControlOf, caller: CallerOf, tagId: str) -> TagResponse:
    return tag_response(tags.get(control, caller, as_uuid(tagId)))


@people_router.patch("/tags/{tagId}", operation_id="updateTag", tags=["Tags"])
def update_tag(control: ControlOf, caller: CallerOf, tagId: str, body: TagPatch) -> TagResponse:
    return tag_response(tags.update(control, caller, as_uuid(tagId), name=body.name, color=body.color))


@people_router.delete("/tags/{tagId}", operation_id="deleteTag", status_code=204, tags=["Tags"])
def delete_tag(control: ControlOf, caller: CallerOf, tagId: str) -> Response:
    """It is taken off every connection that has it."""
    tags.delete(control, caller, as_uuid(tagId))
    return Response(status_code=204)
