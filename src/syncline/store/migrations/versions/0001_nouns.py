"""The nouns: workspaces, sources and destinations, connections, users, secrets, audit. Runs before the new code."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

__all__ = ["down_revision", "revision", "upgrade"]

revision = "0001"
down_revision = None

TIME = sa.DateTime(timezone=True)
JSON = sa.JSON(none_as_null=True)
SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "audit",
        sa.Column("id", SERIAL, autoincrement=True, nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("caller_kind", sa.Text(), nullable=False),
        sa.Column("caller_id", sa.Uuid()),
        sa.Column("caller_name", sa.Text(), nullable=False),
        sa.Column("application_id", sa.Uuid()),
        sa.Column("address", sa.Text()),
        sa.Column("workspace_id", sa.Uuid()),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("noun", sa.Text(), nullable=False),
        sa.Column("noun_id", sa.Text(), nullable=False),
        sa.Column("before", JSON),
        sa.Column("after", JSON),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
    )
    op.create_index("ix_audit_noun_noun_id_id", "audit", ["noun", "noun_id", "id"])
    op.create_index("ix_audit_workspace_id_id", "audit", ["workspace_id", "id"])
    op.create_table(
        "organizations",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_organizations"),
    )
    op.create_table(
        "secrets",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("wrapped_key", sa.LargeBinary(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_secrets"),
    )
    op.create_index("ix_secrets_key_id", "secrets", ["key_id"])
    op.create_table(
        "server_values",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", JSON, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_server_values"),
    )
    op.create_table(
        "users",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text()),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.Column("disabled_at", TIME),
        sa.PrimaryKeyConstraint("id", name="pk_users"),
        sa.UniqueConstraint("email", name="uq_users_email"),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.Column("key_hash", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.Column("expires_at", TIME),
        sa.Column("last_used_at", TIME),
        sa.Column("deleted_at", TIME),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_api_keys_user_id"),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
        sa.UniqueConstraint("key_hash", name="uq_api_keys_key_hash"),
    )
    op.create_index("ix_api_keys_user_id", "api_keys", ["user_id"])
    op.create_table(
        "applications",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("secret_hash", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.Column("deleted_at", TIME),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_applications_user_id"),
        sa.PrimaryKeyConstraint("id", name="pk_applications"),
        sa.UniqueConstraint("client_id", name="uq_applications_client_id"),
    )
    op.create_index("ix_applications_user_id", "applications", ["user_id"])
    op.create_table(
        "workspaces",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("data_residency", sa.Text(), nullable=False),
        sa.Column("notifications", JSON, nullable=False),
        sa.Column("max_jobs", sa.Integer()),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.Column("deleted_at", TIME),
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"], name="fk_workspaces_organization_id"),
        sa.PrimaryKeyConstraint("id", name="pk_workspaces"),
    )
    op.create_index("ix_workspaces_created_at_id", "workspaces", ["created_at", "id"])
    op.create_table(
        "actors",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("definition_id", sa.Uuid(), nullable=False),
        sa.Column("type_name", sa.Text(), nullable=False),
        sa.Column("connector", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("configuration", JSON, nullable=False),
        sa.Column("secret_id", sa.Uuid()),
        sa.Column("max_jobs", sa.Integer()),
        sa.Column("resource_allocation", JSON),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.Column("deleted_at", TIME),
        sa.ForeignKeyConstraint(["secret_id"], ["secrets.id"], name="fk_actors_secret_id"),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"], name="fk_actors_workspace_id"),
        sa.PrimaryKeyConstraint("id", name="pk_actors"),
    )
    op.create_index("ix_actors_role_created_at_id", "actors", ["role", "created_at", "id"])
    op.create_index("ix_actors_workspace_id_role_created_at_id", "actors", ["workspace_id", "role", "created_at", "id"])
    op.create_table(
        "definitions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("docker_repository", sa.Text(), nullable=False),
        sa.Column("docker_image_tag", sa.Text(), nullable=False),
        sa.Column("documentation_url", sa.Text()),
        sa.Column("manifest", JSON),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.Column("deleted_at", TIME),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"], name="fk_definitions_workspace_id"),
        sa.PrimaryKeyConstraint("id", name="pk_definitions"),
    )
    op.create_index(
        "ix_definitions_workspace_id_role_created_at_id", "definitions", ["workspace_id", "role", "created_at", "id"]
    )
    op.create_table(
        "permissions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("workspace_id", sa.Uuid()),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_permissions_user_id"),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"], name="fk_permissions_workspace_id"),
        sa.PrimaryKeyConstraint("id", name="pk_permissions"),
        sa.UniqueConstraint("user_id", "workspace_id", name="uq_permissions_user_id_workspace_id"),
    )
    op.create_index("ix_permissions_user_id", "permissions", ["user_id"])
    op.create_index(
        "uq_permissions_everywhere",
        "permissions",
        ["user_id"],
        unique=True,
        sqlite_where=sa.text("workspace_id IS NULL"),
        postgresql_where=sa.text("workspace_id IS NULL"),
    )
    op.create_table(
        "tags",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("color", sa.Text(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"], name="fk_tags_workspace_id"),
        sa.PrimaryKeyConstraint("id", name="pk_tags"),
        sa.UniqueConstraint("workspace_id", "name", name="uq_tags_workspace_id_name"),
    )
    op.create_table(
        "catalogs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("source_id", sa.Uuid(), nullable=False),
        sa.Column("configuration_digest", sa.Text(), nullable=False),
        sa.Column("catalog", JSON, nullable=False),
        sa.Column("discovered_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(["source_id"], ["actors.id"], name="fk_catalogs_source_id"),
        sa.PrimaryKeyConstraint("id", name="pk_catalogs"),
        sa.UniqueConstraint("source_id", name="uq_catalogs_source_id"),
    )
    op.create_table(
        "connections",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("source_id", sa.Uuid(), nullable=False),
        sa.Column("destination_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("status_reason", sa.Text()),
        sa.Column("schedule_kind", sa.Text(), nullable=False),
        sa.Column("schedule", JSON, nullable=False),
        sa.Column("streams", JSON),
        sa.Column("namespace_definition", sa.Text(), nullable=False),
        sa.Column("namespace_format", sa.Text()),
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.Column("non_breaking_updates", sa.Text(), nullable=False),
        sa.Column("options", JSON, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.Column("deleted_at", TIME),
        sa.ForeignKeyConstraint(["destination_id"], ["actors.id"], name="fk_connections_destination_id"),
        sa.ForeignKeyConstraint(["source_id"], ["actors.id"], name="fk_connections_source_id"),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"], name="fk_connections_workspace_id"),
        sa.PrimaryKeyConstraint("id", name="pk_connections"),
        sa.UniqueConstraint("key", name="uq_connections_key"),
    )
    op.create_index("ix_connections_created_at_id", "connections", ["created_at", "id"])
    op.create_index("ix_connections_destination_id", "connections", ["destination_id"])
    op.create_index("ix_connections_source_id", "connections", ["source_id"])
    op.create_index("ix_connections_status_schedule_kind", "connections", ["status", "schedule_kind"])
    op.create_index("ix_connections_workspace_id_created_at_id", "connections", ["workspace_id", "created_at", "id"])
    op.create_table(
        "connection_states",
        sa.Column("connection_id", sa.Uuid(), nullable=False),
        sa.Column("shared", JSON, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(["connection_id"], ["connections.id"], name="fk_connection_states_connection_id"),
        sa.PrimaryKeyConstraint("connection_id", name="pk_connection_states"),
    )
    op.create_table(
        "connection_tags",
        sa.Column("connection_id", sa.Uuid(), nullable=False),
        sa.Column("tag_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["connection_id"], ["connections.id"], name="fk_connection_tags_connection_id"),
        sa.ForeignKeyConstraint(["tag_id"], ["tags.id"], name="fk_connection_tags_tag_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("connection_id", "tag_id", name="pk_connection_tags"),
    )
    op.create_index("ix_connection_tags_tag_id", "connection_tags", ["tag_id"])
    op.create_table(
        "stream_states",
        sa.Column("connection_id", sa.Uuid(), nullable=False),
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("state", JSON),
        sa.Column("updated_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(["connection_id"], ["connections.id"], name="fk_stream_states_connection_id"),
        sa.PrimaryKeyConstraint("connection_id", "namespace", "name", name="pk_stream_states"),
    )
