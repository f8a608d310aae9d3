"""The page in a real browser, against ``syncline server`` as a user starts it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import Browser, ConsoleMessage, Page, expect

__all__ = ["PASSWORD", "PATIENCE", "Site", "chromium", "expect_success", "opened", "site"]

PASSWORD = "correct horse battery"
#: Milliseconds: the machine that runs these may be busy.
PATIENCE = 120_000
#: A start takes some seconds of processor time, which may be a minute or more of a machine that others use too.
START_SECONDS = 400.0


def chromium() -> str | None:
    """Debian's Chromium, or whatever goes by its name."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


@dataclass(kw_only=True)
class Site:
    """A server process on a port that it keeps over restarts."""

    folder: Path
    auth: str
    port: int
    process: subprocess.Popen[bytes] | None = None
    workspace: str = ""
    client: httpx.Client = field(default_factory=httpx.Client)

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        log = self.folder / "server.log"
        settings = {
            "SYNCLINE_HOME": str(self.folder / "home"),
            "SYNCLINE_ADMIN_PASSWORD": PASSWORD,
            "SYNCLINE_AUTH": self.auth,
            "PYTHONUNBUFFERED": "1",
        }
        command = [sys.executable, "-m", "syncline", "server", "--port", str(self.port)]
        with log.open("ab") as output:
            self.process = subprocess.Popen(command, env={**os.environ, **settings}, stdout=output, stderr=output)
        until = time.monotonic() + START_SECONDS
        while True:
            try:
                if httpx.get(f"{self.base}/health", timeout=60).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            assert self.process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.1)

    def stop(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(300)

    def post(self, path: str, body: Any) -> dict[str, Any]:
        answer = self.client.post(path, json=body)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


@contextmanager
def site(folder: Path, auth: str = "none") -> Iterator[Site]:
    """A server with an empty store; as an admin, its ``client`` may do everything."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder.mkdir(parents=True, exist_ok=True)
    running = Site(folder=folder, auth=auth, port=port)
    try:
        running.start()
        login = {"email": "admin@localhost", "password": PASSWORD}
        token = httpx.post(f"{running.base}/api/syncline/v1/login", json=login, timeout=120).json().get("access_token")
        headers = {"Authorization": f"Bearer {token}"} if auth == "required" else {}
        with httpx.Client(base_url=running.base, headers=headers, timeout=300) as client:
            running.client = client
            running.workspace = client.get("/v1/workspaces").json()["data"][0]["workspaceId"]
            yield running
    finally:
        running.stop()


@contextmanager
def opened(browser: Browser, running: Site, path: str = "/", **options: Any) -> Iterator[Page]:
    """A window of its own. What the page complains of fails the test, but for a server that is away or refuses."""
    complaints: list[str] = []

    def listen(message: ConsoleMessage) -> None:
        if message.type == "error" and not re.search(r"Failed to load resource|ERR_CONNECTION", message.text):
            complaints.append(message.text)

    options = {"viewport": {"width": 1280, "height": 900}, "reduced_motion": "reduce", **options}
    context = browser.new_context(**options)
    try:
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("console", listen)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(running.base + path)
        yield page
        assert complaints == []
    finally:
        context.close()


def expect_success(page: Page) -> None:
    """The table of jobs on the page shows one that has succeeded, and no other."""
    expect(page.get_by_role("row", name=re.compile(r"^#\d+ Succeeded"))).to_have_count(1)
