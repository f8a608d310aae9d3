"""The kill matrix: a source that changes, a sync that is killed at every step, both ends compared by content.

One :class:`Scenario` is a destination and a sync mode. A round changes the source, starts the sync some times with a
fail point (or a random moment) at which it kills itself, lets it run through once, and compares. The comparison knows
nothing of the code under test: plain SQL and pyarrow.
"""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import duckdb
import psycopg
import yaml

from syncline.testing.postgres_server import PostgresServer
from syncline.testing.zygote import Zygote

Row = tuple[Any, ...]

PRELOAD = (
    "syncline.cli.main",
    "syncline.service.sync",
    "syncline.jobs.launcher",
    "syncline.connectors.postgres.reading.source",
    "syncline.connectors.mysql.source",
    "syncline.connectors.postgres.writing.destination",
    "syncline.connectors.files.destination",
    "syncline.connectors.delta.destination",
    "syncline.connectors.iceberg.destination",
    "duckdb",
)

COLUMNS = ("id", "v", "n", "big")
TABLES = """
CREATE TABLE keyed (id bigint PRIMARY KEY, v text, n numeric(12,2), big text, updated_at timestamptz NOT NULL);
CREATE INDEX ON keyed (updated_at);
CREATE TABLE keyless (id bigint, v text, n numeric(12,2), big text, updated_at timestamptz NOT NULL);
CREATE INDEX ON keyless (updated_at);
"""
FILL = """
INSERT INTO {table}
SELECT g, CASE g %% 5 WHEN 0 THEN NULL WHEN 1 THEN '' ELSE 'v' || g END, g / 7.0, repeat(md5(g::text), 40),
       timestamptz '2026-01-01' + (g + %s) * interval '1 second'
FROM generate_series(%s::bigint, %s::bigint) g
"""


class Changing(Protocol):
    """A source under change. ``versions`` are of all rows that its tables ever had when a change was done."""

    @property
    def versions(self) -> dict[str, Counter[Row]]: ...
    def connector(self) -> dict[str, Any]: ...
    def change(self) -> None: ...
    def content(self, table: str) -> Counter[Row]: ...


@dataclass
class Source:
    """The database under change. ``clock`` makes every change later than the ones before it."""

    dsn: str
    rows: int
    random: random.Random
    next_id: int = 0
    clock: int = 0
    versions: dict[str, Counter[Row]] = field(default_factory=dict)

    def create(self) -> None:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(TABLES)
            for table in ("keyed", "keyless"):
                connection.execute(FILL.format(table=table), (0, 1, self.rows))
            connection.execute("ANALYZE")
        self.next_id = self.clock = self.rows + 1
        self._remember()

    def connector(self) -> dict[str, Any]:
        params = psycopg.conninfo.conninfo_to_dict(self.dsn)
        config = {
            "host": params["host"],
            "port": int(str(params["port"])),
            "database": params["dbname"],
            "username": params["user"],
            "password": params["password"],
            "partition_bytes": 65536,
        }
        return {"type": "postgres", "config": config}

    def change(self) -> None:
        """Update some rows and insert some, in both tables; every version is remembered for the append modes."""
        with psycopg.connect(self.dsn) as connection:
            for table in ("keyed", "keyless"):
                for _ in range(3):
                    self.clock += 1
                    connection.execute(
                        f"UPDATE {table} SET v = %s, updated_at = timestamptz '2026-01-01' + %s * interval '1 second'"
                        " WHERE id = %s",
                        (f"changed {self.clock}", self.clock, self.random.randint(1, self.next_id - 1)),
                    )
                connection.execute(FILL.format(table=table), (self.clock, self.next_id, self.next_id + 4))
            self.next_id += 5
            self.clock += self.next_id
        self._remember()

    def content(self, table: str) -> Counter[Row]:
        with psycopg.connect(self.dsn) as connection:
            return Counter(connection.execute(f"SELECT {', '.join(COLUMNS)} FROM {table}").fetchall())

    def _remember(self) -> None:
        for table in ("keyed", "keyless"):
            known = self.versions.setdefault(table, Counter())
            for row in self.content(table):
                known[row] = 1


@dataclass(frozen=True)
class Target:
    """A destination under test: its configuration and an independent reader of (row, generation)."""

    name: str
    type: str
    config: dict[str, Any]
    read: Callable[[str], Iterable[tuple[Row, int]]]


def postgres_target(server: PostgresServer) -> Target:
    database = server.create_database()
    dsn = server.dsn(database)
    params: dict[str, Any] = psycopg.conninfo.conninfo_to_dict(dsn)

    def read(table: str) -> Iterable[tuple[Row, int]]:
        with psycopg.connect(dsn) as connection:
            if connection.execute("SELECT to_regclass(%s)", (f"public.{table}",)).fetchone() == (None,):
                return []
            rows = connection.execute(f"SELECT {', '.join(COLUMNS)}, _syncline_generation FROM {table}").fetchall()
        return [(row[:-1], row[-1]) for row in rows]

    config = {
        "host": params["host"],
        "port": int(params["port"]),
        "database": database,
        "username": params["user"],
        "password": params["password"],
    }
    return Target(name="postgres", type="postgres", config=config, read=read)


def duckdb_target(path: Path) -> Target:
    def read(table: str) -> Iterable[tuple[Row, int]]:
        if not path.exists():
            return []
        with duckdb.connect(str(path), read_only=True) as connection:
            known = connection.execute("SELECT 1 FROM duckdb_tables() WHERE table_name = ?", [table]).fetchone()
            if known is None:
                return []
            query = f"SELECT {', '.join(COLUMNS)}, _syncline_generation FROM {table}"
            return [(row[:-1], row[-1]) for row in connection.execute(query).fetchall()]

    return Target(name="duckdb", type="duckdb", config={"path": str(path)}, read=read)


@dataclass
class Tally:
    """What a matrix run came to."""

    kills: int = 0
    runs: int = 0
    passed_by: int = 0  #: runs with a fail point that the life of this batch does not pass
    reread: list[int] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.runs} runs, {self.kills} killed, {self.passed_by} passed by; 0 rows lost, 0 doubled"


class Scenario:
    """One destination and mode over one changing source."""

    def __init__(self, zygote: Zygote, source: Changing, target: Target, mode: str, table: str, folder: Path) -> None:
        self._zygote, self._source, self._target, self._mode, self._table = zygote, source, target, mode, table
        self._folder = folder
        self._numbers = itertools.count()
        self._generations: set[int] = set()
        self._synced = False  # versions that were gone before the first sync are nobody's to deliver
        self._project = folder / f"{target.name}-{mode}-{table}.yaml"
        stream: dict[str, Any] = {"name": table, "mode": mode}
        if mode.startswith("incremental"):
            stream["cursor_field"] = "updated_at"
        project = {
            "name": f"{target.name}-{mode}-{table}",
            "source": source.connector(),
            "destination": {"type": target.type, "config": target.config},
            "sync": {"streams": [stream], "concurrency": 2},
        }
        self._project.write_text(yaml.safe_dump(project), encoding="utf-8")

    def round(self, kills: Iterable[str | float], tally: Tally) -> None:
        """Each of ``kills`` is a fail point or seconds after which the sync is killed; then it must run through."""
        if self._synced:
            self._source.change()
        for kill in kills:
            point = {"SYNCLINE_FAILPOINT": kill} if isinstance(kill, str) else {}
            ended = self._sync(point, kill_after=None if isinstance(kill, str) else kill)
            tally.runs += 1
            tally.kills += ended.killed
            tally.passed_by += ended.code == 0
            assert ended.killed or ended.code == 0, (kill, ended.output)
            self._check(complete=False, context=kill)
        ended = self._sync({})
        tally.runs += 1
        assert ended.code == 0, ended.output
        self._check(complete=True, context="last run")
        self._synced = True

    def _sync(self, environment: dict[str, str], kill_after: float | None = None) -> Any:
        home = {"SYNCLINE_HOME": str(self._folder / "home"), **environment}
        log = self._folder / f"{self._project.stem}.log"
        return self._zygote.run(["sync", str(self._project), "--attempts", "1"], log, home, kill_after)

    def _check(self, *, complete: bool, context: object) -> None:
        """Compare by content. After a kill nothing may be doubled or half visible; after a full run nothing missing."""
        rows = list(self._target.read(self._table))
        seen = Counter(row for row, _ in rows)
        where = (self._target.name, self._mode, self._table, context)
        if self._mode == "incremental_append":
            versions = self._source.versions[self._table]
            _same(seen, versions, where, complete=complete)
            return
        now = self._source.content(self._table)
        if self._mode == "full_refresh_append":
            by_generation: dict[int, Counter[Row]] = {}
            for row, generation in rows:
                by_generation.setdefault(generation, Counter())[row] += 1
            for generation, content in by_generation.items():
                if generation not in self._generations:
                    _same(content, now, (*where, f"generation {generation}"), complete=complete)
            if complete:
                self._generations |= set(by_generation)
            return
        if complete:
            _same(seen, now, where, complete=True)
        else:
            # During a publish, readers of a bare directory may see two generations, never a row twice in one.
            assert max(Counter(rows).values(), default=0) <= 1, ("doubled", where)


def _same(seen: Counter[Row], expected: Counter[Row], where: object, *, complete: bool) -> None:
    doubled = seen - expected
    assert not doubled, ("doubled or foreign rows", where, _few(doubled))
    if complete:
        missing = expected - seen
        assert not missing, ("lost rows", where, _few(missing))


def _few(rows: Counter[Row]) -> str:
    return json.dumps([[str(c)[:20] for c in row] for row in list(rows)[:5]]) + f" … {sum(rows.values())} in all"
