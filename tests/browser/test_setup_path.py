"""A newcomer: from an empty server to rows at the destination, by the page alone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import duckdb
import pytest
from playwright.sync_api import Browser, Page, expect
from tests.browser.site import Site, expect_success, opened, site

pytestmark = pytest.mark.browser


def fill_in_shop(page: Page, shop: dict[str, Any]) -> None:
    page.get_by_label("Host", exact=True).fill(shop["host"])
    page.get_by_label("Port", exact=True).fill(str(shop["port"]))
    page.get_by_label("Database", exact=True).fill(shop["database"])
    page.get_by_label("Username", exact=True).fill(shop["username"])
    page.get_by_label("Password", exact=True).fill(shop["password"])


def test_from_an_empty_server_to_rows(browser: Browser, shop: dict[str, Any], tmp_path: Path) -> None:
    copy = tmp_path / "copy.duckdb"
    with site(tmp_path / "site") as running, opened(browser, running) as page:
        page.get_by_role("link", name="Set up the first connection").click()
        page.get_by_role("button", name="Postgres").click()
        page.get_by_role("textbox", name="Name", exact=True).fill("The shop")
        fill_in_shop(page, shop)
        page.get_by_role("button", name="Test and save").click()
        # Streams: few, so all are ticked, with the modes that fit them.
        expect(page.get_by_text("2 of 2 streams chosen")).to_be_visible()
        page.get_by_role("button", name="Columns of customers").click()
        page.get_by_label("Take column email").uncheck()
        page.get_by_role("button", name="Next").click()
        page.get_by_role("button", name="DuckDB").click()
        page.get_by_label("Destination path").fill(str(copy))
        page.get_by_role("button", name="Test and save").click()
        page.get_by_text("By hand", exact=True).click()
        page.get_by_role("button", name="Next").click()
        expect(page.get_by_text("by hand, and once now")).to_be_visible()
        page.get_by_role("button", name="Create it and start the first sync").click()
        expect(page).to_have_url(re.compile(r"/connections/[0-9a-f-]{36}$"))
        expect_success(page)
        expect(page.get_by_role("cell", name="5,500")).to_be_visible()
    with duckdb.connect(str(copy), read_only=True) as found:
        assert found.sql("SELECT count(*), sum(amount) FROM orders").fetchone()[0] == 5000
        assert found.sql("SELECT count(*) FROM customers").fetchone() == (500,)
        columns = [row[0] for row in found.sql("DESCRIBE customers").fetchall()]
        assert "name" in columns
        assert "email" not in columns


def test_a_wrong_value_is_marked_at_its_field(browser: Browser, server: Site, shop: dict[str, Any]) -> None:
    with opened(browser, server, "/sources/new") as page:
        page.get_by_role("button", name="Postgres").click()
        fill_in_shop(page, shop)
        # What only the server knows: it answers with the field's name and its words.
        page.get_by_role("button", name=re.compile("More settings")).click()
        page.get_by_label("Lock timeout").fill("-5")
        page.get_by_role("button", name="Test only").click()
        marked = page.locator("[id=root_lock_timeout-error], [id$=lock_timeout-error]")
        expect(marked.first).to_be_visible()
        page.get_by_label("Lock timeout").fill("5")
        page.get_by_role("button", name="Test only").click()
        expect(page.get_by_text("It works")).to_be_visible()


def test_the_log_can_be_chosen_among_the_ways_to_read(browser: Browser, server: Site) -> None:
    with opened(browser, server, "/sources/new") as page:
        page.get_by_role("button", name="Postgres").click()
        page.get_by_label("CDC").check()
        expect(page.get_by_label("Publication")).to_be_attached()
        page.get_by_label("Standard").check()
        expect(page.get_by_label("Publication")).not_to_be_attached()
