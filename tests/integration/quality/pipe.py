"""A table in Postgres, a project that copies it by the command line, and eyes on both ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import psycopg
import yaml
from tests.integration.command import Done, succeed, syncline

from syncline.testing.postgres_server import PostgresServer

ALL = "SELECT cid, email FROM dst.customers ORDER BY cid"


class Pipe:
    """``kind`` is where it goes: duckdb, postgres or local (Parquet)."""

    def __init__(self, server: PostgresServer, database: str, folder: Path, kind: str) -> None:
        self.folder, self.kind = folder, kind
        self.file = folder / "p.yaml"
        self.method = "Standard"
        self._server, self._database = server, database
        self.source("CREATE SCHEMA shop", "CREATE TABLE shop.customers (cid int PRIMARY KEY, email text, seen int)")
        self.source("INSERT INTO shop.customers SELECT i, 'u' || i || '@x.org', i FROM generate_series(1, 5) i")

    def source(self, *statements: str) -> None:
        self._server.execute(*statements, dbname=self._database)

    def project(self, gates: list[Any], sync: dict[str, Any] | None = None, **stream: Any) -> None:
        config = self._postgres()
        data = {
            "source": {
                "type": "postgres",
                "config": {**config, "schemas": ["shop"], "replication_method": self.method},
            },
            "destination": self.into(),
            "sync": {"streams": [{"name": "customers", "gates": gates, **stream}], **(sync or {})},
        }
        self.file.write_text(yaml.safe_dump(data))

    def add_stream(self, name: str, gates: list[Any], **stream: Any) -> None:
        """One more stream of the project."""
        data = yaml.safe_load(self.file.read_text())
        data["sync"]["streams"].append({"name": name, "gates": gates, **stream})
        self.file.write_text(yaml.safe_dump(data))

    def _postgres(self) -> dict[str, Any]:
        p = self._server.params(self._database)
        return {
            "host": p["host"],
            "port": p["port"],
            "username": p["user"],
            "password": p["password"],
            "database": self._database,
        }

    def into(self) -> dict[str, Any]:
        """The destination, as a project file says it."""
        if self.kind == "duckdb":
            return {"type": "duckdb", "config": {"destination_path": str(self.folder / "w.duckdb"), "schema": "dst"}}
        if self.kind == "local":
            path = str(self.folder / "lake")
            return {"type": "local", "config": {"path": path, "format": {"format_type": "Parquet"}}}
        return {"type": "postgres", "config": {**self._postgres(), "schema": "dst"}}

    def sync(self) -> Done:
        return syncline("sync", self.file, "--json")

    def rows(self, query: str = ALL, *, write: bool = False) -> list[tuple[Any, ...]]:
        """What a reader of the destination sees."""
        if self.kind == "local":
            files = self.folder / "lake" / "**" / "customers" / "*.parquet"
            return duckdb.sql(query.replace("dst.customers", f"read_parquet('{files}')")).fetchall()
        if self.kind == "duckdb":
            with duckdb.connect(str(self.folder / "w.duckdb"), read_only=not write) as con:
                return con.execute(query).fetchall()
        with psycopg.connect(self._server.dsn(self._database), autocommit=True) as con:
            done = con.execute(query)
            return done.fetchall() if done.description else []

    def quality(self) -> Any:
        return succeed("quality", "show", self.file, "--json").json["p"][0]

    def quarantine(self) -> Any:
        return succeed("quarantine", "show", self.file, "-s", "customers", "--json").json

    def staged(self) -> str:
        """The table that `quality show` names."""
        place = self.quality()["blocked"]["place"].removeprefix("table ").partition(" in ")[0]
        return str(place)
