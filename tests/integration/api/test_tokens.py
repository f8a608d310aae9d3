"""Client credentials for a token, at four places and in every form that clients send."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
import pytest
from tests.integration.api.served import Served

PLACES = ["", "/v1", "/api/v1", "/api/public/v1", "/api", "/api/public"]


def credentials(server: Served) -> dict[str, str]:
    return {"client_id": server.first.client_id, "client_secret": server.first.client_secret}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("form", ["json", "data"])
@pytest.mark.parametrize(
    "grant", [{}, {"grant_type": "client_credentials"}, {"grant-type": "client_credentials"}], ids=["none", "_", "-"]
)
def test_a_token_is_issued(server: Served, place: str, form: str, grant: dict[str, str]) -> None:
    body: Any = {**credentials(server), **grant}
    answer = httpx.post(f"{server.base}{place}/applications/token", **{form: body})
    assert answer.status_code == 200, answer.text
    token = answer.json()
    assert token["token_type"] == "Bearer"
    assert isinstance(token["expires_in"], int)
    assert token["expires_in"] >= 180
    used = httpx.get(f"{server.base}/v1/workspaces", headers={"Authorization": f"Bearer {token['access_token']}"})
    assert used.status_code == 200


def test_the_token_is_a_jwt_that_names_its_user(server: Served) -> None:
    body = server.token().split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    assert claims.get("user_id") or claims["sub"]
    found = httpx.post(
        f"{server.base}/api/v1/users/get_by_auth_id",
        json={"authUserId": claims.get("user_id") or claims["sub"], "authProvider": "keycloak"},
        headers={"Authorization": f"Bearer {server.token()}"},
    )
    assert found.status_code == 200
    assert found.json()["email"] == "admin@localhost"


def test_a_new_token_takes_nothing_from_older_ones(server: Served) -> None:
    tokens = [server.token() for _ in range(3)]
    for token in tokens:
        answer = httpx.get(f"{server.base}/v1/workspaces", headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 200


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b"", "application/json", 400),
        (b'{"client_id": 1, "client_secret": 2}', "application/json", 400),
        (b'{"client_id": "x"}', "application/json", 400),
        (b"client_id=x", "application/x-www-form-urlencoded", 400),
        (b'{"client_id": "x", "client_secret": "y"}', "application/json", 401),
        (b'{"client_id": "\\u0000", "client_secret": "\\ud800"}', "application/json", 401),
        (b"client_id=x&client_secret=y", "application/x-www-form-urlencoded", 401),
        (b"\xff\xfe", "application/octet-stream", 400),
        (b"[" * 10_000, "application/json", 400),
    ],
)
def test_wrong_credentials_are_refused(server: Served, content: bytes, kind: str, status: int) -> None:
    answer = httpx.post(f"{server.base}/v1/applications/token", content=content, headers={"content-type": kind})
    assert answer.status_code == status, answer.text
    assert "message" in answer.json()
