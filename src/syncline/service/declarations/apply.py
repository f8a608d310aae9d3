"""Carrying a plan out. Each thing is changed by its own use case, in a transaction of its own: what was done stays done
when a later step fails, and applying the document again goes on from there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from syncline.core.errors import ErrorKind, SynclineError
from syncline.service import actors, connections, tags
from syncline.service.actors import NewActor
from syncline.service.airbyte_config import type_key
from syncline.service.callers import Caller
from syncline.service.connections import ConnectionChange, NewConnection
from syncline.service.control import Control
from syncline.service.declarations.connection_values import Values, in_order, values_of
from syncline.service.declarations.document import block_of
from syncline.service.declarations.plan import Change, Plan, Situation, look, make_plan
from syncline.service.declarations.record import Noun
from syncline.service.declarations.written import masked_as_written
from syncline.store.values import ActorRole, StoredConnection

__all__ = ["apply", "plan"]

_ROLES: tuple[ActorRole, ...] = ("source", "destination")


def plan(
    control: Control, caller: Caller, workspace_id: UUID | None, document: Mapping[str, Any], *, prune: bool = False
) -> Plan:
    """What applying the document would do. Connects to nothing; raises ``config`` for a document that cannot be."""
    return make_plan(control, caller, look(control, caller, workspace_id), document, prune=prune)


def apply(
    control: Control,
    caller: Caller,
    workspace_id: UUID | None,
    document: Mapping[str, Any],
    *,
    prune: bool = False,
    expected: str | None = None,
) -> Plan:
    """Do it, and return what was done. ``expected``: the digest of the plan that somebody agreed to; raises
    ``conflict`` when it is another one by now."""
    situation = look(control, caller, workspace_id)
    found = make_plan(control, caller, situation, document, prune=prune)
    if expected is not None and found.digest != expected:
        raise SynclineError(
            ErrorKind.CONFLICT, "the workspace has changed since this was planned", hint="look at the new plan"
        )
    blocks = {name: block_of(name, each) for name, each in document["connections"].items()}
    values = {name: values_of(name, block) for name, block in blocks.items()}
    order = in_order(values)
    changes = {(change.noun, change.name): change for change in found.changes}
    # What is in the way goes first: a key and a name are free again then.
    for change in found.changes:
        if change.noun == "connection" and change.action in ("remove", "replace"):
            connections.delete(control, caller, situation.connections.pop(change.name).id)
            situation.record.forget("connection", change.name)
    ids = {role: _actors(control, caller, situation, role, document, changes) for role in _ROLES}
    made = {name: each.id for name, each in situation.connections.items()}
    new_parts: list[str] = []
    for name in order:
        written = document["connections"][name]
        connection = _connection(control, caller, situation, values[name], changes.get(("connection", name)), ids, made)
        if blocks[name].fan_out is not None and blocks[name].enabled and name not in situation.connections:
            new_parts.append(name)
        made[name] = connection.id
        situation.record.remember("connection", name, connection.id, connection.updated_at, written)
    # Those that read together begin together: with each that came later they would begin anew.
    for name in new_parts:
        connection = connections.update(control, caller, made[name], ConnectionChange(status="active"))
        situation.record.remember(
            "connection", name, connection.id, connection.updated_at, document["connections"][name]
        )
    for change in found.changes:
        if change.action == "remove" and change.noun != "connection":
            actors.delete(control, caller, change.noun, situation.actors[change.noun][change.name].id)
            situation.record.forget(change.noun, change.name)
    with control.database.write() as transaction:
        situation.record.save(transaction)
    return found


def _actors(
    control: Control,
    caller: Caller,
    situation: Situation,
    role: ActorRole,
    document: Mapping[str, Any],
    changes: Mapping[tuple[Noun, str], Change],
) -> dict[str, UUID]:
    """The ids of the document's sources or destinations, by name, each as the document says it."""
    found = {}
    for name, wanted in document[f"{role}s"].items():
        actor = situation.actors[role].get(name)
        configuration = {**wanted["config"], type_key(role): wanted["type"]}
        if actor is None:
            new = NewActor(workspace_id=situation.workspace_id, name=name, configuration=configuration)
            actor = actors.create(control, caller, role, new)
        elif (role, name) in changes:
            actor = actors.replace(control, caller, role, actor.id, name=name, configuration=wanted["config"])
        found[name] = actor.id
        written = masked_as_written(control, caller, actor, wanted.get("written", wanted["config"]))
        told = {"type": wanted["type"], "config": written}
        situation.record.remember(role, name, actor.id, actor.updated_at, told)
    return found


def _connection(
    control: Control,
    caller: Caller,
    situation: Situation,
    values: Values,
    change: Change | None,
    ids: Mapping[ActorRole, Mapping[str, UUID]],
    made: Mapping[str, UUID],
) -> StoredConnection:
    stored = situation.connections.get(values.name)
    if stored is not None and change is None:
        return stored
    block = values.block
    status = "active" if block.enabled else "inactive"
    tag_ids = _tags(control, caller, situation.workspace_id, block.tags)
    shared: dict[str, Any] = {
        "status": status,
        "schedule": values.schedule_with(made),
        "streams": values.streams,
        "namespace_definition": values.namespace_definition,
        "namespace_format": block.namespace_format,
        "prefix": block.prefix,
        "non_breaking_updates": block.schema_changes.policy.value,
        "tag_ids": tag_ids,
        "options": values.options,
    }
    if stored is not None:
        return connections.update(control, caller, stored.id, ConnectionChange(**shared))
    ends = {"source_id": ids["source"][block.source], "destination_id": ids["destination"][block.destination]}
    new = {"name": values.name, **ends, **shared}
    if block.fan_out is not None:  # which has the name that it goes by
        return connections.create(control, caller, NewConnection(**{**new, "status": "inactive"}))
    try:
        # Under the file's name: a connection that the command line has run goes on where it was.
        return connections.create(control, caller, NewConnection(key=values.name, **new))
    except SynclineError as error:
        if error.kind is not ErrorKind.CONFLICT:
            raise
        # The name was that of a connection that is deleted, or is one in another workspace: it starts anew.
        return connections.create(control, caller, NewConnection(**new))


def _tags(control: Control, caller: Caller, workspace_id: UUID, names: Iterable[str]) -> tuple[UUID, ...]:
    wanted = list(names)
    if not wanted:
        return ()
    known = {tag.name: tag.id for tag in tags.list_tags(control, caller, [workspace_id])}
    for name in wanted:
        if name not in known:
            known[name] = tags.create(control, caller, workspace_id, name=name, color="75DCFF").id
    return tuple(known[name] for name in wanted)
