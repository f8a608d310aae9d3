"""From a failing connection to a message at a real webhook and in a real mailbox, and the numbers for Prometheus."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiosmtpd.controller import Controller
from tests.integration.api.conftest import made
from tests.integration.api.server_process import server_process

OWN = "/api/syncline/v1"


@contextmanager
def webhook(*, status: int = 200, hang: float = 0.0) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server that keeps what it is sent; gives its channel URL."""
    taken: list[dict[str, Any]] = []
    statuses = [status]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            time.sleep(hang)
            self.send_response(statuses[0])
            self.end_headers()
            if statuses[0] < 300:
                taken.append(json.loads(body))
            statuses[0] = 200  # refused once

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"json://127.0.0.1:{server.server_port}/hook-s3cret", taken
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Mailbox:
    def __init__(self) -> None:
        self.mails: list[Any] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        self.mails.append(message_from_bytes(envelope.content))
        return "250 OK"


@pytest.fixture
def mailbox() -> Iterator[tuple[str, list[Any]]]:
    box = Mailbox()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    controller = Controller(box, hostname="127.0.0.1", port=port, ready_timeout=60)
    controller.start()
    try:
        yield f"mailto://127.0.0.1:{port}/?from=syncline@example.com&to=ops@example.com", box.mails
    finally:
        controller.stop()


def wait(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    until = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.2)
    return found


@pytest.mark.slow
def test_a_failure_reaches_people_and_so_does_its_end(tmp_path: Path, mailbox: tuple[str, list[Any]]) -> None:
    data = tmp_path / "in.csv"
    with (
        webhook(status=500) as (hook, taken),
        server_process(tmp_path, SYNCLINE_AUTH="none") as server,
        httpx.Client(base_url=server["base"], timeout=30) as client,
    ):
        workspace = server["workspace_id"]
        channels = f"{OWN}/workspaces/{workspace}/alert_channels"
        bad = client.post(channels, json={"url": "no channel at all"})
        assert bad.status_code == 422 and "apprise" in bad.text, bad.text
        first = made(client, channels, {"name": "ops", "url": hook})
        made(client, channels, {"name": "mail", "url": mailbox[0]})
        assert first["kind"] == "json"
        assert "hook-s3cret" not in client.get(channels).text
        # Refused by the other side, which is named without the URL.
        tried = client.post(f"{OWN}/alert_channels/{first['channelId']}/test")
        assert tried.status_code >= 400 and "did not take the message" in tried.text
        assert "s3cret" not in tried.text
        assert client.post(f"{OWN}/alert_channels/{first['channelId']}/test").status_code == 204
        assert "test of ops" in taken.pop()["title"]

        connection = _connection(client, workspace, data, tmp_path)
        client.post("/v1/jobs", json={"connectionId": connection, "jobType": "sync"})
        told = wait(lambda: taken)[0]
        assert told["type"] == "failure"
        assert "failure" in told["title"] and "Next: " in told["message"]
        assert f"{server['base']}/connections/{connection}" in told["message"]
        (mail,) = wait(lambda: mailbox[1])
        assert mail["To"] == "ops@example.com"
        listed = client.get(f"{OWN}/alerts", params={"open": "true"}).json()["alerts"]
        assert [(a["rule"], a["connectionId"]) for a in listed] == [("failure", connection)]

        data.write_text("id,name\n1,a\n2,b\n", encoding="utf-8")
        client.post("/v1/jobs", json={"connectionId": connection, "jobType": "sync"})
        over = wait(lambda: taken[1:])[0]
        assert over["type"] == "success" and "resolved" in over["title"]
        wait(lambda: len(mailbox[1]) == 2)
        assert client.get(f"{OWN}/alerts", params={"open": "true"}).json()["alerts"] == []
        history = client.get(f"{OWN}/workspaces/{workspace}/alerts/{listed[0]['alertId']}/messages").json()
        assert [(m["telling"], m["status"]) for m in history["messages"]] == [
            ("opened", "sent"),
            ("opened", "sent"),
            ("resolved", "sent"),
            ("resolved", "sent"),
        ]

        text = client.get("/metrics").text
        assert 'pipeline_runs_total{pipeline="numbers",status="failed"} 1.0' in text
        assert 'pipeline_runs_total{pipeline="numbers",status="succeeded"} 1.0' in text
        assert 'syncline_rows_written_total{connection="numbers",stream="in"} 2.0' in text
        assert 'syncline_attempts_total{connection="numbers",kind="config",status="failed"} 1.0' in text


@pytest.mark.slow
def test_a_channel_that_hangs_delays_nobody(tmp_path: Path) -> None:
    data = tmp_path / "in.csv"
    with (
        webhook(hang=60) as (stuck, _),
        server_process(tmp_path, SYNCLINE_AUTH="none") as server,
        httpx.Client(base_url=server["base"], timeout=30) as client,
    ):
        workspace = server["workspace_id"]
        made(client, f"{OWN}/workspaces/{workspace}/alert_channels", {"name": "stuck", "url": stuck})
        connection = _connection(client, workspace, data, tmp_path)
        client.post("/v1/jobs", json={"connectionId": connection, "jobType": "sync"})
        wait(lambda: client.get(f"{OWN}/alerts").json()["alerts"])
        data.write_text("id,name\n1,a\n", encoding="utf-8")
        began = time.monotonic()
        job = made(client, "/v1/jobs", {"connectionId": connection, "jobType": "sync"})["jobId"]
        wait(lambda: client.get(f"/v1/jobs/{job}").json()["status"] == "succeeded", 30)
        assert time.monotonic() - began < 30


def _connection(client: httpx.Client, workspace: str, data: Path, folder: Path) -> str:
    about = {"name": "numbers", "workspaceId": workspace}
    streams = [{"name": "in", "globs": [data.name], "format": {"filetype": "csv"}}]
    source = {"sourceType": "files", "path": str(data.parent), "streams": streams}
    target = {"destinationType": "duckdb", "destination_path": str(folder / "out.duckdb")}
    source_id = made(client, "/v1/sources", {**about, "configuration": source})["sourceId"]
    destination_id = made(client, "/v1/destinations", {**about, "configuration": target})["destinationId"]
    body = {"name": "numbers", "sourceId": source_id, "destinationId": destination_id}
    return str(made(client, "/v1/connections", body)["connectionId"])
