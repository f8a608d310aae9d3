"""The tables of the nouns. Those of jobs are in :mod:`syncline.store.job_tables`.

What is deleted stays as a row with ``deleted_at``, because answers with ``includeDeleted`` and old jobs name it.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa

from syncline.store.schema import JsonColumn, SerialId, UtcDateTime, created_at, id_column, metadata

__all__ = [
    "actors",
    "api_keys",
    "applications",
    "audit",
    "catalogs",
    "connection_states",
    "connection_tags",
    "connections",
    "definitions",
    "organizations",
    "permissions",
    "secrets",
    "server_values",
    "stream_states",
    "tags",
    "users",
    "workspaces",
]


def _deleted_at() -> sa.Column[datetime]:
    return sa.Column("deleted_at", UtcDateTime())


def _workspace(*, nullable: bool = False) -> sa.Column[UUID]:
    return sa.Column("workspace_id", sa.Uuid(), sa.ForeignKey("workspaces.id"), nullable=nullable)


def _user() -> sa.Column[UUID]:
    return sa.Column("user_id", sa.Uuid(), sa.ForeignKey("users.id"), nullable=False, index=True)


organizations = sa.Table(
    "organizations",
    metadata,
    id_column(),
    sa.Column("name", sa.Text(), nullable=False),
    sa.Column("email", sa.Text(), nullable=False),
    *created_at(),
)

workspaces = sa.Table(
    "workspaces",
    metadata,
    id_column(),
    sa.Column("organization_id", sa.Uuid(), sa.ForeignKey("organizations.id"), nullable=False),
    sa.Column("name", sa.Text(), nullable=False),
    sa.Column("data_residency", sa.Text(), nullable=False),
    sa.Column("notifications", JsonColumn, nullable=False),
    sa.Column("max_jobs", sa.Integer()),
    *created_at(),
    _deleted_at(),
    sa.Index(None, "created_at", "id"),
)

#: Definitions that a workspace made for itself; built-in ones are a file of the program.
definitions = sa.Table(
    "definitions",
    metadata,
    id_column(),
    sa.Column("role", sa.Text(), nullable=False),
    _workspace(),
    sa.Column("name", sa.Text(), nullable=False),
    sa.Column("docker_repository", sa.Text(), nullable=False),
    sa.Column("docker_image_tag", sa.Text(), nullable=False),
    sa.Column("documentation_url", sa.Text()),
    sa.Column("manifest", JsonColumn),
    *created_at(),
    _deleted_at(),
    sa.Index(None, "workspace_id", "role", "created_at", "id"),
)

#: Sealed values: one row holds all secrets of one configuration. ``key_id`` names the key that wrapped ``wrapped_key``.
secrets = sa.Table(
    "secrets",
    metadata,
    id_column(),
    sa.Column("key_id", sa.Text(), nullable=False, index=True),
    sa.Column("wrapped_key", sa.LargeBinary(), nullable=False),
    sa.Column("sealed", sa.LargeBinary(), nullable=False),
    *created_at(),
)

#: Sources and destinations. ``configuration`` has a mask in place of each secret.
actors = sa.Table(
    "actors",
    metadata,
    id_column(),
    sa.Column("role", sa.Text(), nullable=False),
    _workspace(),
    sa.Column("definition_id", sa.Uuid(), nullable=False),
    sa.Column("type_name", sa.Text(), nullable=False),
    sa.Column("connector", sa.Text(), nullable=False),
    sa.Column("name", sa.Text(), nullable=False),
    sa.Column("configuration", JsonColumn, nullable=False),
    sa.Column("secret_id", sa.Uuid(), sa.ForeignKey("secrets.id")),
    sa.Column("max_jobs", sa.Integer()),
    sa.Column("resource_allocation", JsonColumn),
    *created_at(),
    _deleted_at(),
    sa.Index(None, "role", "created_at", "id"),
    sa.Index(None, "workspace_id", "role", "created_at", "id"),
)

connections = sa.Table(
    "connections",
    metadata,
    id_column(),
    sa.Column("key", sa.Text(), nullable=False, unique=True),
    _workspace(),
    sa.Column("source_id", sa.Uuid(), sa.ForeignKey("actors.id"), nullable=False, index=True),
    sa.Column("destination_id", sa.Uuid(), sa.ForeignKey("actors.id"), nullable=False, index=True),
    sa.Column("name", sa.Text(), nullable=False),
    sa.Column("status", sa.Text(), nullable=False),
    sa.Column("status_reason", sa.Text()),
    sa.Column("schedule_kind", sa.Text(), nullable=False),
    sa.Column("schedule", JsonColumn, nullable=False),
    sa.Column("streams", JsonColumn),
    sa.Column("namespace_definition", sa.Text(), nullable=False),
    sa.Column("namespace_format", sa.Text()),
    sa.Column("prefix", sa.Text(), nullable=False),
    sa.Column("non_breaking_updates", sa.Text(), nullable=False),
    sa.Column("options", JsonColumn, nullable=False),
    *created_at(),
    _deleted_at(),
    sa.Index(None, "created_at", "id"),
    sa.Index(None, "workspace_id", "created_at", "id"),
    sa.Index(None, "status", "schedule_kind"),
)

tags = sa.Table(
    "tags",
    metadata,
    id_column(),
    _workspace(),
    sa.Column("name", sa.Text(), nullable=False),
    sa.Column("color", sa.Text(), nullable=False),
    *created_at(),
    sa.UniqueConstraint("workspace_id", "name"),
)

connection_tags = sa.Table(
    "connection_tags",
    metadata,
    sa.Column("connection_id", sa.Uuid(), sa.ForeignKey("connections.id"), primary_key=True),
    sa.Column("tag_id", sa.Uuid(), sa.ForeignKey("tags.id", ondelete="CASCADE"), primary_key=True, index=True),
)

#: The last catalog that a source's discovery found, and the configuration that it was found with.
catalogs = sa.Table(
    "catalogs",
    metadata,
    id_column(),
    sa.Column("source_id", sa.Uuid(), sa.ForeignKey("actors.id"), nullable=False, unique=True),
    sa.Column("configuration_digest", sa.Text(), nullable=False),
    sa.Column("catalog", JsonColumn, nullable=False),
    sa.Column("discovered_at", UtcDateTime(), nullable=False),
)

#: What is last known of each stream's ledger entry. The ledger at the destination is the truth.
stream_states = sa.Table(
    "stream_states",
    metadata,
    sa.Column("connection_id", sa.Uuid(), sa.ForeignKey("connections.id"), primary_key=True),
    sa.Column("namespace", sa.Text(), primary_key=True),
    sa.Column("name", sa.Text(), primary_key=True),
    sa.Column("state", JsonColumn),
    sa.Column("updated_at", UtcDateTime(), nullable=False),
)

#: A connection's position that all its streams share (the place in a log).
connection_states = sa.Table(
    "connection_states",
    metadata,
    sa.Column("connection_id", sa.Uuid(), sa.ForeignKey("connections.id"), primary_key=True),
    sa.Column("shared", JsonColumn, nullable=False),
    sa.Column("updated_at", UtcDateTime(), nullable=False),
)

users = sa.Table(
    "users",
    metadata,
    id_column(),
    sa.Column("email", sa.Text(), nullable=False, unique=True),
    sa.Column("name", sa.Text(), nullable=False),
    sa.Column("password_hash", sa.Text()),
    *created_at(),
    sa.Column("disabled_at", UtcDateTime()),
)

#: A right of a user: in one workspace, or (no workspace) in all of them.
permissions = sa.Table(
    "permissions",
    metadata,
    id_column(),
    _user(),
    _workspace(nullable=True),
    sa.Column("role", sa.Text(), nullable=False),
    *created_at(),
    sa.UniqueConstraint("user_id", "workspace_id"),
    sa.Index(
        "uq_permissions_everywhere",
        "user_id",
        unique=True,
        sqlite_where=sa.text("workspace_id IS NULL"),
        postgresql_where=sa.text("workspace_id IS NULL"),
    ),
)

applications = sa.Table(
    "applications",
    metadata,
    id_column(),
    _user(),
    sa.Column("name", sa.Text(), nullable=False),
    sa.Column("client_id", sa.Text(), nullable=False, unique=True),
    sa.Column("secret_hash", sa.LargeBinary(), nullable=False),
    *created_at(),
    _deleted_at(),
)

api_keys = sa.Table(
    "api_keys",
    metadata,
    id_column(),
    _user(),
    sa.Column("name", sa.Text(), nullable=False),
    sa.Column("prefix", sa.Text(), nullable=False),
    sa.Column("key_hash", sa.LargeBinary(), nullable=False, unique=True),
    *created_at(),
    sa.Column("expires_at", UtcDateTime()),
    sa.Column("last_used_at", UtcDateTime()),
    _deleted_at(),
)

#: Who did what. No foreign keys: an entry outlives what it tells of.
audit = sa.Table(
    "audit",
    metadata,
    sa.Column("id", SerialId, primary_key=True, autoincrement=True),
    sa.Column("at", UtcDateTime(), nullable=False),
    sa.Column("caller_kind", sa.Text(), nullable=False),
    sa.Column("caller_id", sa.Uuid()),
    sa.Column("caller_name", sa.Text(), nullable=False),
    sa.Column("application_id", sa.Uuid()),
    sa.Column("address", sa.Text()),
    sa.Column("workspace_id", sa.Uuid()),
    sa.Column("action", sa.Text(), nullable=False),
    sa.Column("noun", sa.Text(), nullable=False),
    sa.Column("noun_id", sa.Text(), nullable=False),
    sa.Column("before", JsonColumn),
    sa.Column("after", JsonColumn),
    sa.Index(None, "workspace_id", "id"),
    sa.Index(None, "noun", "noun_id", "id"),
)

#: What the installation knows about itself: that it has been set up, the secret that signs tokens.
server_values = sa.Table(
    "server_values",
    metadata,
    sa.Column("name", sa.Text(), primary_key=True),
    sa.Column("value", JsonColumn, nullable=False),
)
