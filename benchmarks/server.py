"""The server's figures: ready, memory, idle processor time, trigger to first row, a thousand schedules, long lists.

    python benchmarks/server.py            # all, some two minutes
    python benchmarks/server.py ready list # these

Besides wall times, which a busy machine stretches, it gives processor times. The bounds are those of the project.
"""

from __future__ import annotations

import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import psycopg

from syncline.store import actors, connections, jobs, workspaces
from syncline.store.database import Database, open_database
from syncline.store.job_values import JobFilter, JobStatus, JobType, NewJob
from syncline.store.schema import new_id, now
from syncline.store.values import Actor, Schedule, StoredConnection
from syncline.testing.postgres_server import PostgresServer, start_postgres


@dataclass
class Running:
    """A started server."""

    process: subprocess.Popen[str]
    base: str
    ready_seconds: float
    ready_cpu: float

    def call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.base + path, method=method, data=data, headers={"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read() or b"null")

    def processes(self) -> list[psutil.Process]:
        own = psutil.Process(self.process.pid)
        return [own, *own.children(recursive=True)]

    def cpu(self) -> float:
        return sum(sum(p.cpu_times()[:2]) for p in self.processes())


@contextmanager
def server(home: Path, **environment: str) -> Iterator[Running]:
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "syncline", "server", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "SYNCLINE_HOME": str(home), **environment},
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    ready = time.monotonic() - began
    found = re.search(r"http://\S+", line)
    assert found is not None, line
    cpu = sum(psutil.Process(process.pid).cpu_times()[:2])
    try:
        yield Running(process, found.group(), ready, cpu)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        process.stdout.close()


def say(name: str, figure: str, bound: str = "") -> None:
    print(f"{name:<44} {figure:<34} {bound}", flush=True)


def bench_ready(folder: Path) -> None:
    times, cpus = [], []
    for _ in range(4):
        with server(folder / "ready") as running:
            times.append(running.ready_seconds)
            cpus.append(running.ready_cpu)
    say("ready, first start (store made)", f"{times[0]:.2f} s, {cpus[0]:.2f} s processor", "<= 3 s")
    say("ready, later", f"{min(times[1:]):.2f} s, {min(cpus[1:]):.2f} s processor", "<= 3 s")


def bench_idle(folder: Path) -> None:
    with server(folder / "idle") as running:
        time.sleep(5)
        before = running.cpu()
        time.sleep(10)
        used = (running.cpu() - before) / 10
        memory = [p.memory_info().rss / 1e6 for p in running.processes()]
        say("idle: memory (RSS)", f"{sum(memory):.0f} MB in {len(memory)} process", "<= 200 MB")
        say("idle: processor", f"{100 * used:.1f} % of a core", "< 5 %")


def bench_trigger(folder: Path) -> None:
    with start_postgres() as postgres, server(folder / "trigger") as running:
        names = [postgres.create_database() for _ in range(2)]
        with psycopg.connect(postgres.dsn(names[0]), autocommit=True) as source:
            source.execute("CREATE TABLE t (id int PRIMARY KEY, v text)")
            source.execute("INSERT INTO t SELECT g, 'x' FROM generate_series(1, 1000) g")
        connection = _connect(running, postgres, names)
        found = []
        with psycopg.connect(postgres.dsn(names[1]), autocommit=True) as destination:
            for n in range(8):
                destination.execute("DROP TABLE IF EXISTS public.t")
                began = time.monotonic()
                job = running.call("POST", "/v1/jobs", {"connectionId": connection, "jobType": "sync"})["jobId"]
                while not _has_rows(destination):
                    time.sleep(0.005)
                found.append(time.monotonic() - began)
                while running.call("GET", f"/v1/jobs/{job}")["status"] in ("pending", "running", "incomplete"):
                    time.sleep(0.02)
                running.call("POST", "/v1/jobs", {"connectionId": connection, "jobType": "clear"})
                while running.call("GET", f"/v1/jobs?connectionId={connection}&limit=1")["data"][0]["status"] in (
                    "pending",
                    "running",
                    "incomplete",
                ):
                    time.sleep(0.02)
                if n == 0:
                    time.sleep(5)  # the nursery comes up
        say("trigger to first row, first (new interpreter)", f"{found[0]:.2f} s", "<= 1.5 s")
        say("trigger to first row, then (fork)", f"{statistics.median(found[1:]):.2f} s (median of 7)", "<= 1.5 s")


def _has_rows(connection: psycopg.Connection[Any]) -> bool:
    try:
        row = connection.execute("SELECT EXISTS (SELECT FROM public.t)").fetchone()
    except psycopg.errors.UndefinedTable:
        return False
    return bool(row and row[0])


def _connect(running: Running, postgres: PostgresServer, names: list[str]) -> str:
    workspace = running.call("GET", "/v1/workspaces")["data"][0]["workspaceId"]
    ids = {}
    for role, name in zip(("source", "destination"), names, strict=True):
        p = postgres.params(name)
        configuration = {
            f"{role}Type": "postgres",
            "host": p["host"],
            "port": int(p["port"]),
            "database": name,
            "username": p["user"],
            "password": p["password"],
        }
        body = {"name": name, "workspaceId": workspace, "configuration": configuration}
        ids[f"{role}Id"] = running.call("POST", f"/v1/{role}s", body)[f"{role}Id"]
    return str(running.call("POST", "/v1/connections", ids)["connectionId"])


def _fill(database: Database, count: int, schedule: Schedule) -> list[StoredConnection]:
    """Connections whose ends are nowhere."""
    at = now()
    with database.write() as tx:
        organization = workspaces.add_organization(tx, name="o", email="a@b.c")
        workspace = workspaces.add(tx, organization_id=organization.id, name="w")
        source = Actor(
            id=new_id(),
            role="source",
            workspace_id=workspace.id,
            definition_id=new_id(),
            type_name="postgres",
            connector="postgres",
            name="nowhere",
            configuration={},
            created_at=at,
            updated_at=at,
        )
        destination = replace(source, id=new_id(), role="destination")
        actors.add(tx, source)
        actors.add(tx, destination)
        made = []
        for n in range(count):
            number = new_id()
            made.append(
                StoredConnection(
                    id=number,
                    key=str(number),
                    workspace_id=workspace.id,
                    source_id=source.id,
                    destination_id=destination.id,
                    name=f"c{n}",
                    schedule=schedule,
                    created_at=at,
                    updated_at=at,
                )
            )
            connections.add(tx, made[-1])
    return made


def bench_schedules(folder: Path) -> None:
    """A thousand connections due at the same second, with no slot free: what is measured is claiming."""
    home = folder / "schedules"
    home.mkdir()
    due = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=60)
    database = open_database(f"sqlite:///{home / 'syncline.db'}")
    _fill(database, 1000, Schedule(kind="cron", cron_expression=f"{due.second} {due.minute} {due.hour} * * ?"))
    with server(home, SYNCLINE_SLOTS="1", SYNCLINE_WARM="0") as running:
        time.sleep(8)
        before, began = running.cpu(), time.monotonic()
        time.sleep(20)
        used = (running.cpu() - before) / (time.monotonic() - began)
        say("1,000 schedules: processor while none is due", f"{100 * used:.1f} % of a core", "< 5 %")
        time.sleep(max(0.0, (due - datetime.now(UTC)).total_seconds() - 0.5))
        before = running.cpu()
        # When they can be seen by others, not what they say of themselves.
        at = {1: 0.0, 500: 0.0, 1000: 0.0}
        while not at[1000] and datetime.now(UTC) < due + timedelta(seconds=30):
            with database.read() as tx:
                count = jobs.count(tx, JobFilter())
            for wanted in [w for w, seen in at.items() if not seen and count >= w]:
                at[wanted] = (datetime.now(UTC) - due).total_seconds()
            time.sleep(0.05)
        say("1,000 due at once: processor until claimed", f"{running.cpu() - before:.2f} s")
    say("1,000 due at once: 1, 500, 1,000 claimed after", ", ".join(f"{t:.2f} s" for t in at.values()), "<= 2 s")
    database.close()


def bench_list(folder: Path) -> None:
    """Pages out of 10,000 jobs of 20 connections, over the API."""
    home = folder / "list"
    home.mkdir()
    database = open_database(f"sqlite:///{home / 'syncline.db'}")
    made = _fill(database, 20, Schedule())
    at = now() - timedelta(days=1)
    with database.write() as tx:
        for n in range(10_000):
            connection = made[n % 20]
            new = NewJob(
                connection_id=connection.id,
                workspace_id=connection.workspace_id,
                source_id=connection.source_id,
                destination_id=connection.destination_id,
                type=JobType.SYNC,
                cause="api",
                caller="bench",
                sync_id=f"{n:08}",
            )
            moment = at + timedelta(seconds=n)
            job = jobs.insert(tx, new, moment)
            assert job is not None
            started = jobs.start(tx, job, moment)
            assert started is not None
            jobs.settle(tx, started, JobStatus.SUCCEEDED, moment)
    database.close()
    with server(home) as running:
        for name, query in (
            ("first page", "limit=100"),
            ("last page", "limit=100&offset=9900"),
            ("of a connection", f"limit=100&connectionId={made[3].id}"),
            ("by update, of a status", "limit=100&orderBy=updatedAt|DESC&status=succeeded"),
        ):
            times, before = [], running.cpu()
            for _ in range(20):
                began = time.monotonic()
                assert len(running.call("GET", f"/v1/jobs?{query}")["data"]) == 100
                times.append(1000 * (time.monotonic() - began))
            cpu = 1000 * (running.cpu() - before) / 20
            figure = f"{statistics.median(times):.0f} ms (median of 20), {cpu:.0f} ms processor"
            say(f"100 of 10,000 jobs: {name}", figure, "<= 100 ms")


BENCHES: dict[str, Callable[[Path], None]] = {
    "ready": bench_ready,
    "idle": bench_idle,
    "trigger": bench_trigger,
    "schedules": bench_schedules,
    "list": bench_list,
}


def main() -> None:
    chosen = sys.argv[1:] or list(BENCHES)
    load = os.getloadavg()[0]
    print(f"load {load:.1f} on {os.cpu_count()} cores" + (": wall times mean little" if load > 1 else ""))
    with tempfile.TemporaryDirectory(prefix="syncline-bench-") as folder:
        for name in chosen:
            BENCHES[name](Path(folder))


if __name__ == "__main__":
    main()
