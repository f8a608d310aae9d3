"""Jobs, attempts, events, schedules, the leader's lease, webhooks. Runs before the new code."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

__all__ = ["down_revision", "revision", "upgrade"]

revision = "0002"
down_revision = "0001"

TIME = sa.DateTime(timezone=True)
JSON = sa.JSON(none_as_null=True)
SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
ACTIVE = sa.text("status IN ('pending', 'running', 'incomplete')")
RUNNING = sa.text("status = 'running'")
WAITING = sa.text("waiting_first_at IS NOT NULL")


def upgrade() -> None:
    _jobs()
    _attempts()
    op.create_table(
        "job_events",
        sa.Column("id", SERIAL, autoincrement=True, nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("job_id", SERIAL, nullable=False),
        sa.Column("connection_id", sa.Uuid(), nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("data", JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_job_events"),
    )
    op.create_index("ix_job_events_at", "job_events", ["at"])
    op.create_index("ix_job_events_connection_id_id", "job_events", ["connection_id", "id"])
    op.create_index("ix_job_events_workspace_id_id", "job_events", ["workspace_id", "id"])
    op.create_index("ix_job_events_job_id_id", "job_events", ["job_id", "id"])
    op.create_table(
        "schedule_states",
        sa.Column("connection_id", sa.Uuid(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("next_due_at", TIME),
        sa.Column("waiting_first_at", TIME),
        sa.Column("waiting_last_at", TIME),
        sa.Column("waiting_count", sa.Integer(), nullable=False),
        sa.Column("waiting_cause", sa.Text()),
        sa.Column("marks", JSON, nullable=False),
        sa.Column("looked_at", TIME),
        sa.PrimaryKeyConstraint("connection_id", name="pk_schedule_states"),
    )
    op.create_index("ix_schedule_states_next_due_at", "schedule_states", ["next_due_at"])
    op.create_index(
        "ix_schedule_states_waiting",
        "schedule_states",
        ["waiting_first_at"],
        sqlite_where=WAITING,
        postgresql_where=WAITING,
    )
    op.create_table(
        "leases",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("token", sa.BigInteger(), nullable=False),
        sa.Column("beat", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_leases"),
    )
    _webhooks()


def _jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", SERIAL, autoincrement=True, nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("connection_id", sa.Uuid(), nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("source_id", sa.Uuid(), nullable=False),
        sa.Column("destination_id", sa.Uuid(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("caller", sa.Text(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("sync_id", sa.Text(), nullable=False),
        sa.Column("streams", JSON),
        sa.Column("retain", sa.Boolean(), nullable=False),
        sa.Column("due_first_at", TIME),
        sa.Column("due_at", TIME),
        sa.Column("due_count", sa.Integer(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.Column("started_at", TIME),
        sa.Column("ended_at", TIME),
        sa.Column("not_before", TIME),
        sa.Column("cancel_requested_at", TIME),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("rows_synced", sa.BigInteger(), nullable=False),
        sa.Column("bytes_synced", sa.BigInteger(), nullable=False),
        sa.Column("error", JSON),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
        sa.UniqueConstraint("sync_id", name="uq_jobs_sync_id"),
    )
    op.create_index(
        "uq_jobs_one_active", "jobs", ["connection_id"], unique=True, sqlite_where=ACTIVE, postgresql_where=ACTIVE
    )
    op.create_index("ix_jobs_active", "jobs", ["status"], sqlite_where=ACTIVE, postgresql_where=ACTIVE)
    op.create_index("ix_jobs_created_at_id", "jobs", ["created_at", "id"])
    op.create_index("ix_jobs_updated_at_id", "jobs", ["updated_at", "id"])
    op.create_index("ix_jobs_connection_id_created_at_id", "jobs", ["connection_id", "created_at", "id"])
    op.create_index("ix_jobs_workspace_id_created_at_id", "jobs", ["workspace_id", "created_at", "id"])


def _attempts() -> None:
    op.create_table(
        "attempts",
        sa.Column("id", SERIAL, autoincrement=True, nullable=False),
        sa.Column("job_id", SERIAL, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("process", sa.Text()),
        sa.Column("journal_offset", sa.BigInteger(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.Column("ended_at", TIME),
        sa.Column("committed", sa.Boolean(), nullable=False),
        sa.Column("rows_read", sa.BigInteger(), nullable=False),
        sa.Column("rows_written", sa.BigInteger(), nullable=False),
        sa.Column("bytes_read", sa.BigInteger(), nullable=False),
        sa.Column("error", JSON),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_attempts_job_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_attempts"),
        sa.UniqueConstraint("job_id", "number", name="uq_attempts_job_id_number"),
    )
    op.create_index("ix_attempts_running", "attempts", ["status"], sqlite_where=RUNNING, postgresql_where=RUNNING)
    op.create_table(
        "stream_statuses",
        sa.Column("attempt_id", SERIAL, nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("namespace", sa.Text()),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("rows_read", sa.BigInteger(), nullable=False),
        sa.Column("rows_written", sa.BigInteger(), nullable=False),
        sa.Column("rows_quarantined", sa.BigInteger(), nullable=False),
        sa.Column("bytes_read", sa.BigInteger(), nullable=False),
        sa.Column("error", JSON),
        sa.Column("started_at", TIME),
        sa.Column("ended_at", TIME),
        sa.ForeignKeyConstraint(
            ["attempt_id"], ["attempts.id"], name="fk_stream_statuses_attempt_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("attempt_id", "stream", name="pk_stream_statuses"),
    )


def _webhooks() -> None:
    op.create_table(
        "webhooks",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("connection_id", sa.Uuid(), nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("scheme", sa.Text(), nullable=False),
        sa.Column("tolerance_seconds", sa.Integer(), nullable=False),
        sa.Column("secret_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("deleted_at", TIME),
        sa.ForeignKeyConstraint(["secret_id"], ["secrets.id"], name="fk_webhooks_secret_id"),
        sa.PrimaryKeyConstraint("id", name="pk_webhooks"),
    )
    op.create_index("ix_webhooks_connection_id", "webhooks", ["connection_id"])
    op.create_table(
        "webhook_deliveries",
        sa.Column("webhook_id", sa.Uuid(), nullable=False),
        sa.Column("delivery", sa.Text(), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["webhook_id"], ["webhooks.id"], name="fk_webhook_deliveries_webhook_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("webhook_id", "delivery", name="pk_webhook_deliveries"),
    )
    op.create_index("ix_webhook_deliveries_at", "webhook_deliveries", ["at"])
