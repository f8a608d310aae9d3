"""Two promises at length: a snapshot under load that is killed again and again, and a destination that stays away.

Scaled by ``SYNCLINE_CDC_ROWS`` (default 300,000; the full show has 5,000,000) and ``SYNCLINE_CDC_AWAY_SECONDS``
(default 30; the full show has 600)."""

from __future__ import annotations

import json
import os
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.faults.cdc_churn import Churn, create_big_table, fingerprint
from tests.faults.cdc_scenario import Scenario, make_syncline, start_source

from syncline.jobs.journal import read_journal
from syncline.testing.oracle.content import PostgresEnd
from syncline.testing.oracle.tables import OracleTable
from syncline.testing.postgres_server import PostgresServer, start_postgres

pytestmark = [pytest.mark.faults, pytest.mark.slow]

ROWS = int(os.environ.get("SYNCLINE_CDC_ROWS", "300000"))
AWAY_SECONDS = float(os.environ.get("SYNCLINE_CDC_AWAY_SECONDS", "30"))
KILLS, WORKERS, PER_SECOND = 5, 2, 1000
_BIG = (OracleTable(name="big", key=("id",)),)


@pytest.fixture
def source() -> Iterator[PostgresServer]:
    with start_source(max_wal_size="256MB", checkpoint_timeout="30s") as server:
        yield server


@pytest.fixture
def destination() -> Iterator[PostgresServer]:
    with start_postgres(settings={"synchronous_commit": "on"}) as server:
        yield server


def test_a_snapshot_under_load_is_killed_five_times(
    tmp_path: Path, source: PostgresServer, destination: PostgresServer
) -> None:
    chance = random.Random(4)
    partition = max(1 << 18, ROWS * 110 // 60)  # some sixty partitions
    with make_syncline(
        tmp_path,
        source,
        "postgres",
        destination=destination,
        tables=_BIG,
        source_options={"partition_bytes": partition},
        prepare=lambda dsn: create_big_table(dsn, ROWS),
    ) as scenario:
        before = _rows_read(scenario.source_dsn)
        with Churn(scenario.source_dsn, rows=ROWS, per_second=PER_SECOND, seed=4) as churn:
            kills = 0
            while kills < KILLS:
                committed = len(_committed(scenario))
                run = scenario.begin(follow=False)
                # At random, but each time after some progress: so that the snapshot is long enough for five kills.
                goal = committed + chance.randint(1, 8)
                while run.alive and len(_committed(scenario)) < goal:
                    time.sleep(0.02)
                time.sleep(chance.uniform(0, 0.1 + ROWS / 5_000_000))  # anywhere within a partition
                assert run.alive, f"the snapshot was over after {kills} kills: take more rows\n{run.output}"
                run.kill()
                kills += 1
            scenario.complete(1800)
        scenario.complete(1800)
        # The churn's statements find their rows by key: at most all of its changes were read for that.
        read = _rows_read(scenario.source_dsn) - before
        committed_all = _committed(scenario)
        planned = _planned(scenario)
        partitions = planned[0]["partitions"]
        again = (read - ROWS) / (ROWS / partitions)
        print(
            f"\nsnapshot of {ROWS:,} rows, {churn.made:,} changes meanwhile: {kills} kills, {len(planned)} runs, "
            f"{partitions} partitions; the source read {read:,} rows for it and for the changes: "
            f"at most {again:.1f} partitions again"
        )
        assert len(committed_all) == len(set(committed_all)) == partitions, "a partition came twice"
        assert {plan["partitions"] for plan in planned} == {partitions}, "planned anew"
        # The churn's own reads are among them.
        assert again <= KILLS * WORKERS + churn.made / (ROWS / partitions)
        assert read >= ROWS, "the server's statistics do not tell what was read"
        assert isinstance(scenario.end, PostgresEnd)
        assert fingerprint(scenario.source_dsn) == fingerprint(scenario.end.dsn)


def test_the_destination_is_away_under_load(
    tmp_path: Path, source: PostgresServer, destination: PostgresServer
) -> None:
    rows, budget = 20_000, 64 << 20
    spool = {"path": str(tmp_path / "spool"), "durable": True}
    with make_syncline(
        tmp_path,
        source,
        "postgres",
        destination=destination,
        tables=_BIG,
        method={"spool": spool, "max_retained_wal": budget},
        prepare=lambda dsn: create_big_table(dsn, rows),
    ) as scenario:
        scenario.complete()
        # Long values: several times the budget is written while nobody takes it.
        padding = int(4 * budget / (AWAY_SECONDS * PER_SECOND * 14 / 20)) + 100
        with Churn(scenario.source_dsn, rows=rows, per_second=PER_SECOND, seed=5, padding=padding):
            run = scenario.begin()
            scenario.wait_until_follows(run)
            with _Retained(scenario.source_dsn) as retained:
                destination.stop("fast")
                time.sleep(AWAY_SECONDS)
                assert run.alive, run.output
                destination.start()
                time.sleep(1)
            written = retained.written
        assert written > 2 * budget, f"only {written:,} bytes of log were written: the show shows nothing"
        assert scenario.lag_is_gone(300), run.output
        assert run.stop() == 0, run.output
        scenario.complete()
        print(
            f"\ndestination away for {AWAY_SECONDS:.0f} s: {written:,} bytes of log written, "
            f"at most {retained.most:,} kept by the source, budget {budget:,}"
        )
        assert retained.most <= budget
        assert isinstance(scenario.end, PostgresEnd)
        assert fingerprint(scenario.source_dsn) == fingerprint(scenario.end.dsn)


class _Retained(threading.Thread):
    """Samples what the source keeps for the product's slot: ``most``; and how much was written meanwhile."""

    def __init__(self, dsn: str) -> None:
        super().__init__(daemon=True)
        self._dsn = dsn
        self._end = threading.Event()
        self._ends: list[int] = []
        self.most = 0

    @property
    def written(self) -> int:
        return self._ends[-1] - self._ends[0]

    def run(self) -> None:
        with psycopg.connect(self._dsn, autocommit=True) as session:
            while not self._end.wait(0.1):
                # A slot gives up old log only at such a mark, which a server writes every 15 seconds.
                session.execute("SELECT pg_log_standby_snapshot()")
                row = session.execute(
                    """
                    SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn,
                           max(pg_current_wal_insert_lsn() - restart_lsn)
                    FROM pg_replication_slots
                    WHERE database = current_database() AND slot_name NOT LIKE 'oracle%%'
                    """,
                    (),
                ).fetchone()
                if row is not None and row[1] is not None:
                    self._ends.append(int(row[0]))
                    self.most = max(self.most, int(row[1]))

    def __enter__(self) -> _Retained:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self.join(10)


def _journals(scenario: Scenario) -> list[list[dict[str, Any]]]:
    paths = sorted((scenario.folder / "home" / "runs").rglob("attempt-*.jsonl"))
    return [list(read_journal(path)) for path in paths]


def _committed(scenario: Scenario) -> list[str]:
    return [
        event["partition"]
        for events in _journals(scenario)
        for event in events
        if event["event"] == "PartitionCommitted"
    ]


def _planned(scenario: Scenario) -> list[dict[str, Any]]:
    """The plan of each run that had one to carry out."""
    return [
        json.loads(json.dumps(event))
        for events in _journals(scenario)
        for event in events
        if event["event"] == "StreamPlanned" and event["partitions"] > 0
    ]


def _rows_read(dsn: str) -> int:
    """By ranges or values of the big table's key, as the server counts; its sessions tell it within a second."""
    time.sleep(1.5)
    with psycopg.connect(dsn) as session:
        row = session.execute(
            "SELECT coalesce(idx_tup_fetch, 0) FROM pg_stat_user_tables WHERE relname = 'big'"
        ).fetchone()
    assert row is not None
    return int(row[0])
