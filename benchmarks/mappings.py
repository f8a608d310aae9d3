"""What a hash and a rename cost: ``python benchmarks/mappings.py`` copies lineitem to Parquet without and with them,
turn about, and compares CPU seconds and peak memory. The hashes are compared with Postgres's own afterwards.

``--column`` is hashed (default ``l_partkey``: 200,000 different numbers in 6M rows; ``l_comment`` is a text, different
in each row). ``--keyed`` takes an HMAC. ``--steps`` measures other steps, as JSON."""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import yaml
from data import fill
from measure import Measurement, measure

from syncline.testing.postgres_server import PostgresServer, find_tls_bindir, start_postgres

_LIMIT = 0.15


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=6_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--column", default="l_partkey")
    parser.add_argument("--keyed", action="store_true")
    parser.add_argument("--steps", type=json.loads, default=None)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="syncline-bench-"))
    step: dict[str, Any] = {"hash": [options.column]} | ({"key": "${env:BENCH_KEY}"} if options.keyed else {})
    block = {
        "from": "lineitem",
        "steps": options.steps or [step],
        "field_mappings": {"l_linenumber": "line"},
    }
    try:
        with start_postgres(bindir=find_tls_bindir(), settings={"max_wal_size": "8GB"}) as server:
            database = server.create_database()
            fill(server, database, lineitem=options.rows, wide=0)
            taken: dict[str, list[Measurement]] = {"plain": [], "mapped": []}
            for _ in range(options.rounds):
                for name, mappings in (("plain", []), ("mapped", [block])):
                    shutil.rmtree(folder / name, ignore_errors=True)
                    project = _project(folder / f"{name}.yaml", server, database, folder / name, mappings)
                    command = [sys.executable, "-m", "syncline", "sync", str(project)]
                    home = {"SYNCLINE_HOME": str(folder / "home"), "BENCH_KEY": "secret"}
                    taken[name].append(measure(command, folder / "log.txt", home))
                    last = taken[name][-1]
                    print(f"{name}: {last.cpu:.2f} CPU s, {last.seconds:.1f} s, {last.rss:.0f} MiB", flush=True)
            if options.steps is None and not options.keyed:
                _prove(server, database, folder / "mapped", options.column)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    plain, mapped = (statistics.median(m.cpu for m in taken[name]) for name in ("plain", "mapped"))
    memory = max(m.rss for m in taken["mapped"]) - max(m.rss for m in taken["plain"])
    print(f"CPU: {mapped / plain - 1:+.1%} (at most {_LIMIT:+.0%}); peak memory: {memory:+.0f} MiB")


def _project(path: Path, server: PostgresServer, database: str, target: Path, mappings: list[dict[str, Any]]) -> Path:
    params = server.params(database)
    config = {k: params[k] for k in ("host", "password")}
    config |= {"port": int(params["port"]), "database": database, "username": params["user"]}
    document = {
        "source": {"type": "postgres", "config": config},
        "destination": {"type": "local", "config": {"path": str(target)}},
        "sync": {"concurrency": 1, "mappings": mappings},
    }
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


def _prove(server: PostgresServer, database: str, target: Path, column: str) -> None:
    """The same digests, as a sum over all rows, by another hand."""
    with psycopg.connect(server.dsn(database)) as connection:
        query = f"""
            SELECT count(*), count(DISTINCT h), sum(('x' || substr(h, 1, 12))::bit(48)::bigint)
            FROM (SELECT encode(sha256(convert_to({column}::text, 'UTF8')), 'hex') AS h FROM lineitem) t
        """
        expected = connection.execute(query.encode()).fetchone()
    with duckdb.connect() as con:
        found = con.execute(
            f"""
            SELECT count(*), count(DISTINCT {column}), sum(('0x' || substr({column}, 1, 12))::BIGINT)
            FROM read_parquet('{target}/lineitem/*.parquet')
            """
        ).fetchone()
    if tuple(map(str, expected or ())) != tuple(map(str, found or ())):
        raise SystemExit(f"the hashes differ: {expected} {found}")
    print("the hashes are those of Postgres")


if __name__ == "__main__":
    main()
