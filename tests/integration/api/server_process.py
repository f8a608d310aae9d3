"""``syncline server`` as a user starts it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["PASSWORD", "server_process"]

PASSWORD = "correct horse battery"

_SHOWN = {
    "base": r"listens on (\S+)",
    "workspace_id": r"workspace +(\S+)",
    "client_id": r"client id +(\S+)",
    "client_secret": r"client secret +(\S+)",
}


@contextmanager
def server_process(folder: Path, **environment: str) -> Iterator[dict[str, str]]:
    """On a free port, with its home in ``folder``; gives what it shows at its first start, by the names above."""
    log = folder / "server.log"
    command = [sys.executable, "-m", "syncline", "server", "--port", "0"]
    settings = {
        "SYNCLINE_HOME": str(folder / "home"),
        "SYNCLINE_ADMIN_PASSWORD": PASSWORD,
        "PYTHONUNBUFFERED": "1",
        **environment,
    }
    with log.open("wb") as output:
        process = subprocess.Popen(command, env={**os.environ, **settings}, stdout=output, stderr=output)
    try:
        until = time.monotonic() + 180  # a busy machine needs a minute for the imports alone
        while "client secret" not in (text := log.read_text(encoding="utf-8")):
            assert process.poll() is None, text
            assert time.monotonic() < until, text
            time.sleep(0.1)
        yield {name: re.findall(pattern, text)[0] for name, pattern in _SHOWN.items()}
    finally:
        process.terminate()
        process.wait(60)
