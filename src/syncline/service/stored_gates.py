"""Use cases of a server: the quality gates of a stored connection, and what becomes of rows that they hold back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import ValidationError

from syncline.service import audit, connections
from syncline.service.both_ends import allowed, ask, ensure_at_rest
from syncline.service.callers import Caller, Role
from syncline.service.changes import UNSET
from syncline.service.connections import ConnectionChange
from syncline.service.control import Control
from syncline.service.errors import invalid
from syncline.service.gates import gates_json
from syncline.service.inputs import checked_json
from syncline.service.project import QuarantineBlock
from syncline.service.stored_connections import runnable
from syncline.service.stream_configs import stream_block
from syncline.store import job_events
from syncline.store.values import StoredConnection

__all__ = ["get", "held_back", "publish", "replace_gates", "replay"]

_LOOK_SECONDS = 120.0
#: Judging and publishing reads what is staged.
_PUBLISH_SECONDS = 3600.0
#: What may be said of a connection, and of each of its streams.
_KEYS = ("gates", "quarantine")


def get(control: Control, caller: Caller, connection_id: UUID) -> Mapping[str, Any]:
    """As they were written: ``gates`` and ``quarantine`` of every stream, and ``streams`` with both by name."""
    return connections.get(control, caller, connection_id).options.quality


def replace_gates(
    control: Control, caller: Caller, connection_id: UUID, quality: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Take the place of what was said. An editor's right. Raises ``config`` for a rule that cannot be, with its place,
    and for gates of a stream that the connection does not name: they would never be asked."""
    connection = allowed(control, caller, connection_id, Role.EDITOR)
    checked = _checked(connection, checked_json("quality", quality))
    options = replace(connection.options, quality=checked)
    after = connections.update(control, caller, connection_id, ConnectionChange(options=options, streams=UNSET))
    return after.options.quality


def _checked(connection: StoredConnection, quality: Mapping[str, Any]) -> dict[str, Any]:
    whole = _said(quality, "")
    named = [str(stream_block(each)["name"]) for each in connection.streams or ()]
    streams = {}
    for name, said in (quality.get("streams") or {}).items():
        if name not in named:
            hint = f"it names: {', '.join(named)}" if named else "it takes every stream: write the gate for all of them"
            raise invalid(f"streams.{name}", "is no stream that the connection names", hint=hint)
        if block := _said(said, f"streams.{name}."):
            streams[name] = block
    return {**whole, **({"streams": streams} if streams else {})}


def _said(block: Mapping[str, Any], at: str) -> dict[str, Any]:
    found = {key: block[key] for key in _KEYS if block.get(key)}
    gates_json(found.get("gates", ()), None, f"{at}gates")
    if "quarantine" in found:
        try:
            limits = QuarantineBlock.model_validate(found["quarantine"])
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            key = ".".join(str(part) for part in problem["loc"])
            raise invalid(f"{at}quarantine.{key}", problem["msg"]) from None
        found["quarantine"] = limits.model_dump(mode="json", exclude_none=True)
    return {key: value for key, value in found.items() if value}


def held_back(control: Control, caller: Caller, connection_id: UUID) -> list[Mapping[str, Any]]:
    """Each stream with what the ledger says of its gates: ``service.quality.StreamQuality`` as JSON. A runner's right;
    looks at both ends."""
    allowed(control, caller, connection_id, Role.RUNNER)
    found: list[Mapping[str, Any]] = ask(control, runnable(control, connection_id), {"task": "quality"}, _LOOK_SECONDS)
    return found


def replay(
    control: Control, caller: Caller, connection_id: UUID, streams: Sequence[str] | None
) -> list[Mapping[str, Any]]:
    """Judge staged rows by the gates as they are now and publish what passes; a stream that does not has an ``error``.
    A runner's right, as a sync is. ``conflict`` while a job waits or runs."""
    return _carry_out(control, caller, connection_id, "quality_replay", Role.RUNNER, streams)


def publish(control: Control, caller: Caller, connection_id: UUID, streams: Sequence[str]) -> list[Mapping[str, Any]]:
    """Publish staged rows whatever the gates say: an editor's right, who could also take the gates away."""
    if not streams:
        raise invalid("streams", "must name one stream at least")
    return _carry_out(control, caller, connection_id, "quality_publish", Role.EDITOR, streams)


def _carry_out(
    control: Control, caller: Caller, connection_id: UUID, task: str, role: Role, streams: Sequence[str] | None
) -> list[Mapping[str, Any]]:
    connection = allowed(control, caller, connection_id, role)
    ensure_at_rest(control, caller, connection_id)
    request = {"task": task, "streams": None if streams is None else list(streams)}
    answer = ask(control, runnable(control, connection_id), request, _PUBLISH_SECONDS)
    done: list[Mapping[str, Any]] = answer["streams"]
    with control.database.write() as tx:
        _keep_verdicts(control, tx, connection, answer["verdicts"])
        told = {
            "name": connection.name,
            "streams": {each["stream"]: each["error"]["message"] if "error" in each else "published" for each in done},
        }
        audit.record(tx, caller, task, "connection", connection_id, connection.workspace_id, after=told)
    return done


def _keep_verdicts(
    control: Control, tx: Any, connection: StoredConnection, verdicts: Sequence[Mapping[str, Any]]
) -> None:
    """The new verdicts stand behind those of the run whose rows were judged again, so that the history is whole."""
    if not verdicts:
        return
    known = job_events.newest_of_kind(tx, connection.id, "quality_judged", limit=1)
    if known:
        job_events.add_many(
            tx,
            [
                job_events.row(
                    "quality_judged",
                    datetime.fromisoformat(each["at"]),
                    connection.id,
                    connection.workspace_id,
                    job_id=known[-1].job_id,
                    data={key: value for key, value in each.items() if key not in ("event", "at")},
                )
                for each in verdicts
            ],
        )
