"""One resource has one path, however it is written; nothing is redirected; tricks lead nowhere."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

import httpx
import pytest
from tests.integration.api.served import Served


@pytest.mark.parametrize("prefix", ["/v1", "/api/public/v1", "/api/v1", "/api/syncline/v1", ""])
@pytest.mark.parametrize("end", ["/health", "/health/", "//health", "/health//"])
def test_health_is_anonymous_everywhere(server: Served, prefix: str, end: str) -> None:
    answer = httpx.get(f"{server.base}{prefix}{end}")
    assert answer.status_code == 200
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_health_speaks_each_apis_words(server: Served) -> None:
    assert httpx.get(f"{server.base}/v1/health").text == "Successful operation"
    assert httpx.get(f"{server.base}/api/v1/health/").json() == {"available": True}
    assert httpx.get(f"{server.base}/health/ready").json()["status"] == "ok"
    assert httpx.get(f"{server.base}/health/live").json()["status"] == "ok"
    assert httpx.head(f"{server.base}/v1/health").status_code == 200


@pytest.mark.parametrize(
    "path",
    ["/v1/workspaces", "/v1/workspaces/", "//v1/workspaces", "/api/public/v1//workspaces//", "/api/v1/workspaces"],
)
def test_slashes_do_not_matter(api: httpx.Client, server: Served, path: str) -> None:
    answer = api.get(server.base + path)
    assert answer.status_code == 200
    assert answer.json()["data"]


def test_slashes_do_not_matter_in_posts(api: httpx.Client, server: Served) -> None:
    answer = api.post(f"{server.base}//api/v1/workspaces/list/", json={})
    assert answer.status_code == 200
    assert len(answer.json()["workspaces"]) >= 1


@pytest.mark.parametrize(
    "target",
    [
        "/v1/../v1/workspaces",
        "/v1/./workspaces",
        "/v1/%2e%2e/%2e%2e/etc/passwd",
        "/api/v1/..%2f..%2fworkspaces",
        "/v1/workspaces%00",
        "/v1/workspaces/%5c..%5cx",
        "/static/../../etc/passwd",
        "/..",
        "/api/v1/",
        "/api",
        "/nowhere",
        "/%ff%fe",
    ],
)
def test_tricks_are_not_found(server: Served, target: str) -> None:
    status, body = raw(server.base, f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
    assert status == 404, body
    assert b'"message"' in body
    assert b"Traceback" not in body


def test_a_wrong_method_says_so(api: httpx.Client) -> None:
    answer = api.delete("/v1/workspaces")
    assert answer.status_code == 405
    assert answer.json()["title"] == "method-not-allowed"


def test_control_characters_in_a_query_are_refused(api: httpx.Client) -> None:
    assert api.get("/v1/jobs?connectionId=%00").status_code == 400


def test_no_answer_names_its_server_software(server: Served) -> None:
    answer = httpx.get(f"{server.base}/v1/health")
    assert "server" not in answer.headers
    assert answer.headers["content-security-policy"].startswith("default-src 'self'")
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["cache-control"] == "no-store"


def raw(base: str, request: bytes) -> tuple[int, bytes]:
    """What the server says to exactly these bytes: clients would tidy the path."""
    place = urlsplit(base)
    with socket.create_connection((place.hostname or "", place.port or 0), timeout=5) as connection:
        connection.sendall(request)
        answer = b""
        while part := connection.recv(65536):
            answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body
