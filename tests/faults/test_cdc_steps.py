"""Zero lost, zero doubled: a replication that follows a log under load, killed at every named step and at random.

``SYNCLINE_CDC_ROUNDS`` multiplies the rounds, ``SYNCLINE_CDC_SEED`` chooses others. The figures are printed at the end.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.faults.cdc_faults import durable_lsn
from tests.faults.cdc_scenario import Scenario, Tally, make_syncline, start_source

from syncline.core.failpoints import LOG_STEPS, PLAN_STEPS
from syncline.testing.postgres_server import PostgresServer

pytestmark = [pytest.mark.faults, pytest.mark.slow]

ROUNDS = int(os.environ.get("SYNCLINE_CDC_ROUNDS", "1"))
SEED = int(os.environ.get("SYNCLINE_CDC_SEED", "20261121"))
CASES = (
    ("postgres", "hard", False),
    ("postgres", "soft", False),
    ("postgres", "hard", True),
    ("duckdb", "hard", False),
    ("duckdb", "hard", True),
    ("local", "hard", True),
)
#: Steps up to the first plan; the slot exists then.
_BEFORE = ("log.opened", *PLAN_STEPS[: PLAN_STEPS.index("plan.made") + 1])
#: Steps that a copy may pass by, and then the run goes to its end: they come last. A partition that is large enough for
#: `read.middle` is rare, and a table that is appended to is not always swapped.
_RARE = ("publish.inside", "read.middle")
_COPYING = [step for step in PLAN_STEPS[len(_BEFORE) - 1 :] if step not in _RARE]
#: Steps that a follower passes again and again.
_FLOWING = (
    "log.opened",
    "log.received",
    "log.confirmed",
    "log.read",
    "apply.inside",
    "apply.committed",
    "apply.position",
)


@pytest.fixture(scope="module")
def source() -> Iterator[PostgresServer]:
    with start_source() as server:
        yield server


@pytest.fixture(scope="module")
def total() -> Iterator[Tally]:
    tally = Tally()
    yield tally
    print(f"\nchange data capture, killed at every step: {tally}")


@pytest.mark.parametrize(("kind", "deletes", "append"), CASES)
def test_killed_at_every_step(
    kind: str,
    deletes: str,
    append: bool,
    tmp_path: Path,
    source: PostgresServer,
    postgres_server: PostgresServer,
    total: Tally,
) -> None:
    chance = random.Random(f"{SEED} {kind} {deletes} {append}")
    with make_syncline(
        tmp_path, source, kind, destination=postgres_server, append=append, deletes=deletes, rows=3000
    ) as scenario:
        scenario.tally = total
        killed: set[str] = set()
        # The first copy: every stream passes the steps of a plan, and each run gets a little further.
        # Not yet with TRUNCATE: PostgreSQL can make a slot that nobody can ever read ("could not map filenumber") then.
        with scenario.load(SEED, shapes=False, large=False, truncates=False, per_second=40):
            for step in _BEFORE:
                _killed_at(scenario, step, follow=False, seconds=20, killed=killed)
        # A change log's copy cannot go on after its table was truncated: it says so, and asks to be made anew.
        with scenario.load(SEED + 1, shapes=False, large=False, truncates=not append, per_second=40):
            for step in (*_COPYING, "join.before", "join.after", *_RARE, *_FLOWING):
                _killed_at(scenario, step, follow=False, seconds=20, killed=killed)
        scenario.complete()
        assert scenario.judge() == []
        # From here on the log flows, and columns change.
        for round_number in range(ROUNDS):
            watch = scenario.watch(interval=0.1 if kind == "postgres" else 0.5) if scenario.view is not None else None
            with scenario.load(SEED + 2 + round_number, per_second=60):
                if watch is not None:
                    watch.start()
                steps = [*_FLOWING, "log.read:5", "apply.inside:4", "apply.committed:7", "apply.position:3"]
                chance.shuffle(steps)
                for step in steps:
                    _killed_at(scenario, step, follow=True, seconds=20, killed=killed)
                for _ in range(4):
                    run = scenario.begin()
                    if run.wait(chance.uniform(1.0, 4.0)) is not None:
                        raise AssertionError(run.output)
                    run.kill()
                    total.kills += 1
                run = scenario.begin()
                assert run.wait(3) is None, run.output
            scenario.stop(run)
            scenario.complete()
            if watch is not None:
                scenario.ended(watch)
                assert watch.looks > 0
            assert scenario.judge() == []
        passed_by = {*PLAN_STEPS, *LOG_STEPS} - {step.partition(":")[0] for step in killed}
        print(f"\n{kind}, {'append' if append else deletes}: not passed: {', '.join(sorted(passed_by)) or 'none'}")
        assert {"log.read", "apply.inside", "apply.committed", "apply.position", "join.before", "plan.made"} <= killed


def test_killed_between_the_disk_and_the_source(
    tmp_path: Path, source: PostgresServer, postgres_server: PostgresServer, total: Tally
) -> None:
    """The one step that only a durable spool has: all is on disk, the source does not know. What it sends again must
    be known, also while the destination is behind."""
    spool = {"path": str(tmp_path / "spool"), "durable": True}
    with make_syncline(tmp_path, source, "postgres", destination=postgres_server, method={"spool": spool}) as scenario:
        scenario.tally = total
        scenario.complete()
        watch = scenario.watch(durable=durable_lsn(tmp_path / "spool"))
        killed: set[str] = set()
        with scenario.load(SEED, shapes=False, per_second=60):
            watch.start()
            for step in (
                "log.synced",
                "log.synced:3",
                "log.received:40",
                "log.synced:2",
                "log.confirmed",
                "log.synced:5",
            ):
                _killed_at(scenario, step, follow=True, seconds=30, killed=killed)
        scenario.complete()
        scenario.ended(watch)
        assert watch.looks > 0
        assert {"log.synced", "log.synced:2", "log.synced:3"} <= killed
        assert scenario.judge() == []


def _killed_at(scenario: Scenario, step: str, *, follow: bool, seconds: float, killed: set[str]) -> None:
    run = scenario.begin(follow=follow, environment={"SYNCLINE_FAILPOINT": step})
    code = run.wait(seconds)
    if code is None:
        run.kill()
        scenario.tally.kills += 1
        return
    if code == -9:
        scenario.tally.kills += 1
        killed.add(step)
    else:
        scenario.ended_well(run, code)
