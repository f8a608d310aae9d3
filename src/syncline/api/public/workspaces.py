"""Workspaces in the public API."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Response

from syncline.api.context import CallerOf, ControlOf
from syncline.api.paging import PagingOf, WorkspaceIds, as_uuid
from syncline.api.public.models import WorkspaceCreate, WorkspacePatch, WorkspaceResponse, WorkspacesResponse
from syncline.api.routes import Routes
from syncline.service import workspaces
from syncline.service.changes import UNSET
from syncline.service.workspaces import WorkspaceChange
from syncline.store.values import Workspace

__all__ = ["workspaces_router"]

workspaces_router = Routes(tags=["Workspaces"])


def workspace_response(workspace: Workspace) -> WorkspaceResponse:
    return WorkspaceResponse(
        workspace_id=str(workspace.id),
        name=workspace.name,
        data_residency=workspace.data_residency,
        notifications=dict(workspace.notifications),
    )


@workspaces_router.get("/workspaces", operation_id="listWorkspaces")
def list_workspaces(
    control: ControlOf,
    caller: CallerOf,
    paging: PagingOf,
    workspace_ids: WorkspaceIds,
    include_deleted: Annotated[bool, Query(alias="includeDeleted")] = False,
) -> WorkspacesResponse:
    """Those that the caller may read."""
    found = workspaces.list_workspaces(
        control, caller, workspace_ids=workspace_ids, include_deleted=include_deleted, page=paging.page
    )
    return WorkspacesResponse(data=[workspace_response(each) for each in found.items], **paging.links(found.more))


@workspaces_router.post("/workspaces", operation_id="createWorkspace")
def create_workspace(control: ControlOf, caller: CallerOf, body: WorkspaceCreate) -> WorkspaceResponse:
    """A new one; its caller may do everything in it."""
    made = workspaces.create(
        control,
        caller,
        name=body.name,
        organization_id=body.organization_id,
        notifications=body.notifications,
        data_residency=body.data_residency,
    )
    return workspace_response(made)


@workspaces_router.get("/workspaces/{workspaceId}", operation_id="getWorkspace")
def get_workspace(control: ControlOf, caller: CallerOf, workspaceId: str) -> WorkspaceResponse:
    return workspace_response(workspaces.get(control, caller, as_uuid(workspaceId)))


@workspaces_router.patch("/workspaces/{workspaceId}", operation_id="updateWorkspace")
def update_workspace(
    control: ControlOf,
    caller: CallerOf,
    workspaceId: str,
    body: WorkspacePatch,
) -> WorkspaceResponse:
    """What is absent stays."""
    change = WorkspaceChange(
        name=UNSET if body.name is None else body.name,
        notifications=UNSET if body.notifications is None else body.notifications,
        data_residency=UNSET if body.data_residency is None else body.data_residency,
    )
    return workspace_response(workspaces.update(control, caller, as_uuid(workspaceId), change))


@workspaces_router.delete("/workspaces/{workspaceId}", operation_id="deleteWorkspace", status_code=204)
def delete_workspace(control: ControlOf, caller: CallerOf, workspaceId: str) -> Response:
    """Everything in it goes with it."""
    workspaces.delete(control, caller, as_uuid(workspaceId))
    return Response(status_code=204)
