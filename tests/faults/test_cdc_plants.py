"""Deliberate bugs in a copy of the product: the same suite that passes without them catches each."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.faults.cdc_faults import durable_lsn
from tests.faults.cdc_plants import PLANTS, Plant, planted
from tests.faults.cdc_scenario import ROOT, Scenario, make_syncline, start_source

from syncline.testing import power_cut
from syncline.testing.postgres_server import PostgresServer, start_postgres

pytestmark = [pytest.mark.faults, pytest.mark.slow]

SEED = int(os.environ.get("SYNCLINE_CDC_SEED", "20261121"))
#: The same disturbances without a bug: what they catch is then the bug and nothing else.
NO_BUGS = (
    Plant(name="none", file="__init__.py", old="", new=""),
    Plant(name="none, log", file="__init__.py", old="", new="", append=True, copying=True, kills=("apply.inside:3",)),
    Plant(name="none, power", file="__init__.py", old="", new="", power=True),
)


@pytest.fixture(scope="module")
def source() -> Iterator[PostgresServer]:
    with start_source(wal_sender_timeout="4s") as server:
        yield server


@pytest.fixture(scope="module")
def destination() -> Iterator[PostgresServer]:
    with start_postgres(settings={"synchronous_commit": "on"}) as server:
        yield server


@pytest.fixture(scope="module")
def caught() -> Iterator[list[str]]:
    names: list[str] = []
    yield names
    print(f"\nplanted bugs: caught {len(names)} of {len(PLANTS)}")


@pytest.mark.parametrize("plant", NO_BUGS, ids=lambda plant: plant.name)
def test_without_a_bug_nothing_is_caught(
    plant: Plant, tmp_path: Path, source: PostgresServer, destination: PostgresServer
) -> None:
    with _scenario(plant, tmp_path, ROOT / "src", source, destination) as scenario:
        assert _campaign(plant, scenario, tmp_path, ROOT / "src", destination) == []


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.name)
def test_a_planted_bug_is_caught(
    plant: Plant, tmp_path: Path, source: PostgresServer, destination: PostgresServer, caught: list[str]
) -> None:
    tree = planted(plant, tmp_path)
    with _scenario(plant, tmp_path, tree, source, destination) as scenario:
        try:
            found = _campaign(plant, scenario, tmp_path, tree, destination)
        except AssertionError as error:  # the bug made a run fail, which nobody overlooks
            found = [str(error)[-300:]]
    print(f"\n{plant.name}: {found[:2]}")
    assert found, f"{plant.name}: nothing was found"
    caught.append(plant.name)


def _scenario(plant: Plant, folder: Path, tree: Path, source: PostgresServer, destination: PostgresServer) -> Scenario:
    return make_syncline(
        folder,
        source,
        "postgres",
        destination=destination,
        append=plant.append,
        tree=tree,
        rows=5000,
        method={"spool": {"path": str(folder / "spool"), "durable": True}} if plant.power else None,
        source_options={"partition_bytes": 1 << 18},
    )


def _campaign(plant: Plant, scenario: Scenario, folder: Path, tree: Path, destination: PostgresServer) -> list[str]:
    notes = folder / "fsyncs"
    environment = power_cut.environment(folder / "site", notes, path=str(tree)) if plant.power else {}
    if not plant.copying:
        scenario.complete(environment=environment)
    watch = scenario.watch(durable=durable_lsn(folder / "spool") if plant.power else None) if scenario.view else None
    with scenario.load(SEED, shapes=False, truncates=not plant.append, per_second=60):
        if watch is not None:
            watch.start()
        if plant.copying:
            time.sleep(2)
            scenario.complete(environment=environment)
        for step in plant.kills:
            run = scenario.begin(environment={"SYNCLINE_FAILPOINT": step})
            code = run.wait(30)
            assert code in (None, -9), run.output
            run.kill()
        run = scenario.begin(environment=environment)
        if watch is not None:
            scenario.wait_until_follows(run)
        assert run.wait(5) is None, run.output
        if plant.power:
            destination.stop("immediate")
            try:
                time.sleep(5)
                run.kill()
                power_cut.cut(folder / "spool", notes)
            finally:
                destination.start()
            run = scenario.begin(environment=environment)
            assert run.wait(3) is None, run.output
    scenario.stop(run)
    scenario.complete(environment=environment)
    if watch is not None:
        scenario.ended(watch)
    return scenario.judge()
