"""What the server asks of both ends of a stored connection, each time in a process of its own (``service.probe``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from syncline.core.errors import ErrorKind, SynclineError
from syncline.service import connections, jobs, probes
from syncline.service.callers import Caller, Role
from syncline.service.control import Control
from syncline.service.project import Connection
from syncline.store.values import StoredConnection

__all__ = ["allowed", "ask", "ensure_at_rest"]


def ask(control: Control, connection: Connection, task: Mapping[str, Any], seconds: float) -> Any:
    """Carry out ``task`` on the connection; secrets go through the process's pipe. Raises what the task raises."""
    whole = {
        "name": connection.name,
        "source": connection.source.to_json(),
        "destination": connection.destination.to_json(),
        "sync": connection.sync.model_dump(mode="json"),
    }
    return probes.look(control, {**task, "connection": whole}, seconds)


def allowed(control: Control, caller: Caller, connection_id: UUID, role: Role) -> StoredConnection:
    """The connection, if the caller has that role in its workspace. "Not found" for what the caller may not see."""
    connection = connections.get(control, caller, connection_id)
    caller.require(role, connection.workspace_id)
    return connection


def ensure_at_rest(control: Control, caller: Caller, connection_id: UUID) -> None:
    """Raises ``conflict`` while a job of the connection waits or runs. One that begins right afterwards does no harm:
    whoever takes the stream's token last at the destination goes on, and the other's commit is refused."""
    job = jobs.active(control, caller, connection_id)
    if job is not None:
        raise SynclineError(
            ErrorKind.CONFLICT,
            f"job {job.id} of the connection waits or runs",
            hint="wait for its end, or stop it, and try again",
        )
