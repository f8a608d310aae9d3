"""Use cases of states: what is known of a connection's progress, and setting it. The ledger is the truth."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from syncline.core.errors import ErrorKind, SynclineError
from syncline.service import audit, connections
from syncline.service.both_ends import ask
from syncline.service.callers import Caller, Role
from syncline.service.control import Control
from syncline.service.inputs import checked_json
from syncline.service.stored_connections import runnable
from syncline.store import stream_states as rows
from syncline.store.schema import now
from syncline.store.values import ConnectionState, StreamState

__all__ = ["get", "refresh", "set_state"]

_SECONDS = 120.0


def get(control: Control, caller: Caller, connection_id: UUID) -> ConnectionState:
    """As last known: written after each attempt and each change of ours. Looks at nothing."""
    connections.get(control, caller, connection_id)
    with control.database.read() as transaction:
        return rows.of(transaction, connection_id)


def set_state(control: Control, caller: Caller, connection_id: UUID, state: ConnectionState) -> ConnectionState:
    """The whole state anew, as a commit to the ledger: a stream that is not named, or has no state, is copied anew by
    the next sync. An editor's right. The caller of this has seen that no job runs; were it wrong, the running attempt's
    next commit would be refused, and nothing lost. Looks at both ends, so it takes a while."""
    connection = connections.get(control, caller, connection_id)
    caller.require(Role.EDITOR, connection.workspace_id)
    if state.shared is not None:
        raise SynclineError(
            ErrorKind.CONFIG,
            "the position in a log that all streams share cannot be set",
            hint="reset the streams: they are copied anew and the log goes on from there",
        )
    before = get(control, caller, connection_id)
    positions = {_stream(each): checked_json("state", each.state) for each in state.streams if each.state is not None}
    found = _look(control, connection_id, {"task": "set_states", "positions": positions})
    with control.database.write() as transaction:
        rows.forget(transaction, connection_id)
        rows.save(transaction, connection_id, found)
        told = ({"streams": _told(before)}, {"streams": _told(ConnectionState(streams=tuple(found)))})
        audit.record(transaction, caller, "set_state", "connection", connection_id, connection.workspace_id, *told)
        return rows.of(transaction, connection_id)


def refresh(control: Control, caller: Caller, connection_id: UUID) -> ConnectionState:
    """Read the ledger and remember what it says. A runner's right. Takes a while."""
    connection = connections.get(control, caller, connection_id)
    caller.require(Role.RUNNER, connection.workspace_id)
    found = _look(control, connection_id, {"task": "states"})
    with control.database.write() as transaction:
        rows.save(transaction, connection_id, found)
        return rows.of(transaction, connection_id)


def _look(control: Control, connection_id: UUID, task: dict[str, Any]) -> list[StreamState]:
    answer = ask(control, runnable(control, connection_id), task, _SECONDS)
    return [
        StreamState(namespace=each["namespace"], name=each["name"], state=each["state"], updated_at=now())
        for each in answer
    ]


def _stream(state: StreamState) -> str:
    return f"{state.namespace}.{state.name}" if state.namespace else state.name


def _told(state: ConnectionState) -> dict[str, Any]:
    return {_stream(each): each.state for each in state.streams}
