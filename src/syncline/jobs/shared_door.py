"""The door of a process that runs several attempts which read one source together: where orders are handed in.

    door      held (flock) by who hands in an order, and by the process when it decides to leave
    attended  held by the process as long as it lives
    orders    a FIFO: a line of JSON for each attempt, ``{"folder", "order"}``. It has secrets, which so never lie in a
              file; and a path of any length will do, where a socket's may not
    output.txt   what the process wrote to its standard streams

Any server that leads may hand in, also one that did not start the process. What is handed in and not begun when the
process dies finds nobody in its attempt's folder, and is tried again.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from syncline.jobs.attempt_folder import AttemptFolder
from syncline.jobs.order import Order

__all__ = ["Door", "SharedProcesses"]

#: The exit code that stands for "it is gone, and nobody saw how".
_GONE = 75


class Door:
    """Seen from either side."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.output = folder / "output.txt"
        self._orders = folder / "orders"
        self._door = folder / "door"
        self._attended = folder / "attended"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nobody else hands in, and the process does not leave."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(self._door, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def attend(self) -> int | None:
        """The lock of a process that attends, which goes with its last descriptor; None when there is one."""
        descriptor = os.open(self._attended, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return None
        return descriptor

    def make(self) -> int:
        """A new FIFO, open for both, so that what is written waits for its reader. While :meth:`held`, by who
        attends."""
        self._orders.unlink(missing_ok=True)
        os.mkfifo(self._orders, 0o600)
        return os.open(self._orders, os.O_RDWR)

    def shut(self) -> None:
        """Nothing is handed in any more. While :meth:`held`, by the process when it leaves."""
        self._orders.unlink(missing_ok=True)

    def hand_in(self, order: Order, folder: AttemptFolder) -> bool:
        """While :meth:`held`. False when there is nobody who reads."""
        line = json.dumps({"folder": str(folder.path), "order": order.to_json()}).encode() + b"\n"
        try:
            descriptor = os.open(self._orders, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            return False
        try:
            os.set_blocking(descriptor, True)
            while line:
                line = line[os.write(descriptor, line) :]
        except BrokenPipeError:
            return False
        finally:
            os.close(descriptor)
        return True


class SharedProcesses:
    """The server's side. Any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._started: dict[Path, subprocess.Popen[bytes]] = {}

    def start(self, order: Order, folder: AttemptFolder) -> Callable[[], int | None]:
        """Give the attempt to the process that reads for its siblings, or start one; returns what tells that process's
        exit code once it has ended. Raises OSError when there is no process to be had."""
        assert order.sharing is not None
        door = Door(Path(order.sharing.folder))
        with door.held():
            while (lock := door.attend()) is None:
                if door.hand_in(order, folder):
                    with self._lock:
                        known = self._started.get(door.folder)
                    return (lambda: _gone(door)) if known is None or known.poll() is not None else known.poll
                time.sleep(0.05)  # it is leaving
            try:
                child = _start(door, lock)
                with self._lock:
                    self._started[door.folder] = child
                door.hand_in(order, folder)  # one that has died already says so by its exit code
            finally:
                os.close(lock)
        return child.poll


def _start(door: Door, lock: int) -> subprocess.Popen[bytes]:
    orders = door.make()
    try:
        with door.output.open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "syncline.jobs.shared_worker", str(door.folder), str(orders), str(lock)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=[orders, lock],
                start_new_session=True,
            )
    finally:
        os.close(orders)


def _gone(door: Door) -> int | None:
    """Of a process that another server has started."""
    lock = door.attend()
    if lock is None:
        return None
    with contextlib.suppress(OSError):
        os.close(lock)
    return _GONE
