"""Use case: run a connection once, with retries, in its lease."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.stream import StreamName
from syncline.engine.events import Event, Log
from syncline.engine.listener import Listener, Run, RunEnd
from syncline.engine.ports import EventSink
from syncline.engine.spec import AttemptSpec
from syncline.engine.stream_run import new_sync_id, now
from syncline.engine.sync import AttemptResult, StreamResult
from syncline.jobs.launcher import Launcher
from syncline.jobs.lease import connection_lease
from syncline.jobs.retry import MAX_ATTEMPTS, RetryPolicy, errors_of, retry_delay
from syncline.service.project import Connection
from syncline.settings import Settings

__all__ = ["SyncOutcome", "lease_key", "sync_connection"]


@dataclass(frozen=True, kw_only=True)
class SyncOutcome:
    """The job: its last attempt's result, with streams finished by earlier attempts counted in."""

    connection: str
    sync_id: str
    attempts: int
    result: AttemptResult
    journal: str

    @property
    def succeeded(self) -> bool:
        return self.result.succeeded


def sync_connection(
    connection: Connection,
    settings: Settings,
    launcher: Launcher,
    emit: EventSink,
    *,
    follow: bool = False,
    until: int | None = None,
    max_attempts: int = MAX_ATTEMPTS,
    sleep: Callable[[float], bool | None] = time.sleep,
    listener: Listener | None = None,
) -> SyncOutcome:
    """Run one job: attempts until success, or an error that trying again cannot mend. With ``follow`` it applies the
    changes of the source's log until told to stop; ``until`` is the LSN at which it ends otherwise (None: now).
    ``listener`` hears what ``emit`` hears, and how attempts end. ``sleep`` waits before another attempt; true: the run
    was told to end meanwhile.

    Raises ``conflict`` when another process of this machine is syncing the connection. Other errors are in the
    result."""
    sync_id = new_sync_id()
    started = now()
    folder = settings.runs(connection.folder_name) / sync_id
    with connection_lease(settings.leases, lease_key(connection)):
        _prune(settings, connection.folder_name)
        finished: dict[StreamName, StreamResult] = {}
        attempt = 0
        while True:
            attempt += 1
            spec = AttemptSpec(
                connection=connection.name,
                source=connection.source,
                destination=connection.destination,
                choices=connection.choices(),
                default=connection.default_choice(),
                sync_id=sync_id,
                sync_date=started.date(),
                started_at=now(),
                attempt=attempt,
                work_dir=str(settings.scratch(connection.folder_name)),
                concurrency=connection.sync.concurrency,
                metadata=connection.sync.metadata_columns,
                completed=() if follow else tuple(finished),
                deletes=connection.sync.deletes,
                evolution=connection.evolution(),
                follow=follow,
                until=until,
                transforms=tuple(connection.sync.transforms),
            )
            run = Run(connection=connection.label, sync_id=sync_id, attempt=attempt, started_at=started, follows=follow)
            result = _launch(launcher, spec, folder, _heard_by(listener, run, emit))
            finished.update({s.stream: s for s in result.streams if s.status == "succeeded"})
            # Who follows a log waits for either end as long as it takes.
            policy = RetryPolicy(max_attempts=sys.maxsize if follow else max_attempts)
            delay = retry_delay(errors_of(result), attempt, policy)
            if follow and any(e.kind is ErrorKind.CONFLICT for e in errors_of(result)):
                delay = None  # a newer run follows: to try again would take the log back from it
            if result.stopped:
                delay = None  # who asked it to end did not ask for another attempt
            if listener is not None:
                listener.ended(run, _end_of(result, finished.values(), started, final=delay is None))
            if delay is None:
                break
            emit(Log(level="WARN", message=f"attempt {attempt} failed ({result.error}); trying again in {delay:.1f} s"))
            if sleep(delay):
                break
    streams = tuple(finished.get(s.stream, s) for s in result.streams)
    result = AttemptResult(streams=streams, seconds=(now() - started).total_seconds(), error=result.error)
    return SyncOutcome(
        connection=connection.label, sync_id=sync_id, attempts=attempt, result=result, journal=str(folder)
    )


def _heard_by(listener: Listener | None, run: Run, emit: EventSink) -> EventSink:
    if listener is None:
        return emit

    def tell(event: Event) -> None:
        emit(event)
        listener.heard(run, event)

    return tell


def _end_of(result: AttemptResult, finished: Iterable[StreamResult], started: datetime, *, final: bool) -> RunEnd:
    whole = {s.stream: s for s in (*finished, *result.streams)}.values()
    return RunEnd(
        status="succeeded" if result.succeeded else "failed",
        final=final,
        error=errors[0] if (errors := errors_of(result)) else None,
        seconds=(now() - started).total_seconds(),
        rows=sum(s.rows_written for s in whole),
        bytes=sum(s.bytes_read for s in whole),
    )


def _launch(launcher: Launcher, spec: AttemptSpec, folder: Path, emit: EventSink) -> AttemptResult:
    try:
        return launcher.launch(spec, folder, emit)
    except SynclineError as error:
        return AttemptResult(streams=(), seconds=0.0, error=error.at(connection=spec.connection))


def lease_key(connection: Connection) -> str:
    """Two files may hold connections of one name: the lease is for name and destination together."""
    return connection.name + "\0" + json.dumps(connection.destination.to_json(), sort_keys=True, default=str)


def _prune(settings: Settings, connection: str) -> None:
    """Keep the newest runs only: journals must never fill a disk. Names sort by time."""
    folder = settings.runs(connection)
    runs = sorted(p for p in folder.iterdir() if p.is_dir()) if folder.exists() else []
    for old in runs[: max(0, len(runs) - settings.keep_runs + 1)]:
        shutil.rmtree(old, ignore_errors=True)
