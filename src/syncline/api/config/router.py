"""All routes of the config API."""

from __future__ import annotations

from syncline.api.config.actors import config_actors_router
from syncline.api.config.connections import config_connections_router
from syncline.api.config.definitions import config_definitions_router
from syncline.api.config.jobs import config_jobs_router
from syncline.api.config.state import config_state_router
from syncline.api.config.web_backend import web_backend_router
from syncline.api.config.workspaces import config_workspaces_router
from syncline.api.routes import Routes

__all__ = ["config_routers"]

config_routers: tuple[Routes, ...] = (
    config_jobs_router,
    config_connections_router,
    config_actors_router,
    config_definitions_router,
    config_workspaces_router,
    config_state_router,
    web_backend_router,
)
