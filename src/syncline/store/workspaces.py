"""Repository of organizations and workspaces."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from syncline.store import tables
from syncline.store.paging import Listed, Page, listed
from syncline.store.schema import new_id, now
from syncline.store.values import Organization, Workspace

__all__ = ["add", "add_organization", "change", "find", "find_organization", "list_organizations", "list_workspaces"]

_W = tables.workspaces
_O = tables.organizations


def _organization(row: Any) -> Organization:
    return Organization(id=row.id, name=row.name, email=row.email, created_at=row.created_at)


def _workspaces(rows: Iterable[Any]) -> list[Workspace]:
    return [Workspace(**row._mapping) for row in rows]


def add_organization(transaction: Connection, *, name: str, email: str) -> Organization:
    at = now()
    organization = Organization(id=new_id(), name=name, email=email, created_at=at)
    transaction.execute(_O.insert().values(**vars(organization), updated_at=at))
    return organization


def find_organization(transaction: Connection, row_id: UUID) -> Organization | None:
    row = transaction.execute(sa.select(_O).where(_O.c.id == row_id)).first()
    return None if row is None else _organization(row)


def list_organizations(transaction: Connection) -> list[Organization]:
    """All of them, oldest first."""
    return [_organization(row) for row in transaction.execute(sa.select(_O).order_by(_O.c.created_at, _O.c.id))]


def add(
    transaction: Connection,
    *,
    organization_id: UUID,
    name: str,
    data_residency: str = "auto",
    notifications: dict[str, Any] | None = None,
) -> Workspace:
    at = now()
    workspace = Workspace(
        id=new_id(),
        organization_id=organization_id,
        name=name,
        data_residency=data_residency,
        notifications=notifications or {},
        created_at=at,
        updated_at=at,
    )
    transaction.execute(_W.insert().values(**vars(workspace)))
    return workspace


def find(transaction: Connection, row_id: UUID) -> Workspace | None:
    """Also when it is deleted."""
    row = transaction.execute(sa.select(_W).where(_W.c.id == row_id)).first()
    return None if row is None else _workspaces([row])[0]


def list_workspaces(
    transaction: Connection, *, only: Collection[UUID] | None = None, include_deleted: bool = False, page: Page
) -> Listed[Workspace]:
    """In the order of their making; ``only`` None means all."""
    query = sa.select(_W).order_by(_W.c.created_at, _W.c.id)
    if only is not None:
        query = query.where(_W.c.id.in_(list(only)))
    if not include_deleted:
        query = query.where(_W.c.deleted_at.is_(None))
    return listed(transaction, query, page, _workspaces)


def change(transaction: Connection, row_id: UUID, **values: Any) -> Workspace:
    """Set columns of a workspace that exists."""
    transaction.execute(_W.update().where(_W.c.id == row_id).values(**values, updated_at=now()))
    found = find(transaction, row_id)
    assert found is not None
    return found
