"""Repository of users and their permissions."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from syncline.store import tables
from syncline.store.database import identities_changed
from syncline.store.schema import now
from syncline.store.values import Permission, User

__all__ = [
    "add",
    "add_permission",
    "change",
    "change_permission",
    "find",
    "find_by_email",
    "find_permission",
    "list_permissions",
    "list_users",
    "password_hash",
    "remove_permission",
]

_U = tables.users
_P = tables.permissions
_USER = (_U.c.id, _U.c.email, _U.c.name, _U.c.created_at, _U.c.updated_at, _U.c.disabled_at)
_PERMISSION = (_P.c.id, _P.c.user_id, _P.c.workspace_id, _P.c.role, _P.c.created_at)


def _users(rows: Iterable[Any]) -> list[User]:
    return [User(**row._mapping) for row in rows]


def add(transaction: Connection, user: User, password_hash: str | None) -> None:
    transaction.execute(_U.insert().values(**vars(user), password_hash=password_hash))


def find(transaction: Connection, row_id: UUID) -> User | None:
    """Also when it is disabled."""
    row = transaction.execute(sa.select(*_USER).where(_U.c.id == row_id)).first()
    return None if row is None else _users([row])[0]


def find_by_email(transaction: Connection, email: str) -> User | None:
    """``email`` in lower case, as it is stored."""
    row = transaction.execute(sa.select(*_USER).where(_U.c.email == email)).first()
    return None if row is None else _users([row])[0]


def password_hash(transaction: Connection, row_id: UUID) -> str | None:
    return transaction.execute(sa.select(_U.c.password_hash).where(_U.c.id == row_id)).scalar()


def list_users(transaction: Connection) -> list[User]:
    """Those that are not disabled, in the order of their making."""
    query = sa.select(*_USER).where(_U.c.disabled_at.is_(None)).order_by(_U.c.created_at, _U.c.id)
    return _users(transaction.execute(query))


def change(transaction: Connection, row_id: UUID, **values: Any) -> User:
    """Set columns of a user that exists."""
    identities_changed(transaction)
    transaction.execute(_U.update().where(_U.c.id == row_id).values(**values, updated_at=now()))
    found = find(transaction, row_id)
    assert found is not None
    return found


def add_permission(transaction: Connection, permission: Permission) -> None:
    identities_changed(transaction)
    transaction.execute(_P.insert().values(**vars(permission), updated_at=permission.created_at))


def find_permission(transaction: Connection, row_id: UUID) -> Permission | None:
    row = transaction.execute(sa.select(*_PERMISSION).where(_P.c.id == row_id)).first()
    return None if row is None else Permission(**row._mapping)


def list_permissions(
    transaction: Connection, *, user_id: UUID | None = None, workspaces: Collection[UUID] | None = None
) -> list[Permission]:
    """``workspaces``: rights in one of these, without the rights in all (None: every right)."""
    query = sa.select(*_PERMISSION).order_by(_P.c.created_at, _P.c.id)
    if user_id is not None:
        query = query.where(_P.c.user_id == user_id)
    if workspaces is not None:
        query = query.where(_P.c.workspace_id.in_(list(workspaces)))
    return [Permission(**row._mapping) for row in transaction.execute(query)]


def change_permission(transaction: Connection, row_id: UUID, role: str) -> None:
    identities_changed(transaction)
    transaction.execute(_P.update().where(_P.c.id == row_id).values(role=role, updated_at=now()))


def remove_permission(transaction: Connection, row_id: UUID) -> None:
    identities_changed(transaction)
    transaction.execute(_P.delete().where(_P.c.id == row_id))
