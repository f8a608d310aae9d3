"""The nouns as values: what repositories give and take. Identifiers are UUIDs, times are aware and in UTC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

__all__ = [
    "Actor",
    "ActorRole",
    "ApiKey",
    "Application",
    "AuditEntry",
    "ConnectionOptions",
    "ConnectionState",
    "ConnectionStatus",
    "CustomDefinition",
    "NamespaceDefinition",
    "NonBreakingUpdates",
    "Organization",
    "Permission",
    "Schedule",
    "ScheduleKind",
    "ScheduledConnection",
    "StoredCatalog",
    "StoredConnection",
    "StreamConfig",
    "StreamState",
    "Tag",
    "User",
    "Workspace",
]

ActorRole = Literal["source", "destination"]
ScheduleKind = Literal["manual", "basic", "cron", "continuous", "after"]
ConnectionStatus = Literal["active", "inactive", "deprecated", "locked"]
NamespaceDefinition = Literal["source", "destination", "custom_format"]
NonBreakingUpdates = Literal["ignore", "disable_connection", "propagate_columns", "propagate_fully"]


@dataclass(frozen=True, kw_only=True)
class Organization:
    """The owner of workspaces; an installation has one."""

    id: UUID
    name: str
    email: str
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """A room with sources, destinations and connections of its own. ``max_jobs`` run in it at once (None: the server's
    limit)."""

    id: UUID
    organization_id: UUID
    name: str
    data_residency: str = "auto"
    notifications: Mapping[str, Any] = field(default_factory=dict)
    max_jobs: int | None = None
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class CustomDefinition:
    """A connector that a workspace defined for itself. ``manifest`` is a low-code manifest, for declarative ones."""

    id: UUID
    role: ActorRole
    workspace_id: UUID
    name: str
    docker_repository: str
    docker_image_tag: str
    documentation_url: str | None = None
    manifest: Mapping[str, Any] | None = None
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Actor:
    """A configured source or destination.

    ``connector`` is our connector's name, ``type_name`` the one that clients know it by (Airbyte's, where it has one).
    ``configuration`` has the mask in place of every secret; ``secret_id`` names the sealed values, None when there are
    none. ``max_jobs`` use it at once (None: no limit)."""

    id: UUID
    role: ActorRole
    workspace_id: UUID
    definition_id: UUID
    type_name: str
    connector: str
    name: str
    configuration: Mapping[str, Any]
    secret_id: UUID | None = None
    max_jobs: int | None = None
    resource_allocation: Mapping[str, Any] | None = None
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """When a connection runs.

    ``cron``: ``cron_expression`` as it was given (five fields, or Quartz's six or seven, with or without a zone at the
    end), ``time_zone`` where it was given apart. ``basic``: every ``units`` of ``time_unit``. ``continuous``: the
    changes of the source's log as they come. ``after``: ``{"all": [connection ids], "on": "success" | "failure"}``."""

    kind: ScheduleKind = "manual"
    cron_expression: str | None = None
    time_zone: str | None = None
    units: int | None = None
    time_unit: str | None = None
    after: Mapping[str, Any] | None = None

    @property
    def public_type(self) -> str:
        """The word of Airbyte's closed list: ``manual``, ``cron`` or ``basic``."""
        return self.kind if self.kind in ("cron", "basic") else "manual"

    @property
    def basic_timing(self) -> str | None:
        """Airbyte's sentence for a basic schedule: ``Every 3 HOURS``."""
        return f"Every {self.units} {str(self.time_unit).upper()}" if self.kind == "basic" else None

    def to_json(self) -> dict[str, Any]:
        found = {
            "kind": self.kind,
            "cron_expression": self.cron_expression,
            "time_zone": self.time_zone,
            "units": self.units,
            "time_unit": self.time_unit,
            "after": None if self.after is None else dict(self.after),
        }
        return {key: value for key, value in found.items() if value is not None}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Schedule:
        return cls(**data)


@dataclass(frozen=True, kw_only=True)
class StreamConfig:
    """One stream of a connection in the words of Airbyte's public API. ``sync_mode`` None takes the connection's
    default; ``selected_fields`` None takes all."""

    name: str
    namespace: str | None = None
    sync_mode: str | None = None
    cursor_field: tuple[str, ...] = ()
    primary_key: tuple[tuple[str, ...], ...] = ()
    selected_fields: tuple[tuple[str, ...], ...] | None = None
    mappers: tuple[Mapping[str, Any], ...] = ()
    include_files: bool | None = None
    destination_object_name: str | None = None

    def to_json(self) -> dict[str, Any]:
        found = {
            "name": self.name,
            "namespace": self.namespace,
            "sync_mode": self.sync_mode,
            "cursor_field": list(self.cursor_field) or None,
            "primary_key": [list(path) for path in self.primary_key] or None,
            "selected_fields": None if self.selected_fields is None else [list(p) for p in self.selected_fields],
            "mappers": [dict(m) for m in self.mappers] or None,
            "include_files": self.include_files,
            "destination_object_name": self.destination_object_name,
        }
        return {key: value for key, value in found.items() if value is not None}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> StreamConfig:
        fields = data.get("selected_fields")
        return cls(
            name=data["name"],
            namespace=data.get("namespace"),
            sync_mode=data.get("sync_mode"),
            cursor_field=tuple(data.get("cursor_field", ())),
            primary_key=tuple(tuple(path) for path in data.get("primary_key", ())),
            selected_fields=None if fields is None else tuple(tuple(path) for path in fields),
            mappers=tuple(data.get("mappers", ())),
            include_files=data.get("include_files"),
            destination_object_name=data.get("destination_object_name"),
        )


@dataclass(frozen=True, kw_only=True)
class ConnectionOptions:
    """What Airbyte has no word for. ``mode`` and ``cursor_field`` are the default of streams that name none;
    ``mappings`` is what becomes of streams and columns on their way, ``contracts`` (column -> word) and ``backfill``
    what is done when one changes, ``quality`` the gates and limits of the quarantine (``gates``, ``quarantine``, and
    ``streams`` with both by name), ``transforms`` the steps after a sync, ``fan_out`` with whom it reads its source
    (empty: it reads alone). ``priority``: higher ones leave the queue first; ``timeout_seconds`` ends a whole job
    (None: never), ``no_progress_seconds`` an attempt that does nothing."""

    mode: str = "full_refresh_overwrite"
    cursor_field: str | None = None
    concurrency: int = 2
    deletes: str = "hard"
    metadata_columns: str = "syncline"
    priority: int = 0
    timeout_seconds: float | None = None
    no_progress_seconds: float = 600.0
    max_attempts: int = 3
    mappings: tuple[Mapping[str, Any], ...] = ()
    contracts: Mapping[str, str] = field(default_factory=dict)
    backfill: bool = False
    quality: Mapping[str, Any] = field(default_factory=dict)
    transforms: tuple[Mapping[str, Any], ...] = ()
    fan_out: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if value is not None and value not in ((), {})}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ConnectionOptions:
        lists = {key: tuple(data.get(key, ())) for key in ("mappings", "transforms")}
        return cls(**{**data, **lists})


@dataclass(frozen=True, kw_only=True)
class Tag:
    """A coloured word on connections of a workspace; ``color`` is six hexadecimal digits."""

    id: UUID
    workspace_id: UUID
    name: str
    color: str


@dataclass(frozen=True, kw_only=True)
class StoredConnection:
    """What to sync and when.

    ``key`` names the connection in the ledger at the destination, in slots and folders; it never changes, also when the
    name does. ``streams`` None takes every stream of the source."""

    id: UUID
    key: str
    workspace_id: UUID
    source_id: UUID
    destination_id: UUID
    name: str
    status: ConnectionStatus = "active"
    status_reason: str | None = None
    schedule: Schedule = field(default_factory=Schedule)
    streams: tuple[StreamConfig, ...] | None = None
    namespace_definition: NamespaceDefinition = "destination"
    namespace_format: str | None = None
    prefix: str = ""
    non_breaking_updates: NonBreakingUpdates = "ignore"
    tags: tuple[Tag, ...] = ()
    options: ConnectionOptions = field(default_factory=ConnectionOptions)
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class ScheduledConnection:
    """As much of an active connection as the scheduler needs."""

    id: UUID
    key: str
    workspace_id: UUID
    source_id: UUID
    destination_id: UUID
    schedule: Schedule
    options: ConnectionOptions
    updated_at: datetime


@dataclass(frozen=True, kw_only=True)
class StoredCatalog:
    """What a source offered when it was last discovered: ``catalog`` is ``core.stream.Catalog`` as JSON."""

    id: UUID
    source_id: UUID
    configuration_digest: str
    catalog: Mapping[str, Any]
    discovered_at: datetime


@dataclass(frozen=True, kw_only=True)
class StreamState:
    """The last known state of one stream; ``state`` None when it was never synced."""

    namespace: str | None = None
    name: str
    state: Mapping[str, Any] | None
    updated_at: datetime


@dataclass(frozen=True, kw_only=True)
class ConnectionState:
    """The states of a connection's streams and, where they share one position, that position."""

    streams: tuple[StreamState, ...] = ()
    shared: Mapping[str, Any] | None = None

    @property
    def kind(self) -> str:
        """Airbyte's ``stateType``: ``global``, ``stream`` or ``not_set``."""
        if self.shared is not None:
            return "global"
        return "stream" if any(stream.state is not None for stream in self.streams) else "not_set"


@dataclass(frozen=True, kw_only=True)
class User:
    """Somebody with an email address and, to sign in with it, a password."""

    id: UUID
    email: str
    name: str
    created_at: datetime
    updated_at: datetime
    disabled_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Permission:
    """``role`` (reader, runner, editor, admin) of a user in a workspace, or in all of them (None)."""

    id: UUID
    user_id: UUID
    workspace_id: UUID | None
    role: str
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class Application:
    """A program's credentials; it acts as its user."""

    id: UUID
    user_id: UUID
    name: str
    client_id: str
    created_at: datetime
    deleted_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class ApiKey:
    """A key that is sent as a bearer token; it acts as its user. ``prefix`` is its recognizable beginning."""

    id: UUID
    user_id: UUID
    name: str
    prefix: str
    created_at: datetime
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    deleted_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class AuditEntry:
    """Who did what to which thing, and how it was before and after. Never holds a secret."""

    id: int = 0
    at: datetime
    caller_kind: str
    caller_id: UUID | None
    caller_name: str
    application_id: UUID | None = None
    address: str | None = None
    workspace_id: UUID | None
    action: str
    noun: str
    noun_id: str
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None
