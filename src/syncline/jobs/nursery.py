"""Warm attempts: a process that has everything imported and forks one for each order.

Starting Python and importing Arrow takes longer than a small sync. The nursery does both once; a fork of it begins at
once and shares its memory. It stays single-threaded, which is what makes forking safe, and it ends with its server,
while its forks go on: they are processes like any other, in sessions of their own.

Messages on its socket, each four bytes of length and JSON: ``{"ready": true}`` once everything is imported;
``{"folder", "order"}`` in, ``{"pid"}`` back; and ``{"ended": pid, "code": n}`` when one has ended, so that the server
learns how.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import selectors
import signal
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from syncline.core.errors import ErrorKind, SynclineError
from syncline.jobs.attempt_folder import AttemptFolder
from syncline.jobs.bell import BELL
from syncline.jobs.order import Order

__all__ = ["Nursery", "can_fork", "main", "start_cold"]

#: What most attempts need. Missing extras are no failure: their attempts say so.
PRELOAD = (
    "syncline.jobs.worker",
    "syncline.connectors.postgres.reading.source",
    "syncline.connectors.postgres.writing.destination",
    "syncline.connectors.files.source",
    "syncline.connectors.files.destination",
    "syncline.connectors.duckdb.destination",
)
_LENGTH = struct.Struct("!I")


def can_fork() -> bool:
    """Forking a process with libraries loaded is sound on Linux; elsewhere system libraries forbid it."""
    return sys.platform == "linux"


class Nursery:
    """The server's side. :meth:`start` may be called from any thread. Once broken it stays so: make another."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "syncline.jobs.nursery", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # a Ctrl-C at the terminal is the server's to handle
            )
        self._socket = ours
        self._sending = threading.Lock()
        self._pids: list[int] = []
        self._answered = threading.Condition()
        #: exit codes of forks that have ended, until somebody asks
        self._codes: dict[int, int] = {}
        self._broken = self._ready = False
        threading.Thread(target=self._listen, name="nursery", daemon=True).start()

    @property
    def broken(self) -> bool:
        return self._broken

    @property
    def ready(self) -> bool:
        """Whether it has imported everything, so that a fork begins at once."""
        return self._ready and not self._broken

    def start(self, order: Order, folder: AttemptFolder, timeout: float = 30.0) -> int:
        """Fork an attempt; returns its process's number. ``transient`` when the nursery is gone."""
        with self._sending:
            try:
                self._socket.sendall(_packed({"folder": str(folder.path), "order": order.to_json()}))
            except OSError:
                self._broken = True
            with self._answered:
                self._answered.wait_for(lambda: self._pids or self._broken, timeout)
                if self._pids:
                    return self._pids.pop(0)
                self._broken = True  # a late answer would be taken for the next one's
        raise SynclineError(ErrorKind.TRANSIENT, "the process that starts attempts is gone", hint="another is started")

    def code(self, pid: int) -> int | None:
        """How a fork ended (negative: by which signal), None when it runs or nobody knows."""
        with self._answered:
            return self._codes.pop(pid, None)

    def close(self) -> None:
        """End the nursery; its forks go on. At once: one that still imports does not hear us, and nothing of its own
        can be lost."""
        self._broken = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        try:
            self._process.wait(timeout=1 if self._ready else 0)
        except subprocess.TimeoutExpired:
            self._process.kill()  # it alone: forks have sessions of their own
            self._process.wait()

    def _listen(self) -> None:
        while (message := _received(self._socket)) is not None:
            with self._answered:
                if "ready" in message:
                    self._ready = True
                elif "pid" in message:
                    self._pids.append(message["pid"])
                else:
                    self._codes[message["ended"]] = message["code"]
                    while len(self._codes) > 1000:  # nobody asks for those of attempts that reported
                        self._codes.pop(next(iter(self._codes)))
                self._answered.notify_all()
            BELL.ring()
        with self._answered:
            self._broken = True
            self._answered.notify_all()


def start_cold(order: Order, folder: AttemptFolder) -> subprocess.Popen[bytes]:
    """Start an attempt as a new interpreter. The order goes through a pipe: it may hold secrets, and arguments and
    files are for others to read."""
    with folder.output.open("ab") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "syncline.jobs.worker", str(folder.path)],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    assert child.stdin is not None
    # One that has died already says so by its exit code.
    with contextlib.suppress(BrokenPipeError), child.stdin as pipe:
        pipe.write(json.dumps(order.to_json()).encode())
    return child


def _packed(message: dict[str, Any]) -> bytes:
    data = json.dumps(message).encode()
    return _LENGTH.pack(len(data)) + data


def _received(connection: socket.socket) -> dict[str, Any] | None:
    """The next message; None when the other side is gone."""
    head = _exactly(connection, _LENGTH.size)
    if head is None:
        return None
    data = _exactly(connection, _LENGTH.unpack(head)[0])
    return None if data is None else json.loads(data)


def _exactly(connection: socket.socket, size: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < size:
        try:
            part = connection.recv(size - len(parts))
        except OSError:
            return None
        if not part:
            return None
        parts += part
    return bytes(parts)


def _serve(connection: socket.socket) -> None:
    """The nursery's own life: forks on demand, reports the dead, ends with its server."""
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_read, False)
    os.set_blocking(wake_write, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake_write)
    selector = selectors.DefaultSelector()
    selector.register(connection, selectors.EVENT_READ)
    selector.register(wake_read, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fileobj == wake_read:
                with contextlib.suppress(BlockingIOError):
                    os.read(wake_read, 4096)
                _report_dead(connection)
                continue
            message = _received(connection)
            if message is None:
                return
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                selector.close()
                connection.close()
                os.close(wake_read)
                os.close(wake_write)
                _become(message)
            connection.sendall(_packed({"pid": pid}))


def _report_dead(connection: socket.socket) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        with contextlib.suppress(OSError):
            connection.sendall(_packed({"ended": pid, "code": os.waitstatus_to_exitcode(status)}))


def _become(message: dict[str, Any]) -> None:
    """In the fork: a session and output of its own, then the attempt. Does not return."""
    code = 1
    try:
        from syncline.jobs.worker import work

        os.setsid()
        folder = AttemptFolder(Path(message["folder"]))
        output = os.open(folder.output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)
        code = work(Order.from_json(message["order"]), folder)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:  # noqa: BLE001 - the last frame of a process: report and leave
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def main(arguments: list[str]) -> int:
    connection = socket.socket(fileno=int(arguments[0]))
    for module in PRELOAD:
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    with contextlib.suppress(OSError):  # the server may have ended meanwhile
        connection.sendall(_packed({"ready": True}))
        _serve(connection)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
