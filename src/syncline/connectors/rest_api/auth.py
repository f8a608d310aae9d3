"""Puts on a request who asks, and gets tokens."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from syncline.connectors.rest_api.auth_config import ApiKeyAuth, Auth, BasicAuth, BearerAuth, OAuth2Auth
from syncline.core.errors import ErrorKind, SynclineError
from syncline.sdk.own_config import OwnConfig

__all__ = ["Authenticator"]

#: A token is renewed so long before its end.
_MARGIN_SECONDS = 60.0
#: How long it is good where the answer does not say.
_USUAL_SECONDS = 3600.0

#: Sends the token request: address, form fields, headers -> decoded answer.
Ask = Callable[[str, Mapping[str, str], Mapping[str, str]], Any]


class Authenticator:
    """For one API; may be used by several threads. ``learn`` hears every secret that comes, before it is used."""

    def __init__(self, auth: Auth | None, own: OwnConfig, ask: Ask, learn: Callable[[str], None]) -> None:
        self._auth, self._own, self._ask, self._learn = auth, own, ask, learn
        self._token: str | None = None
        self._until = 0.0
        self._lock = threading.Lock()

    def put(self, headers: dict[str, str], params: dict[str, Any]) -> str | None:
        """Adds to headers or parameters; gives the token that was used, if it can be renewed."""
        match self._auth:
            case BearerAuth():
                headers["Authorization"] = f"Bearer {self._auth.token.get_secret_value()}"
            case BasicAuth():
                headers["Authorization"] = _basic(self._auth.username, self._auth.password.get_secret_value())
            case ApiKeyAuth():
                target: dict[str, Any] = headers if self._auth.location == "header" else params
                target[self._auth.name] = self._auth.key.get_secret_value()
            case OAuth2Auth():
                token = self._current(self._auth)
                headers["Authorization"] = f"Bearer {token}"
                return token
        return None

    def refused(self, token: str) -> None:
        """The API does not take the token any more: the next request gets another."""
        with self._lock:
            if self._token == token:
                self._token = None

    def _current(self, auth: OAuth2Auth) -> str:
        with self._lock:
            if self._token is None or time.monotonic() >= self._until:
                if auth.refresh_token is None:
                    self._renew(auth)
                else:
                    with self._own.alone():
                        self._renew(auth)
            assert self._token is not None
            return self._token

    def _renew(self, auth: OAuth2Auth) -> None:
        kept = self._own.load()
        form = dict(auth.parameters)
        refresh = kept.get("refresh_token")
        if refresh is not None:
            self._learn(refresh)
            form |= {"grant_type": "refresh_token", "refresh_token": refresh}
        else:
            form["grant_type"] = "client_credentials"
        if auth.scopes:
            form["scope"] = " ".join(auth.scopes)
        headers = {}
        if auth.client_in == "header":
            headers["Authorization"] = _basic(auth.client_id, auth.client_secret.get_secret_value())
        else:
            form |= {"client_id": auth.client_id, "client_secret": auth.client_secret.get_secret_value()}
        answer = self._ask(auth.token_url, form, headers)
        token = answer.get("access_token") if isinstance(answer, Mapping) else None
        if not isinstance(token, str) or not token:
            raise SynclineError(
                ErrorKind.AUTH, "the token request was answered without an access token", hint="check token_url"
            )
        self._learn(token)
        rotated = answer.get("refresh_token")
        if refresh is not None and isinstance(rotated, str) and rotated != refresh:
            self._learn(rotated)
            # Durable before the new access token is used: the old refresh token may be worth nothing from now on.
            self._own.save({**kept, "refresh_token": rotated})
        lasts = answer.get("expires_in")
        seconds = (
            float(lasts)
            if isinstance(lasts, int | float | str) and str(lasts).replace(".", "", 1).isdigit()
            else 3600.0
        )
        self._token, self._until = token, time.monotonic() + max(seconds - _MARGIN_SECONDS, seconds / 2)


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
