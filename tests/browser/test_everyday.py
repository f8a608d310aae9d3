"""What people do with the page each day: see why something failed and mend it, change streams, watch, come back."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect
from tests.browser.conftest import connect
from tests.browser.site import Site, expect_success, opened

pytestmark = pytest.mark.browser


def test_a_failing_connection_is_diagnosed_and_mended(
    browser: Browser, server: Site, shop: dict[str, Any], tmp_path: Path
) -> None:
    name = f"Broken {tmp_path.name}"
    made = connect(server, {**shop, "password": "not this one"}, tmp_path / "copy.duckdb", name)
    server.post("/v1/jobs", {"connectionId": made["connectionId"], "jobType": "sync"})
    with opened(browser, server) as page:
        # Home says it without being asked: what, why, and what to do.
        card = page.locator("section", has_text="Needs a person now")
        expect(card.get_by_role("link", name=name, exact=True)).to_be_visible()
        expect(card.get_by_text("The credentials are wrong or have expired").first).to_be_visible()
        card.get_by_role("link", name=f"Open {name} source"[:45]).click()
        page.get_by_label("Password", exact=True).fill(shop["password"])
        page.get_by_role("button", name="Test and save").click()
        expect(page.get_by_text("Saved. The next run uses it.")).to_be_visible()
        page.get_by_role("link", name=name, exact=True).click()
        page.get_by_role("button", name="Sync now").click()
        expect_success(page)
        expect(page.get_by_text("Fresh", exact=True)).to_be_visible()


def test_a_change_of_streams_shows_its_plan_first(browser: Browser, server: Site, connection: dict[str, Any]) -> None:
    path = f"/connections/{connection['connectionId']}"
    server.client.get("/v1/streams", params={"sourceId": connection["sourceId"], "ignoreCache": "true"})
    with opened(browser, server, f"{path}/streams") as page:
        page.get_by_label("Take customers").uncheck()
        page.get_by_role("button", name="See what this does").click()
        window = page.get_by_role("dialog")
        expect(window.get_by_text("is left out from now on")).to_be_visible()
        # The server's own plan of the draft: one stream, copied whole.
        expect(window.get_by_role("cell", name=re.compile("copies the whole stream"))).to_have_count(1)
        window.get_by_role("button", name="Apply", exact=True).click()
        expect(page.get_by_text("The streams are changed")).to_be_visible()
    streams = server.client.get(f"/v1{path}").json()["configurations"]["streams"]
    assert [stream["name"] for stream in streams] == ["orders"]


def test_two_browsers_see_the_same_at_once(browser: Browser, server: Site, connection: dict[str, Any]) -> None:
    name, path = connection["name"], f"/connections/{connection['connectionId']}"
    with opened(browser, server, f"/?q={name}") as one, opened(browser, server, path) as other:
        expect(one.get_by_role("table").get_by_text("Never ran")).to_be_visible()
        other.get_by_role("button", name="Sync now").click()
        expect(one.get_by_role("table").get_by_text("Fresh")).to_be_visible()
        expect_success(other)


def test_a_log_is_filtered_and_downloaded(browser: Browser, server: Site, connection: dict[str, Any]) -> None:
    job = server.post("/v1/jobs", {"connectionId": connection["connectionId"], "jobType": "sync"})["jobId"]
    with opened(browser, server, f"/jobs/{job}") as page:
        expect(page.get_by_text("Succeeded").first).to_be_visible()
        log = page.get_by_role("log")
        expect(log.get_by_text("attempt succeeded")).to_be_visible()
        page.get_by_label("Filter the log").fill("customers")
        expect(log.get_by_text("attempt succeeded")).not_to_be_attached()
        # The filter is in the address: a colleague sees the same.
        expect(page).to_have_url(re.compile("log=customers"))
        with page.expect_download() as download:
            page.get_by_role("button", name="Download").click()
        assert "attempt succeeded" in Path(download.value.path()).read_text()


def test_the_server_goes_away_and_comes_back(browser: Browser, server: Site, connection: dict[str, Any]) -> None:
    with opened(browser, server, f"/connections/{connection['connectionId']}") as page:
        expect(page.get_by_text("It never ran")).to_be_visible()
        server.stop()
        expect(page.get_by_text("The server does not answer.")).to_be_visible()
        expect(page.get_by_text("It never ran")).to_be_visible()
        server.start()
        expect(page.get_by_text("The server does not answer.")).not_to_be_attached()
        page.get_by_role("button", name="Sync now").click()
        expect_success(page)


@pytest.mark.parametrize("path", ["/", "/jobs/1", "/sources", "/alerts/rules", "/nowhere/at/all"])
def test_every_address_can_be_opened(browser: Browser, server: Site, path: str) -> None:
    with opened(browser, server, path) as page:
        expect(page.locator("main")).to_contain_text(re.compile(r"\w"))
        hosts = page.evaluate("[...new Set(performance.getEntriesByType('resource').map(e => new URL(e.name).host))]")
        assert hosts == [f"127.0.0.1:{server.port}"]
