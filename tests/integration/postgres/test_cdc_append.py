"""A change log at a destination that only appends, while the source's columns change."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import pytest

from syncline.engine.executors.local import LocalExecutor
from syncline.engine.selection import StreamChoice
from syncline.engine.spec import AttemptSpec
from syncline.engine.stream_run import new_sync_id
from syncline.engine.sync import run_attempt
from syncline.sdk.reference import ConnectorReference


@pytest.mark.slow
def test_columns_that_come_in_the_middle_of_a_flush(db, tmp_path: Path) -> None:
    """DuckDB gathers for a second and more: rows of both shapes lie staged for one commit."""
    db.execute("CREATE TABLE t (id int PRIMARY KEY, v text)", "INSERT INTO t VALUES (1, 'a')")
    path = tmp_path / "w.duckdb"

    def sync() -> None:
        spec = AttemptSpec(
            connection="c",
            source=ConnectorReference(
                type="postgres",
                config={
                    "host": db.server.host,
                    "port": db.server.port,
                    "database": db.name,
                    "username": db.server.user,
                    "password": db.server.password,
                    "replication_method": {"method": "CDC"},
                },
            ),
            destination=ConnectorReference(type="duckdb", config={"path": str(path)}),
            choices=(StreamChoice(name="public.t", mode="incremental_append"),),
            default=StreamChoice(mode="incremental_append"),
            sync_id=new_sync_id(),
            sync_date=date(2026, 1, 1),
            started_at=datetime.now(UTC),
            attempt=1,
            work_dir=str(tmp_path / "work"),
        )
        result = run_attempt(spec, lambda event: None, LocalExecutor)
        assert result.error is None

    sync()
    db.execute(
        "INSERT INTO t VALUES (2, 'b')",
        "ALTER TABLE t ADD COLUMN n int",
        "INSERT INTO t VALUES (3, 'c', 30)",
        "ALTER TABLE t RENAME COLUMN n TO m",
        "INSERT INTO t VALUES (4, 'd', 40)",
    )
    sync()
    with duckdb.connect(str(path), read_only=True) as con:
        rows = con.execute("SELECT id, v, m FROM (FROM t) ORDER BY id").fetchall()
    assert rows == [(1, "a", None), (2, "b", None), (3, "c", 30), (4, "d", 40)]
