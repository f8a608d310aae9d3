"""What ``docs/server/api-coverage.md`` says is there, is; and what no other test here calls."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.integration.api.conftest import made
from tests.integration.api.served import DUCKDB, POSTGRES, Served

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs/server/api-coverage.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `([A-Z]+) (/\S*)` \| (.*?) \| (.*?) \|$", PAGE, re.MULTILINE)


def sections() -> list[tuple[str, str, str]]:
    """(prefix, method, path) of each row that says that it is there."""
    found, prefix = [], ""
    for line in PAGE.splitlines():
        heading = re.fullmatch(r"## .*?`(/\S+)`.*", line)
        prefix = heading.group(1) if heading else prefix
        row = re.match(r"\| `([A-Z]+) (/\S*)` \|", line)
        if row:
            found.append((prefix, row.group(1), row.group(2)))
    return found


def test_the_page_names_every_operation_and_no_other(server: Served) -> None:
    for prefix in ("/api/public/v1", "/api/v1"):
        document = httpx.get(f"{server.base}{prefix}/openapi.json", timeout=60).json()
        served = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
        assert {(method, path) for at, method, path in sections() if at == prefix} == served


def test_the_tests_that_the_page_names_are_there() -> None:
    named = {name for *_, tests in ROWS for name in re.findall(r"`(\w+)`", tests)}
    assert named
    known = {path.stem for path in (ROOT / "tests").rglob("*.py")}
    assert named <= known


@pytest.mark.parametrize("noun", ["workspaces", "sources", "destinations"])
def test_limits(api: httpx.Client, noun: str, connection: dict[str, Any]) -> None:
    number = connection[f"{noun[:-1]}Id"]
    path = f"/api/syncline/v1/{noun}/{number}/limits"
    assert api.get(path).json() == {}
    assert api.put(path, json={"maxJobs": 3}).json() == {"maxJobs": 3}
    assert api.get(path).json() == {"maxJobs": 3}
    assert api.put(path, json={"maxJobs": 0}).status_code == 422
    assert api.put(path, json={"maxJobs": None}).json() == {}


@pytest.mark.parametrize(("role", "configuration"), [("source", POSTGRES), ("destination", DUCKDB)])
def test_actors_in_the_config_api(api: httpx.Client, server: Served, role: str, configuration: dict[str, Any]) -> None:
    kind = f"{role}Type"
    definitions = made(api, f"/api/v1/{role}_definitions/list_for_workspace", {"workspaceId": server.workspace})
    latest = made(api, f"/api/v1/{role}_definitions/list_latest", {})[f"{role}Definitions"]
    assert latest == definitions[f"{role}Definitions"]
    key = f"{role}DefinitionId"
    wanted = f"airbyte/{role}-{configuration[kind]}"
    definition = next(each for each in latest if each["dockerRepository"] == wanted)
    one = {key: definition[key]}
    assert made(api, f"/api/v1/{role}_definitions/get", one) == definition
    assert made(api, f"/api/v1/{role}_definitions/get_for_workspace", {**one, "workspaceId": server.workspace})
    specification = made(api, f"/api/v1/{role}_definition_specifications/get", {**one, "workspaceId": server.workspace})
    assert specification["connectionSpecification"]["properties"]
    body = {"name": "by config", "workspaceId": server.workspace, **one, "connectionConfiguration": configuration}
    actor = made(api, f"/api/v1/{role}s/create", body)
    number = {f"{role}Id": actor[f"{role}Id"]}
    assert made(api, f"/api/v1/{role}s/get", number)["name"] == "by config"
    renamed = {**number, "name": "renamed", "connectionConfiguration": actor["connectionConfiguration"]}
    assert made(api, f"/api/v1/{role}s/update", renamed)["name"] == "renamed"
    assert made(api, f"/api/v1/{role}s/partial_update", {**number, "name": "again"})["name"] == "again"
    listed = made(api, f"/api/v1/{role}s/list", {"workspaceId": server.workspace})[f"{role}s"]
    assert actor[f"{role}Id"] in [each[f"{role}Id"] for each in listed]
    assert api.post(f"/api/v1/{role}s/delete", json=number).status_code == 204
    assert api.post(f"/api/v1/{role}s/get", json=number).status_code == 404


def test_workspaces_and_people_in_the_config_api(api: httpx.Client, server: Served) -> None:
    workspace = made(api, "/api/v1/workspaces/create", {"name": "by config", "email": "a@b.c"})
    number = {"workspaceId": workspace["workspaceId"]}
    assert made(api, "/api/v1/workspaces/update", {**number, "name": "renamed"})["name"] == "renamed"
    assert api.post("/api/v1/workspaces/delete", json=number).status_code == 204
    (user,) = [each for each in api.get("/v1/users").json()["data"] if each["email"] == "admin@localhost"]
    one = {"userId": user["id"]}
    assert made(api, "/api/v1/users/get", one)["email"] == "admin@localhost"
    assert made(api, "/api/v1/organizations/list_by_user_id", one)["organizations"]


def test_connections_and_jobs_in_the_config_api(api: httpx.Client, server: Served, connection: dict[str, Any]) -> None:
    number = {"connectionId": connection["connectionId"]}
    listed = made(api, "/api/v1/connections/list_all", {"workspaceId": server.workspace})["connections"]
    assert connection["connectionId"] in [each["connectionId"] for each in listed]
    streams = [{"streamName": "orders"}]
    reset = made(api, "/api/v1/connections/reset/stream", {**number, "streams": streams})
    assert reset["job"]["configType"] == "reset_connection"
    assert made(api, "/api/v1/jobs/get_light", {"id": reset["job"]["id"]})["job"]["id"] == reset["job"]["id"]
    assert api.delete(f"/v1/jobs/{reset['job']['id']}").json()["status"] == "cancelled"
    # Of the connector's own columns nothing is known here: the ends are nowhere.
    state = {**number, "connectionState": {**number, "stateType": "legacy"}}
    assert api.post("/api/v1/state/create_or_update", json=state).status_code == 422


@pytest.mark.parametrize("kind", ["sources", "destinations", "declarative_sources"])
def test_definitions_live_and_go(api: httpx.Client, server: Served, kind: str) -> None:
    base = f"/v1/workspaces/{server.workspace}/definitions/{kind}"
    body: dict[str, Any] = {"name": "own", "dockerRepository": "acme/own", "dockerImageTag": "1"}
    if kind == "declarative_sources":
        body = {"name": "own", "manifest": {"version": "6.0.0", "type": "DeclarativeSource", "streams": []}}
    number = made(api, base, body)["id"]
    assert api.get(f"{base}/{number}").json()["name"] == "own"
    assert number in [each["id"] for each in api.get(base).json()["data"]]
    changed = api.put(f"{base}/{number}", json={**body, "name": "other", "dockerImageTag": "2"})
    assert changed.status_code == 200, changed.text
    answer = api.delete(f"{base}/{number}")
    assert (answer.status_code, answer.json()["id"]) == (200, number)
    assert api.get(f"{base}/{number}").status_code == 404
