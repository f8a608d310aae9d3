"""Use cases of a server that look before something happens: what mappings make of rows, how a source has changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from syncline.service import audit
from syncline.service.both_ends import allowed, ask, ensure_at_rest
from syncline.service.callers import Caller, Role
from syncline.service.changes import UNSET, Unset
from syncline.service.control import Control
from syncline.service.inputs import checked_json
from syncline.service.stored_connections import runnable

__all__ = ["accept_changes", "changes", "mapped"]

_SECONDS = 120.0


def mapped(
    control: Control,
    caller: Caller,
    connection_id: UUID,
    mappings: Sequence[Mapping[str, Any]] | Unset = UNSET,
    *,
    rows: int,
) -> list[Mapping[str, Any]]:
    """What the connection's mappings make of each stream, with up to ``rows`` rows before and after:
    ``service.mapping_preview.MappedPreview`` as JSON. A runner's right, because rows are shown. ``mappings``: as if the
    connection had these; that is an editor's, who could also store them. Takes a while."""
    if isinstance(mappings, Unset):
        allowed(control, caller, connection_id, Role.RUNNER)
    else:
        allowed(control, caller, connection_id, Role.EDITOR)
        checked_json("mappings", list(mappings))
    connection = runnable(control, connection_id, mappings=mappings)
    found: list[Mapping[str, Any]] = ask(control, connection, {"task": "mappings", "rows": rows}, _SECONDS)
    return found


def changes(control: Control, caller: Caller, connection_id: UUID) -> Mapping[str, Any]:
    """How the source differs from what the last run saw: ``service.schema_changes.ChangesSeen`` as JSON. A runner's
    right. Takes a while; changes nothing."""
    allowed(control, caller, connection_id, Role.RUNNER)
    found: Mapping[str, Any] = ask(control, runnable(control, connection_id), {"task": "changes"}, _SECONDS)
    return found


def accept_changes(
    control: Control, caller: Caller, connection_id: UUID, streams: Sequence[str] | None
) -> Mapping[str, Any]:
    """The present shape of these streams (None: of all) is what the next run begins with. An editor's right; one entry
    of the audit log. ``conflict`` while a job waits or runs."""
    connection = allowed(control, caller, connection_id, Role.EDITOR)
    ensure_at_rest(control, caller, connection_id)
    task = {"task": "accept_changes", "streams": None if streams is None else list(streams)}
    found: Mapping[str, Any] = ask(control, runnable(control, connection_id), task, _SECONDS)
    with control.database.write() as tx:
        told = {"name": connection.name, "changes": found["changes"], "accepted": found["accepted"]}
        audit.record(tx, caller, "accept_changes", "connection", connection_id, connection.workspace_id, after=told)
    return found
