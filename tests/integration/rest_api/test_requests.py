"""Requests that are refused, limited, torn or led elsewhere: a named error, nothing said that is secret, and what helps
is tried again."""

from __future__ import annotations

import gzip
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.rest_api.harness import Reader

from syncline.core.errors import ErrorKind, SynclineError
from syncline.testing.saas.api_server import ApiServer, Asked, Reply
from syncline.testing.tls_redirect import TlsRedirect

TOKEN = "tok-3f9c2e7b11"
THINGS = [{"id": i, "name": f"n{i}"} for i in range(5)]
SCHEMA = {"properties": {"id": {"type": "integer"}, "name": {"type": "string"}}}


@pytest.fixture
def api() -> Iterator[ApiServer]:
    with ApiServer(lambda asked: THINGS) as server:
        yield server


@pytest.fixture
def reader(api: ApiServer, tmp_path: Path) -> Reader:
    auth = {"type": "bearer", "token": TOKEN}
    return Reader(tmp_path, url=f"{api.url}/things", auth=auth, schema=SCHEMA, retries={"attempts": 3})


def failure(reader: Reader, kind: ErrorKind, words: str) -> SynclineError:
    with pytest.raises(SynclineError) as caught:
        reader.good()
    assert caught.value.kind is kind, str(caught.value)
    assert words in str(caught.value)
    assert TOKEN not in str(caught.value)
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, ErrorKind.CONFIG),
        (401, ErrorKind.AUTH),
        (403, ErrorKind.PERMISSION),
        (404, ErrorKind.CONFIG),
        (422, ErrorKind.CONFIG),
    ],
)
def test_a_refusal_is_final_and_keeps_the_secret(api: ApiServer, reader: Reader, status: int, kind: ErrorKind) -> None:
    api.fail(status, body={"error": f"no: Bearer {TOKEN} is not welcome"})
    failure(reader, kind, f"answered with {status}")
    assert len(api.asked) == 1, "it was not tried again"


@pytest.mark.slow
def test_errors_of_the_server_are_tried_again(api: ApiServer, reader: Reader) -> None:
    api.fail(500)
    api.fail(502, body=b"<html>bad gateway</html>", headers={"Content-Type": "text/html"})
    assert reader.good().column("id") == [0, 1, 2, 3, 4]
    api.fail(503, times=3)
    failure(reader, ErrorKind.TRANSIENT, "503")


def test_a_torn_answer_is_tried_again(api: ApiServer, reader: Reader) -> None:
    api.fail(200, body=THINGS, torn=True)
    assert len(reader.good().rows) == 5
    assert len(api.asked) == 2


def test_the_time_that_the_api_names_is_waited(api: ApiServer, reader: Reader) -> None:
    api.fail(429, headers={"Retry-After": "1"})
    begun = time.monotonic()
    read = reader.good()
    assert time.monotonic() - begun >= 1.0
    assert len(read.rows) == 5
    assert "the API made us wait 1 times" in read.logs


def test_a_wait_that_is_too_long_ends_the_run(api: ApiServer, reader: Reader) -> None:
    reader.config["retries"] = {"max_wait_seconds": 60}
    api.fail(429, headers={"Retry-After": "3600"})
    failure(reader, ErrorKind.TRANSIENT, "it asks to wait 3600 s")


def test_a_limited_right_with_a_reset_is_a_limit(api: ApiServer, reader: Reader) -> None:
    api.fail(403, headers={"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(time.time()) + 1)})
    assert len(reader.good().rows) == 5


def test_a_budget_of_requests_is_kept(api: ApiServer, tmp_path: Path) -> None:
    pages = {"type": "offset", "page_size": 1}
    api._answer = lambda asked: THINGS[int(asked.query["offset"]) :][:1]
    reader = Reader(
        tmp_path, url=f"{api.url}/t", schema=SCHEMA, pagination=pages, rate_limit={"requests_per_second": 10}
    )
    begun = time.monotonic()
    assert len(reader.good().rows) == 5
    assert time.monotonic() - begun >= 0.5, "six requests"


def test_a_storm_of_limits_is_outlived(api: ApiServer, tmp_path: Path) -> None:
    api._answer = lambda asked: THINGS[int(asked.query["offset"]) :][:1]
    api.limit(2, per_seconds=0.3)
    reader = Reader(tmp_path, url=f"{api.url}/t", schema=SCHEMA, pagination={"type": "offset", "page_size": 1})
    assert len(reader.good().rows) == 5


def test_no_server(reader: Reader) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    reader.config |= {"url": f"http://127.0.0.1:{port}/things", "retries": {"attempts": 1}}
    failure(reader, ErrorKind.UNREACHABLE, "no connection")


def test_a_proxy_that_inspects_tls_with_an_authority_of_its_own(
    api: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with TlsRedirect(tmp_path / "tls", {"api.example.com": api.url}) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        for name in ("NO_PROXY", "no_proxy", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
            monkeypatch.delenv(name, raising=False)
        reader = Reader(tmp_path, url="https://api.example.com/things", schema=SCHEMA, retries={"attempts": 1})
        assert "set ca_bundle" in str(failure(reader, ErrorKind.UNREACHABLE, "no connection").hint)
        reader.config["ca_bundle"] = str(proxy.ca)
        assert len(reader.good().rows) == 5
        reader.config["ca_bundle"] = str(tmp_path / "missing.pem")
        failure(reader, ErrorKind.CONFIG, "missing.pem cannot be read")


def test_what_is_no_json(api: ApiServer, reader: Reader) -> None:
    api.fail(200, body=b"<html>please sign in</html>", headers={"Content-Type": "text/html"})
    failure(reader, ErrorKind.CONFIG, "not answered with JSON but with text/html")
    api.fail(200, body=b'[{"id": 1}, {"id": ')
    failure(reader, ErrorKind.DATA, "not valid JSON")


def test_an_answer_without_end_is_refused(api: ApiServer, reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("syncline.connectors.rest_api.client._LARGEST_ANSWER", 1 << 20)
    api.fail(200, body=b"[" + b" " * (2 << 20) + b"]")
    failure(reader, ErrorKind.RESOURCE, "an answer of more than 1 MiB")
    assert len(reader.good().rows) == 5


def test_a_compressed_answer(api: ApiServer, reader: Reader) -> None:
    api.fail(200, body=gzip.compress(json.dumps(THINGS).encode()), headers={"Content-Encoding": "gzip"})
    assert len(reader.good().rows) == 5


def test_credentials_go_to_nobody_else(api: ApiServer, reader: Reader) -> None:
    with ApiServer(lambda asked: []) as stranger:
        api.fail(302, headers={"Location": f"{stranger.url}/things"})
        failure(reader, ErrorKind.CONFIG, "moved to another host")
        reader.config["pagination"] = {"type": "next_url", "path": "next"}
        api._answer = lambda asked: {"data": THINGS, "next": f"{stranger.url}/things?page=2"}
        failure(reader, ErrorKind.CONFIG, "another host")
        assert stranger.asked == []


def test_a_move_on_the_same_host_is_followed(api: ApiServer, reader: Reader) -> None:
    api.fail(301, headers={"Location": "/v2/things"})
    assert len(reader.good().rows) == 5
    assert api.asked[1].path == "/v2/things"
    assert api.asked[1].headers["authorization"] == f"Bearer {TOKEN}"


def test_headers_and_keys_are_secrets_too(api: ApiServer, tmp_path: Path) -> None:
    secret = "very-secret-key"
    said = {"error": f"the key {secret} is unknown"}
    configs: tuple[dict[str, Any], ...] = (
        {"headers": {"X-Custom": f"Token {secret}"}},
        {"params": {"api_key": secret}},
        {"auth": {"type": "api_key", "key": secret, "name": "k", "in": "query"}},
        {"auth": {"type": "basic", "username": "u", "password": secret}},
    )
    for config in configs:
        api.fail(401, body=said)
        with pytest.raises(SynclineError) as caught:
            Reader(tmp_path, url=f"{api.url}/things", **config).good()
        assert secret not in str(caught.value)
        assert "****" in str(caught.value)


class _Tokens:
    """An API with OAuth: a refresh token can be used once."""

    def __init__(self) -> None:
        self.refresh, self.given, self.good = "refresh-0-abc", 0, ""

    def __call__(self, asked: Asked) -> Any:
        if asked.path != "/token":
            good = asked.headers.get("authorization") == f"Bearer {self.good}"
            return THINGS if good else Reply(status=401, body={"error": "expired"})
        if (asked.body["client_id"], asked.body["client_secret"]) != ("me", "client-secret"):
            return Reply(status=400, body={"error": "invalid_client", "said": asked.body["client_secret"]})
        if asked.body["grant_type"] == "refresh_token" and asked.body["refresh_token"] != self.refresh:
            return Reply(status=400, body={"error": "invalid_grant"})
        self.given += 1
        self.good, self.refresh = f"access-{self.given}-abc", f"refresh-{self.given}-abc"
        answer = {"access_token": self.good, "expires_in": 3600}
        return answer if asked.body["grant_type"] == "client_credentials" else {**answer, "refresh_token": self.refresh}


def _oauth(url: str, folder: Path, **auth: Any) -> Reader:
    base = {"type": "oauth2", "token_url": f"{url}/token", "client_id": "me", "client_secret": "client-secret"}
    return Reader(folder, url=f"{url}/things", schema=SCHEMA, auth={**base, **auth})


def test_client_credentials_and_a_token_that_ends(tmp_path: Path) -> None:
    tokens = _Tokens()
    with ApiServer(tokens) as api:
        reader = _oauth(api.url, tmp_path, scopes=["read", "more"])
        assert len(reader.good().rows) == 5
        form = next(a.body for a in api.asked if a.path == "/token")
        assert (form["grant_type"], form["scope"]) == ("client_credentials", "read more")
        with pytest.raises(SynclineError) as caught:
            _oauth(api.url, tmp_path, client_secret="wrong-secret").good()
        assert caught.value.kind is ErrorKind.AUTH
        assert "wrong-secret" not in str(caught.value)
        api.fail(401, path="/things")  # withdrawn before its time
        assert len(reader.good().rows) == 5
        assert tokens.given == 3


def test_a_rotated_refresh_token_outlives_the_run(tmp_path: Path) -> None:
    tokens = _Tokens()
    with ApiServer(tokens) as api:
        for _ in range(3):
            assert len(_oauth(api.url, tmp_path, refresh_token="refresh-0-abc").good().rows) == 5
        assert tokens.given == 3
        (kept,) = (tmp_path / "home" / "tokens").glob("*.json")
        assert kept.stat().st_mode & 0o077 == 0
        tokens.refresh = "refresh-new-abc"  # somebody has signed in anew
        with pytest.raises(SynclineError) as caught:
            _oauth(api.url, tmp_path, refresh_token="refresh-0-abc").good()
        assert caught.value.kind is ErrorKind.AUTH
        assert len(_oauth(api.url, tmp_path, refresh_token="refresh-new-abc").good().rows) == 5
