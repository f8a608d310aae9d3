"""Use cases of connections: what to sync, from where to where, and when."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from syncline.engine.evolution.policy import Contract
from syncline.jobs.schedule import next_due
from syncline.sdk.interpolation import literal
from syncline.sdk.mapping import checked_blocks
from syncline.sdk.reference import check_config
from syncline.service import airbyte_config, audit, definitions, fanned, probes, references
from syncline.service.actors import clear_within
from syncline.service.callers import Caller, Role
from syncline.service.changes import UNSET, Unset, kept
from syncline.service.control import Control
from syncline.service.errors import NotFoundError, invalid
from syncline.service.inputs import checked_json, checked_name, checked_number, checked_text
from syncline.service.stream_configs import MODES, SHORT_MODES, checked_streams, placed
from syncline.store import actors, tags
from syncline.store import connections as rows
from syncline.store.database import Transaction
from syncline.store.paging import Listed, Page
from syncline.store.schema import new_id, now
from syncline.store.values import (
    Actor,
    ActorRole,
    ConnectionOptions,
    ConnectionStatus,
    NamespaceDefinition,
    NonBreakingUpdates,
    Schedule,
    StoredConnection,
    StreamConfig,
    Tag,
)

__all__ = [
    "ConnectionChange",
    "NewConnection",
    "check_options",
    "create",
    "delete",
    "found",
    "get",
    "list_connections",
    "update",
]

_ENDINGS = ("success", "failure", "any")
#: A hundred years of each unit: more is a mistake.
_MOST_UNITS = {"minutes": 52_560_000, "hours": 876_000, "days": 36_500, "weeks": 5_200, "months": 1_200}
#: Looking for files less often than once a year is one too.
_MOST_SECONDS = 366 * 86_400


@dataclass(frozen=True, kw_only=True)
class NewConnection:
    """What is None gets Airbyte's default. ``streams`` None or empty: all of the source's. ``key`` (default: the id)
    names the connection in the ledger; give that of a project file's connection to go on where it was."""

    source_id: UUID
    destination_id: UUID
    name: str | None = None
    status: ConnectionStatus | None = None
    schedule: Schedule | None = None
    streams: Sequence[StreamConfig] | None = None
    namespace_definition: NamespaceDefinition | None = None
    namespace_format: str | None = None
    prefix: str | None = None
    non_breaking_updates: NonBreakingUpdates | None = None
    tag_ids: Sequence[UUID] = ()
    options: ConnectionOptions | None = None
    key: str | None = None


@dataclass(frozen=True, kw_only=True)
class ConnectionChange:
    """What to change; source, destination and key stay for ever."""

    name: str | Unset = UNSET
    status: ConnectionStatus | Unset = UNSET
    status_reason: str | Unset | None = UNSET
    schedule: Schedule | Unset = UNSET
    streams: Sequence[StreamConfig] | Unset | None = UNSET
    namespace_definition: NamespaceDefinition | Unset = UNSET
    namespace_format: str | Unset | None = UNSET
    prefix: str | Unset = UNSET
    non_breaking_updates: NonBreakingUpdates | Unset = UNSET
    tag_ids: Sequence[UUID] | Unset = UNSET
    options: ConnectionOptions | Unset = UNSET


def get(control: Control, caller: Caller, connection_id: UUID) -> StoredConnection:
    """Raises "not found" when there is none, it is deleted, or the caller may not see it."""
    with control.database.read() as transaction:
        return found(transaction, caller, connection_id)


def found(transaction: Transaction, caller: Caller, connection_id: UUID, *, lock: bool = False) -> StoredConnection:
    """As :func:`get`, within a transaction."""
    connection = rows.find(transaction, connection_id, lock=lock)
    if connection is None or connection.deleted_at is not None or not caller.may(Role.READER, connection.workspace_id):
        raise NotFoundError("connection", connection_id)
    return connection


def list_connections(
    control: Control,
    caller: Caller,
    *,
    workspace_ids: Collection[UUID] = (),
    tag_ids: Collection[UUID] = (),
    source_id: UUID | None = None,
    destination_id: UUID | None = None,
    include_deleted: bool = False,
    name: str | None = None,
    page: Page | None = None,
) -> Listed[StoredConnection]:
    """In the order of their making; of all workspaces that the caller may read when none is named."""
    with control.database.read() as transaction:
        return rows.list_connections(
            transaction,
            workspaces=caller.among(frozenset(workspace_ids)),
            source_id=source_id,
            destination_id=destination_id,
            tag_ids=tag_ids,
            name=name,
            include_deleted=include_deleted,
            page=page or Page(),
        )


def create(control: Control, caller: Caller, new: NewConnection) -> StoredConnection:
    """An editor's right. Connects to nothing; the source's catalog is fetched soon after, in the background."""
    with control.database.write() as transaction:
        source = _actor(transaction, caller, "source", new.source_id)
        destination = _actor(transaction, caller, "destination", new.destination_id)
        if source.workspace_id != destination.workspace_id:
            raise invalid("destinationId", "is in another workspace than the source")
        caller.require(Role.EDITOR, source.workspace_id)
        connection_id, at = new_id(), now()
        connection = StoredConnection(
            id=connection_id,
            key=str(connection_id) if new.key is None else _key(new.key),
            workspace_id=source.workspace_id,
            source_id=source.id,
            destination_id=destination.id,
            name=f"{source.name} → {destination.name}" if new.name is None else new.name,
            status=new.status or "active",
            schedule=new.schedule or Schedule(),
            streams=checked_streams(new.streams),
            namespace_definition=new.namespace_definition or "destination",
            namespace_format=new.namespace_format,
            prefix=new.prefix or "",
            non_breaking_updates=new.non_breaking_updates or "ignore",
            tags=_tags(transaction, source.workspace_id, new.tag_ids),
            options=new.options or ConnectionOptions(),
            created_at=at,
            updated_at=at,
        )
        _check(control, caller, transaction, connection, destination)
        references.check_connection(control.settings, connection)
        if connection.options.fan_out or new.key is not None:
            fanned.ensure_free(transaction, connection)
        rows.add(transaction, connection)
        audit.record(
            transaction, caller, "create", "connection", connection_id, connection.workspace_id, after=_told(connection)
        )
    probes.fetch_soon(control, source)
    return connection


def update(control: Control, caller: Caller, connection_id: UUID, change: ConnectionChange) -> StoredConnection:
    """PATCH. A job that runs goes on as it was started; ``inactive`` cancels it. Of connections that read together,
    each has its own name and status; everything else is changed for all of them."""
    with control.database.write() as transaction:
        before = found(transaction, caller, connection_id, lock=True)
        caller.require(Role.EDITOR, before.workspace_id)
        status = kept(change.status, before.status)
        after = replace(
            before,
            name=kept(change.name, before.name),
            status=status,
            status_reason=kept(change.status_reason, before.status_reason if status == before.status else None),
            schedule=kept(change.schedule, before.schedule),
            streams=before.streams if isinstance(change.streams, Unset) else checked_streams(change.streams),
            namespace_definition=kept(change.namespace_definition, before.namespace_definition),
            namespace_format=kept(change.namespace_format, before.namespace_format),
            prefix=kept(change.prefix, before.prefix),
            non_breaking_updates=kept(change.non_breaking_updates, before.non_breaking_updates),
            tags=before.tags
            if isinstance(change.tag_ids, Unset)
            else _tags(transaction, before.workspace_id, change.tag_ids),
            options=kept(change.options, before.options),
        )
        if after == before:
            return before
        destination = _actor(transaction, caller, "destination", before.destination_id)
        _check(control, caller, transaction, after, destination)
        if replace(after, status=before.status, status_reason=before.status_reason) != before:
            # One that holds what is no longer allowed does not run, but can still be made inactive.
            references.check_connection(control.settings, after)
        if _who(after) != _who(before):
            raise invalid("options.fanOut", "stays for ever", hint="delete the connection and make another")
        for each in fanned.siblings(transaction, before):
            if each.id != connection_id and (wanted := fanned.with_shared(each, after)) != each:
                _check(
                    control,
                    caller,
                    transaction,
                    wanted,
                    _actor(transaction, caller, "destination", each.destination_id),
                )
                told = (_told(each), _told(rows.change(transaction, wanted)))
                audit.record(transaction, caller, "update", "connection", each.id, each.workspace_id, *told)
        after = rows.change(transaction, after)
        told = (_told(before), _told(after))
        audit.record(transaction, caller, "update", "connection", connection_id, before.workspace_id, *told)
    return after


def delete(control: Control, caller: Caller, connection_id: UUID) -> None:
    """What it has written at the destination stays. A job that runs is cancelled by the supervisor."""
    with control.database.write() as transaction:
        before = found(transaction, caller, connection_id, lock=True)
        caller.require(Role.EDITOR, before.workspace_id)
        rows.mark_deleted(transaction, connection_id)
        audit.record(
            transaction, caller, "delete", "connection", connection_id, before.workspace_id, before=_told(before)
        )


def _who(connection: StoredConnection) -> tuple[str | None, str | None]:
    """Under which name it reads with others, and which of them it is."""
    said = connection.options.fan_out
    return said.get("connection"), said.get("destination")


def _actor(transaction: Transaction, caller: Caller, role: ActorRole, actor_id: UUID) -> Actor:
    actor = actors.find(transaction, actor_id)
    if actor is None or actor.role != role or actor.deleted_at is not None:
        raise NotFoundError(role, actor_id)
    if not caller.may(Role.READER, actor.workspace_id):
        raise NotFoundError(role, actor_id)
    return actor


def _tags(transaction: Transaction, workspace_id: UUID, tag_ids: Sequence[UUID]) -> tuple[Tag, ...]:
    known = {tag.id: tag for tag in tags.list_tags(transaction, workspaces=[workspace_id])} if tag_ids else {}
    for tag_id in tag_ids:
        if tag_id not in known:
            raise NotFoundError("tag", tag_id)
    return tuple(known[tag_id] for tag_id in dict.fromkeys(tag_ids))


def _key(key: str) -> str:
    checked_name("key", key)
    if key != key.strip() or "/" in key or key.startswith("."):
        raise invalid("key", "must not begin with a dot, contain a slash, or begin or end with a space")
    return key


def _check(
    control: Control, caller: Caller, transaction: Transaction, connection: StoredConnection, destination: Actor
) -> None:
    """Everything that can be known to fail without asking either end."""
    checked_name("name", connection.name)
    if connection.status_reason is not None:
        checked_text("statusReason", connection.status_reason, length=1000)
    for field, value, known in (
        ("status", connection.status, ("active", "inactive", "deprecated", "locked")),
        ("namespaceDefinition", connection.namespace_definition, ("source", "destination", "custom_format")),
        (
            "nonBreakingSchemaUpdatesBehavior",
            connection.non_breaking_updates,
            ("ignore", "disable_connection", "propagate_columns", "propagate_fully"),
        ),
    ):
        if value not in known:
            raise invalid(field, f"{value!r} is not known", hint=f"known: {', '.join(known)}")
    _check_schedule(transaction, connection)
    check_options(connection.options)
    definition = definitions.within(transaction, caller, "destination", destination.definition_id)
    # With its secrets: a connector may look into one, and finds nothing in a mask.
    config = airbyte_config.connector_config(definition, clear_within(control, transaction, destination))
    check_config(definitions.connector_of(definition), literal(placed(definition, config, connection)), "destination")


def _check_schedule(transaction: Transaction, connection: StoredConnection) -> None:
    schedule = connection.schedule
    if schedule.kind == "cron":
        if not schedule.cron_expression:
            raise invalid("schedule.cronExpression", "is missing")
        checked_text("schedule.cronExpression", schedule.cron_expression, length=1000)
        if schedule.time_zone is not None:
            checked_text("schedule.cronTimeZone", schedule.time_zone, length=1000)
        next_due(schedule, now())
    elif schedule.kind == "basic":
        if schedule.time_unit not in _MOST_UNITS:
            known = ", ".join(_MOST_UNITS)
            raise invalid("schedule.timeUnit", f"{schedule.time_unit!r} is not known", hint=f"known: {known}")
        checked_number("schedule.units", schedule.units, least=1, most=_MOST_UNITS[schedule.time_unit])
    elif schedule.kind == "after":
        _check_after(transaction, connection)
    elif schedule.kind not in ("manual", "continuous"):
        raise invalid("schedule", f"{schedule.kind!r} is not known")


def _check_after(transaction: Transaction, connection: StoredConnection) -> None:
    after = checked_json("schedule.after", connection.schedule.after or {})
    if after.get("on", "success") not in _ENDINGS:
        raise invalid("schedule.after.on", f"{after['on']!r} is not known", hint=f"known: {', '.join(_ENDINGS)}")
    if "files" in after:
        every = after["files"].get("every_seconds", 60) if isinstance(after["files"], dict) else 60
        if isinstance(every, bool) or not isinstance(every, int | float) or not 1 <= every <= _MOST_SECONDS:
            raise invalid("schedule.after.files.every_seconds", f"must be a number from 1 to {_MOST_SECONDS}")
        return
    parents = after.get("all") or after.get("any")
    if not isinstance(parents, list) or not parents or ("all" in after and "any" in after):
        raise invalid("schedule.after", "names nothing", hint="give all or any with a list of connection ids, or files")
    for each in parents:
        parent = rows.find(transaction, _id(each))
        if parent is None or parent.deleted_at is not None or parent.workspace_id != connection.workspace_id:
            raise NotFoundError("connection", str(each))
        if _waits_for(transaction, parent, connection.id, depth=0):
            raise invalid("schedule.after", f"{connection.name!r} would wait for itself", hint="break the circle")


def _id(text: Any) -> UUID:
    try:
        return UUID(text)
    except (ValueError, TypeError, AttributeError):
        raise invalid("schedule.after", f"{text!r} is not the id of a connection") from None


def _waits_for(transaction: Transaction, parent: StoredConnection, wanted: UUID, *, depth: int) -> bool:
    """Whether a connection waits, over whichever others, for ``wanted``."""
    if parent.id == wanted:
        return True
    after = parent.schedule.after or {}
    if depth > 100:
        raise invalid("schedule.after", "is a chain of more than 100 connections")
    above = [rows.find(transaction, _id(each)) for each in after.get("all") or after.get("any") or ()]
    return any(each is not None and _waits_for(transaction, each, wanted, depth=depth + 1) for each in above)


def check_options(options: ConnectionOptions) -> None:
    """Raises ``config`` for what cannot be run."""
    if options.mode not in MODES + SHORT_MODES:
        raise invalid("options.mode", f"{options.mode!r} is not known", hint=f"known: {', '.join(MODES + SHORT_MODES)}")
    if options.cursor_field is not None:
        checked_name("options.cursorField", options.cursor_field)
    checked_number("options.concurrency", options.concurrency, least=1, most=64)
    fanned.check_fan_out(options.fan_out)
    checked_json("options.mappings", list(options.mappings))
    checked_blocks(options.mappings)
    for column, word in options.contracts.items():
        checked_name("options.contracts", column)
        if word not in set(Contract):
            raise invalid("options.contracts", f"{word!r} is not known", hint=f"known: {', '.join(Contract)}")
    checked_number("options.priority", options.priority, least=-1000, most=1000)
    checked_number("options.maxAttempts", options.max_attempts, least=1, most=100)
    for field, value, known in (
        ("deletes", options.deletes, ("hard", "soft")),
        ("metadataColumns", options.metadata_columns, ("syncline", "airbyte", "none")),
    ):
        if value not in known:
            raise invalid(f"options.{field}", f"{value!r} is not known", hint=f"known: {', '.join(known)}")
    for field, seconds in (
        ("timeoutSeconds", options.timeout_seconds),
        ("noProgressSeconds", options.no_progress_seconds),
    ):
        if seconds is not None and not 1 <= seconds <= 10**9:
            raise invalid(f"options.{field}", "must be at least one second, and a number that a clock can count")


def _told(connection: StoredConnection) -> dict[str, Any]:
    """For the audit log."""
    return {
        "name": connection.name,
        "source_id": str(connection.source_id),
        "destination_id": str(connection.destination_id),
        "status": connection.status,
        "schedule": connection.schedule.to_json(),
        "streams": None if connection.streams is None else [s.to_json() for s in connection.streams],
        "namespace_definition": connection.namespace_definition,
        "namespace_format": connection.namespace_format,
        "prefix": connection.prefix,
        "non_breaking_updates": connection.non_breaking_updates,
        "tags": [tag.name for tag in connection.tags],
        "options": connection.options.to_json(),
    }
