"""Connections in both APIs: defaults, what changes keep, what is echoed, what is refused."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from tests.integration.api.conftest import made
from tests.integration.api.served import Served


def test_defaults(api: httpx.Client, source: dict[str, Any], destination: dict[str, Any]) -> None:
    body = {"sourceId": source["sourceId"], "destinationId": destination["destinationId"]}
    found = made(api, "/v1/connections", {**body, "configurations": {"streams": []}})
    assert found["status"] == "active"
    assert found["schedule"] == {"scheduleType": "manual"}
    assert found["namespaceDefinition"] == "destination"
    assert found["nonBreakingSchemaUpdatesBehavior"] == "ignore"
    assert found["prefix"] == ""
    assert found["tags"] == []
    assert found["configurations"]["streams"] == []
    assert found["name"] == "shop → copy"
    assert isinstance(found["createdAt"], int)
    assert None not in found.values()
    assert api.get(f"/v1/connections/{found['connectionId']}").json() == found


def test_a_stream_of_a_name_alone_gets_defaults(connection: dict[str, Any]) -> None:
    stream = connection["configurations"]["streams"][0]
    assert stream["name"] == "orders"
    assert stream["syncMode"] == "full_refresh_overwrite"


@pytest.mark.parametrize(
    "expression", ["0 0 3 * * ?", "0 0 3 * * ? UTC", "0 0 3 * * ? 2030 Europe/Lisbon", "*/15 * * * *", "0 9 * * 1-5"]
)
def test_a_cron_expression_is_echoed_as_given(api: httpx.Client, connection: dict[str, Any], expression: str) -> None:
    schedule = {"scheduleType": "cron", "cronExpression": expression}
    answer = api.patch(f"/v1/connections/{connection['connectionId']}", json={"schedule": schedule})
    assert answer.status_code == 200, answer.text
    assert answer.json()["schedule"] == schedule


@pytest.mark.parametrize(
    "change",
    [
        {"schedule": {"scheduleType": "cron"}},
        {"schedule": {"scheduleType": "cron", "cronExpression": "nonsense"}},
        {"schedule": {"scheduleType": "cron", "cronExpression": "0 0 31 2 * ?"}},
        {"schedule": {"scheduleType": "cron", "cronExpression": "0 0 3 * * ? Nowhere/City"}},
        {"schedule": {"scheduleType": "cron", "cronExpression": ""}},
        {"schedule": {"scheduleType": "sometimes"}},
        {"schedule": {"scheduleType": "basic"}},
        {"schedule": {"scheduleType": "basic", "basicTiming": "Every now and then"}},
        {"schedule": []},
        {"status": "deleted"},
        {"namespaceDefinition": "elsewhere"},
        {"nonBreakingSchemaUpdatesBehavior": "panic"},
        {"configurations": {"streams": [{"name": ""}]}},
        {"configurations": {"streams": [{"name": "orders", "syncMode": "sideways"}]}},
        {"configurations": {"streams": [{"name": "orders"}, {"name": "orders"}]}},
        {"configurations": {"streams": "orders"}},
        {"prefix": 7},
        {"tags": [{"tagId": "nonsense"}]},
    ],
)
def test_a_wrong_change_is_refused_and_changes_nothing(
    api: httpx.Client, connection: dict[str, Any], change: dict[str, Any]
) -> None:
    path = f"/v1/connections/{connection['connectionId']}"
    answer = api.patch(path, json=change)
    assert answer.status_code in (400, 422), answer.text
    assert answer.json()["detail"]
    assert api.get(path).json() == connection


def test_a_patch_keeps_what_it_does_not_name(api: httpx.Client, connection: dict[str, Any]) -> None:
    path, told = f"/v1/connections/{connection['connectionId']}", connection
    for change in (
        {"name": "renamed"},
        {"prefix": "x_"},
        {"prefix": ""},
        {"status": "inactive"},
        {"namespaceDefinition": "custom_format", "namespaceFormat": "${SOURCE_NAMESPACE}"},
        {"namespaceDefinition": "source", "namespaceFormat": None},
        {"nonBreakingSchemaUpdatesBehavior": "propagate_columns"},
        {"schedule": {"scheduleType": "basic", "basicTiming": "Every 3 HOURS"}},
    ):
        answer = api.patch(path, json=change)
        assert answer.status_code == 200, answer.text
        told = answer.json()
        for key, value in change.items():
            assert told.get(key) == value
    assert told["configurations"] == connection["configurations"]
    assert told["name"] == "renamed"


def test_unknown_parents_are_not_found(api: httpx.Client, source: dict[str, Any], destination: dict[str, Any]) -> None:
    nothing = "00000000-0000-0000-0000-000000000001"
    for change in ({"sourceId": nothing}, {"destinationId": nothing}):
        body = {"sourceId": source["sourceId"], "destinationId": destination["destinationId"], **change}
        assert api.post("/v1/connections", json=body).status_code == 404


def test_a_deleted_parent_ends_the_connection(
    api: httpx.Client, source: dict[str, Any], connection: dict[str, Any]
) -> None:
    assert api.delete(f"/v1/sources/{source['sourceId']}").status_code == 204
    found = api.get(f"/v1/connections/{connection['connectionId']}")
    assert found.status_code == 404 or found.json()["status"] == "deprecated"
    job = api.post("/v1/jobs", json={"connectionId": connection["connectionId"], "jobType": "sync"})
    assert job.status_code in (404, 409)


def test_a_deleted_connection_is_gone(api: httpx.Client, connection: dict[str, Any]) -> None:
    path = f"/v1/connections/{connection['connectionId']}"
    answer = api.delete(path)
    assert (answer.status_code, answer.content) == (204, b"")
    assert api.get(path).status_code == 404
    answer = api.post("/api/v1/connections/get", json={"connectionId": connection["connectionId"]})
    assert answer.status_code == 404
    assert answer.json()["exceptionClassName"]


# In the config API


def test_the_config_api_tells_the_same(api: httpx.Client, connection: dict[str, Any]) -> None:
    found = api.post("/api/v1/connections/get/", json={"connectionId": connection["connectionId"]}).json()
    assert found["name"] == connection["name"]
    assert found["status"] == "active"
    assert found["prefix"] == ""
    assert found["operationIds"] == []
    (entry,) = found["syncCatalog"]["streams"]
    assert entry["stream"]["name"] == "orders"
    assert isinstance(entry["stream"]["jsonSchema"], dict)
    assert entry["config"]["selected"] is True
    assert (entry["config"]["syncMode"], entry["config"]["destinationSyncMode"]) == ("full_refresh", "overwrite")


def test_the_config_apis_own_words(api: httpx.Client, connection: dict[str, Any]) -> None:
    body = {
        "connectionId": connection["connectionId"],
        "scheduleType": "cron",
        "scheduleData": {"cron": {"cronExpression": "0 0 3 * * ?", "cronTimeZone": "Europe/Lisbon"}},
        "namespaceDefinition": "customformat",
        "namespaceFormat": "x",
        "nonBreakingChangesPreference": "disable",
        "syncCatalog": {
            "streams": [
                {
                    "stream": {"name": "orders", "jsonSchema": {}},
                    "config": {
                        "syncMode": "incremental",
                        "destinationSyncMode": "append_dedup",
                        "cursorField": ["updated_at"],
                        "primaryKey": [["id"]],
                        "selected": True,
                    },
                },
                {
                    "stream": {"name": "customers", "jsonSchema": {}},
                    "config": {"syncMode": "full_refresh", "destinationSyncMode": "append", "selected": False},
                },
            ]
        },
    }
    changed = api.post("/api/v1/connections/update", json=body)
    assert changed.status_code == 200, changed.text
    told = changed.json()
    assert told["scheduleData"] == body["scheduleData"]
    assert told["namespaceDefinition"] == "customformat"
    assert told["nonBreakingChangesPreference"] == "disable"
    public = api.get(f"/v1/connections/{connection['connectionId']}").json()
    assert public["namespaceDefinition"] == "custom_format"
    assert public["nonBreakingSchemaUpdatesBehavior"] == "disable_connection"
    (stream,) = public["configurations"]["streams"]
    assert stream["syncMode"] == "incremental_deduped_history"
    assert stream["cursorField"] == ["updated_at"]
    assert stream["primaryKey"] == [["id"]]


@pytest.mark.parametrize(
    "change",
    [
        {"scheduleType": "cron"},
        {"scheduleType": "sometimes"},
        {"scheduleType": "basic", "scheduleData": {"basicSchedule": {"units": "x", "timeUnit": "hours"}}},
        # A schedule beyond every calendar would stop the scheduler for all connections.
        {"scheduleType": "basic", "scheduleData": {"basicSchedule": {"units": 52_000_000, "timeUnit": "months"}}},
        {"namespaceDefinition": "elsewhere"},
        {"nonBreakingChangesPreference": "panic"},
        {"syncCatalog": {"streams": []}},
        {"syncCatalog": {"streams": [{"stream": {"name": "a"}, "config": {"syncMode": "x"}}]}},
        {
            "syncCatalog": {
                "streams": [
                    {
                        "stream": {"name": "a", "jsonSchema": {}},
                        "config": {"syncMode": "incremental", "destinationSyncMode": "overwrite", "selected": True},
                    }
                ]
            }
        },
        {"status": "gone"},
    ],
)
def test_a_wrong_change_is_refused_there_too(
    api: httpx.Client, connection: dict[str, Any], change: dict[str, Any]
) -> None:
    answer = api.post("/api/v1/connections/update", json={"connectionId": connection["connectionId"], **change})
    assert answer.status_code in (400, 422), answer.text
    assert answer.json()["message"]


def test_a_connection_made_there(api: httpx.Client, source: dict[str, Any], destination: dict[str, Any]) -> None:
    body = {
        "name": "config made",
        "sourceId": source["sourceId"],
        "destinationId": destination["destinationId"],
        "scheduleType": "basic",
        "scheduleData": {"basicSchedule": {"units": 6, "timeUnit": "hours"}},
        "status": "active",
    }
    found = made(api, "/api/v1/connections/create", body)
    assert found["scheduleData"] == body["scheduleData"]
    public = api.get(f"/v1/connections/{found['connectionId']}").json()
    assert public["schedule"] == {"scheduleType": "basic", "basicTiming": "Every 6 HOURS"}
    listed = api.post("/api/v1/connections/list", json={"workspaceId": source["workspaceId"]}).json()["connections"]
    assert found["connectionId"] in [each["connectionId"] for each in listed]
    assert api.post("/api/v1/operations/list", json={"connectionId": found["connectionId"]}).json() == {
        "operations": []
    }
    answer = api.post("/api/v1/connections/delete", json={"connectionId": found["connectionId"]})
    assert (answer.status_code, answer.content) == (204, b"")


def test_the_web_applications_form(api: httpx.Client, connection: dict[str, Any]) -> None:
    body = {"connectionId": connection["connectionId"], "withRefreshedCatalog": False}
    found = made(api, "/api/v1/web_backend/connections/get", body)
    assert found["source"]["sourceId"] == connection["sourceId"]
    assert found["isSyncing"] is False
    again = {"connectionId": connection["connectionId"], "syncCatalog": found["syncCatalog"], "skipReset": True}
    assert made(api, "/api/v1/web_backend/connections/update", again)["syncCatalog"] == found["syncCatalog"]


def test_a_connector_may_look_into_its_secrets(api: httpx.Client, server: Served, source: dict[str, Any]) -> None:
    """BigQuery's key is JSON; what stands in its place in answers is not."""
    key = {
        "type": "service_account",
        "client_email": "a@b.invalid",
        "token_uri": "https://t.invalid",
        "private_key": "k",
    }
    configuration = {
        "destinationType": "bigquery",
        "project_id": "my-project-1",
        "dataset_id": "raw",
        "dataset_location": "EU",
        "credentials_json": json.dumps(key),
    }
    body = {"name": "warehouse", "workspaceId": server.workspace, "configuration": configuration}
    destination = made(api, "/v1/destinations", body)
    assert destination["configuration"]["credentials_json"] == "**********"
    ends = {"sourceId": source["sourceId"], "destinationId": destination["destinationId"]}
    connection = made(api, "/v1/connections", ends)
    place = f"/v1/connections/{connection['connectionId']}"
    changed = api.patch(place, json={"prefix": "x_"})
    assert changed.status_code == 200, changed.text
    # It has one dataset, and says so where another would be needed.
    assert api.patch(place, json={"namespaceDefinition": "source"}).status_code == 422
