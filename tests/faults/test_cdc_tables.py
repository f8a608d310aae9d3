"""Postgres' log followed to Delta Lake and to Iceberg under load, killed at named steps and at random: both ends are
equal at the end.

``SYNCLINE_CDC_ROUNDS`` multiplies the kills of the flowing log, ``SYNCLINE_CDC_SEED`` chooses others."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.faults.cdc_scenario import Scenario, Tally, make_syncline, start_source

from syncline.testing.oracle.lakes import DeltaEnd, IcebergEnd
from syncline.testing.postgres_server import PostgresServer

pytestmark = [pytest.mark.faults, pytest.mark.slow]

ROUNDS = int(os.environ.get("SYNCLINE_CDC_ROUNDS", "1"))
SEED = int(os.environ.get("SYNCLINE_CDC_SEED", "20261121"))
#: A commit of a table costs more than a transaction: with fewer partitions than at other destinations, and less written
#: while it is copied, there is less waiting between the kills.
SOURCE = {"partition_bytes": 4 << 20}
CASES = (
    ("delta", "hard", False),
    ("delta", "soft", False),
    ("delta", "hard", True),
    ("iceberg", "hard", False),
    ("iceberg", "soft", False),
    ("iceberg", "hard", True),
)
_COPYING = (
    "plan.committed",
    "read.first",
    "seal.after",
    "commit.inside",
    "commit.after",
    "publish.inside",
    "join.before",
)
_FLOWING = ("log.read", "apply.inside", "commit.inside:2", "apply.committed", "apply.position", "apply.inside:3")


@pytest.fixture(scope="module")
def source() -> Iterator[PostgresServer]:
    with start_source() as server:
        yield server


@pytest.fixture(scope="module")
def total() -> Iterator[Tally]:
    tally = Tally()
    yield tally
    print(f"\nchange data capture to tables: {tally}")


@pytest.mark.parametrize(("kind", "deletes", "append"), CASES)
def test_equal_at_the_end(
    kind: str, deletes: str, append: bool, tmp_path: Path, source: PostgresServer, total: Tally
) -> None:
    chance = random.Random(f"{SEED} {kind} {deletes} {append}")
    with make_syncline(
        tmp_path, source, kind, append=append, deletes=deletes, rows=500, source_options=SOURCE
    ) as scenario:
        scenario.end = (DeltaEnd if kind == "delta" else IcebergEnd)(tmp_path / "lake")
        scenario.tally = total
        with scenario.load(SEED, shapes=False, large=False, truncates=False, per_second=5):
            for step in _COPYING:
                _killed_at(scenario, step, follow=False)
        scenario.complete()
        assert scenario.judge() == []
        with scenario.load(SEED + 1, per_second=10):
            for step in chance.sample(_FLOWING, len(_FLOWING)) * ROUNDS:
                _killed_at(scenario, step, follow=True)
            run = scenario.begin()
            assert run.wait(chance.uniform(2.0, 4.0)) is None, run.output
            run.kill()
            total.kills += 1
        scenario.complete()
        assert scenario.judge() == []


def _killed_at(scenario: Scenario, step: str, *, follow: bool) -> None:
    run = scenario.begin(follow=follow, environment={"SYNCLINE_FAILPOINT": step})
    code = run.wait(30)
    if code is None:
        run.kill()
    elif code != -9:
        scenario.ended_well(run, code)
        return
    scenario.tally.kills += 1
