"""What applying a document would do: which things are made, changed and removed, and what each costs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

from syncline.core.errors import ErrorKind, SynclineError, nearest
from syncline.service import actors, connections, definitions, workspaces
from syncline.service.callers import Caller, Role
from syncline.service.control import Control
from syncline.service.declarations.connection_values import block_json, in_order, stored_json, values_of
from syncline.service.declarations.costs import REMOVED, actor_effects, connection_effects, differences
from syncline.service.declarations.document import block_of
from syncline.service.declarations.record import Noun, Record
from syncline.service.errors import invalid
from syncline.service.project import ConnectionBlock
from syncline.store.paging import Page
from syncline.store.values import Actor, ActorRole, StoredConnection

__all__ = ["Change", "Plan", "Situation", "look", "make_plan"]

Action = Literal["create", "change", "replace", "remove"]


@dataclass(frozen=True, kw_only=True)
class Change:
    """One thing that is not as the document says. ``details``: what differs, without secrets; ``effects``: what it
    costs, drops or leaves behind."""

    action: Action
    noun: Noun
    name: str
    details: tuple[str, ...] = ()
    effects: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Plan:
    """``left_alone``: things of the workspace that the document does not name and no document made. ``digest`` names
    this plan: applying it is refused when it would do something else by then."""

    workspace_id: UUID
    changes: tuple[Change, ...]
    unchanged: int
    left_alone: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        told = [[c.action, c.noun, c.name, c.details, c.effects] for c in self.changes]
        return hashlib.sha256(json.dumps([str(self.workspace_id), told]).encode()).hexdigest()[:32]


@dataclass(kw_only=True)
class Situation:
    """The workspace as it is, by name."""

    workspace_id: UUID
    record: Record
    actors: dict[ActorRole, dict[str, Actor]] = field(default_factory=dict)
    connections: dict[str, StoredConnection] = field(default_factory=dict)

    def ends_of(self, connection: StoredConnection) -> tuple[str, str]:
        """The names of its source and its destination."""
        names = []
        ends: tuple[tuple[ActorRole, UUID], ...] = (
            ("source", connection.source_id),
            ("destination", connection.destination_id),
        )
        for role, wanted in ends:
            names.append(next((name for name, each in self.actors[role].items() if each.id == wanted), str(wanted)))
        return names[0], names[1]


def look(control: Control, caller: Caller, workspace_id: UUID | None) -> Situation:
    """The named workspace, or the only one. Raises ``config`` when names in it are not unique."""
    workspace_id = _workspace(control, caller, workspace_id)
    everything = Page(limit=None)
    with control.database.read() as transaction:
        record = Record.load(transaction, workspace_id)
    found = Situation(workspace_id=workspace_id, record=record)
    roles: tuple[ActorRole, ...] = ("source", "destination")
    for role in roles:
        listed = actors.list_actors(control, caller, role, workspace_ids=[workspace_id], page=everything)
        found.actors[role] = _by_name(role, listed.items, record)
    stored = connections.list_connections(control, caller, workspace_ids=[workspace_id], page=everything)
    found.connections = _by_name("connection", stored.items, record)
    return found


def make_plan(
    control: Control, caller: Caller, situation: Situation, document: Mapping[str, Any], *, prune: bool
) -> Plan:
    """Raises ``config`` for a document that could not be applied."""
    caller.require(Role.EDITOR, situation.workspace_id)
    changes: list[Change] = []
    unchanged = 0
    roles: tuple[ActorRole, ...] = ("source", "destination")
    for role in roles:
        for name, wanted in document[f"{role}s"].items():
            change = _actor_change(control, caller, role, name, wanted, situation.actors[role].get(name))
            changes += [] if change is None else [change]
            unchanged += change is None
    blocks = {name: block_of(name, each) for name, each in document["connections"].items()}
    values = {name: values_of(name, block) for name, block in blocks.items()}
    for name, block in blocks.items():
        _check_ends(name, block, document)
        _check_parents(name, values[name].after_names, blocks)
    in_order(values)
    for name, block in blocks.items():
        change = _connection_change(situation, name, block)
        changes += [] if change is None else [change]
        unchanged += change is None
    removed, left_alone = _removals(situation, document, prune=prune)
    return Plan(
        workspace_id=situation.workspace_id,
        changes=(*changes, *removed),
        unchanged=unchanged,
        left_alone=left_alone,
    )


def _workspace(control: Control, caller: Caller, workspace_id: UUID | None) -> UUID:
    if workspace_id is not None:
        return workspaces.get(control, caller, workspace_id).id
    found = workspaces.list_workspaces(control, caller, page=Page(limit=2)).items
    if len(found) != 1:
        raise SynclineError(
            ErrorKind.CONFIG, "there is more than one workspace" if found else "there is no workspace", hint="name one"
        )
    return found[0].id


def _by_name(noun: Noun, things: Iterable[Any], record: Record) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for each in things:
        other = found.get(each.name)
        ours = record.known[noun].get(each.name)
        if other is None or (ours is not None and ours.id == each.id):
            found[each.name] = each
        elif ours is None or ours.id != other.id:
            raise SynclineError(
                ErrorKind.CONFIG,
                f"the workspace has two {noun}s of the name {each.name!r}",
                hint="rename one: a document tells things apart by their names",
            )
    return found


def _actor_change(
    control: Control, caller: Caller, role: ActorRole, name: str, wanted: Mapping[str, Any], actor: Actor | None
) -> Change | None:
    definition = definitions.for_type(role, str(wanted["type"]))
    where = f"{role}s.{name}"
    try:
        if actor is None:
            actors.prepared(control, definition, wanted["config"], {})
            return Change(action="create", noun=role, name=name, details=(f"type {wanted['type']}",))
        if actor.connector != definitions.connector_of(definition).name:
            raise invalid("type", f"cannot be changed from {actor.type_name}", hint="give it another name")
        old = actors.stored_secrets(control, actor)
        masked, secrets = actors.prepared(control, definition, wanted["config"], old)
    except SynclineError as error:
        raise error.at(key=where) from None
    details = differences(actor.configuration, masked)
    details += [
        f"{place.strip('/').replace('/', '.')}: another secret"
        for place in sorted({*secrets, *old})
        if secrets.get(place) != old.get(place)
    ]
    if not details:
        return None
    return Change(
        action="change",
        noun=role,
        name=name,
        details=tuple(dict.fromkeys(details)),
        effects=actor_effects(role, details),
    )


def _check_ends(name: str, block: ConnectionBlock, document: Mapping[str, Any]) -> None:
    for role in ("source", "destination"):
        wanted, known = getattr(block, role), document[f"{role}s"]
        if wanted not in known:
            near = nearest(wanted, list(known))
            raise invalid(
                f"connections.{name}.{role}",
                f"names {wanted!r}, which is not under {role}s",
                hint=f"did you mean {near!r}?" if near else f"{role}s has: {', '.join(known) or 'nothing'}",
            )


def _check_parents(name: str, parents: Iterable[str], blocks: Mapping[str, ConnectionBlock]) -> None:
    for parent in parents:
        if parent not in blocks:
            near = nearest(parent, list(blocks))
            raise invalid(
                f"connections.{name}.after",
                f"names {parent!r}, which is not under connections",
                hint=f"did you mean {near!r}?" if near else "",
            )


def _connection_change(situation: Situation, name: str, block: ConnectionBlock) -> Change | None:
    stored = situation.connections.get(name)
    if stored is None:
        details = (f"{block.source} -> {block.destination}", *_when(block))
        return Change(
            action="create", noun="connection", name=name, details=details, effects=("its first run reads everything",)
        )
    ends = situation.ends_of(stored)
    if ends != (block.source, block.destination):
        return Change(
            action="replace",
            noun="connection",
            name=name,
            details=(f"{ends[0]} -> {ends[1]} becomes {block.source} -> {block.destination}",),
            effects=("everything is read again; what the former one has written stays where it is",),
        )
    before = stored_json(stored, {each.id: each.name for each in situation.connections.values()})
    after = block_json(block)
    details_ = differences(before, after)
    if not details_:
        return None
    return Change(
        action="change",
        noun="connection",
        name=name,
        details=tuple(details_),
        effects=connection_effects(before, after),
    )


def _when(block: ConnectionBlock) -> tuple[str, ...]:
    if block.after is not None:
        return ("after: " + ", ".join((*(block.after.all or ()), *(block.after.any or ()))),)
    return (f"schedule: {block.schedule}",) if block.schedule else ()


def _removals(
    situation: Situation, document: Mapping[str, Any], *, prune: bool
) -> tuple[list[Change], tuple[str, ...]]:
    removed: list[Change] = []
    left: list[str] = []
    nouns: tuple[tuple[Noun, Mapping[str, Any]], ...] = (
        ("connection", situation.connections),
        ("source", situation.actors["source"]),
        ("destination", situation.actors["destination"]),
    )
    for noun, things in nouns:
        for name, thing in things.items():
            if name in document[f"{noun}s"]:
                continue
            ours = situation.record.known[noun].get(name)
            if not prune and (ours is None or ours.id != thing.id):
                left.append(f"{noun} {name}")
                continue
            used = [
                each.name
                for each in situation.connections.values()
                if thing.id in (each.source_id, each.destination_id)
            ]
            kept = [
                each
                for each in used
                if each not in document["connections"] and not prune and not _ours(situation, each)
            ]
            if kept:
                left.append(f"{noun} {name} (used by connection {kept[0]})")
                continue
            removed.append(Change(action="remove", noun=noun, name=name, effects=REMOVED[noun]))
    return removed, tuple(left)


def _ours(situation: Situation, name: str) -> bool:
    known = situation.record.known["connection"].get(name)
    return known is not None and known.id == situation.connections[name].id
