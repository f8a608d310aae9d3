"""Copies out of MariaDB and its cursor, killed at every step: the kill matrix with another source.

The log that follows a copy has an oracle of its own (``test_mysql_log.py``).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.faults.kill_matrix import COLUMNS, PRELOAD, Row, Scenario, Tally, duckdb_target, postgres_target

from syncline.core.failpoints import PLAN_STEPS
from syncline.testing.mariadb_server import MariaDbServer, find_mariadb, start_mariadb
from syncline.testing.postgres_server import PostgresServer
from syncline.testing.zygote import Zygote

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(find_mariadb() is None, reason="no MariaDB server here (apt-get install mariadb-server)"),
]

ROWS = 600
FILL = """
INSERT INTO {table}
SELECT seq, CASE seq % 5 WHEN 0 THEN NULL WHEN 1 THEN '' ELSE concat('v', seq) END, seq / 7, repeat(md5(seq), 40),
       timestamp '2026-01-01 00:00:00' + INTERVAL {clock} + seq SECOND
FROM seq_{first}_to_{last}
"""


@dataclass
class MariaDbSource:
    """The database under change. ``clock`` makes every change later than the ones before it."""

    server: MariaDbServer
    log: bool
    random: random.Random
    database: str = ""
    next_id: int = ROWS + 1
    clock: int = ROWS + 1
    versions: dict[str, Counter[Row]] = field(default_factory=dict)

    def create(self) -> None:
        self.database = self.server.create_database()
        for table, key in (("keyed", " PRIMARY KEY"), ("keyless", "")):
            self._run(
                f"CREATE TABLE {table} (id bigint{key}, v text, n decimal(12,2), big text, "
                "updated_at datetime NOT NULL, INDEX (updated_at)) CHARACTER SET utf8mb4",
                FILL.format(table=table, clock=0, first=1, last=ROWS),
            )
        self._remember()

    def connector(self) -> dict[str, Any]:
        method = {"replication_method": "CDC"} if self.log else {}
        return {"type": "mysql", "config": self.server.config(self.database, rows_per_partition=90, **method)}

    def change(self) -> None:
        for table in ("keyed", "keyless"):
            for _ in range(3):
                self.clock += 1
                self._run(
                    f"UPDATE {table} SET v = 'changed {self.clock}', "
                    f"updated_at = timestamp '2026-01-01 00:00:00' + INTERVAL {self.clock} SECOND "
                    f"WHERE id = {self.random.randint(1, self.next_id - 1)}"
                )
            self._run(FILL.format(table=table, clock=self.clock, first=self.next_id, last=self.next_id + 4))
        self.next_id += 5
        self.clock += self.next_id
        self._remember()

    def content(self, table: str) -> Counter[Row]:
        return Counter(self._run(f"SELECT {', '.join(COLUMNS)} FROM {table}"))

    def _run(self, *statements: str) -> list[Row]:
        return [tuple(row) for row in self.server.execute(*statements, database=self.database)]

    def _remember(self) -> None:
        for table in ("keyed", "keyless"):
            known = self.versions.setdefault(table, Counter())
            for row in self.content(table):
                known[row] = 1


@pytest.fixture(scope="module")
def server() -> Iterator[MariaDbServer]:
    with start_mariadb() as running:
        yield running


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    with Zygote(PRELOAD) as process:
        yield process


@pytest.mark.parametrize(
    ("destination", "mode", "table", "log"),
    [
        ("postgres", "full_refresh_overwrite", "keyed", False),
        ("duckdb", "full_refresh_append", "keyless", False),
        ("postgres", "incremental_append", "keyed", False),
        ("duckdb", "incremental_deduped_history", "keyed", False),
        ("postgres", "incremental_deduped_history", "keyed", True),
    ],
)
def test_killed_at_every_step(
    destination: str,
    mode: str,
    table: str,
    log: bool,
    tmp_path: Path,
    postgres_server: PostgresServer,
    server: MariaDbServer,
    zygote: Zygote,
) -> None:
    chance = random.Random(f"{destination} {mode} {table} {log}")
    source = MariaDbSource(server=server, log=log, random=chance)
    source.create()
    target = postgres_target(postgres_server) if destination == "postgres" else duckdb_target(tmp_path / "out.duckdb")
    scenario, tally = Scenario(zygote, source, target, mode, table, tmp_path), Tally()
    points: list[str] = [*PLAN_STEPS, "commit.inside:2", "commit.after:2", "seal.after:2", "read.first:2"]
    chance.shuffle(points)
    while points:  # few at a time: what the source has changed since, a run that is not killed takes away
        scenario.round([points.pop() for _ in range(min(len(points), 3))], tally)
    scenario.round([chance.uniform(0.05, 0.6) for _ in range(3)], tally)
    # What follows a first copy passes fewer steps: a cursor's rows publish nothing, a log has steps of its own.
    assert tally.kills > 5, tally
    print(f"\n{destination} {mode} {table} {'log' if log else 'cursor'}: {tally}")
