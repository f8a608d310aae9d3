"""Repository of the last known states. The ledger at the destination is the truth; this is what answers are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from syncline.store import tables
from syncline.store.schema import now
from syncline.store.values import ConnectionState, StreamState

__all__ = ["forget", "of", "save"]

_S = tables.stream_states
_G = tables.connection_states


def of(transaction: Connection, connection_id: UUID) -> ConnectionState:
    """In the order of namespaces and names."""
    query = sa.select(_S).where(_S.c.connection_id == connection_id).order_by(_S.c.namespace, _S.c.name)
    streams = tuple(
        StreamState(namespace=row.namespace or None, name=row.name, state=row.state, updated_at=row.updated_at)
        for row in transaction.execute(query)
    )
    shared = transaction.execute(sa.select(_G.c.shared).where(_G.c.connection_id == connection_id)).scalar()
    return ConnectionState(streams=streams, shared=shared)


def save(
    transaction: Connection,
    connection_id: UUID,
    streams: Sequence[StreamState],
    *,
    shared: Mapping[str, Any] | None = None,
) -> None:
    """Write the states of these streams; others stay as they are, and so does the shared position when it is None."""
    for stream in streams:
        place = (
            (_S.c.connection_id == connection_id)
            & (_S.c.namespace == (stream.namespace or ""))
            & (_S.c.name == stream.name)
        )
        values = {"state": None if stream.state is None else dict(stream.state), "updated_at": stream.updated_at}
        if transaction.execute(_S.update().where(place).values(**values)).rowcount == 0:
            key = {"connection_id": connection_id, "namespace": stream.namespace or "", "name": stream.name}
            transaction.execute(_S.insert().values(**key, **values))
    if shared is not None:
        values = {"shared": dict(shared), "updated_at": now()}
        if transaction.execute(_G.update().where(_G.c.connection_id == connection_id).values(**values)).rowcount == 0:
            transaction.execute(_G.insert().values(connection_id=connection_id, **values))


def forget(transaction: Connection, connection_id: UUID) -> None:
    transaction.execute(_S.delete().where(_S.c.connection_id == connection_id))
    transaction.execute(_G.delete().where(_G.c.connection_id == connection_id))
