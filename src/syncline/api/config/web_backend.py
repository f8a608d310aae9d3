"""Routes of Airbyte's own web application that clients call: PyAirbyte reads and writes catalogs here."""

from __future__ import annotations

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from syncline.api.config.actors import destination_read, source_read
from syncline.api.config.connections import changed, connection_read
from syncline.api.config.models import ConfigConnectionUpdate, WebConnectionBody, WebConnectionRead
from syncline.api.context import CallerOf, ControlOf
from syncline.api.looking import LONG_WAIT, Looking, outside
from syncline.api.public.models import JobStatus
from syncline.api.routes import Routes
from syncline.core.errors import SynclineError
from syncline.service import actors, connections, jobs, probes
from syncline.service.callers import Caller
from syncline.service.control import Control
from syncline.store.values import StoredConnection

__all__ = ["web_backend_router"]

web_backend_router = Routes(tags=["Web backend"])


def _read(control: Control, caller: Caller, connection: StoredConnection) -> WebConnectionRead:
    latest = jobs.latest(control, caller, connection.id)
    source = actors.get(control, caller, "source", connection.source_id)
    destination = actors.get(control, caller, "destination", connection.destination_id)
    return WebConnectionRead(
        **connection_read(control, caller, connection).model_dump(by_alias=False),
        source=source_read(source),
        destination=destination_read(destination),
        latest_sync_job_created_at=None if latest is None else int(latest.job.created_at.timestamp()),
        latest_sync_job_status=None if latest is None else JobStatus(latest.job.status.value),
        is_syncing=jobs.active(control, caller, connection.id) is not None,
    )


@web_backend_router.post("/web_backend/connections/get", operation_id="webBackendGetConnection")
async def get_connection(
    request: Request, control: ControlOf, caller: CallerOf, body: WebConnectionBody
) -> WebConnectionRead:
    """``withRefreshedCatalog`` discovers the source first."""
    connection = await run_in_threadpool(connections.get, control, caller, body.connection_id)
    if body.with_refreshed_catalog:
        looking: Looking = request.app.state.looking
        try:
            await looking.run(
                ("discover", caller.user_id, connection.source_id),
                LONG_WAIT,
                lambda: probes.discover(control, caller, connection.source_id, fresh=True),
            )
        except SynclineError as error:
            raise outside(error) from error
    return await run_in_threadpool(_read, control, caller, connection)


@web_backend_router.post("/web_backend/connections/update", operation_id="webBackendUpdateConnection")
def update_connection(control: ControlOf, caller: CallerOf, body: ConfigConnectionUpdate) -> WebConnectionRead:
    """What is absent stays. Nothing is ever reset by a change here, so ``skipReset`` needs no answer."""
    return _read(control, caller, changed(control, caller, body))
