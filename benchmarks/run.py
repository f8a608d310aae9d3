"""Speeds as ratios to what the server can send, and to rivals, in one run: ``python benchmarks/run.py``.

The limit L is ``psql -c "COPY t TO STDOUT (FORMAT binary)" > /dev/null``. Every round runs every command once; the
table shows the median over rounds of each command's time divided by the limit's in the same round. Rivals run when
``SYNCLINE_RIVALS`` names a virtual environment that has them (benchmarks/rivals.txt). Needs psql on the PATH: the
product does not, the limit does.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import yaml
from data import fill
from measure import Measurement, measure

from syncline.testing.postgres_server import PostgresServer, find_tls_bindir, start_postgres

HERE = Path(__file__).resolve().parent


@dataclass
class Case:
    """One command: how to make the ground ready, what to run, what must hold of its result."""

    name: str
    command: list[str] | str
    limit: str = ""  #: name of the case that it is divided by; empty for a limit itself
    target: float | None = None
    before: Callable[[], None] = lambda: None
    after: Callable[[], None] = lambda: None
    environment: Mapping[str, str] = field(default_factory=dict)
    times: list[Measurement] = field(default_factory=list)


class Bench:
    """The server, the folder and the cases."""

    def __init__(self, server: PostgresServer, folder: Path, lineitem: int, wide: int) -> None:
        self.server, self.folder = server, folder
        self.rows = {"lineitem": lineitem, "erp_orders": wide}
        self.source = server.create_database("bench_source")
        self.sink = server.create_database("bench_sink")
        fill(server, self.source, lineitem=lineitem, wide=wide)

    def limit(self, table: str) -> Case:
        return Case(
            name=f"L: COPY {table} to /dev/null",
            command=f'psql "{self.server.dsn(self.source)}" -qc "COPY {table} TO STDOUT (FORMAT binary)" > /dev/null',
        )

    def pipe(self) -> Case:
        copy = f'psql "{self.server.dsn(self.source)}" -qc "COPY lineitem TO STDOUT (FORMAT binary)"'
        into = f'psql "{self.server.dsn(self.sink)}" -qc "COPY lineitem FROM STDIN (FORMAT binary)"'
        from data import LINEITEM

        return Case(
            name="L: psql COPY binary | psql COPY binary",
            command=f"{copy} | {into}",
            before=lambda: self.reset_sink(LINEITEM),
        )

    def reset_sink(self, *statements: str) -> None:
        with psycopg.connect(self.server.dsn(self.sink), autocommit=True) as connection:
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")
            for statement in statements:
                connection.execute(statement)
            connection.execute("CHECKPOINT")

    def syncline(
        self,
        name: str,
        table: str,
        destination: Mapping[str, Any],
        limit: str,
        target: float | None,
        *,
        concurrency: int = 1,
        before: Callable[[], None] = lambda: None,
        **sync: Any,
    ) -> Case:
        project = self.folder / f"{len(list(self.folder.glob('*.yaml')))}.yaml"
        home = self.folder / "home"
        params = self.server.params(self.source)
        source = {
            "host": params["host"],
            "port": int(params["port"]),
            "database": self.source,
            "username": params["user"],
            "password": params["password"],
            "tables": [table],
        }
        document = {
            "name": f"bench{project.stem}",
            "source": {"type": "postgres", "config": source},
            "destination": dict(destination),
            "sync": {"mode": "full_refresh", "concurrency": concurrency, **sync},
        }
        project.write_text(yaml.safe_dump(document), encoding="utf-8")

        def clean() -> None:
            shutil.rmtree(home, ignore_errors=True)
            for path in (self.folder / "lake", self.folder / "w.duckdb.syncline"):
                shutil.rmtree(path, ignore_errors=True)
            (self.folder / "w.duckdb").unlink(missing_ok=True)
            before()

        def equal() -> None:
            run_verify(project, home)

        return Case(
            name=name,
            command=[sys.executable, "-m", "syncline", "sync", str(project)],
            limit=limit,
            target=target,
            before=clean,
            after=equal,
            environment={"SYNCLINE_HOME": str(home)},
        )

    def from_files(self, name: str, limit: str, target: float) -> Case:
        """The same rows from Parquet files, without the metadata columns that the limit does not move either. The files
        are made once, by a sync of ours that is not timed."""
        files = self.folder / "parquet"
        maker = self.syncline(
            "", "lineitem", {"type": "local", "config": {"path": str(files)}}, limit, target, metadata_columns="none"
        )
        project, home = self.folder / "files.yaml", self.folder / "home"
        stream = {"name": "lineitem", "globs": ["**/*.parquet"], "format": {"filetype": "parquet"}}
        document = {
            "name": "benchfiles",
            "source": {"type": "files", "config": {"path": str(files), "streams": [stream]}},
            "destination": self.postgres(),
            "sync": {"mode": "full_refresh", "concurrency": 2, "metadata_columns": "none"},
        }
        project.write_text(yaml.safe_dump(document), encoding="utf-8")

        def before() -> None:
            if not files.exists():
                subprocess.run(maker.command, env={**os.environ, **maker.environment}, check=True, capture_output=True)
            shutil.rmtree(home, ignore_errors=True)
            self.reset_sink()

        return Case(
            name=name,
            command=[sys.executable, "-m", "syncline", "sync", str(project)],
            limit=limit,
            target=target,
            before=before,
            after=lambda: run_verify(project, home),
            environment={"SYNCLINE_HOME": str(home)},
        )

    def postgres(self) -> dict[str, Any]:
        params = self.server.params(self.sink)
        config = {
            "host": params["host"],
            "port": int(params["port"]),
            "database": self.sink,
            "username": params["user"],
            "password": params["password"],
        }
        return {"type": "postgres", "config": config}


def run_verify(project: Path, home: Path) -> None:
    """A speed without an equality proof does not count."""
    command = [sys.executable, "-m", "syncline", "verify", str(project)]
    done = subprocess.run(
        command, env={**os.environ, "SYNCLINE_HOME": str(home)}, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"not equal after the sync: {done.stdout}{done.stderr}")


def cases(bench: Bench) -> list[Case]:
    lake = {"type": "local", "config": {"path": str(bench.folder / "lake")}}
    duck = {"type": "duckdb", "config": {"path": str(bench.folder / "w.duckdb")}}
    line, wide, pipe = bench.limit("lineitem"), bench.limit("erp_orders"), bench.pipe()
    empty = bench.reset_sink
    found = [
        line,
        bench.syncline("lineitem -> Parquet, 1 partition at a time", "lineitem", lake, line.name, 1.6),
        bench.syncline("lineitem -> Parquet, 2 at a time", "lineitem", lake, line.name, 1.4, concurrency=2),
        bench.syncline("lineitem -> DuckDB", "lineitem", duck, line.name, 1.7, concurrency=2),
        wide,
        bench.syncline("wide -> Parquet, 1 at a time", "erp_orders", lake, wide.name, 2.3),
        bench.syncline("wide -> Parquet, 2 at a time", "erp_orders", lake, wide.name, 2.3, concurrency=2),
        pipe,
        bench.syncline(
            "lineitem -> Postgres, relayed", "lineitem", bench.postgres(), pipe.name, 1.1, concurrency=2, before=empty
        ),
        bench.from_files("lineitem Parquet -> Postgres, from Arrow", pipe.name, 1.3),
        bench.syncline(
            "lineitem -> Postgres, decoded, with Airbyte's columns",
            "lineitem",
            bench.postgres(),
            pipe.name,
            None,
            concurrency=2,
            before=empty,
            metadata_columns="airbyte",
        ),
    ]
    if os.environ.get("SYNCLINE_RIVALS"):
        from rivals import rival_cases

        found += rival_cases(bench, line.name, pipe.name)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lineitem", type=int, default=6_000_000, help="rows of the narrow table")
    parser.add_argument("--wide", type=int, default=2_000_000, help="rows of the wide table")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="run cases whose name holds this word, and the limits")
    parser.add_argument("--unproven", action="store_true", help="skip the equality proofs (while tuning only)")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="syncline-bench-"))
    settings = {"shared_buffers": "1GB", "max_wal_size": "8GB", "checkpoint_timeout": "1h"}
    try:
        with start_postgres(bindir=find_tls_bindir(), settings=settings) as server:
            bench = Bench(server, folder, options.lineitem, options.wide)
            chosen = [c for c in cases(bench) if not c.limit or options.only in c.name]
            wanted = {c.limit for c in chosen}
            chosen = [c for c in chosen if c.limit or c.name in wanted]
            _rounds(chosen, options.rounds, folder, proven=not options.unproven)
            _table(chosen)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _rounds(chosen: list[Case], rounds: int, folder: Path, *, proven: bool) -> None:
    for number in range(rounds):
        for case in chosen:
            case.before()
            taken = measure(case.command, folder / "log.txt", case.environment)
            case.times.append(taken)
            print(
                f"round {number + 1}: {case.name}: {taken.seconds:.2f} s, {taken.cpu:.1f} CPU s, {taken.rss:.0f} MiB",
                flush=True,
            )
            if number == 0 and proven:
                case.after()


def _table(chosen: list[Case]) -> None:
    limits = {c.name: c for c in chosen if not c.limit}
    print("\n| what | s | x limit | at most | CPU s | RSS MiB |\n| --- | --- | --- | --- | --- | --- |")
    for case in chosen:
        seconds = statistics.median(t.seconds for t in case.times)
        cpu = statistics.median(t.cpu for t in case.times)
        ratio = 1.0
        if case.limit:
            base = limits[case.limit].times
            ratio = statistics.median(t.seconds / b.seconds for t, b in zip(case.times, base, strict=True))
        mark = "" if case.target is None else f"{case.target} {'ok' if ratio <= case.target else 'MISSED'}"
        rss = max(t.rss for t in case.times)
        print(f"| {case.name} | {seconds:.2f} | {ratio:.2f} | {mark} | {cpu:.1f} | {rss:.0f} |")


if __name__ == "__main__":
    main()
