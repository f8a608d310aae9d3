"""From commit to visible, Postgres to Postgres on loopback: ``python benchmarks/follow.py --rate 200 --seconds 30``.

pgbench commits single-row transactions at a fixed rate, each with the source's clock in it; ``syncline sync --follow``
applies them; a poller asks the destination what is new and compares with the clock. One machine, so one clock. The
floor is the same transactions sent by a bare psycopg loop that reads the log and inserts (see performance notes).
Needs pgbench on the PATH or beside the server.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psycopg
import yaml

from syncline.testing.postgres_server import PostgresServer, find_tls_bindir, start_postgres

_SCRIPT = """
INSERT INTO ticks (account, amount, note, at)
VALUES (floor(random() * 1000)::int, random(), 'a note of some length', clock_timestamp());
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=int, default=200, help="transactions a second")
    parser.add_argument("--rows", type=int, default=1, help="rows of one transaction")
    parser.add_argument("--seconds", type=int, default=30)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="syncline-bench-"))
    bindir = find_tls_bindir()
    settings = {
        "wal_level": "logical",
        "synchronous_commit": "on",
        "shared_buffers": "512MB",
        "max_wal_size": "4GB",
        "checkpoint_timeout": "1h",
    }
    try:
        with start_postgres(bindir=bindir, settings=settings) as server:
            _run(server, folder, options.rate, options.rows, options.seconds)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(server: PostgresServer, folder: Path, rate: int, rows: int, seconds: int) -> None:
    source, sink = server.create_database("bench_source"), server.create_database("bench_sink")
    with psycopg.connect(server.dsn(source), autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE ticks (id bigserial PRIMARY KEY, account int, amount float8, note text, at timestamptz)"
        )
    project = folder / "follow.yaml"
    project.write_text(yaml.safe_dump(_project(server, source, sink)), encoding="utf-8")
    environment = {**os.environ, "SYNCLINE_HOME": str(folder / "home")}
    command = [sys.executable, "-m", "syncline", "sync", str(project)]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    follower = subprocess.Popen([*command, "--follow"], env=environment, stdout=subprocess.DEVNULL)
    try:
        time.sleep(3)
        taken = _measure(server, source, sink, folder, rate, rows, seconds)
    finally:
        follower.send_signal(signal.SIGTERM)
        follower.wait(timeout=120)
    taken.sort()
    count = len(taken)
    p50, p99 = taken[count // 2] * 1000, taken[count * 99 // 100] * 1000
    print(
        f"{rate} transactions/s of {rows} rows, {count} seen: p50 {p50:.1f} ms, p99 {p99:.1f} ms, "
        f"max {taken[-1] * 1000:.1f} ms"
    )


def _measure(
    server: PostgresServer, source: str, sink: str, folder: Path, rate: int, rows: int, seconds: int
) -> list[float]:
    script = folder / "ticks.sql"
    script.write_text("BEGIN;" + _SCRIPT * rows + "COMMIT;" if rows > 1 else _SCRIPT, encoding="utf-8")
    params = server.params(source)
    pgbench = shutil.which("pgbench") or str(Path(str(find_tls_bindir())) / "pgbench")
    writer = subprocess.Popen(
        [pgbench, "-n", "-c", "2", "-j", "1", "-R", str(rate), "-T", str(seconds), "-f", str(script)],
        env={
            **os.environ,
            "PGHOST": params["host"],
            "PGPORT": str(params["port"]),
            "PGUSER": params["user"],
            "PGPASSWORD": str(params["password"]),
            "PGDATABASE": source,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    taken: list[float] = []
    last = 0
    with psycopg.connect(server.dsn(sink), autocommit=True) as reader:
        quiet = time.monotonic()
        while writer.poll() is None or time.monotonic() - quiet < 2:
            found = reader.execute(
                "SELECT id, extract(epoch FROM at)::float8 FROM ticks WHERE id > %s ORDER BY id", (last,)
            ).fetchall()
            now = time.time()
            if found:
                last = found[-1][0]
                taken += [now - at for _, at in found]
                quiet = time.monotonic()
            time.sleep(0.0005)
    with psycopg.connect(server.dsn(source)) as connection:
        row = connection.execute("SELECT count(*) FROM ticks").fetchone()
    assert row is not None
    with psycopg.connect(server.dsn(sink)) as connection:
        copied = connection.execute("SELECT count(*) FROM ticks").fetchone()
    # Of two rows that were committed against the order of their ids the poller sees one.
    if copied != row:
        raise RuntimeError(f"{row[0]} rows at the source, {copied} at the destination")
    return taken


def _project(server: PostgresServer, source: str, sink: str) -> dict[str, object]:
    params = server.params(source)
    common = {
        "host": params["host"],
        "port": int(params["port"]),
        "username": params["user"],
        "password": params["password"],
    }
    return {
        "source": {"type": "postgres", "config": {**common, "database": source, "replication_method": "CDC"}},
        "destination": {"type": "postgres", "config": {**common, "database": sink}},
        "sync": {"mode": "incremental_deduped_history"},
    }


if __name__ == "__main__":
    main()
