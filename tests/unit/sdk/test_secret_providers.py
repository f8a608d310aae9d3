"""Secrets outside: Vault over HTTP, AWS Secrets Manager.

No Vault server can be had here: a small server answers as its API documentation says, with the same paths and statuses.
AWS is moto's.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import boto3
import pytest
from moto import mock_aws

from syncline.core.errors import ErrorKind, SynclineError
from syncline.sdk.interpolation import resolve
from syncline.sdk.secret_providers import aws, vault

_MOUNTS = {
    "secret/": {"type": "kv", "options": {"version": "2"}, "path": "secret/"},
    "old/": {"type": "kv", "options": {"version": "1"}, "path": "old/"},
    "database/": {"type": "database", "options": None, "path": "database/"},
}
_SECRETS: dict[str, Any] = {
    "secret/data/shop/db": {"data": {"user": "reader", "password": "from vault", "port": 5432}, "metadata": {}},
    "old/shop": {"password": "first version"},
    "database/creds/reader": {"username": "drawn", "password": "drawn too"},
}


class _Vault(BaseHTTPRequestHandler):
    asked: list[tuple[str, str | None]] = []

    def do_GET(self) -> None:
        path = self.path.removeprefix("/v1/")
        self.asked.append((path, self.headers.get("X-Vault-Namespace")))
        if self.headers.get("X-Vault-Token") not in ("root", "approle-token"):
            self._answer(403, {"errors": ["permission denied"]})
        elif path.startswith("sys/internal/ui/mounts/"):
            wanted = path.removeprefix("sys/internal/ui/mounts/")
            found = next((m for name, m in _MOUNTS.items() if wanted.startswith(name)), None)
            self._answer(200 if found else 403, {"data": found})
        elif path in _SECRETS:
            self._answer(200, {"data": _SECRETS[path]})
        else:
            self._answer(404, {"errors": []})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        right = body == {"role_id": "role", "secret_id": "secret"} and self.path == "/v1/auth/approle/login"
        self._answer(200 if right else 400, {"auth": {"client_token": "approle-token"}})

    def _answer(self, status: int, body: Any) -> None:
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def vault_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[_Vault]]:
    for cached in (vault._secret, vault._token):
        cached.cache_clear()
    _Vault.asked.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Vault)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    for name in ("VAULT_ROLE_ID", "VAULT_SECRET_ID", "VAULT_NAMESPACE", "VAULT_CACERT", "BAO_ADDR", "BAO_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("VAULT_ADDR", f"http://127.0.0.1:{server.server_port}/")
    monkeypatch.setenv("VAULT_TOKEN", "root")
    yield _Vault
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("reference", "value"),
    [
        ("secret/shop/db#password", "from vault"),
        ("secret/data/shop/db#password", "from vault"),
        ("/secret/shop/db#port", "5432"),
        ("old/shop#password", "first version"),
        ("database/creds/reader#username", "drawn"),
    ],
)
def test_vault_paths_are_those_of_its_command(vault_server: type[_Vault], reference: str, value: str) -> None:
    assert resolve({"p": f"${{vault:{reference}}}"}) == {"p": value}


def test_vault_is_asked_once_for_user_and_password_of_one_lease(
    vault_server: type[_Vault], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAULT_NAMESPACE", "team")
    resolve({"u": "${vault:database/creds/reader#username}", "p": "${vault:database/creds/reader#password}"})
    assert [asked for asked in vault_server.asked if asked[0] == "database/creds/reader"] == [
        ("database/creds/reader", "team")
    ]


def test_vault_by_approle(vault_server: type[_Vault], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VAULT_TOKEN")
    monkeypatch.setenv("VAULT_ROLE_ID", "role")
    monkeypatch.setenv("VAULT_SECRET_ID", "secret")
    assert vault.read_vault("old/shop#password") == "first version"


@pytest.mark.parametrize(
    ("reference", "environment", "kind", "says"),
    [
        ("secret/shop/db", {}, ErrorKind.CONFIG, "names no key"),
        ("secret/shop/db#pasword", {}, ErrorKind.CONFIG, "did you mean 'password'"),
        ("secret/shop/none#a", {}, ErrorKind.CONFIG, "no secret secret/data/shop/none"),
        ("old/shop#password", {"VAULT_TOKEN": "wrong"}, ErrorKind.PERMISSION, "refuses"),
        ("old/shop#password", {"VAULT_ADDR": ""}, ErrorKind.CONFIG, "VAULT_ADDR is not set"),
        ("old/shop#password", {"VAULT_ADDR": "file:///etc/passwd"}, ErrorKind.CONFIG, "not a URL"),
        ("old/shop#password", {"VAULT_ADDR": "http://127.0.0.1:1"}, ErrorKind.UNREACHABLE, "cannot be asked"),
        ("old/shop#password", {"VAULT_TOKEN": "", "HOME": "/nowhere"}, ErrorKind.CONFIG, "no token"),
    ],
)
def test_what_vault_refuses_says_what_to_do(
    vault_server: type[_Vault],
    monkeypatch: pytest.MonkeyPatch,
    reference: str,
    environment: dict[str, str],
    kind: ErrorKind,
    says: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SynclineError) as caught:
        vault.read_vault(reference)
    assert caught.value.kind is kind
    assert says in str(caught.value)
    assert "from vault" not in str(caught.value)


def test_secrets_manager(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("AWS_ACCESS_KEY_ID", "a"),
        ("AWS_SECRET_ACCESS_KEY", "s"),
        ("AWS_DEFAULT_REGION", "eu-west-1"),
    ):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    aws._secret.cache_clear()
    with mock_aws():
        client = boto3.client("secretsmanager")
        arn = client.create_secret(Name="shop/db", SecretString='{"password": "from aws", "port": 5432}')["ARN"]
        client.create_secret(Name="plain", SecretString="whole text")
        whole = {"a": "${aws-sm:shop/db#password}", "b": f"${{aws-sm:{arn}#port}}", "c": "${aws-sm:plain}"}
        assert resolve(whole) == {"a": "from aws", "b": "5432", "c": "whole text"}
        for reference, says in (
            ("none#x", "has no secret none"),
            ("shop/db#pasword", "did you mean 'password'"),
            ("plain#x", "no key 'x'"),
        ):
            with pytest.raises(SynclineError, match=says) as caught:
                aws.read_secrets_manager(reference)
            assert "whole text" not in str(caught.value)
