"""The HTTP application: three APIs, health, and the page, put together once.

    /api/public/v1, /v1   Airbyte's public API (one application at two places)
    /api/v1               Airbyte's config API; the public routes answer here too, no path of one is a path of the other
    /api/syncline/v1      what Airbyte has no word for
    /                     the page, when it was built into ``static``; the token path; health

Each is an application of its own: with its own OpenAPI document and its own form of errors. Nothing is redirected,
ever: some clients take a redirect for a failure.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.types import ASGIApp

from syncline.api.config.models import ConfigError
from syncline.api.config.router import config_routers
from syncline.api.documents import make_api
from syncline.api.errors import config_body, install_error_handlers, problem_body
from syncline.api.guard import BrowserGuard
from syncline.api.headers import SecurityHeaders
from syncline.api.health import config_health_router, health_router, public_health_router
from syncline.api.limits import BodyLimit
from syncline.api.looking import Looking
from syncline.api.metrics import metrics_router
from syncline.api.own.router import own_routers
from syncline.api.paths import PathTidier
from syncline.api.public.jobs import trigger_router
from syncline.api.public.models import Problem
from syncline.api.public.router import public_routers
from syncline.api.routes import Places, RouteIndex
from syncline.api.streaming import Watchers
from syncline.api.token import token_router
from syncline.api.ui import make_page
from syncline.service.control import Control

__all__ = ["create_app"]

#: Requests that are answered at once, each in a thread of its own while it waits for the store; more wait.
THREADS = 32


def create_app(control: Control) -> ASGIApp:
    """The whole application over an open store. Who made ``control`` closes it, after the application has ended."""
    public = make_api(
        "Syncline: Airbyte's public API",
        "Serves clients of Airbyte's public API, at /api/public/v1 and at /v1.",
        problem_body,
        Problem,
        (token_router, public_health_router, trigger_router, *public_routers),
    )
    config = make_api(
        "Syncline: Airbyte's config API",
        "Serves clients of Airbyte's config API, at /api/v1. The public API's routes answer here too.",
        config_body,
        ConfigError,
        (token_router, config_health_router, *config_routers),
        hidden=(trigger_router, *public_routers),
    )
    own = make_api(
        "Syncline's own API",
        "What Airbyte has no word for, at /api/syncline/v1.",
        problem_body,
        Problem,
        (token_router, public_health_router, *own_routers),
    )
    looking, watchers = Looking(), Watchers()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # What blocks runs there; closed by the loop when it ends.
        threads = ThreadPoolExecutor(THREADS, thread_name_prefix="api")
        asyncio.get_running_loop().set_default_executor(threads)
        yield
        looking.close()

    root = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False, lifespan=lifespan)
    # SDKs resolve their default token address, /applications/token, to the root, and a relative one to where the last
    # part of the server's address was.
    tokens = (token_router.below(prefix) for prefix in ("", "/api", "/api/public"))
    root.router.routes.append(RouteIndex([health_router, metrics_router, *tokens]))
    install_error_handlers(root, problem_body)
    for app in (root, public, config, own):
        app.state.control = control
        app.state.looking = looking
        app.state.watchers = watchers
    root.mount("/", make_page())
    places = {"/api/public/v1": public, "/api/syncline/v1": own, "/api/v1": config, "/v1": public}
    inner: ASGIApp = PathTidier(BodyLimit(Places(places, root)))
    if control.settings.auth == "none":
        inner = BrowserGuard(inner, control.settings.allowed_hosts)
    return SecurityHeaders(inner)
