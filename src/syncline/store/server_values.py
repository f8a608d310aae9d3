"""Repository of what the installation knows about itself, by name."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from syncline.store import tables

__all__ = ["add", "beginning", "find", "lock", "put"]

_V = tables.server_values


def find(transaction: Connection, name: str) -> Any:
    """The value (JSON), None when there is none."""
    return transaction.execute(sa.select(_V.c.value).where(_V.c.name == name)).scalar()


def beginning(transaction: Connection, prefix: str) -> dict[str, Any]:
    """The values whose names begin so."""
    rows = transaction.execute(sa.select(_V.c.name, _V.c.value).where(_V.c.name.startswith(prefix, autoescape=True)))
    return {row.name: row.value for row in rows}


def add(transaction: Connection, name: str, value: Any) -> None:
    """A new value. Raises ``conflict`` (at the transaction's end) when another process was first."""
    transaction.execute(_V.insert().values(name=name, value=value))


def put(transaction: Connection, name: str, value: Any) -> None:
    """The value from now on, whether there was one or not."""
    if transaction.execute(_V.update().where(_V.c.name == name).values(value=value)).rowcount == 0:
        add(transaction, name, value)


def lock(transaction: Connection) -> None:
    """Nobody else adds a value until the transaction's end. On SQLite that is so anyway."""
    if transaction.dialect.name == "postgresql":
        transaction.execute(sa.text("LOCK TABLE server_values IN EXCLUSIVE MODE"))
