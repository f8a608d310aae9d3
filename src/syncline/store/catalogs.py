"""Repository of discovered catalogs: the newest of each source."""

from __future__ import annotations

from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from syncline.store import tables
from syncline.store.values import StoredCatalog

__all__ = ["find", "of_source", "save"]

_K = tables.catalogs


def save(transaction: Connection, catalog: StoredCatalog) -> None:
    """In place of the source's former one."""
    transaction.execute(_K.delete().where(_K.c.source_id == catalog.source_id))
    transaction.execute(_K.insert().values(**vars(catalog)))


def find(transaction: Connection, row_id: UUID) -> StoredCatalog | None:
    row = transaction.execute(sa.select(_K).where(_K.c.id == row_id)).first()
    return None if row is None else StoredCatalog(**row._mapping)


def of_source(transaction: Connection, source_id: UUID) -> StoredCatalog | None:
    row = transaction.execute(sa.select(_K).where(_K.c.source_id == source_id)).first()
    return None if row is None else StoredCatalog(**row._mapping)
