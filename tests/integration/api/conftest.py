"""One server with authentication and one without, for the whole folder; tests make what they need in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.integration.api.served import DUCKDB, POSTGRES, Served, served


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Authentication is required."""
    with served(tmp_path_factory.mktemp("api")) as running:
        yield running


@pytest.fixture(scope="session")
def open_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Nobody has to sign in."""
    with served(tmp_path_factory.mktemp("api-open"), auth="none") as running:
        yield running


@pytest.fixture(scope="session")
def api(server: Served) -> Iterator[httpx.Client]:
    """The first application's token, at the server's root."""
    with server.bearer() as client:
        yield client


@pytest.fixture
def source(api: httpx.Client, server: Served) -> dict[str, Any]:
    body = {"name": "shop", "workspaceId": server.workspace, "configuration": POSTGRES}
    return made(api, "/v1/sources", body)


@pytest.fixture
def destination(api: httpx.Client, server: Served) -> dict[str, Any]:
    body = {"name": "copy", "workspaceId": server.workspace, "configuration": DUCKDB}
    return made(api, "/v1/destinations", body)


@pytest.fixture
def connection(api: httpx.Client, source: dict[str, Any], destination: dict[str, Any]) -> dict[str, Any]:
    body = {"sourceId": source["sourceId"], "destinationId": destination["destinationId"]}
    return made(api, "/v1/connections", {**body, "configurations": {"streams": [{"name": "orders"}]}})


def made(api: httpx.Client, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = api.post(path, json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found
