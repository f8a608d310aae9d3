"""A server's API, for the commands that talk to one: standard library only, as any script could."""

from __future__ import annotations

import base64
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from syncline.core.errors import ErrorKind, SynclineError

__all__ = ["Client", "connect", "connect_airbyte"]

_TIMEOUT = 30.0


@dataclass(frozen=True, kw_only=True)
class Client:
    """Calls below one address. Raises :class:`SynclineError` with the server's own words for every answer that is no
    success."""

    base: str
    authorization: str | None = field(default=None, repr=False)

    def get(self, path: str, **query: object) -> Any:
        words = {name: value for name, value in query.items() if value is not None}
        return self._call("GET", path + (f"?{urllib.parse.urlencode(words, doseq=True)}" if words else ""))

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        return self._call("POST", path, body)

    def delete(self, path: str) -> Any:
        return self._call("DELETE", path)

    def at_config_api(self) -> Client:
        """The config API beside Airbyte's public one."""
        root = self.base.removesuffix("/api/public/v1").removesuffix("/v1")
        return Client(base=f"{root}/api/v1", authorization=self.authorization)

    def stream(self, path: str, last_event: str | None = None) -> Iterator[tuple[str, str | None, Any]]:
        """Server-sent events as (event, id, data), until the server ends the stream. Raises ``transient`` when it
        breaks off: go on with the last id."""
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last_event} if last_event else {})
        with self._open("GET", path, None, headers) as answer:
            name, cursor, data = "message", None, ""
            try:
                for raw in answer:
                    line = raw.decode().rstrip("\n")
                    key, _, value = line.partition(": ")
                    if key == "event":
                        name = value
                    elif key == "id":
                        cursor = value
                    elif key == "data":
                        data = value
                    elif not line and data:
                        yield name, cursor, json.loads(data)
                        name, data = "message", ""
            except (OSError, ValueError) as error:
                raise SynclineError(
                    ErrorKind.TRANSIENT, f"the server broke off: {error}", hint="is it being restarted?"
                ) from error

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        with self._open(method, path, body, {}) as answer:
            data = answer.read()
        return json.loads(data) if data else None

    def _open(self, method: str, path: str, body: Mapping[str, Any] | None, headers: Mapping[str, str]) -> Any:
        data = None if body is None else json.dumps(body).encode()
        given = {"Content-Type": "application/json", **headers}
        if self.authorization:
            given["Authorization"] = self.authorization
        request = urllib.request.Request(self.base + path, method=method, data=data, headers=given)  # noqa: S310
        try:
            return urllib.request.urlopen(request, timeout=_TIMEOUT)  # noqa: S310 - connect() lets http and https pass
        except urllib.error.HTTPError as error:
            raise _refused(error) from None
        except (urllib.error.URLError, OSError) as error:
            reason = getattr(error, "reason", error)
            raise SynclineError(
                ErrorKind.UNREACHABLE,
                f"no server answers at {self.base}: {reason}",
                hint="start one (syncline server), or say where it is: SYNCLINE_URL",
            ) from None


_KINDS = {
    401: ErrorKind.AUTH,
    403: ErrorKind.PERMISSION,
    409: ErrorKind.CONFLICT,
    423: ErrorKind.CONFLICT,
    429: ErrorKind.TRANSIENT,
    503: ErrorKind.TRANSIENT,
    500: ErrorKind.INTERNAL,
}


def _refused(error: urllib.error.HTTPError) -> SynclineError:
    try:
        said = json.loads(error.read())
        message = str(said.get("detail") or said.get("message") or said.get("title"))
    except (ValueError, AttributeError, OSError):
        message = f"the server answered {error.code}"
    hint = "set SYNCLINE_CLIENT_ID and SYNCLINE_CLIENT_SECRET, or SYNCLINE_TOKEN" if error.code == 401 else ""
    return SynclineError(_KINDS.get(error.code, ErrorKind.CONFIG), message, hint=hint)


def connect(url: str | None) -> Client:
    """The server at ``url``, or of ``SYNCLINE_URL``, or on this machine. Credentials come from the environment:
    ``SYNCLINE_TOKEN`` (an API key or a token), or ``SYNCLINE_CLIENT_ID`` and ``SYNCLINE_CLIENT_SECRET``, or
    ``SYNCLINE_USER`` and ``SYNCLINE_PASSWORD``."""
    base = (url or os.environ.get("SYNCLINE_URL") or "http://127.0.0.1:8000").rstrip("/")
    if urllib.parse.urlsplit(base).scheme not in ("http", "https"):
        raise SynclineError(ErrorKind.CONFIG, f"{base!r} is no address of a server", hint="http://host:port")
    return Client(base=base, authorization=_authorization(base, "/api/syncline/v1/applications/token", "SYNCLINE"))


def connect_airbyte(url: str) -> Client:
    """Airbyte's public API at ``url``. Credentials come from the environment: ``AIRBYTE_TOKEN``, or
    ``AIRBYTE_CLIENT_ID`` and ``AIRBYTE_CLIENT_SECRET``, or ``AIRBYTE_USER`` and ``AIRBYTE_PASSWORD``."""
    base = url.rstrip("/")
    if urllib.parse.urlsplit(base).scheme not in ("http", "https"):
        raise SynclineError(
            ErrorKind.CONFIG, f"{base!r} is no address of Airbyte", hint="http://host:8000/api/public/v1"
        )
    return Client(base=base, authorization=_authorization(base, "/applications/token", "AIRBYTE"))


def _authorization(base: str, token_path: str, prefix: str) -> str | None:
    """What the environment's credentials of that prefix make of the header."""
    token = os.environ.get(f"{prefix}_TOKEN")
    if token:
        return f"Bearer {token}"
    client_id, secret = os.environ.get(f"{prefix}_CLIENT_ID"), os.environ.get(f"{prefix}_CLIENT_SECRET")
    if client_id and secret:
        body = {"client_id": client_id, "client_secret": secret}
        return f"Bearer {Client(base=base).post(token_path, body)['access_token']}"
    user, password = os.environ.get(f"{prefix}_USER"), os.environ.get(f"{prefix}_PASSWORD")
    if user and password:
        encoded = base64.b64encode(f"{user}:{password}".encode()).decode()
        return f"Basic {encoded}"
    return None
