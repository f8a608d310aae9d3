"""Outlive the process that started a server, and take the server down after it.

Run by path with nothing but the standard library (``python -I -S orphan_guard.py DATA_DIR [REMOVE_DIR]``), so that it
costs a few milliseconds. Standard input is a pipe whose other end only the owner holds: it ends when the owner ends,
by whatever signal, SIGKILL included. A parent-death signal would be shorter, but it fires when the *thread* that
started the server ends, and only Linux has it.
"""

import os
import shutil
import signal
import sys
import time
from pathlib import Path

__all__ = ["RELEASED", "SERVERS", "main"]

RELEASED = b"released"
"""What an owner writes before closing the pipe when it has stopped the server itself."""

SERVERS = (("postmaster.pid", "postgres"), ("mariadb.pid", "mariadbd"))
"""The file in DATA_DIR that holds the server's pid, and what its program is called."""

_GRACE_SECONDS = 10.0


def main(arguments: list[str]) -> int:
    """Wait for the owner to end; unless it said `RELEASED`, stop the server in DATA_DIR and delete REMOVE_DIR."""
    data_dir = Path(arguments[0])
    remove_dir = Path(arguments[1]) if len(arguments) > 1 else None
    if sys.stdin.buffer.read().endswith(RELEASED):
        return 0
    for pid_file, name in SERVERS:
        _stop_server(data_dir, pid_file, name)
    if remove_dir is not None:
        _remove(remove_dir)
    return 0


def _stop_server(data_dir: Path, pid_file: str, name: str) -> None:
    try:
        pid = int((data_dir / pid_file).read_text(encoding="ascii").split("\n", 1)[0])
    except (OSError, ValueError):
        return  # not running
    command = Path(f"/proc/{pid}/comm")
    if command.exists() and name not in command.read_text(encoding="ascii", errors="replace"):
        return  # the file is stale and the number belongs to somebody else by now
    deadline = time.monotonic() + _GRACE_SECONDS
    number = signal.SIGQUIT  # Postgres calls this "immediate": no flush, recovery at the next start; MariaDB just ends
    while True:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return
        time.sleep(0.1)
        if time.monotonic() > deadline:
            number = signal.SIGKILL
            deadline = float("inf")


def _remove(directory: Path) -> None:
    for _ in range(20):
        shutil.rmtree(directory, ignore_errors=True)
        if not directory.exists():
            return
        time.sleep(0.1)  # a server that is still dying may write once more


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
