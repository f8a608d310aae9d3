"""Take the pictures of the user guide, ``docs/ui/*.png``: every page in light and dark, the way from nothing to rows
step by step, and what a phone shows.

    .venv/bin/python ui/pictures.py [folder] [page ...]

Starts a Postgres, a server and Chromium of its own and makes what is to be seen (``pictured.py``); takes some minutes.
Look at the pictures before they are committed.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from pictured import World, world
from playwright.sync_api import Browser, Page, sync_playwright
from small_png import made_small

#: Name of the picture -> address; what is in braces is one of the world's names.
PAGES = {
    "home": "/",
    "connection": "/connections/{connection}",
    "streams": "/connections/{connection}/streams",
    "mappings": "/connections/{connection}/mappings",
    "schema": "/connections/{connection}/schema",
    "changes": "/connections/{connection}/changes",
    "quality": "/connections/{connection}/quality",
    "quarantine": "/connections/{connection}/quarantine",
    "state": "/connections/{connection}/state",
    "settings": "/connections/{connection}/settings",
    "jobs": "/jobs",
    "job": "/jobs/{job}",
    "failed-job": "/jobs/{failed}",
    "sources": "/sources",
    "source": "/sources/{source}",
    "destinations": "/destinations",
    "destination": "/destinations/{destination}",
    "connectors": "/connectors",
    "cdc": "/cdc",
    "alerts": "/alerts?show=all",
    "alert-channels": "/alerts/channels",
    "alert-rules": "/alerts/rules",
    "access": "/access",
    "users": "/access/users",
    "audit": "/audit",
    "workspace": "/settings",
}
ON_A_PHONE = ("home", "connection", "job", "cdc", "alerts")
#: What is pressed first, as a selector.
PRESSED = {"mappings": "text=Show rows before and after", "quarantine": "main table button"}
SIZE: dict[str, Any] = {"viewport": {"width": 1280, "height": 800}, "reduced_motion": "reduce"}
PHONE: Any = {"width": 390, "height": 844}
#: Milliseconds.
PATIENCE = 120_000


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/ui")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="shop-") as place, sync_playwright() as playwright:
        options: dict[str, Any] = {
            "executable_path": shutil.which("chromium"),
            "args": ["--no-sandbox", "--disable-gpu"],
        }
        browser = playwright.chromium.launch(**options)
        with world(Path(place)) as seen:
            sign_in(browser, seen, folder)
            set_up(browser, seen, folder)
            seen.fill()
            for name in PAGES:
                if sys.argv[2:] and name not in sys.argv[2:]:
                    continue
                take_page(browser, seen, name, folder)
        browser.close()


def take_page(browser: Browser, seen: World, name: str, folder: Path) -> None:
    """In light, in dark, and some as a phone shows them."""
    page = window(browser, seen)
    page.goto(seen.site.base + PAGES[name].format(**seen.names))
    settle(page)
    if name in PRESSED and page.locator(PRESSED[name]).count():
        page.locator(PRESSED[name]).first.click()
        settle(page)
    in_both_colours(page, folder, name)
    if name in ON_A_PHONE:
        page.emulate_media(color_scheme="light")
        page.set_viewport_size(PHONE)
        page.wait_for_timeout(1000)
        take(page, folder / f"{name}-phone.png")
    page.context.close()


def in_both_colours(page: Page, folder: Path, name: str) -> None:
    take(page, folder / f"{name}.png")
    page.emulate_media(color_scheme="dark")
    page.wait_for_timeout(700)
    take(page, folder / f"{name}-dark.png")


def sign_in(browser: Browser, seen: World, folder: Path) -> None:
    """What whoever is not known sees."""
    page = browser.new_context(**SIZE).new_page()
    page.goto(seen.site.base)
    page.get_by_role("button", name="Sign in").wait_for(timeout=PATIENCE)
    in_both_colours(page, folder, "sign-in")
    page.context.close()


def set_up(browser: Browser, seen: World, folder: Path) -> None:
    """A newcomer's way, a picture of each step; leaves the connection's id in the world's names."""
    page = window(browser, seen)

    def step(name: str) -> None:
        settle(page)
        take(page, folder / f"setup-{name}.png")

    page.goto(seen.site.base)
    step("0-empty")
    page.get_by_role("link", name="Set up the first connection").click()
    page.get_by_role("heading", name="Set up a connection").wait_for()
    step("1-connector")
    page.get_by_role("button", name="Postgres").click()
    page.get_by_role("textbox", name="Name", exact=True).fill("Shop database")
    for label, key in {"Host": "host", "Port": "port", "Database": "database", "Username": "username"}.items():
        page.get_by_label(label, exact=True).fill(str(seen.source[key]))
    page.get_by_label("Password", exact=True).fill("not this one")
    page.get_by_role("button", name="Test and save").click()
    page.get_by_role("main").get_by_role("alert").first.wait_for()
    step("2-refused")
    page.get_by_label("Password", exact=True).fill(seen.source["password"])
    page.get_by_role("button", name="Test and save").click()
    page.get_by_text("3 of 3 streams chosen").wait_for()
    page.get_by_role("button", name="Columns of customers").click()
    step("3-streams")
    page.get_by_role("button", name="Next").click()
    page.get_by_role("button", name="DuckDB").click()
    page.get_by_role("textbox", name="Name", exact=True).fill("Analytics")
    page.get_by_label("Destination path").fill(str(seen.folder / "analytics.duckdb"))
    step("4-destination")
    page.get_by_role("button", name="Test and save").click()
    page.get_by_role("heading", name="When should it run?").wait_for()
    step("5-schedule")
    page.get_by_role("button", name="Next").click()
    page.get_by_role("button", name="Create it and start the first sync").wait_for()
    step("6-review")
    page.get_by_role("button", name="Create it and start the first sync").click()
    page.wait_for_url(re.compile(r"/connections/[0-9a-f-]{36}$"))
    page.get_by_role("row", name=re.compile(r"^#\d+ Succeeded")).first.wait_for()
    step("7-first-sync")
    seen.names["connection"] = page.url.rsplit("/", 1)[1]
    page.context.close()


def window(browser: Browser, seen: World) -> Page:
    """Somebody's who has signed in as an admin."""
    context = browser.new_context(**SIZE)
    context.add_init_script(f"sessionStorage.setItem('syncline.token', '{seen.token()}')")
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    return page


def settle(page: Page) -> None:
    """Until what was asked for is there, and asks for nothing more: both ends are asked on some pages."""
    page.get_by_role("heading", level=1).wait_for()
    said = page.locator("main [role=status]").filter(has_text=re.compile("^(Load|Read|Ask|Look)"))
    waiting = said.or_(page.locator("main [role=status][aria-label]"))
    page.wait_for_timeout(1500)
    while waiting.count():
        waiting.first.wait_for(state="detached")
        page.wait_for_timeout(1200)


def take(page: Page, file: Path) -> None:
    file.write_bytes(made_small(page.screenshot()))
    print(file, flush=True)


if __name__ == "__main__":
    main()
