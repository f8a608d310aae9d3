"""The end of ``syncline demo --serve``: the demo's connections on a server, to be looked at in a browser."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.request import urlopen

from syncline.core.errors import ErrorKind, SynclineError

__all__ = ["serve_page"]

_START_SECONDS = 90.0


_PORT = 8000


def serve_page(
    project: Path, environment: Mapping[str, str], port: int | None, run: Callable[[list[str]], None]
) -> None:
    """Start a server on ``port`` (None: 8000 where nobody has it), make it what ``project`` says by ``run`` (a command
    of ours), leave it there until it is interrupted."""
    port = port or _free_port()
    base = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "syncline", "server", "--host", "127.0.0.1", "--port", str(port)]
    print(f"$ syncline server --port {port} &", flush=True)
    log = project.with_name("server.log")
    with log.open("wb") as output:
        running = subprocess.Popen(command, env=dict(environment), stdout=output, stderr=output)
    try:
        _wait_for(base, running, log)
        run(["apply", str(project), "--yes", "--server", base])
        print(f"\n== Open {base} in a browser. Ctrl-C ends it.", flush=True)
        running.wait()
    except KeyboardInterrupt:
        print()
    finally:
        running.terminate()
        running.wait(timeout=120)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", _PORT))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(base: str, running: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + _START_SECONDS
    while running.poll() is None and time.monotonic() < until:
        try:
            with urlopen(f"{base}/health", timeout=5):  # noqa: S310 - our own address
                return
        except OSError:  # not yet there, or busy with starting
            time.sleep(0.2)
    raise SynclineError(ErrorKind.CONFIG, "the server did not start", hint=f"see {log}; --port chooses another port")
