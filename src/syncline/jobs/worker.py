"""The process of one attempt of a server: ``python -m syncline.jobs.worker FOLDER``, with the order as JSON on its
standard input; or a fork of the nursery.

It talks to nobody but the source and the destination. What it has to say lies in its folder, so it neither notices nor
minds when its server is killed: the next one finds it there.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from syncline.core.errors import ErrorKind, SynclineError
from syncline.engine.clear import clear_streams, forget_positions
from syncline.engine.events import Event
from syncline.engine.log_ledger import LOG_STREAM
from syncline.engine.ports import EventSink
from syncline.engine.spec import AttemptSpec
from syncline.engine.sync import AttemptResult
from syncline.jobs.attempt import run_here
from syncline.jobs.attempt_folder import BEAT_SECONDS, AttemptFolder
from syncline.jobs.journal import Journal
from syncline.jobs.log_lines import AttemptLog, line_of
from syncline.jobs.order import Order
from syncline.sdk.connector import ConnectorContext
from syncline.sdk.reference import open_destination, open_source
from syncline.sdk.source import TellsArrivals

__all__ = ["GIVEN_UP", "Runs", "main", "work"]

#: The exit code of a process that found its attempt given up.
GIVEN_UP = 75


#: Runs what is to be synced; its result is in the journal when this returns.
Runs = Callable[[AttemptSpec, Journal, EventSink], AttemptResult]


def work(order: Order, folder: AttemptFolder, run: Runs = run_here, *, shared: bool = False) -> int:
    """Run the attempt in this process. Called once, by the main thread; in a process that runs other attempts too
    (``shared``), by a thread for each."""
    if not folder.enter(shared=shared):
        return GIVEN_UP
    stop = threading.Event()
    threading.Thread(target=_beat, args=(folder, stop), name="beat", daemon=True).start()
    journal = Journal(folder.journal)
    log = AttemptLog(folder.log, order.log_bytes)

    def tell(event: Event) -> None:
        line = line_of(event, order.job, order.spec.attempt)
        if line is not None:
            log.write(line)

    try:
        if order.task == "look":
            journal.write_line({"event": "Looked", **_looked(order)})
            return 0
        result = _run(order, journal, tell, run)
        journal.write_line({"event": "States", **_states(order, result)})
        return result.error.policy.exit_code if result.error else 0
    finally:
        stop.set()
        log.close()
        journal.close()
        if shared:
            folder.leave()


def _run(order: Order, journal: Journal, tell: EventSink, run: Runs) -> AttemptResult:
    """Do the task; its result is in the journal when this returns."""

    def tell_both(event: Event) -> None:
        journal.emit(event)
        tell(event)

    if order.task in ("clear", "reset"):
        result = clear_streams(order.spec, order.streams, tell_both)
        journal.write_result(result.to_json())
        return result
    if order.task == "refresh":
        failed = forget_positions(order.spec, order.streams, tell_both)
        if failed is not None:
            journal.write_result(failed.to_json())
            return failed
    return run(order.spec, journal, tell)


def _looked(order: Order) -> dict[str, Any]:
    """What has arrived at the source (:class:`TellsArrivals`), or why that cannot be said."""
    spec = order.spec
    context = ConnectorContext(connection=spec.connection, work_dir=Path(spec.work_dir), concurrency=1)
    try:
        with closing(open_source(spec.source, context)) as source:
            if not isinstance(source, TellsArrivals):
                raise SynclineError(
                    ErrorKind.CONFIG,
                    f"a source of type {spec.source.type} cannot tell whether something has arrived",
                    hint="use another schedule; files can",
                )
            return {"found": source.arrivals()}
    except SynclineError as error:
        return {"error": error.to_json()}


def _states(order: Order, result: AttemptResult) -> dict[str, Any]:
    """What the ledger says now of the streams that this attempt touched, and of the place in the log that they share,
    for the store's copy. Not having it is no failure: the ledger is the truth, and the next attempt tells."""
    spec = order.spec
    context = ConnectorContext(connection=spec.connection, work_dir=Path(spec.work_dir), concurrency=1)
    found: list[dict[str, Any]] = []
    shared = None
    try:
        with closing(open_destination(spec.destination, context)) as destination:
            for stream in result.streams:
                entry = destination.committed(spec.connection, stream.stream)
                if entry is not None:
                    found.append({**stream.stream.to_json(), "state": _plain(entry.checkpoint.position)})
            log = destination.committed(spec.connection, LOG_STREAM) if found else None
            shared = None if log is None else _plain(log.checkpoint.position)
    except SynclineError:
        return {"states": found, "shared": shared}
    return {"states": found, "shared": shared}


def _plain(position: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if position is None else dict(position)


def _beat(folder: AttemptFolder, stop: threading.Event) -> None:
    while not stop.wait(BEAT_SECONDS):
        folder.beat()


def main(arguments: list[str]) -> int:
    (path,) = arguments
    data = sys.stdin.buffer.read()
    if not data:
        return GIVEN_UP  # the server was killed before it could hand over the order
    return work(Order.from_json(json.loads(data)), AttemptFolder(Path(path)))


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    # Without the interpreter's long farewell: everything is written and fsynced.
    os._exit(code)
