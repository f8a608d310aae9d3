"""A connection as Airbyte's own web application has it."""

from __future__ import annotations

from typing import Any, Literal
from uuid import UUID

from syncline.api.config.models.actors import DestinationRead, SourceRead
from syncline.api.config.models.connections import ConnectionRead
from syncline.api.public.models import JobStatus
from syncline.api.wire import WireModel

__all__ = ["WebConnectionBody", "WebConnectionRead"]


class WebConnectionBody(WireModel):
    connection_id: UUID
    with_refreshed_catalog: bool = False


class WebConnectionRead(ConnectionRead):
    source: SourceRead
    destination: DestinationRead
    latest_sync_job_created_at: int | None = None
    latest_sync_job_status: JobStatus | None = None
    is_syncing: bool
    operations: list[Any] = []
    catalog_id: str | None = None
    schema_change: Literal["no_change"] = "no_change"
