"""Who may ask: every way to sign in, what is refused, and that nothing is asked where nobody has to."""

from __future__ import annotations

import base64
from typing import Any

import httpx
import pytest
from tests.integration.api.conftest import made
from tests.integration.api.served import Served

PREFIXES = ["/v1", "/api/public/v1", "/api/v1"]


def asked(server: Served, header: str | None, path: str = "/v1/workspaces") -> httpx.Response:
    return httpx.get(server.base + path, headers={} if header is None else {"Authorization": header})


def basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


@pytest.mark.parametrize("prefix", PREFIXES)
def test_basic_is_taken_on_every_prefix(server: Served, prefix: str) -> None:
    answer = asked(server, basic(server.first.email, "correct horse battery"), f"{prefix}/workspaces")
    assert answer.status_code == 200


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer x",
        "Bearer a.b.c",
        "Bearer " + "x" * 10_000,
        "Basic Og==",
        "Basic !!!",
        "Basic " + base64.b64encode(b"no colon").decode(),
        "Basic " + base64.b64encode(b"\xff\xfe:\xff").decode(),
        basic("admin@localhost", "wrong"),
        basic("nobody@localhost", "wrong"),
        "Digest x",
        "bearer",
        # A token that says that it needs no signature.
        "Bearer " + base64.urlsafe_b64encode(b'{"alg":"none"}').decode().rstrip("=") + ".eyJzdWIiOiJ4In0.",
    ],
)
def test_what_is_missing_or_wrong_is_refused(server: Served, prefix: str, header: str | None) -> None:
    answer = asked(server, header, f"{prefix}/workspaces")
    assert answer.status_code in (401, 429), answer.text
    assert answer.headers["content-type"].startswith("application/json")
    assert "message" in answer.json()


def test_a_changed_token_is_refused(server: Served) -> None:
    head, body, signature = server.token().split(".")
    for token in (f"{head}.{body}.{signature[:-4]}AAAA", f"{head}.{body}.", f"{head}.{body[:-2]}.{signature}"):
        assert asked(server, f"Bearer {token}").status_code == 401


def test_an_api_key_is_a_bearer_token_until_it_is_deleted(api: httpx.Client, server: Served) -> None:
    key = made(api, "/api/syncline/v1/api_keys", {"name": "script"})
    assert asked(server, f"Bearer {key['key']}").status_code == 200
    listed = api.get("/api/syncline/v1/api_keys").json()["apiKeys"]
    assert [each for each in listed if each["apiKeyId"] == key["apiKeyId"]]
    assert key["key"] not in str(listed)
    assert api.delete(f"/api/syncline/v1/api_keys/{key['apiKeyId']}").status_code == 204
    assert asked(server, f"Bearer {key['key']}").status_code == 401


def test_a_person_signs_in(server: Served) -> None:
    path = f"{server.base}/api/syncline/v1/login"
    answer = httpx.post(path, json={"email": server.first.email, "password": "correct horse battery"})
    assert answer.status_code == 200
    token = answer.json()["access_token"]
    me = asked(server, f"Bearer {token}", "/api/syncline/v1/me").json()
    assert me["kind"] == "user"
    assert httpx.post(path, json={"email": server.first.email, "password": "no"}).status_code == 401


def test_many_wrong_passwords_are_slowed_down(open_server: Served) -> None:
    path = f"{open_server.base}/api/syncline/v1/login"
    statuses = [httpx.post(path, json={"email": "x@localhost", "password": "no"}).status_code for _ in range(40)]
    assert statuses[0] == 401
    assert statuses[-1] == 429


@pytest.mark.parametrize("header", [None, "Bearer nonsense", "Basic Og==", basic("airbyte", "password")])
def test_without_authentication_headers_are_ignored(open_server: Served, header: str | None) -> None:
    assert asked(open_server, header).status_code == 200


def test_roles_are_kept(api: httpx.Client, server: Served, source: dict[str, Any], connection: dict[str, Any]) -> None:
    """A reader reads, a runner starts, an editor changes; who has no business there does not see that it is there."""
    user = made(api, "/api/syncline/v1/users", {"email": "ro@localhost", "name": "Ro", "password": "a long password"})
    me = {"Authorization": basic("ro@localhost", "a long password")}
    with server.client(headers=me) as theirs:
        assert theirs.get(f"/v1/sources/{source['sourceId']}").status_code == 404
        assert theirs.get("/v1/sources").json()["data"] == []
        body = {"permissionType": "workspace_reader", "userId": user["userId"], "workspaceId": server.workspace}
        permission = made(api, "/v1/permissions", body)
        assert theirs.get(f"/v1/sources/{source['sourceId']}").status_code == 200
        job = {"connectionId": connection["connectionId"], "jobType": "sync"}
        assert theirs.post("/v1/jobs", json=job).status_code == 403
        api.patch(f"/v1/permissions/{permission['permissionId']}", json={"permissionType": "workspace_runner"})
        started = theirs.post("/v1/jobs", json=job)
        assert started.status_code == 200
        assert theirs.patch(f"/v1/sources/{source['sourceId']}", json={"name": "x"}).status_code == 403
        assert theirs.get("/api/syncline/v1/audit").status_code == 403
        assert api.delete(f"/v1/jobs/{started.json()['jobId']}").status_code == 200


# Web pages of others, while nobody has to sign in


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost"}, 200),
        ({"Host": "evil.example"}, 421),
        ({"Host": "127.0.0.1.evil.example"}, 421),
        ({"Host": ""}, 421),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
    ],
)
def test_pages_of_others_are_kept_out(open_server: Served, headers: dict[str, str], status: int) -> None:
    assert httpx.get(f"{open_server.base}/v1/workspaces", headers=headers).status_code == status


def test_the_servers_own_page_is_not(open_server: Served) -> None:
    answer = httpx.get(f"{open_server.base}/v1/workspaces", headers={"Origin": open_server.base})
    assert answer.status_code == 200


def test_credentials_make_foreign_names_harmless(server: Served) -> None:
    answer = asked(server, f"Bearer {server.token()}")
    assert answer.status_code == 200
    other = httpx.get(
        f"{server.base}/v1/workspaces",
        headers={"Host": "syncline.example", "Authorization": f"Bearer {server.token()}"},
    )
    assert other.status_code == 200
