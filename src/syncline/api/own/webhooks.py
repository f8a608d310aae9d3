"""Webhooks in: an address that starts a sync when a signed request arrives."""

from __future__ import annotations

from typing import Literal

from fastapi import Request, Response
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from syncline.api.context import CallerOf, ControlOf, refused_login
from syncline.api.paging import as_uuid
from syncline.api.routes import Routes
from syncline.api.wire import WireModel
from syncline.core.errors import SynclineError
from syncline.service import webhooks
from syncline.store.job_values import Webhook

__all__ = ["webhooks_router"]

webhooks_router = Routes(tags=["Webhooks"])

Scheme = Literal["stripe", "github", "standard"]


class WebhookCreate(WireModel):
    """``scheme`` says how the sender signs; ``toleranceSeconds`` how old a signature may be."""

    scheme: Scheme
    tolerance_seconds: int = Field(default=300, ge=1, le=86_400)


class WebhookRead(WireModel):
    """``secret`` is shown once, when the webhook is made."""

    webhook_id: str
    connection_id: str
    scheme: Scheme
    tolerance_seconds: int
    created_at: str
    path: str
    secret: str | None = None


class WebhookList(WireModel):
    webhooks: list[WebhookRead]


class Received(WireModel):
    """``jobId`` is absent when the request was a repeat, or a run waits already."""

    accepted: bool = True
    job_id: int | None = None


def _read(webhook: Webhook, secret: str | None = None) -> WebhookRead:
    return WebhookRead(
        webhook_id=str(webhook.id),
        connection_id=str(webhook.connection_id),
        scheme=webhook.scheme,
        tolerance_seconds=webhook.tolerance_seconds,
        created_at=webhook.created_at.isoformat(),
        path=f"/api/syncline/v1/webhooks/{webhook.id}/receive",
        secret=secret,
    )


@webhooks_router.get("/connections/{connectionId}/webhooks", operation_id="listWebhooks")
def list_webhooks(control: ControlOf, caller: CallerOf, connectionId: str) -> WebhookList:
    found = webhooks.list(control, caller, as_uuid(connectionId))
    return WebhookList(webhooks=[_read(each) for each in found])


@webhooks_router.post("/connections/{connectionId}/webhooks", operation_id="createWebhook")
def create_webhook(
    control: ControlOf,
    caller: CallerOf,
    connectionId: str,
    body: WebhookCreate,
) -> WebhookRead:
    webhook, secret = webhooks.create(
        control, caller, as_uuid(connectionId), scheme=body.scheme, tolerance_seconds=body.tolerance_seconds
    )
    return _read(webhook, secret)


@webhooks_router.delete("/webhooks/{webhookId}", operation_id="deleteWebhook", status_code=204)
def delete_webhook(control: ControlOf, caller: CallerOf, webhookId: str) -> Response:
    webhooks.delete(control, caller, as_uuid(webhookId))
    return Response(status_code=204)


@webhooks_router.post("/webhooks/{webhookId}/receive", operation_id="receiveWebhook", openapi_extra={"security": []})
async def receive_webhook(request: Request, control: ControlOf, webhookId: str) -> Received:
    """What the sender calls. Its signature is the authentication: 401 when it is missing, wrong or too old."""
    body = await request.body()
    try:
        job = await run_in_threadpool(webhooks.receive, control, as_uuid(webhookId), dict(request.headers), body)
    except SynclineError as error:
        raise refused_login(error) from error
    return Received(job_id=None if job is None else job.id)
