"""The tables of alerts: where people are told, what they are told of, what is open, and what went out.

An alert outlives the connection that it is about, as jobs do.
"""

from __future__ import annotations

import sqlalchemy as sa

from syncline.store.schema import JsonColumn, SerialId, UtcDateTime, created_at, id_column, metadata

__all__ = ["alert_channels", "alert_deliveries", "alert_rules", "alerts"]

alert_channels = sa.Table(
    "alert_channels",
    metadata,
    id_column(),
    sa.Column("workspace_id", sa.Uuid(), sa.ForeignKey("workspaces.id"), nullable=False, index=True),
    sa.Column("name", sa.Text(), nullable=False),
    sa.Column("kind", sa.Text(), nullable=False),
    sa.Column("enabled", sa.Boolean(), nullable=False),
    sa.Column("quiet_hours", JsonColumn),
    sa.Column("secret_id", sa.Uuid(), sa.ForeignKey("secrets.id"), nullable=False),
    *created_at(),
    sa.Column("deleted_at", UtcDateTime()),
)

#: ``connection_id`` NULL: the workspace's own. ``rules`` holds only what was said otherwise than the default.
alert_rules = sa.Table(
    "alert_rules",
    metadata,
    id_column(),
    sa.Column("workspace_id", sa.Uuid(), sa.ForeignKey("workspaces.id"), nullable=False, index=True),
    sa.Column("connection_id", sa.Uuid(), unique=True),
    sa.Column("rules", JsonColumn, nullable=False),
    *created_at(),
)

_OPEN = sa.text("resolved_at IS NULL")

alerts = sa.Table(
    "alerts",
    metadata,
    id_column(),
    sa.Column("workspace_id", sa.Uuid(), nullable=False),
    sa.Column("connection_id", sa.Uuid(), nullable=False),
    sa.Column("connection", sa.Text(), nullable=False),
    sa.Column("rule", sa.Text(), nullable=False),
    sa.Column("sentence", sa.Text(), nullable=False),
    sa.Column("hint", sa.Text(), nullable=False),
    sa.Column("job_id", SerialId),
    sa.Column("since", UtcDateTime(), nullable=False),
    sa.Column("told_at", UtcDateTime(), nullable=False),
    sa.Column("resolved_at", UtcDateTime()),
    # One open alert of each, also when two servers lead for a moment.
    sa.Index("uq_alerts_one_open", "connection_id", "rule", unique=True, sqlite_where=_OPEN, postgresql_where=_OPEN),
    sa.Index(None, "workspace_id", "since"),
    sa.Index(None, "since"),
)

#: Messages to be sent and sent ones: the outbox. ``status``: pending | sent | failed | dropped.
alert_deliveries = sa.Table(
    "alert_deliveries",
    metadata,
    sa.Column("id", SerialId, primary_key=True, autoincrement=True),
    sa.Column("alert_id", sa.Uuid(), nullable=False, index=True),
    sa.Column("channel_id", sa.Uuid(), sa.ForeignKey("alert_channels.id"), nullable=False),
    sa.Column("telling", sa.Text(), nullable=False),
    sa.Column("status", sa.Text(), nullable=False),
    sa.Column("title", sa.Text(), nullable=False),
    sa.Column("body", sa.Text(), nullable=False),
    sa.Column("level", sa.Text(), nullable=False),
    sa.Column("tries", sa.Integer(), nullable=False),
    sa.Column("not_before", UtcDateTime(), nullable=False),
    sa.Column("created_at", UtcDateTime(), nullable=False),
    sa.Column("ended_at", UtcDateTime()),
    sa.Column("error", sa.Text()),
    sa.Index(
        "ix_alert_deliveries_pending",
        "not_before",
        sqlite_where=sa.text("status = 'pending'"),
        postgresql_where=sa.text("status = 'pending'"),
    ),
)
