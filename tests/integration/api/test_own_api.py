"""What Airbyte has no word for: schedules of every kind, options, lag, webhooks, credentials, the audit log."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

import httpx
import pytest
from tests.integration.api.conftest import made
from tests.integration.api.served import Served

OWN = "/api/syncline/v1"


def test_options_and_schedules(api: httpx.Client, connection: dict[str, Any]) -> None:
    path = f"{OWN}/connections/{connection['connectionId']}"
    before = api.get(path).json()
    assert before["schedule"] == {"kind": "manual"}
    assert before["nextRuns"] == []
    change: dict[str, Any] = {
        "schedule": {"kind": "cron", "cronExpression": "0 3 * * *", "timeZone": "Europe/Lisbon"},
        "options": {"priority": 5, "timeoutSeconds": 43200, "maxAttempts": 2},
    }
    after = api.patch(path, json=change)
    assert after.status_code == 200, after.text
    told = after.json()
    assert told["schedule"] == change["schedule"]
    assert {key: told["options"][key] for key in change["options"]} == change["options"]
    assert told["options"]["concurrency"] == before["options"]["concurrency"]
    assert len(told["nextRuns"]) == 5
    assert api.patch(path, json={"options": {"timeoutSeconds": 0}}).json()["options"].get("timeoutSeconds") is None


@pytest.mark.parametrize(
    ("schedule", "status"),
    [
        ({"kind": "cron", "cronExpression": "*/15 * * * *"}, 200),
        ({"kind": "basic", "units": 2, "timeUnit": "hours"}, 200),
        ({"kind": "manual"}, 200),
        ({"kind": "cron", "cronExpression": "61 * * * *"}, 422),
        ({"kind": "cron", "cronExpression": "0 3 * * *", "timeZone": "Nowhere/City"}, 422),
        ({"kind": "cron"}, 422),
        ({"kind": "basic"}, 422),
        ({"kind": "never"}, 422),
        ({}, 422),
    ],
)
def test_a_schedule_is_previewed(api: httpx.Client, schedule: dict[str, Any], status: int) -> None:
    answer = api.post(f"{OWN}/schedules/preview?count=3", json=schedule)
    assert answer.status_code == status, answer.text
    if status == 200 and schedule["kind"] != "manual":
        assert len(answer.json()["nextRuns"]) == 3


def test_lag_and_state(api: httpx.Client, connection: dict[str, Any]) -> None:
    path = f"{OWN}/connections/{connection['connectionId']}"
    assert api.get(f"{path}/lag").json() == {"connectionId": connection["connectionId"]}
    job = made(api, "/v1/jobs", {"connectionId": connection["connectionId"], "jobType": "sync"})
    lag = api.get(f"{path}/lag").json()
    assert (lag["activeJobId"], lag["lastJobStatus"]) == (job["jobId"], "pending")
    api.delete(f"/v1/jobs/{job['jobId']}")
    assert api.get(f"{path}/state").json()["kind"] == "not_set"
    assert api.get(f"{OWN}/connections/nonsense/lag").status_code == 404


def test_a_signed_request_starts_a_sync(api: httpx.Client, server: Served, connection: dict[str, Any]) -> None:
    path = f"{OWN}/connections/{connection['connectionId']}/webhooks"
    webhook = made(api, path, {"scheme": "github"})
    (listed,) = api.get(path).json()["webhooks"]
    assert "secret" not in listed
    body = json.dumps({"ref": "refs/heads/main"}).encode()
    signature = "sha256=" + hmac.new(webhook["secret"].encode(), body, hashlib.sha256).hexdigest()
    headers = {"X-Hub-Signature-256": signature, "X-GitHub-Delivery": "one", "Content-Type": "application/json"}
    with server.client() as anonymous:
        wrong = anonymous.post(webhook["path"], content=body, headers={**headers, "X-Hub-Signature-256": "sha256=00"})
        assert wrong.status_code == 401
        assert anonymous.post(webhook["path"], content=body).status_code == 401
        right = anonymous.post(webhook["path"], content=body, headers=headers)
        assert right.status_code == 200, right.text
        assert api.get(f"/v1/jobs/{right.json()['jobId']}").json()["connectionId"] == connection["connectionId"]
        again = anonymous.post(webhook["path"], content=body, headers=headers)
        assert "jobId" not in again.json()
        assert anonymous.post(f"{OWN}/webhooks/nonsense/receive", content=body).status_code in (401, 404)
    api.delete(f"/v1/jobs/{right.json()['jobId']}")
    assert api.delete(f"{OWN}/webhooks/{webhook['webhookId']}").status_code == 204


def test_an_application_has_a_secret_that_is_shown_once(api: httpx.Client, server: Served) -> None:
    application = made(api, f"{OWN}/applications", {"name": "airflow"})
    with server.client() as anonymous:
        body = {"client_id": application["clientId"], "client_secret": application["clientSecret"]}
        assert anonymous.post("/v1/applications/token", json=body).status_code == 200
        listed = api.get(f"{OWN}/applications").json()["applications"]
        assert application["clientSecret"] not in str(listed)
        assert api.delete(f"{OWN}/applications/{application['applicationId']}").status_code == 204
        assert anonymous.post("/v1/applications/token", json=body).status_code == 401


def test_changes_are_in_the_audit_log_without_secrets(api: httpx.Client, source: dict[str, Any]) -> None:
    change = {"configuration": {"password": "a-new-secret"}, "name": "audited"}
    api.patch(f"/v1/sources/{source['sourceId']}", json=change)
    answer = api.get(f"{OWN}/audit", params={"nounId": source["sourceId"]})
    entries = answer.json()["data"]
    assert [each["action"] for each in entries] == ["update", "create"]
    assert entries[0]["before"]["name"] == "shop"
    assert entries[0]["after"]["name"] == "audited"
    assert "a-new-secret" not in answer.text
    assert "hunter2-secret" not in answer.text


def test_what_the_server_is(server: Served, open_server: Served) -> None:
    assert httpx.get(f"{server.base}{OWN}/info").json()["auth"] == "required"
    assert httpx.get(f"{open_server.base}{OWN}/info").json()["auth"] == "none"
