"""Repository of sources and destinations."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from syncline.store import tables
from syncline.store.paging import Listed, Page, listed
from syncline.store.schema import now
from syncline.store.values import Actor, ActorRole

__all__ = ["add", "change", "find", "list_actors", "of_workspace"]

_A = tables.actors


def _actors(rows: Iterable[Any]) -> list[Actor]:
    return [Actor(**row._mapping) for row in rows]


def add(transaction: Connection, actor: Actor) -> None:
    transaction.execute(_A.insert().values(**vars(actor)))


def find(transaction: Connection, row_id: UUID, *, lock: bool = False) -> Actor | None:
    """Also when it is deleted. ``lock``: nobody else changes it until the transaction's end."""
    query = sa.select(_A).where(_A.c.id == row_id)
    row = transaction.execute(query.with_for_update() if lock else query).first()
    return None if row is None else _actors([row])[0]


def list_actors(
    transaction: Connection,
    *,
    role: ActorRole,
    workspaces: Collection[UUID] | None = None,
    name: str | None = None,
    definition_id: UUID | None = None,
    include_deleted: bool = False,
    page: Page,
) -> Listed[Actor]:
    """In the order of their making; ``workspaces`` None means all, ``name`` must be met exactly."""
    query = sa.select(_A).where(_A.c.role == role).order_by(_A.c.created_at, _A.c.id)
    if workspaces is not None:
        query = query.where(_A.c.workspace_id.in_(list(workspaces)))
    if name is not None:
        query = query.where(_A.c.name == name)
    if definition_id is not None:
        query = query.where(_A.c.definition_id == definition_id)
    if not include_deleted:
        query = query.where(_A.c.deleted_at.is_(None))
    return listed(transaction, query, page, _actors)


def of_workspace(transaction: Connection, workspace_id: UUID) -> list[Actor]:
    """All sources and destinations of a workspace that are not deleted."""
    query = sa.select(_A).where(_A.c.workspace_id == workspace_id, _A.c.deleted_at.is_(None)).order_by(_A.c.id)
    return _actors(transaction.execute(query))


def change(transaction: Connection, row_id: UUID, **values: Any) -> Actor:
    """Set columns of an actor that exists."""
    transaction.execute(_A.update().where(_A.c.id == row_id).values(**values, updated_at=now()))
    found = find(transaction, row_id)
    assert found is not None
    return found
