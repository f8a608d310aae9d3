"""A MariaDB server for the run, and a database and a project of each test's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml
from tests.integration.command import Done, syncline

from syncline.testing.mariadb_server import MariaDbServer, find_mariadb, start_mariadb


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[MariaDbServer]:
    """One server for the whole run. Do not restart it: a test that must, starts its own."""
    if find_mariadb() is None:
        pytest.skip("no MariaDB server on this machine (apt-get install mariadb-server)")
    with start_mariadb() as server:
        yield server


@pytest.fixture
def own_server() -> Iterator[MariaDbServer]:
    """A server that a test may restart, or whose log it may purge."""
    if find_mariadb() is None:
        pytest.skip("no MariaDB server on this machine (apt-get install mariadb-server)")
    with start_mariadb() as server:
        yield server


class Copy:
    """A database of the server, and a project that copies it into DuckDB."""

    def __init__(self, server: MariaDbServer, folder: Path) -> None:
        self.server, self.folder = server, folder
        self.database = server.create_database()
        self.file = folder / "out.duckdb"
        self.destination: dict[str, Any] = {"type": "duckdb", "config": {"destination_path": str(self.file)}}
        self.source: dict[str, Any] = {"replication_method": "CDC"}
        self.mode = "incremental"

    def use(self, server: MariaDbServer) -> None:
        """Another server instead."""
        self.server.execute(f"DROP DATABASE `{self.database}`")
        self.server = server
        server.create_database(self.database)

    def run(self, *statements: str) -> list[tuple[Any, ...]]:
        return self.server.execute(*statements, database=self.database)

    def project(self, name: str = "c", **sync: Any) -> Path:
        path = self.folder / f"{name}.yaml"
        data = {
            "name": name,
            "source": {"type": "mysql", "config": self.server.config(self.database, **self.source)},
            "destination": self.destination,
            "sync": {"mode": self.mode, **sync},
        }
        path.write_text(yaml.safe_dump(data))
        return path

    def sync(self, code: int = 0, **more: Any) -> Done:
        done = syncline("sync", self.project(**more), "--json")
        assert done.code == code, done.text
        return done

    def there(self, table: str, columns: str = "*") -> list[tuple[Any, ...]]:
        """Rows at the destination."""
        with duckdb.connect(str(self.file), read_only=True) as con:
            return con.execute(f'SELECT {columns} FROM "{table}" ORDER BY ALL').fetchall()

    def here(self, table: str, columns: str = "*") -> list[tuple[Any, ...]]:
        """Rows at the source."""
        return sorted(self.run(f"SELECT {columns} FROM `{table}`"), key=str)


@pytest.fixture
def copy(mariadb_server: MariaDbServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Copy]:
    monkeypatch.setenv("SYNCLINE_HOME", str(tmp_path / "home"))
    made = Copy(mariadb_server, tmp_path)
    yield made
    mariadb_server.execute(f"DROP DATABASE IF EXISTS `{made.database}`")
