"""Use cases of a server: the quarantine of a stored connection, looked through, written after all, or dropped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from syncline.service import audit
from syncline.service.both_ends import allowed, ask, ensure_at_rest
from syncline.service.callers import Caller, Role
from syncline.service.control import Control
from syncline.service.errors import invalid
from syncline.service.stored_connections import runnable

__all__ = ["chosen", "drop", "replay", "rows", "summary"]

_LOOK_SECONDS = 120.0
#: Writing many rows takes as long as the destination does. One that is ended is taken up by the next: rows and their
#: ids are committed in one act.
_WRITE_SECONDS = 1800.0


def chosen(ids: Sequence[str] | None, every: bool) -> Sequence[str] | None:
    """The named rows, or None for every one of the stream; nobody drops all of them by leaving something out."""
    if (ids is not None) == every:
        raise invalid("ids", "name rows by their ids, or all of them by all: true")
    return ids


def summary(control: Control, caller: Caller, connection_id: UUID) -> list[Mapping[str, Any]]:
    """How many rows lie there, by stream and reason. A runner's right."""
    allowed(control, caller, connection_id, Role.RUNNER)
    found: list[Mapping[str, Any]] = _ask(control, connection_id, {"task": "quarantine"}, _LOOK_SECONDS)
    return found


def rows(
    control: Control, caller: Caller, connection_id: UUID, stream: str, *, reason: str | None, offset: int, limit: int
) -> Mapping[str, Any]:
    """``rows`` of one stream, oldest first, ``total`` of them there are. ``reason``: those alone. A runner's right."""
    allowed(control, caller, connection_id, Role.RUNNER)
    task = {"task": "quarantine_rows", "stream": stream, "reason": reason, "offset": offset, "limit": limit}
    found: Mapping[str, Any] = _ask(control, connection_id, task, _LOOK_SECONDS)
    return found


def replay(
    control: Control, caller: Caller, connection_id: UUID, stream: str, ids: Sequence[str] | None
) -> Mapping[str, Any]:
    """Write rows of a stream (all when None) by the normal path, each once: ``engine.replay.Replayed`` as JSON. A
    runner's right, as a sync is; ``conflict`` while a job waits or runs."""
    connection = allowed(control, caller, connection_id, Role.RUNNER)
    ensure_at_rest(control, caller, connection_id)
    task = {"task": "quarantine_replay", "stream": stream, "ids": None if ids is None else list(ids)}
    found: Mapping[str, Any] = _ask(control, connection_id, task, _WRITE_SECONDS)
    told = {"name": connection.name, "stream": stream, "written": found["written"], "aside": found["aside"]}
    _record(control, caller, "replay_quarantine", connection_id, connection.workspace_id, told)
    return found


def drop(control: Control, caller: Caller, connection_id: UUID, stream: str, ids: Sequence[str] | None) -> int:
    """Remove rows of a stream (all when None) for good; how many. An editor's right: what is dropped is nowhere any
    more. ``conflict`` while a job waits or runs."""
    connection = allowed(control, caller, connection_id, Role.EDITOR)
    ensure_at_rest(control, caller, connection_id)
    task = {"task": "quarantine_drop", "stream": stream, "ids": None if ids is None else list(ids)}
    dropped = int(_ask(control, connection_id, task, _WRITE_SECONDS))
    told = {"name": connection.name, "stream": stream, "dropped": dropped}
    _record(control, caller, "drop_quarantine", connection_id, connection.workspace_id, told)
    return dropped


def _ask(control: Control, connection_id: UUID, task: Mapping[str, Any], seconds: float) -> Any:
    return ask(control, runnable(control, connection_id), task, seconds)


def _record(
    control: Control, caller: Caller, action: str, connection_id: UUID, workspace_id: UUID, told: Mapping[str, Any]
) -> None:
    with control.database.write() as tx:
        audit.record(tx, caller, action, "connection", connection_id, workspace_id, after=told)
