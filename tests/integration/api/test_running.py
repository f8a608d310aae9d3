"""A connection from its making to its proof, over HTTP alone: plan, sync, logs, state, lag, verify."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from tests.integration.api.conftest import made
from tests.integration.api.server_process import server_process

from syncline.testing.postgres_server import PostgresServer

pytestmark = pytest.mark.slow

OWN = "/api/syncline/v1"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with server_process(tmp_path_factory.mktemp("api-running"), SYNCLINE_AUTH="none") as server:
        yield server


@pytest.fixture
def client(running: dict[str, str]) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running["base"]) as client:
        yield client


@pytest.fixture
def shop(
    client: httpx.Client,
    running: dict[str, str],
    postgres_server: PostgresServer,
    postgres_db: str,
    tmp_path: Path,
) -> str:
    """The id of a connection that copies one table by its cursor."""
    with psycopg.connect(postgres_server.dsn(postgres_db), autocommit=True) as database:
        database.execute("CREATE TABLE orders (id bigint PRIMARY KEY, updated_at timestamptz NOT NULL)")
        database.execute("INSERT INTO orders SELECT g, '2026-01-01' FROM generate_series(1, 100) g")
    params = postgres_server.params(postgres_db)
    source = {
        "sourceType": "postgres",
        "host": str(params["host"]),
        "port": int(str(params["port"])),
        "database": postgres_db,
        "username": str(params["user"]),
        "password": str(params["password"]),
    }
    destination = {"destinationType": "duckdb", "destination_path": str(tmp_path / "copy.duckdb")}
    about = {"name": "shop", "workspaceId": running["workspace_id"]}
    from_ = made(client, "/v1/sources", {**about, "configuration": source})["sourceId"]
    to = made(client, "/v1/destinations", {**about, "configuration": destination})["destinationId"]
    stream = {"name": "orders", "syncMode": "incremental_deduped_history", "cursorField": ["updated_at"]}
    body = {"sourceId": from_, "destinationId": to, "configurations": {"streams": [{**stream, "primaryKey": [["id"]]}]}}
    return str(made(client, "/v1/connections", body)["connectionId"])


def patiently(client: httpx.Client, method: str, path: str, **options: Any) -> dict[str, Any]:
    """A look that takes longer than clients wait is answered by 409, and is asked for again."""
    answer = client.request(method, path, timeout=30, **options)
    while answer.status_code == 409:
        answer = client.request(method, path, timeout=30, **options)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def synced(client: httpx.Client, connection: str) -> dict[str, Any]:
    job = made(client, "/v1/jobs", {"connectionId": connection, "jobType": "sync"})
    for _ in range(600):
        job = client.get(f"/v1/jobs/{job['jobId']}").json()
        if job["status"] not in ("pending", "running", "incomplete"):
            break
        time.sleep(0.1)
    assert job["status"] == "succeeded", client.get(f"{OWN}/jobs/{job['jobId']}/logs/text").text
    return job


def test_a_connection_from_its_making_to_its_proof(client: httpx.Client, shop: str) -> None:
    (before,) = patiently(client, "POST", f"{OWN}/connections/{shop}/plan")["streams"]
    assert (before["name"], before["step"], before["write"], before["readsAll"]) == (
        "orders",
        "snapshot",
        "replace",
        True,
    )

    job = synced(client, shop)
    assert job["rowsSynced"] == 100
    assert job["duration"].startswith("PT")
    assert job["lastUpdatedAt"].endswith("Z")

    told = client.post("/api/v1/jobs/get", json={"id": job["jobId"]}).json()
    (attempt,) = told["attempts"]
    assert attempt["attempt"]["recordsSynced"] == 100
    assert attempt["attempt"]["streamStats"][0]["streamName"] == "orders"
    assert any("orders" in line for line in attempt["logs"]["logLines"])

    with client.stream("GET", f"{OWN}/jobs/{job['jobId']}/logs/stream", timeout=30) as stream:
        text = "".join(stream.iter_text())
    assert text.count("event: log") == len(client.get(f"{OWN}/jobs/{job['jobId']}/logs").json()["lines"])
    assert '"status": "succeeded"' in text

    (after,) = patiently(client, "POST", f"{OWN}/connections/{shop}/plan")["streams"]
    assert (after["step"], after["write"], after["readsAll"]) == ("increment", "merge", False)
    assert after["position"]

    state = client.post("/api/v1/state/get", json={"connectionId": shop}).json()
    assert state["stateType"] == "stream"
    assert state["streamState"][0]["streamDescriptor"]["name"] == "orders"

    lag = client.get(f"{OWN}/connections/{shop}/lag").json()
    assert lag["lastJobId"] == job["jobId"]
    assert lag["secondsBehind"] >= 0
    assert client.get(f"{OWN}/connections/{shop}/lag/log", timeout=30).status_code in (409, 422)


def test_both_ends_are_compared(client: httpx.Client, shop: str) -> None:
    synced(client, shop)
    begun = client.post(f"{OWN}/connections/{shop}/verify").json()
    assert begun["status"] == "running"
    assert client.post(f"{OWN}/connections/{shop}/verify").status_code == 409
    found = begun
    while found["status"] == "running":
        time.sleep(0.1)
        found = client.get(f"{OWN}/verifications/{begun['verificationId']}").json()
    assert (found["status"], found["equal"]) == ("succeeded", True), found
    assert found["streams"][0]["stream"] == "public.orders"
    assert client.get(f"{OWN}/verifications/nonsense").status_code == 404


def test_a_state_is_set_and_the_next_sync_obeys(client: httpx.Client, shop: str) -> None:
    synced(client, shop)
    state = client.post("/api/v1/state/get", json={"connectionId": shop}).json()
    unset = {"connectionId": shop, "connectionState": {"stateType": "not_set"}}
    path = "/api/v1/state/create_or_update_safe"
    assert patiently(client, "POST", path, json=unset)["stateType"] == "not_set"
    assert synced(client, shop)["rowsSynced"] == 100, "read anew"
    back = {"connectionId": shop, "connectionState": state}
    assert patiently(client, "POST", path, json=back)["streamState"] == state["streamState"]
    assert synced(client, shop)["rowsSynced"] <= 100


def test_what_a_source_offers(client: httpx.Client, shop: str) -> None:
    source = client.get(f"/v1/connections/{shop}").json()["sourceId"]
    found = client.get("/v1/streams", params={"sourceId": source, "ignoreCache": "true"}, timeout=30)
    while found.status_code == 409:
        found = client.get("/v1/streams", params={"sourceId": source, "ignoreCache": "true"}, timeout=30)
    (stream,) = found.json()
    assert stream["streamName"] == "orders"
    assert stream["streamnamespace"] == "public"
    assert stream["sourceDefinedPrimaryKey"] == [["id"]]
    assert ["updated_at"] in stream["propertyFields"]
    assert "incremental_deduped_history" in stream["syncModes"]
    checked = client.post("/api/v1/sources/check_connection", json={"sourceId": source}, timeout=30).json()
    assert checked["status"] == "succeeded", checked
    discovered = client.post("/api/v1/sources/discover_schema", json={"sourceId": source}, timeout=30).json()
    assert discovered["jobInfo"]["succeeded"] is True
    (entry,) = discovered["catalog"]["streams"]
    assert entry["stream"]["jsonSchema"]["properties"]["id"]
