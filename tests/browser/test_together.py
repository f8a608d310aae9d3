"""A connection with several destinations: each is seen with its own state, and leads to the others."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from playwright.sync_api import Browser, expect
from tests.browser.site import Site, expect_success, opened

pytestmark = pytest.mark.browser


def test_destinations_of_one_reading_are_shown_together(
    browser: Browser, server: Site, shop: dict[str, Any], tmp_path: Path
) -> None:
    name = f"fan-{tmp_path.name}"
    config = {key: value for key, value in shop.items() if key != "sourceType"}
    file = tmp_path / "project.yaml"
    targets = {each: {"type": "duckdb", "config": {"path": f"{tmp_path}/{each}.duckdb"}} for each in ("near", "far")}
    connection = {"source": "shop", "destinations": ["near", "far"], "mode": "full_refresh", "streams": ["customers"]}
    sources = {"shop": {"type": "postgres", "config": config}}
    file.write_text(yaml.safe_dump({"sources": sources, "destinations": targets, "connections": {name: connection}}))
    command = [sys.executable, "-m", "syncline", "apply", str(file), "--yes", "--server", server.base]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    with opened(browser, server, f"/?q={name}") as page:
        expect(page.get_by_text(f"read together as {name}")).to_have_count(2)
        page.get_by_role("link", name=f"{name}/near", exact=True).click()
        together = page.get_by_role("region", name=re.compile("One reading for 2 destinations"))
        near, far = together.get_by_role("row", name=re.compile("^near")), together.get_by_role("row", name="far")
        expect(near).to_contain_text("Never ran")
        page.get_by_role("button", name="Sync now").click()
        expect_success(page)
        expect(near).to_contain_text("Fresh")
        # The other one's state is its own, and so are its runs.
        expect(far).to_contain_text("Never ran")
        expect(far).to_contain_text("none yet")
        far.get_by_role("link", name="far", exact=True).click()
        expect(page.get_by_role("heading", level=1)).to_contain_text(f"{name}/far")
        expect(page.get_by_text("It never ran")).to_be_visible()
        page.get_by_role("button", name="Pause").click()
        expect(far).to_contain_text("Paused")
        expect(near).to_contain_text("Fresh")
