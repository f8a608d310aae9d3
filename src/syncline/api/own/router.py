"""All routes of our own API."""

from __future__ import annotations

from syncline.api.own.activity import activity_router
from syncline.api.own.alerts import alerts_router
from syncline.api.own.connections import own_connections_router
from syncline.api.own.connectors import connectors_router
from syncline.api.own.declarations import declarations_router
from syncline.api.own.diagnosis import diagnosis_router
from syncline.api.own.examinations import examinations_router
from syncline.api.own.gates import gates_router
from syncline.api.own.limits import limits_router
from syncline.api.own.mappings import mappings_router
from syncline.api.own.oauth import oauth_router
from syncline.api.own.overview import overview_router
from syncline.api.own.people import own_people_router
from syncline.api.own.quality import quality_router
from syncline.api.own.quarantine import quarantine_router
from syncline.api.own.schema_changes import schema_changes_router
from syncline.api.own.trials import trials_router
from syncline.api.own.webhooks import webhooks_router
from syncline.api.routes import Routes

__all__ = ["own_routers"]

own_routers: tuple[Routes, ...] = (
    own_connections_router,
    declarations_router,
    examinations_router,
    limits_router,
    activity_router,
    alerts_router,
    diagnosis_router,
    webhooks_router,
    own_people_router,
    overview_router,
    schema_changes_router,
    trials_router,
    connectors_router,
    oauth_router,
    quality_router,
    gates_router,
    mappings_router,
    quarantine_router,
)
