"""Use cases of definitions: which connectors there are, under the names and identifiers that clients know.

Connectors that Airbyte has too carry Airbyte's own identifiers (a data file), because clients send them; ours carry
identifiers made from their names. A workspace may define connectors of its own.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any, cast
from uuid import UUID, uuid5

from pydantic import BaseModel

from syncline import __version__
from syncline.core.errors import ErrorKind, SynclineError, nearest
from syncline.sdk.connector import ConnectorSpec, connector, connectors
from syncline.sdk.low_code import checked_manifest, manifest_model, manifest_spec
from syncline.service import audit
from syncline.service.callers import Caller, Role
from syncline.service.changes import UNSET, Unset, given, kept
from syncline.service.control import Control
from syncline.service.errors import NotFoundError
from syncline.service.inputs import checked_json, checked_name, checked_text
from syncline.store import definitions as rows
from syncline.store import workspaces
from syncline.store.database import Transaction
from syncline.store.schema import new_id, now
from syncline.store.values import ActorRole, CustomDefinition

__all__ = [
    "Definition",
    "DefinitionChange",
    "NewDefinition",
    "connector_of",
    "create",
    "delete",
    "for_type",
    "get",
    "list_definitions",
    "model_of",
    "specification",
    "type_of",
    "update",
    "within",
]

#: Identifiers of connectors that Airbyte does not have are made from their names below this one.
_OURS = UUID("5d0b7a3e-8a1c-4f0e-9d6b-2c7f4e1a9b35")


@dataclass(frozen=True, kw_only=True)
class Definition:
    """A connector in one role. ``type_name`` is what ``sourceType`` and ``destinationType`` say; ``connector`` is ours,
    None where a custom definition names an image that nothing here can stand for. ``airbyte``: its ``type_name`` is one
    of Airbyte's."""

    id: UUID
    role: ActorRole
    name: str
    type_name: str
    connector: str | None
    docker_repository: str
    docker_image_tag: str
    documentation_url: str | None = None
    workspace_id: UUID | None = None
    manifest: dict[str, Any] | None = None
    airbyte: bool = True

    @property
    def custom(self) -> bool:
        return self.workspace_id is not None


@dataclass(frozen=True, kw_only=True)
class NewDefinition:
    """A docker image, or a low-code manifest."""

    name: str
    docker_repository: str = ""
    docker_image_tag: str = ""
    documentation_url: str | None = None
    manifest: dict[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class DefinitionChange:
    """What to change of a custom definition."""

    name: str | Unset = UNSET
    docker_image_tag: str | Unset = UNSET
    documentation_url: str | Unset | None = UNSET
    manifest: dict[str, Any] | Unset | None = UNSET


@lru_cache(maxsize=1)
def _file() -> tuple[dict[str, str], ...]:
    text = resources.files("syncline.service").joinpath("airbyte_definitions.json").read_text(encoding="utf-8")
    return tuple(json.loads(text))


def _built_in(role: ActorRole) -> list[Definition]:
    """Of every installed connector: under each of Airbyte's types that it can stand for, else under its own name."""
    installed = connectors(role)
    known = [row for row in _file() if row["role"] == role and row.get("connector", row["type"]) in installed]
    found = [
        Definition(
            id=UUID(row["id"]),
            role=role,
            name=row["name"],
            type_name=row["type"],
            connector=row.get("connector", row["type"]),
            docker_repository=f"airbyte/{role}-{row['type']}",
            docker_image_tag=__version__,
        )
        for row in known
    ]
    own = [spec for name, spec in installed.items() if name not in {row["type"] for row in known}]
    return found + [_own(role, spec) for spec in own]


def _own(role: ActorRole, spec: ConnectorSpec) -> Definition:
    return Definition(
        id=uuid5(_OURS, f"{role}/{spec.name}"),
        role=role,
        name=spec.title,
        type_name=spec.name,
        connector=spec.name,
        docker_repository=f"syncline/{role}-{spec.name}",
        docker_image_tag=__version__,
        airbyte=False,
    )


def _custom(row: CustomDefinition) -> Definition:
    """An image of Airbyte's under another tag is the connector that we have for it, a manifest airbyte-cdk's."""
    if row.manifest is not None:
        return _declared(row)
    image = row.docker_repository.rpartition("/")[2].removesuffix("-strict-encrypt")
    stands = next((d for d in _built_in(row.role) if d.docker_repository.rpartition("/")[2] == image), None)
    return Definition(
        id=row.id,
        role=row.role,
        name=row.name,
        type_name=stands.type_name if stands else "custom",
        connector=stands.connector if stands else None,
        docker_repository=row.docker_repository,
        docker_image_tag=row.docker_image_tag,
        documentation_url=row.documentation_url,
        workspace_id=row.workspace_id,
        airbyte=stands.airbyte if stands else False,
    )


def _declared(row: CustomDefinition) -> Definition:
    return Definition(
        id=row.id,
        role=row.role,
        name=row.name,
        type_name="custom",
        connector="airbyte" if row.role == "source" and "airbyte" in connectors("source") else None,
        docker_repository=row.docker_repository,
        docker_image_tag=row.docker_image_tag,
        documentation_url=row.documentation_url,
        workspace_id=row.workspace_id,
        manifest=dict(row.manifest or {}),
        airbyte=False,
    )


def list_definitions(
    control: Control, caller: Caller, role: ActorRole, workspace_id: UUID | None = None
) -> list[Definition]:
    """The built-in ones by name, then those of the workspace (None: of all that the caller may read)."""
    only = caller.workspaces()
    if workspace_id is not None:
        caller.require(Role.READER, workspace_id)
        only = frozenset([workspace_id])
    with control.database.read() as transaction:
        custom = rows.list_definitions(transaction, role=role, only=only)
    return sorted(_built_in(role), key=lambda d: (d.name, d.type_name)) + [_custom(row) for row in custom]


def get(control: Control, caller: Caller, role: ActorRole, definition_id: UUID) -> Definition:
    """By its identifier. Raises "not found"."""
    found = _built_in_by_id(role, definition_id)
    if found is not None:
        return found
    with control.database.read() as transaction:
        return within(transaction, caller, role, definition_id)


def within(transaction: Transaction, caller: Caller, role: ActorRole, definition_id: UUID) -> Definition:
    """As :func:`get`, in a transaction that is open."""
    found = _built_in_by_id(role, definition_id)
    if found is not None:
        return found
    row = rows.find(transaction, definition_id)
    if row is not None and row.role == role and row.deleted_at is None and caller.may(Role.READER, row.workspace_id):
        return _custom(row)
    known = next((row for row in _file() if row["role"] == role and row["id"] == str(definition_id)), None)
    if known is not None:
        raise _not_installed(role, known["type"])
    raise NotFoundError(f"{role} definition", definition_id)


def _built_in_by_id(role: ActorRole, definition_id: UUID) -> Definition | None:
    return next((d for d in _built_in(role) if d.id == definition_id), None)


def for_type(role: ActorRole, type_name: str) -> Definition:
    """The built-in definition that ``sourceType`` or ``destinationType`` names. Raises ``config`` with the nearest."""
    wanted = type_name.removeprefix(f"{role}-")
    built_in = _built_in(role)
    found = next((d for d in built_in if d.type_name == wanted), None)
    found = found or next((d for d in built_in if d.connector == wanted), None)
    if found is not None:
        return found
    if any(row["role"] == role and row["type"] == wanted for row in _file()):
        raise _not_installed(role, wanted)
    names = sorted({d.type_name for d in built_in})
    near = nearest(wanted, names)
    raise SynclineError(
        ErrorKind.CONFIG,
        f"there is no {role} connector {type_name!r}",
        hint=f"did you mean {near!r}?" if near else f"known: {', '.join(names)}",
    )


def type_of(role: ActorRole, definition_id: str) -> str | None:
    """The type that Airbyte's own definition of that id stands for, installed here or not."""
    return next((row["type"] for row in _file() if row["role"] == role and row["id"] == definition_id.lower()), None)


def _not_installed(role: ActorRole, type_name: str) -> SynclineError:
    return SynclineError(
        ErrorKind.CONFIG,
        f"the {role} connector {type_name!r} is not installed on this server",
        hint="see: syncline connectors list",
    )


def connector_of(definition: Definition) -> ConnectorSpec:
    """Our connector for a definition. Raises ``config`` when nothing here can run it."""
    if definition.connector is None:
        raise SynclineError(
            ErrorKind.CONFIG,
            f"this server cannot run {definition.docker_repository or definition.name}",
            hint=f"define it by the image of a connector that is installed: {', '.join(connectors(definition.role))}",
        )
    return connector(definition.role, definition.connector)


def specification(definition: Definition) -> dict[str, Any]:
    """The JSON schema of its configuration, with ``airbyte_secret`` at its secrets."""
    if definition.manifest is not None:
        return manifest_spec(definition.manifest)
    schema = connector_of(definition).config_model().model_json_schema()
    return cast("dict[str, Any]", _secrets_named(schema))


def model_of(definition: Definition) -> type[BaseModel]:
    """What knows which of its settings are secrets."""
    if definition.manifest is not None:
        return manifest_model(definition.manifest)
    return connector_of(definition).config_model()


def _secrets_named(value: Any) -> Any:
    if isinstance(value, dict):
        named = {key: _secrets_named(each) for key, each in value.items()}
        return named | {"airbyte_secret": True} if value.get("format") == "password" else named
    return [_secrets_named(each) for each in value] if isinstance(value, list) else value


def create(
    control: Control,
    caller: Caller,
    role: ActorRole,
    workspace_id: UUID,
    new: NewDefinition,
    definition_id: UUID | None = None,
) -> Definition:
    """A definition of the workspace's own. An editor's right."""
    caller.require(Role.EDITOR, workspace_id)
    at = now()
    row = CustomDefinition(
        id=definition_id or new_id(),
        role=role,
        workspace_id=workspace_id,
        name=checked_name("name", new.name),
        docker_repository=checked_text("dockerRepository", new.docker_repository, length=1000),
        docker_image_tag=checked_text("dockerImageTag", new.docker_image_tag, length=1000),
        documentation_url=None if new.documentation_url is None else checked_text("url", new.documentation_url),
        manifest=None if new.manifest is None else _checked(new.manifest),
        created_at=at,
        updated_at=at,
    )
    with control.database.write() as transaction:
        workspace = workspaces.find(transaction, workspace_id)
        if workspace is None or workspace.deleted_at is not None:
            raise NotFoundError("workspace", workspace_id)
        rows.add(transaction, row)
        audit.record(transaction, caller, "create", "definition", row.id, workspace_id, after=_told(row))
    return _custom(row)


def update(
    control: Control,
    caller: Caller,
    role: ActorRole,
    definition_id: UUID,
    change: DefinitionChange,
) -> Definition:
    """Raises ``permission`` for a built-in one."""
    with control.database.write() as transaction:
        row = _own_row(transaction, caller, role, definition_id)
        manifest = change.manifest
        values = given(
            name=checked_name("name", kept(change.name, row.name)),
            docker_image_tag=checked_text("dockerImageTag", kept(change.docker_image_tag, row.docker_image_tag)),
            documentation_url=change.documentation_url,
            manifest=manifest if isinstance(manifest, Unset) or manifest is None else _checked(manifest),
        )
        after = rows.change(transaction, definition_id, **values)
        audit.record(
            transaction, caller, "update", "definition", definition_id, row.workspace_id, _told(row), _told(after)
        )
    return _custom(after)


def _checked(manifest: dict[str, Any]) -> dict[str, Any]:
    return checked_manifest(checked_json("manifest", manifest))


def delete(control: Control, caller: Caller, role: ActorRole, definition_id: UUID) -> Definition:
    """Sources and destinations that use it stay and cannot be checked or synced any more."""
    with control.database.write() as transaction:
        row = _own_row(transaction, caller, role, definition_id)
        rows.change(transaction, definition_id, deleted_at=now())
        audit.record(transaction, caller, "delete", "definition", definition_id, row.workspace_id, before=_told(row))
    return _custom(row)


def _own_row(transaction: Transaction, caller: Caller, role: ActorRole, definition_id: UUID) -> CustomDefinition:
    if any(d.id == definition_id for d in _built_in(role)):
        raise SynclineError(
            ErrorKind.PERMISSION, "a built-in definition cannot be changed", hint="make one of your own"
        )
    row = rows.find(transaction, definition_id)
    if row is None or row.role != role or row.deleted_at is not None or not caller.may(Role.READER, row.workspace_id):
        raise NotFoundError(f"{role} definition", definition_id)
    caller.require(Role.EDITOR, row.workspace_id)
    return row


def _told(row: CustomDefinition) -> dict[str, Any]:
    """For the audit log. A manifest may hold what people wrote into it, so only that there is one."""
    return {
        "role": row.role,
        "name": row.name,
        "docker_repository": row.docker_repository,
        "docker_image_tag": row.docker_image_tag,
        "manifest": row.manifest is not None,
    }
