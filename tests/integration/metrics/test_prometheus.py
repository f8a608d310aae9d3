"""The rules and the dashboard that we ship, in a real Prometheus that scrapes a real server: every query runs, every
metric that one names exists, a rule fires."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from tests.integration.api.conftest import made
from tests.integration.api.server_process import server_process

DEPLOY = Path(__file__).parents[3] / "deploy"
NAMES = re.compile(r"\b((?:syncline|pipeline)_[a-z_]+)")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="no Prometheus here (Debian's package prometheus)"),
]


def rules() -> list[dict[str, Any]]:
    found = yaml.safe_load((DEPLOY / "prometheus" / "rules.yaml").read_text(encoding="utf-8"))
    return [rule for group in found["groups"] for rule in group["rules"]]


def queries() -> list[str]:
    dashboard = json.loads((DEPLOY / "grafana" / "syncline.json").read_text(encoding="utf-8"))
    of_panels = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    return [expression.replace("$connection", ".*") for expression in of_panels] + [rule["expr"] for rule in rules()]


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A Prometheus that scrapes a server in which one sync succeeded and one failed."""
    folder = tmp_path_factory.mktemp("prometheus")
    with server_process(folder, SYNCLINE_AUTH="none") as server:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        configuration = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yaml").read_text(encoding="utf-8"))
        configuration["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        configuration["rule_files"] = [str(DEPLOY / "prometheus" / "rules.yaml")]
        configuration["scrape_configs"][0]["static_configs"] = [{"targets": [server["base"].split("//")[1]]}]
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(configuration), encoding="utf-8")
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={folder / 'prometheus.yaml'}",
                f"--web.listen-address=127.0.0.1:{port}",
                f"--storage.tsdb.path={folder / 'data'}",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as prometheus:
                until(lambda: _ready(prometheus))
                until(lambda: value(prometheus, "syncline_connections") is not None)  # before anything ran
                _two_runs(server, folder)
                yield prometheus
        finally:
            process.terminate()
            process.wait(30)


def _ready(prometheus: httpx.Client) -> bool:
    try:
        return prometheus.get("/-/ready").status_code == 200
    except httpx.HTTPError:
        return False


def _two_runs(server: dict[str, str], folder: Path) -> None:
    with httpx.Client(base_url=server["base"], timeout=30) as client:
        about = {"name": "erp numbers", "workspaceId": server["workspace_id"]}
        source = {"sourceType": "files", "path": str(folder), "streams": [{"name": "in", "globs": ["in.csv"]}]}
        target = {"destinationType": "local", "path": str(folder / "lake")}
        source_id = made(client, "/v1/sources", {**about, "configuration": source})["sourceId"]
        to = made(client, "/v1/destinations", {**about, "configuration": target})["destinationId"]
        body = {"name": "erp numbers", "sourceId": source_id, "destinationId": to}
        connection = made(client, "/v1/connections", body)["connectionId"]
        for status in ("failed", "succeeded", "failed"):
            data = folder / "in.csv"
            data.write_text("id\n1\n", encoding="utf-8") if status == "succeeded" else data.unlink(missing_ok=True)
            job = made(client, "/v1/jobs", {"connectionId": connection, "jobType": "sync"})["jobId"]
            until(lambda job=job, status=status: client.get(f"/v1/jobs/{job}").json()["status"] == status)
            time.sleep(2.5)  # at least one scrape between two ends: an increase needs both sides


def until(condition: Any, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.2)


def value(prometheus: httpx.Client, query: str) -> Any:
    answer = prometheus.get("/api/v1/query", params={"query": query})
    assert answer.status_code == 200, (query, answer.text)
    found = answer.json()["data"]["result"]
    return found or None


def test_every_query_runs_and_names_what_exists(scraped: httpx.Client) -> None:
    metadata = scraped.get("/api/v1/targets/metadata", params={"limit": 10_000}).json()["data"]
    known = {each["metric"].removesuffix("_total") for each in metadata}
    assert "pipeline_runs" in known
    for query in queries():
        value(scraped, query)
        for name in NAMES.findall(query):
            base = re.sub(r"_(total|bucket|count|sum)$", "", name)
            assert base in known, f"{query} names {name}, which nobody exports"


def test_values_arrive(scraped: httpx.Client) -> None:
    (runs,) = value(scraped, 'pipeline_runs_total{pipeline="erp numbers",status="succeeded"}')
    assert runs["value"][1] == "1"
    (rows,) = value(scraped, "syncline_rows_written_total")
    assert rows["value"][1] == "1"
    (fresh,) = value(scraped, "time() - syncline_last_success_timestamp_seconds")
    assert 0 <= float(fresh["value"][1]) < 120


def test_rules_fire(scraped: httpx.Client) -> None:
    def firing() -> set[str]:
        alerts = scraped.get("/api/v1/alerts").json()["data"]["alerts"]
        return {each["labels"]["alertname"] for each in alerts if each["state"] == "firing"}

    until(lambda: {"SynclineSyncFailed", "SynclineFewRows"} <= firing())


def test_the_rules_are_well_formed() -> None:
    promtool = shutil.which("promtool")
    assert promtool is not None
    for arguments in (["check", "rules", "rules.yaml"], ["check", "config", "prometheus.yaml"]):
        checked = subprocess.run([promtool, *arguments], cwd=DEPLOY / "prometheus", capture_output=True, text=True)
        assert checked.returncode == 0, checked.stderr + checked.stdout
