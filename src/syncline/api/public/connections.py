"""Connections in the public API."""

from __future__ import annotations

import re
from typing import Annotated, Any, cast

from fastapi import Query, Response

from syncline.api.context import CallerOf, ControlOf
from syncline.api.errors import ApiError
from syncline.api.paging import PagingOf, WorkspaceIds, as_uuid, uuids
from syncline.api.public.models import (
    ConfigurationsResponse,
    ConnectionCreate,
    ConnectionPatch,
    ConnectionResponse,
    ConnectionSchedule,
    ConnectionsResponse,
    ConnectionStatus,
    NamespaceDefinition,
    ScheduleResponse,
    ScheduleType,
    SchemaUpdates,
    SelectedField,
    StreamConfiguration,
    StreamConfigurations,
    SyncModeWord,
    TagResponse,
)
from syncline.api.routes import Routes
from syncline.service import connections
from syncline.service.changes import UNSET
from syncline.service.connections import ConnectionChange, NewConnection
from syncline.store.values import Schedule, StoredConnection, StreamConfig

__all__ = ["connection_response", "connections_router", "streams_of"]

connections_router = Routes(tags=["Connections"])


def connection_response(connection: StoredConnection) -> ConnectionResponse:
    schedule = connection.schedule
    return ConnectionResponse(
        connection_id=str(connection.id),
        name=connection.name,
        source_id=str(connection.source_id),
        destination_id=str(connection.destination_id),
        workspace_id=str(connection.workspace_id),
        status=ConnectionStatus(connection.status),
        schedule=ScheduleResponse(
            schedule_type=ScheduleType(schedule.public_type),
            cron_expression=schedule.cron_expression,
            basic_timing=schedule.basic_timing,
        ),
        configurations=ConfigurationsResponse(streams=[_stream(each) for each in connection.streams or ()]),
        created_at=int(connection.created_at.timestamp()),
        tags=[
            TagResponse(tag_id=str(tag.id), name=tag.name, color=tag.color, workspace_id=str(tag.workspace_id))
            for tag in connection.tags
        ],
        non_breaking_schema_updates_behavior=SchemaUpdates(connection.non_breaking_updates),
        namespace_definition=NamespaceDefinition(connection.namespace_definition),
        namespace_format=connection.namespace_format,
        prefix=connection.prefix,
        status_reason=connection.status_reason,
    )


def _stream(stream: StreamConfig) -> StreamConfiguration:
    return StreamConfiguration(
        name=stream.name,
        namespace=stream.namespace,
        sync_mode=None if stream.sync_mode is None else SyncModeWord(stream.sync_mode),
        cursor_field=list(stream.cursor_field),
        primary_key=[list(path) for path in stream.primary_key],
        selected_fields=[SelectedField(field_path=list(path)) for path in stream.selected_fields or ()],
        mappers=[dict(each) for each in stream.mappers],
        include_files=stream.include_files,
        destination_object_name=stream.destination_object_name,
    )


@connections_router.get("/connections", operation_id="listConnections")
def list_connections(
    control: ControlOf,
    caller: CallerOf,
    paging: PagingOf,
    workspace_ids: WorkspaceIds,
    tag_ids: Annotated[list[str] | None, Query(alias="tagIds")] = None,
    include_deleted: Annotated[bool, Query(alias="includeDeleted")] = False,
) -> ConnectionsResponse:
    found = connections.list_connections(
        control,
        caller,
        workspace_ids=workspace_ids,
        tag_ids=uuids(tag_ids),
        include_deleted=include_deleted,
        page=paging.page,
    )
    return ConnectionsResponse(data=[connection_response(each) for each in found.items], **paging.links(found.more))


@connections_router.post("/connections", operation_id="createConnection")
def create_connection(control: ControlOf, caller: CallerOf, body: ConnectionCreate) -> ConnectionResponse:
    """Without streams it takes all that the source has."""
    updates = body.non_breaking_schema_updates_behavior
    new = NewConnection(
        source_id=body.source_id,
        destination_id=body.destination_id,
        name=body.name,
        status=None if body.status is None else body.status.value,
        schedule=schedule_of(body.schedule),
        streams=streams_of(body.configurations),
        namespace_definition=None if body.namespace_definition is None else body.namespace_definition.value,
        namespace_format=body.namespace_format,
        prefix=body.prefix,
        non_breaking_updates=None if updates is None else updates.value,
        tag_ids=tuple(tag.tag_id for tag in body.tags or ()),
    )
    return connection_response(connections.create(control, caller, new))


@connections_router.get("/connections/{connectionId}", operation_id="getConnection")
def get_connection(control: ControlOf, caller: CallerOf, connectionId: str) -> ConnectionResponse:
    return connection_response(connections.get(control, caller, as_uuid(connectionId)))


@connections_router.patch("/connections/{connectionId}", operation_id="patchConnection")
def patch_connection(
    control: ControlOf,
    caller: CallerOf,
    connectionId: str,
    body: ConnectionPatch,
) -> ConnectionResponse:
    """What is absent stays."""
    change: dict[str, Any] = {
        "name": body.name,
        "status": body.status,
        "schedule": schedule_of(body.schedule),
        "namespace_definition": body.namespace_definition,
        "prefix": body.prefix,
        "non_breaking_updates": body.non_breaking_schema_updates_behavior,
        "tag_ids": None if body.tags is None else tuple(tag.tag_id for tag in body.tags),
    }
    given = {key: UNSET if value is None else value for key, value in change.items()}
    # An empty list of streams means all of them, as in a new connection. Terraform always sends namespaceFormat, null
    # when the user gave none.
    given["streams"] = UNSET if body.configurations is None else streams_of(body.configurations)
    given["namespace_format"] = body.namespace_format if "namespace_format" in body.model_fields_set else UNSET
    return connection_response(connections.update(control, caller, as_uuid(connectionId), ConnectionChange(**given)))


@connections_router.delete("/connections/{connectionId}", operation_id="deleteConnection", status_code=204)
def delete_connection(control: ControlOf, caller: CallerOf, connectionId: str) -> Response:
    """Its running job is cancelled; what it has written at the destination stays."""
    connections.delete(control, caller, as_uuid(connectionId))
    return Response(status_code=204)


def schedule_of(schedule: ConnectionSchedule | None) -> Schedule | None:
    """The schedule asked for; None when nothing was. 422 for ``cron`` without an expression."""
    if schedule is None:
        return None
    if schedule.schedule_type == "manual":
        return Schedule(kind="manual")
    if schedule.schedule_type == "cron":
        if not schedule.cron_expression:
            raise ApiError(422, "schedule.cronExpression is required when scheduleType is cron.")
        return Schedule(kind="cron", cron_expression=schedule.cron_expression)
    match = _BASIC_TIMING.fullmatch(schedule.basic_timing or "")
    if match is None:
        raise ApiError(
            422, 'schedule.basicTiming is required when scheduleType is basic, and reads like "Every 3 HOURS".'
        )
    return Schedule(kind="basic", units=int(match[1]), time_unit=cast(Any, match[2].lower() + "s"))


#: As Airbyte prints it.
_BASIC_TIMING = re.compile(r"every (\d{1,6}) (minute|hour|day|week|month)s?", re.IGNORECASE)


def streams_of(configurations: StreamConfigurations | None) -> tuple[StreamConfig, ...] | None:
    """What was asked for; None, for all streams, when none is named."""
    if configurations is None or not configurations.streams:
        return None
    return tuple(_stream_config(each) for each in configurations.streams)


def _stream_config(stream: StreamConfiguration) -> StreamConfig:
    selected = stream.selected_fields
    return StreamConfig(
        name=stream.name,
        namespace=stream.namespace,
        sync_mode=stream.sync_mode or "full_refresh_overwrite",
        cursor_field=tuple(stream.cursor_field or ()),
        primary_key=tuple(tuple(path) for path in stream.primary_key or ()),
        # An empty list is what clients send, and we answer, for "all fields".
        selected_fields=tuple(tuple(each.field_path) for each in selected) if selected else None,
        mappers=tuple(stream.mappers or ()),
        include_files=stream.include_files,
        destination_object_name=stream.destination_object_name,
    )
