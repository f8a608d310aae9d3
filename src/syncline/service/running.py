"""From a stored connection to what the supervisor runs: how a job is to be run, and the order for one attempt of it."""

from __future__ import annotations

from datetime import UTC, datetime

from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.stream import StreamName
from syncline.engine.selection import StreamChoice
from syncline.engine.spec import AttemptSpec
from syncline.jobs.order import Order, Sharing
from syncline.jobs.supervisor import JobPlan
from syncline.service.control import Control
from syncline.service.kept_tokens import lay_out
from syncline.service.project import Connection
from syncline.service.stored_connections import runnable
from syncline.service.transforms import allowed_steps
from syncline.settings import Settings
from syncline.store import attempts, connections
from syncline.store.job_values import Attempt, Job, JobType
from syncline.store.values import StoredConnection

__all__ = ["order_for", "plan_for"]


def plan_for(control: Control, job: Job) -> JobPlan:
    """As the connection says now. Raises ``config`` when it is gone."""
    with control.database.read() as tx:
        connection = connections.find(tx, job.connection_id)
    connection = _there(connection, job)
    return JobPlan(options=connection.options, follows=_follows(connection, job), name=connection.name)


def order_for(control: Control, job: Job, attempt: Attempt, *, log_bytes: int) -> Order:
    """What the process of this attempt gets: secrets in the clear, so it goes nowhere but into its pipe. May ask a
    secret store over the network."""
    with control.database.read() as tx:
        stored = _there(connections.find(tx, job.connection_id), job)
        earlier = attempts.of_jobs(tx, [job.id]).get(job.id, [])
    lay_out(control)
    connection = runnable(control, job.connection_id)
    follows = _follows(stored, job)
    choices = connection.choices()
    if job.streams is not None and job.type is JobType.REFRESH:
        choices = _only(choices, job.streams)
    done = {s.stream for a in earlier for s in a.streams if s.status == "succeeded"}
    settings = control.settings
    spec = AttemptSpec(
        connection=connection.name,
        source=connection.source,
        destination=connection.destination,
        choices=choices,
        default=connection.default_choice(),
        sync_id=job.sync_id,
        sync_date=job.created_at.astimezone(UTC).date(),
        started_at=datetime.now(UTC),
        attempt=attempt.number,
        work_dir=str(settings.scratch(connection.folder_name)),
        concurrency=connection.sync.concurrency,
        metadata=connection.sync.metadata_columns,
        completed=() if follows or job.type is not JobType.SYNC else tuple(sorted(done, key=str)),
        deletes=connection.sync.deletes,
        evolution=connection.evolution(),
        follow=follows,
        retain=job.retain,
        transforms=allowed_steps(connection.sync.transforms, settings.jobs) if job.type is JobType.SYNC else (),
    )
    sharing = _sharing(connection, settings) if job.type in (JobType.SYNC, JobType.REFRESH) else None
    return Order(job=job.id, task=job.type.value, spec=spec, streams=job.streams, log_bytes=log_bytes, sharing=sharing)


def _sharing(connection: Connection, settings: Settings) -> Sharing | None:
    """With whom it reads its source. What only the destination has to do with runs in a process of its own."""
    if connection.destination_name is None:
        return None
    return Sharing(
        folder=str(settings.scratch(connection.name) / "shared"),
        work_dir=str(settings.scratch(connection.name)),
        destination=connection.destination_name,
        every=connection.siblings,
        when_behind=connection.when_behind,
    )


def _only(choices: tuple[StreamChoice, ...] | None, streams: tuple[StreamName, ...]) -> tuple[StreamChoice, ...]:
    """The choices for these streams; of a connection that takes everything, one each by its default."""
    wanted = {str(name) for name in streams} | {name.name for name in streams}
    if choices is None:
        return tuple(StreamChoice(name=str(name)) for name in streams)
    return tuple(choice for choice in choices if choice.name in wanted or choice.name.rpartition(".")[2] in wanted)


def _follows(connection: StoredConnection, job: Job) -> bool:
    return connection.schedule.kind == "continuous" and job.type is JobType.SYNC


def _there(connection: StoredConnection | None, job: Job) -> StoredConnection:
    if connection is None or connection.deleted_at is not None:
        raise SynclineError(
            ErrorKind.CONFIG, "the connection of this job is gone", where={"connection": str(job.connection_id)}
        )
    return connection
