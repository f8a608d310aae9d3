"""Sessions that hold a snapshot of a table between its plan and its reading.

MySQL can neither export a snapshot nor go back to one, so that the session itself must stay, in this process. Plans
that need one are not resumable: a run that finds it gone starts the stream over.
"""

from __future__ import annotations

import threading
import uuid

from syncline.connectors.mysql.connection import Session
from syncline.core.errors import ErrorKind, SynclineError

__all__ = ["held", "hold", "release"]

_lock = threading.Lock()
_sessions: dict[str, tuple[Session, threading.Lock]] = {}


def hold(session: Session) -> str:
    """Keep an open snapshot; the name under which it is found."""
    name = uuid.uuid4().hex
    with _lock:
        _sessions[name] = (session, threading.Lock())
    return name


def held(name: str) -> tuple[Session, threading.Lock]:
    """The session and the lock of whoever reads from it."""
    with _lock:
        found = _sessions.get(name)
    if found is None:
        raise SynclineError(
            ErrorKind.TRANSIENT,
            "the snapshot of this table is gone with the session that held it",
            hint="the stream is copied anew",
            where={"connector": "mysql"},
        )
    return found


def release(name: str) -> None:
    """End it; no matter when it has ended."""
    with _lock:
        found = _sessions.pop(name, None)
    if found is not None:
        found[0].close()
