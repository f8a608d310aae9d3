"""Mappings and policies of connections that a server keeps: Airbyte's mappers, our own blocks, changes told back."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import httpx
import pytest
from tests.integration.api.conftest import made
from tests.integration.api.server_process import server_process

from syncline.testing.postgres_server import PostgresServer

OWN = "/api/syncline/v1"
HASHING = {
    "type": "hashing",
    "mapperConfiguration": {"targetField": "email", "method": "SHA-256", "fieldNameSuffix": "_hashed"},
}
RENAMING = {"type": "field-renaming", "mapperConfiguration": {"originalFieldName": "n", "newFieldName": "number"}}
FILTERING = {
    "type": "row-filtering",
    "mapperConfiguration": {
        "conditions": {
            "type": "NOT",
            "conditions": [{"type": "EQUAL", "fieldName": "country", "comparisonValue": "FR"}],
        }
    },
}
AES = {
    "algorithm": "AES",
    "targetField": "email",
    "mode": "GCM",
    "padding": "NoPadding",
    "key": "00ff" * 8,
    "fieldNameSuffix": "_encrypted",
}


@pytest.fixture
def client(tmp_path: Path) -> Iterator[httpx.Client]:
    with (
        server_process(tmp_path, SYNCLINE_AUTH="none") as server,
        httpx.Client(base_url=server["base"], timeout=30, headers={"workspace": server["workspace_id"]}) as client,
    ):
        yield client


def synced(client: httpx.Client, connection: str, status: str = "succeeded") -> None:
    job = made(client, "/v1/jobs", {"connectionId": connection, "jobType": "sync"})
    for _ in range(900):
        job = client.get(f"/v1/jobs/{job['jobId']}").json()
        if job["status"] not in ("pending", "running", "incomplete"):
            break
        time.sleep(0.1)
    assert job["status"] == status, client.get(f"{OWN}/jobs/{job['jobId']}/logs/text").text


@pytest.mark.slow
def test_a_stored_connection_maps_and_tells_what_changed(
    client: httpx.Client, postgres_server: PostgresServer, postgres_db: str, tmp_path: Path
) -> None:
    postgres_server.execute(
        "CREATE TABLE people (id int PRIMARY KEY, n int NOT NULL, email text, country text)",
        "INSERT INTO people VALUES (1, 1, 'ann@x.org', 'DE'), (2, 2, 'bob@x.org', 'FR'), (3, 3, NULL, NULL)",
        dbname=postgres_db,
    )
    params = postgres_server.params(postgres_db)
    source = {
        "sourceType": "postgres",
        "host": str(params["host"]),
        "port": int(str(params["port"])),
        "database": postgres_db,
        "username": str(params["user"]),
        "password": str(params["password"]),
    }
    about = {"name": "people", "workspaceId": client.headers["workspace"]}
    path = tmp_path / "copy.duckdb"
    ends = {
        "sourceId": made(client, "/v1/sources", {**about, "configuration": source})["sourceId"],
        "destinationId": made(
            client,
            "/v1/destinations",
            {**about, "configuration": {"destinationType": "duckdb", "destination_path": str(path)}},
        )["destinationId"],
    }
    stream: dict[str, Any] = {"name": "people", "syncMode": "incremental_deduped_history", "cursorField": ["n"]}
    for mapper, words in (
        ({"type": "hashing"}, "mapperConfiguration"),
        ({"type": "hasing", "mapperConfiguration": {}}, "did you mean"),
        ({**HASHING, "mapperConfiguration": {"targetField": "email", "method": "MD2"}}, "MD2"),
        ({"type": "encryption", "mapperConfiguration": AES}, "stands here in clear"),
    ):
        body = {**ends, "configurations": {"streams": [{**stream, "mappers": [mapper]}]}}
        answer = client.post("/v1/connections", json=body)
        assert answer.status_code == 422
        assert words in answer.text
    mappers = [HASHING, RENAMING, FILTERING]
    kept = made(client, "/v1/connections", {**ends, "configurations": {"streams": [{**stream, "mappers": mappers}]}})
    connection = str(kept["connectionId"])
    assert kept["configurations"]["streams"][0]["mappers"] == mappers
    assert kept["nonBreakingSchemaUpdatesBehavior"] == "ignore"

    def rows(columns: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(path), read_only=True) as con:
            return con.execute(f"SELECT {columns} FROM people ORDER BY id").fetchall()

    ann = hashlib.sha256(b"ann@x.org").hexdigest()
    synced(client, connection)
    assert rows("id, number, email_hashed, country") == [(1, 1, ann, "DE"), (3, 3, None, None)]
    postgres_server.execute(
        "ALTER TABLE people ADD COLUMN x int DEFAULT 7",
        "INSERT INTO people VALUES (4, 4, 'ann@x.org', 'DE')",
        dbname=postgres_db,
    )
    synced(client, connection)
    told = client.get(f"{OWN}/connections/{connection}/schema-changes").json()["changes"]
    assert [(c["stream"], c["change"], c["after"]) for c in told] == [("public.people", "added", "x integer")]
    assert "x" not in {name for name, *_ in _describe(path)}
    change = {"nonBreakingSchemaUpdatesBehavior": "propagate_columns"}
    assert client.patch(f"/v1/connections/{connection}", json=change).status_code == 200
    options = {"options": {"mappings": [{"from": "people", "steps": [{"mask": ["country"]}]}]}}
    changed = client.patch(f"{OWN}/connections/{connection}", json=options)
    assert changed.status_code == 200, changed.text
    assert changed.json()["options"]["mappings"] == options["options"]["mappings"]
    postgres_server.execute("INSERT INTO people VALUES (5, 5, 'ann@x.org', 'DE')", dbname=postgres_db)
    synced(client, connection)
    assert rows("id, country, x")[-1] == (5, "***", 7)
    wrong = {"options": {"mappings": [{"from": "people", "steps": [{"masc": ["country"]}]}]}}
    refused = client.patch(f"{OWN}/connections/{connection}", json=wrong)
    assert refused.status_code == 422
    assert "did you mean 'mask'" in refused.text


def _describe(path: Path) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(path), read_only=True) as con:
        return con.execute("DESCRIBE people").fetchall()
