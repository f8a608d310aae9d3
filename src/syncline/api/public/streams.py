"""What a source offers, in the public API."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request

from syncline.api.context import CallerOf, ControlOf
from syncline.api.looking import SHORT_WAIT, Looking, outside
from syncline.api.paging import as_uuid
from syncline.api.public.models import StreamProperties
from syncline.api.routes import Routes
from syncline.core.errors import SynclineError
from syncline.service import catalogs

__all__ = ["streams_router"]

streams_router = Routes(tags=["Streams"])


@streams_router.get("/streams", operation_id="getStreamProperties")
async def stream_properties(
    request: Request,
    control: ControlOf,
    caller: CallerOf,
    source_id: Annotated[str, Query(alias="sourceId")],
    destination_id: Annotated[str | None, Query(alias="destinationId")] = None,
    ignore_cache: Annotated[bool, Query(alias="ignoreCache")] = False,
) -> list[StreamProperties]:
    """From the last discovery, or from a new one when there was none or ``ignoreCache`` says so. 409 while it lasts."""
    looking: Looking = request.app.state.looking
    source = as_uuid(source_id)
    destination = None if destination_id is None else as_uuid(destination_id)
    try:
        found = await looking.run(
            ("streams", caller.user_id, source, destination, ignore_cache),
            SHORT_WAIT,
            lambda: catalogs.streams(
                control, caller, source_id=source, destination_id=destination, ignore_cache=ignore_cache
            ),
        )
    except SynclineError as error:
        raise outside(error) from error
    return [
        StreamProperties(
            stream_name=each.stream_name,
            streamnamespace=each.stream_namespace,
            sync_modes=list(each.sync_modes),
            default_cursor_field=list(each.default_cursor_field),
            source_defined_cursor_field=each.source_defined_cursor_field,
            source_defined_primary_key=[list(path) for path in each.source_defined_primary_key],
            property_fields=[list(path) for path in each.property_fields],
        )
        for each in found
    ]
