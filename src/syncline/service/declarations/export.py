"""A workspace as a document: what was applied as it was written, everything else as the store has it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from syncline.service import definitions
from syncline.service.airbyte_config import type_key
from syncline.service.callers import Caller
from syncline.service.control import Control
from syncline.service.declarations.connection_values import stored_json
from syncline.service.declarations.plan import Situation, look
from syncline.store.values import Actor, ActorRole

__all__ = ["export"]


def export(control: Control, caller: Caller, workspace_id: UUID | None) -> dict[str, Any]:
    """Never holds a secret: ``**********`` stands for one, and means "unchanged" when the document is applied to the
    same server."""
    situation = look(control, caller, workspace_id)
    found: dict[str, Any] = {}
    roles: tuple[ActorRole, ...] = ("source", "destination")
    for role in roles:
        things = situation.actors[role]
        found[f"{role}s"] = {name: _actor(control, caller, situation, each) for name, each in things.items()}
    names = {each.id: each.name for each in situation.connections.values()}
    found["connections"] = {}
    for name, each in situation.connections.items():
        written = situation.record.written("connection", each.id, each.updated_at)
        source, destination = situation.ends_of(each)
        found["connections"][name] = dict(
            written or {"source": source, "destination": destination, **stored_json(each, names)}
        )
    return found


def _actor(control: Control, caller: Caller, situation: Situation, actor: Actor) -> dict[str, Any]:
    written = situation.record.written(actor.role, actor.id, actor.updated_at)
    if written is not None:
        return {"type": written["type"], "config": written["config"]}
    definition = definitions.get(control, caller, actor.role, actor.definition_id)
    key = type_key(actor.role)
    config = {name: value for name, value in actor.configuration.items() if name != key}
    return {"type": definition.type_name, "config": config}
