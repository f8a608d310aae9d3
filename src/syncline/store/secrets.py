"""Repository of sealed values. What is in them only the service can open."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from syncline.store import tables
from syncline.store.schema import now

__all__ = ["SealedRow", "add", "find", "key_ids", "remove", "replace", "rewrap", "wrapped_otherwise"]

_S = tables.secrets


@dataclass(frozen=True, kw_only=True)
class SealedRow:
    """``sealed`` was encrypted by a key of its own; ``wrapped_key`` is that key, encrypted by the key ``key_id``."""

    id: UUID
    key_id: str
    wrapped_key: bytes
    sealed: bytes


def add(transaction: Connection, row: SealedRow) -> None:
    at = now()
    transaction.execute(_S.insert().values(**vars(row), created_at=at, updated_at=at))


def replace(transaction: Connection, row: SealedRow) -> None:
    """New values under the id of old ones, which are gone."""
    values = {"key_id": row.key_id, "wrapped_key": row.wrapped_key, "sealed": row.sealed}
    transaction.execute(_S.update().where(_S.c.id == row.id).values(**values, updated_at=now()))


def find(transaction: Connection, row_id: UUID) -> SealedRow | None:
    row = transaction.execute(sa.select(*_columns()).where(_S.c.id == row_id)).first()
    return None if row is None else SealedRow(**row._mapping)


def remove(transaction: Connection, row_id: UUID) -> None:
    transaction.execute(_S.delete().where(_S.c.id == row_id))


def wrapped_otherwise(transaction: Connection, key_id: str) -> Iterator[SealedRow]:
    """All rows whose key is wrapped by another key than ``key_id``, locked."""
    query = sa.select(*_columns()).where(_S.c.key_id != key_id).order_by(_S.c.id).with_for_update()
    for row in transaction.execute(query).all():
        yield SealedRow(**row._mapping)


def key_ids(transaction: Connection) -> list[str]:
    """The names of all keys that wrap something."""
    return [row.key_id for row in transaction.execute(sa.select(_S.c.key_id).distinct())]


def rewrap(transaction: Connection, row_id: UUID, *, key_id: str, wrapped_key: bytes) -> None:
    """The same values with their key wrapped anew."""
    transaction.execute(
        _S.update().where(_S.c.id == row_id).values(key_id=key_id, wrapped_key=wrapped_key, updated_at=now())
    )


def _columns() -> list[sa.Column[object]]:
    return [_S.c.id, _S.c.key_id, _S.c.wrapped_key, _S.c.sealed]
