"""The HTTP application: three APIs, health, and the page, put together once.

    /api/public/v1, /v1   Airbyte's public API (one application at two places)
    /api/v1               Airbyte's config API; the public routes answer here too, no path of one is a path of the other
    /api/syncline/v1      what Airbyte has no word for
    /                     the page, when it was built into ``static``; the token path; health

Each is an application of its own: with its own OpenAPI document and its own form of errors. Nothing is redirected,
ever: some clients take a redirect for a failure.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from starlette.types import ASGIApp

from syncline.api.config.models import ConfigError
from syncline.api.config.router import config_router
from syncline.api.documents import make_api
from syncline.api.errors import config_body, install_error_handlers, problem_body
from syncline.api.guard import BrowserGuard
from syncline.api.headers import SecurityHeaders
from syncline.api.health import config_health_router, health_router, public_health_router
from syncline.api.limits import BodyLimit
from syncline.api.looking import Looking
from syncline.api.own.router import own_router
from syncline.api.page import Page
from syncline.api.paths import PathTidier
from syncline.api.public.jobs import trigger_router
from syncline.api.public.models import Problem
from syncline.api.public.router import public_router
from syncline.api.streaming import Watchers
from syncline.api.token import token_router
from syncline.service.control import Control

__all__ = ["create_app"]

#: The page's built files; there when the distribution was built with them.
STATIC = Path(__file__).parent / "static"


def create_app(control: Control) -> ASGIApp:
    """The whole application over an open store. Who made ``control`` closes it, after the application has ended."""
    public = make_api(
        "Syncline: Airbyte's public API",
        "Serves clients of Airbyte's public API, at /api/public/v1 and at /v1.",
        problem_body,
        Problem,
        (token_router, public_health_router, trigger_router, public_router),
    )
    config = make_api(
        "Syncline: Airbyte's config API",
        "Serves clients of Airbyte's config API, at /api/v1. The public API's routes answer here too.",
        config_body,
        ConfigError,
        (token_router, config_health_router, config_router),
        hidden=(trigger_router, public_router),
    )
    own = make_api(
        "Syncline's own API",
        "What Airbyte has no word for, at /api/syncline/v1.",
        problem_body,
        Problem,
        (token_router, public_health_router, own_router),
    )
    looking, watchers = Looking(), Watchers()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        looking.close()

    root = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False, lifespan=lifespan)
    root.include_router(health_router)
    # SDKs resolve their default token address, /applications/token, to the root, and a relative one to where the last
    # part of the server's address was.
    for prefix in ("", "/api", "/api/public"):
        root.include_router(token_router, prefix=prefix)
    install_error_handlers(root, problem_body)
    for app in (root, public, config, own):
        app.state.control = control
        app.state.looking = looking
        app.state.watchers = watchers
    # The longer prefix first: each catches all below it.
    root.mount("/api/public/v1", public)
    root.mount("/api/syncline/v1", own)
    root.mount("/api/v1", config)
    root.mount("/v1", public)
    if STATIC.is_dir():
        root.mount("/", Page(directory=STATIC))
    inner: ASGIApp = PathTidier(BodyLimit(root))
    if control.settings.auth == "none":
        inner = BrowserGuard(inner, control.settings.allowed_hosts)
    return SecurityHeaders(inner)
