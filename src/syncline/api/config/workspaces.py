"""Workspaces, organizations, users and permissions in the config API: as much as listed clients ask for."""

from __future__ import annotations

import re

from fastapi import Response

from syncline.api.config.models import (
    AuthIdBody,
    OrganizationIdBody,
    OrganizationInfo,
    OrganizationList,
    OrganizationRead,
    PermissionList,
    PermissionRead,
    UserIdBody,
    UserRead,
    UserUpdateBody,
    WorkspaceCreateBody,
    WorkspaceIdBody,
    WorkspaceList,
    WorkspaceRead,
    WorkspaceUpdateBody,
)
from syncline.api.context import CallerOf, ControlOf
from syncline.api.paging import as_uuid
from syncline.api.public.people import permission_response
from syncline.api.routes import Routes
from syncline.api.wire import WireModel
from syncline.service import organizations, permissions, users, workspaces
from syncline.service.callers import Caller
from syncline.service.changes import UNSET
from syncline.service.control import Control
from syncline.service.workspaces import WorkspaceChange
from syncline.store.paging import Page
from syncline.store.values import Organization, User, Workspace

__all__ = ["config_workspaces_router"]

config_workspaces_router = Routes()
_route = config_workspaces_router


def _read(workspace: Workspace) -> WorkspaceRead:
    return WorkspaceRead(
        workspace_id=str(workspace.id),
        name=workspace.name,
        slug=re.sub(r"[^a-z0-9]+", "-", workspace.name.lower()).strip("-") or str(workspace.id),
        organization_id=str(workspace.organization_id),
        customer_id=str(workspace.organization_id),
        tombstone=workspace.deleted_at is not None,
        data_residency=workspace.data_residency,
    )


def _list(control: Control, caller: Caller) -> WorkspaceList:
    found = workspaces.list_workspaces(control, caller, page=Page(limit=None))
    return WorkspaceList(workspaces=[_read(each) for each in found.items])


@_route.post("/workspaces/list", operation_id="listWorkspacesConfig", tags=["Workspaces"])
def list_workspaces(control: ControlOf, caller: CallerOf) -> WorkspaceList:
    """The body says nothing that matters, and may be missing."""
    return _list(control, caller)


@_route.post("/workspaces/list_by_organization_id", operation_id="listWorkspacesInOrganization", tags=["Workspaces"])
def list_of_organization(control: ControlOf, caller: CallerOf, body: OrganizationIdBody) -> WorkspaceList:
    organizations.get(control, caller, body.organization_id)
    return _list(control, caller)


@_route.post("/workspaces/get", operation_id="getWorkspaceConfig", tags=["Workspaces"])
def get_workspace(control: ControlOf, caller: CallerOf, body: WorkspaceIdBody) -> WorkspaceRead:
    return _read(workspaces.get(control, caller, body.workspace_id))


@_route.post("/workspaces/create", operation_id="createWorkspaceConfig", tags=["Workspaces"])
def create_workspace(control: ControlOf, caller: CallerOf, body: WorkspaceCreateBody) -> WorkspaceRead:
    return _read(workspaces.create(control, caller, name=body.name, organization_id=body.organization_id))


@_route.post("/workspaces/update", operation_id="updateWorkspaceConfig", tags=["Workspaces"])
def update_workspace(control: ControlOf, caller: CallerOf, body: WorkspaceUpdateBody) -> WorkspaceRead:
    change = WorkspaceChange(name=UNSET if body.name is None else body.name)
    return _read(workspaces.update(control, caller, body.workspace_id, change))


@_route.post("/workspaces/delete", operation_id="deleteWorkspaceConfig", status_code=204, tags=["Workspaces"])
def delete_workspace(control: ControlOf, caller: CallerOf, body: WorkspaceIdBody) -> Response:
    workspaces.delete(control, caller, body.workspace_id)
    return Response(status_code=204)


def _info(organization: Organization) -> OrganizationInfo:
    return OrganizationInfo(organization_id=str(organization.id), organization_name=organization.name)


@_route.post("/workspaces/get_organization_info", operation_id="getOrganizationInfoOfWorkspace", tags=["Organizations"])
def organization_of(control: ControlOf, caller: CallerOf, body: WorkspaceIdBody) -> OrganizationInfo:
    return _info(organizations.of_workspace(control, caller, body.workspace_id))


@_route.post("/organizations/get_organization_info", operation_id="getOrganizationInfo", tags=["Organizations"])
def organization_info(control: ControlOf, caller: CallerOf, body: OrganizationIdBody) -> OrganizationInfo:
    return _info(organizations.get(control, caller, body.organization_id))


@_route.post("/organizations/list_by_user_id", operation_id="listOrganizationsByUser", tags=["Organizations"])
def organizations_of_user(control: ControlOf, caller: CallerOf, body: UserIdBody) -> OrganizationList:
    users.get(control, caller, body.user_id)
    return OrganizationList(
        organizations=[
            OrganizationRead(organization_id=str(each.id), organization_name=each.name, email=each.email)
            for each in organizations.list_organizations(control, caller)
        ]
    )


class OperationList(WireModel):
    """There are none here: transformations after a sync are other programs' work."""

    operations: list[dict[str, str]] = []


@_route.post("/operations/list", operation_id="listOperationsForConnection", tags=["Operations"])
def list_operations(control: ControlOf, caller: CallerOf) -> OperationList:
    return OperationList()


# Users


def _user(user: User) -> UserRead:
    return UserRead(user_id=str(user.id), name=user.name, email=user.email, auth_user_id=str(user.id))


@_route.post("/users/get", operation_id="getUser", tags=["Users"])
def get_user(control: ControlOf, caller: CallerOf, body: UserIdBody) -> UserRead:
    return _user(users.get(control, caller, body.user_id))


@_route.post("/users/get_by_auth_id", operation_id="getUserByAuthId", tags=["Users"])
def get_user_by_auth_id(control: ControlOf, caller: CallerOf, body: AuthIdBody) -> UserRead:
    return _user(users.get(control, caller, as_uuid(body.auth_user_id)))


@_route.post("/users/update", operation_id="updateUser", tags=["Users"])
def update_user(control: ControlOf, caller: CallerOf, body: UserUpdateBody) -> UserRead:
    """Only the name is kept; a default workspace is the web application's affair."""
    if body.name is None:
        return _user(users.get(control, caller, body.user_id))
    return _user(users.update(control, caller, body.user_id, name=body.name))


@_route.post("/permissions/list_by_user", operation_id="listPermissionsByUser", tags=["Permissions"])
def permissions_of_user(control: ControlOf, caller: CallerOf, body: UserIdBody) -> PermissionList:
    found = [permission_response(each) for each in permissions.list_permissions(control, caller, user_id=body.user_id)]
    return PermissionList(permissions=[PermissionRead(**each.model_dump(by_alias=False)) for each in found])
