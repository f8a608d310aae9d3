"""Client credentials for an access token: one endpoint at four places.

SDKs post a form, PyAirbyte, Dagster, Kestra and curl JSON; some name a grant, with a hyphen or an underscore, and some
do not. All that matters is ``client_id`` and ``client_secret``. The endpoint is cheap, because PyAirbyte calls it
before every other call, and a new token takes nothing from older ones.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

from fastapi import Request
from pydantic import ConfigDict
from starlette.concurrency import run_in_threadpool

from syncline.api.context import ControlOf, address_of, refused_login
from syncline.api.errors import ApiError
from syncline.api.routes import Routes
from syncline.api.wire import WireModel
from syncline.core.errors import SynclineError
from syncline.service import auth

__all__ = ["AccessToken", "token_router"]

token_router = Routes(tags=["Applications"])


class AccessToken(WireModel):
    """``token_type`` is exactly ``Bearer``: two clients compare it so. ``expires_in`` is in seconds."""

    access_token: str
    token_type: str
    expires_in: int

    model_config = ConfigDict(alias_generator=None)


_FIELDS = {
    "type": "object",
    "required": ["client_id", "client_secret"],
    "properties": {
        "client_id": {"type": "string"},
        "client_secret": {"type": "string"},
        "grant_type": {"type": "string", "enum": ["client_credentials"]},
    },
}


@token_router.post(
    "/applications/token",
    operation_id="createAccessToken",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": _FIELDS},
                "application/x-www-form-urlencoded": {"schema": _FIELDS},
            },
        },
        "security": [],
    },
)
async def create_access_token(request: Request, control: ControlOf) -> AccessToken:
    """Exchange an application's id and secret for a token. Anonymous; wrong ones give 401, too many of them 429."""
    fields = _fields(request.headers.get("content-type", ""), await request.body())
    client_id, client_secret = fields.get("client_id"), fields.get("client_secret")
    if client_id is None and client_secret is None:
        # RFC 6749, 2.3.1: a client may also send them as basic authentication.
        client_id, client_secret = _basic(request.headers.get("authorization", ""))
    if not isinstance(client_id, str) or not isinstance(client_secret, str):
        raise ApiError(400, "client_id and client_secret are required, both texts.")
    if "\0" in client_id + client_secret or not _encodable(client_id + client_secret):
        raise ApiError(401, "The client id or secret is wrong.")
    try:
        token = await run_in_threadpool(auth.exchange, control, client_id, client_secret, address=address_of(request))
    except SynclineError as error:
        raise refused_login(error) from error
    return AccessToken(access_token=token.access_token, token_type=token.token_type, expires_in=token.expires_in)


def _fields(content_type: str, body: bytes) -> dict[str, Any]:
    """The body's fields, by its content type, or by its looks when that says something else."""
    if len(body) > 64 * 1024:
        raise ApiError(413, "The body is larger than any credentials.", title="content-too-large")
    looks_json = body.lstrip()[:1] == b"{"
    if "json" in content_type or looks_json:
        try:
            value = json.loads(body)
        except (ValueError, RecursionError):
            raise ApiError(400, "The body is not valid JSON.") from None
        if not isinstance(value, dict):
            raise ApiError(400, "The body is not a JSON object.")
        return value
    return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))


def _basic(header: str) -> tuple[str | None, str | None]:
    scheme, _, rest = header.partition(" ")
    if scheme.lower() != "basic":
        return None, None
    try:
        name, colon, secret = base64.b64decode(rest, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None, None
    return (unquote_plus(name), unquote_plus(secret)) if colon else (None, None)


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
