"""Take the pictures of the user guide from a running server: ``docs/ui/*.png``.

    .venv/bin/python ui/pictures.py http://127.0.0.1:8000 [folder] [page ...]

Shows the first connection that succeeded, its last job, a source, and every other page, in light colours; some in dark
ones, some on a phone. What has rows in quarantine, mappings and alerts makes better pictures. Look at them before they
are committed.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import sync_playwright

#: What is pressed first, as a selector.
PRESSED = {
    "mappings": "text=Show rows before and after",
    "quarantine": "main table button",
}


def places(base: str) -> dict[str, tuple[str, dict[str, Any]]]:
    """Name of the picture -> address, and how the browser is set."""
    glances = httpx.get(f"{base}/api/syncline/v1/overview", timeout=30).json()["connections"]
    shown = next(each for each in glances if each["health"] == "fresh" and each.get("dataFrom"))
    failed = next((each for each in glances if each["health"] == "failing"), shown)
    connection, job = f"/connections/{shown['connectionId']}", f"/jobs/{shown['recent'][0]['jobId']}"
    dark: dict[str, Any] = {"color_scheme": "dark"}
    phone: dict[str, Any] = {"viewport": {"width": 390, "height": 844}}
    return {
        "home": ("/", {}),
        "home-dark": ("/", dark),
        "home-phone": ("/", phone),
        "connection": (connection, {}),
        "streams": (f"{connection}/streams", {}),
        "mappings": (f"{connection}/mappings", {}),
        "schema": (f"{connection}/schema", {}),
        "changes": (f"{connection}/changes", {}),
        "quality": (f"{connection}/quality", {}),
        "quarantine": (f"{connection}/quarantine", {}),
        "settings": (f"{connection}/settings", {}),
        "job": (job, {}),
        "failed-job-dark": (f"/jobs/{failed['recent'][0]['jobId']}", dark),
        "setup": ("/setup", {}),
        "source": (f"/sources/{failed['source']['id']}", {}),
        "connectors": ("/connectors", {}),
        "cdc": ("/cdc", {}),
        "alerts": ("/alerts?show=all", {}),
        "alert-rules-dark": ("/alerts/rules", dark),
        "quality-phone": (f"{connection}/quality", phone),
        "audit-dark": ("/audit", dark),
    }


def main() -> None:
    base, folder = sys.argv[1], Path(sys.argv[2] if len(sys.argv) > 2 else "docs/ui")
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name, (path, options) in places(base).items():
            if sys.argv[3:] and name not in sys.argv[3:]:
                continue
            page = browser.new_page(**{"viewport": {"width": 1280, "height": 800}, **options})
            page.goto(base + path)
            # Both ends are asked on some of them, which takes its time.
            page.wait_for_timeout(3000)
            page.locator("main [role=status][aria-label^=Load]").first.wait_for(state="detached", timeout=90_000)
            if name in PRESSED and page.locator(PRESSED[name]).count():
                page.locator(PRESSED[name]).first.click()
                page.wait_for_timeout(1000)
                page.locator("main [role=status][aria-label^=Reading]").first.wait_for(state="detached", timeout=90_000)
            page.wait_for_timeout(1000)
            page.screenshot(path=folder / f"{name}.png")
            page.close()
        browser.close()


if __name__ == "__main__":
    main()
