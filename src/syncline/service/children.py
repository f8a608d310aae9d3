"""Processes that a server starts for one question each. They end with it: nobody would hear the answer."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence

from syncline.core.errors import ErrorKind, SynclineError

__all__ = ["Children"]


class Children:
    """Safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._closed = False

    def ask(self, command: Sequence[str], question: bytes, environment: Mapping[str, str], seconds: float) -> bytes:
        """What the process writes when it gets ``question`` on its standard input. It and whatever it has started are
        gone when this returns. Raises ``unreachable`` when it took longer than ``seconds``, ``transient`` when the
        server ends."""
        child = self._start(command, environment)
        try:
            answer, _ = child.communicate(question, timeout=seconds)
        except subprocess.TimeoutExpired:
            raise SynclineError(
                ErrorKind.UNREACHABLE,
                f"there was no answer within {seconds:.0f} s",
                hint="check host, port and firewall, and whether the database is overloaded",
            ) from None
        finally:
            self._end(child)
        if self._closed and child.returncode == -signal.SIGKILL:
            raise _ending()
        return answer

    def close(self) -> None:
        """End those that run and start no more. Threads that wait in :meth:`ask` leave it at once: without this a
        process of ours would wait at its end, in the interpreter's own farewell, for a database that never answers."""
        with self._lock:
            self._closed = True
            for child in self._running:
                _kill(child)

    def _start(self, command: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._closed:
                raise _ending()
            child = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=dict(environment),
                start_new_session=True,
            )
            self._running.add(child)
        return child

    def _end(self, child: subprocess.Popen[bytes]) -> None:
        with child, self._lock:  # leaving it closes the pipes and waits
            _kill(child)
            self._running.discard(child)


def _kill(child: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)


def _ending() -> SynclineError:
    return SynclineError(ErrorKind.TRANSIENT, "the server is being stopped", hint="ask again when it is there")
