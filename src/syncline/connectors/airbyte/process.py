"""A connector's process: started, read line by line, watched, ended with everything that it started itself."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from syncline.core.errors import ErrorKind, SynclineError

__all__ = ["ConnectorProcess"]

_CHUNK = 1 << 20
#: A record larger than this is refused: it would have to be held several times over.
_LINE_BYTES = 256 << 20
_TERM_SECONDS = 10.0
#: After the connector's own end, so long may something that it started still hold its output.
_LINGER_SECONDS = 5.0
#: What a connector may see of our environment: where programs are, the language, how to get out through a proxy.
_PASSED = (
    *("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
)


class ConnectorProcess:
    """A process group of its own, in a private folder that only this user can read and that goes with it.

    ``files`` (name -> JSON bytes) are written into the folder; an argument that is a file's name becomes its path.
    ``given`` is written to its input by a thread of its own, then the input is closed; without it there is none.
    ``closed`` is called once nothing of it runs any more; not when it could not even be started.
    Iterating :meth:`blocks` gives whole lines; afterwards :attr:`exit_code` is set (negative: the signal)."""

    def __init__(
        self,
        command: Sequence[str],
        arguments: Sequence[str],
        files: Mapping[str, bytes],
        *,
        environment: Mapping[str, str],
        memory_limit: int | None,
        silence_seconds: float,
        given: Iterator[bytes] | None = None,
        closed: Callable[[], None] = lambda: None,
    ) -> None:
        self.exit_code: int | None = None
        self._closed = closed
        self._heard = time.monotonic()
        self._silence = silence_seconds
        self._folder = Path(tempfile.mkdtemp(prefix="syncline-connector-"))  # 0700
        try:
            for name, content in files.items():
                with os.fdopen(os.open(self._folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                    file.write(content)
            paths = {name: str(self._folder / name) for name in files}
            guard = [sys.executable, "-I", "-S", str(Path(__file__).with_name("guard.py"))]
            self._process = subprocess.Popen(
                [*guard, str(os.getpid()), str(memory_limit or 0), *command, *(paths.get(a, a) for a in arguments)],
                stdin=subprocess.DEVNULL if given is None else subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=self._folder,
                env=_environment(environment, self._folder),
                start_new_session=True,
            )
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise
        assert self._process.stdout is not None
        self._out = self._process.stdout.fileno()
        if sys.platform == "linux":
            fcntl.fcntl(self._out, fcntl.F_SETPIPE_SZ, _CHUNK)
        self._said: deque[str] = deque(maxlen=200)
        self._drain = threading.Thread(target=self._drain_errors, name="connector stderr", daemon=True)
        self._drain.start()
        self._feeding_error: BaseException | None = None
        self._feeder: threading.Thread | None = None
        if given is not None:
            self._feeder = threading.Thread(target=self._feed, args=(given,), name="connector stdin", daemon=True)
            self._feeder.start()

    def lines(self) -> Iterator[list[bytes]]:
        """What :meth:`blocks` gives, line by line."""
        for block in self.blocks():
            yield block.split(b"\n")

    def blocks(self) -> Iterator[bytes]:
        """Whole lines as they come, many at once where many have come, without the end of the last. Raises
        ``transient`` after too long a silence and ``data`` for a line that is too long; the process is then to be
        closed."""
        parts: list[bytes] = []
        size = 0
        for chunk in self._chunks():
            cut = chunk.rfind(b"\n")
            if cut < 0:
                parts.append(chunk)
                size += len(chunk)
                if size > _LINE_BYTES:
                    raise SynclineError(
                        ErrorKind.DATA,
                        f"the connector wrote a record of more than {_LINE_BYTES >> 20} MB",
                        hint="leave the stream or the column out at the source",
                    )
                continue
            parts.append(chunk[:cut])
            yield b"".join(parts)
            parts, size = [chunk[cut + 1 :]], len(chunk) - cut - 1
        if last := b"".join(parts):
            yield last
        if self._feeding_error is not None:
            raise self._feeding_error
        self.exit_code = self._process.wait(timeout=_TERM_SECONDS) if self._ended_by_itself() else self._end()

    def errors(self) -> list[str]:
        """What it has written to stderr since the last call; the newest 200 lines."""
        found = []
        while self._said:
            found.append(self._said.popleft())
        return found

    def close(self) -> None:
        """End the whole group: politely, then not. Removes the folder. May come again."""
        if self._process.returncode is None:
            self._end()
        self._kill_group()  # what it started and left behind
        self._drain.join(timeout=1.0)
        if self._feeder is not None:
            self._feeder.join(timeout=_TERM_SECONDS)  # its pipe is broken by now
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None and not (stream is self._process.stderr and self._drain.is_alive()):
                stream.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        self._closed()

    def _chunks(self) -> Iterator[bytes]:
        self._heard = time.monotonic()
        ended: float | None = None
        while True:
            ready, _, _ = select.select([self._out], [], [], 0.5)
            now = time.monotonic()
            if ready:
                chunk = os.read(self._out, _CHUNK)
                if not chunk:
                    return
                self._heard = now
                yield chunk
                self._heard = time.monotonic()  # what we did meanwhile was not its silence
                continue
            if ended is None and self._process.poll() is not None:
                ended = now
            if ended is not None and now - ended > _LINGER_SECONDS:
                return
            if ended is None and now - self._heard > self._silence:
                raise SynclineError(
                    ErrorKind.TRANSIENT,
                    f"the connector has said nothing for {self._silence:g} seconds and was ended",
                    hint="raise max_seconds_between_messages if it may be silent for longer",
                )

    def _ended_by_itself(self) -> bool:
        try:
            self._process.wait(timeout=_LINGER_SECONDS)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _end(self) -> int:
        for number in (signal.SIGTERM, signal.SIGKILL):
            self._kill_group(number)
            try:
                return self._process.wait(timeout=_TERM_SECONDS)
            except subprocess.TimeoutExpired:
                continue
        return -signal.SIGKILL  # not even that: stuck in the kernel

    def _kill_group(self, number: signal.Signals = signal.SIGKILL) -> None:
        try:
            os.killpg(self._process.pid, number)
        except (ProcessLookupError, PermissionError):
            return

    def _feed(self, given: Iterator[bytes]) -> None:
        assert self._process.stdin is not None
        out = self._process.stdin
        try:
            with contextlib.suppress(BrokenPipeError):  # it reads no further: its exit code and its words tell why
                for chunk in given:
                    out.write(chunk)
                    self._heard = time.monotonic()  # it reads, so it lives
                out.flush()
        except Exception as error:  # noqa: BLE001 - the rows cannot be read: raised where the lines are asked for
            self._feeding_error = error
            self._kill_group()  # it must not take the end of what it got for the end of everything
        finally:
            with contextlib.suppress(BrokenPipeError):
                out.close()

    def _drain_errors(self) -> None:
        assert self._process.stderr is not None
        for line in iter(lambda: self._read_error_line(self._process.stderr), b""):
            self._said.append(line.decode(errors="replace").rstrip())

    @staticmethod
    def _read_error_line(stream: Any) -> bytes:
        try:
            return bytes(stream.readline(1 << 16))
        except (OSError, ValueError):
            return b""


def _environment(further: Mapping[str, str], folder: Path) -> dict[str, str]:
    passed = {name: os.environ[name] for name in _PASSED if name in os.environ}
    return {"HOME": str(folder), "PYTHONUTF8": "1", "AIRBYTE_STAGING_DIRECTORY": str(folder), **passed, **further}
