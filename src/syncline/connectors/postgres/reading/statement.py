"""SQL statements of the destination: the one place where identifiers and values enter them.

Statements carry user-chosen identifiers, in which ``%`` may occur, so nothing is ever bound by placeholder (psycopg
would read the ``%``): values go in as :class:`psycopg.sql.Literal`, identifiers as :class:`psycopg.sql.Identifier`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, LiteralString

from psycopg import sql

if TYPE_CHECKING:
    import psycopg

    from syncline.connectors.postgres.connection import Session

__all__ = ["TableName", "commas", "identifiers", "run", "statement", "trusted"]

_Value = str | int | float | bool | None | dt.datetime


@dataclass(frozen=True, kw_only=True, order=True)
class TableName:
    """Schema and name of a table, view or index; unquoted. ``str()`` is for people."""

    schema: str
    name: str

    @property
    def sql(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.name)

    def sibling(self, name: str) -> TableName:
        return TableName(schema=self.schema, name=name)

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


def statement(template: LiteralString, /, **parts: sql.Composable | TableName | _Value) -> sql.Composed:
    """The template with each ``{name}`` replaced: tables and composables as they are, anything else as a literal."""
    return sql.SQL(template).format(**{name: _part(value) for name, value in parts.items()})


def run(
    session: Session, template: LiteralString, /, **parts: sql.Composable | TableName | _Value
) -> psycopg.Cursor[tuple[Any, ...]]:
    """Execute a :func:`statement`; psycopg's errors pass through."""
    return session.execute(statement(template, **parts))


def identifiers(names: Iterable[str], *, of: LiteralString = "") -> sql.Composed:
    """Column names, quoted, with commas between; ``of`` is a table alias to put before each."""
    if of:
        return commas(sql.SQL(of) + sql.SQL(".") + sql.Identifier(name) for name in names)
    return commas(sql.Identifier(name) for name in names)


def commas(parts: Iterable[sql.Composable]) -> sql.Composed:
    return sql.SQL(", ").join(parts)


def trusted(text: str) -> sql.SQL:
    """SQL text that the server itself has printed (``format_type``, ``pg_get_indexdef``), quoted by it where needed."""
    return sql.SQL(text)


def _part(value: sql.Composable | TableName | _Value) -> sql.Composable:
    if isinstance(value, TableName):
        return value.sql
    return value if isinstance(value, sql.Composable) else sql.Literal(value)
