"""Use cases of sources and destinations.

A configuration is stored as the client sent it, under Airbyte's field names and with a mask at each secret; the secrets
are sealed apart. It is checked against the connector's model and never tried against the database: no call here waits
for anybody else.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from syncline.core.errors import ErrorKind, SynclineError
from syncline.sdk.interpolation import literal
from syncline.sdk.reference import check_config
from syncline.service import airbyte_config, audit, definitions, references
from syncline.service.callers import Caller, Role
from syncline.service.changes import UNSET, Unset
from syncline.service.control import Control
from syncline.service.definitions import Definition
from syncline.service.errors import NotFoundError, invalid
from syncline.service.inputs import checked_json, checked_name, checked_number
from syncline.service.programs import ensure_no_program
from syncline.service.secrets.masking import fill, split
from syncline.store import actors as rows
from syncline.store import connections, secrets, workspaces
from syncline.store.database import Transaction
from syncline.store.paging import Listed, Page
from syncline.store.schema import new_id, now
from syncline.store.values import Actor, ActorRole

__all__ = [
    "ActorChange",
    "NewActor",
    "clear_configuration",
    "clear_within",
    "clone",
    "create",
    "delete",
    "get",
    "list_actors",
    "prepared",
    "remove",
    "replace",
    "stored_secrets",
    "tried",
    "untried",
    "update",
]

#: When one of these differs, an object is another form of itself and takes nothing over from the former one.
_DISCRIMINATORS = (
    "method",
    "mode",
    "tunnel_method",
    "format_type",
    "filetype",
    "compression_type",
    "auth_type",
    "type",
)


@dataclass(frozen=True, kw_only=True)
class NewActor:
    """The connector is named by ``definition_id``, or else by ``sourceType`` or ``destinationType`` within the
    configuration."""

    workspace_id: UUID
    name: str
    configuration: Mapping[str, Any]
    definition_id: UUID | None = None
    resource_allocation: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class ActorChange:
    """What to change. ``configuration`` is laid over the stored one: keys that are not sent stay, a null removes one,
    a mask keeps the secret. ``max_jobs``: how many jobs may use it at once, None without limit."""

    name: str | Unset = UNSET
    configuration: Mapping[str, Any] | Unset = UNSET
    resource_allocation: Mapping[str, Any] | Unset | None = UNSET
    max_jobs: int | Unset | None = UNSET


def get(control: Control, caller: Caller, role: ActorRole, actor_id: UUID) -> Actor:
    """Raises "not found" when there is none, it is deleted, or the caller may not see it."""
    with control.database.read() as transaction:
        return _found(transaction, caller, role, actor_id)


def list_actors(
    control: Control,
    caller: Caller,
    role: ActorRole,
    *,
    workspace_ids: Collection[UUID] = (),
    include_deleted: bool = False,
    name: str | None = None,
    definition_id: UUID | None = None,
    page: Page | None = None,
) -> Listed[Actor]:
    """In the order of their making; of all workspaces that the caller may read when none is named."""
    with control.database.read() as transaction:
        return rows.list_actors(
            transaction,
            role=role,
            workspaces=caller.among(frozenset(workspace_ids)),
            name=name,
            definition_id=definition_id,
            include_deleted=include_deleted,
            page=page or Page(),
        )


def create(control: Control, caller: Caller, role: ActorRole, new: NewActor) -> Actor:
    """An editor's right. Raises ``config`` for a connector that is not there and a configuration that it refuses."""
    caller.require(Role.EDITOR, new.workspace_id)
    definition = _definition(control, caller, role, new)
    masked, clear = prepared(control, definition, new.configuration, {})
    at = now()
    actor = Actor(
        id=new_id(),
        role=role,
        workspace_id=new.workspace_id,
        definition_id=definition.id,
        type_name=definition.type_name,
        connector=definitions.connector_of(definition).name,
        name=checked_name("name", new.name),
        configuration=masked,
        secret_id=new_id() if clear else None,
        resource_allocation=_allocation(new.resource_allocation),
        created_at=at,
        updated_at=at,
    )
    with control.database.write() as transaction:
        workspace = workspaces.find(transaction, new.workspace_id)
        if workspace is None or workspace.deleted_at is not None:
            raise NotFoundError("workspace", new.workspace_id)
        if actor.secret_id is not None:
            secrets.add(transaction, control.secrets.seal(actor.secret_id, clear))
        rows.add(transaction, actor)
        audit.record(transaction, caller, "create", role, actor.id, actor.workspace_id, after=_told(actor))
    return actor


def update(control: Control, caller: Caller, role: ActorRole, actor_id: UUID, change: ActorChange) -> Actor:
    """PATCH. Raises as :func:`create`, and "not found"."""
    return _changed(control, caller, role, actor_id, change, whole=False)


def replace(
    control: Control,
    caller: Caller,
    role: ActorRole,
    actor_id: UUID,
    *,
    name: str,
    configuration: Mapping[str, Any],
    resource_allocation: Mapping[str, Any] | Unset | None = UNSET,
) -> Actor:
    """PUT: the whole configuration anew. A mask still keeps the secret at its place."""
    change = ActorChange(name=name, configuration=configuration, resource_allocation=resource_allocation)
    return _changed(control, caller, role, actor_id, change, whole=True)


def clone(control: Control, caller: Caller, role: ActorRole, actor_id: UUID, name: str | None = None) -> Actor:
    """A copy with secrets of its own."""
    actor = get(control, caller, role, actor_id)
    new = NewActor(
        workspace_id=actor.workspace_id,
        name=name or f"{actor.name} (Copy)",
        configuration=clear_configuration(control, actor),
        definition_id=actor.definition_id,
        resource_allocation=actor.resource_allocation,
    )
    return create(control, caller, role, new)


def delete(control: Control, caller: Caller, role: ActorRole, actor_id: UUID) -> None:
    """Its secrets are gone at once; its connections are deleted with it."""
    with control.database.write() as transaction:
        actor = _found(transaction, caller, role, actor_id, lock=True)
        caller.require(Role.EDITOR, actor.workspace_id)
        remove(transaction, caller, actor)


def remove(transaction: Transaction, caller: Caller, actor: Actor) -> None:
    """Delete an actor and its connections within a transaction; the caller's right was checked."""
    at = now()
    for connection in connections.of_actor(transaction, actor.role, actor.id):
        connections.mark_deleted(transaction, connection.id)
        audit.record(transaction, caller, "delete", "connection", connection.id, connection.workspace_id)
    rows.change(transaction, actor.id, deleted_at=at, secret_id=None)
    if actor.secret_id is not None:
        secrets.remove(transaction, actor.secret_id)
    audit.record(transaction, caller, "delete", actor.role, actor.id, actor.workspace_id, before=_told(actor))


def clear_configuration(control: Control, actor: Actor) -> dict[str, Any]:
    """The configuration with its secrets. Only for handing it to a process that opens the connector."""
    with control.database.read() as transaction:
        return clear_within(control, transaction, actor)


def clear_within(control: Control, transaction: Transaction, actor: Actor) -> dict[str, Any]:
    """As :func:`clear_configuration`, within a transaction: for checking it as a whole."""
    return fill(actor.configuration, _opened(control, transaction, actor))


def stored_secrets(control: Control, actor: Actor) -> dict[str, Any]:
    """Its secrets in clear, by their place: to compare them, or to keep them where a mask stands."""
    with control.database.read() as transaction:
        return _opened(control, transaction, actor)


def untried(control: Control, caller: Caller, role: ActorRole, new: NewActor) -> tuple[Definition, dict[str, Any]]:
    """The connector and the configuration, in clear, of an actor that is not made."""
    definition = _definition(control, caller, role, new)
    masked, clear = prepared(control, definition, new.configuration, {})
    return definition, fill(masked, clear)


def tried(
    control: Control, caller: Caller, actor: Actor, configuration: Mapping[str, Any]
) -> tuple[Definition, dict[str, Any]]:
    """The same of an actor that is not changed, as if its configuration were laid over by this one."""
    definition = definitions.get(control, caller, actor.role, actor.definition_id)
    with control.database.read() as transaction:
        old = _opened(control, transaction, actor)
    sent = _laid_over(actor.configuration, airbyte_config.canonical(definition, configuration))
    masked, clear = prepared(control, definition, sent, old)
    return definition, fill(masked, clear)


def prepared(
    control: Control, definition: Definition, configuration: Mapping[str, Any], old: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """A configuration that was sent, checked: as it is stored and answered, and its secrets by place. ``old`` are the
    secrets stored so far. Raises ``config``."""
    named = airbyte_config.canonical(definition, checked_json("configuration", configuration))
    spec = definitions.connector_of(definition)
    masked, clear = split((definitions.model_of(definition),), named, old)
    whole = fill(masked, clear)
    references.check(control.settings, whole)
    config = airbyte_config.connector_config(definition, whole)
    check_config(spec, literal(config), definition.role)
    ensure_no_program(spec.config_model(), config, control.settings.jobs)
    return airbyte_config.completed(definition, masked), clear


def _changed(
    control: Control,
    caller: Caller,
    role: ActorRole,
    actor_id: UUID,
    change: ActorChange,
    *,
    whole: bool,
) -> Actor:
    # Looked up first: checking against a connector's model imports it, and no transaction waits for that.
    before = get(control, caller, role, actor_id)
    caller.require(Role.EDITOR, before.workspace_id)
    definition = definitions.get(control, caller, role, before.definition_id)
    definitions.connector_of(definition).config_model()
    with control.database.write() as transaction:
        actor = _found(transaction, caller, role, actor_id, lock=True)
        values: dict[str, Any] = {}
        if not isinstance(change.name, Unset):
            values["name"] = checked_name("name", change.name)
        if not isinstance(change.resource_allocation, Unset):
            values["resource_allocation"] = _allocation(change.resource_allocation)
        if not isinstance(change.max_jobs, Unset):
            values["max_jobs"] = (
                None if change.max_jobs is None else checked_number("maxJobs", change.max_jobs, least=1)
            )
        if not isinstance(change.configuration, Unset):
            values |= _new_configuration(control, transaction, definition, actor, change.configuration, whole=whole)
        after = rows.change(transaction, actor_id, **values) if values else actor
        audit.record(transaction, caller, "update", role, actor_id, actor.workspace_id, _told(actor), _told(after))
    return after


def _new_configuration(
    control: Control,
    transaction: Transaction,
    definition: Definition,
    actor: Actor,
    sent: Mapping[str, Any],
    *,
    whole: bool,
) -> dict[str, Any]:
    """The columns of an actor that a new configuration changes; its secrets are sealed on the way."""
    old = _opened(control, transaction, actor)
    key = airbyte_config.type_key(actor.role)
    if sent.get(key) not in (None, actor.type_name, actor.connector):
        raise invalid(f"configuration.{key}", "cannot be changed", hint=f"make a new {actor.role}")
    if not whole:
        sent = _laid_over(actor.configuration, airbyte_config.canonical(definition, sent))
    masked, clear = prepared(control, definition, sent, old)
    secret_id = actor.secret_id
    if secret_id is not None:  # also when there are none any more: the old ones go
        secrets.replace(transaction, control.secrets.seal(secret_id, clear))
    elif clear:
        secret_id = new_id()
        secrets.add(transaction, control.secrets.seal(secret_id, clear))
    return {"configuration": masked, "secret_id": secret_id}


def _laid_over(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(old)
    for key, value in new.items():
        before = found.get(key)
        if value is None:
            found.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(before, Mapping) and _same_form(before, value):
            found[key] = _laid_over(before, value)
        else:
            found[key] = value
    return found


def _same_form(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    return all(after[key] == before.get(key) for key in _DISCRIMINATORS if key in after)


def _opened(control: Control, transaction: Transaction, actor: Actor) -> dict[str, Any]:
    if actor.secret_id is None:
        return {}
    row = secrets.find(transaction, actor.secret_id)
    if row is None:
        raise SynclineError(
            ErrorKind.CONFIG,
            f"the secrets of {actor.role} {actor.name!r} are missing in the store",
            hint="write them again",
        )
    return control.secrets.open(row)


def _found(
    transaction: Transaction,
    caller: Caller,
    role: ActorRole,
    actor_id: UUID,
    *,
    lock: bool = False,
) -> Actor:
    actor = rows.find(transaction, actor_id, lock=lock)
    if actor is None or actor.role != role or actor.deleted_at is not None:
        raise NotFoundError(role, actor_id)
    if not caller.may(Role.READER, actor.workspace_id):
        raise NotFoundError(role, actor_id)
    return actor


def _definition(control: Control, caller: Caller, role: ActorRole, new: NewActor) -> Definition:
    if new.definition_id is not None:
        return definitions.get(control, caller, role, new.definition_id)
    key = airbyte_config.type_key(role)
    named = new.configuration.get(key)
    if not isinstance(named, str):
        raise invalid(
            f"configuration.{key}", "is missing, and so is definitionId", hint="one of them names the connector"
        )
    return definitions.for_type(role, named)


def _allocation(value: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if value is None:
        return None
    found: dict[str, Any] = checked_json("resourceAllocation", value)
    return found


def _told(actor: Actor) -> dict[str, Any]:
    """For the audit log: secrets are masks in the configuration already. ``secrets`` changes when one of them does."""
    return {
        "name": actor.name,
        "definition_id": str(actor.definition_id),
        "configuration": dict(actor.configuration),
        "max_jobs": actor.max_jobs,
    }
