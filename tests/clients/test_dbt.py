"""``dbt build`` after a sync, on DuckDB and on Postgres: the real dbt in an environment of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from tests.clients.prepare import interpreter, is_ready
from tests.integration.quality.pipe import Pipe

from syncline.testing.postgres_server import PostgresServer

pytestmark = pytest.mark.clients


@pytest.mark.parametrize("kind", ["duckdb", "postgres"])
def test_dbt_builds_upon_what_was_synced(
    kind: str, postgres_server: PostgresServer, postgres_db: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not is_ready("dbt"):
        pytest.skip("no environment for dbt: python tests/clients/prepare.py dbt")
    monkeypatch.setenv("SYNCLINE_HOME", str(tmp_path / "home"))
    pipe = Pipe(postgres_server, postgres_db, tmp_path, kind)
    models = tmp_path / "dbt" / "models"
    models.mkdir(parents=True)
    about = {"name": "shop", "version": "1.0.0", "profile": "syncline", "model-paths": ["models"]}
    (tmp_path / "dbt" / "dbt_project.yml").write_text(yaml.safe_dump(about))
    (models / "seen.sql").write_text(
        "{{ config(materialized='table') }}\n"
        "select '{{ var(\"sync_id\") }}' as run, count(*) as customers\nfrom {{ source('dst', 'customers') }}\n"
    )
    tests = [{"name": "customers", "columns": [{"name": "cid", "data_tests": ["unique", "not_null"]}]}]
    (models / "sources.yml").write_text(
        yaml.safe_dump({"version": 2, "sources": [{"name": "dst", "schema": "dst", "tables": tests}]})
    )
    step = {"dbt": {"project": "dbt", "executable": str(interpreter("dbt").with_name("dbt"))}, "timeout": 300}
    pipe.project([], {"transforms": [step]})
    done = pipe.sync()
    assert done.code == 0, done.text
    assert pipe.rows("SELECT run, customers FROM dst.seen") == [(done.json["sync_id"], 5)]

    pipe.source("ALTER TABLE shop.customers DROP CONSTRAINT customers_pkey", "INSERT INTO shop.customers VALUES (1)")
    again = pipe.sync()
    assert again.code == 8
    assert "unique_dst_customers_cid" in again.json["error"]["message"]
    assert again.json["error"]["where"]["step"] == "dbt 1"
    assert "password" not in again.text
