"""Whole syncs of files: the newest file wins, misfits go to quarantine, new columns arrive."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml
from tests.integration.command import succeed
from tests.integration.files_source.harness import Lake


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    monkeypatch.setenv("SYNCLINE_HOME", str(tmp_path / "home"))
    return Lake(tmp_path / "lake", globs="**/*.csv")


def _project(lake: Lake, **sync: Any) -> Path:
    path = lake.root.parent / "sync.yaml"
    project = {
        "source": {"type": "files", "config": lake.config},
        "destination": {"type": "duckdb", "config": {"path": str(lake.root.parent / "w.duckdb")}},
        "sync": {"mode": "incremental", **sync},
    }
    path.write_text(yaml.safe_dump(project), encoding="utf-8")
    return path


def _rows(lake: Lake, query: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(lake.root.parent / "w.duckdb"), read_only=True) as engine:
        return engine.sql(query).fetchall()


def test_the_newest_file_wins(lake: Lake) -> None:
    lake.config["primary_key"] = ["id"]
    for number in range(9):
        # The newest has the smallest name, so that neither names nor chance decide.
        lake.put(f"{9 - number}.csv", f"id,v\n1,{number}\n{number + 10},x\n", mtime=1000 + number)
    project = _project(lake)
    succeed("sync", project)
    assert _rows(lake, "SELECT v FROM t WHERE id = 1") == [("8",)]
    lake.put("b.csv", "id,v\n1,last\n", mtime=3000)
    lake.put("c.csv", "id,v\n1,before\n", mtime=2000)
    succeed("sync", project)
    assert _rows(lake, "SELECT v FROM t WHERE id = 1") == [("last",)]
    assert _rows(lake, "SELECT count(*) FROM t") == [(10,)]
    succeed("sync", project)
    assert _rows(lake, "SELECT count(*) FROM t") == [(10,)]


def test_appends_new_columns_and_misfits(lake: Lake) -> None:
    lake.config["sample_bytes"] = 1024
    lake.put("a.csv", "id,v\n" + "1,a\n" * 1000 + "two,b\n", mtime=1000)
    project = _project(lake)
    succeed("sync", project)
    assert _rows(lake, "SELECT count(*), max(v) FROM t") == [(1000, "a")]
    lake.put("b.csv", "id,v,w\n3,c,2.5\n", mtime=1000)
    succeed("sync", project)
    succeed("sync", project)
    assert _rows(lake, "SELECT id, v, w FROM t WHERE w IS NOT NULL") == [(3, "c", 2.5)]
    assert _rows(lake, "SELECT count(*) FROM t") == [(1001,)]
    ((table,),) = _rows(lake, "SELECT table_name FROM duckdb_tables() WHERE table_name = '_syncline_quarantine'")
    found = _rows(lake, f"SELECT column_name, record FROM {table}")
    assert [(c, "two" in str(r)) for c, r in found] == [("id", True)]
