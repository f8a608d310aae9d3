"""Reading either end whole, by plain SQL, and comparing by content. Nothing of the code under test is used."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import duckdb
import psycopg

__all__ = ["DuckDBEnd", "End", "FilesEnd", "PostgresEnd", "Row", "compare", "plain"]

#: Column -> plain value, comparable across ends; see :func:`plain`.
Row: TypeAlias = "dict[str, Any]"


class End(Protocol):
    """One place that holds tables. A table that is not there has no rows."""

    def rows(self, table: str) -> list[Row]: ...


@dataclass(frozen=True)
class PostgresEnd:
    """Tables of one schema of a Postgres database."""

    dsn: str
    schema: str = "public"

    def rows(self, table: str) -> list[Row]:
        with psycopg.connect(self.dsn) as connection:
            there = connection.execute("SELECT to_regclass(%s)", (f'"{self.schema}"."{table}"',)).fetchone()
            if there is None or there[0] is None:
                return []
            cursor = connection.execute(f'SELECT * FROM "{self.schema}"."{table}"'.encode())
            names = [column.name for column in cursor.description or ()]
            return [{name: plain(value) for name, value in zip(names, row, strict=True)} for row in cursor]


@dataclass(frozen=True)
class DuckDBEnd:
    """Tables of a DuckDB file; waits while another process has it open."""

    path: Path
    schema: str = "main"

    def rows(self, table: str) -> list[Row]:
        if not self.path.exists():
            return []
        with open_duckdb(self.path) as connection:
            there = connection.execute(
                "SELECT 1 FROM duckdb_tables() WHERE schema_name = ? AND table_name = ?", [self.schema, table]
            ).fetchone()
            if there is None:
                return []
            return _arrow_rows(connection, f'SELECT * FROM "{self.schema}"."{table}"')


@dataclass(frozen=True)
class FilesEnd:
    """Folders of Parquet files, one per table, below a local folder."""

    root: Path

    def rows(self, table: str) -> list[Row]:
        paths = sorted(str(path) for path in (self.root / table).rglob("*.parquet"))
        if not paths:
            return []
        with duckdb.connect() as connection:
            listed = ", ".join("'" + path.replace("'", "''") + "'" for path in paths)
            return _arrow_rows(
                connection, f"SELECT * FROM read_parquet([{listed}], union_by_name = true, hive_partitioning = false)"
            )


def open_duckdb(path: Path, *, seconds: float = 60.0) -> duckdb.DuckDBPyConnection:
    """A read-only connection, as soon as the writer lets go of the file."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return duckdb.connect(str(path), read_only=True)
        except duckdb.IOException:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _arrow_rows(connection: duckdb.DuckDBPyConnection, query: str) -> list[Row]:
    result = connection.execute(query)
    arrow = getattr(result, "to_arrow_table", None) or result.fetch_arrow_table  # its name before DuckDB 1.5
    return [{name: plain(value) for name, value in row.items()} for row in arrow().to_pylist()]


def plain(value: Any) -> Any:
    """A value in one form for all ends: numbers by value, times in UTC as text, JSON without spacing."""
    if isinstance(value, Decimal):
        return value.normalize() + 0
    if isinstance(value, datetime):
        return (value if value.tzinfo is None else value.astimezone(UTC)).isoformat()
    if isinstance(value, memoryview | bytearray):
        return bytes(value)
    if isinstance(value, dict | list):
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return json.dumps(json.loads(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        except ValueError:
            return value
    return value


def compare(table: str, source: Sequence[Row], destination: Iterable[Row], key: tuple[str, ...]) -> list[str]:
    """What differs, as sentences; compared are the source's columns. ``key`` only makes the sentences clearer."""
    columns = list(source[0]) if source else []
    arrived = list(destination)
    if arrived and (absent := [name for name in columns if name not in arrived[0]]):
        return [f"{table}: the destination has no column {', '.join(absent)}"]
    here = Counter(_frozen(row, columns) for row in source)
    there = Counter(_frozen(row, columns) for row in arrived)
    if not columns:
        return [f"{table}: {len(arrived)} rows should be gone"] if arrived else []
    found = []
    missing, foreign = here - there, there - here
    if key:
        doubled = [k for k, n in Counter(tuple(row[name] for name in key) for row in arrived).items() if n > 1]
        if doubled:
            found.append(f"{table}: {len(doubled)} keys are there more than once: {doubled[:3]}")
        places = [columns.index(name) for name in key]
        stale = {tuple(row[i] for i in places) for row in missing} & {tuple(row[i] for i in places) for row in foreign}
        if stale:
            one = next(iter(stale))
            wanted = next(row for row in missing if tuple(row[i] for i in places) == one)
            seen = next(row for row in foreign if tuple(row[i] for i in places) == one)
            wrong = {
                name: f"{_short(seen[i])} instead of {_short(wanted[i])}"
                for i, name in enumerate(columns)
                if wanted[i] != seen[i]
            }
            found.append(f"{table}: {len(stale)} rows have other content, as {one}: {wrong}")
        missing = Counter({row: n for row, n in missing.items() if tuple(row[i] for i in places) not in stale})
        foreign = Counter({row: n for row, n in foreign.items() if tuple(row[i] for i in places) not in stale})
    if missing:
        found.append(f"{table}: {sum(missing.values())} rows are missing, as {_few(missing)}")
    if foreign:
        found.append(f"{table}: {sum(foreign.values())} rows are too many, as {_few(foreign)}")
    return found


def _frozen(row: Mapping[str, Any], columns: Sequence[str]) -> tuple[Any, ...]:
    return tuple(row[name] for name in columns)


def _few(rows: Mapping[tuple[Any, ...], int]) -> str:
    return "; ".join(str(tuple(_short(cell) for cell in row)) for row in list(rows)[:3])


def _short(value: Any) -> Any:
    return re.sub(r"(?s)^(.{30}).+$", r"\1…", value) if isinstance(value, str) else value
