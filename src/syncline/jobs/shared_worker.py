"""The process of several attempts of a server that read one source together:
``python -m syncline.jobs.shared_worker FOLDER ORDERS LOCK``.

A connection with several destinations has a job for each of them, with attempts, retries and an end of its own. Their
attempts run here at the same time, each in a thread, with the folder and the lock that any attempt has, over one
:class:`~syncline.engine.fanout.hub.Hub`. What kills this process ends them all; each is tried again and goes on from
its last commit.
"""

from __future__ import annotations

import hashlib
import json
import os
import selectors
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from syncline.core.errors import ErrorKind, SynclineError
from syncline.engine.fanout.hub import Hub
from syncline.engine.ports import EventSink
from syncline.engine.spec import AttemptSpec
from syncline.engine.sync import AttemptResult
from syncline.jobs.attempt import run_here
from syncline.jobs.attempt_folder import AttemptFolder
from syncline.jobs.journal import Journal
from syncline.jobs.order import Order, Sharing
from syncline.jobs.shared_door import Door
from syncline.jobs.worker import work
from syncline.sdk.connector import ConnectorContext

__all__ = ["SharedWorker", "main"]

_TICK_SECONDS = 0.2
#: The siblings of an attempt come at the same time, one after the other.
_LINGER_SECONDS = 2.0


@dataclass(eq=False)
class _Running:
    """One attempt, and how it is told to end."""

    order: Order
    folder: AttemptFolder
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def sharing(self) -> Sharing:
        assert self.order.sharing is not None
        return self.order.sharing


class SharedWorker:
    """``orders`` is the FIFO's descriptor, ``lock`` that of who attends. :meth:`run` by the main thread."""

    def __init__(self, door: Door, orders: int, lock: int) -> None:
        self._door, self._orders, self._lock = door, orders, lock
        self._hub: Hub | None = None
        self._reads = ""  # what the hub reads, as a digest
        self._running: dict[threading.Thread, _Running] = {}
        self._told_to_end = threading.Event()
        self._text = b""

    def run(self) -> None:
        """Take orders until none has come for a while and all are done."""
        os.set_inheritable(self._orders, False)  # an Airbyte connector must not keep our place
        os.set_inheritable(self._lock, False)
        os.set_blocking(self._orders, False)
        signal.signal(signal.SIGTERM, lambda *_: self._told_to_end.set())
        selector = selectors.DefaultSelector()
        selector.register(self._orders, selectors.EVENT_READ)
        idle_since = time.monotonic()
        while True:
            heard = selector.select(_TICK_SECONDS)
            for message in self._messages() if heard else ():
                self._begin(Order.from_json(message["order"]), AttemptFolder(Path(message["folder"])))
            self._tend()
            if self._running or heard:
                idle_since = time.monotonic()
            elif time.monotonic() - idle_since > _LINGER_SECONDS:
                with self._door.held():
                    if not selector.select(0):
                        self._door.shut()
                        break
        self._close_hub()  # before anybody else may attend
        selector.close()
        os.close(self._lock)

    def _messages(self) -> Iterator[dict[str, Any]]:
        while True:
            try:
                self._text += os.read(self._orders, 1 << 16)
            except BlockingIOError:
                return
            while b"\n" in self._text:
                line, _, self._text = self._text.partition(b"\n")
                yield json.loads(line)

    def _tend(self) -> None:
        for thread, running in list(self._running.items()):
            if not thread.is_alive():
                thread.join()
                del self._running[thread]
            elif self._told_to_end.is_set() or running.folder.stop_asked:
                running.stop.set()

    # -- one attempt -----------------------------------------------------------------------------------------------

    def _begin(self, order: Order, folder: AttemptFolder) -> None:
        running = _Running(order=order, folder=folder)
        hub, refused = self._hub_for(running)
        name = f"{order.spec.connection}/{running.sharing.destination}"
        thread = threading.Thread(target=self._attempt, args=(running, hub, refused), name=name, daemon=True)
        self._running[thread] = running
        thread.start()

    def _attempt(self, running: _Running, hub: Hub | None, refused: SynclineError | None) -> None:
        destination = running.sharing.destination

        def run(spec: AttemptSpec, journal: Journal, tell: EventSink) -> AttemptResult:
            if hub is None:
                assert refused is not None
                return _failed(refused, spec, journal)
            stop = running.stop
            try:
                hub.begins(destination)
                # Who follows a log is told at the end of a flush; a copy hears of it where it reads.
                opener = hub.opener(destination, None if spec.follow else stop)
                return run_here(spec, journal, tell, stop=stop, open_source=opener)
            except Exception as error:  # noqa: BLE001 - a defect in one must not leave its server without an answer
                traceback.print_exc()
                defect = SynclineError(ErrorKind.INTERNAL, f"{type(error).__name__}: {error}")
                return _failed(defect, spec, journal)
            finally:
                hub.ended(destination)

        work(running.order, running.folder, run, shared=True)

    def _hub_for(self, running: _Running) -> tuple[Hub | None, SynclineError | None]:
        """The one hub, made anew where something else is to be read and nobody reads any more."""
        spec, sharing = running.order.spec, running.sharing
        wanted = _digest(spec, sharing)
        if self._hub is not None and wanted != self._reads:
            self._tend()
            if self._running:
                # Those that follow the log would never end by themselves. Their jobs begin again as they now are.
                for each in self._running.values():
                    if each.order.spec.follow:
                        each.stop.set()
                return None, SynclineError(
                    ErrorKind.TRANSIENT,
                    "the source's settings or the list of destinations have changed, and others still run as they were",
                    hint="it is tried again; they end, and begin again as they are now",
                )
            self._close_hub()
        if self._hub is None:
            context = ConnectorContext(
                connection=spec.connection, work_dir=Path(sharing.work_dir), concurrency=spec.concurrency
            )
            try:
                self._hub = Hub(
                    spec.source,
                    context,
                    destinations=sharing.every,
                    every=sharing.every,
                    leave_behind=sharing.when_behind == "leave",
                )
            except SynclineError as error:
                return None, error
            self._reads = wanted
        return self._hub, None

    def _close_hub(self) -> None:
        if self._hub is not None:
            self._hub.close()
            self._hub = None


def _digest(spec: AttemptSpec, sharing: Sharing) -> str:
    source = {**spec.source.to_json(), "mappings": []}  # each has its own
    said = [source, spec.concurrency, sorted(sharing.every), sharing.when_behind, sharing.work_dir]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _failed(error: SynclineError, spec: AttemptSpec, journal: Journal) -> AttemptResult:
    result = AttemptResult(streams=(), seconds=0.0, error=error.at(connection=spec.connection))
    journal.write_result(result.to_json())
    return result


def main(arguments: list[str]) -> int:
    folder, orders, lock = arguments
    SharedWorker(Door(Path(folder)), int(orders), int(lock)).run()
    return 0


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    # Without the interpreter's long farewell: everything is written and fsynced.
    os._exit(code)
