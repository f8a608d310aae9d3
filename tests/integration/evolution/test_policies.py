"""Policies, accepting, filling old rows: from Postgres, by the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest
from tests.integration.command import postgres, project, succeed, syncline

from syncline.testing.postgres_server import PostgresServer

MERGE = "incremental_deduped_history"


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNCLINE_HOME", str(tmp_path / "home"))


@pytest.fixture
def source(postgres_server: PostgresServer, postgres_db: str) -> str:
    postgres_server.execute(
        "CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL, v text)",
        "INSERT INTO t SELECT i, i, 'v' || i FROM generate_series(1, 50) i",
        "CREATE TABLE other (id int PRIMARY KEY, n int NOT NULL)",
        dbname=postgres_db,
    )
    return postgres_db


def duck(path: Path, query: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(path), read_only=True) as con:
        return con.execute(query).fetchall()


@pytest.mark.slow
@pytest.mark.parametrize("to", ["postgres", "duckdb"])
@pytest.mark.parametrize("mapped", [False, True])
def test_old_rows_of_a_new_column_are_filled_alone(postgres_server, source, tmp_path, to, mapped):
    database = postgres_server.create_database()
    path = tmp_path / "d.duckdb"
    target = (
        postgres(postgres_server, database) if to == "postgres" else {"type": "duckdb", "config": {"path": str(path)}}
    )
    mappings = [{"from": "t", "to": "named", "field_mappings": {"id": "key", "x": "ex"}, "steps": [{"mask": ["v"]}]}]
    if mapped:
        postgres_server.execute("ALTER TABLE t ADD COLUMN x int", dbname=source)
    file = project(
        tmp_path / "a.yaml",
        postgres(postgres_server, source),
        target,
        streams=[{"name": "t", "mode": MERGE, "cursor_field": "n"}],
        mappings=mappings if mapped else [],
    )
    succeed("sync", file)
    table, key, x, y = ("named", "key", "ex", "y") if mapped else ("t", "id", "x", "y")

    def rows() -> list[tuple[Any, ...]]:
        query = f"SELECT {key}, v, {x}, {y} FROM {table} ORDER BY {key}"
        if to == "duckdb":
            return duck(path, query)
        with psycopg.connect(postgres_server.dsn(database)) as connection:
            return connection.execute(query.encode()).fetchall()

    if mapped:
        postgres_server.execute("ALTER TABLE t DROP COLUMN x", dbname=source)
    postgres_server.execute(
        "ALTER TABLE t ADD COLUMN x int DEFAULT 7, ADD COLUMN y numeric DEFAULT 'NaN'",
        "INSERT INTO t VALUES (51, 51, 'new', 8, 1.5)",
        "UPDATE t SET x = id, v = 'unseen' WHERE id < 3",
        dbname=source,
    )
    succeed("sync", file)
    assert [row[2] for row in rows()] == [None] * 50 + [8]
    done = succeed("backfill", file, "--stream", "t", "--column", x, "--column", y)
    assert f"{x}, {y} filled in 5" in done.out
    found = rows()
    v = {n: "***" if mapped else f"v{n}" if n < 51 else "new" for n in range(1, 52)}
    kept = [row for row in found if not (to == "duckdb" and row[3] is None)]
    assert [row[:3] for row in kept] == [(n, v[n], n if n < 3 else 8 if n == 51 else 7) for n, *_ in kept]
    if to == "postgres":
        assert len(found) == 51
        assert str(found[0][3]) == "NaN"
        again = succeed("sync", file)
        assert "0 rows" in again.out
    succeed("backfill", file, "--stream", "t", "--column", x)  # once more is harmless
    assert [row[2] for row in rows()] == [row[2] for row in found]
    refused = syncline("backfill", file, "--stream", "t", "--column", "z")
    assert refused.code == 3
    assert "no column 'z'" in refused.err
    assert "part of the key" in syncline("backfill", file, "--stream", "t", "--column", key).err
    postgres_server.drop_database(database)


@pytest.mark.slow
def test_a_connection_fills_new_columns_by_itself_and_says_where_it_cannot(postgres_server, source, tmp_path):
    path = tmp_path / "d.duckdb"
    target = {"type": "duckdb", "config": {"path": str(path)}}
    file = project(
        tmp_path / "a.yaml",
        postgres(postgres_server, source),
        target,
        streams=[
            {"name": "t", "mode": MERGE, "cursor_field": "n"},
            {"name": "other", "mode": "incremental_append", "cursor_field": "n"},
        ],
        schema_changes={"policy": "propagate_columns", "backfill": True},
    )
    succeed("sync", file)
    postgres_server.execute(
        "ALTER TABLE t ADD COLUMN x int DEFAULT 7",
        "ALTER TABLE other ADD COLUMN x int DEFAULT 7",
        "INSERT INTO other VALUES (1, 1)",
        dbname=source,
    )
    done = succeed("sync", file)
    assert duck(path, "SELECT count(*), min(x), max(x) FROM t") == [(50, 7, 7)]
    assert "rows that were written are not changed" in done.text


@pytest.mark.slow
def test_changes_are_shown_and_accepted(postgres_server, source, tmp_path):
    target = {"type": "duckdb", "config": {"path": str(tmp_path / "d.duckdb")}}
    file = project(
        tmp_path / "a.yaml",
        postgres(postgres_server, source),
        target,
        streams=[{"name": "t", "mode": MERGE, "cursor_field": "n"}, "other"],
        schema_changes="disable_connection",
    )
    assert "nothing has changed" in succeed("changes", file).out
    succeed("sync", file)
    postgres_server.execute(
        "ALTER TABLE t RENAME v TO w",
        "ALTER TABLE t ALTER n TYPE bigint",
        "INSERT INTO t VALUES (51, 51, 'x')",
        "INSERT INTO other VALUES (1, 1)",
        dbname=source,
    )
    for _ in range(2):
        stopped = syncline("sync", file)
        assert stopped.code == 9
        assert "syncline changes FILE --accept" in stopped.err
    assert duck(tmp_path / "d.duckdb", "SELECT count(*) FROM other") == [(0,)]
    shown = succeed("changes", file)
    assert "column renamed: v -> w" in shown.out
    assert "column widened: n integer -> n bigint" in shown.out
    assert "accepted: public.t" in succeed("changes", file, "--accept").out
    succeed("sync", file)
    assert duck(tmp_path / "d.duckdb", "SELECT count(*) FROM t") == [(51,)]
    assert "nothing has changed" in succeed("changes", file).out


@pytest.mark.slow
@pytest.mark.parametrize("updates", ["ignore", "disable_connection"])
def test_policies_hold_in_the_log_too(postgres_server, source, tmp_path, updates):
    path = tmp_path / "d.duckdb"
    file = project(
        tmp_path / "a.yaml",
        postgres(postgres_server, source, replication_method={"method": "CDC"}),
        {"type": "duckdb", "config": {"path": str(path)}},
        mode="incremental",
        schema_changes=updates,
    )
    succeed("sync", file)
    postgres_server.execute(
        "INSERT INTO t VALUES (51, 51, 'a')",
        "ALTER TABLE t ADD COLUMN x int DEFAULT 7",
        "ALTER TABLE t RENAME v TO w",
        "INSERT INTO t VALUES (52, 52, 'b', 8)",
        "INSERT INTO other VALUES (1, 1)",
        "CREATE TABLE third (id int PRIMARY KEY)",
        dbname=source,
    )
    done = syncline("sync", file)
    tables = {name for (name,) in duck(path, "SELECT table_name FROM information_schema.tables")}
    assert "third" not in tables
    columns = [name for name, *_ in duck(path, "DESCRIBE t") if not name.startswith("_")]
    assert columns == ["id", "n", "v"]
    rows = duck(path, "SELECT id, v FROM t WHERE id > 50 ORDER BY id")
    if updates == "ignore":
        assert done.code == 0, done.text
        assert rows == [(51, "a"), (52, "b")]
        postgres_server.execute("UPDATE t SET w = 'c', x = 9 WHERE id = 52", dbname=source)
        succeed("sync", file)
        assert duck(path, "SELECT id, v FROM t WHERE id > 51") == [(52, "c")]
    else:
        assert done.code == 9
        assert rows == []
    syncline("forget", file)
