"""The steps after a sync, one after the other, in the attempt's own process. Their failure is the job's."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from syncline.core.errors import ErrorKind, SynclineError
from syncline.engine.events import Log, TransformFinished, TransformRunning
from syncline.engine.ports import EventSink
from syncline.engine.spec import AttemptSpec
from syncline.engine.sync import AttemptResult
from syncline.jobs.transform.dbt import run_dbt
from syncline.jobs.transform.facts import as_environment, facts_of, filled, filled_sql
from syncline.jobs.transform.program import run_program
from syncline.jobs.transform.step import TransformStep, step_error
from syncline.sdk.connector import ConnectorContext
from syncline.sdk.destination import Destination, RunsSql
from syncline.sdk.interpolation import resolve
from syncline.sdk.reference import open_destination

__all__ = ["after_sync", "ensure_steps_can_run"]


#: A supervisor gives up an attempt that says nothing for minutes.
_TICK_SECONDS = 20.0


def ensure_steps_can_run(spec: AttemptSpec) -> None:
    """Before the sync: raise ``config`` for steps that could never run after it."""
    steps = [TransformStep.from_json(s) for s in spec.transforms]
    if steps and spec.follow:
        raise step_error(
            "a connection that is followed has no end, so nothing comes after it",
            hint="give the steps to a connection of their own (after: …), or sync on a schedule",
        )
    if any(s.kind == "sql" for s in steps):
        with closing(_destination(spec)) as destination:
            if not isinstance(destination, RunsSql):
                raise step_error(
                    f"a destination of type {spec.destination.type} runs no SQL", hint="postgres and duckdb do"
                )


def after_sync(spec: AttemptSpec, result: AttemptResult, emit: EventSink) -> AttemptResult:
    """The result of sync and steps together. After a failed sync no step runs, after a failed step no later one."""
    steps = [TransformStep.from_json(s) for s in spec.transforms]
    if not steps:
        return result
    if not result.succeeded:
        emit(Log(level="WARN", message=f"{len(steps)} steps after the sync were not run, because it failed"))
        return result
    began = time.monotonic()
    for step in steps:
        error = _run(spec, result, step, emit)
        if error is not None:
            return replace(result, error=error, seconds=result.seconds + time.monotonic() - began)
    return replace(result, seconds=result.seconds + time.monotonic() - began)


def _run(spec: AttemptSpec, result: AttemptResult, step: TransformStep, emit: EventSink) -> SynclineError | None:
    began = time.monotonic()
    error: SynclineError | None = None
    said = ""
    emit(Log(level="INFO", message=f"step {step.name!r} begins"))
    ended = threading.Event()
    threading.Thread(target=_tick, args=(step, ended, emit), name=f"step {step.name}", daemon=True).start()
    try:
        said = _done(spec, result, step, emit)
    except SynclineError as raised:
        error = raised.at(step=step.name)
    finally:
        ended.set()
    seconds = time.monotonic() - began
    emit(
        TransformFinished(
            step=step.name,
            kind=step.kind,
            status="failed" if error else "succeeded",
            seconds=round(seconds, 3),
            error=error.to_json() if error else None,
        )
    )
    if error is not None:
        emit(Log(level="ERROR", message=str(error)))
    else:
        emit(Log(level="INFO", message=f"step {step.name!r} done in {seconds:.1f} s" + (f": {said}" if said else "")))
    return error


def _tick(step: TransformStep, ended: threading.Event, emit: EventSink) -> None:
    began = time.monotonic()
    while not ended.wait(_TICK_SECONDS):
        emit(TransformRunning(step=step.name, seconds=round(time.monotonic() - began, 1)))


def _done(spec: AttemptSpec, result: AttemptResult, step: TransformStep, emit: EventSink) -> str:
    facts = facts_of(spec, result)

    def tell(line: str) -> None:
        emit(Log(level="INFO", message=f"{step.name}: {line}"))

    if step.kind == "sql":
        script = filled_sql(str(step.options["script"]), facts)
        with closing(_destination(spec)) as destination:
            assert isinstance(destination, RunsSql)
            destination.run_sql(script, timeout=step.timeout)
        return ""
    options = filled(resolve(dict(step.options)), facts)
    env = {**as_environment(facts), **{str(k): str(v) for k, v in (options.get("env") or {}).items()}}
    if step.kind == "command":
        folder = Path(str(options["folder"])) if options.get("folder") else None
        run_program(options["arguments"], env=env, folder=folder, timeout=step.timeout, tell=tell)
        return ""
    if step.kind == "dbt":
        return run_dbt(options, spec.destination, facts, env, step.timeout, tell)
    if step.kind == "http":
        from syncline.jobs.transform.web import run_http  # HTTP's machinery: not in the way of every start

        return run_http(options, facts, step.timeout)
    if step.kind == "databricks":
        from syncline.jobs.transform.databricks import run_databricks

        key = f"{spec.sync_id}-{spec.attempt}-{spec.transforms.index(step.to_json())}"
        return run_databricks(options, facts, step.timeout, key)
    raise SynclineError(ErrorKind.INTERNAL, f"nobody runs steps of kind {step.kind!r}")


def _destination(spec: AttemptSpec) -> Destination:
    context = ConnectorContext(connection=spec.connection, work_dir=Path(spec.work_dir), concurrency=1)
    return open_destination(spec.destination, context)
