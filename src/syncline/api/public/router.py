"""All routes of the public API."""

from __future__ import annotations

from syncline.api.public.actors import destinations_router, sources_router
from syncline.api.public.connections import connections_router
from syncline.api.public.definitions import definitions_router
from syncline.api.public.jobs import jobs_router
from syncline.api.public.people import people_router
from syncline.api.public.streams import streams_router
from syncline.api.public.workspaces import workspaces_router
from syncline.api.routes import Routes

__all__ = ["public_routers"]

public_routers: tuple[Routes, ...] = (
    jobs_router,
    connections_router,
    sources_router,
    destinations_router,
    workspaces_router,
    streams_router,
    definitions_router,
    people_router,
)
