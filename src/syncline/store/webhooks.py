"""Webhooks and the messages that came through them."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from syncline.store.database import Transaction
from syncline.store.job_tables import webhook_deliveries, webhooks
from syncline.store.job_values import Webhook

__all__ = ["delete", "find", "insert", "of_connection", "prune_deliveries", "take_delivery"]


def insert(tx: Transaction, webhook: Webhook) -> None:
    tx.execute(
        sa.insert(webhooks).values(
            id=webhook.id,
            connection_id=webhook.connection_id,
            workspace_id=webhook.workspace_id,
            scheme=webhook.scheme,
            tolerance_seconds=webhook.tolerance_seconds,
            secret_id=webhook.secret_id,
            created_at=webhook.created_at,
        )
    )


def find(tx: Transaction, webhook_id: UUID) -> Webhook | None:
    """The webhook, None also when it was deleted."""
    query = sa.select(webhooks).where(webhooks.c.id == webhook_id, webhooks.c.deleted_at.is_(None))
    row = tx.execute(query).mappings().first()
    return None if row is None else _webhook(row)


def of_connection(tx: Transaction, connection_id: UUID) -> list[Webhook]:
    query = (
        sa.select(webhooks)
        .where(webhooks.c.connection_id == connection_id, webhooks.c.deleted_at.is_(None))
        .order_by(webhooks.c.created_at, webhooks.c.id)
    )
    return [_webhook(row) for row in tx.execute(query).mappings()]


def delete(tx: Transaction, webhook_id: UUID, at: datetime) -> None:
    tx.execute(sa.update(webhooks).where(webhooks.c.id == webhook_id).values(deleted_at=at))


def take_delivery(tx: Transaction, webhook_id: UUID, delivery: str, at: datetime) -> bool:
    """Remember a message; False when it came before."""
    make = postgresql.insert if tx.dialect.name == "postgresql" else sqlite.insert
    row = {"webhook_id": webhook_id, "delivery": delivery, "at": at}
    return tx.execute(make(webhook_deliveries).values(row).on_conflict_do_nothing()).rowcount == 1


def prune_deliveries(tx: Transaction, before: datetime) -> int:
    return tx.execute(sa.delete(webhook_deliveries).where(webhook_deliveries.c.at < before)).rowcount


def _webhook(row: Any) -> Webhook:
    return Webhook(**{key: row[key] for key in Webhook.__dataclass_fields__})
