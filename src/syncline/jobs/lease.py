"""One run of a connection at a time on this machine.

An advisory lock held by the process: it goes with the process however that dies. Runs on two machines are not kept
apart here; there the destination's fencing token refuses the older one's commits, so the result is right either way.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from syncline.core.errors import ErrorKind, SynclineError

__all__ = ["connection_lease"]


@contextmanager
def connection_lease(folder: Path, connection: str) -> Iterator[None]:
    """Hold the lease of ``connection`` or raise ``conflict`` naming the process that has it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / (hashlib.sha256(connection.encode()).hexdigest()[:24] + ".lock")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(descriptor, 100).decode(errors="replace").strip() or "unknown"
            raise SynclineError(
                ErrorKind.CONFLICT,
                f"connection {connection.partition(chr(0))[0]!r} is being synced by another process (pid {holder})",
                hint="wait for it to end, or stop it, and run again",
                where={"connection": connection.partition(chr(0))[0]},
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)
