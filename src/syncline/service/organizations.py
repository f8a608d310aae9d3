"""Use cases of organizations: an installation has one, which owns all workspaces."""

from __future__ import annotations

from uuid import UUID

from syncline.service import workspaces
from syncline.service.callers import Caller
from syncline.service.control import Control
from syncline.service.errors import NotFoundError
from syncline.store import workspaces as rows
from syncline.store.values import Organization

__all__ = ["get", "list_organizations", "of_workspace"]


def list_organizations(control: Control, caller: Caller) -> list[Organization]:
    """Everybody who may read something sees it."""
    if caller.workspaces() == frozenset():
        return []
    with control.database.read() as transaction:
        return rows.list_organizations(transaction)


def get(control: Control, caller: Caller, organization_id: UUID) -> Organization:
    found = next((o for o in list_organizations(control, caller) if o.id == organization_id), None)
    if found is None:
        raise NotFoundError("organization", organization_id)
    return found


def of_workspace(control: Control, caller: Caller, workspace_id: UUID) -> Organization:
    """The one that owns a workspace."""
    return get(control, caller, workspaces.get(control, caller, workspace_id).organization_id)
