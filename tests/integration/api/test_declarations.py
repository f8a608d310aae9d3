"""``syncline apply`` and ``syncline export``: the file and the server are made equal, and nothing else is touched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from tests.integration.api.served import Served, served
from typer.testing import CliRunner

from syncline.cli.main import app
from syncline.core.errors import ErrorKind, SynclineError

FILE: dict[str, Any] = {
    "sources": {
        "shop": {
            "type": "postgres",
            "config": {
                "host": "db.invalid",
                "port": 5432,
                "database": "shop",
                "username": "reader",
                "password": "${SHOP_PASSWORD}",
            },
        }
    },
    "destinations": {"copy": {"type": "duckdb", "config": {"destination_path": "/nowhere/copy.duckdb"}}},
    "connections": {
        "orders": {
            "source": "shop",
            "destination": "copy",
            "schedule": "0 3 * * *",
            "time_zone": "Europe/Berlin",
            "tags": ["nightly", "Finance"],
            "mode": "incremental",
            "streams": [
                {"name": "public.orders", "mode": "incremental_deduped_history", "primary_key": ["id"]},
                {"name": "public.customers"},
            ],
        },
        "late": {"source": "shop", "destination": "copy", "after": {"all": ["orders"]}, "priority": 5},
    },
}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("apply")) as server:
        yield server


class Project:
    """A workspace of its own, and a file beside it."""

    def __init__(self, running: Served, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.file = folder / "project.yaml"
        self.api = running.bearer()
        self.workspace = self.api.post("/v1/workspaces", json={"name": folder.name}).json()["workspaceId"]
        self.content: dict[str, Any] = yaml.safe_load(yaml.safe_dump(FILE))
        monkeypatch.setenv("SYNCLINE_URL", running.base)
        monkeypatch.setenv("SYNCLINE_TOKEN", running.token())
        monkeypatch.setenv("SHOP_PASSWORD", "swordfish-1")

    def run(self, *arguments: str) -> tuple[int, str]:
        """The exit code, and what was printed. Our errors are raised."""
        done = CliRunner().invoke(app, [*arguments, "--workspace", self.workspace])
        if isinstance(done.exception, SynclineError):
            raise done.exception
        return done.exit_code, done.output

    def apply(self, *options: str) -> tuple[int, str]:
        self.file.write_text(yaml.safe_dump(self.content, sort_keys=False))
        return self.run("apply", str(self.file), *options)

    def named(self, noun: str) -> dict[str, Any]:
        found = self.api.get(f"/v1/{noun}s", params={"workspaceIds": self.workspace, "limit": 100}).json()["data"]
        return {each["name"]: each for each in found}


@pytest.fixture
def project(running: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    made = Project(running, tmp_path, monkeypatch)
    yield made
    made.api.close()


def test_what_was_applied_is_there_and_is_written_out_equal(project: Project) -> None:
    code, told = project.apply("--yes")
    assert code == 0
    assert "applied: 4 created, 0 unchanged" in told
    orders = project.named("connection")["orders"]
    assert orders["schedule"]["cronExpression"] == "0 3 * * *"
    assert {tag["name"] for tag in orders["tags"]} == {"nightly", "Finance"}
    assert [(s["namespace"], s["name"]) for s in orders["configurations"]["streams"]] == [
        ("public", "orders"),
        ("public", "customers"),
    ]
    late = project.api.get(f"/api/syncline/v1/connections/{project.named('connection')['late']['connectionId']}").json()
    assert late["schedule"]["after"]["all"] == [orders["connectionId"]]
    assert project.apply("--check") == (0, "plan: 4 unchanged\n")
    assert yaml.safe_load(project.run("export")[1]) == FILE


def test_what_others_made_is_written_out_so_that_it_can_be_applied(project: Project) -> None:
    """Through the store's own words, not the file's."""
    project.apply("--yes")
    for name, each in project.named("connection").items():
        project.api.patch(f"/v1/connections/{each['connectionId']}", json={"prefix": f"{name}_"})
    source = project.named("source")["shop"]
    project.api.patch(f"/v1/sources/{source['sourceId']}", json={"configuration": {"port": 5433}})
    written = yaml.safe_load(project.run("export")[1])
    assert written["sources"]["shop"]["config"]["password"] == "**********"
    assert written["connections"]["orders"]["prefix"] == "orders_"
    project.content = written
    assert project.apply("--check")[1] == "plan: 4 unchanged\n"
    del written["connections"]["orders"]["prefix"], written["connections"]["late"]["prefix"]
    written["connections"]["orders"]["tags"].reverse()  # in no order of their own
    assert written["connections"] == FILE["connections"]


def test_a_change_by_others_is_drift(project: Project) -> None:
    project.apply("--yes")
    orders = project.named("connection")["orders"]
    project.api.patch(f"/v1/connections/{orders['connectionId']}", json={"status": "inactive"})
    code, told = project.apply("--check")
    assert code == 1
    assert "~ change connection orders\n    enabled: false -> nothing" in told
    assert project.apply("--yes")[0] == 0
    assert project.named("connection")["orders"]["status"] == "active"
    assert project.apply("--check")[0] == 0


def test_a_secret_changes_and_is_never_shown(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.apply("--yes")
    monkeypatch.setenv("SHOP_PASSWORD", "swordfish-2")
    code, told = project.apply("--check")
    assert code == 1
    assert "password: another secret" in told
    code, told = project.apply("--yes", "--json")
    assert code == 0
    assert "swordfish" not in told + project.run("export")[1]
    assert project.apply("--check")[0] == 0


def test_a_literal_secret_is_a_mask_in_what_is_written_out_and_a_mask_changes_nothing(project: Project) -> None:
    project.content["sources"]["shop"]["config"]["password"] = "swordfish-3"
    project.apply("--yes")
    written = yaml.safe_load(project.run("export")[1])
    assert written["sources"]["shop"]["config"]["password"] == "**********"
    project.content = written
    assert project.apply("--check") == (0, "plan: 4 unchanged\n")


def test_what_the_file_no_longer_names_goes_and_what_others_made_stays(project: Project) -> None:
    project.apply("--yes")
    body = {"name": "by hand", "workspaceId": project.workspace, "configuration": {"destinationType": "duckdb"}}
    body["configuration"]["destination_path"] = "/nowhere/hand.duckdb"
    assert project.api.post("/v1/destinations", json=body).status_code == 200
    del project.content["connections"]["late"]
    code, told = project.apply("--yes")
    assert code == 0
    assert "- remove connection late" in told
    assert "left alone: destination by hand" in told
    assert list(project.named("connection")) == ["orders"]
    assert set(project.named("destination")) == {"copy", "by hand"}
    assert "- remove destination by hand" in project.apply("--yes", "--prune")[1]
    assert set(project.named("destination")) == {"copy"}


def test_a_connection_between_others_is_made_anew(project: Project) -> None:
    project.apply("--yes")
    before = project.named("connection")["late"]["connectionId"]
    project.content["destinations"]["other"] = {"type": "duckdb", "config": {"destination_path": "/nowhere/2.duckdb"}}
    project.content["connections"]["late"]["destination"] = "other"
    told = project.apply("--yes")[1]
    assert "! replace connection late" in told
    assert "everything is read again" in told
    assert project.named("connection")["late"]["connectionId"] != before
    assert project.apply("--check")[0] == 0


def test_what_changes_says_what_it_costs(project: Project) -> None:
    project.apply("--yes")
    project.content["connections"]["orders"]["streams"] = ["public.customers", "public.returns"]
    project.content["destinations"]["copy"]["config"]["destination_path"] = "/nowhere/moved.duckdb"
    code, told = project.apply("--check")
    assert code == 1
    assert "=> public.returns is read whole" in told
    assert "=> public.orders is no longer synced; its table stays" in told
    assert "everything is read again into the new one" in told


def test_nothing_is_done_without_a_yes_nor_by_an_old_plan(project: Project) -> None:
    project.file.write_text(yaml.safe_dump(project.content))
    done = CliRunner().invoke(app, ["apply", str(project.file), "--workspace", project.workspace], input="n\n")
    assert done.exit_code == 1
    assert project.named("source") == {}
    body = {"workspaceId": project.workspace, "document": {"sources": FILE["sources"]}, "digest": "0" * 32}
    assert project.api.post("/api/syncline/v1/declarations/apply", json=body).status_code == 409
    assert project.named("source") == {}


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        (("connections", "orders", "after"), ["late"], "beside after"),
        (("connections", "late", "after"), ["late"], "wait for itself"),
        (("connections", "late", "after"), ["ordres"], "names 'ordres'"),
        (("connections", "late", "schedule"), "61 * * * *", ""),
        (("sources", "shop", "type"), "postgers", "no source connector 'postgers'"),
        (("sources", "shop", "config", "hots"), "x", "hots"),
        (("sources", "shop", "config", "password"), "${NOT_SET_ANYWHERE}", "NOT_SET_ANYWHERE is not set"),
    ],
)
def test_a_wrong_file_changes_nothing(project: Project, place: tuple[str, ...], value: Any, told: str) -> None:
    *above, last = place
    block = project.content
    for key in above:
        block = block[key]
    block[last] = value
    if place[-1] == "schedule":
        del block["after"]
    with pytest.raises(SynclineError) as caught:
        project.apply("--yes")
    assert caught.value.kind is ErrorKind.CONFIG
    assert told in str(caught.value)
    assert project.named("source") == {}


def test_a_reader_may_write_out_and_not_apply(project: Project, running: Served) -> None:
    project.apply("--yes")
    user = {"email": "r@localhost", "name": "r", "password": "long enough 1"}
    made = project.api.post("/api/syncline/v1/users", json=user).json()
    right = {"userId": made["userId"], "permissionType": "workspace_reader", "workspaceId": project.workspace}
    assert project.api.post("/v1/permissions", json=right).status_code == 200
    with httpx.Client(base_url=running.base, auth=("r@localhost", "long enough 1")) as reader:
        found = reader.get("/api/syncline/v1/declarations", params={"workspaceId": project.workspace})
        assert found.status_code == 200
        body = {"workspaceId": project.workspace, "document": {}}
        assert reader.post("/api/syncline/v1/declarations/plan", json=body).status_code == 403
        assert reader.post("/api/syncline/v1/declarations/apply", json=body).status_code == 403
