"""Programs as steps: arguments in a list, no shell, a small environment, and an end by the clock."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from syncline.core.errors import ErrorKind, SynclineError

__all__ = ["run_program"]

#: What a program finds of ours in its environment, beside the run's facts and what its step says: no secrets.
_PASSED_ON = ("HOME", "LANG", "LC_ALL", "PATH", "SSL_CERT_FILE", "TMPDIR", "TZ", "USER", "VIRTUAL_ENV")
_KEPT_LINES = 200
_LONGEST_LINE = 2000


def run_program(
    arguments: Sequence[str],
    *,
    env: Mapping[str, str],
    folder: Path | None,
    timeout: float,
    tell: Callable[[str], None],
) -> None:
    """Run to the end; its output is told line by line, at most the last 200 lines. Raises ``config`` when it cannot be
    started, ``data`` when it ends with another code than 0, ``resource`` when it takes longer than ``timeout``: then it
    and everything that it has started is killed."""
    passed = {k: os.environ[k] for k in _PASSED_ON if k in os.environ}
    with tempfile.TemporaryFile() as output:
        try:
            process = subprocess.Popen(
                list(arguments),
                env={**passed, **env},
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise SynclineError(
                ErrorKind.CONFIG,
                f"the program {arguments[0]!r} cannot be started: {error.strerror}",
                hint="give its whole path, or install it where PATH of this process finds it",
            ) from error
        code: int | None = None
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = process.wait(timeout)
        finally:
            # Also what it has left running: nothing of a step outlives it.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        lines = _tail(output)
    for line in lines:
        tell(line)
    last = next((line for line in reversed(lines) if line.strip()), "")
    if code is None:
        raise SynclineError(
            ErrorKind.RESOURCE,
            f"the program {arguments[0]!r} took longer than {timeout:g} s and was ended",
            hint="make it quicker, or raise the step's timeout",
        )
    if code != 0:
        how = f"ended with code {code}" if code > 0 else f"was ended by signal {signal.Signals(-code).name}"
        raise SynclineError(
            ErrorKind.DATA,
            f"the program {arguments[0]!r} {how}" + (f"; its last line: {last[:300]}" if last else ""),
            hint="its output is in the log of this run",
        )


def _tail(output: object) -> list[str]:
    file: object = output
    file.seek(0)  # type: ignore[attr-defined]
    kept: deque[str] = deque(maxlen=_KEPT_LINES)
    for raw in file:  # type: ignore[attr-defined]
        kept.append(raw.decode("utf-8", "replace").rstrip()[:_LONGEST_LINE])
    return list(kept)
