"""The oracle against the plain reference: a right replication passes, each of its bugs is found."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.faults.cdc_reference import BUGS
from tests.faults.cdc_scenario import Scenario, make_reference, start_source

from syncline.testing.postgres_server import PostgresServer

pytestmark = [pytest.mark.faults, pytest.mark.slow]

_STEPS = ("log.opened", "log.read", "apply.inside:3", "apply.committed:2", "log.confirmed:2")
#: What only a log of changes can show, because later changes cover it in a table.
_IN_A_LOG = {"data saved before the position", "order within the transaction lost"}


@pytest.fixture(scope="module")
def source() -> Iterator[PostgresServer]:
    with start_source() as server:
        yield server


def _disturbed(scenario: Scenario, seed: int, seconds: float) -> list[str]:
    """Load, kills at the named steps and at random moments, quiet, a last run; what the judges find."""
    chance = random.Random(seed)
    steps = list(_STEPS)
    # PostgreSQL can make a slot that nobody can ever read ("could not map filenumber") while tables are truncated.
    with scenario.load(seed, shapes=False, truncates=False):
        run = scenario.begin(environment={"SYNCLINE_FAILPOINT": steps.pop(0)})
        assert run.wait(30) == -9, run.output
        scenario.tally.kills += 1
    with scenario.load(seed + 1, shapes=False):
        watch = scenario.watch() if scenario.view is not None else None
        if watch is not None:
            watch.start()
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline or steps:
            step = steps.pop(0) if steps else None
            run = scenario.begin(environment={"SYNCLINE_FAILPOINT": step} if step else {})
            code = run.wait(20 if step else chance.uniform(0.5, 2.0))
            if code is None:
                run.kill()
            elif code >= 0:
                raise AssertionError(run.output)
            scenario.tally.kills += 1
    scenario.complete()
    if watch is not None:
        scenario.ended(watch)
    return scenario.judge()


@pytest.mark.parametrize("append", [False, True])
def test_a_right_replication_passes(
    append: bool, tmp_path: Path, source: PostgresServer, postgres_server: PostgresServer
) -> None:
    with make_reference(tmp_path, source, postgres_server, append=append) as scenario:
        assert _disturbed(scenario, 1, 5) == []
    print(f"\nreference: {scenario.tally}")
    assert scenario.tally.transactions > 100
    if not append:
        assert scenario.tally.looks > 5
        assert scenario.tally.confirmations > 5


@pytest.mark.parametrize("bug", BUGS)
def test_each_bug_is_found(bug: str, tmp_path: Path, source: PostgresServer, postgres_server: PostgresServer) -> None:
    with make_reference(tmp_path, source, postgres_server, append=bug in _IN_A_LOG, bug=bug) as scenario:
        try:
            found = _disturbed(scenario, 1, 5)
        except AssertionError as error:  # the bug made it fail, which nobody overlooks
            found = [str(error)[-300:]]
    print(f"\n{bug}: {found[:3]}")
    assert found
