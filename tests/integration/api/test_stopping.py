"""A server that is asked to end does so, whatever it waits for."""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path

import httpx
import psutil
import pytest
from tests.integration.api.conftest import made
from tests.integration.api.server_process import server_process

pytestmark = pytest.mark.slow


def test_a_source_that_never_answers_does_not_hold_the_end(tmp_path: Path) -> None:
    """It is looked at in the background, by a request and by an attempt, all of which would wait for long."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        source = {
            "sourceType": "postgres",
            "host": "127.0.0.1",
            "port": silent.getsockname()[1],
            "database": "d",
            "username": "u",
            "password": "p",
        }
        with server_process(tmp_path, SYNCLINE_AUTH="none") as server, httpx.Client(base_url=server["base"]) as client:
            actor = {"name": "x", "workspaceId": server["workspace_id"]}
            from_ = made(client, "/v1/sources", {**actor, "configuration": source})["sourceId"]
            target = {"destinationType": "duckdb", "destination_path": str(tmp_path / "d.duckdb")}
            to = made(client, "/v1/destinations", {**actor, "configuration": target})["destinationId"]
            connection = made(client, "/v1/connections", {"sourceId": from_, "destinationId": to})["connectionId"]
            made(client, "/v1/jobs", {"connectionId": connection, "jobType": "sync"})
            looked = client.post("/api/v1/sources/check_connection", json={"sourceId": from_}, timeout=30)
            assert looked.status_code == 409  # it goes on
            (process,) = (each for each in psutil.Process().children() if "server" in each.cmdline())
            assert sum("probe" in " ".join(each.cmdline()) for each in process.children()) == 2
            began = time.monotonic()
            os.kill(process.pid, signal.SIGTERM)
            process.wait(60)
            # Three seconds for answers under way, and what a busy machine needs.
            assert time.monotonic() - began < 8
