"""Jobs in both APIs: one number, one status, everything at once; conflicts, pages, and what clients trip over.

The client of these tests gives up after five seconds, as those of a list do."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
from tests.integration.api.conftest import made
from tests.integration.api.served import Served

STATUSES = {"pending", "running", "incomplete", "failed", "succeeded", "cancelled"}


@pytest.fixture
def job(api: httpx.Client, connection: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """One that waits: nobody takes jobs here."""
    started = made(api, "/v1/jobs", {"connectionId": connection["connectionId"], "jobType": "sync"})
    yield started
    api.delete(f"/v1/jobs/{started['jobId']}")


def test_a_trigger_answers_at_once(api: httpx.Client, job: dict[str, Any], connection: dict[str, Any]) -> None:
    assert isinstance(job["jobId"], int)
    assert job["status"] == "pending"
    assert job["jobType"] == "sync"
    assert job["connectionId"] == connection["connectionId"]
    datetime.fromisoformat(job["startTime"])
    assert job["startTime"].endswith("Z")
    assert "lastUpdatedAt" not in job, "Dagster takes it for the end"
    assert "duration" not in job
    assert None not in job.values()


def test_both_apis_tell_one_job(api: httpx.Client, job: dict[str, Any]) -> None:
    public = api.get(f"/v1/jobs/{job['jobId']}").json()
    for told in (
        api.post("/api/v1/jobs/get", json={"id": job["jobId"]}).json(),
        api.post("/api/v1/jobs/get/", json={"id": str(job["jobId"])}).json(),
        api.get(f"/api/v1/jobs/{job['jobId']}").json(),
        api.post("/api/v1/jobs/get_without_logs", json={"id": job["jobId"]}).json(),
    ):
        assert told["job"]["id"] == job["jobId"]
        assert told["job"]["status"] == public["status"]
        assert told["job"]["configType"] == "sync"
        assert told["job"]["configId"] == job["connectionId"]
        assert isinstance(told["job"]["createdAt"], int)
        assert isinstance(told["job"]["updatedAt"], int)
        assert {key: told[key] for key in public} == public, "an SDK that is pointed at /api/v1"
        assert len(told["attempts"]) >= 1, "Prefect takes the last one of them at its first look"
        attempt = told["attempts"][-1]
        assert attempt["attempt"]["status"] in {"running", "failed", "succeeded"}
        assert isinstance(attempt["attempt"]["recordsSynced"], int)
        assert attempt["logs"]["logLines"] == []


def test_a_second_trigger_conflicts(api: httpx.Client, job: dict[str, Any]) -> None:
    for path, body in (
        ("/v1/jobs", {"connectionId": job["connectionId"], "jobType": "sync"}),
        ("/v1/jobs", {"connectionId": job["connectionId"], "jobType": "reset"}),
        ("/api/v1/connections/sync", {"connectionId": job["connectionId"]}),
        ("/api/v1/connections/reset", {"connectionId": job["connectionId"]}),
        (f"/v1/connections/{job['connectionId']}/sync", {}),
    ):
        answer = api.post(path, json=body)
        assert answer.status_code == 409, answer.text
        assert "already running" in answer.text, "Kestra looks for the words"


def test_an_inactive_connection_conflicts(api: httpx.Client, connection: dict[str, Any]) -> None:
    api.patch(f"/v1/connections/{connection['connectionId']}", json={"status": "inactive"})
    answer = api.post("/v1/jobs", json={"connectionId": connection["connectionId"], "jobType": "sync"})
    assert answer.status_code == 409


def test_cancelling(api: httpx.Client, job: dict[str, Any]) -> None:
    answer = api.delete(f"/v1/jobs/{job['jobId']}")
    assert answer.status_code == 200, answer.text
    assert answer.json()["jobId"] == job["jobId"]
    assert answer.json()["status"] == "cancelled"
    datetime.fromisoformat(answer.json()["lastUpdatedAt"])
    assert api.delete(f"/v1/jobs/{job['jobId']}").status_code == 409
    assert api.post("/api/v1/jobs/cancel", json={"id": job["jobId"]}).status_code == 409
    again = api.get(f"/v1/jobs/{job['jobId']}").json()
    assert again["status"] == "cancelled"
    told = api.post("/api/v1/jobs/get", json={"id": job["jobId"]}).json()
    assert told["attempts"][-1]["attempt"]["status"] in {"failed", "succeeded"}


@pytest.mark.parametrize("identity", ["0", "999999999", "9" * 30, "abc", "-1", "1.5", "%20", "1e3", "٣"])
def test_an_unknown_job_is_not_found(api: httpx.Client, identity: str) -> None:
    assert api.get(f"/v1/jobs/{identity}").status_code == 404
    assert api.delete(f"/v1/jobs/{identity}").status_code == 404
    assert api.get(f"/api/v1/jobs/{identity}").status_code == 404


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/jobs", {"jobType": "sync"}, 422),
        ("/v1/jobs", {"connectionId": "nonsense", "jobType": "sync"}, 422),
        ("/v1/jobs", {"connectionId": "00000000-0000-0000-0000-000000000001", "jobType": "sync"}, 404),
        ("/v1/jobs", {"connectionId": "00000000-0000-0000-0000-000000000001", "jobType": "dance"}, 422),
        ("/v1/jobs", {"connectionId": "00000000-0000-0000-0000-000000000001", "jobType": "refresh"}, 422),
        ("/v1/jobs", [], 422),
        ("/v1/connections/nonsense/sync", {}, 404),
        ("/v1/connections/00000000-0000-0000-0000-000000000001/sync", {}, 404),
        ("/api/v1/connections/sync", {"connectionId": "00000000-0000-0000-0000-000000000001"}, 404),
        ("/api/v1/connections/sync", {}, 422),
        ("/api/v1/jobs/get", {"id": 999999999}, 404),
        ("/api/v1/jobs/get", {"id": "x"}, 422),
        ("/api/v1/jobs/get", {"id": 10**18}, 404),
        ("/api/v1/jobs/get", {"id": -1}, 422),
        ("/api/v1/jobs/cancel", {"id": 999999999}, 404),
    ],
)
def test_wrong_requests(api: httpx.Client, path: str, body: Any, status: int) -> None:
    answer = api.post(path, json=body)
    assert answer.status_code == status, answer.text


# The three calls that the user wrote by hand


@pytest.mark.parametrize("content", [None, b"{}", b'{"any": "thing"}', b"not json"])
def test_the_first_call(api: httpx.Client, connection: dict[str, Any], content: bytes | None) -> None:
    answer = api.post(f"/v1/connections/{connection['connectionId']}/sync", content=content)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert told["jobId"] == told["job"]["id"]
    assert told["status"] == told["job"]["status"]
    assert told["status"] in STATUSES
    assert told["jobType"] == "sync"
    assert told["connectionId"] == connection["connectionId"]
    assert told["startTime"]
    assert told["attempts"]
    api.delete(f"/v1/jobs/{told['jobId']}")


@pytest.mark.parametrize("path", ["/api/v1/connections/sync", "/v1/connections/sync", "/api/v1/connections/sync/"])
def test_the_second_and_the_third_call(api: httpx.Client, connection: dict[str, Any], path: str) -> None:
    told = made(api, path, {"connectionId": connection["connectionId"]})
    assert isinstance(told["job"]["id"], int)
    assert told["attempts"]
    found = api.get(f"/api/v1/jobs/{told['job']['id']}").json()
    assert found["job"]["status"] in STATUSES
    api.delete(f"/v1/jobs/{told['job']['id']}")


# Lists


@pytest.fixture
def history(api: httpx.Client, connection: dict[str, Any]) -> list[int]:
    """Five jobs of one connection that were cancelled, in the order of their making."""
    found = []
    for _ in range(5):
        job = made(api, "/v1/jobs", {"connectionId": connection["connectionId"], "jobType": "sync"})
        api.delete(f"/v1/jobs/{job['jobId']}")
        found.append(job["jobId"])
    return found


def test_pages(api: httpx.Client, connection: dict[str, Any], history: list[int]) -> None:
    found: list[int] = []
    params: dict[str, Any] = {"connectionId": connection["connectionId"], "limit": 2}
    page: dict[str, Any] = {}
    for _ in range(3):
        page = api.get("/v1/jobs", params=params).json()
        found += [each["jobId"] for each in page["data"]]
        if not page["next"]:
            break
        # Dagster takes only the query of the address.
        params.update(dict(parse_qsl(urlsplit(page["next"]).query)))
        assert params["limit"] == "2"
    assert page["next"] == ""
    assert page["previous"]
    assert found == history[::-1]


@pytest.mark.parametrize("order", ["createdAt|ASC", "createdAt|DESC", "updatedAt|ASC", "updatedAt|DESC", "createdAt"])
def test_orders(api: httpx.Client, connection: dict[str, Any], history: list[int], order: str) -> None:
    params = {"connectionId": connection["connectionId"], "orderBy": order}
    found = [each["jobId"] for each in api.get("/v1/jobs", params=params).json()["data"]]
    assert found == (history if order.endswith("ASC") else history[::-1])


def test_filters(api: httpx.Client, server: Served, connection: dict[str, Any], history: list[int]) -> None:
    def found(**params: Any) -> list[int]:
        answer = api.get("/v1/jobs", params={"connectionId": connection["connectionId"], "limit": 100, **params})
        assert answer.status_code == 200, answer.text
        return sorted(each["jobId"] for each in answer.json()["data"])

    now = datetime.now(UTC)
    hour = timedelta(hours=1)
    other = "00000000-0000-0000-0000-000000000001"
    assert found(status="cancelled", jobType="sync") == history
    assert found(status="running") == []
    assert found(status="queued") == []
    assert found(jobType="reset") == []
    assert found(workspaceIds=server.workspace) == history
    assert found(workspaceIds=f"{other},{server.workspace}") == history
    assert found(workspaceIds=[other, server.workspace]) == history
    assert found(workspaceIds=other) == []
    assert found(createdAtStart=(now - hour).strftime("%Y-%m-%dT%H:%M:%SZ")) == history
    assert found(createdAtStart=(now + hour).strftime("%Y-%m-%dT%H:%M:%SZ")) == []
    assert found(createdAtEnd=(now - hour).isoformat()) == []
    assert found(updatedAtStart=(now - hour).isoformat(), updatedAtEnd=(now + hour).isoformat()) == history


@pytest.mark.parametrize(
    "params",
    [
        {"limit": 0},
        {"limit": 101},
        {"limit": "x"},
        {"offset": -1},
        {"offset": 10**30},
        {"status": "dancing"},
        {"jobType": "dancing"},
        {"orderBy": "name"},
        {"orderBy": "createdAt|SIDEWAYS"},
        {"createdAtStart": "yesterday"},
    ],
)
def test_wrong_filters_are_refused(api: httpx.Client, params: dict[str, Any]) -> None:
    assert api.get("/v1/jobs", params=params).status_code in (400, 422)


def test_the_config_apis_list(api: httpx.Client, connection: dict[str, Any], history: list[int]) -> None:
    body = {
        "configTypes": ["sync"],
        "configId": connection["connectionId"],
        "pagination": {"pageSize": 2},
    }
    told = made(api, "/api/v1/jobs/list", body)
    assert [each["job"]["id"] for each in told["jobs"]] == history[:-3:-1]
    assert told["totalJobCount"] == 5
    assert "attempt" not in told["jobs"][0]["attempts"][0], "not nested in lists"
    assert told["jobs"][0]["attempts"][0]["status"] == "failed"
    assert made(api, "/api/v1/jobs/list", {**body, "configTypes": ["check_connection_source"]})["jobs"] == []
    last = made(api, "/api/v1/jobs/get_last_replication_job", {"connectionId": connection["connectionId"]})
    assert last["job"]["id"] == history[-1]


def test_every_kind_of_job(api: httpx.Client, connection: dict[str, Any]) -> None:
    """The two APIs call some of them differently."""
    mine = {"connectionId": connection["connectionId"]}
    stream = {"streams": [{"streamName": "orders"}]}
    for path, body, public, config in (
        ("/v1/jobs", {**mine, "jobType": "reset"}, "reset", "reset_connection"),
        ("/v1/jobs", {**mine, "jobType": "clear"}, "clear", "clear"),
        ("/api/v1/connections/reset", mine, "reset", "reset_connection"),
        ("/api/v1/connections/clear", mine, "clear", "clear"),
        ("/api/v1/connections/clear/stream", {**mine, **stream}, "clear", "clear"),
        ("/api/v1/connections/refresh", {**mine, **stream, "refreshMode": "Merge"}, "refresh", "refresh"),
    ):
        told = made(api, path, body)
        number = told.get("jobId") or told["job"]["id"]
        found = api.get(f"/api/v1/jobs/{number}").json()
        assert (found["jobType"], found["job"]["configType"]) == (public, config)
        assert api.delete(f"/v1/jobs/{number}").status_code == 200


# State


def test_the_state_of_what_was_never_synced(api: httpx.Client, connection: dict[str, Any]) -> None:
    found = made(api, "/api/v1/state/get", {"connectionId": connection["connectionId"]})
    assert found == {"stateType": "not_set", "connectionId": connection["connectionId"]}


def test_a_state_is_not_set_while_a_job_runs(api: httpx.Client, job: dict[str, Any]) -> None:
    state = {
        "stateType": "stream",
        "streamState": [{"streamDescriptor": {"name": "orders"}, "streamState": {"cursor": 1}}],
    }
    body = {"connectionId": job["connectionId"], "connectionState": state}
    answer = api.post("/api/v1/state/create_or_update_safe", json=body, timeout=30)
    assert answer.status_code == 423, answer.text


# Events and logs


def test_events_are_told(api: httpx.Client, job: dict[str, Any]) -> None:
    told = api.get("/api/syncline/v1/events", params={"jobId": job["jobId"]}).json()
    assert told["events"][0]["kind"] == "created"
    assert told["last"] == told["events"][-1]["id"]
    later = api.get("/api/syncline/v1/events", params={"jobId": job["jobId"], "after": told["last"]}).json()
    assert later == {"events": [], "last": told["last"]}


def test_events_come_as_they_happen(api: httpx.Client, server: Served, job: dict[str, Any]) -> None:
    path = f"/api/syncline/v1/events/stream?jobId={job['jobId']}"
    with api.stream("GET", path) as stream, server.bearer() as other:
        assert stream.status_code == 200
        assert stream.headers["content-type"].startswith("text/event-stream")
        kinds = (line.removeprefix("event: ") for line in stream.iter_lines() if line.startswith("event:"))
        assert next(kinds) == "created"
        assert other.delete(f"/v1/jobs/{job['jobId']}").status_code == 200
        assert "cancelled" in kinds


def test_logs_are_followed_to_the_end(api: httpx.Client, job: dict[str, Any]) -> None:
    assert api.delete(f"/v1/jobs/{job['jobId']}").status_code == 200
    with api.stream("GET", f"/api/syncline/v1/jobs/{job['jobId']}/logs/stream", timeout=15) as stream:
        text = "".join(stream.iter_text())
    assert f'event: end\ndata: {{"jobId": {job["jobId"]}, "status": "cancelled"}}' in text
    assert api.get(f"/api/syncline/v1/jobs/{job['jobId']}/logs").status_code == 200
    assert api.get(f"/api/syncline/v1/jobs/{job['jobId']}/logs/text").headers["content-type"].startswith("text/plain")
    assert api.get("/api/syncline/v1/jobs/999999999/logs/stream").status_code == 404
