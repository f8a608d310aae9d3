"""Gates and steps on a server: a chain S1 -> D1 -> transform -> D2 from one applied file, verdicts over HTTP, a copy
that is held back, and programs that a server does not run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import httpx
import pytest
import yaml
from tests.integration.api.server_process import server_process
from typer.testing import CliRunner

from syncline.cli.main import app
from syncline.testing.postgres_server import PostgresServer

pytestmark = pytest.mark.slow

OWN = "/api/syncline/v1"
EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "chain-with-transform.yaml"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with server_process(tmp_path_factory.mktemp("api-quality"), SYNCLINE_AUTH="none") as server:
        yield server


class Chain:
    """The shipped example, on databases of this test."""

    def __init__(self, server: PostgresServer, database: str, folder: Path, base: str) -> None:
        self.server, self.database = server, database
        self.client = httpx.Client(base_url=base, timeout=30)
        self.file = folder / "chain.yaml"
        self.report = folder / "report.duckdb"
        self.content: Any = yaml.safe_load(EXAMPLE.read_text())
        p = server.params(database)
        for each in (*self.content["sources"].values(), self.content["destinations"]["warehouse"]):
            each["config"] |= {
                "host": p["host"],
                "port": p["port"],
                "database": database,
                "username": p["user"],
                "password": p["password"],
            }
        self.content["destinations"]["report"]["config"]["destination_path"] = str(self.report)
        self.sql("CREATE SCHEMA gold", "CREATE TABLE orders (id int PRIMARY KEY, amount numeric(12,2), placed_on date)")
        self.sql("INSERT INTO orders SELECT i, i, '2026-01-01' FROM generate_series(1, 4) i")
        self.sql("CREATE TABLE gold.revenue (day date PRIMARY KEY, amount numeric(14,2), run text)")

    def sql(self, *statements: str) -> None:
        self.server.execute(*statements, dbname=self.database)

    def apply(self) -> str:
        self.file.write_text(yaml.safe_dump(self.content, sort_keys=False))
        done = CliRunner().invoke(app, ["apply", str(self.file), "--yes", "--url", str(self.client.base_url)])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == 0, done.output
        return done.output

    def id_of(self, name: str) -> str:
        found = self.client.get("/v1/connections", params={"limit": 100}).json()["data"]
        return next(str(c["connectionId"]) for c in found if c["name"] == name)

    def run(self, name: str) -> Any:
        job = self.client.post("/v1/jobs", json={"connectionId": self.id_of(name), "jobType": "sync"}).json()
        return self.ended(int(job["jobId"]))

    def ended(self, job: int) -> Any:
        found: Any = None
        for _ in range(1200):
            found = self.client.get(f"/v1/jobs/{job}").json()
            if found["status"] not in ("pending", "running", "incomplete"):
                return found
            time.sleep(0.1)
        raise AssertionError(found)

    def following(self, name: str) -> Any:
        """The job that came after."""
        for _ in range(600):
            jobs = self.client.get("/v1/jobs", params={"connectionId": self.id_of(name), "limit": 1}).json()["data"]
            if jobs:
                return self.ended(int(jobs[0]["jobId"]))
            time.sleep(0.1)
        raise AssertionError("nothing followed")


@pytest.fixture
def chain(
    running: dict[str, str], postgres_server: PostgresServer, postgres_db: str, tmp_path: Path
) -> Iterator[Chain]:
    made = Chain(postgres_server, postgres_db, tmp_path, running["base"])
    yield made
    for name in ("orders-to-bronze", "revenue-to-report"):
        made.client.delete(f"/v1/connections/{made.id_of(name)}")
    made.client.close()


def test_a_chain_runs_its_transform_in_the_middle_and_tells_its_verdicts(chain: Chain) -> None:
    chain.apply()
    assert chain.run("orders-to-bronze")["status"] == "succeeded"
    assert chain.following("revenue-to-report")["status"] == "succeeded"
    with duckdb.connect(str(chain.report), read_only=True) as con:
        assert con.execute("SELECT day::text, amount FROM revenue").fetchall() == [("2026-01-01", 10)]
    path = f"{OWN}/connections/{chain.id_of('orders-to-bronze')}/quality"
    (stream,) = chain.client.get(path).json()["streams"]
    assert stream["published"]
    assert {r["gate"]: r["status"] for r in stream["results"]} == {
        "not_null id": "passed",
        "not_null amount": "passed",
        "range amount": "passed",
        "row_count": "passed",
    }
    chain.sql("UPDATE orders SET amount = NULL WHERE id = 2", "UPDATE orders SET amount = -1 WHERE id = 3")
    assert chain.run("orders-to-bronze")["status"] == "failed"
    (stream,) = chain.client.get(path).json()["streams"]
    assert not stream["published"]
    assert "_syncline_g2_" in stream["place"]
    assert [(v["published"], v["broken"]) for v in stream["history"]] == [(True, 0), (False, 2)]


def test_a_server_refuses_to_run_programs_unless_told(chain: Chain) -> None:
    chain.content["connections"]["orders-to-bronze"]["transforms"] = [{"command": ["true"]}]
    chain.apply()
    job = chain.run("orders-to-bronze")
    assert job["status"] == "failed"
    attempt = chain.client.get(f"{OWN}/jobs/{job['jobId']}").json()
    assert "SYNCLINE_PROGRAMS" in str(attempt)
