"""A destination made with airbyte-cdk, from the package index and unmodified, behind our contract."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.integration.command import postgres, succeed, syncline

from syncline.testing.postgres_server import PostgresServer

pytestmark = pytest.mark.clients

SCRIPT = Path(__file__).with_name("scripts") / "cdk_destination.py"


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The Python of an environment with airbyte-cdk: the one that runs manifests."""
    folder = os.environ.get("SYNCLINE_CONNECTORS_HOME") or str(tmp_path_factory.mktemp("connectors"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SYNCLINE_HOME", folder)
        done = syncline("connectors", "install", "manifest", "--json")
        if done.code != 0 and "package index" in done.err:
            pytest.skip("no package index can be reached")
        assert done.code == 0, done.text
        yield Path(done.json["executable"]).with_name("python")


def test_postgres_through_a_destination_of_the_cdk(
    python: Path, tmp_path: Path, postgres_server: PostgresServer, postgres_db: str
) -> None:
    with postgres_server.connect(postgres_db) as session:
        session.execute("CREATE TABLE item (id int PRIMARY KEY, price numeric(8, 2), at timestamptz, more jsonb)")
        session.execute(
            "INSERT INTO item SELECT i, i / 4.0, 'epoch', '{\"a\": [1, null]}' FROM generate_series(1, 50) i"
        )
        session.commit()
    out = tmp_path / "out"
    destination = {
        "type": "airbyte",
        "config": {
            "command": [str(python), str(SCRIPT)],
            "config": {"folder": str(out)},
            "journal": str(tmp_path / "journal"),
        },
    }
    source = postgres(postgres_server, postgres_db)
    sync: dict[str, Any] = {"mode": "full_refresh", "streams": ["item"]}
    path = tmp_path / "p.yaml"
    path.write_text(yaml.safe_dump({"source": source, "destination": destination, "sync": sync}))
    refused = syncline("check", path)
    assert refused.code != 0
    assert "no such folder" in refused.text
    out.mkdir()
    succeed("check", path)
    rows: list[dict[str, Any]] = []
    for _ in range(2):
        succeed("sync", path)
        rows = [json.loads(line) for line in (out / "item.jsonl").read_text().splitlines()]
        assert sorted(row["id"] for row in rows) == list(range(1, 51))
    assert rows[0]["more"] == {"a": [1, None]}
    assert {row["price"] for row in rows if row["id"] == 5} == {1.25}
    assert rows[0]["at"] == "1970-01-01T00:00:00.000000Z"
    path.write_text(
        yaml.safe_dump(
            {"source": source, "destination": destination, "sync": {**sync, "mode": "incremental_deduped_history"}}
        )
    )
    assert "append_dedup" in syncline("sync", path).text
