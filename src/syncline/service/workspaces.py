"""Use cases of workspaces."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from syncline.core.errors import ErrorKind, SynclineError
from syncline.service import actors, audit
from syncline.service.callers import Caller, Role
from syncline.service.changes import UNSET, Unset
from syncline.service.control import Control
from syncline.service.errors import NotFoundError, invalid
from syncline.service.inputs import checked_json, checked_name, checked_number
from syncline.store import actors as actor_rows
from syncline.store import workspaces as rows
from syncline.store.database import Transaction
from syncline.store.paging import Listed, Page
from syncline.store.schema import now
from syncline.store.values import Workspace

__all__ = ["WorkspaceChange", "create", "delete", "get", "list_workspaces", "update"]

#: Clients know these only.
_RESIDENCIES = ("auto", "us", "eu")


@dataclass(frozen=True, kw_only=True)
class WorkspaceChange:
    """What to change. ``max_jobs``: how many jobs of the workspace run at once, None as many as the server lets."""

    name: str | Unset = UNSET
    notifications: Mapping[str, Any] | Unset = UNSET
    data_residency: str | Unset = UNSET
    max_jobs: int | Unset | None = UNSET


def get(control: Control, caller: Caller, workspace_id: UUID) -> Workspace:
    """Raises "not found" when there is none, it is deleted, or the caller may not see it."""
    with control.database.read() as transaction:
        return _found(transaction, caller, workspace_id)


def list_workspaces(
    control: Control,
    caller: Caller,
    *,
    workspace_ids: Collection[UUID] = (),
    include_deleted: bool = False,
    page: Page | None = None,
) -> Listed[Workspace]:
    """In the order of their making; all that the caller may read when none is named."""
    with control.database.read() as transaction:
        only = caller.among(frozenset(workspace_ids))
        return rows.list_workspaces(transaction, only=only, include_deleted=include_deleted, page=page or Page())


def create(
    control: Control,
    caller: Caller,
    *,
    name: str,
    organization_id: UUID | None = None,
    notifications: Mapping[str, Any] | None = None,
    data_residency: str | None = None,
) -> Workspace:
    """An admin of the instance's right."""
    caller.require(Role.ADMIN, None)
    with control.database.write() as transaction:
        organizations = rows.list_organizations(transaction)
        wanted = organization_id or (organizations[0].id if organizations else None)
        if wanted is None or all(each.id != wanted for each in organizations):
            raise NotFoundError("organization", wanted or "at all")
        workspace = rows.add(
            transaction,
            organization_id=wanted,
            name=checked_name("name", name),
            data_residency=_residency(data_residency or "auto"),
            notifications=checked_json("notifications", notifications or {}),
        )
        audit.record(transaction, caller, "create", "workspace", workspace.id, workspace.id, after=_told(workspace))
    return workspace


def update(control: Control, caller: Caller, workspace_id: UUID, change: WorkspaceChange) -> Workspace:
    """An admin of the workspace's right."""
    values: dict[str, Any] = {}
    if not isinstance(change.name, Unset):
        values["name"] = checked_name("name", change.name)
    if not isinstance(change.notifications, Unset):
        values["notifications"] = checked_json("notifications", change.notifications)
    if not isinstance(change.data_residency, Unset):
        values["data_residency"] = _residency(change.data_residency)
    if not isinstance(change.max_jobs, Unset):
        most = change.max_jobs
        values["max_jobs"] = None if most is None else checked_number("maxJobs", most, least=1)
    with control.database.write() as transaction:
        workspace = _found(transaction, caller, workspace_id)
        caller.require(Role.ADMIN, workspace_id)
        after = rows.change(transaction, workspace_id, **values) if values else workspace
        told = (_told(workspace), _told(after))
        audit.record(transaction, caller, "update", "workspace", workspace_id, workspace_id, *told)
    return after


def delete(control: Control, caller: Caller, workspace_id: UUID) -> None:
    """With everything in it. Raises ``conflict`` for the last one: clients expect that there is one."""
    caller.require(Role.ADMIN, workspace_id)
    with control.database.write() as transaction:
        workspace = _found(transaction, caller, workspace_id)
        left = rows.list_workspaces(transaction, page=Page(limit=2)).items
        if len(left) == 1:
            raise SynclineError(ErrorKind.CONFLICT, "this is the last workspace", hint="make another one first")
        for actor in actor_rows.of_workspace(transaction, workspace_id):
            actors.remove(transaction, caller, actor)
        rows.change(transaction, workspace_id, deleted_at=now())
        audit.record(transaction, caller, "delete", "workspace", workspace_id, workspace_id, before=_told(workspace))


def _found(transaction: Transaction, caller: Caller, workspace_id: UUID) -> Workspace:
    found = rows.find(transaction, workspace_id)
    if found is None or found.deleted_at is not None or not caller.may(Role.READER, workspace_id):
        raise NotFoundError("workspace", workspace_id)
    return found


def _residency(value: str) -> str:
    if value not in _RESIDENCIES:
        raise invalid("dataResidency", f"{value!r} is not known", hint=f"known: {', '.join(_RESIDENCIES)}")
    return value


def _told(workspace: Workspace) -> dict[str, Any]:
    return {
        "name": workspace.name,
        "notifications": dict(workspace.notifications),
        "data_residency": workspace.data_residency,
        "max_jobs": workspace.max_jobs,
    }
