"""What Prometheus scrapes."""

from __future__ import annotations

from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from syncline.api.context import CallerOf, ControlOf
from syncline.api.routes import Routes
from syncline.service import metrics

__all__ = ["metrics_router"]

metrics_router = Routes(tags=["Metrics"])


@metrics_router.get("/metrics", response_class=Response)
async def scrape(control: ControlOf, caller: CallerOf) -> Response:
    """All metrics in Prometheus' text format. With authentication a scraper sends an API key as its bearer token."""
    return Response(await run_in_threadpool(metrics.scrape, control, caller), media_type=metrics.CONTENT_TYPE)
