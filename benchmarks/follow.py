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
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import psycopg
import yaml
from project import log_project

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
    parser.add_argument("--soak", action="store_true", help="sample the lag once a second; fails when it grows")
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
            _run(server, folder, options.rate, options.rows, options.seconds, soak=options.soak)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(server: PostgresServer, folder: Path, rate: int, rows: int, seconds: int, *, soak: bool) -> None:
    source, sink = server.create_database("bench_source"), server.create_database("bench_sink")
    with psycopg.connect(server.dsn(source), autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE ticks (id bigserial PRIMARY KEY, account int, amount float8, note text, at timestamptz)"
        )
    project = folder / "follow.yaml"
    project.write_text(yaml.safe_dump(log_project(server, source, sink)), encoding="utf-8")
    environment = {**os.environ, "SYNCLINE_HOME": str(folder / "home")}
    command = [sys.executable, "-m", "syncline", "sync", str(project)]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    follower = subprocess.Popen([*command, "--follow"], env=environment, stdout=subprocess.DEVNULL)
    try:
        time.sleep(3)
        used = _cpu(follower.pid)
        measure = _soak if soak else _measure
        taken = measure(server, source, sink, folder, rate, rows, seconds)
        used = _cpu(follower.pid) - used
    finally:
        follower.send_signal(signal.SIGTERM)
        follower.wait(timeout=120)
    print(f"the follower used {used:.1f} s of CPU in {seconds} s")
    if soak:
        _tell_growth(taken, rate * rows)
        return
    taken.sort()
    count = len(taken)
    p50, p99 = taken[count // 2] * 1000, taken[count * 99 // 100] * 1000
    print(
        f"{rate} transactions/s of {rows} rows, {count} seen: p50 {p50:.1f} ms, p99 {p99:.1f} ms, "
        f"max {taken[-1] * 1000:.1f} ms"
    )


def _writer(
    server: PostgresServer, source: str, folder: Path, rate: int, rows: int, seconds: int
) -> subprocess.Popen[bytes]:
    script = folder / "ticks.sql"
    script.write_text("BEGIN;" + _SCRIPT * rows + "COMMIT;" if rows > 1 else _SCRIPT, encoding="utf-8")
    params = server.params(source)
    pgbench = shutil.which("pgbench") or str(Path(str(find_tls_bindir())) / "pgbench")
    return subprocess.Popen(
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


def _cpu(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def _soak(
    server: PostgresServer, source: str, sink: str, folder: Path, rate: int, rows: int, seconds: int
) -> list[float]:
    """The age of the newest row at the destination, once a second while the writer runs; 0 rows may be missing after
    it."""
    writer = _writer(server, source, folder, rate, rows, seconds)
    lags: list[float] = []
    newest = "SELECT extract(epoch FROM clock_timestamp() - at)::float8 FROM ticks ORDER BY id DESC LIMIT 1"
    with (
        psycopg.connect(server.dsn(sink), autocommit=True) as reader,
        psycopg.connect(server.dsn(source), autocommit=True) as origin,
    ):
        while writer.poll() is None:
            time.sleep(1)
            if (found := reader.execute(newest.encode()).fetchone()) is not None:
                lags.append(found[0])
            if len(lags) % 30 == 0 and lags:
                print(f"{len(lags)} s: lag of the last 30 s at most {max(lags[-30:]):.2f} s", flush=True)
        made = origin.execute("SELECT count(*) FROM ticks").fetchone()
        deadline = time.monotonic() + 120
        while reader.execute("SELECT count(*) FROM ticks").fetchone() != made:
            if time.monotonic() > deadline:
                raise RuntimeError("rows are missing two minutes after the last was written")
            time.sleep(1)
    assert made is not None
    print(f"{made[0]:,} rows made ({made[0] / seconds:,.0f} a second), all there")
    return lags


def _tell_growth(lags: list[float], rate: int) -> None:
    third = max(1, len(lags) // 3)
    first, last = statistics.median(lags[:third]), statistics.median(lags[-third:])
    print(
        f"{rate} changes/s asked for, {len(lags)} s: lag p50 {statistics.median(lags):.3f} s, max {max(lags):.2f} s; "
        f"median of the first third {first:.3f} s, of the last {last:.3f} s"
    )
    if last > 2 * first + 1:
        raise SystemExit("the lag grows")


def _measure(
    server: PostgresServer, source: str, sink: str, folder: Path, rate: int, rows: int, seconds: int
) -> list[float]:
    writer = _writer(server, source, folder, rate, rows, seconds)
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


if __name__ == "__main__":
    main()
