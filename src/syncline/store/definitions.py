"""Repository of the definitions that workspaces made for themselves."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from syncline.store import tables
from syncline.store.schema import now
from syncline.store.values import ActorRole, CustomDefinition

__all__ = ["add", "change", "find", "list_definitions"]

_D = tables.definitions


def _made(rows: Iterable[Any]) -> list[CustomDefinition]:
    return [CustomDefinition(**row._mapping) for row in rows]


def add(transaction: Connection, definition: CustomDefinition) -> None:
    transaction.execute(_D.insert().values(**vars(definition)))


def find(transaction: Connection, row_id: UUID) -> CustomDefinition | None:
    """Also when it is deleted."""
    row = transaction.execute(sa.select(_D).where(_D.c.id == row_id)).first()
    return None if row is None else _made([row])[0]


def list_definitions(
    transaction: Connection, *, role: ActorRole, only: Collection[UUID] | None = None
) -> list[CustomDefinition]:
    """Those of the workspaces ``only`` (None: all) that are not deleted, in the order of their making."""
    query = sa.select(_D).where(_D.c.role == role, _D.c.deleted_at.is_(None)).order_by(_D.c.created_at, _D.c.id)
    if only is not None:
        query = query.where(_D.c.workspace_id.in_(list(only)))
    return _made(transaction.execute(query))


def change(transaction: Connection, row_id: UUID, **values: Any) -> CustomDefinition:
    """Set columns of a definition that exists."""
    transaction.execute(_D.update().where(_D.c.id == row_id).values(**values, updated_at=now()))
    found = find(transaction, row_id)
    assert found is not None
    return found
