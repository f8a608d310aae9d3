"""Names that want to be markup, are endless or run the other way are text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect
from tests.browser.conftest import connect
from tests.browser.site import Site, expect_success, opened

from syncline.testing.postgres_server import PostgresServer

pytestmark = pytest.mark.browser

IMAGE = "<img src=x onerror=window.taken=1>"
TURNED = "\u202edesrever\u202c مرحبا"


def test_hostile_names_are_shown_as_text(
    browser: Browser,
    server: Site,
    shop: dict[str, Any],
    postgres_server: PostgresServer,
    postgres_db: str,
    tmp_path: Path,
) -> None:
    table = '"<img src=x onerror=window.taken=1>"'
    postgres_server.execute(
        f'CREATE TABLE {table} (id int PRIMARY KEY, "<b>bold</b>" text)',
        f"INSERT INTO {table} VALUES (1, 'x')",
        dbname=postgres_db,
    )
    name = f"{IMAGE} {TURNED} " + "w" * 180
    made = connect(server, shop, tmp_path / "copy.duckdb", name[:256])
    server.client.get("/v1/streams", params={"sourceId": made["sourceId"], "ignoreCache": "true"})
    server.post("/v1/jobs", {"connectionId": made["connectionId"], "jobType": "sync"})
    path = f"/connections/{made['connectionId']}"
    with opened(browser, server, path) as page:
        expect(page.get_by_role("heading", level=1)).to_contain_text(IMAGE)
        expect_success(page)
        for place in ("/", f"{path}/streams", f"{path}/schema", f"{path}/state", "/jobs", "/sources", "/audit"):
            page.goto(server.base + place)
            expect(page.locator("main")).to_contain_text("<img src=x")
            assert page.locator("main img, main b >> text=bold").count() == 0
            assert page.evaluate("window.taken") is None
            # Nothing pushes the page wider than its window.
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth + 1"), place
