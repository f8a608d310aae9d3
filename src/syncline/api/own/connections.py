"""Connections in our own words: every kind of schedule, options, when it runs next, how far behind it is, its state."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import Query
from pydantic import Field

from syncline.api.context import CallerOf, ControlOf
from syncline.api.paging import as_uuid
from syncline.api.public.connections import connection_response
from syncline.api.public.models import ConnectionResponse
from syncline.api.routes import Routes
from syncline.api.wire import WireModel
from syncline.service import connections, jobs, schedules, states
from syncline.service.callers import Caller
from syncline.service.changes import UNSET
from syncline.service.connections import ConnectionChange
from syncline.service.control import Control
from syncline.service.jobs import JobFilter
from syncline.store.job_values import JobStatus, JobType
from syncline.store.paging import Page
from syncline.store.values import ConnectionOptions, Schedule, StoredConnection

__all__ = ["own_connections_router"]

own_connections_router = Routes(tags=["Connections"])
_route = own_connections_router


class AfterWire(WireModel):
    """Runs when other connections have ended (``all`` of them, or ``any``), or when files arrive (``files``)."""

    all: list[UUID] | None = Field(default=None, max_length=100)
    any: list[UUID] | None = Field(default=None, max_length=100)
    on: Literal["success", "failure", "any"] | None = None
    files: dict[str, Any] | None = None


class ScheduleWire(WireModel):
    kind: Literal["manual", "basic", "cron", "continuous", "after"]
    cron_expression: str | None = Field(default=None, max_length=256)
    time_zone: str | None = Field(default=None, max_length=64)
    units: int | None = Field(default=None, ge=1, le=1_000_000)
    time_unit: Literal["minutes", "hours", "days", "weeks", "months"] | None = None
    after: AfterWire | None = None


class OptionsWire(WireModel):
    """What is absent stays. Seconds are numbers; ``timeoutSeconds`` of 0 means no time-out."""

    mode: str | None = None
    cursor_field: str | None = None
    concurrency: int | None = Field(default=None, ge=1, le=64)
    deletes: Literal["hard", "soft"] | None = None
    metadata_columns: Literal["syncline", "airbyte", "none"] | None = None
    priority: int | None = Field(default=None, ge=-1000, le=1000)
    timeout_seconds: float | None = Field(default=None, ge=0, le=31_536_000)
    no_progress_seconds: float | None = Field(default=None, gt=0, le=31_536_000)
    max_attempts: int | None = Field(default=None, ge=1, le=100)
    mappings: list[dict[str, Any]] | None = None
    contracts: dict[str, Literal["evolve", "freeze", "quarantine", "fail"]] | None = None
    backfill: bool | None = None


class ConnectionDetail(WireModel):
    """The connection as the public API has it, and what that has no word for."""

    connection: ConnectionResponse
    key: str
    schedule: ScheduleWire
    options: OptionsWire
    next_runs: list[str]


class DetailChange(WireModel):
    """What is absent stays."""

    schedule: ScheduleWire | None = None
    options: OptionsWire | None = None


class SchedulePreview(WireModel):
    next_runs: list[str]


class Lag(WireModel):
    """``secondsBehind``: since the start of the last sync that succeeded, so at most that old is what the destination
    misses; absent when none has. ``activeJobId``: the one that runs or waits."""

    connection_id: str
    seconds_behind: float | None = None
    last_success_at: str | None = None
    last_job_id: int | None = None
    last_job_status: str | None = None
    active_job_id: int | None = None
    next_run_at: str | None = None


class StreamStateRead(WireModel):
    name: str
    namespace: str | None = None
    state: dict[str, Any] | None = None
    updated_at: str


class StateDetail(WireModel):
    """As last known to the server; the truth is in the ledger at the destination."""

    connection_id: str
    kind: str
    streams: list[StreamStateRead]
    shared: dict[str, Any] | None = None


def _detail(control: Control, caller: Caller, connection: StoredConnection) -> ConnectionDetail:
    return ConnectionDetail(
        connection=connection_response(connection),
        key=connection.key,
        schedule=ScheduleWire.model_validate(connection.schedule.to_json(), by_name=True),
        options=OptionsWire.model_validate(connection.options.to_json(), by_name=True),
        next_runs=[each.isoformat() for each in schedules.next_runs(control, caller, connection.id)],
    )


@_route.get("/connections/{connectionId}", operation_id="getConnectionDetail")
def get_detail(control: ControlOf, caller: CallerOf, connectionId: str) -> ConnectionDetail:
    return _detail(control, caller, connections.get(control, caller, as_uuid(connectionId)))


@_route.patch("/connections/{connectionId}", operation_id="changeConnectionDetail")
def change_detail(
    control: ControlOf,
    caller: CallerOf,
    connectionId: str,
    body: DetailChange,
) -> ConnectionDetail:
    connection = connections.get(control, caller, as_uuid(connectionId))
    change = ConnectionChange(
        schedule=UNSET if body.schedule is None else _schedule(body.schedule),
        options=UNSET if body.options is None else _options(connection.options, body.options),
    )
    return _detail(control, caller, connections.update(control, caller, connection.id, change))


@_route.post("/schedules/preview", operation_id="previewSchedule")
def preview(
    control: ControlOf, caller: CallerOf, body: ScheduleWire, count: Annotated[int, Query(ge=1, le=100)] = 5
) -> SchedulePreview:
    """When it would run next. 422 for one that never does, or in a zone that does not exist."""
    found = schedules.preview(control, caller, _schedule(body), count)
    return SchedulePreview(next_runs=[each.isoformat() for each in found])


@_route.get("/connections/{connectionId}/lag", operation_id="getConnectionLag")
def lag(control: ControlOf, caller: CallerOf, connectionId: str) -> Lag:
    """How far behind its source the connection may be."""
    connection = connections.get(control, caller, as_uuid(connectionId))
    latest = jobs.latest(control, caller, connection.id)
    active = jobs.active(control, caller, connection.id)
    succeeded = jobs.list(
        control,
        caller,
        JobFilter(connection_ids=(connection.id,), types=(JobType.SYNC,), statuses=(JobStatus.SUCCEEDED,)),
        page=Page(limit=1),
    ).items
    started = (succeeded[0].job.started_at or succeeded[0].job.created_at) if succeeded else None
    following = schedules.next_runs(control, caller, connection.id, count=1)
    return Lag(
        connection_id=str(connection.id),
        seconds_behind=None if started is None else (datetime.now(UTC) - started).total_seconds(),
        last_success_at=None if started is None else started.isoformat(),
        last_job_id=None if latest is None else latest.job.id,
        last_job_status=None if latest is None else latest.job.status.value,
        active_job_id=None if active is None else active.id,
        next_run_at=following[0].isoformat() if following else None,
    )


@_route.get("/connections/{connectionId}/state", operation_id="getConnectionState")
def state(control: ControlOf, caller: CallerOf, connectionId: str) -> StateDetail:
    found = states.get(control, caller, as_uuid(connectionId))
    return StateDetail(
        connection_id=connectionId,
        kind=found.kind,
        streams=[
            StreamStateRead(
                name=each.name,
                namespace=each.namespace,
                state=None if each.state is None else dict(each.state),
                updated_at=each.updated_at.isoformat(),
            )
            for each in found.streams
        ],
        shared=None if found.shared is None else dict(found.shared),
    )


def _schedule(schedule: ScheduleWire) -> Schedule:
    after = None
    if schedule.after is not None:
        after = schedule.after.model_dump(mode="json", by_alias=False, exclude_none=True)
    return Schedule(
        kind=schedule.kind,
        cron_expression=schedule.cron_expression,
        time_zone=schedule.time_zone,
        units=schedule.units,
        time_unit=schedule.time_unit,
        after=after,
    )


def _options(before: ConnectionOptions, change: OptionsWire) -> ConnectionOptions:
    given = change.model_dump(by_alias=False, exclude_none=True)
    if given.get("timeout_seconds") == 0:
        given["timeout_seconds"] = None
    if "mappings" in given:
        given["mappings"] = tuple(given["mappings"])
    return ConnectionOptions(**{**vars(before), **given})
