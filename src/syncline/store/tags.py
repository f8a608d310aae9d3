"""Repository of tags."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from syncline.store import tables
from syncline.store.schema import now
from syncline.store.values import Tag

__all__ = ["add", "change", "find", "list_tags", "remove"]

_T = tables.tags
_TAG = (_T.c.id, _T.c.workspace_id, _T.c.name, _T.c.color)


def add(transaction: Connection, tag: Tag) -> None:
    at = now()
    transaction.execute(_T.insert().values(**vars(tag), created_at=at, updated_at=at))


def find(transaction: Connection, row_id: UUID) -> Tag | None:
    row = transaction.execute(sa.select(*_TAG).where(_T.c.id == row_id)).first()
    return None if row is None else Tag(**row._mapping)


def list_tags(
    transaction: Connection, *, workspaces: Collection[UUID] | None = None, ids: Collection[UUID] | None = None
) -> list[Tag]:
    """In the order of their making; None means all."""
    query = sa.select(*_TAG).order_by(_T.c.created_at, _T.c.id)
    if workspaces is not None:
        query = query.where(_T.c.workspace_id.in_(list(workspaces)))
    if ids is not None:
        query = query.where(_T.c.id.in_(list(ids)))
    return [Tag(**row._mapping) for row in transaction.execute(query)]


def change(transaction: Connection, tag: Tag) -> None:
    """Name and colour of a tag that exists."""
    values = {"name": tag.name, "color": tag.color, "updated_at": now()}
    transaction.execute(_T.update().where(_T.c.id == tag.id).values(**values))


def remove(transaction: Connection, row_id: UUID) -> None:
    """Connections lose it too."""
    transaction.execute(_T.delete().where(_T.c.id == row_id))
