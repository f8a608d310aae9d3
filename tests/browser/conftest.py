"""One browser for the folder, a Postgres with a small shop, and a server that asks nobody to sign in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect, sync_playwright
from tests.browser.site import PATIENCE, Site, chromium, site

from syncline.api.ui import STATIC
from syncline.testing.postgres_server import PostgresServer

SHOP = """
CREATE TABLE customers (id bigint PRIMARY KEY, name text, email text, updated_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE orders (id bigint PRIMARY KEY, customer bigint, amount numeric(12,2), note text,
                     updated_at timestamptz NOT NULL DEFAULT now());
INSERT INTO customers SELECT g, 'Customer ' || g, 'c' || g || '@example.com' FROM generate_series(1, 500) g;
INSERT INTO orders SELECT g, 1 + g % 500, g / 7.0, CASE g % 3 WHEN 0 THEN '' END FROM generate_series(1, 5000) g;
"""


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    program = chromium()
    if program is None:
        pytest.skip("no Chromium on this machine")
    if not (STATIC / "index.html").is_file():
        pytest.skip("the page is not built: make ui")
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        # Chromium's sandbox does not work for root, which runs the tests in containers. Without a graphics card its
        # own process for one costs more than all the rest.
        running = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield running
        running.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Its store is the module's: tests name what they make."""
    with site(tmp_path_factory.mktemp("site")) as running:
        yield running


@pytest.fixture
def shop(postgres_server: PostgresServer, postgres_db: str) -> dict[str, Any]:
    """The configuration of a source that reads the shop."""
    postgres_server.execute(SHOP, dbname=postgres_db)
    params = postgres_server.params(postgres_db)
    return {
        "sourceType": "postgres",
        "host": str(params["host"]),
        "port": int(params["port"]),
        "database": postgres_db,
        "username": str(params["user"]),
        "password": str(params["password"]),
        "schemas": ["public"],
    }


@pytest.fixture
def connection(server: Site, shop: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """The shop to a DuckDB file, by hand, not run yet; with the file's ``path``."""
    return connect(server, shop, tmp_path / "copy.duckdb", f"Shop {tmp_path.name}")


def connect(server: Site, source: dict[str, Any], path: Path, name: str, **more: Any) -> dict[str, Any]:
    workspace = {"workspaceId": server.workspace}
    reads = server.post("/v1/sources", {"name": f"{name} source", **workspace, "configuration": source})
    target = {"destinationType": "duckdb", "destination_path": str(path)}
    writes = server.post("/v1/destinations", {"name": f"{name} copy", **workspace, "configuration": target})
    body = {"name": name, "sourceId": reads["sourceId"], "destinationId": writes["destinationId"], **more}
    return {**server.post("/v1/connections", body), "path": path}
