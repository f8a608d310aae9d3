"""What the database has: tables, columns and keys, from information_schema."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass

from syncline.connectors.mysql.connection import Session
from syncline.connectors.mysql.sql import quoted, table_name, text_literal
from syncline.connectors.mysql.types import field_of
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.schema import Field, StreamSchema
from syncline.core.stream import StreamName

__all__ = ["Column", "Table", "load_tables", "offered", "statement_of"]

#: Types that grow with time or by counting: what a cursor may be.
_CURSOR_TYPES = ("timestamp", "datetime", "date", "bigint", "int", "mediumint", "decimal")
_LIKELY_CURSORS = ("updated_at", "modified_at", "last_modified", "updated", "modified", "changed_at", "created_at")


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column; ``native`` is its full type. ``generated`` ones are computed by the server."""

    name: str
    native: str
    nullable: bool
    collation: str | None
    generated: bool

    @property
    def field(self) -> Field:
        return field_of(self.name, self.native, nullable=self.nullable)


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table or view."""

    name: StreamName
    kind: str
    engine: str | None
    estimated_rows: int
    estimated_bytes: int
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...]

    @property
    def schema(self) -> StreamSchema:
        return StreamSchema(fields=tuple(c.field for c in self.columns))

    def column(self, name: str) -> Column | None:
        return next((c for c in self.columns if c.name == name), None)

    def cursor_candidates(self, preferred: Sequence[str]) -> tuple[str, ...]:
        """Columns that may be a cursor, best first."""
        usable = [c.name for c in self.columns if c.native.partition("(")[0].partition(" ")[0] in _CURSOR_TYPES]
        order = [*preferred, *_LIKELY_CURSORS]
        return tuple(sorted(usable, key=lambda n: order.index(n) if n in order else len(order)))


def load_tables(session: Session, database: str, names: Sequence[str] | None = None) -> list[Table]:
    """All tables and views of the database that this user may see, or those of these names, in name order."""
    where = f"table_schema = {text_literal(database)}"
    if names is not None:
        if not names:
            return []
        where += f" AND table_name IN ({', '.join(map(text_literal, names))})"
    tables = session.texts(
        f"""
        SELECT table_name, table_type, engine, table_rows, coalesce(data_length, 0) + coalesce(index_length, 0)
        FROM information_schema.tables
        WHERE {where} AND table_type IN ('BASE TABLE', 'VIEW', 'SYSTEM VERSIONED')
        """
    )
    columns = session.texts(
        f"""
        SELECT table_name, column_name, column_type, is_nullable, collation_name, extra
        FROM information_schema.columns
        WHERE {where}
        ORDER BY table_name, ordinal_position
        """
    )
    json_columns = _json_columns(session, database, columns)
    keys: dict[str, list[str]] = {}
    for table, column in session.texts(
        f"""
        SELECT table_name, column_name
        FROM information_schema.key_column_usage
        WHERE {where} AND constraint_name = 'PRIMARY'
        ORDER BY table_name, ordinal_position
        """
    ):
        keys.setdefault(str(table), []).append(str(column))
    by_table: dict[str, list[Column]] = {}
    for table, name, native, nullable, collation, extra in columns:
        known = "json" if (table, name) in json_columns else str(native)
        by_table.setdefault(str(table), []).append(
            Column(
                name=str(name),
                native=known,
                nullable=nullable == "YES",
                collation=collation,
                generated="GENERATED" in str(extra).upper() and "DEFAULT_GENERATED" not in str(extra).upper(),
            )
        )
    return [
        Table(
            name=StreamName(namespace=database, name=str(name)),
            kind="view" if kind == "VIEW" else "table",
            engine=engine,
            estimated_rows=int(rows) if rows is not None else -1,
            estimated_bytes=int(size or -1),
            columns=tuple(by_table.get(str(name), ())),
            primary_key=tuple(keys.get(str(name), ())),
        )
        for name, kind, engine, rows, size in sorted(tables, key=lambda row: str(row[0]))
        if str(name) in by_table
    ]


def _json_columns(session: Session, database: str, columns: Sequence[Sequence[str | None]]) -> set[tuple[str, str]]:
    """In MariaDB JSON is a text with a check; these are the columns that have it. Constraints are hidden from users who
    may only read, and the table's own statement is not."""
    if not session.mariadb:
        return set()
    likely: dict[str, set[str]] = {}
    for table, name, native, _, collation, _ in columns:
        if native == "longtext" and collation == "utf8mb4_bin":
            likely.setdefault(str(table), set()).add(str(name))
    return {
        (table, name)
        for table, names in likely.items()
        for name in names
        if f"json_valid({quoted(name)})" in statement_of(session, StreamName(namespace=database, name=table))
    }


def statement_of(session: Session, name: StreamName) -> str:
    """The statement that would make the table; empty for one that may not be read."""
    try:
        return str(session.texts(f"SHOW CREATE TABLE {table_name(name)}")[0][1])
    except SynclineError as error:
        if error.kind in (ErrorKind.PERMISSION, ErrorKind.SCHEMA):
            return ""
        raise


def offered(tables: Sequence[Table], patterns: Sequence[str]) -> list[Table]:
    """Those that the configuration lets through."""
    if not patterns:
        return list(tables)
    return [t for t in tables if any(fnmatch.fnmatchcase(n, p) for p in patterns for n in (t.name.name, str(t.name)))]
