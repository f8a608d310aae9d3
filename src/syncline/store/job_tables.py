"""The tables of jobs: what was asked for, what was tried, what happened, when which schedule is due, who leads.

No foreign keys to the nouns: a job outlives the connection that it ran.
"""

from __future__ import annotations

import sqlalchemy as sa

from syncline.store.schema import JsonColumn, SerialId, UtcDateTime, id_column, metadata

__all__ = [
    "attempts",
    "job_events",
    "jobs",
    "leases",
    "schedule_states",
    "stream_statuses",
    "webhook_deliveries",
    "webhooks",
]

_ACTIVE = sa.text("status IN ('pending', 'running', 'incomplete')")

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("id", SerialId, primary_key=True, autoincrement=True),
    sa.Column("type", sa.Text(), nullable=False),
    sa.Column("status", sa.Text(), nullable=False),
    sa.Column("connection_id", sa.Uuid(), nullable=False),
    sa.Column("workspace_id", sa.Uuid(), nullable=False),
    sa.Column("source_id", sa.Uuid(), nullable=False),
    sa.Column("destination_id", sa.Uuid(), nullable=False),
    sa.Column("cause", sa.Text(), nullable=False),
    sa.Column("caller", sa.Text(), nullable=False),
    sa.Column("priority", sa.Integer(), nullable=False),
    sa.Column("sync_id", sa.Text(), nullable=False, unique=True),
    sa.Column("streams", JsonColumn),
    sa.Column("retain", sa.Boolean(), nullable=False),
    sa.Column("due_first_at", UtcDateTime()),
    sa.Column("due_at", UtcDateTime()),
    sa.Column("due_count", sa.Integer(), nullable=False),
    sa.Column("created_at", UtcDateTime(), nullable=False),
    sa.Column("updated_at", UtcDateTime(), nullable=False),
    sa.Column("started_at", UtcDateTime()),
    sa.Column("ended_at", UtcDateTime()),
    sa.Column("not_before", UtcDateTime()),
    sa.Column("cancel_requested_at", UtcDateTime()),
    sa.Column("attempts", sa.Integer(), nullable=False),
    sa.Column("failures", sa.Integer(), nullable=False),
    sa.Column("rows_synced", sa.BigInteger(), nullable=False),
    sa.Column("bytes_synced", sa.BigInteger(), nullable=False),
    sa.Column("error", JsonColumn),
    # Overlap never: the store itself refuses a second active job of a connection.
    sa.Index("uq_jobs_one_active", "connection_id", unique=True, sqlite_where=_ACTIVE, postgresql_where=_ACTIVE),
    sa.Index("ix_jobs_active", "status", sqlite_where=_ACTIVE, postgresql_where=_ACTIVE),
    sa.Index(None, "created_at", "id"),
    sa.Index(None, "updated_at", "id"),
    sa.Index(None, "connection_id", "created_at", "id"),
    sa.Index(None, "workspace_id", "created_at", "id"),
)

attempts = sa.Table(
    "attempts",
    metadata,
    sa.Column("id", SerialId, primary_key=True, autoincrement=True),
    sa.Column("job_id", SerialId, sa.ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
    sa.Column("number", sa.Integer(), nullable=False),
    sa.Column("status", sa.Text(), nullable=False),
    sa.Column("host", sa.Text(), nullable=False),
    sa.Column("process", sa.Text()),
    sa.Column("journal_offset", sa.BigInteger(), nullable=False),
    sa.Column("created_at", UtcDateTime(), nullable=False),
    sa.Column("updated_at", UtcDateTime(), nullable=False),
    sa.Column("ended_at", UtcDateTime()),
    sa.Column("committed", sa.Boolean(), nullable=False),
    sa.Column("rows_read", sa.BigInteger(), nullable=False),
    sa.Column("rows_written", sa.BigInteger(), nullable=False),
    sa.Column("bytes_read", sa.BigInteger(), nullable=False),
    sa.Column("error", JsonColumn),
    sa.UniqueConstraint("job_id", "number"),
    sa.Index(
        "ix_attempts_running",
        "status",
        sqlite_where=sa.text("status = 'running'"),
        postgresql_where=sa.text("status = 'running'"),
    ),
)

stream_statuses = sa.Table(
    "stream_statuses",
    metadata,
    sa.Column("attempt_id", SerialId, sa.ForeignKey("attempts.id", ondelete="CASCADE"), primary_key=True),
    #: as the attempt's events name it
    sa.Column("stream", sa.Text(), primary_key=True),
    sa.Column("namespace", sa.Text()),
    sa.Column("name", sa.Text(), nullable=False),
    sa.Column("status", sa.Text(), nullable=False),
    sa.Column("rows_read", sa.BigInteger(), nullable=False),
    sa.Column("rows_written", sa.BigInteger(), nullable=False),
    sa.Column("rows_quarantined", sa.BigInteger(), nullable=False),
    sa.Column("bytes_read", sa.BigInteger(), nullable=False),
    sa.Column("error", JsonColumn),
    sa.Column("started_at", UtcDateTime()),
    sa.Column("ended_at", UtcDateTime()),
)

job_events = sa.Table(
    "job_events",
    metadata,
    sa.Column("id", SerialId, primary_key=True, autoincrement=True),
    sa.Column("at", UtcDateTime(), nullable=False, index=True),
    sa.Column("job_id", SerialId, nullable=False),
    sa.Column("connection_id", sa.Uuid(), nullable=False),
    sa.Column("workspace_id", sa.Uuid(), nullable=False),
    sa.Column("kind", sa.Text(), nullable=False),
    sa.Column("data", JsonColumn, nullable=False),
    sa.Index(None, "connection_id", "id"),
    sa.Index(None, "workspace_id", "id"),
    sa.Index(None, "job_id", "id"),
)

schedule_states = sa.Table(
    "schedule_states",
    metadata,
    sa.Column("connection_id", sa.Uuid(), primary_key=True),
    sa.Column("fingerprint", sa.Text(), nullable=False),
    sa.Column("next_due_at", UtcDateTime(), index=True),
    sa.Column("waiting_first_at", UtcDateTime()),
    sa.Column("waiting_last_at", UtcDateTime()),
    sa.Column("waiting_count", sa.Integer(), nullable=False),
    sa.Column("waiting_cause", sa.Text()),
    sa.Column("marks", JsonColumn, nullable=False),
    sa.Column("looked_at", UtcDateTime()),
    sa.Index(
        "ix_schedule_states_waiting",
        "waiting_first_at",
        sqlite_where=sa.text("waiting_first_at IS NOT NULL"),
        postgresql_where=sa.text("waiting_first_at IS NOT NULL"),
    ),
)

leases = sa.Table(
    "leases",
    metadata,
    sa.Column("name", sa.Text(), primary_key=True),
    sa.Column("holder", sa.Text(), nullable=False),
    sa.Column("token", sa.BigInteger(), nullable=False),
    sa.Column("beat", sa.BigInteger(), nullable=False),
)

webhooks = sa.Table(
    "webhooks",
    metadata,
    id_column(),
    sa.Column("connection_id", sa.Uuid(), nullable=False, index=True),
    sa.Column("workspace_id", sa.Uuid(), nullable=False),
    sa.Column("scheme", sa.Text(), nullable=False),
    sa.Column("tolerance_seconds", sa.Integer(), nullable=False),
    sa.Column("secret_id", sa.Uuid(), sa.ForeignKey("secrets.id"), nullable=False),
    sa.Column("created_at", UtcDateTime(), nullable=False),
    sa.Column("deleted_at", UtcDateTime()),
)

#: Messages that were taken, so that a repeat of one starts nothing; older ones than any tolerance go.
webhook_deliveries = sa.Table(
    "webhook_deliveries",
    metadata,
    sa.Column("webhook_id", sa.Uuid(), sa.ForeignKey("webhooks.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("delivery", sa.Text(), primary_key=True),
    sa.Column("at", UtcDateTime(), nullable=False, index=True),
)
