"""Server, attempts and the store's database killed at random while connections run on a short schedule: every due run
accounted for, none doubled, none hanging, and both ends equal.

``SYNCLINE_FIRE_SECONDS`` (default 60; the long form is 600) and ``SYNCLINE_FIRE_PERIOD`` (seconds between the runs of a
connection, default 20; the long form is 60) scale it. The figures are printed at the end.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
from tests.faults.server_process import ACTIVE, ServerProcess, running_server, until

from syncline.core.errors import SynclineError
from syncline.store import attempts, jobs
from syncline.store.database import open_database
from syncline.store.job_values import Attempt, Job, JobFilter
from syncline.store.paging import Page
from syncline.testing.postgres_server import PostgresServer, start_postgres

pytestmark = pytest.mark.faults

SECONDS = float(os.environ.get("SYNCLINE_FIRE_SECONDS", "60"))
PERIOD = int(os.environ.get("SYNCLINE_FIRE_PERIOD", "20"))
CONNECTIONS = 20
SEED = int(os.environ.get("SYNCLINE_FIRE_SEED", "20261121"))


@contextmanager
def store_server() -> Iterator[PostgresServer]:
    """A server for the store alone: it is killed, and the ends of the connections are not."""
    with start_postgres() as started:
        yield started


@pytest.mark.parametrize("store", ["sqlite", "postgres"])
def test_under_fire(tmp_path: Path, postgres_server: PostgresServer, store: str) -> None:
    chance = random.Random(SEED)
    database = postgres_server.create_database()
    tally: Counter[str] = Counter()
    _make_tables(postgres_server.dsn(database))
    home = tmp_path / "home"
    with ExitStack() as stack:
        url, keeper = f"sqlite:///{home / 'syncline.db'}", None
        environment = {"SYNCLINE_SLOTS": "4"}
        if store == "postgres":
            keeper = stack.enter_context(store_server())
            p = keeper.params(keeper.create_database("store"))
            url = f"postgresql://{p['user']}:{p['password']}@{p['host']}:{p['port']}/store"
            environment |= {"SYNCLINE_DATABASE_URL": url, "SYNCLINE_SECRET_KEY": "00" * 32}
        server = stack.enter_context(running_server(home, environment))
        connections = [_connect(server, postgres_server, database, n) for n in range(CONNECTIONS)]
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            time.sleep(chance.uniform(0.2, 3.0))
            _change(postgres_server.dsn(database), chance)
            if keeper is not None and chance.random() < 0.25:
                _kill_store(keeper, server, chance, tally)
            else:
                _fire(server, chance, tally)
        for connection in connections:
            server.call("PATCH", f"/v1/connections/{connection}", {"schedule": {"scheduleType": "manual"}})
        until(lambda: not _active(server), 180)
        for connection in connections:
            job = server.trigger(connection)
            assert server.wait(job) == "succeeded", (connection, server.detail(job))
        for n in range(CONNECTIONS):
            assert _content(postgres_server.dsn(database), f"s{n}") == _content(postgres_server.dsn(database), f"d{n}")
        _check_jobs(home, url, connections, tally)
    postgres_server.drop_database(database)
    print(f"\nserver on {store} under fire for {SECONDS:g} s: {dict(tally)}")


def _kill_store(keeper: PostgresServer, server: ServerProcess, chance: random.Random, tally: Counter[str]) -> None:
    """The store's database crashes, and sometimes an attempt or the server with it; then it recovers from its log."""
    keeper.stop("immediate")
    tally["stores killed"] += 1
    alive, with_it = server.attempts_alive(), chance.random()
    if alive and with_it < 0.3:
        _kill(chance.choice(alive)[0], tally)
    elif with_it > 0.7:
        server.kill()
        tally["servers killed"] += 1
    time.sleep(chance.choice([0, 0.5, 3.0]))
    keeper.start()
    if with_it > 0.7:
        server.start()


def _make_tables(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        for n in range(CONNECTIONS):
            connection.execute(f"CREATE SCHEMA s{n}")
            connection.execute(
                f"CREATE TABLE s{n}.t (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text,"
                " updated_at timestamptz NOT NULL DEFAULT clock_timestamp())"
            )
            connection.execute(f"INSERT INTO s{n}.t (v) SELECT 'v' || g FROM generate_series(1, 300) g")


def _connect(server: ServerProcess, postgres: PostgresServer, database: str, n: int) -> str:
    """Half of them copy everything, half what is new; their times are spread over the period."""
    mode = {"syncMode": "full_refresh_overwrite"}
    if n % 2:
        mode = {
            "syncMode": "incremental_deduped_history",
            "cursorField": ["updated_at"],  # type: ignore[dict-item]
            "primaryKey": [["id"]],  # type: ignore[dict-item]
        }
    return server.connection(
        server.source(postgres, database, f"s{n}"),
        server.destination(postgres, database, f"d{n}"),
        configurations={"streams": [{"name": "t", **mode}]},
        schedule={"scheduleType": "cron", "cronExpression": f"{_second(n)} * * * * ?"},
    )


def _second(n: int) -> str:
    return f"{n % PERIOD}/{PERIOD}" if PERIOD < 60 else str(3 * n % 60)


def _change(dsn: str, chance: random.Random) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        for n in chance.sample(range(CONNECTIONS), 5):
            connection.execute(f"INSERT INTO s{n}.t (v) VALUES ('new')")
            connection.execute(
                f"UPDATE s{n}.t SET v = v || '!', updated_at = clock_timestamp() WHERE id = %s",
                (chance.randint(1, 300),),
            )


def _fire(server: ServerProcess, chance: random.Random, tally: Counter[str]) -> None:
    alive = server.attempts_alive()
    if chance.random() < 0.35:
        server.kill()
        tally["servers killed"] += 1
        if alive and chance.random() < 0.5:
            _kill(chance.choice(alive)[0], tally)
        time.sleep(chance.choice([0, 0, 0.3, 2.0]))
        server.start()
    elif alive:
        _kill(chance.choice(alive)[0], tally)


def _kill(pid: int, tally: Counter[str]) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    tally["attempts killed"] += 1


def _active(server: ServerProcess) -> bool:
    found = [server.call("GET", f"/v1/jobs?status={status}")["data"] for status in ACTIVE]
    return any(found)


def _content(dsn: str, schema: str) -> Counter[tuple[object, ...]]:
    with psycopg.connect(dsn) as connection:
        return Counter(connection.execute(f"SELECT id, v, updated_at FROM {schema}.t").fetchall())


def _check_jobs(home: Path, url: str, connections: list[str], tally: Counter[str]) -> None:
    store = open_database(url)
    try:
        with store.read() as tx:
            found = list(jobs.jobs_listed(tx, JobFilter(descending=False), Page(limit=None)).items)
            tries = attempts.of_jobs(tx, [job.id for job in found])
    except SynclineError as error:
        raise AssertionError(str(error)) from error
    finally:
        store.close()
    assert [job.id for job in found if job.status.active] == []
    for connection in connections:
        mine = [job for job in found if job.connection_id == UUID(connection)]
        _check_due(mine, tally)
        _check_apart(home, mine, tries)
    tally["jobs"] = len(found)
    tally["attempts"] = sum(len(each) for each in tries.values())
    tally.update(f"jobs {job.status.value}" for job in found)


def _check_due(mine: list[Job], tally: Counter[str]) -> None:
    """The due times of one connection's jobs follow each other without a gap and without coming twice."""
    expected: datetime | None = None
    for job in mine:
        if job.due is None:
            continue
        assert expected is None or job.due.first == expected, (job.id, job.due, expected)
        assert job.due.last == job.due.first + (job.due.count - 1) * timedelta(seconds=PERIOD)
        expected = job.due.last + timedelta(seconds=PERIOD)
        tally["due times"] += job.due.count
    assert expected is not None


def _check_apart(home: Path, mine: list[Job], tries: dict[int, list[Attempt]]) -> None:
    """By what the attempts themselves wrote: no two of one connection were at work at the same time."""
    spans = []
    for job in mine:
        for attempt in tries[job.id]:
            journal = home / "jobs" / f"{job.id}-{job.sync_id}" / str(attempt.number) / "journal.jsonl"
            if not journal.exists():
                continue  # killed before it began
            lines = [
                json.loads(line) for line in journal.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")
            ]
            times = sorted(str(line["at"]) for line in lines if "at" in line)
            if times:
                spans.append((times[0], times[-1], job.id, attempt.number))
    spans.sort()
    for one, following in itertools.pairwise(spans):
        assert one[1] <= following[0], (one, following)
