"""Workspaces, definitions, organizations, tags and people, in both APIs."""

from __future__ import annotations

import uuid
from typing import Any

import httpx
import pytest
from tests.integration.api.conftest import made
from tests.integration.api.served import Served

NOTHING = "00000000-0000-0000-0000-000000000001"


def test_the_first_workspace(api: httpx.Client, server: Served) -> None:
    found = api.get(f"/v1/workspaces/{server.workspace}").json()
    assert found["workspaceId"] == server.workspace
    assert found["dataResidency"] == "auto"
    assert found["notifications"] == {}
    listed = made(api, "/api/v1/workspaces/list", {})["workspaces"]
    assert server.workspace in [each["workspaceId"] for each in listed]
    assert made(api, "/api/v1/workspaces/get", {"workspaceId": server.workspace})["name"] == found["name"]


def test_a_workspace_lives_and_goes(api: httpx.Client) -> None:
    made_one = made(api, "/v1/workspaces", {"name": "second", "regionId": NOTHING, "notifications": {}})
    path = f"/v1/workspaces/{made_one['workspaceId']}"
    assert api.patch(path, json={"name": "renamed"}).json()["name"] == "renamed"
    assert api.get(path).json()["name"] == "renamed"
    answer = api.delete(path)
    assert (answer.status_code, answer.content) == (204, b"")
    assert api.get(path).status_code == 404
    assert api.get(f"/v1/workspaces/{uuid.uuid4()}").status_code == 404
    assert api.get("/v1/workspaces/nonsense").status_code == 404
    assert api.post("/v1/workspaces", json={"name": ""}).status_code == 422


def test_whom_a_workspace_belongs_to(api: httpx.Client, server: Served) -> None:
    (organization,) = api.get("/v1/organizations").json()["data"]
    assert organization["organizationName"]
    body = {"workspaceId": server.workspace}
    info = made(api, "/api/v1/workspaces/get_organization_info", body)
    assert info["organizationId"] == organization["organizationId"]
    body = {"organizationId": organization["organizationId"]}
    assert made(api, "/api/v1/organizations/get_organization_info", body)["organizationName"]
    assert made(api, "/api/v1/workspaces/list_by_organization_id", body)["workspaces"]
    answer = api.post("/api/v1/organizations/get_organization_info", json={"organizationId": NOTHING})
    assert answer.status_code == 404


def test_definitions_carry_airbytes_identifiers(api: httpx.Client, server: Served) -> None:
    base = f"/v1/workspaces/{server.workspace}/definitions"
    sources = {each["id"]: each for each in api.get(f"{base}/sources").json()["data"]}
    assert sources["decd338e-5647-4c0b-adf4-da0e75f5a750"]["dockerRepository"] == "airbyte/source-postgres"
    destinations = {each["id"]: each for each in api.get(f"{base}/destinations").json()["data"]}
    assert destinations["4816b78f-1489-44c1-9060-4b19d5fa9362"]["dockerRepository"] == "airbyte/destination-s3"
    listed = made(api, "/api/v1/source_definitions/list", {})["sourceDefinitions"]
    assert "decd338e-5647-4c0b-adf4-da0e75f5a750" in [each["sourceDefinitionId"] for each in listed]
    assert api.post("/api/v1/destination_definitions/list").json()["destinationDefinitions"]
    assert api.get(f"/v1/workspaces/{NOTHING}/definitions/sources").status_code == 404


def test_a_definition_says_what_a_configuration_holds(api: httpx.Client) -> None:
    body = {"sourceDefinitionId": "decd338e-5647-4c0b-adf4-da0e75f5a750"}
    found = made(api, "/api/v1/source_definition_specifications/get", body)
    assert "host" in found["connectionSpecification"]["properties"]
    assert api.post("/api/v1/source_definitions/get", json={"sourceDefinitionId": NOTHING}).status_code == 404


def test_a_definition_of_ones_own(api: httpx.Client, server: Served) -> None:
    base = f"/v1/workspaces/{server.workspace}/definitions/sources"
    body = {"name": "ours", "dockerRepository": "us/source-ours", "dockerImageTag": "1.0"}
    found = made(api, base, {**body, "documentationUrl": "https://x"})
    assert found["name"] == "ours"
    changed = api.put(f"{base}/{found['id']}", json={"name": "ours", "dockerImageTag": "1.1"})
    assert changed.json()["dockerImageTag"] == "1.1"
    gone = api.delete(f"{base}/{found['id']}")
    assert (gone.status_code, gone.json()["id"]) == (200, found["id"]), "deleting a definition answers with it"
    assert api.get(f"{base}/{found['id']}").status_code == 404
    built_in = "decd338e-5647-4c0b-adf4-da0e75f5a750"
    assert api.delete(f"{base}/{built_in}").status_code == 403
    assert api.post(base, json={"name": "x"}).status_code == 422


def test_a_declarative_source(api: httpx.Client, server: Served) -> None:
    base = f"/v1/workspaces/{server.workspace}/definitions/declarative_sources"
    manifest = {"version": "6.0.0", "type": "DeclarativeSource", "streams": []}
    found = made(api, base, {"name": "declared", "manifest": manifest})
    assert found["manifest"] == manifest
    assert api.get(f"{base}/{found['id']}").json() == found
    assert found["id"] in [each["id"] for each in api.get(base).json()["data"]]
    changed = api.put(f"{base}/{found['id']}", json={"manifest": {**manifest, "version": "6.1.0"}})
    assert changed.json()["manifest"]["version"] == "6.1.0"
    assert api.delete(f"{base}/{found['id']}").status_code == 200
    assert api.get(f"{base}/{found['id']}").status_code == 404


def test_tags(api: httpx.Client, server: Served, connection: dict[str, Any]) -> None:
    tag = made(api, "/v1/tags", {"name": "nightly", "color": "FF5733", "workspaceId": server.workspace})
    path = f"/v1/connections/{connection['connectionId']}"
    told = api.patch(path, json={"tags": [tag]}).json()
    assert [each["name"] for each in told["tags"]] == ["nightly"]
    found = api.get("/v1/connections", params={"tagIds": tag["tagId"]}).json()["data"]
    assert [each["connectionId"] for each in found] == [connection["connectionId"]]
    assert api.patch(f"/v1/tags/{tag['tagId']}", json={"name": "daily", "color": "00FF00"}).json()["name"] == "daily"
    assert api.delete(f"/v1/tags/{tag['tagId']}").status_code == 204
    assert api.get(path).json()["tags"] == []
    assert api.get(f"/v1/tags/{tag['tagId']}").status_code == 404


def test_users_and_permissions(api: httpx.Client, server: Served) -> None:
    body = {"email": "two@localhost", "name": "Two", "password": "long enough"}
    user = made(api, "/api/syncline/v1/users", body)
    assert "password" not in user
    assert user["userId"] in [each["id"] for each in api.get("/v1/users").json()["data"]]
    permission = {"permissionType": "workspace_editor", "userId": user["userId"], "workspaceId": server.workspace}
    given = made(api, "/v1/permissions", permission)
    assert given["permissionType"] == "workspace_editor"
    path = f"/v1/permissions/{given['permissionId']}"
    assert api.patch(path, json={"permissionType": "workspace_reader"}).json()["permissionType"] == "workspace_reader"
    listed = made(api, "/api/v1/permissions/list_by_user", {"userId": user["userId"]})["permissions"]
    assert [each["permissionType"] for each in listed] == ["workspace_reader"]
    (read,) = api.get("/v1/permissions", params={"userId": user["userId"]}).json()["data"]
    assert (read["scope"], read["scopeId"]) == ("workspace", server.workspace)
    scopes = {each["permissionType"]: each["scope"] for each in api.get("/v1/permissions").json()["data"]}
    assert scopes["instance_admin"] == "none"
    assert api.delete(path).status_code == 204
    assert api.get(path).status_code == 404
    assert api.post("/v1/permissions", json={**permission, "workspaceId": None}).status_code == 422
    assert api.delete(f"/api/syncline/v1/users/{user['userId']}").status_code == 204


@pytest.mark.parametrize("noun", ["sources", "destinations", "connections", "workspaces", "jobs"])
def test_every_list_takes_what_clients_send(api: httpx.Client, server: Served, noun: str) -> None:
    params: dict[str, Any] = {
        "workspaceIds": [server.workspace, NOTHING],
        "includeDeleted": "false",
        "limit": 100,
        "offset": 0,
        "unknown": "ignored",
    }
    answer = api.get(f"/v1/{noun}", params=params)
    assert answer.status_code == 200
    assert set(answer.json()) == {"data", "next", "previous"}
    assert api.get(f"/v1/{noun}", params={"workspaceIds": "nonsense"}).json()["data"] == []
