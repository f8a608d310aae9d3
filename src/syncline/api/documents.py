"""One application per API, with the OpenAPI document that it serves about itself at ``openapi.json``.

The documents are made from the routes, so they cannot lag behind them. What the routes do not say is added here: how
one signs in, and what a failure looks like.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Response
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from syncline import __version__
from syncline.api.errors import ErrorStyle, install_error_handlers
from syncline.api.routes import RouteIndex, Routes

__all__ = ["make_api"]

#: Status -> when. Every operation may answer with them.
FAILURES: Mapping[int, str] = {
    400: "The request cannot be read.",
    401: "Credentials are missing or wrong.",
    403: "The caller lacks the right.",
    404: "There is no such thing, or the caller may not know of it.",
    405: "The path exists, but not with this method.",
    409: "It conflicts with how things are: a job already runs, or something else is under way.",
    413: "The body is too large.",
    422: "The request can be read, but not done.",
    423: "Not while a job runs.",
    429: "Too many requests of this kind.",
}

SCHEMES: Mapping[str, Any] = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "An access token from /applications/token, or an API key.",
    },
    "basic": {"type": "http", "scheme": "basic", "description": "An email address and a password."},
    "clientCredentials": {
        "type": "oauth2",
        "flows": {"clientCredentials": {"tokenUrl": "applications/token", "scopes": {}}},
    },
}


def make_api(
    title: str,
    description: str,
    style: ErrorStyle,
    failure: type[BaseModel],
    routes: tuple[Routes, ...],
    hidden: tuple[Routes, ...] = (),
) -> FastAPI:
    """An application that answers failures in ``style`` (documented as ``failure``). The ``hidden`` routes answer too,
    and are documented elsewhere. The document is made when it is first asked for."""
    api = FastAPI(
        title=title,
        description=description,
        version=__version__,
        docs_url=None,  # the viewers would be loaded from other people's servers
        redoc_url=None,
        openapi_url=None,  # the framework's would be made while everybody else waits
        redirect_slashes=False,
    )
    lock = threading.Lock()
    made: list[bytes] = []

    own = Routes()

    @own.get("/openapi.json")
    def document() -> Response:
        with lock:
            if not made:
                made.append(json.dumps(_document(title, description, failure, routes)).encode())
        return Response(made[0], media_type="application/json")

    api.router.routes.append(RouteIndex([own, *routes, *hidden]))
    install_error_handlers(api, style)
    return api


def _document(title: str, description: str, failure: type[BaseModel], routes: tuple[Routes, ...]) -> dict[str, Any]:
    documented = [each.documented() for one in routes for each in one.declared]
    made = get_openapi(title=title, version=__version__, description=description, routes=documented)
    # One document for all places where the application is mounted: the client knows where it got it.
    made["servers"] = [{"url": "./"}]
    made.setdefault("components", {})["securitySchemes"] = dict(SCHEMES)
    made["security"] = [{name: []} for name in SCHEMES] + [{}]
    _add_failures(made, failure)
    return made


def _add_failures(document: dict[str, Any], failure: type[BaseModel]) -> None:
    """Every operation may fail in each of the ways of :data:`FAILURES`, and always as JSON: also where its success is
    text or a stream. The framework's own form of an invalid request is none of ours."""
    schemas = document["components"].setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    made = failure.model_json_schema(mode="serialization", ref_template="#/components/schemas/{model}")
    schemas.update(made.pop("$defs", {}))
    schemas[failure.__name__] = made
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{failure.__name__}"}}}
    for operation in (each for methods in document["paths"].values() for each in methods.values()):
        for status, text in FAILURES.items():
            operation["responses"][str(status)] = {"description": text, "content": content}
