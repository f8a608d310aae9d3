"""A real server in a process of its own, called over HTTP as anybody would, and killed as nobody should."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from syncline.jobs.attempt_folder import process_start
from syncline.testing.postgres_server import PostgresServer

ACTIVE = ("pending", "running", "incomplete")
PATIENCE = 120.0
FAST = {"SYNCLINE_RETRY_SECONDS": "0.3", "SYNCLINE_RETRY_CEILING_SECONDS": "1"}


def until(what: Callable[[], Any], seconds: float = PATIENCE, pause: float = 0.1) -> Any:
    """What ``what`` gives as soon as that is true."""
    deadline = time.monotonic() + seconds
    while True:
        found = what()
        if found:
            return found
        assert time.monotonic() < deadline, f"{what} did not come true within {seconds} s"
        time.sleep(pause)


class ServerProcess:
    """``syncline server`` on a free port that stays the same over restarts."""

    def __init__(self, home: Path, environment: Mapping[str, str] | None = None) -> None:
        self.home = home
        self.port = 0
        self.log = home.parent / f"{home.name}.log"
        self._environment = {**os.environ, **FAST, **(environment or {}), "SYNCLINE_HOME": str(home)}
        self._process: subprocess.Popen[bytes] | None = None
        self.first: dict[str, str] = {}

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start and wait until it answers."""
        offset = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "syncline", "server", "--port", str(self.port)],
                stdout=log,
                stderr=log,
                env=self._environment,
            )

        def listening() -> re.Match[str] | None:
            assert self._process is not None
            text = self.log.read_bytes()[offset:].decode(errors="replace")
            assert self._process.poll() is None, text
            return re.search(r"listens on http://[^:]+:(\d+)", text)

        self.port = int(until(listening, pause=0.02).group(1))

    def kill(self) -> None:
        """As ``kill -9``."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def stop(self) -> int:
        """As an administrator would; returns the exit code."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(timeout=60)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """A call that must succeed; a server that is just being restarted is waited for."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return self.ask(method, path, body)
            except (urllib.error.URLError, ConnectionError, TimeoutError) as error:
                if isinstance(error, urllib.error.HTTPError):
                    raise AssertionError(f"{method} {path}: {error.code} {error.read()!r}") from error
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """A call that may fail."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            data = answer.read()
        return json.loads(data) if data else None

    # Nouns.

    def workspace(self) -> str:
        return str(self.call("GET", "/v1/workspaces")["data"][0]["workspaceId"])

    def source(self, server: PostgresServer, database: str, schema: str, **more: Any) -> str:
        configuration = {"sourceType": "postgres", "schemas": [schema], **_postgres(server, database), **more}
        body = {"name": schema, "workspaceId": self.workspace(), "configuration": configuration}
        return str(self.call("POST", "/v1/sources", body)["sourceId"])

    def destination(self, server: PostgresServer, database: str, schema: str) -> str:
        configuration = {"destinationType": "postgres", "schema": schema, **_postgres(server, database)}
        body = {"name": schema, "workspaceId": self.workspace(), "configuration": configuration}
        return str(self.call("POST", "/v1/destinations", body)["destinationId"])

    def connection(self, source: str, destination: str, **more: Any) -> str:
        body = {"sourceId": source, "destinationId": destination, **more}
        return str(self.call("POST", "/v1/connections", body)["connectionId"])

    # Jobs.

    def trigger(self, connection: str, kind: str = "sync") -> int:
        return int(self.call("POST", "/v1/jobs", {"connectionId": connection, "jobType": kind})["jobId"])

    def job(self, number: int) -> Any:
        return self.call("GET", f"/v1/jobs/{number}")

    def detail(self, number: int) -> Any:
        return self.call("POST", "/api/v1/jobs/get", {"id": number})

    def wait(self, number: int, seconds: float = PATIENCE) -> str:
        """How the job ended."""
        return str(until(lambda: (s := self.job(number)["status"]) not in ACTIVE and s, seconds))

    def events(self, number: int) -> list[str]:
        found = self.call("GET", f"/api/syncline/v1/events?jobId={number}&limit=1000")["events"]
        return [event["kind"] for event in found]

    def attempts_alive(self) -> list[tuple[int, Path]]:
        """Processes of attempts that run now, whichever server started them, and their folders."""
        found = []
        for path in self.home.glob("jobs/*/*/process"):
            try:
                pid, started = path.read_text().split(" ")[:2]
            except FileNotFoundError:
                continue
            if process_start(int(pid)) == started:
                found.append((int(pid), path.parent))
        return found


def _postgres(server: PostgresServer, database: str) -> dict[str, Any]:
    p = server.params(database)
    return {
        "host": p["host"],
        "port": int(p["port"]),
        "database": database,
        "username": p["user"],
        "password": p["password"],
    }


@contextmanager
def running_server(home: Path, environment: Mapping[str, str] | None = None) -> Iterator[ServerProcess]:
    """A started server; it and every attempt are gone afterwards."""
    home.mkdir(exist_ok=True)
    server = ServerProcess(home, environment)
    server.start()
    try:
        yield server
    finally:
        assert server._process is not None
        if server._process.poll() is None:
            server.kill()
        for pid, _ in server.attempts_alive():
            os.killpg(pid, signal.SIGKILL)
