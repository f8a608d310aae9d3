"""Channels, rules, alerts and the outbox."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import sqlalchemy as sa

from syncline.store.alert_tables import alert_channels, alert_deliveries, alert_rules, alerts
from syncline.store.database import Transaction
from syncline.store.schema import new_id, now

__all__ = [
    "AlertRow",
    "Channel",
    "Delivery",
    "add_channel",
    "add_deliveries",
    "alerts_of",
    "change_channel",
    "channels_of",
    "deliveries_of",
    "delivery_ended",
    "drop_pending",
    "due_deliveries",
    "find_channel",
    "open_alerts",
    "prune",
    "retry_delivery",
    "rules_of",
    "save",
    "set_rules",
]

DeliveryStatus = Literal["pending", "sent", "failed", "dropped"]


@dataclass(frozen=True, kw_only=True)
class Channel:
    """Where a workspace's people are told. ``secret_id`` names the sealed URL, ``kind`` is its scheme."""

    id: UUID
    workspace_id: UUID
    name: str
    kind: str
    enabled: bool
    quiet_hours: Mapping[str, Any] | None
    secret_id: UUID
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class AlertRow:
    """An alert; open while ``resolved_at`` is None."""

    id: UUID
    workspace_id: UUID
    connection_id: UUID
    connection: str
    rule: str
    sentence: str
    hint: str
    job_id: int | None
    since: datetime
    told_at: datetime
    resolved_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """One message to one channel."""

    id: int
    alert_id: UUID
    channel_id: UUID
    telling: str
    status: DeliveryStatus
    title: str
    body: str
    level: str
    tries: int
    not_before: datetime
    created_at: datetime
    ended_at: datetime | None
    error: str | None


def add_channel(tx: Transaction, channel: Channel) -> None:
    tx.execute(sa.insert(alert_channels).values(**vars(channel)))


def find_channel(tx: Transaction, channel_id: UUID) -> Channel | None:
    """None also when it was deleted."""
    query = sa.select(alert_channels).where(alert_channels.c.id == channel_id, alert_channels.c.deleted_at.is_(None))
    row = tx.execute(query).mappings().first()
    return None if row is None else Channel(**row)


def channels_of(tx: Transaction, workspace_id: UUID) -> list[Channel]:
    """By name."""
    query = (
        sa.select(alert_channels)
        .where(alert_channels.c.workspace_id == workspace_id, alert_channels.c.deleted_at.is_(None))
        .order_by(alert_channels.c.name, alert_channels.c.id)
    )
    return [Channel(**row) for row in tx.execute(query).mappings()]


def change_channel(tx: Transaction, channel_id: UUID, **values: Any) -> None:
    tx.execute(sa.update(alert_channels).where(alert_channels.c.id == channel_id).values(**values, updated_at=now()))


def rules_of(tx: Transaction, workspace_id: UUID) -> dict[UUID | None, dict[str, Any]]:
    """What was said otherwise than the default: of the workspace under None, of connections under their ids."""
    query = sa.select(alert_rules.c.connection_id, alert_rules.c.rules).where(
        alert_rules.c.workspace_id == workspace_id
    )
    return {row.connection_id: dict(row.rules) for row in tx.execute(query)}


def set_rules(tx: Transaction, workspace_id: UUID, connection_id: UUID | None, rules: Mapping[str, Any]) -> None:
    same = (
        alert_rules.c.connection_id.is_(None) if connection_id is None else alert_rules.c.connection_id == connection_id
    )
    where = sa.and_(alert_rules.c.workspace_id == workspace_id, same)
    at = now()
    if not tx.execute(sa.update(alert_rules).where(where).values(rules=dict(rules), updated_at=at)).rowcount:
        tx.execute(
            sa.insert(alert_rules).values(
                id=new_id(),
                workspace_id=workspace_id,
                connection_id=connection_id,
                rules=dict(rules),
                created_at=at,
                updated_at=at,
            )
        )


def save(tx: Transaction, alert: AlertRow) -> None:
    """Insert the alert, or bring the one with its id up to date."""
    values = dict(vars(alert))
    if not tx.execute(sa.update(alerts).where(alerts.c.id == alert.id).values(**values)).rowcount:
        tx.execute(sa.insert(alerts).values(**values))


def open_alerts(tx: Transaction) -> list[AlertRow]:
    query = sa.select(alerts).where(alerts.c.resolved_at.is_(None))
    return [AlertRow(**row) for row in tx.execute(query).mappings()]


def alerts_of(
    tx: Transaction, workspace_ids: Sequence[UUID] | None, *, only_open: bool, limit: int, connection_id: UUID | None
) -> list[AlertRow]:
    """Newest first; of all workspaces when ``workspace_ids`` is None."""
    query = sa.select(alerts).order_by(alerts.c.since.desc(), alerts.c.id).limit(limit)
    if workspace_ids is not None:
        query = query.where(alerts.c.workspace_id.in_(workspace_ids))
    if connection_id is not None:
        query = query.where(alerts.c.connection_id == connection_id)
    if only_open:
        query = query.where(alerts.c.resolved_at.is_(None))
    return [AlertRow(**row) for row in tx.execute(query).mappings()]


def add_deliveries(tx: Transaction, rows: Sequence[Mapping[str, Any]]) -> None:
    """``rows``: alert_id, channel_id, telling, title, body, level, not_before each."""
    if rows:
        at = now()
        made = [{"status": "pending", "tries": 0, "created_at": at, **row} for row in rows]
        tx.execute(sa.insert(alert_deliveries), made)


def drop_pending(tx: Transaction, alert_id: UUID) -> set[UUID]:
    """What waits of an alert is not to be sent any more; returns the channels that were to hear of it first from
    that: telling them of its end would puzzle them."""
    waiting = sa.and_(alert_deliveries.c.alert_id == alert_id, alert_deliveries.c.status == "pending")
    query = sa.select(alert_deliveries.c.channel_id).where(waiting, alert_deliveries.c.telling == "opened")
    unheard = {row.channel_id for row in tx.execute(query)}
    tx.execute(sa.update(alert_deliveries).where(waiting).values(status="dropped", ended_at=now()))
    return unheard


def due_deliveries(tx: Transaction, at: datetime, limit: int = 50) -> list[Delivery]:
    query = (
        sa.select(alert_deliveries)
        .where(alert_deliveries.c.status == "pending", alert_deliveries.c.not_before <= at)
        .order_by(alert_deliveries.c.id)
        .limit(limit)
    )
    return [Delivery(**row) for row in tx.execute(query).mappings()]


def delivery_ended(tx: Transaction, delivery_id: int, status: DeliveryStatus, error: str | None = None) -> None:
    tx.execute(
        sa.update(alert_deliveries)
        .where(alert_deliveries.c.id == delivery_id)
        .values(status=status, error=error, ended_at=now(), tries=alert_deliveries.c.tries + 1)
    )


def retry_delivery(tx: Transaction, delivery_id: int, not_before: datetime, error: str) -> None:
    tx.execute(
        sa.update(alert_deliveries)
        .where(alert_deliveries.c.id == delivery_id)
        .values(not_before=not_before, error=error, tries=alert_deliveries.c.tries + 1)
    )


def deliveries_of(tx: Transaction, alert_id: UUID) -> list[Delivery]:
    query = sa.select(alert_deliveries).where(alert_deliveries.c.alert_id == alert_id).order_by(alert_deliveries.c.id)
    return [Delivery(**row) for row in tx.execute(query).mappings()]


def prune(tx: Transaction, before: datetime) -> int:
    """Forget alerts that were over before that, and their messages."""
    old = sa.select(alerts.c.id).where(alerts.c.resolved_at < before)
    tx.execute(sa.delete(alert_deliveries).where(alert_deliveries.c.alert_id.in_(old)))
    return tx.execute(sa.delete(alerts).where(alerts.c.resolved_at < before)).rowcount
