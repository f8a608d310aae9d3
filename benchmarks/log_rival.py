"""Catching up with one log, beside Debezium's engine: ``python benchmarks/log_rival.py`` (needs Java 17 and Maven).

One source, two slots at the same place, one log of pgbench's transactions with six row changes each. Syncline is the
whole command ``syncline sync`` into Postgres, exactly once; Debezium's engine (``benchmarks/debezium``, built once by
Maven) first only counts its events, then writes them to Postgres as well as can be done by hand: reduced by key,
multi-row upserts, one transaction a batch. Its own sink is a plugin of Kafka Connect and was not to be had as a
library. Both destinations are compared with the source before a figure is printed. Every process is started anew, so
that each figure has its start-up in it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import psycopg
import yaml
from measure import Measurement, measure
from project import log_project

from syncline.testing.postgres_server import PostgresServer, find_tls_bindir, start_postgres

_RIVAL = Path(__file__).resolve().parent / "debezium"
_TABLES = """
CREATE TABLE account (id int PRIMARY KEY, branch int, balance numeric(15,2), changed timestamptz, note text);
CREATE TABLE entry (id bigint PRIMARY KEY, account int, amount numeric(15,2), at timestamptz, text text);
"""
_ACCOUNTS = """
INSERT INTO account
SELECT g, g % 100, g, timestamptz '2026-01-01', 'a note of usual length' FROM generate_series(1, 100000) g
"""
_SCRIPT = """
\\set a random(1, 100000)
\\set b random(1, 100000)
BEGIN;
UPDATE account SET balance = balance - 1.25, changed = now() WHERE id = :a;
UPDATE account SET balance = balance + 1.25, changed = now() WHERE id = :b;
INSERT INTO entry (id, account, amount, at, text) VALUES (nextval('entries'), :a, -1.25, now(), 'from here'),
    (nextval('entries'), :b, 1.25, now(), 'to there'), (nextval('entries'), :a, 0, now(), 'fee');
UPDATE account SET branch = branch + 1 WHERE id = :a;
COMMIT;
"""
_CHANGES = 6
_SUMS = (
    "SELECT count(*), sum(hashtextextended(concat_ws('|', id, branch, balance, changed, note), 0)) FROM account",
    "SELECT count(*), sum(hashtextextended(concat_ws('|', id, account, amount, at, text), 0)) FROM entry",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--transactions", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--built", type=Path, help="a folder with Maven's target of benchmarks/debezium")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="syncline-bench-"))
    settings: dict[str, str | int] = {
        "wal_level": "logical",
        "shared_buffers": "1GB",
        "max_wal_size": "8GB",
        "checkpoint_timeout": "1h",
    }
    try:
        built = options.built or _build(folder)
        with start_postgres(bindir=find_tls_bindir(), settings=settings) as server:
            for number in range(options.rounds):
                _round(server, folder / str(number), built, options.transactions)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _build(folder: Path) -> Path:
    if shutil.which("mvn") is None:
        raise SystemExit("Maven is needed to bring Debezium: put mvn and a JDK 17 on the PATH")
    place = folder / "debezium"
    shutil.copytree(_RIVAL, place, ignore=shutil.ignore_patterns("target"))
    goals = ["compile", "dependency:copy-dependencies", f"-DoutputDirectory={place / 'target/lib'}"]
    subprocess.run(["mvn", "-q", "-B", *goals], cwd=place, check=True)
    return place / "target"


def _round(server: PostgresServer, folder: Path, built: Path, transactions: int) -> None:
    folder.mkdir()
    source, ours, theirs = (server.create_database() for _ in range(3))
    for database in (source, theirs):
        with psycopg.connect(server.dsn(database), autocommit=True) as session:
            session.execute(_TABLES.encode())
            session.execute(_ACCOUNTS)
    project = folder / "ours.yaml"
    project.write_text(yaml.safe_dump(log_project(server, source, ours)), encoding="utf-8")
    command = [sys.executable, "-m", "syncline", "sync", str(project)]
    home = {"SYNCLINE_HOME": str(folder / "home")}
    subprocess.run(command, env={**os.environ, **home}, check=True, capture_output=True)
    with psycopg.connect(server.dsn(source), autocommit=True) as session:
        session.execute("CREATE SEQUENCE entries; CREATE PUBLICATION rival FOR TABLE account, entry")
        for slot in ("rival_counts", "rival_writes"):
            session.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", (slot,))
    _write(server, source, folder, transactions)
    changes = transactions * _CHANGES
    found: dict[str, Measurement] = {"syncline sync, into Postgres": measure(command, folder / "ours.log", home)}
    for name, slot, target in (
        ("Debezium's engine, events counted", "rival_counts", None),
        ("Debezium's engine, into Postgres by hand", "rival_writes", theirs),
    ):
        rival = _rival(server, folder, built, source, slot, changes, target)
        found[name] = measure(rival, folder / f"{slot}.log")
    wanted = _sums(server, source)
    for name, database in (("ours", ours), ("theirs", theirs)):
        if (sums := _sums(server, database)) != wanted:
            raise SystemExit(f"{name} is not equal to the source: {sums} for {wanted}")
    print(f"{changes:,} row changes in {transactions:,} transactions; both destinations equal to the source")
    print("| what | s | x | CPU s of the client per million | RSS MiB |\n|---|---|---|---|---|")
    first = next(iter(found.values())).seconds
    for name, taken in found.items():
        used = taken.cpu / changes * 1e6
        print(f"| {name} | {taken.seconds:.1f} | {taken.seconds / first:.2f} | {used:.1f} | {taken.rss:.0f} |")


def _write(server: PostgresServer, source: str, folder: Path, transactions: int) -> None:
    script = folder / "script.sql"
    script.write_text(_SCRIPT, encoding="utf-8")
    pgbench = shutil.which("pgbench") or str(Path(str(find_tls_bindir())) / "pgbench")
    command = [pgbench, "-n", "-f", str(script), "-c", "4", "-t", str(transactions // 4), server.dsn(source)]
    subprocess.run(command, check=True, capture_output=True)


def _rival(
    server: PostgresServer, folder: Path, built: Path, source: str, slot: str, changes: int, target: str | None
) -> list[str]:
    params = server.params(source)
    properties = {
        "name": slot,
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "database.hostname": params["host"],
        "database.port": params["port"],
        "database.user": params["user"],
        "database.password": params["password"],
        "database.dbname": source,
        "topic.prefix": "bench",
        "plugin.name": "pgoutput",
        "slot.name": slot,
        "publication.name": "rival",
        "publication.autocreate.mode": "disabled",
        "snapshot.mode": "no_data",
        "tombstones.on.delete": "false",
        "offset.storage": "org.apache.kafka.connect.storage.FileOffsetBackingStore",
        "offset.storage.file.filename": folder / f"{slot}.offsets",
        "offset.flush.interval.ms": "1000",
        # Its defaults are 2048 and 8192; more is faster.
        "max.batch.size": "8192",
        "max.queue.size": "32768",
        "poll.interval.ms": "10",
    }
    path = folder / f"{slot}.properties"
    path.write_text("".join(f"{key}={value}\n" for key, value in properties.items()), encoding="utf-8")
    command = ["java", "-Xmx1g", "-cp", f"{built / 'classes'}:{built / 'lib'}/*", "bench.Rival", str(path)]
    command.append(str(changes))
    if target is not None:
        address = f"jdbc:postgresql://{params['host']}:{params['port']}/{target}"
        login = f"user={params['user']}&password={params['password']}&reWriteBatchedInserts=true"
        command.append(f"{address}?{login}")
    return command


def _sums(server: PostgresServer, database: str) -> list[tuple[object, ...]]:
    with psycopg.connect(server.dsn(database)) as session:
        session.execute("SET timezone TO 'UTC'")
        return [row for text in _SUMS for row in session.execute(text.encode()).fetchall()]


if __name__ == "__main__":
    main()
