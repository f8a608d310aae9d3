"""What happens: events of jobs, and their logs, at once or as they come."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Header, Query, Request
from fastapi.responses import PlainTextResponse, Response
from starlette.concurrency import run_in_threadpool

from syncline.api.context import CallerOf, ControlOf
from syncline.api.paging import WorkspaceIds, as_uuid
from syncline.api.public.jobs import job_number
from syncline.api.routes import Routes
from syncline.api.streaming import Watchers, event_text, keeping_alive
from syncline.api.wire import WireModel
from syncline.service import activity, jobs, logs
from syncline.service.logs import LogLine
from syncline.store.job_values import JobEvent

__all__ = ["activity_router"]

activity_router = Routes(tags=["Activity"])

_STREAM: dict[int | str, dict[str, Any]] = {
    200: {"description": "events as they come", "content": {"text/event-stream": {"schema": {"type": "string"}}}}
}

LastEvent = Annotated[str | None, Header(alias="Last-Event-ID", description="where a broken stream goes on")]
Level = Annotated[Literal["DEBUG", "INFO", "WARN", "ERROR"] | None, Query(description="this level and above")]


class EventRead(WireModel):
    id: int
    at: str
    kind: str
    job_id: int | None = None
    connection_id: str
    workspace_id: str
    data: dict[str, Any]


class EventList(WireModel):
    """``last`` is the ``after`` of the next request."""

    events: list[EventRead]
    last: int


class LogLineRead(WireModel):
    at: str
    level: str
    message: str
    job: int
    attempt: int
    stream: str | None = None
    kind: str | None = None


class LogList(WireModel):
    lines: list[LogLineRead]


def _event(event: JobEvent) -> EventRead:
    return EventRead(
        id=event.id,
        at=event.at.isoformat(),
        kind=event.kind,
        job_id=event.job_id,
        connection_id=str(event.connection_id),
        workspace_id=str(event.workspace_id),
        data=dict(event.data),
    )


def _line(line: LogLine) -> LogLineRead:
    return LogLineRead(
        at=line.at,
        level=line.level,
        message=line.message,
        job=line.job,
        attempt=line.attempt,
        stream=line.stream,
        kind=line.kind,
    )


@activity_router.get("/events", operation_id="listEvents")
def list_events(
    control: ControlOf,
    caller: CallerOf,
    workspace_ids: WorkspaceIds,
    after: Annotated[int, Query(ge=0, lt=2**63, description="events with a greater id")] = 0,
    connection_id: Annotated[str | None, Query(alias="connectionId")] = None,
    job_id: Annotated[int | None, Query(alias="jobId", ge=0, lt=2**63)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> EventList:
    """The next ``limit`` events after one, oldest first."""
    found = activity.events(
        control,
        caller,
        after=after,
        workspace_ids=workspace_ids,
        connection_id=None if connection_id is None else as_uuid(connection_id),
        job_id=job_id,
        limit=limit,
    )
    return EventList(events=[_event(each) for each in found], last=found[-1].id if found else after)


@activity_router.get("/events/stream", operation_id="streamEvents", response_class=Response, responses=_STREAM)
async def stream_events(
    request: Request,
    control: ControlOf,
    caller: CallerOf,
    workspace_ids: WorkspaceIds,
    after: Annotated[int, Query(ge=0, lt=2**63, description="events with a greater id")] = 0,
    connection_id: Annotated[str | None, Query(alias="connectionId")] = None,
    job_id: Annotated[int | None, Query(alias="jobId", ge=0, lt=2**63)] = None,
    last_event: LastEvent = None,
) -> Response:
    """Events as they come, by server-sent events; ``event`` is the kind, ``id`` goes on after a break."""
    events = activity.follow(
        control,
        caller,
        after=_number(last_event, after),
        workspace_ids=workspace_ids,
        connection_id=None if connection_id is None else as_uuid(connection_id),
        job_id=job_id,
    )

    def text(event: JobEvent) -> str:
        return event_text(event.kind, _event(event).model_dump(by_alias=True, exclude_none=True), event.id)

    watchers: Watchers = request.app.state.watchers
    return watchers.stream(keeping_alive(events, text))


@activity_router.get("/jobs/{jobId}/logs", operation_id="getJobLogs")
def job_logs(
    control: ControlOf,
    caller: CallerOf,
    jobId: str,
    attempt: Annotated[int | None, Query(ge=1, lt=2**31)] = None,
    level: Level = None,
    stream: Annotated[str | None, Query(max_length=512)] = None,
    tail: Annotated[int, Query(ge=1, le=100_000, description="the newest so many")] = 1000,
) -> LogList:
    found = logs.lines(control, caller, job_number(jobId), attempt=attempt, level=level, stream=stream, tail=tail)
    return LogList(lines=[_line(each) for each in found])


@activity_router.get("/jobs/{jobId}/logs/text", operation_id="getJobLogText", response_class=PlainTextResponse)
def job_log_text(
    control: ControlOf,
    caller: CallerOf,
    jobId: str,
    attempt: Annotated[int | None, Query(ge=1, lt=2**31)] = None,
    level: Level = None,
    stream: Annotated[str | None, Query(max_length=512)] = None,
) -> PlainTextResponse:
    """The same lines for people and grep."""
    found = logs.lines(control, caller, job_number(jobId), attempt=attempt, level=level, stream=stream)
    return PlainTextResponse("".join(f"{each.text()}\n" for each in found))


@activity_router.get(
    "/jobs/{jobId}/logs/stream", operation_id="streamJobLogs", response_class=Response, responses=_STREAM
)
async def stream_job_logs(
    request: Request,
    control: ControlOf,
    caller: CallerOf,
    jobId: str,
    last_event: LastEvent = None,
) -> Response:
    """Lines as they are written, by server-sent events, from the first; ends with an ``end`` event when the job has."""
    number = job_number(jobId)
    # Rights and existence are answered before the stream begins: after it there is no status any more.
    await run_in_threadpool(jobs.get, control, caller, number)
    lines = logs.follow(control, caller, number, after=last_event)

    def text(item: tuple[str, LogLine]) -> str:
        cursor, line = item
        return event_text("log", _line(line).model_dump(by_alias=True, exclude_none=True), cursor)

    def until_the_end() -> Any:
        yield from keeping_alive(lines, text)
        job = jobs.get(control, caller, number).job
        yield event_text("end", {"jobId": number, "status": job.status.value})

    watchers: Watchers = request.app.state.watchers
    return watchers.stream(until_the_end())


def _number(last_event: str | None, after: int) -> int:
    if last_event is None or not last_event.isascii() or not last_event.isdecimal() or len(last_event) > 18:
        return after
    return int(last_event)
