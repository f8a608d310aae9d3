"""Is it light, quick, and usable without a mouse or eyes?"""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, CDPSession, Page, expect
from tests.browser.site import Site, opened

from syncline.api.ui import STATIC

pytestmark = pytest.mark.browser

UI = Path(__file__).resolve().parents[2] / "ui"
#: Kilobytes, gzipped, of all that Home loads.
MOST = 500

PAGES = ["/", "/setup", "/jobs", "/jobs/{job}", "/sources", "/sources/{source}", "/connections/{connection}"]
TABS = ("streams", "mappings", "schema", "changes", "quality", "quarantine", "state", "settings")
PAGES += [f"/connections/{{connection}}/{tab}" for tab in TABS]
PAGES += ["/destinations", "/connectors", "/cdc", "/access", "/audit", "/settings", "/sources/new"]
PAGES += ["/alerts", "/alerts/channels", "/alerts/rules"]
#: Milliseconds that the page's own thread may be busy until a filter has been followed, whatever else the machine does.
MOST_BUSY = 1500


def test_the_first_page_is_small(browser: Browser) -> None:
    page = (STATIC / "index.html").read_text()
    parts = re.findall(r'(?:src|href)="(/assets/[^"]+)"', page)
    size = sum(len(gzip.compress((STATIC / part.lstrip("/")).read_bytes())) for part in parts)
    assert 50_000 < size < MOST * 1000, f"{size / 1000:.0f} kB"
    assert not re.search(r"<script(?![^>]*\bsrc=)", page), "a script within the page"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser: Browser, server: Site, connection: dict[str, Any], scheme: Any) -> None:
    job = server.post("/v1/jobs", {"connectionId": connection["connectionId"], "jobType": "sync"})["jobId"]
    server.client.get("/v1/streams", params={"sourceId": connection["sourceId"], "ignoreCache": "true"})
    axe = (UI / "node_modules/axe-core/axe.min.js").read_text()
    names = {"job": job, "source": connection["sourceId"], "connection": connection["connectionId"]}
    found: list[str] = []
    # Axe is brought in by the test, past the page's content policy.
    with opened(browser, server, color_scheme=scheme, bypass_csp=True) as page:
        page.emulate_media(reduced_motion="reduce")
        for path in PAGES:
            page.goto(server.base + path.format(**names))
            page.wait_for_load_state("load")
            expect(page.get_by_role("heading", level=1)).to_be_visible()
            page.wait_for_timeout(800)
            page.evaluate(axe)
            told = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
            found += [
                f"{path}: {each['id']} ({each['impact']}): {each['nodes'][0]['html'][:200]}"
                f" {each['nodes'][0]['failureSummary'][:200]}"
                for each in told["violations"]
                if each["impact"] in ("serious", "critical")
            ]
    assert not found, "\n".join(found)


def test_a_phone_shows_it_without_scrolling_sideways(
    browser: Browser, server: Site, connection: dict[str, Any]
) -> None:
    with opened(browser, server) as page:
        page.set_viewport_size({"width": 390, "height": 800})
        for path in ("/", f"/connections/{connection['connectionId']}", "/jobs", "/cdc"):
            page.goto(server.base + path)
            expect(page.get_by_role("heading", level=1)).to_be_visible()
            assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
        page.get_by_label("Open the menu").click()
        page.get_by_role("link", name="Jobs").click()
        expect(page.get_by_role("heading", name="Jobs")).to_be_visible()


def test_the_keyboard_reaches_the_work(browser: Browser, server: Site, connection: dict[str, Any]) -> None:
    with opened(browser, server, f"/?q={connection['name']}") as page:
        expect(page.get_by_role("table")).to_be_visible()
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to the page")).to_be_focused()
        page.keyboard.press("Enter")
        for _ in range(40):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.textContent") == connection["name"]:
                break
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_contain_text(connection["name"])


def busy(session: CDPSession) -> float:
    """Milliseconds of processor time that the page's thread has had since ``watched``."""
    told = {each["name"]: each["value"] for each in session.send("Performance.getMetrics")["metrics"]}
    return float(told["TaskDuration"]) * 1000


def watched(page: Page) -> CDPSession:
    """From now on the page's processor time is counted, whatever else the machine does."""
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    return session


def test_a_thousand_connections_are_a_few_rows(browser: Browser, server: Site) -> None:
    """The answer is made up, the page is real: it keeps the rows in view in the document and filters at once."""
    run = {"type": "sync", "status": "succeeded", "createdAt": "2026-01-01T00:00:00Z", "seconds": 3.0, "bytes": 9}
    many = [
        {
            "connectionId": f"00000000-0000-0000-0000-{i:012d}",
            "workspaceId": server.workspace,
            "name": f"connection {i:04d}",
            "status": "active",
            "health": ("fresh", "late", "failing")[i % 3],
            "source": {"id": "a", "name": "source", "type": "postgres"},
            "destination": {"id": "b", "name": "destination", "type": "duckdb"},
            "followsLog": False,
            "scheduleKind": "manual",
            "recent": [{**run, "jobId": i * 14 + j, "rows": j * 100} for j in range(14)],
        }
        for i in range(1000)
    ]
    body = json.dumps({"connections": many, "lastEvent": 0})
    with opened(browser, server, "/settings") as page:
        page.route(
            "**/api/syncline/v1/overview*", lambda route: route.fulfill(body=body, content_type="application/json")
        )
        page.goto(server.base)
        rows = page.get_by_role("table").get_by_role("row")
        expect(rows.nth(3)).to_be_visible()
        assert rows.count() < 60
        watch = watched(page)
        page.get_by_label("Filter connections").fill("0777")
        expect(rows).to_have_count(2)
        assert busy(watch) < MOST_BUSY, "filtering takes long"


def test_a_long_log_is_smooth(browser: Browser, server: Site, connection: dict[str, Any]) -> None:
    """As many lines as the server gives at once, made up; the page keeps the lines in view in the document."""
    job = server.post("/v1/jobs", {"connectionId": connection["connectionId"], "jobType": "sync"})["jobId"]
    lines = [
        {"at": "2026-01-01T00:00:00+00:00", "level": "INFO", "message": f"line {i}", "job": job, "attempt": 1}
        for i in range(100_000)
    ]
    body = json.dumps({"lines": lines})
    with opened(browser, server, f"/jobs/{job}") as page:
        expect(page.get_by_text("Succeeded").first).to_be_visible()
        page.route("**/logs?*", lambda route: route.fulfill(body=body, content_type="application/json"))
        page.reload()
        log = page.get_by_role("log")
        expect(log.get_by_text("line 0", exact=True)).to_be_visible()
        assert log.locator(".log-line").count() < 150
        page.get_by_label("Stay at the end").check()
        expect(log.get_by_text("line 99999", exact=True)).to_be_visible()


def test_the_page_is_typed_by_what_the_server_says_now(tmp_path: Path) -> None:
    """The compiler holds the page against types made anew from the documents: ``make ui-types`` if it fails."""
    for name in ("src", "tsconfig.json", "package.json", "node_modules"):
        (tmp_path / name).symlink_to(UI / name)
    (tmp_path / "src").unlink()
    subprocess.run(["cp", "-r", str(UI / "src"), str(tmp_path / "src")], check=True)
    subprocess.run([sys.executable, str(UI / "api_types.py"), str(tmp_path / "src/api")], check=True)
    command = ["node", "node_modules/typescript/bin/tsc", "--noEmit"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
