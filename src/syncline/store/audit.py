"""Repository of the audit log. Entries are added and read, never changed."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from syncline.store import tables
from syncline.store.paging import Listed, Page, listed
from syncline.store.values import AuditEntry

__all__ = ["add", "list_entries"]

_A = tables.audit


def _entries(rows: Iterable[Any]) -> list[AuditEntry]:
    return [AuditEntry(**row._mapping) for row in rows]


def add(transaction: Connection, entry: AuditEntry) -> None:
    """The database gives the number."""
    values = dict(vars(entry))
    del values["id"]
    transaction.execute(_A.insert().values(**values))


def list_entries(
    transaction: Connection,
    *,
    workspaces: Collection[UUID] | None = None,
    noun: str | None = None,
    noun_id: str | None = None,
    page: Page,
) -> Listed[AuditEntry]:
    """Newest first; ``workspaces`` None means all, and what belongs to none."""
    query = sa.select(_A).order_by(_A.c.id.desc())
    if workspaces is not None:
        query = query.where(_A.c.workspace_id.in_(list(workspaces)))
    if noun is not None:
        query = query.where(_A.c.noun == noun)
    if noun_id is not None:
        query = query.where(_A.c.noun_id == noun_id)
    return listed(transaction, query, page, _entries)
