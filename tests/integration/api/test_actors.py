"""Sources and destinations: which connector they name, how secrets are told, what changes keep."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from tests.integration.api.conftest import made
from tests.integration.api.served import DUCKDB, POSTGRES, Served

MASK = "**********"


def test_a_source_is_made_by_its_type(api: httpx.Client, source: dict[str, Any], server: Served) -> None:
    assert source["sourceType"] == "postgres"
    assert source["definitionId"] == "decd338e-5647-4c0b-adf4-da0e75f5a750"
    assert source["workspaceId"] == server.workspace
    assert isinstance(source["createdAt"], int)
    assert source["configuration"]["password"] == MASK
    assert source["configuration"]["port"] == 5432
    assert api.get(f"/v1/sources/{source['sourceId']}").json() == source


def test_a_definition_wins_over_the_type(api: httpx.Client, server: Served) -> None:
    configuration = {key: value for key, value in POSTGRES.items() if key != "sourceType"}
    body = {
        "name": "generic",
        "workspaceId": server.workspace,
        "definitionId": "decd338e-5647-4c0b-adf4-da0e75f5a750",
        "configuration": configuration,
    }
    assert made(api, "/v1/sources", body)["sourceType"] == "postgres"


def test_a_destination_always_names_its_type(api: httpx.Client, destination: dict[str, Any], server: Served) -> None:
    """The Python SDK cannot read a list with one that does not."""
    assert destination["configuration"]["destinationType"] == "duckdb"
    body = {
        "name": "by definition",
        "workspaceId": server.workspace,
        "definitionId": destination["definitionId"],
        "configuration": {"destination_path": "/nowhere/x.duckdb"},
    }
    other = made(api, "/v1/destinations", body)
    assert other["configuration"]["destinationType"] == "duckdb"
    assert api.get(f"/v1/destinations/{other['destinationId']}").json() == other


def test_a_patch_keeps_what_it_does_not_name(api: httpx.Client, source: dict[str, Any]) -> None:
    path = f"/v1/sources/{source['sourceId']}"
    renamed = api.patch(path, json={"name": "renamed"}).json()
    assert renamed["name"] == "renamed"
    assert renamed["configuration"] == source["configuration"]
    moved = api.patch(path, json={"configuration": {"host": "other.invalid", "password": MASK}}).json()
    assert moved["configuration"]["host"] == "other.invalid"
    assert moved["configuration"]["database"] == "shop"
    assert moved["configuration"]["password"] == MASK


def test_a_put_replaces(api: httpx.Client, source: dict[str, Any]) -> None:
    configuration = {**POSTGRES, "host": "third.invalid", "password": MASK}
    answer = api.put(f"/v1/sources/{source['sourceId']}", json={"name": "put", "configuration": configuration})
    assert answer.status_code == 200, answer.text
    assert answer.json()["configuration"]["host"] == "third.invalid"
    assert api.put(f"/v1/sources/{source['sourceId']}", json={"name": "put"}).status_code == 422


@pytest.mark.parametrize("noun", ["sources", "destinations"])
def test_a_deleted_one_is_gone(api: httpx.Client, server: Served, noun: str) -> None:
    word = noun[:-1]
    configuration = POSTGRES if word == "source" else DUCKDB
    body = {"name": "short-lived", "workspaceId": server.workspace, "configuration": configuration}
    path = f"/v1/{noun}/{made(api, f'/v1/{noun}', body)[f'{word}Id']}"
    answer = api.delete(path)
    assert answer.status_code == 204
    assert answer.content == b""
    assert api.get(path).status_code == 404
    assert api.delete(path).status_code == 404


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"configuration": {"sourceType": "no-such-thing"}}, 422),
        ({"configuration": {"host": "x"}}, 422),
        ({"configuration": None}, 422),
        ({"configuration": []}, 422),
        ({"name": ""}, 422),
        ({"name": None}, 422),
        ({"name": 7}, 422),
        ({"name": "x" * 10_000}, 422),
        ({"workspaceId": "00000000-0000-0000-0000-000000000001"}, 404),
        ({"workspaceId": "nonsense"}, 422),
        ({"definitionId": "00000000-0000-0000-0000-000000000001"}, 404),
    ],
)
def test_a_wrong_body_is_refused(api: httpx.Client, server: Served, change: dict[str, Any], status: int) -> None:
    body = {"name": "wrong", "workspaceId": server.workspace, "configuration": POSTGRES, **change}
    answer = api.post("/v1/sources", json=body)
    assert answer.status_code == status, answer.text
    assert "hunter2-secret" not in answer.text


def test_unknown_fields_are_ignored(api: httpx.Client, server: Served) -> None:
    body = {"name": "extra", "workspaceId": server.workspace, "configuration": POSTGRES}
    made(api, "/v1/sources", {**body, "dataResidency": "auto", "x": 1})


def test_the_config_api_tells_the_same(api: httpx.Client, source: dict[str, Any], destination: dict[str, Any]) -> None:
    found = api.post("/api/v1/sources/get", json={"sourceId": source["sourceId"]}).json()
    assert found["connectionConfiguration"] == source["configuration"]
    assert found["sourceDefinitionId"] == source["definitionId"]
    listed = api.post("/api/v1/destinations/list", json={"workspaceId": destination["workspaceId"]}).json()
    assert destination["destinationId"] in [each["destinationId"] for each in listed["destinations"]]
    renamed = api.post("/api/v1/sources/update", json={"sourceId": source["sourceId"], "name": "by config"})
    assert renamed.json()["name"] == "by config"
    answer = api.post("/api/v1/sources/delete", json={"sourceId": source["sourceId"]})
    assert (answer.status_code, answer.content) == (204, b"")


def test_a_failing_check_is_a_success_that_says_why(api: httpx.Client, source: dict[str, Any]) -> None:
    answer = api.post("/api/v1/sources/check_connection", json={"sourceId": source["sourceId"]}, timeout=30)
    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] == "failed"
    assert answer.json()["message"]
    assert "hunter2-secret" not in answer.text
    discovered = api.post("/api/v1/sources/discover_schema", json={"sourceId": source["sourceId"]}, timeout=30)
    assert discovered.status_code == 200, discovered.text
    assert discovered.json()["jobInfo"]["succeeded"] is False
    streams = api.get("/v1/streams", params={"sourceId": source["sourceId"]}, timeout=30)
    assert streams.status_code in (409, 422), streams.text


def test_looks_at_what_is_not_there_are_not_found(api: httpx.Client) -> None:
    nothing = "00000000-0000-0000-0000-000000000001"
    assert api.post("/api/v1/sources/check_connection", json={"sourceId": nothing}).status_code == 404
    assert api.post("/api/v1/sources/discover_schema", json={"sourceId": nothing}).status_code == 404
    assert api.get("/v1/streams", params={"sourceId": nothing}).status_code == 404


@pytest.mark.parametrize(
    ("configuration", "shown", "typed"),
    [
        ({"sourceType": "postgres", "replication_method": "CDC"}, {"replication_method": {"method": "CDC"}}, False),
        ({"sourceType": "postgres", "ssl_mode": "require"}, {"ssl_mode": {"mode": "require"}}, True),
        (
            {"sourceType": "mysql", "replication_method": "STANDARD"},
            {"replication_method": {"method": "STANDARD"}},
            True,
        ),
        ({"sourceType": "mysql"}, {}, False),
    ],
)
def test_a_short_form_is_shown_as_the_object_that_clients_parse(
    api: httpx.Client, server: Served, configuration: dict[str, Any], shown: dict[str, Any], typed: bool
) -> None:
    """And a source names its type only when it has all that the clients' model of that type requires."""
    about = {"host": "db.invalid", "database": "shop", "username": "reader", "password": "p"}
    body = {"name": "short", "workspaceId": server.workspace, "configuration": about | configuration}
    made_ = made(api, "/v1/sources", body)
    assert made_["configuration"].items() >= shown.items()
    assert ("sourceType" in made_["configuration"]) is typed
