"""Connections in the config API."""

from __future__ import annotations

from typing import Any, cast

from fastapi import Response

from syncline.api.config.models import (
    ConfigConnectionCreate,
    ConfigConnectionUpdate,
    ConnectionIdBody,
    ConnectionListBody,
    ConnectionListRead,
    ConnectionRead,
    ScheduleData,
    SyncCatalog,
)
from syncline.api.config.spelling import NAMESPACES, SCHEMA_UPDATES, translated
from syncline.api.context import CallerOf, ControlOf
from syncline.api.errors import ApiError
from syncline.api.routes import Routes
from syncline.service import catalogs, connections
from syncline.service.callers import Caller
from syncline.service.changes import UNSET
from syncline.service.connections import ConnectionChange, NewConnection
from syncline.service.control import Control
from syncline.store.paging import Page
from syncline.store.values import Schedule, StoredConnection, StreamConfig

__all__ = ["changed", "config_connections_router", "connection_read"]

config_connections_router = Routes(tags=["Connections"])


def connection_read(control: Control, caller: Caller, connection: StoredConnection) -> ConnectionRead:
    """The connection with its catalog: the streams as the source was last seen to have them, or by name alone."""
    catalog = catalogs.sync_catalog(control, caller, connection.id)
    schedule = connection.schedule
    return ConnectionRead(
        connection_id=str(connection.id),
        name=connection.name,
        namespace_definition=NAMESPACES[connection.namespace_definition],
        namespace_format=connection.namespace_format,
        prefix=connection.prefix,
        source_id=str(connection.source_id),
        destination_id=str(connection.destination_id),
        sync_catalog=SyncCatalog.model_validate(catalog),
        schedule=_old_schedule(schedule),
        schedule_type=schedule.public_type,
        schedule_data=_schedule_data(schedule),
        status=connection.status,
        non_breaking_changes_preference=SCHEMA_UPDATES[connection.non_breaking_updates],
        created_at=int(connection.created_at.timestamp()),
        workspace_id=str(connection.workspace_id),
    )


def _old_schedule(schedule: Schedule) -> dict[str, Any] | None:
    """What older clients read: only basic schedules, in another shape."""
    if schedule.kind != "basic":
        return None
    return {"units": schedule.units, "timeUnit": schedule.time_unit}


def _schedule_data(schedule: Schedule) -> ScheduleData | None:
    if schedule.kind == "cron":
        zone = schedule.time_zone or "UTC"
        return ScheduleData(cron={"cronExpression": schedule.cron_expression, "cronTimeZone": zone})
    if schedule.kind == "basic":
        return ScheduleData(basic_schedule={"units": schedule.units, "timeUnit": schedule.time_unit})
    return None


@config_connections_router.post("/connections/get", operation_id="getConnectionByIdConfig")
def get_connection(control: ControlOf, caller: CallerOf, body: ConnectionIdBody) -> ConnectionRead:
    return connection_read(control, caller, connections.get(control, caller, body.connection_id))


@config_connections_router.post("/connections/list", operation_id="listConnectionsForWorkspace")
@config_connections_router.post("/connections/list_all", operation_id="listAllConnectionsForWorkspace")
def list_connections(control: ControlOf, caller: CallerOf, body: ConnectionListBody) -> ConnectionListRead:
    """All of a workspace, or of all workspaces when none is named; config clients know no pages here."""
    wanted = () if body.workspace_id is None else (body.workspace_id,)
    found = connections.list_connections(control, caller, workspace_ids=wanted, page=Page(limit=None)).items
    return ConnectionListRead(connections=[connection_read(control, caller, each) for each in found])


@config_connections_router.post("/connections/create", operation_id="createConnectionConfig")
def create_connection(control: ControlOf, caller: CallerOf, body: ConfigConnectionCreate) -> ConnectionRead:
    new = NewConnection(
        source_id=body.source_id,
        destination_id=body.destination_id,
        name=body.name,
        status=status_of(body.status),
        schedule=schedule_of(body.schedule_type, body.schedule_data, body.schedule),
        streams=None if body.sync_catalog is None else streams_of(body.sync_catalog),
        namespace_definition=cast(Any, translated(body.namespace_definition, NAMESPACES, "namespaceDefinition")),
        namespace_format=body.namespace_format,
        prefix=body.prefix,
        non_breaking_updates=cast(
            Any, translated(body.non_breaking_changes_preference, SCHEMA_UPDATES, "nonBreakingChangesPreference")
        ),
    )
    return connection_read(control, caller, connections.create(control, caller, new))


@config_connections_router.post("/connections/update", operation_id="updateConnectionConfig")
def update_connection(control: ControlOf, caller: CallerOf, body: ConfigConnectionUpdate) -> ConnectionRead:
    return connection_read(control, caller, changed(control, caller, body))


@config_connections_router.post("/connections/delete", operation_id="deleteConnectionConfig", status_code=204)
def delete_connection(control: ControlOf, caller: CallerOf, body: ConnectionIdBody) -> Response:
    connections.delete(control, caller, body.connection_id)
    return Response(status_code=204)


def changed(control: Control, caller: Caller, body: ConfigConnectionUpdate) -> StoredConnection:
    """The connection with what the body names changed; what is absent stays."""
    values: dict[str, Any] = {
        "name": body.name,
        "status": status_of(body.status),
        "schedule": schedule_of(body.schedule_type, body.schedule_data, body.schedule),
        "streams": None if body.sync_catalog is None else streams_of(body.sync_catalog),
        "namespace_definition": translated(body.namespace_definition, NAMESPACES, "namespaceDefinition"),
        "prefix": body.prefix,
        "non_breaking_updates": translated(
            body.non_breaking_changes_preference, SCHEMA_UPDATES, "nonBreakingChangesPreference"
        ),
    }
    given = {key: UNSET if value is None else value for key, value in values.items()}
    given["namespace_format"] = body.namespace_format if "namespace_format" in body.model_fields_set else UNSET
    return connections.update(control, caller, body.connection_id, ConnectionChange(**given))


def streams_of(catalog: SyncCatalog) -> tuple[StreamConfig, ...]:
    """The selected streams of a catalog. 422 when none is: nothing would be synced for ever."""
    streams = catalogs.streams_from_sync_catalog(catalog.model_dump(by_alias=True, exclude_none=True))
    if not streams:
        raise ApiError(422, "syncCatalog selects no stream.")
    return streams


def status_of(status: str | None) -> Any:
    if status not in (None, "active", "inactive", "deprecated"):
        raise ApiError(422, f"status cannot be {status!r}; it is active, inactive or deprecated.")
    return status


def schedule_of(kind: str | None, data: ScheduleData | None, old: dict[str, Any] | None) -> Schedule | None:
    """The schedule asked for, in the newer words or the older; None when none was. 422 for what says half of one."""
    if kind is None and old is None:
        return None
    if kind == "manual":
        return Schedule(kind="manual")
    if kind == "cron":
        cron = (data.cron if data else None) or {}
        expression, zone = cron.get("cronExpression"), cron.get("cronTimeZone")
        if not isinstance(expression, str) or not isinstance(zone, str | None):
            raise ApiError(422, "scheduleData.cron needs cronExpression and cronTimeZone, both texts.")
        return Schedule(kind="cron", cron_expression=expression, time_zone=zone)
    if kind in (None, "basic"):
        basic = (data.basic_schedule if data else None) or old or {}
        units, unit = basic.get("units"), basic.get("timeUnit")
        if not isinstance(units, int) or unit not in ("minutes", "hours", "days", "weeks", "months"):
            raise ApiError(
                422, "A basic schedule needs units, a number, and timeUnit: minutes, hours, days, weeks or months."
            )
        return Schedule(kind="basic", units=units, time_unit=unit)
    raise ApiError(422, f"scheduleType cannot be {kind!r}; it is manual, basic or cron.")
