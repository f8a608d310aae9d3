"""What several destinations cost the source: ``python benchmarks/fan_out.py --rows 2000000 --changes 500000``.

The source's CPU (of the server's whole process tree, ended sessions included) for a first copy and for a stretch of
changes, once for one destination and once for three. The promise: three cost at most 1.1 times what one costs. Wall
time does not count here, so a busy machine only makes it slow. The client's CPU is printed besides.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

import psutil
import psycopg
import yaml
from measure import measure

from syncline.testing.postgres_server import PostgresServer, start_postgres

_DESTINATIONS = ("warehouse", "second", "lake")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--changes", type=int, default=500_000, help="rows updated, in transactions of 1,000")
    parser.add_argument("--rounds", type=int, default=3, help="the least of so many counts")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="syncline-fan-out-"))
    found: dict[int, list[tuple[float, float, float, float]]] = {1: [], 3: []}
    settings = {"wal_level": "logical", "shared_buffers": "512MB", "max_wal_size": "8GB", "autovacuum": "off"}
    try:
        with start_postgres(settings=settings) as server:
            for number in range(options.rounds):
                for count in (1, 3):
                    found[count].append(_round(server, folder / f"{number}-{count}", count, options))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    best = {count: [min(values) for values in zip(*runs, strict=True)] for count, runs in found.items()}
    for name, at in (("copy", 0), ("changes", 2)):
        one, three = best[1][at], best[3][at]
        clients = f"the client's: {best[1][at + 1]:.2f} s and {best[3][at + 1]:.2f} s"
        print(
            f"{name}: the source's CPU for one {one:.2f} s, for three {three:.2f} s: {three / one:.2f} times; {clients}"
        )


def _round(
    server: PostgresServer, folder: Path, count: int, options: argparse.Namespace
) -> tuple[float, float, float, float]:
    """CPU seconds of the source and of the command, for the copy and for the changes."""
    folder.mkdir(parents=True)
    database = server.create_database()
    with psycopg.connect(server.dsn(database), autocommit=True) as session:
        session.execute("CREATE TABLE items (id bigint PRIMARY KEY, account int, amount numeric(12,2), note text)")
        session.execute(
            "INSERT INTO items SELECT g, g %% 1000, g / 7.0, 'a note of some length ' || g "
            "FROM generate_series(1, %s::bigint) g",
            [options.rows],
        )
        session.execute("VACUUM (ANALYZE, FREEZE) items")
        session.execute("CHECKPOINT")
    project = folder / "shop.yaml"
    project.write_text(yaml.safe_dump(_project(server, database, folder, count)), encoding="utf-8")
    command = [sys.executable, "-m", "syncline", "sync", str(project)]
    environment = {"SYNCLINE_HOME": str(folder / "home")}

    before = _cpu(server)
    copy = measure(command, folder / "copy.log", environment)
    copied = _cpu(server)
    with psycopg.connect(server.dsn(database), autocommit=True) as session:
        for first in range(0, options.changes, 1000):
            session.execute("UPDATE items SET amount = amount + 1 WHERE id > %s AND id <= %s", [first, first + 1000])
        session.execute("CHECKPOINT")
    changed = _cpu(server)
    changes = measure(command, folder / "changes.log", environment)
    applied = _cpu(server)
    forget = [sys.executable, "-m", "syncline", "forget", str(project)]
    measure(forget, folder / "forget.log", environment)
    return copied - before, copy.cpu, applied - changed, changes.cpu


def _project(server: PostgresServer, database: str, folder: Path, count: int) -> dict[str, object]:
    params = server.params(database)
    source = {
        "host": params["host"],
        "port": params["port"],
        "database": database,
        "username": params["user"],
        "password": params["password"],
        "replication_method": {"method": "CDC"},
    }
    destinations = {
        "warehouse": {"type": "duckdb", "config": {"path": str(folder / "warehouse.duckdb")}},
        "second": {"type": "duckdb", "config": {"path": str(folder / "second.duckdb")}},
        "lake": {"type": "local", "config": {"path": str(folder / "lake"), "format": {"file_type": "Parquet"}}},
    }
    to: dict[str, object] = {"destinations": list(_DESTINATIONS)} if count == 3 else {"destination": "warehouse"}
    return {
        "sources": {"shop": {"type": "postgres", "config": source}},
        "destinations": destinations,
        "connections": {"shop": {"source": "shop", "mode": "incremental", **to}},
    }


def _cpu(server: PostgresServer) -> float:
    """Seconds of the whole server: sessions that have ended are in the postmaster's account of its children."""
    postmaster = psutil.Process(server.pid)
    times = postmaster.cpu_times()
    total = times.user + times.system + times.children_user + times.children_system
    for child in postmaster.children():
        try:
            each = child.cpu_times()
            total += each.user + each.system
        except psutil.NoSuchProcess:  # it has ended just now, and will be counted the next time
            continue
    return float(total)


if __name__ == "__main__":
    main()
