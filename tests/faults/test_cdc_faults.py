"""A follower that is disturbed from outside mends itself: nothing is lost, doubled, or acknowledged too early.

``SYNCLINE_CDC_STORM_SECONDS`` is how long the storm of all faults lasts (default 40)."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from tests.faults.cdc_faults import FAULTS, Ground, durable_lsn, is_root, paused, small_disk
from tests.faults.cdc_scenario import ROOT, Scenario, SynclineCommand, Tally, make_syncline, start_source

from syncline.testing import power_cut
from syncline.testing.postgres_server import PostgresServer, start_postgres
from syncline.testing.proxy import Proxy

pytestmark = [pytest.mark.faults, pytest.mark.slow]

SEED = int(os.environ.get("SYNCLINE_CDC_SEED", "20261121"))
STORM_SECONDS = float(os.environ.get("SYNCLINE_CDC_STORM_SECONDS", "40"))


@pytest.fixture(scope="module")
def source() -> Iterator[PostgresServer]:
    """Restarted by the tests; a session that went away is noticed within seconds."""
    with start_source(wal_sender_timeout="4s") as server:
        yield server


@pytest.fixture(scope="module")
def destination() -> Iterator[PostgresServer]:
    """Restarted by the tests; a crash loses no commit that was acknowledged."""
    with start_postgres(settings={"synchronous_commit": "on"}) as server:
        yield server


@pytest.fixture(scope="module")
def total() -> Iterator[Tally]:
    tally = Tally()
    yield tally
    print(f"\nchange data capture, disturbed from outside: {tally}")


@pytest.fixture
def ground(
    tmp_path: Path, source: PostgresServer, destination: PostgresServer, total: Tally, request: pytest.FixtureRequest
) -> Iterator[Ground]:
    with (
        Proxy(source.host, source.port) as to_source,
        Proxy(destination.host, destination.port) as to_destination,
        make_syncline(
            tmp_path, source, "postgres", destination=destination, through=(to_source.port, to_destination.port)
        ) as scenario,
    ):
        scenario.tally = total
        yield Ground(
            source=source,
            destination=destination,
            to_source=to_source,
            to_destination=to_destination,
            scenario=scenario,
            chance=random.Random(f"{SEED} {request.node.name}"),
        )


@pytest.mark.parametrize("fault", FAULTS)
def test_one_fault_again_and_again(fault: str, ground: Ground) -> None:
    scenario = ground.scenario
    scenario.complete()
    watch = scenario.watch()
    with scenario.load(SEED, per_second=60):
        run = scenario.begin()
        scenario.wait_until_follows(run)
        watch.start()
        for _ in range(4):
            time.sleep(ground.chance.uniform(0.5, 2))
            FAULTS[fault](ground)
            scenario.tally.faults += 1
        time.sleep(1)
    assert scenario.lag_is_gone(90), run.output
    assert run.alive, run.output
    scenario.stop(run)
    scenario.complete()
    scenario.ended(watch)
    assert watch.looks > 0
    assert watch.confirmations > 0
    assert scenario.judge() == []


def test_a_storm_of_all_faults(ground: Ground) -> None:
    """From the first copy on, several faults at a time, kills among them."""
    scenario, chance = ground.scenario, ground.chance
    watch = scenario.watch()
    run = scenario.begin()
    while _confirmed(scenario) == 0:  # no slot yet: see test_cdc_steps
        assert run.alive, run.output
        time.sleep(0.1)
    with scenario.load(SEED, shapes=False, per_second=60):
        watch.start()
        deadline = time.monotonic() + STORM_SECONDS
        while time.monotonic() < deadline:
            time.sleep(chance.uniform(0.3, 3))
            if chance.random() < 0.3:
                run.kill()
                scenario.tally.kills += 1
            else:
                FAULTS[chance.choice(list(FAULTS))](ground)
                scenario.tally.faults += 1
            if not run.alive:
                run = scenario.begin()
    if run.alive:
        run.stop()
    scenario.complete()
    scenario.ended(watch)
    assert scenario.judge() == []


def test_a_sleeper_cannot_write_when_it_wakes(ground: Ground, tmp_path: Path) -> None:
    """Another machine takes over while the first process stands still; when it goes on, its commits are refused."""
    scenario = ground.scenario
    scenario.complete()
    watch = scenario.watch()
    mine = scenario.command
    assert isinstance(mine, SynclineCommand)
    with scenario.load(SEED, per_second=60):
        watch.start()
        for number in range(2):
            sleeper = scenario.begin()
            scenario.wait_until_follows(sleeper)
            with paused(sleeper):
                scenario.tally.faults += 1
                time.sleep(6)  # longer than the server waits for a walsender's client
                scenario.command = SynclineCommand(mine.project, tmp_path / f"home-{number}")
                successor = scenario.begin()
                scenario.wait_until_follows(successor)
            # It finds its slot taken and its token old: it must end, and not by success.
            code = sleeper.wait(60)
            assert code not in (None, 0), sleeper.output
            scenario.stop(successor)
    scenario.complete()
    scenario.ended(watch)
    assert scenario.judge() == []


@pytest.mark.skipif(not is_root(), reason="a disk of a test's own needs root")
def test_the_spools_disk_is_full(
    tmp_path: Path, source: PostgresServer, destination: PostgresServer, total: Tally
) -> None:
    """Stops cleanly or waits while there is no room, goes on when there is, needs no repair."""
    with (
        small_disk(tmp_path / "disk", 12) as resize,
        make_syncline(
            tmp_path,
            source,
            "postgres",
            destination=destination,
            method={"spool": {"path": str(tmp_path / "disk" / "spool"), "durable": True}},
        ) as scenario,
    ):
        scenario.tally = total
        scenario.complete()
        with scenario.load(SEED, shapes=False, per_second=60):
            destination.stop("fast")  # so that nothing leaves the spool
            run = scenario.begin()
            with psycopg.connect(scenario.source_dsn, autocommit=True) as session:
                for _ in range(20):
                    session.execute(
                        "INSERT INTO entries SELECT 99, g, repeat('x', 500) FROM generate_series(1, 2000) g"
                    )
            run.wait(20)
            total.faults += 1
            assert run.process.poll() != 0, "a run that could not keep the log must not say that it succeeded"
            destination.start()
            if run.alive:
                run.kill()
            resize(400)
        scenario.complete()
        assert scenario.judge() == []


def test_a_power_cut_after_the_source_was_told(
    tmp_path: Path, source: PostgresServer, destination: PostgresServer, total: Tally
) -> None:
    """A durable spool lets the source forget: then what is not on disk must not be needed."""
    spool = tmp_path / "spool"
    with make_syncline(
        tmp_path, source, "postgres", destination=destination, method={"spool": {"path": str(spool), "durable": True}}
    ) as scenario:
        scenario.tally = total
        notes = tmp_path / "fsyncs"
        environment = power_cut.environment(tmp_path / "site", notes, path=str(ROOT / "src"))
        code = scenario.begin(follow=False, environment=environment).wait(120)
        assert code == 0
        watch = scenario.watch(durable=durable_lsn(spool))
        told_early = 0
        with scenario.load(SEED, shapes=False, per_second=60):
            watch.start()
            for _ in range(3):
                run = scenario.begin(environment=environment)
                scenario.wait_until_follows(run)
                before = _confirmed(scenario)
                destination.stop("immediate")
                time.sleep(6)
                told_early += _confirmed(scenario) > before
                run.kill()
                total.kills += 1
                power_cut.cut(spool, notes)
                total.faults += 1
                destination.start()
        code = scenario.begin(follow=False, environment=environment).wait(120)
        assert code == 0
        scenario.ended(watch)
        assert told_early > 0, "the source never forgot anything while the destination was away"
        assert scenario.judge() == []


def _confirmed(scenario: Scenario) -> int:
    with psycopg.connect(scenario.source_dsn) as session:
        row = session.execute(
            """
            SELECT coalesce(max(confirmed_flush_lsn - '0/0'::pg_lsn), 0)
            FROM pg_replication_slots
            WHERE database = current_database() AND slot_name NOT LIKE 'oracle%%'
            """,
            (),
        ).fetchone()
    assert row is not None
    return int(row[0])
