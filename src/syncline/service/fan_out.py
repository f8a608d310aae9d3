"""Use case: run the parts of a connection with several destinations over one reading of its source.

Each part is a run of its own, with its own retries, journal and end; it holds the lease of its destination, and all
together that of the source.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager

from syncline.core.errors import ErrorKind, SynclineError
from syncline.engine.events import Event
from syncline.engine.fanout.hub import Hub
from syncline.engine.listener import Listener, Run, RunEnd
from syncline.engine.ports import EventSink
from syncline.engine.sync import AttemptResult
from syncline.jobs.attempt import stop_on_signal
from syncline.jobs.launcher import SharingLauncher
from syncline.jobs.lease import connection_lease
from syncline.jobs.retry import MAX_ATTEMPTS
from syncline.service.opened import source_context
from syncline.service.project import Connection
from syncline.service.sync import SyncOutcome, sync_connection
from syncline.settings import Settings

__all__ = ["sharing_source", "sync_parts"]


def sync_parts(
    parts: Sequence[Connection],
    settings: Settings,
    sink_of: Callable[[Connection], EventSink],
    *,
    follow: bool = False,
    until: int | None = None,
    max_attempts: int = MAX_ATTEMPTS,
    listener: Listener | None = None,
) -> list[SyncOutcome]:
    """Run these parts of one connection at the same time, each to its own end; see :func:`sync_connection` for the
    rest. ``sink_of`` a part takes its events, in a thread of the part's.

    Raises ``conflict`` when another process reads the source for this connection, ``config`` when nothing of it can be
    shared. Other errors are in the results."""
    heard = None if listener is None else _OneAtATime(listener)
    outcomes: dict[str, SyncOutcome] = {}
    with sharing_source(parts, settings) as hub, stop_on_signal(wanted=follow) as stop:

        def run(part: Connection) -> None:
            name = str(part.destination_name)
            try:
                outcomes[name] = sync_connection(
                    part,
                    settings,
                    SharingLauncher(hub, name, stop),
                    sink_of(part),
                    follow=follow,
                    until=until,
                    max_attempts=max_attempts,
                    sleep=stop.wait,
                    listener=heard,
                )
            except SynclineError as error:  # somebody else has this destination
                outcomes[name] = _failed(part, error)
            except Exception as error:  # noqa: BLE001 - a defect in one part must not hang or end the others
                defect = SynclineError(ErrorKind.INTERNAL, f"{type(error).__name__}: {error}")
                defect.__cause__ = error
                outcomes[name] = _failed(part, defect)
            finally:
                hub.ended(name)

        threads = [threading.Thread(target=run, args=(part,), name=part.label, daemon=True) for part in parts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return [outcomes[str(part.destination_name)] for part in parts]


@contextmanager
def sharing_source(parts: Sequence[Connection], settings: Settings) -> Iterator[Hub]:
    """The source of these parts, leased. Closed at the end."""
    first = parts[0]
    with (
        connection_lease(settings.leases, f"{first.name}\0source"),
        closing(
            Hub(
                first.source,
                source_context(first, settings),
                destinations=[str(part.destination_name) for part in parts],
                every=first.siblings,
                leave_behind=first.when_behind == "leave",
            )
        ) as hub,
    ):
        yield hub


def _failed(part: Connection, error: SynclineError) -> SyncOutcome:
    result = AttemptResult(streams=(), seconds=0.0, error=error.at(connection=part.label))
    return SyncOutcome(connection=part.label, sync_id="", attempts=0, result=result, journal="")


class _OneAtATime:
    """A listener hears of several runs at once, and one thing after the other."""

    def __init__(self, inner: Listener) -> None:
        self._inner, self._lock = inner, threading.Lock()

    def heard(self, run: Run, event: Event) -> None:
        with self._lock:
            self._inner.heard(run, event)

    def ended(self, run: Run, end: RunEnd) -> None:
        with self._lock:
            self._inner.ended(run, end)
