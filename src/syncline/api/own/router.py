"""All routes of our own API."""

from __future__ import annotations

from fastapi import APIRouter

from syncline.api.own.activity import activity_router
from syncline.api.own.alerts import alerts_router
from syncline.api.own.connections import own_connections_router
from syncline.api.own.connectors import connectors_router
from syncline.api.own.examinations import examinations_router
from syncline.api.own.overview import overview_router
from syncline.api.own.people import own_people_router
from syncline.api.own.trials import trials_router
from syncline.api.own.webhooks import webhooks_router

__all__ = ["own_routers"]

own_routers: tuple[APIRouter, ...] = (
    own_connections_router,
    examinations_router,
    activity_router,
    alerts_router,
    webhooks_router,
    own_people_router,
    overview_router,
    trials_router,
    connectors_router,
)
