"""DuckDB keeps the contract."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import pytest

from syncline.sdk.reference import ConnectorReference
from syncline.testing.conformance import ChangeConformance, DestinationConformance


class Driver:
    gaps: dict[str, str] = {}

    def __init__(self, folder: Path) -> None:
        self.path = folder / "warehouse.duckdb"

    def reference(self) -> ConnectorReference:
        return ConnectorReference(type="duckdb", config={"path": str(self.path)})

    def rows(self, columns: Sequence[str]) -> list[tuple[Any, ...]] | None:
        with duckdb.connect(str(self.path), read_only=True) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            known = {
                r[0]
                for r in connection.execute(
                    "SELECT column_name FROM duckdb_columns() WHERE table_name = 'items'"
                ).fetchall()
            }
            if not known:
                return None
            chosen = ", ".join(c if c in known else f"NULL AS {c}" for c in columns)
            found = connection.execute(f"SELECT {chosen} FROM items").to_arrow_table()
            return [tuple(row.values()) for row in found.to_pylist()]

    def quarantined(self) -> int:
        with duckdb.connect(str(self.path), read_only=True) as connection:
            known = connection.execute("FROM duckdb_tables() WHERE table_name = '_syncline_quarantine'").fetchone()
            found = connection.execute("SELECT count(*) FROM _syncline_quarantine").fetchone() if known else (0,)
            assert found is not None
            return int(found[0])


class TestDuckdb(DestinationConformance):
    @pytest.fixture
    def driver(self, tmp_path: Path) -> Driver:
        return Driver(tmp_path)


class TestDuckdbChanges(ChangeConformance):
    exclusive = True

    @pytest.fixture
    def driver(self, tmp_path: Path) -> Driver:
        return Driver(tmp_path)
