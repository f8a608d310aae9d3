"""Use cases: webhooks in. A signed message starts a connection; a repeat of it does not."""

from __future__ import annotations

import secrets as random_secrets
import time
from collections.abc import Callable, Mapping
from uuid import UUID

from syncline.jobs.bell import BELL
from syncline.service.audit import record
from syncline.service.callers import Caller, Role
from syncline.service.control import Control
from syncline.service.errors import NotFoundError, invalid
from syncline.service.jobs import start_or_wait
from syncline.service.signatures import verify
from syncline.store import connections
from syncline.store import secrets as sealed_rows
from syncline.store import webhooks as rows
from syncline.store.database import Transaction
from syncline.store.job_values import Job, Webhook, WebhookScheme
from syncline.store.schema import new_id, now
from syncline.store.values import StoredConnection

__all__ = ["create", "delete", "list", "receive"]

_SCHEMES = ("stripe", "github", "standard")
#: Longer than any sender's own tries need, shorter than deliveries are remembered.
_MAX_TOLERANCE = 86_400


def create(
    control: Control, caller: Caller, connection_id: UUID, *, scheme: WebhookScheme, tolerance_seconds: int = 300
) -> tuple[Webhook, str]:
    """Make a webhook; the secret is told now and never again."""
    if scheme not in _SCHEMES:
        raise invalid("scheme", f"there is no scheme {scheme!r}", hint=f"known: {', '.join(_SCHEMES)}")
    if not 1 <= tolerance_seconds <= _MAX_TOLERANCE:
        raise invalid("toleranceSeconds", f"{tolerance_seconds} is not between 1 and {_MAX_TOLERANCE}")
    secret = "whsec_" + random_secrets.token_urlsafe(32) if scheme != "standard" else _standard_secret()
    secret_id, at = new_id(), now()
    with control.database.write() as tx:
        connection = _connection(tx, caller, connection_id, Role.EDITOR)
        sealed_rows.add(tx, control.secrets.seal(secret_id, {"secret": secret}))
        webhook = Webhook(
            id=new_id(),
            connection_id=connection.id,
            workspace_id=connection.workspace_id,
            scheme=scheme,
            tolerance_seconds=tolerance_seconds,
            secret_id=secret_id,
            created_at=at,
        )
        rows.insert(tx, webhook)
        after = {"connection": str(connection_id), "scheme": scheme}
        record(tx, caller, "webhook.create", "webhook", webhook.id, connection.workspace_id, None, after)
    return webhook, secret


def _standard_secret() -> str:
    import base64

    return "whsec_" + base64.b64encode(random_secrets.token_bytes(32)).decode()


def list(control: Control, caller: Caller, connection_id: UUID) -> tuple[Webhook, ...]:  # noqa: A001
    """Those of a connection, oldest first."""
    with control.database.read() as tx:
        connection = _connection(tx, caller, connection_id, Role.READER)
        return tuple(rows.of_connection(tx, connection.id))


def delete(control: Control, caller: Caller, webhook_id: UUID) -> None:
    """Messages to it are refused from now on."""
    with control.database.write() as tx:
        webhook = rows.find(tx, webhook_id)
        if webhook is None or not caller.may(Role.READER, webhook.workspace_id):
            raise NotFoundError("webhook", webhook_id)
        caller.require(Role.EDITOR, webhook.workspace_id)
        rows.delete(tx, webhook_id, now())
        record(tx, caller, "webhook.delete", "webhook", webhook.id, webhook.workspace_id)


def receive(
    control: Control,
    webhook_id: UUID,
    headers: Mapping[str, str],
    body: bytes,
    *,
    clock: Callable[[], float] = time.time,
) -> Job | None:
    """Take a message: its signature is the only credential. Returns the job that it started; None for a repeat, and
    when the connection is busy: then a run waits for it to be free. Raises ``auth`` for a wrong signature and
    :class:`NotFoundError` for an unknown webhook or an inactive connection."""
    with control.database.read() as tx:
        webhook = rows.find(tx, webhook_id)
        sealed = sealed_rows.find(tx, webhook.secret_id) if webhook is not None else None
    if webhook is None or sealed is None:
        raise NotFoundError("webhook", webhook_id)
    secret = control.secrets.open(sealed)["secret"]
    delivery = verify(webhook.scheme, secret, headers, body, now=clock(), tolerance=webhook.tolerance_seconds)
    with control.database.write() as tx:
        connection = connections.find(tx, webhook.connection_id)
        if connection is None or connection.deleted_at is not None or connection.status != "active":
            raise NotFoundError("active connection", webhook.connection_id)
        if not rows.take_delivery(tx, webhook_id, delivery, now()):
            return None
        job = start_or_wait(tx, connection, "webhook", f"webhook {webhook_id}")
    BELL.ring()
    return job


def _connection(tx: Transaction, caller: Caller, connection_id: UUID, role: Role) -> StoredConnection:
    connection = connections.find(tx, connection_id)
    if connection is None or connection.deleted_at is not None or not caller.may(Role.READER, connection.workspace_id):
        raise NotFoundError("connection", connection_id)
    caller.require(role, connection.workspace_id)
    return connection
