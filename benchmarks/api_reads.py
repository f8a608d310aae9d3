"""Reads over HTTP: ``python benchmarks/api_reads.py`` asks a server with 10,000 jobs for 200 reads a second, says how
long each took, then pages through all jobs.

The server is ``syncline server`` on SQLite with authentication, as a user starts it. The load is open: a request is
due at its time whether the former has been answered or not, and its latency counts from then. Client and server share
the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil

from syncline.store.database import open_database
from syncline.store.job_tables import attempts, jobs

JOBS = 10_000
CONNECTIONS = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=int, default=200, help="reads a second")
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="syncline-bench-") as folder:
        process, first, ready = start(Path(folder))
        try:
            time.sleep(2)
            idle = psutil.Process(process.pid).memory_info().rss / 2**20
            with httpx.Client(base_url=first["base"], timeout=30) as client:
                body = {"client_id": first["client_id"], "client_secret": first["client_secret"]}
                token = client.post("/v1/applications/token", json=body).json()["access_token"]
                client.headers["Authorization"] = f"Bearer {token}"
                connections = fill(client, first["workspace_id"], Path(folder))
                requests = reads(connections, first["workspace_id"], token)
                before = sum(psutil.Process(process.pid).cpu_times()[:2])
                latencies, statuses = asyncio.run(
                    load(first["base"], requests, options.rate, options.seconds, connections=32)
                )
                cpu = sum(psutil.Process(process.pid).cpu_times()[:2]) - before
                pages = page_through(client, first["workspace_id"])
        finally:
            process.terminate()
            process.wait()
    latencies.sort()
    print(f"ready in {ready:.2f} s, idle RSS {idle:.0f} MiB")
    print(
        f"{len(latencies)} reads at {options.rate}/s, statuses {statuses}, "
        f"server CPU {cpu / options.seconds:.0%} of a core"
    )
    for name, part in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0)):
        print(f"  {name} {1000 * latencies[min(len(latencies) - 1, int(part * len(latencies)))]:.1f} ms")
    pages.sort()
    print(
        f"{len(pages)} pages of 100 of {JOBS} jobs: p50 {1000 * pages[len(pages) // 2]:.1f} ms, "
        f"slowest {1000 * pages[-1]:.1f} ms"
    )


def start(folder: Path) -> tuple[subprocess.Popen[bytes], dict[str, str], float]:
    log = folder / "log"
    environment = {**os.environ, "SYNCLINE_HOME": str(folder / "home"), "SYNCLINE_AUTH": "required"}
    command = [sys.executable, "-m", "syncline", "server", "--port", "0"]
    began = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    while "client secret" not in (text := log.read_text(encoding="utf-8")):
        if process.poll() is not None:
            raise RuntimeError(text)
        time.sleep(0.01)
    ready = time.monotonic() - began
    shown = {
        "base": r"listens on (\S+)",
        "workspace_id": r"workspace +(\S+)",
        "client_id": r"client id +(\S+)",
        "client_secret": r"client secret +(\S+)",
    }
    return process, {name: re.findall(pattern, text)[0] for name, pattern in shown.items()}, ready


def fill(client: httpx.Client, workspace: str, folder: Path) -> list[str]:
    """Connections over the API, their jobs straight into the store: nobody waits for 10,000 syncs."""
    about = {"name": "x", "workspaceId": workspace}
    source = {"sourceType": "postgres", "host": "db.invalid", "port": 5432, "database": "d", "username": "u"}
    destination = {"destinationType": "duckdb", "destination_path": "/nowhere/x.duckdb"}
    from_ = client.post("/v1/sources", json={**about, "configuration": {**source, "password": "p"}}).json()["sourceId"]
    to = client.post("/v1/destinations", json={**about, "configuration": destination}).json()["destinationId"]
    body = {"sourceId": from_, "destinationId": to, "configurations": {"streams": [{"name": "orders"}]}}
    found = [str(client.post("/v1/connections", json=body).json()["connectionId"]) for _ in range(CONNECTIONS)]
    database = open_database(f"sqlite:///{folder / 'home' / 'syncline.db'}")
    began = datetime.now(UTC) - timedelta(days=10)
    rows = []
    for number in range(JOBS):
        at = began + timedelta(seconds=60 * number)
        rows.append(
            {
                "type": "sync",
                "status": "succeeded",
                "connection_id": uuid.UUID(found[number % CONNECTIONS]),
                "workspace_id": uuid.UUID(workspace),
                "source_id": uuid.UUID(from_),
                "destination_id": uuid.UUID(to),
                "cause": "schedule",
                "caller": "system",
                "priority": 0,
                "sync_id": uuid.uuid4().hex,
                "retain": False,
                "due_count": 1,
                "created_at": at,
                "updated_at": at + timedelta(seconds=42),
                "started_at": at,
                "ended_at": at + timedelta(seconds=42),
                "attempts": 1,
                "failures": 0,
                "rows_synced": 1000,
                "bytes_synced": 100_000,
            }
        )
    with database.write() as transaction:
        transaction.execute(jobs.insert(), rows)
        numbers = [row.id for row in transaction.execute(jobs.select().with_only_columns(jobs.c.id))]
        tries = [
            {
                "job_id": number,
                "number": 1,
                "status": "succeeded",
                "host": "bench",
                "journal_offset": 0,
                "created_at": began,
                "updated_at": began,
                "ended_at": began,
                "committed": True,
                "rows_read": 1000,
                "rows_written": 1000,
                "bytes_read": 100_000,
            }
            for number in numbers
        ]
        transaction.execute(attempts.insert(), tries)
    database.close()
    return found


def reads(connections: list[str], workspace: str, token: str) -> list[bytes]:
    """What orchestrators ask: a job's status most of all."""
    found = []
    for number in range(200):
        connection = connections[number % len(connections)]
        job = 1 + number * 37 % JOBS
        found += [
            _request("GET", f"/api/public/v1/jobs/{job}", token),
            _request("POST", "/api/v1/jobs/get", token, {"id": job}),
            _request("GET", f"/v1/jobs?connectionId={connection}&limit=20", token),
            _request("GET", f"/v1/connections/{connection}", token),
            _request("GET", f"/v1/connections?workspaceIds={workspace}&limit=20", token),
            _request("GET", f"/v1/workspaces/{workspace}", token),
        ]
    return found


def _request(method: str, path: str, token: str, body: object = None) -> bytes:
    content = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n"
    if body is not None:
        head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n"
    return head.encode() + b"\r\n" + content


async def load(
    base: str, requests: list[bytes], rate: int, seconds: float, connections: int
) -> tuple[list[float], dict[int, int]]:
    """Latencies in seconds, and how often each status came."""
    place = urlsplit(base)
    due: asyncio.Queue[tuple[float, bytes] | None] = asyncio.Queue()
    latencies: list[float] = []
    statuses: dict[int, int] = {}

    async def work() -> None:
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        while (item := await due.get()) is not None:
            at, request = item
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(re.search(rb"content-length: (\d+)", head.lower())[1])  # type: ignore[index]
            await reader.readexactly(length)
            latencies.append(time.monotonic() - at)
            status = int(head.split()[1])
            statuses[status] = statuses.get(status, 0) + 1
        writer.close()

    workers = [asyncio.create_task(work()) for _ in range(connections)]
    began = time.monotonic()
    for number in range(int(rate * seconds)):
        at = began + number / rate
        await asyncio.sleep(max(0.0, at - time.monotonic()))
        due.put_nowait((at, requests[number % len(requests)]))
    for _ in workers:
        due.put_nowait(None)
    await asyncio.gather(*workers)
    return latencies, statuses


def page_through(client: httpx.Client, workspace: str) -> list[float]:
    """Seconds per page, over all pages."""
    found, offset = [], 0
    while True:
        began = time.monotonic()
        page = client.get("/v1/jobs", params={"workspaceIds": workspace, "limit": 100, "offset": offset}).json()
        found.append(time.monotonic() - began)
        if not page["next"]:
            return found
        offset += 100


if __name__ == "__main__":
    main()
