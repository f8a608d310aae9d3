"""What does not fit into memory goes to the disk beside the database file."""

from __future__ import annotations

import shutil
from pathlib import Path

from syncline.connectors.duckdb.config import DuckdbDestinationConfig
from syncline.connectors.duckdb.database import Database


def test_spills_beside_the_file_although_nothing_is_staged(tmp_path: Path) -> None:
    """A flush that is larger than the memory it may use, and no folder of stages that would hold its spill."""
    path = tmp_path / "x.duckdb"
    with Database(DuckdbDestinationConfig(destination_path=path, memory_limit="64MB")).opened() as connection:
        connection.execute("CREATE TABLE t AS SELECT 1 AS a WHERE false")
    assert [each.name for each in tmp_path.iterdir() if each.name != "x.duckdb.syncline"] == ["x.duckdb"]
    shutil.rmtree(tmp_path / "x.duckdb.syncline", ignore_errors=True)
    with Database(DuckdbDestinationConfig(destination_path=path, memory_limit="64MB")).opened() as connection:
        connection.execute(
            "CREATE TEMPORARY TABLE many AS SELECT i, repeat(i::varchar, 40) AS t FROM range(800000) r(i)"
        )
        assert (tmp_path / "x.duckdb.tmp").exists()
        assert connection.execute("SELECT count(DISTINCT t) FROM many").fetchone() == (800000,)
    assert not (tmp_path / "x.duckdb.tmp").exists()
