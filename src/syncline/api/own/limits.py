"""How many jobs a workspace, a source or a destination may have running at once."""

from __future__ import annotations

from uuid import UUID

from pydantic import Field

from syncline.api.context import CallerOf, ControlOf
from syncline.api.paging import as_uuid
from syncline.api.routes import Routes
from syncline.api.wire import WireModel
from syncline.service import actors, workspaces
from syncline.service.actors import ActorChange
from syncline.service.callers import Caller
from syncline.service.control import Control
from syncline.service.workspaces import WorkspaceChange
from syncline.store.values import ActorRole

__all__ = ["limits_router"]

limits_router = Routes(tags=["Limits"])


class Limits(WireModel):
    """``maxJobs`` is absent where only the server's slots are the limit."""

    max_jobs: int | None = None


class LimitsChange(WireModel):
    """``maxJobs`` null, or absent: no limit of its own."""

    max_jobs: int | None = Field(default=None, ge=1, le=2**31 - 1)


@limits_router.get("/workspaces/{workspaceId}/limits", operation_id="getWorkspaceLimits")
def of_workspace(control: ControlOf, caller: CallerOf, workspaceId: str) -> Limits:
    return Limits(max_jobs=workspaces.get(control, caller, as_uuid(workspaceId)).max_jobs)


@limits_router.put("/workspaces/{workspaceId}/limits", operation_id="setWorkspaceLimits")
def limit_workspace(control: ControlOf, caller: CallerOf, workspaceId: str, body: LimitsChange) -> Limits:
    """An admin of the workspace's right."""
    change = WorkspaceChange(max_jobs=body.max_jobs)
    return Limits(max_jobs=workspaces.update(control, caller, as_uuid(workspaceId), change).max_jobs)


@limits_router.get("/sources/{sourceId}/limits", operation_id="getSourceLimits")
def of_source(control: ControlOf, caller: CallerOf, sourceId: str) -> Limits:
    return Limits(max_jobs=actors.get(control, caller, "source", as_uuid(sourceId)).max_jobs)


@limits_router.put("/sources/{sourceId}/limits", operation_id="setSourceLimits")
def limit_source(control: ControlOf, caller: CallerOf, sourceId: str, body: LimitsChange) -> Limits:
    return _limited(control, caller, "source", as_uuid(sourceId), body)


@limits_router.get("/destinations/{destinationId}/limits", operation_id="getDestinationLimits")
def of_destination(control: ControlOf, caller: CallerOf, destinationId: str) -> Limits:
    return Limits(max_jobs=actors.get(control, caller, "destination", as_uuid(destinationId)).max_jobs)


@limits_router.put("/destinations/{destinationId}/limits", operation_id="setDestinationLimits")
def limit_destination(control: ControlOf, caller: CallerOf, destinationId: str, body: LimitsChange) -> Limits:
    return _limited(control, caller, "destination", as_uuid(destinationId), body)


def _limited(control: Control, caller: Caller, role: ActorRole, actor_id: UUID, body: LimitsChange) -> Limits:
    changed = actors.update(control, caller, role, actor_id, ActorChange(max_jobs=body.max_jobs))
    return Limits(max_jobs=changed.max_jobs)
