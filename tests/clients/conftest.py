"""A server as a user starts it, with a connection that works and one that hangs until it is cancelled."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import psycopg
import pytest
from tests.integration.api.server_process import PASSWORD, server_process

from syncline.testing.postgres_server import PostgresServer

ROWS = 1234


@pytest.fixture(scope="session")
def shop(postgres_server: PostgresServer) -> Iterator[str]:
    """A database with one table."""
    name = postgres_server.create_database()
    with psycopg.connect(postgres_server.dsn(name), autocommit=True) as connection:
        connection.execute("CREATE TABLE orders (id bigint PRIMARY KEY, note text, updated_at timestamptz NOT NULL)")
        connection.execute(f"INSERT INTO orders SELECT g, 'n' || g, now() FROM generate_series(1, {ROWS}) g")
    yield name
    postgres_server.drop_database(name)


@pytest.fixture(scope="session")
def locked_shop(postgres_server: PostgresServer) -> Iterator[str]:
    """The same, and somebody holds the table: a sync waits until it is cancelled."""
    name = postgres_server.create_database()
    with psycopg.connect(postgres_server.dsn(name)) as holder:
        holder.execute("CREATE TABLE orders (id bigint PRIMARY KEY)")
        holder.commit()
        holder.execute("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
        yield name
    postgres_server.drop_database(name)


@pytest.fixture(scope="session")
def given(
    postgres_server: PostgresServer, shop: str, locked_shop: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Any]]:
    """What every client's script is given, as JSON."""
    folder = tmp_path_factory.mktemp("clients")
    with (
        server_process(folder, SYNCLINE_AUTH="required") as first,
        httpx.Client(base_url=first["base"], auth=("admin@localhost", PASSWORD), timeout=60) as client,
    ):
        made = _Maker(client, first["workspace_id"])
        source = _source(postgres_server, shop)
        connection = made.connection(source, {"destination_path": str(folder / "copy.duckdb")})
        slow_source = {**_source(postgres_server, locked_shop), "lock_timeout": 600}
        slow = made.connection(slow_source, {"destination_path": str(folder / "slow.duckdb")})
        # Clients read `syncCatalog`: it is complete once the source has been seen.
        made.wait_for_catalog(connection)
        yield {
            **first,
            "username": "admin@localhost",
            "password": PASSWORD,
            "source": source,
            "connection_id": connection,
            "slow_connection_id": slow,
            "rows": ROWS,
        }


def _source(server: PostgresServer, database: str) -> dict[str, Any]:
    params = server.params(database)
    return {
        "host": str(params["host"]),
        "port": int(str(params["port"])),
        "database": database,
        "username": str(params["user"]),
        "password": str(params["password"]),
        "schemas": ["public"],
    }


class _Maker:
    """Makes connections over the API."""

    def __init__(self, client: httpx.Client, workspace: str) -> None:
        self.client, self.workspace = client, workspace

    def connection(self, source: dict[str, Any], destination: dict[str, Any]) -> str:
        body = {"workspaceId": self.workspace, "name": "x"}
        from_ = self._post("sources", {**body, "configuration": {"sourceType": "postgres", **source}})["sourceId"]
        configuration = {"destinationType": "duckdb", **destination}
        to = self._post("destinations", {**body, "configuration": configuration})["destinationId"]
        streams = {"streams": [{"name": "orders", "syncMode": "full_refresh_overwrite"}]}
        made = self._post("connections", {"sourceId": from_, "destinationId": to, "configurations": streams})
        return str(made["connectionId"])

    def wait_for_catalog(self, connection: str) -> None:
        until = time.monotonic() + 60
        while True:
            answer = self.client.post("/api/v1/connections/get", json={"connectionId": connection}).json()
            if answer["syncCatalog"]["streams"][0]["stream"]["jsonSchema"].get("properties"):
                return
            assert time.monotonic() < until, json.dumps(answer)
            time.sleep(0.2)

    def _post(self, noun: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = self.client.post(f"/v1/{noun}", json=body)
        assert answer.status_code == 200, answer.text
        made: dict[str, Any] = answer.json()
        return made
