"""Use cases of permissions: which role a user has in a workspace, or everywhere."""

from __future__ import annotations

from uuid import UUID

from syncline.core.errors import ErrorKind, SynclineError
from syncline.service import audit
from syncline.service.callers import Caller, Role
from syncline.service.control import Control
from syncline.service.errors import NotFoundError
from syncline.store import users as rows
from syncline.store import workspaces
from syncline.store.database import Transaction
from syncline.store.schema import new_id, now
from syncline.store.values import Permission

__all__ = ["create", "delete", "get", "list_permissions", "update"]


def get(control: Control, caller: Caller, permission_id: UUID) -> Permission:
    with control.database.read() as transaction:
        return _found(transaction, caller, permission_id)


def list_permissions(
    control: Control, caller: Caller, *, user_id: UUID | None = None, workspace_id: UUID | None = None
) -> list[Permission]:
    """One's own, or those in a workspace that one is admin of, or any as admin of the instance."""
    if user_id is None or user_id != caller.user_id:
        caller.require(Role.ADMIN, workspace_id)
    only = None if workspace_id is None else frozenset([workspace_id])
    with control.database.read() as transaction:
        return rows.list_permissions(transaction, user_id=user_id, workspaces=only)


def create(control: Control, caller: Caller, *, user_id: UUID, role: str, workspace_id: UUID | None) -> Permission:
    """Raises ``conflict`` when the user has a role there already."""
    caller.require(Role.ADMIN, workspace_id)
    named = Role.named(role)
    with control.database.write() as transaction:
        user = rows.find(transaction, user_id)
        if user is None or user.disabled_at is not None:
            raise NotFoundError("user", user_id)
        if workspace_id is not None:
            workspace = workspaces.find(transaction, workspace_id)
            if workspace is None or workspace.deleted_at is not None:
                raise NotFoundError("workspace", workspace_id)
        if any(p.workspace_id == workspace_id for p in rows.list_permissions(transaction, user_id=user_id)):
            raise SynclineError(ErrorKind.CONFLICT, f"{user.email} has a role there already", hint="change that one")
        return grant(transaction, caller, user_id=user_id, role=named, workspace_id=workspace_id)


def grant(
    transaction: Transaction, caller: Caller, *, user_id: UUID, role: Role, workspace_id: UUID | None
) -> Permission:
    """Within a transaction; the caller's right was checked."""
    right = Permission(id=new_id(), user_id=user_id, workspace_id=workspace_id, role=role.value, created_at=now())
    rows.add_permission(transaction, right)
    after = {"user_id": str(user_id), "role": role.value}
    audit.record(transaction, caller, "create", "permission", right.id, workspace_id, after=after)
    return right


def update(control: Control, caller: Caller, permission_id: UUID, role: str) -> Permission:
    named = Role.named(role)
    with control.database.write() as transaction:
        right = _found(transaction, caller, permission_id)
        caller.require(Role.ADMIN, right.workspace_id)
        if named is not Role.ADMIN:
            _not_the_last(transaction, right)
        rows.change_permission(transaction, permission_id, named.value)
        told = ({"role": right.role}, {"role": named.value})
        audit.record(transaction, caller, "update", "permission", permission_id, right.workspace_id, *told)
        return _found(transaction, caller, permission_id)


def delete(control: Control, caller: Caller, permission_id: UUID) -> None:
    with control.database.write() as transaction:
        right = _found(transaction, caller, permission_id)
        caller.require(Role.ADMIN, right.workspace_id)
        _not_the_last(transaction, right)
        rows.remove_permission(transaction, permission_id)
        before = {"user_id": str(right.user_id), "role": right.role}
        audit.record(transaction, caller, "delete", "permission", permission_id, right.workspace_id, before=before)


def _found(transaction: Transaction, caller: Caller, permission_id: UUID) -> Permission:
    right = rows.find_permission(transaction, permission_id)
    if right is None or (right.user_id != caller.user_id and not caller.may(Role.ADMIN, right.workspace_id)):
        raise NotFoundError("permission", permission_id)
    return right


def _not_the_last(transaction: Transaction, right: Permission) -> None:
    if right.workspace_id is not None or right.role != Role.ADMIN:
        return
    everywhere = [p for p in rows.list_permissions(transaction) if p.workspace_id is None and p.role == Role.ADMIN]
    if len(everywhere) == 1:
        raise SynclineError(ErrorKind.CONFLICT, "this is the last admin", hint="make another one first")
