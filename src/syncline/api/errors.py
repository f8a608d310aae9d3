"""What a failed request is told: one table of statuses, one body per API.

Public API and ours: a problem document with Airbyte's field names. Config API: ``message`` and ``exceptionClassName``.
Both carry ``message``, so that a script written for one understands the other. Clients decide by the status alone.
"""

from __future__ import annotations

import logging
import math
import secrets
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from syncline.core.errors import ErrorKind, SynclineError
from syncline.service.errors import LockedError, NotFoundError, RateLimitedError

__all__ = [
    "ApiError",
    "ErrorStyle",
    "Shield",
    "config_body",
    "early_answer",
    "explain",
    "install_error_handlers",
    "problem_body",
]

_log = logging.getLogger("syncline.api")

TITLES: Mapping[int, str] = {
    400: "bad-request",
    401: "invalid-api-key",
    403: "forbidden",
    404: "resource-not-found",
    405: "method-not-allowed",
    409: "state-conflict",
    413: "content-too-large",
    415: "unsupported-media-type",
    421: "misdirected-request",
    422: "unprocessable-entity",
    423: "locked",
    429: "too-many-requests",
    500: "unexpected-problem",
    503: "service-unavailable",
    504: "timed-out",
}

#: The class names that scripts written for Airbyte look at.
EXCEPTION_CLASSES: Mapping[int, str] = {
    400: "io.airbyte.commons.server.errors.BadObjectSchemaKnownException",
    401: "io.airbyte.commons.server.errors.UnauthorizedException",
    403: "io.airbyte.commons.server.errors.ForbiddenException",
    404: "io.airbyte.commons.server.errors.IdNotFoundKnownException",
    409: "io.airbyte.commons.server.errors.ValueConflictKnownException",
    422: "io.airbyte.commons.server.errors.BadObjectSchemaKnownException",
    423: "io.airbyte.commons.server.errors.SyncIsRunningException",
}

#: What a kind means to whoever asked. Failures of the systems at the two ends are not failures of this server: an
#: ``auth`` error of a database must not look like a wrong token, which clients would drop (the caller's own is turned
#: into a 401 where it arises, in ``context``), and an unreachable one not like an unreachable server.
STATUSES: Mapping[ErrorKind, int] = {
    ErrorKind.CONFIG: 422,
    ErrorKind.AUTH: 422,
    ErrorKind.PERMISSION: 403,
    ErrorKind.UNREACHABLE: 422,
    ErrorKind.TRANSIENT: 409,
    ErrorKind.DATA: 422,
    ErrorKind.SCHEMA: 422,
    ErrorKind.RESOURCE: 422,
    ErrorKind.CONFLICT: 409,
    ErrorKind.INTERNAL: 500,
}

ErrorStyle = Callable[["ApiError"], dict[str, Any]]


class ApiError(HTTPException):
    """An answer that is not a success. ``detail`` is one sentence for people, ``data`` what a program may want to know,
    ``headers`` go out with it. None may hold a secret. (An HTTPException, so that the framework lets it pass.)"""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        title: str | None = None,
        data: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, detail, dict(headers or {}))
        self.title = title or TITLES.get(status, "unexpected-problem")
        self.data = dict(data or {})


def problem_body(error: ApiError) -> dict[str, Any]:
    """The body of the public API and of ours."""
    body: dict[str, Any] = {
        "status": error.status_code,
        "type": f"https://reference.airbyte.com/reference/errors#{error.title}",
        "title": error.title,
        "detail": error.detail,
        "message": error.detail,
    }
    if error.data:
        body["data"] = error.data
    return body


def config_body(error: ApiError) -> dict[str, Any]:
    """The body of the config API."""
    body: dict[str, Any] = {
        "message": error.detail,
        "exceptionClassName": EXCEPTION_CLASSES.get(
            error.status_code, "io.airbyte.commons.server.errors.KnownException"
        ),
        "exceptionStack": [],
    }
    if "errors" in error.data:
        body["validationErrors"] = [
            {"propertyPath": item["path"], "message": item["message"]} for item in error.data["errors"]
        ]
    if "resourceId" in error.data:
        body["id"] = error.data["resourceId"]
    return body


def explain(error: Exception) -> ApiError:
    """Any exception as the answer it deserves. One that nobody foresaw is logged here, with a number that the answer
    names; nothing else of it goes out."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, RequestValidationError):
        return _invalid(error)
    if isinstance(error, HTTPException):
        return ApiError(error.status_code, _sentence(error), headers=error.headers)
    if isinstance(error, NotFoundError):
        return ApiError(404, error.message, data={"resourceType": error.noun, "resourceId": str(error.id)})
    if isinstance(error, RateLimitedError):
        return ApiError(429, _told(error), headers={"Retry-After": str(math.ceil(error.retry_after))})
    if isinstance(error, SynclineError) and error.kind is not ErrorKind.INTERNAL:
        status = 423 if isinstance(error, LockedError) else STATUSES[error.kind]
        return ApiError(status, _told(error), data={"kind": error.kind.value, **_plain(error.where)})
    number = secrets.token_hex(4)
    _log.error("a request failed unexpectedly (%s)", number, exc_info=error)
    return ApiError(500, f"Something went wrong inside the server. Its log says what, under {number}.")


def install_error_handlers(app: FastAPI, style: ErrorStyle) -> None:
    """Every failure of ``app`` is answered in ``style``."""

    async def answer(request: Request, error: Exception) -> JSONResponse:
        told = explain(error)
        if told.status_code == 405:
            told.headers = {"Allow": ", ".join(_methods(app, request.scope))}
        return respond(told, style)

    for kind in (ApiError, SynclineError, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, answer)
    app.add_middleware(Shield, style=style)


def early_answer(path: str, error: ApiError) -> JSONResponse:
    """The answer to a request that reaches no API, in the style of the one it was meant for."""
    return respond(error, config_body if path.startswith("/api/v1/") else problem_body)


def respond(error: ApiError, style: ErrorStyle) -> JSONResponse:
    return JSONResponse(style(error), error.status_code, headers=error.headers)


class Shield:
    """ASGI: what no handler caught becomes a 500 without a stack trace. Once an answer has begun it can only be cut
    off."""

    def __init__(self, app: ASGIApp, style: ErrorStyle) -> None:
        self.app = app
        self.style = style

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = begun or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, watched)
        except Exception as error:  # noqa: BLE001 - the last place that can answer
            answer = respond(explain(error), self.style)
            if begun:
                raise ConnectionAbortedError("the answer had begun") from None
            await answer(scope, receive, send)


def _methods(app: FastAPI, scope: Scope) -> list[str]:
    """Those that the path of ``scope`` has; the framework names only those of one route."""
    methods = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
    return [
        method
        for method in methods
        if any(route.matches({**scope, "method": method})[0] is Match.FULL for route in app.router.routes)
    ]


def _invalid(error: RequestValidationError) -> ApiError:
    """Malformed JSON is 400, JSON of the wrong shape 422. The values themselves stay out: they may be secrets."""
    problems = [
        {
            "path": ".".join(str(part) for part in item["loc"][1:]),
            "in": str(item["loc"][0]),
            "message": str(item["msg"]),
        }
        for item in error.errors()
    ]
    if any(item["type"] == "json_invalid" for item in error.errors()):
        return ApiError(400, "The body is not valid JSON.", data={"errors": problems})
    told = "; ".join(f"{item['path'] or item['in']}: {item['message']}" for item in problems[:5])
    return ApiError(422, f"The request is invalid: {told}", data={"errors": problems[:50]})


def _sentence(error: HTTPException) -> str:
    known = {
        404: "There is no such path.",
        405: "The path exists, but not with this method.",
    }
    return known.get(error.status_code, str(error.detail))


def _told(error: SynclineError) -> str:
    return f"{error.message}. {error.hint}" if error.hint else error.message


def _plain(where: Mapping[str, Any]) -> dict[str, str]:
    return {key: str(value) for key, value in where.items()}
