"""Postgres keeps the contracts, as a source and as a destination."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
import pytest

from syncline.sdk.reference import ConnectorReference
from syncline.testing.conformance import ChangeConformance, DestinationConformance, SourceConformance
from syncline.testing.postgres_server import PostgresServer


class _System:
    gaps: dict[str, str] = {}
    stream = "items"
    cursor_field: str | None = "seen"

    def __init__(self, server: PostgresServer, database: str) -> None:
        self.dsn = server.dsn(database)
        params = server.params(database)
        self.config = {
            "host": params["host"],
            "port": int(params["port"]),
            "database": database,
            "username": params["user"],
            "password": params["password"],
        }

    def reference(self) -> ConnectorReference:
        return ConnectorReference(type="postgres", config=self.config)

    def rows(self, columns: Sequence[str]) -> list[tuple[Any, ...]] | None:
        with psycopg.connect(self.dsn) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            known = {
                r[0]
                for r in connection.execute(
                    "SELECT column_name FROM information_schema.columns WHERE table_name = 'items'"
                ).fetchall()
            }
            if not known:
                return None
            chosen = ", ".join(c if c in known else f"NULL AS {c}" for c in columns)
            return connection.execute(f"SELECT {chosen} FROM items").fetchall()

    def quarantined(self) -> int:
        with psycopg.connect(self.dsn) as connection:
            if connection.execute("SELECT to_regclass('_syncline_quarantine')").fetchone() == (None,):
                return 0
            found = connection.execute("SELECT count(*) FROM _syncline_quarantine").fetchone()
            assert found is not None
            return int(found[0])

    def fill(self, rows: list[tuple[int, str | None]]) -> None:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute("DROP TABLE IF EXISTS items")
            connection.execute("CREATE TABLE items (id bigint PRIMARY KEY, name text, seen bigint)")
            connection.execute("CREATE INDEX ON items (seen)")
        self.add(rows)

    def add(self, rows: list[tuple[int, str | None]]) -> None:
        with psycopg.connect(self.dsn) as connection, connection.cursor() as cursor:
            cursor.executemany("INSERT INTO items VALUES (%s, %s, %s)", [(*r, r[0]) for r in rows])
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute("ANALYZE items")


class TestPostgresDestination(DestinationConformance):
    @pytest.fixture
    def driver(self, postgres_server: PostgresServer, postgres_db: str) -> _System:
        return _System(postgres_server, postgres_db)


class TestPostgresChanges(ChangeConformance):
    @pytest.fixture
    def driver(self, postgres_server: PostgresServer, postgres_db: str) -> _System:
        return _System(postgres_server, postgres_db)


class TestPostgresByCursor(SourceConformance):
    @pytest.fixture
    def driver(self, postgres_server: PostgresServer, postgres_db: str) -> _System:
        system = _System(postgres_server, postgres_db)
        system.config["partition_bytes"] = 65536
        return system


class TestPostgresByXmin(SourceConformance):
    @pytest.fixture
    def driver(self, postgres_server: PostgresServer, postgres_db: str) -> _System:
        system = _System(postgres_server, postgres_db)
        system.config["replication_method"] = {"method": "Xmin"}
        system.cursor_field = None
        return system
