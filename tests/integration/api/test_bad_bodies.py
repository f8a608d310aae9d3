"""Bodies that are no requests: the right status, an error in the API's own form, never a 500 or a trace."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from tests.integration.api.served import Served

JSON = {"Content-Type": "application/json"}
POSTS = [
    "/v1/jobs",
    "/v1/sources",
    "/v1/connections",
    "/api/v1/jobs/get",
    "/api/v1/connections/create",
    "/v1/workspaces",
]


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize(
    ("content", "statuses"),
    [
        (b"", {422}),
        (b"{", {400}),
        (b"\xff\xfe\x00", {400}),
        (b"null", {422}),
        (b"[]", {422}),
        (b'"text"', {422}),
        (b"17", {422}),
        (b"{}", {422}),
        (b'{"name": NaN}', {400}),
        (b'{"name": "\\u0000"}', {400}),
        (b'{"name": "\\ud800"}', {400}),
        (b'{"id": 1e999}', {400}),
        (b'{"id": ' + b"9" * 5000 + b"}", {400}),
        (b"[" * 100_000, {400}),
        (b'{"a":' * 50_000, {400}),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_is_no_request_is_refused(api: httpx.Client, path: str, content: bytes, statuses: set[int]) -> None:
    answer = api.post(path, content=content, headers=JSON)
    assert answer.status_code in statuses, answer.text
    body = answer.json()
    assert body["message"]
    assert ("exceptionClassName" in body) == path.startswith("/api/v1")
    assert ("title" in body) == (not path.startswith("/api/v1"))
    assert "Traceback" not in answer.text


@pytest.mark.parametrize("kind", ["text/plain", "application/xml", "application/x-www-form-urlencoded", ""])
def test_a_body_of_another_kind_is_refused(api: httpx.Client, kind: str) -> None:
    answer = api.post("/v1/workspaces", content=b'{"name": "x"}', headers={"Content-Type": kind})
    assert answer.status_code in (400, 415, 422)


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize("path", ["/v1/sources", "/api/v1/jobs/get", "/v1/applications/token", "/nowhere"])
def test_fifty_megabytes_are_too_many(server: Served, api: httpx.Client, path: str, announced: bool) -> None:
    size = 50 * 1024 * 1024
    chunk = b" " * (1024 * 1024)
    content: Any = b" " * size if announced else (chunk for _ in range(50))
    answer = api.post(path, content=content, headers=JSON, timeout=60)
    assert answer.status_code == 413
    assert answer.json()["message"]


def test_a_large_body_that_is_allowed_is_read(api: httpx.Client, server: Served) -> None:
    fields = [{"fieldPath": ["x" * 50]}] * 20
    streams = [{"name": f"table_{number}", "selectedFields": fields} for number in range(2000)]
    body = {
        "sourceId": "00000000-0000-0000-0000-000000000001",
        "destinationId": "00000000-0000-0000-0000-000000000001",
        "configurations": {"streams": streams},
    }
    assert len(json.dumps(body)) > 2_000_000
    assert api.post("/v1/connections", json=body, timeout=30).status_code == 404


@pytest.mark.parametrize("path", ["/v1/sources/x", "/v1/nowhere", "/api/v1/nowhere", "/api/syncline/v1/x", "/nowhere"])
def test_what_is_not_there_is_not_found_in_json(api: httpx.Client, path: str) -> None:
    answer = api.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.json()["message"]


def test_a_values_text_is_not_repeated(api: httpx.Client, server: Served) -> None:
    """What was sent may be a secret in the wrong place."""
    body = {"name": {"password": "hunter2-secret"}, "workspaceId": "hunter2-secret", "configuration": "hunter2-secret"}
    answer = api.post("/v1/sources", json=body)
    assert answer.status_code == 422
    assert "hunter2-secret" not in answer.text
