"""Use cases of users. Only an admin of the instance sees and makes them; everybody sees himself."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from syncline.core.errors import ErrorKind, SynclineError
from syncline.service import audit
from syncline.service.auth.passwords import checked_password, hash_password
from syncline.service.callers import Caller, Role
from syncline.service.changes import UNSET, Unset
from syncline.service.control import Control
from syncline.service.errors import NotFoundError, invalid
from syncline.service.inputs import checked_name
from syncline.store import users as rows
from syncline.store.database import Transaction
from syncline.store.schema import new_id, now
from syncline.store.values import User

__all__ = ["create", "current", "delete", "get", "list_users", "update"]


def current(control: Control, caller: Caller) -> User | None:
    """The caller himself; None for callers that are no user."""
    if caller.user_id is None:
        return None
    with control.database.read() as transaction:
        return rows.find(transaction, caller.user_id)


def get(control: Control, caller: Caller, user_id: UUID) -> User:
    if caller.user_id != user_id:
        caller.require(Role.ADMIN, None)
    with control.database.read() as transaction:
        return _found(transaction, user_id)


def list_users(control: Control, caller: Caller) -> list[User]:
    caller.require(Role.ADMIN, None)
    with control.database.read() as transaction:
        return rows.list_users(transaction)


def create(control: Control, caller: Caller, *, email: str, name: str | None, password: str | None) -> User:
    """A user without rights yet. ``password`` None: he cannot sign in, only his applications and keys can."""
    caller.require(Role.ADMIN, None)
    hashed = None if password is None else hash_password(checked_password(password))
    with control.database.write() as transaction:
        return add(transaction, caller, email=email, name=name, password_hash=hashed)


def add(transaction: Transaction, caller: Caller, *, email: str, name: str | None, password_hash: str | None) -> User:
    """Within a transaction; the caller's right was checked. Raises ``conflict`` for an email that is taken."""
    address = checked_name("email", email).strip().lower()
    if "@" not in address or any(letter.isspace() or not letter.isprintable() for letter in address):
        raise invalid("email", "is not an email address")
    if rows.find_by_email(transaction, address) is not None:
        raise SynclineError(ErrorKind.CONFLICT, f"there is a user {address} already", hint="change that one")
    at = now()
    user = User(id=new_id(), email=address, name=checked_name("name", name or address), created_at=at, updated_at=at)
    rows.add(transaction, user, password_hash)
    audit.record(transaction, caller, "create", "user", user.id, None, after=_told(user))
    return user


def update(
    control: Control, caller: Caller, user_id: UUID, *, name: str | Unset = UNSET, password: str | Unset = UNSET
) -> User:
    """One's own name and password; an admin of the instance those of others."""
    if caller.user_id != user_id:
        caller.require(Role.ADMIN, None)
    values: dict[str, Any] = {}
    if not isinstance(name, Unset):
        values["name"] = checked_name("name", name)
    if not isinstance(password, Unset):
        values["password_hash"] = hash_password(checked_password(password))
    with control.database.write() as transaction:
        user = _found(transaction, user_id)
        after = rows.change(transaction, user_id, **values) if values else user
        told = _told(after) | ({"password": "changed"} if "password_hash" in values else {})
        audit.record(transaction, caller, "update", "user", user_id, None, _told(user), told)
    return after


def delete(control: Control, caller: Caller, user_id: UUID) -> None:
    """His tokens, keys and applications end with him. Raises ``conflict`` for the last admin of the instance."""
    caller.require(Role.ADMIN, None)
    with control.database.write() as transaction:
        user = _found(transaction, user_id)
        rights = rows.list_permissions(transaction)
        admins = {right.user_id for right in rights if right.workspace_id is None and right.role == Role.ADMIN}
        if admins == {user_id}:
            raise SynclineError(ErrorKind.CONFLICT, "this is the last admin", hint="make another one first")
        for right in rights:
            if right.user_id == user_id:
                rows.remove_permission(transaction, right.id)
        rows.change(transaction, user_id, disabled_at=now(), password_hash=None, email=f"{user.email} {user_id}")
        audit.record(transaction, caller, "delete", "user", user_id, None, before=_told(user))


def _found(transaction: Transaction, user_id: UUID) -> User:
    user = rows.find(transaction, user_id)
    if user is None or user.disabled_at is not None:
        raise NotFoundError("user", user_id)
    return user


def _told(user: User) -> dict[str, Any]:
    return {"email": user.email, "name": user.name}
