"""An attempt's process: ``python -m syncline.jobs.attempt JOURNAL``, with the spec as JSON on its standard input.
Started by the process launcher."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from syncline.core.errors import SynclineError
from syncline.engine.events import AttemptFinished, Event
from syncline.engine.executors.local import LocalExecutor
from syncline.engine.ports import EventSink, SourceOpener
from syncline.engine.spec import AttemptSpec
from syncline.engine.sync import AttemptResult, run_attempt
from syncline.jobs.journal import Journal
from syncline.jobs.transform.run import after_sync, ensure_steps_can_run
from syncline.sdk.reference import open_source

__all__ = ["GRACE_SECONDS", "main", "run_here", "stop_on_signal"]

#: How long an attempt that was told to stop may take for it. Orchestrators kill after 30 s by default.
GRACE_SECONDS = 25.0


def run_here(
    spec: AttemptSpec,
    journal: Journal,
    emit: EventSink | None = None,
    *,
    stop: threading.Event | None = None,
    open_source: SourceOpener = open_source,
) -> AttemptResult:
    """Run the attempt in this process; events go to the journal and to ``emit``. An attempt that follows a log ends
    gracefully on SIGTERM or SIGINT, or when ``stop`` is set by somebody who listens for them: after the flush that is
    under way. ``open_source`` is how the source is come by."""

    def tell(event: Event) -> None:
        journal.emit(event)
        if emit is not None:
            emit(event)

    try:
        ensure_steps_can_run(spec)
        with stop_on_signal(wanted=spec.follow and stop is None) as signalled:
            stop = stop or signalled
            result = run_attempt(
                spec, tell, lambda slots, emit: LocalExecutor(slots, emit, open_source), stop, open_source
            )
            result = replace(result, stopped=stop.is_set())
        result = after_sync(spec, result, tell)
    except SynclineError as error:  # of the steps, before anything was done
        result = AttemptResult(streams=(), seconds=0.0, error=error.at(connection=spec.connection))
    # The steps after the sync are part of the attempt: how it ended is known only now.
    tell(AttemptFinished(status="succeeded" if result.succeeded else "failed", seconds=result.seconds))
    journal.write_result(result.to_json())
    return result


@contextmanager
def stop_on_signal(*, wanted: bool) -> Iterator[threading.Event]:
    """An event that the first SIGTERM or SIGINT sets; the second one ends the process as usual. One that cannot end by
    itself (a thread waits for a server that is neither there nor gone) is ended after :data:`GRACE_SECONDS`: whatever
    dies here goes on from its last commit."""
    stop = threading.Event()
    if not wanted or threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def ask(number: int, _: object) -> None:
        stop.set()
        restore()
        last = threading.Timer(GRACE_SECONDS, os._exit, (128 + number,))
        last.daemon = True
        last.start()
        timers.append(last)

    timers: list[threading.Timer] = []
    for number in before:
        signal.signal(number, ask)
    try:
        yield stop
    finally:
        restore()
        for timer in timers:
            timer.cancel()


def main(arguments: list[str]) -> int:
    (journal_path,) = arguments
    spec = AttemptSpec.from_json(json.loads(sys.stdin.buffer.read()))
    journal = Journal(Path(journal_path))
    result = run_here(spec, journal)
    journal.close()
    return result.error.policy.exit_code if result.error else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
