"""One application per API, with the OpenAPI document that it serves about itself at ``openapi.json``.

The documents are made from the routes, so they cannot lag behind them. What the routes do not say is added here: how
one signs in, and what a failure looks like.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from syncline import __version__
from syncline.api.errors import ErrorStyle, install_error_handlers

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
    routers: tuple[APIRouter, ...],
    hidden: tuple[APIRouter, ...] = (),
) -> FastAPI:
    """An application that answers failures in ``style`` (documented as ``failure``). The ``hidden`` routers answer too,
    and are documented elsewhere."""
    responses: dict[int | str, dict[str, Any]] = {
        status: {"model": failure, "description": text} for status, text in FAILURES.items()
    }
    api = FastAPI(
        title=title,
        description=description,
        version=__version__,
        docs_url=None,  # the viewers would be loaded from other people's servers
        redoc_url=None,
        openapi_url="/openapi.json",
        redirect_slashes=False,
        responses=responses,
        # One document for all places where the application is mounted: the client knows where it got it.
        root_path_in_servers=False,
    )
    for router in routers:
        api.include_router(router)
    for router in hidden:
        api.include_router(router, include_in_schema=False)
    install_error_handlers(api, style)

    def document() -> dict[str, Any]:
        if api.openapi_schema is None:
            made = get_openapi(title=title, version=__version__, description=description, routes=api.routes)
            made["servers"] = [{"url": "./"}]
            made.setdefault("components", {})["securitySchemes"] = dict(SCHEMES)
            made["security"] = [{name: []} for name in SCHEMES] + [{}]
            for operation in (each for methods in made["paths"].values() for each in methods.values()):
                for status, response in operation["responses"].items():
                    if int(status) >= 400:
                        # Also where a success is text or a stream, a failure is JSON.
                        response["content"] = {"application/json": next(iter(response["content"].values()))}
            api.openapi_schema = made
        return api.openapi_schema

    api.openapi = document  # type: ignore[method-assign]
    return api
