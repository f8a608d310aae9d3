"""What all tables share: the metadata they register with, their column types, identifiers and the clock."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

__all__ = ["JsonColumn", "SerialId", "UtcDateTime", "created_at", "id_column", "metadata", "new_id", "now"]

#: Names of constraints are fixed, so that migrations can name them on both databases.
metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class UtcDateTime(TypeDecorator[datetime]):
    """An aware time in UTC with microseconds: ``timestamptz`` on Postgres, text that sorts as time on SQLite."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


#: Text on both databases, so that the order of keys stays; None is SQL's NULL.
JsonColumn = sa.JSON(none_as_null=True)

#: SQLite counts up by itself only in columns of this very type.
SerialId = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def id_column() -> sa.Column[UUID]:
    return sa.Column("id", sa.Uuid(), primary_key=True)


def created_at() -> list[sa.Column[Any]]:
    """The columns ``created_at`` and ``updated_at``."""
    return [
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("updated_at", UtcDateTime(), nullable=False),
    ]


def new_id() -> UUID:
    return uuid4()


def now() -> datetime:
    return datetime.now(UTC)
