"""Repository of connections, with their streams, schedules and tags."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from syncline.store import tables
from syncline.store.paging import Listed, Page, listed
from syncline.store.schema import now
from syncline.store.values import (
    ActorRole,
    ConnectionOptions,
    ConnectionStatus,
    Schedule,
    ScheduledConnection,
    StoredConnection,
    StreamConfig,
    Tag,
)

__all__ = [
    "add",
    "change",
    "find",
    "keyed",
    "list_connections",
    "mark_deleted",
    "of_actor",
    "of_fan_out",
    "scheduled",
    "scheduled_stamps",
    "set_status",
    "set_tags",
]

_C = tables.connections
_T = tables.tags
_CT = tables.connection_tags

_SCHEDULED = (_C.c.status == "active", _C.c.schedule_kind != "manual")

#: Made once: composing them costs more than running them.
_FIND = sa.select(_C).where(_C.c.id == sa.bindparam("row_id"))
_TAGS_OF = (
    sa.select(_CT.c.connection_id, _T.c.id, _T.c.workspace_id, _T.c.name, _T.c.color)
    .join(_T, _T.c.id == _CT.c.tag_id)
    .where(_CT.c.connection_id.in_(sa.bindparam("connections", expanding=True)))
    .order_by(_T.c.name, _T.c.id)
)


def _row(connection: StoredConnection) -> dict[str, Any]:
    values = vars(connection) | {
        "schedule_kind": connection.schedule.kind,
        "schedule": connection.schedule.to_json(),
        "streams": None if connection.streams is None else [s.to_json() for s in connection.streams],
        "options": connection.options.to_json(),
    }
    del values["tags"]
    return values


def _made(transaction: Connection, rows: Iterable[Any]) -> list[StoredConnection]:
    rows = list(rows)
    tags = _tags(transaction, [row.id for row in rows])
    return [
        StoredConnection(
            id=row.id,
            key=row.key,
            workspace_id=row.workspace_id,
            source_id=row.source_id,
            destination_id=row.destination_id,
            name=row.name,
            status=row.status,
            status_reason=row.status_reason,
            schedule=Schedule.from_json(row.schedule),
            streams=None if row.streams is None else tuple(StreamConfig.from_json(s) for s in row.streams),
            namespace_definition=row.namespace_definition,
            namespace_format=row.namespace_format,
            prefix=row.prefix,
            non_breaking_updates=row.non_breaking_updates,
            tags=tuple(tags.get(row.id, ())),
            options=ConnectionOptions.from_json(row.options),
            created_at=row.created_at,
            updated_at=row.updated_at,
            deleted_at=row.deleted_at,
        )
        for row in rows
    ]


def _tags(transaction: Connection, ids: Sequence[UUID]) -> dict[UUID, list[Tag]]:
    found: dict[UUID, list[Tag]] = {}
    # SQLite takes 32,766 parameters; a list of everything may be longer.
    for start in range(0, len(ids), 10_000):
        part = ids[start : start + 10_000]
        for row in transaction.execute(_TAGS_OF, {"connections": part}):
            tag = Tag(id=row.id, workspace_id=row.workspace_id, name=row.name, color=row.color)
            found.setdefault(row.connection_id, []).append(tag)
    return found


def add(transaction: Connection, connection: StoredConnection) -> None:
    transaction.execute(_C.insert().values(**_row(connection)))
    set_tags(transaction, connection.id, [tag.id for tag in connection.tags])


def find(transaction: Connection, row_id: UUID, *, lock: bool = False) -> StoredConnection | None:
    """Also when it is deleted. ``lock``: nobody else changes it until the transaction's end."""
    row = transaction.execute(_FIND.with_for_update() if lock else _FIND, {"row_id": row_id}).first()
    return None if row is None else _made(transaction, [row])[0]


def list_connections(
    transaction: Connection,
    *,
    workspaces: Collection[UUID] | None = None,
    source_id: UUID | None = None,
    destination_id: UUID | None = None,
    tag_ids: Collection[UUID] = (),
    name: str | None = None,
    include_deleted: bool = False,
    page: Page,
) -> Listed[StoredConnection]:
    """In the order of their making; ``workspaces`` None means all, ``tag_ids``: with one of these tags at least."""
    query = sa.select(_C).order_by(_C.c.created_at, _C.c.id)
    if workspaces is not None:
        query = query.where(_C.c.workspace_id.in_(list(workspaces)))
    if source_id is not None:
        query = query.where(_C.c.source_id == source_id)
    if destination_id is not None:
        query = query.where(_C.c.destination_id == destination_id)
    if tag_ids:
        query = query.where(_C.c.id.in_(sa.select(_CT.c.connection_id).where(_CT.c.tag_id.in_(list(tag_ids)))))
    if name is not None:
        query = query.where(_C.c.name == name)
    if not include_deleted:
        query = query.where(_C.c.deleted_at.is_(None))
    return listed(transaction, query, page, lambda rows: _made(transaction, rows))


def of_actor(transaction: Connection, role: ActorRole, actor_id: UUID) -> list[StoredConnection]:
    """The connections of a source or destination that are not deleted."""
    column = _C.c.source_id if role == "source" else _C.c.destination_id
    query = sa.select(_C).where(column == actor_id, _C.c.deleted_at.is_(None)).order_by(_C.c.id)
    return _made(transaction, transaction.execute(query))


def of_fan_out(transaction: Connection, name: str) -> list[StoredConnection]:
    """The connections that read one source together under this name and are not deleted, in the order of their
    making."""
    together = _C.c.options["fan_out"]["connection"].as_string() == name
    query = sa.select(_C).where(together, _C.c.deleted_at.is_(None)).order_by(_C.c.created_at, _C.c.id)
    return _made(transaction, transaction.execute(query))


def keyed(transaction: Connection, key: str) -> StoredConnection | None:
    """The connection of a key, also when it is deleted."""
    found = _made(transaction, transaction.execute(sa.select(_C).where(_C.c.key == key)))
    return found[0] if found else None


def scheduled_stamps(transaction: Connection) -> dict[UUID, datetime]:
    """When each active connection that runs by itself was last changed."""
    query = sa.select(_C.c.id, _C.c.updated_at).where(*_SCHEDULED).order_by(_C.c.id)
    return {row[0]: row[1] for row in transaction.execute(query)}


def scheduled(transaction: Connection, ids: Sequence[UUID] | None = None) -> list[ScheduledConnection]:
    """Active connections that run by themselves (of those ``ids``, where given), without their streams."""
    columns = (
        _C.c.id,
        _C.c.key,
        _C.c.workspace_id,
        _C.c.source_id,
        _C.c.destination_id,
        _C.c.schedule,
        _C.c.options,
        _C.c.updated_at,
    )
    query = sa.select(*columns).where(*_SCHEDULED).order_by(_C.c.id)
    if ids is not None:
        query = query.where(_C.c.id.in_(ids))
    return [
        ScheduledConnection(
            **dict(row._mapping)
            | {"schedule": Schedule.from_json(row.schedule), "options": ConnectionOptions.from_json(row.options)}
        )
        for row in transaction.execute(query)
    ]


def change(transaction: Connection, connection: StoredConnection) -> StoredConnection:
    """Write a connection that exists as it is given, with ``updated_at`` of now. Its key stays."""
    values = _row(connection) | {"updated_at": now()}
    for fixed in ("id", "key", "created_at"):
        del values[fixed]
    transaction.execute(_C.update().where(_C.c.id == connection.id).values(**values))
    set_tags(transaction, connection.id, [tag.id for tag in connection.tags])
    found = find(transaction, connection.id)
    assert found is not None
    return found


def set_status(transaction: Connection, row_id: UUID, status: ConnectionStatus, reason: str | None = None) -> None:
    """Of a connection that is not deleted, and nothing else of it."""
    values = {"status": status, "status_reason": reason, "updated_at": now()}
    transaction.execute(_C.update().where(_C.c.id == row_id, _C.c.deleted_at.is_(None)).values(**values))


def mark_deleted(transaction: Connection, row_id: UUID) -> None:
    """Its row stays, as ``deprecated``."""
    at = now()
    values = {"status": "deprecated", "deleted_at": at, "updated_at": at}
    transaction.execute(_C.update().where(_C.c.id == row_id).values(**values))


def set_tags(transaction: Connection, row_id: UUID, tag_ids: Sequence[UUID]) -> None:
    transaction.execute(_CT.delete().where(_CT.c.connection_id == row_id))
    if tag_ids:
        rows = [{"connection_id": row_id, "tag_id": tag} for tag in dict.fromkeys(tag_ids)]
        transaction.execute(_CT.insert(), rows)
