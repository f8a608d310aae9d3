"""Whether the server is there: anonymous, at every prefix, and without touching the store where it need not."""

from __future__ import annotations

import anyio
from fastapi.responses import PlainTextResponse
from starlette.concurrency import run_in_threadpool

from syncline import __version__
from syncline.api.context import ControlOf
from syncline.api.errors import ApiError
from syncline.api.routes import Routes
from syncline.api.wire import WireModel
from syncline.service import workspaces
from syncline.service.callers import SYSTEM
from syncline.service.control import Control
from syncline.store.paging import Page

__all__ = ["config_health_router", "health_router", "public_health_router"]

public_health_router = Routes(tags=["Health"])
config_health_router = Routes(tags=["Health"])
health_router = Routes(tags=["Health"])


@public_health_router.head("/health", include_in_schema=False, response_class=PlainTextResponse)
@public_health_router.get(
    "/health",
    operation_id="getHealthCheck",
    response_class=PlainTextResponse,
    openapi_extra={"security": []},
)
async def public_health() -> PlainTextResponse:
    """What Airbyte says."""
    return PlainTextResponse("Successful operation")


class Available(WireModel):
    available: bool


@config_health_router.head("/health", include_in_schema=False)
@config_health_router.get("/health", operation_id="getConfigHealthCheck", openapi_extra={"security": []})
async def config_health() -> Available:
    """Prefect and the older Airflow provider look at ``available``."""
    return Available(available=True)


class Live(WireModel):
    """``status`` is always ``ok``: who cannot say so says nothing."""

    status: str = "ok"
    version: str = __version__


@health_router.at("/health", "GET", "HEAD")
@health_router.at("/health/live", "GET", "HEAD")
async def live() -> Live:
    """The process answers. Restart it when this fails."""
    return Live()


#: Seconds: a store that takes longer than this for one row cannot serve.
READY_WITHIN = 3.0


@health_router.at("/health/ready", "GET", "HEAD")
async def ready(control: ControlOf) -> Live:
    """The store answers too; 503 when it does not. Send no requests here while this fails."""
    try:
        with anyio.fail_after(READY_WITHIN):
            await run_in_threadpool(_read_something, control)
    except Exception as error:
        raise ApiError(503, "The store does not answer.") from error
    return Live()


def _read_something(control: Control) -> None:
    workspaces.list_workspaces(control, SYSTEM, page=Page(limit=1))
