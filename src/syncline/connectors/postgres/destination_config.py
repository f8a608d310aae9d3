"""Configuration of the Postgres destination."""

from __future__ import annotations

from syncline.connectors.postgres.connection import PostgresConnectionConfig

__all__ = ["PostgresDestinationConfig"]


class PostgresDestinationConfig(PostgresConnectionConfig):
    """One schema of one database as a destination."""
