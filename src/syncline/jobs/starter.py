"""Starting attempts: by the nursery while there is one, as new interpreters otherwise."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from syncline.core.errors import SynclineError
from syncline.jobs.attempt_folder import AttemptFolder
from syncline.jobs.nursery import Nursery, can_fork, start_cold
from syncline.jobs.order import Order
from syncline.jobs.shared_door import SharedProcesses

__all__ = ["Starter"]

_log = logging.getLogger("syncline.server")


#: An idle server keeps no nursery: it would hold as much memory as the server itself.
_IDLE_SECONDS = 300.0
#: The nursery's imports shall not slow down the attempt that asked for it.
_LATER_SECONDS = 1.5


class Starter:
    """Safe from any thread. ``warm`` False always starts new interpreters. The first attempt after a while is started
    as a new interpreter too, and the nursery a moment later for those that follow."""

    def __init__(self, *, warm: bool = True, idle_seconds: float = _IDLE_SECONDS) -> None:
        self._warm = warm and can_fork()
        self._idle_seconds = idle_seconds
        self._nursery: Nursery | None = None
        self._used_at = 0.0
        self._lock = threading.Lock()
        self._closed = self._coming = False
        self._shared = SharedProcesses()

    def start(self, order: Order, folder: AttemptFolder) -> Callable[[], int | None]:
        """Start the process of an attempt whose folder is made; returns what tells its exit code once it has ended.
        Raises OSError when there is no process to be had."""
        if order.sharing is not None:
            return self._shared.start(order, folder)
        nursery = self._ready_nursery() if self._warm else None
        if nursery is not None:
            try:
                pid = nursery.start(order, folder)
            except SynclineError as error:
                _log.warning("%s", error)
                # It may have forked before it went: only one of the two can enter the folder.
            else:
                return lambda: nursery.code(pid)
        return start_cold(order, folder).poll

    def tick(self) -> None:
        """To be called now and then: ends a nursery that nobody has used for some minutes."""
        with self._lock:
            unused = time.monotonic() - self._used_at > self._idle_seconds
            nursery = self._nursery if unused else None
            if nursery is not None:
                self._nursery = None
        if nursery is not None:
            nursery.close()

    def close(self) -> None:
        """Attempts go on."""
        with self._lock:
            self._closed = True
            nursery, self._nursery = self._nursery, None
        if nursery is not None:
            nursery.close()

    def _ready_nursery(self) -> Nursery | None:
        """The nursery when it has imported everything; otherwise one is on its way, and this attempt need not wait."""
        with self._lock:
            self._used_at = time.monotonic()
            if self._nursery is not None and self._nursery.broken:
                self._nursery = None
            if self._nursery is None and not self._coming and not self._closed:
                self._coming = True
                timer = threading.Timer(_LATER_SECONDS, self._make)
                timer.daemon = True
                timer.start()
            return self._nursery if self._nursery is not None and self._nursery.ready else None

    def _make(self) -> None:
        with self._lock:
            self._coming = False
            if not self._closed:
                self._nursery = Nursery()
