"""``${vault:path#key}``: HashiCorp Vault or OpenBao, over its HTTP API.

Where and who, from the environment as of the ``vault`` and ``bao`` commands: ``VAULT_ADDR``, ``VAULT_TOKEN`` (or the
file ``~/.vault-token``), ``VAULT_NAMESPACE``, ``VAULT_CACERT``; the same with ``BAO_``. Without a token
``VAULT_ROLE_ID`` and ``VAULT_SECRET_ID`` sign in by AppRole. ``path`` is written as for ``vault kv get``; for other
engines as in their API.

https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2
"""

from __future__ import annotations

import json
import os
import ssl
import urllib.error
import urllib.parse
import urllib.request
from functools import lru_cache
from pathlib import Path
from typing import Any

from syncline.core.errors import ErrorKind, SynclineError, nearest

__all__ = ["read_vault"]

_SECONDS = 10.0


def read_vault(reference: str) -> str:
    """The value of ``path#key``. Raises ``config``, ``auth``, ``permission`` or ``unreachable``."""
    path, sharp, key = reference.partition("#")
    path = path.strip().strip("/")
    if not sharp or not path or not key:
        raise SynclineError(
            ErrorKind.CONFIG, f"${{vault:{reference}}} names no key", hint="write ${vault:path/of/secret#key}"
        )
    values = _secret(path)
    if key not in values:
        near = nearest(key, list(values))
        raise SynclineError(
            ErrorKind.CONFIG,
            f"the secret {path} in Vault has no key {key!r}",
            hint=f"did you mean {near!r}?" if near else f"it has: {', '.join(sorted(values)) or 'none'}",
        )
    value = values[key]
    return value if isinstance(value, str) else json.dumps(value)


@lru_cache(maxsize=64)
def _secret(path: str) -> dict[str, Any]:
    """All keys of one secret. Read once per process: user and password of a drawn account must be of one lease."""
    mount = _mount(path)
    if mount is not None:
        rest = path[len(mount) :]
        if not rest.startswith("data/"):
            path = f"{mount}data/{rest}"
    found = _get(path)
    data = found.get("data") or {}
    if mount is not None:
        data = data.get("data") or {}
    return dict(data)


def _mount(path: str) -> str | None:
    """Where a key-value store of version 2 is mounted that holds ``path``; None for everything else."""
    try:
        about = _get(f"sys/internal/ui/mounts/{path}").get("data") or {}
    except SynclineError as error:
        if error.kind in (ErrorKind.PERMISSION, ErrorKind.CONFIG):
            return None  # then the path is taken as the API's own
        raise
    versions = about.get("options") or {}
    return str(about["path"]) if about.get("type") == "kv" and str(versions.get("version")) == "2" else None


def _variable(name: str) -> str | None:
    return os.environ.get(f"VAULT_{name}") or os.environ.get(f"BAO_{name}") or None


@lru_cache(maxsize=1)
def _token() -> str:
    if token := _variable("TOKEN"):
        return token
    if (role := _variable("ROLE_ID")) and (secret := _variable("SECRET_ID")):
        answer = _request("auth/approle/login", None, {"role_id": role, "secret_id": secret})
        return str(answer["auth"]["client_token"])
    file = Path("~/.vault-token").expanduser()
    if file.is_file():
        return file.read_text(encoding="utf-8").strip()
    raise SynclineError(
        ErrorKind.CONFIG,
        "Vault is asked for a secret and there is no token",
        hint="set VAULT_TOKEN, or VAULT_ROLE_ID and VAULT_SECRET_ID",
    )


def _get(path: str) -> dict[str, Any]:
    return _request(path, _token(), None)


def _request(path: str, token: str | None, body: dict[str, str] | None) -> dict[str, Any]:
    address = _variable("ADDR")
    if not address or not address.startswith(("http://", "https://")):
        raise SynclineError(
            ErrorKind.CONFIG,
            "Vault is asked for a secret and VAULT_ADDR is not set" if not address else "VAULT_ADDR is not a URL",
            hint="export VAULT_ADDR=https://vault.example.com:8200",
        )
    headers = {"X-Vault-Request": "true"}
    if token is not None:
        headers["X-Vault-Token"] = token
    if namespace := _variable("NAMESPACE"):
        headers["X-Vault-Namespace"] = namespace
    request = urllib.request.Request(  # noqa: S310 - the scheme was looked at above
        f"{address.rstrip('/')}/v1/{urllib.parse.quote(path)}",
        data=None if body is None else json.dumps(body).encode(),
        headers=headers,
    )
    context = ssl.create_default_context(cafile=_variable("CACERT")) if address.startswith("https") else None
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS, context=context) as answer:  # noqa: S310
            found: dict[str, Any] = json.load(answer)
            return found
    except urllib.error.HTTPError as error:
        error.close()
        raise _refused(path, error.code) from None
    except (OSError, ValueError) as error:
        raise SynclineError(
            ErrorKind.UNREACHABLE, f"Vault at {address} cannot be asked: {error}", hint="check VAULT_ADDR"
        ) from error


def _refused(path: str, status: int) -> SynclineError:
    if status == 404:
        return SynclineError(
            ErrorKind.CONFIG, f"Vault has no secret {path}", hint="write the path as for: vault kv get"
        )
    if status in (400, 403):
        return SynclineError(
            ErrorKind.PERMISSION,
            f"Vault refuses {path}",
            hint=f'check that the token is valid and its policy has: path "{path}" {{ capabilities = ["read"] }}',
        )
    kind = ErrorKind.TRANSIENT if status >= 429 else ErrorKind.CONFIG
    return SynclineError(kind, f"Vault answered {path} with status {status}", hint="see Vault's log; it may be sealed")
