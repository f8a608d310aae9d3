"""One transaction of many rows, followed: ``python benchmarks/large_transaction.py --rows 10000000``.

The source inserts all rows in one transaction; ``syncline sync --follow`` applies it into another database (or, with
``--into duckdb`` or ``local``, elsewhere). What the follower's whole process tree holds in memory is sampled from
before the transaction until it is durable; readers of a Postgres destination must see nothing of it or all of it.
Fails above ``--limit`` MiB.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import psycopg
import yaml

from syncline.testing.postgres_server import PostgresServer, find_tls_bindir, start_postgres

_TABLE = "CREATE TABLE entry (id bigint PRIMARY KEY, account int, amount numeric(15,2), at timestamptz, note text)"
_FILL = """
INSERT INTO entry
SELECT g, g % 1000, g / 100.0, timestamptz '2026-01-01' + g * interval '1 second', 'a note of usual length'
FROM generate_series({}::bigint, {}::bigint) g
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--into", choices=("postgres", "duckdb", "local"), default="postgres")
    parser.add_argument("--limit", type=int, default=512, help="MiB of resident memory")
    parser.add_argument("--minutes", type=float, default=15, help="after which it is given up")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="syncline-bench-"))
    settings: dict[str, str | int] = {
        "wal_level": "logical",
        "shared_buffers": "512MB",
        "max_wal_size": "8GB",
        "checkpoint_timeout": "1h",
    }
    try:
        with start_postgres(bindir=find_tls_bindir(), settings=settings) as server:
            peak = _run(server, folder, options.rows, options.into, options.minutes * 60)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if peak > options.limit:
        raise SystemExit(f"{peak:.0f} MiB is more than {options.limit}")


def _run(server: PostgresServer, folder: Path, rows: int, into: str, patience: float) -> float:
    source, sink = server.create_database("bench_source"), server.create_database("bench_sink")
    with psycopg.connect(server.dsn(source), autocommit=True) as session:
        session.execute(_TABLE)
        session.execute(_FILL.format(1, 1).encode())
    project = folder / "large.yaml"
    project.write_text(yaml.safe_dump(_project(server, source, sink, folder, into)), encoding="utf-8")
    environment = {**os.environ, "SYNCLINE_HOME": str(folder / "home")}
    command = [sys.executable, "-m", "syncline", "sync", str(project)]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    log = (folder / "log.txt").open("wb")
    follower = subprocess.Popen([*command, "--follow"], env=environment, stdout=log, stderr=log)
    memory = _Memory(follower.pid)
    memory.start()
    try:
        time.sleep(5)
        idle, used = memory.peak, memory.cpu()
        with psycopg.connect(server.dsn(source), autocommit=True) as session:
            began = time.monotonic()
            session.execute(_FILL.format(2, rows + 1).encode())
            committed = time.monotonic()
            seen = _wait(session, server.dsn(sink) if into == "postgres" else None, follower, rows + 1, patience)
        took = time.monotonic() - committed
        used = memory.cpu() - used
    except BaseException:
        print((folder / "log.txt").read_text(errors="replace")[-3000:], file=sys.stderr)
        raise
    finally:
        memory.end.set()
        if follower.poll() is None:
            follower.send_signal(signal.SIGTERM)
            follower.wait(timeout=120)
        log.close()
    print(
        f"{rows:,} rows in one transaction into {into}: written in {committed - began:.1f} s, there {took:.1f} s after "
        f"its commit, follower's CPU {used:.1f} s; memory idle {idle:.0f} MiB, at most {memory.peak:.0f} MiB; {seen}"
    )
    return memory.peak


def _wait(
    session: psycopg.Connection, sink: str | None, follower: subprocess.Popen[bytes], rows: int, patience: float
) -> str:
    """Until the source has been told that the transaction is durable. What readers of the destination saw meanwhile."""
    row = session.execute("SELECT pg_current_wal_insert_lsn()").fetchone()
    assert row is not None
    counts: set[int] = set()
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if follower.poll() is not None:
            raise RuntimeError(f"the follower ended with {follower.returncode}")
        # The slot's position moves only past what is behind it.
        session.execute("SELECT pg_logical_emit_message(true, 'bench', '')")
        done = session.execute("SELECT bool_and(confirmed_flush_lsn >= %s) FROM pg_replication_slots", row).fetchone()
        if sink is not None:
            with psycopg.connect(sink) as reader:
                found = reader.execute("SELECT count(*) FROM entry WHERE id > 1").fetchone()
                assert found is not None
                counts.add(found[0])
        if done is not None and done[0]:
            if sink is None:
                return "its readers were not asked"
            if counts != {rows - 1} and counts != {0, rows - 1}:
                raise RuntimeError(f"readers saw {sorted(counts)} rows of a transaction of {rows - 1}")
            return "readers saw nothing of it or all of it"
        time.sleep(1)
    raise RuntimeError(f"not there after {patience:.0f} s")


class _Memory(threading.Thread):
    """Samples the resident memory of a process tree every 20 ms: ``peak``, in MiB."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._process = psutil.Process(pid)
        self.end = threading.Event()
        self.peak = 0.0

    def run(self) -> None:
        while not self.end.wait(0.02):
            try:
                tree = [self._process, *self._process.children(recursive=True)]
                self.peak = max(self.peak, sum(each.memory_info().rss for each in tree) / 2**20)
            except psutil.Error:
                continue

    def cpu(self) -> float:
        times = self._process.cpu_times()
        return times.user + times.system


def _project(server: PostgresServer, source: str, sink: str, folder: Path, into: str) -> dict[str, Any]:
    params = server.params(source)
    common = {
        "host": params["host"],
        "port": int(params["port"]),
        "username": params["user"],
        "password": params["password"],
    }
    destinations: dict[str, dict[str, Any]] = {
        "postgres": {**common, "database": sink},
        "duckdb": {"path": str(folder / "sink.duckdb")},
        "local": {"path": str(folder / "sink")},
    }
    return {
        "source": {"type": "postgres", "config": {**common, "database": source, "replication_method": "CDC"}},
        "destination": {"type": into, "config": destinations[into]},
        "sync": {"mode": "incremental_append" if into == "local" else "incremental_deduped_history"},
    }


if __name__ == "__main__":
    main()
