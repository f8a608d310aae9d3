"""Airbyte's own source-faker from PyPI, unmodified: installed by our installer, read twice."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest
import yaml
from tests.integration.command import succeed, syncline

CONFIG = {"count": 300, "seed": 7, "records_per_slice": 100, "parallelism": 1, "always_updated": False}


@pytest.mark.slow
def test_faker_from_the_package_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNCLINE_HOME", str(tmp_path / "home"))
    database, project = tmp_path / "out.duckdb", tmp_path / "p.yaml"
    source = {"type": "airbyte", "config": {"package": "faker", "config": CONFIG}}
    destination = {"type": "duckdb", "config": {"destination_path": str(database)}}
    project.write_text(yaml.safe_dump({"source": source, "destination": destination, "sync": {"mode": "incremental"}}))
    assert "syncline connectors install airbyte-source-faker" in syncline("sync", project).err
    done = syncline("connectors", "install", "faker", "--json")
    if done.code != 0 and "package index" in done.err:
        pytest.skip("no package index can be reached")
    assert done.code == 0, done.text
    assert done.json["version"] == "7.2.1"
    locks = list((tmp_path / "home" / "connectors").glob("*.lock.txt"))
    assert len(locks) == 1
    assert "airbyte-source-faker==7.2.1" in locks[0].read_text()
    assert "installed" in succeed("connectors", "info", "faker").out
    first = succeed("sync", project, "--json").json
    assert {s["stream"]["name"]: s["status"] for s in first["streams"]} == dict.fromkeys(
        ("users", "products", "purchases"), "succeeded"
    )
    with duckdb.connect(str(database), read_only=True) as con:
        assert con.execute(
            "SELECT count(*), count(DISTINCT id), min(updated_at) IS NOT NULL FROM users"
        ).fetchone() == (
            300,
            300,
            True,
        )
    again = succeed("sync", project, "--json").json
    users = next(s for s in again["streams"] if s["stream"]["name"] == "users")
    assert users["rows_read"] == 0
