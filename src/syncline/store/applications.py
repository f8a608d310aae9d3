"""Repository of applications and of API keys. Only hashes of their secrets are kept."""

from __future__ import annotations

from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from syncline.store import tables
from syncline.store.database import identities_changed
from syncline.store.schema import now
from syncline.store.values import ApiKey, Application

__all__ = [
    "add",
    "add_key",
    "by_client_id",
    "find",
    "find_key",
    "key_by_hash",
    "key_used",
    "list_applications",
    "list_keys",
    "remove",
    "remove_key",
]

_A = tables.applications
_K = tables.api_keys
_APPLICATION = (_A.c.id, _A.c.user_id, _A.c.name, _A.c.client_id, _A.c.created_at, _A.c.deleted_at)
_KEY = (
    _K.c.id,
    _K.c.user_id,
    _K.c.name,
    _K.c.prefix,
    _K.c.created_at,
    _K.c.expires_at,
    _K.c.last_used_at,
    _K.c.deleted_at,
)


def add(transaction: Connection, application: Application, secret_hash: bytes) -> None:
    values = vars(application) | {"secret_hash": secret_hash, "updated_at": application.created_at}
    transaction.execute(_A.insert().values(**values))


def find(transaction: Connection, row_id: UUID) -> Application | None:
    """Also when it is deleted."""
    row = transaction.execute(sa.select(*_APPLICATION).where(_A.c.id == row_id)).first()
    return None if row is None else Application(**row._mapping)


def by_client_id(transaction: Connection, client_id: str) -> tuple[Application, bytes] | None:
    """The application that is not deleted, with the hash of its secret."""
    query = sa.select(*_APPLICATION, _A.c.secret_hash).where(_A.c.client_id == client_id, _A.c.deleted_at.is_(None))
    row = transaction.execute(query).first()
    if row is None:
        return None
    values = dict(row._mapping)
    secret_hash = values.pop("secret_hash")
    return Application(**values), secret_hash


def list_applications(transaction: Connection, user_id: UUID | None) -> list[Application]:
    """A user's (None: everybody's) that are not deleted, in the order of their making."""
    query = sa.select(*_APPLICATION).where(_A.c.deleted_at.is_(None)).order_by(_A.c.created_at, _A.c.id)
    if user_id is not None:
        query = query.where(_A.c.user_id == user_id)
    return [Application(**row._mapping) for row in transaction.execute(query)]


def remove(transaction: Connection, row_id: UUID) -> None:
    identities_changed(transaction)
    transaction.execute(_A.update().where(_A.c.id == row_id).values(deleted_at=now()))


def add_key(transaction: Connection, key: ApiKey, key_hash: bytes) -> None:
    transaction.execute(_K.insert().values(**vars(key), key_hash=key_hash, updated_at=key.created_at))


def find_key(transaction: Connection, row_id: UUID) -> ApiKey | None:
    row = transaction.execute(sa.select(*_KEY).where(_K.c.id == row_id)).first()
    return None if row is None else ApiKey(**row._mapping)


def key_by_hash(transaction: Connection, key_hash: bytes) -> ApiKey | None:
    """The key that is not deleted; whether it has expired is for the caller to see."""
    row = transaction.execute(sa.select(*_KEY).where(_K.c.key_hash == key_hash, _K.c.deleted_at.is_(None))).first()
    return None if row is None else ApiKey(**row._mapping)


def list_keys(transaction: Connection, user_id: UUID | None) -> list[ApiKey]:
    """A user's (None: everybody's) that are not deleted, in the order of their making."""
    query = sa.select(*_KEY).where(_K.c.deleted_at.is_(None)).order_by(_K.c.created_at, _K.c.id)
    if user_id is not None:
        query = query.where(_K.c.user_id == user_id)
    return [ApiKey(**row._mapping) for row in transaction.execute(query)]


def key_used(transaction: Connection, row_id: UUID) -> None:
    transaction.execute(_K.update().where(_K.c.id == row_id).values(last_used_at=now()))


def remove_key(transaction: Connection, row_id: UUID) -> None:
    identities_changed(transaction)
    transaction.execute(_K.update().where(_K.c.id == row_id).values(deleted_at=now()))
