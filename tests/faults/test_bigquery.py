"""BigQuery's counterpart: the sync killed at every named step in each mode, and the second of the users' documents, a
log that is followed under load and killed. Both ends are equal at the end.

``SYNCLINE_KILL_ROUNDS`` multiplies the rounds, ``SYNCLINE_KILL_SEED`` chooses others."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tests.faults.bigquery_end import BigQueryEnd, matrix_target
from tests.faults.cdc_scenario import Scenario as CdcScenario
from tests.faults.cdc_scenario import Tally as CdcTally
from tests.faults.cdc_scenario import make_syncline, start_source
from tests.faults.kill_matrix import PRELOAD, Scenario, Source, Tally

from syncline.core.failpoints import PLAN_STEPS
from syncline.testing.bigquery_server import BigQueryServer, prepare_bigquery, start_bigquery
from syncline.testing.postgres_server import PostgresServer
from syncline.testing.zygote import Zygote

pytestmark = [pytest.mark.faults, pytest.mark.clients, pytest.mark.slow, pytest.mark.unsettled]

ROUNDS = int(os.environ.get("SYNCLINE_KILL_ROUNDS", "1"))
SEED = int(os.environ.get("SYNCLINE_KILL_SEED", "20261121"))
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "postgres-to-bigquery.yaml"
CASES = [
    ("full_refresh_overwrite", "keyed"),
    ("full_refresh_append", "keyed"),
    ("full_refresh_overwrite_deduped", "keyed"),
    ("incremental_append", "keyed"),
    ("incremental_deduped_history", "keyed"),
    ("full_refresh_overwrite", "keyless"),
]
_COPYING = ("plan.committed", "read.first", "seal.after", "commit.inside", "commit.after", "publish.inside")
_FLOWING = ("log.read", "apply.inside", "commit.inside:2", "apply.committed", "apply.position")


@pytest.fixture(scope="module")
def server() -> Iterator[BigQueryServer]:
    prepare_bigquery()
    with start_bigquery() as running:
        yield running


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    with Zygote((*PRELOAD, "google.cloud.bigquery")) as process:
        yield process


@pytest.fixture(scope="module")
def total() -> Iterator[Tally]:
    tally = Tally()
    yield tally
    print(f"\nkill matrix of BigQuery: {tally}")


@pytest.mark.parametrize(("mode", "table"), CASES)
def test_killed_at_every_step(
    mode: str,
    table: str,
    tmp_path: Path,
    postgres_server: PostgresServer,
    server: BigQueryServer,
    zygote: Zygote,
    total: Tally,
) -> None:
    chance = random.Random(f"{SEED} bigquery {mode} {table}")
    # Four partitions: each is a transaction of its own, for which the counterpart takes a second.
    source = Source(dsn=postgres_server.dsn(postgres_server.create_database()), rows=160, random=chance)
    source.create()
    scenario = Scenario(zygote, source, matrix_target(server), mode, table, tmp_path)
    for _ in range(ROUNDS):
        points: list[str] = [*PLAN_STEPS, "commit.inside:2", "commit.after:2", "seal.after:2"]
        chance.shuffle(points)
        while points:
            several = [points.pop() for _ in range(min(len(points), chance.randint(1, 4)))]
            scenario.round(several, total)
        scenario.round([chance.uniform(0.5, 5.0) for _ in range(3)], total)


@pytest.fixture(scope="module")
def log_source() -> Iterator[PostgresServer]:
    with start_source() as running:
        yield running


@pytest.mark.parametrize("deletes", ["hard", "soft"])
def test_the_second_document(deletes: str, tmp_path: Path, log_source: PostgresServer, server: BigQueryServer) -> None:
    """The example's file with this source and this dataset in it."""
    tally = CdcTally()
    with make_syncline(tmp_path, log_source, "bigquery", deletes=deletes, rows=200) as scenario:
        scenario.end, scenario.tally = _as_the_example(scenario, tmp_path, server), tally
        with scenario.load(SEED, shapes=False, large=False, truncates=False, per_second=2):
            for step in _COPYING * ROUNDS:
                _killed_at(scenario, step, follow=False)
        scenario.complete(1800)
        assert scenario.judge() == []
        with scenario.load(SEED + 1, per_second=2):
            for step in _FLOWING * ROUNDS:
                _killed_at(scenario, step, follow=True)
        scenario.complete(1800)
        assert scenario.judge() == []
    print(f"\nthe second document, {deletes} deletions: {tally}")


def _as_the_example(scenario: CdcScenario, folder: Path, server: BigQueryServer) -> BigQueryEnd:
    """Put the example's destination into the scenario's file."""
    dataset = server.create_dataset()
    path = folder / "project.yaml"
    project = yaml.safe_load(path.read_text(encoding="utf-8"))
    example = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    assert example["source"]["config"]["replication_method"] == {"method": "CDC"}
    config = {**example["destination"]["config"], **server.config(dataset), "merge_interval": 1}
    project["destination"] = {**example["destination"], "config": config}
    project["sync"]["mode"] = example["sync"]["mode"]
    path.write_text(yaml.safe_dump(project), encoding="utf-8")
    return BigQueryEnd(server, dataset)


def _killed_at(scenario: CdcScenario, step: str, *, follow: bool) -> None:
    run = scenario.begin(follow=follow, environment={"SYNCLINE_FAILPOINT": step})
    code = run.wait(300)
    if code is None:
        run.kill()
    elif code != -9:
        scenario.ended_well(run, code)
        return
    scenario.tally.kills += 1
