"""All routes of our own API."""

from __future__ import annotations

from fastapi import APIRouter

from syncline.api.own.activity import activity_router
from syncline.api.own.connections import own_connections_router
from syncline.api.own.examinations import examinations_router
from syncline.api.own.people import own_people_router
from syncline.api.own.webhooks import webhooks_router

__all__ = ["own_router"]

own_router = APIRouter()
for each in (own_connections_router, examinations_router, activity_router, webhooks_router, own_people_router):
    own_router.include_router(each)
