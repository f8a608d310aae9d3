"""A process that has everything imported and forks a ``syncline`` command for each request.

Starting Python and importing Arrow takes longer than a small sync; a fault suite that kills thousands of commands forks
them from here instead. The child is a process like any other: what kills it touches nothing else.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

__all__ = ["Ended", "Zygote"]


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a command ended: exit code (negative: the signal that killed it), output of both streams, seconds."""

    code: int
    output: str
    seconds: float

    @property
    def killed(self) -> bool:
        return self.code == -signal.SIGKILL


class Zygote:
    """Use as a context manager; :meth:`run` may be called by one thread at a time."""

    def __init__(self, preload: tuple[str, ...] = ()) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "syncline.testing.zygote", *preload],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(
        self,
        arguments: list[str],
        log: Path,
        environment: Mapping[str, str] | None = None,
        kill_after: float | None = None,
    ) -> Ended:
        """Run ``syncline ARGUMENTS`` in a fork; both output streams go to ``log``. ``kill_after`` seconds it is killed
        with SIGKILL, if it still runs."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = {"arguments": arguments, "log": str(log), "environment": dict(environment or {}), "kill": kill_after}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError("the zygote has died")
        data = json.loads(answer)
        output = log.read_text(encoding="utf-8", errors="replace")
        return Ended(code=data["code"], output=output, seconds=data["seconds"])

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _serve(preload: list[str]) -> None:
    import importlib

    for module in preload:
        importlib.import_module(module)
    for line in sys.stdin:
        request = json.loads(line)
        began = time.monotonic()
        pid = os.fork()
        if pid == 0:
            _become(request)
        code = _wait(pid, request["kill"])
        print(json.dumps({"code": code, "seconds": time.monotonic() - began}), flush=True)


def _wait(pid: int, kill_after: float | None) -> int:
    if kill_after is not None:
        deadline = time.monotonic() + kill_after
        while time.monotonic() < deadline:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.001)
        os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _become(request: dict[str, object]) -> None:
    """In the child: take over the output, the environment and the arguments, and be the command."""
    code = 1
    try:
        log = os.open(str(request["log"]), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(log, 1)
        os.dup2(log, 2)
        environment = request["environment"]
        assert isinstance(environment, dict)
        os.environ.update(environment)
        arguments = request["arguments"]
        assert isinstance(arguments, list)
        sys.argv = ["syncline", *arguments]
        from syncline.cli.main import main

        main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - the last frame of a process: report and leave
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve(sys.argv[1:])
