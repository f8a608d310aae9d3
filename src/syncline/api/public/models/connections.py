"""Connections as the public API has them."""

from __future__ import annotations

from enum import StrEnum
from typing import Any
from uuid import UUID

from pydantic import Field

from syncline.api.public.models.answers import Page
from syncline.api.public.models.people import TagResponse
from syncline.api.wire import Name, WireModel

__all__ = [
    "ConfigurationsResponse",
    "ConnectionCreate",
    "ConnectionPatch",
    "ConnectionResponse",
    "ConnectionSchedule",
    "ConnectionStatus",
    "ConnectionsResponse",
    "NamespaceDefinition",
    "ScheduleResponse",
    "ScheduleType",
    "SchemaUpdates",
    "SelectedField",
    "SettableStatus",
    "StreamConfiguration",
    "StreamConfigurations",
    "SyncModeWord",
    "TagReference",
]


class ConnectionStatus(StrEnum):
    ACTIVE = "active"
    INACTIVE = "inactive"
    DEPRECATED = "deprecated"
    LOCKED = "locked"


class SettableStatus(StrEnum):
    """``locked`` is not for clients to set."""

    ACTIVE = "active"
    INACTIVE = "inactive"
    DEPRECATED = "deprecated"


class ScheduleType(StrEnum):
    MANUAL = "manual"
    CRON = "cron"
    BASIC = "basic"


class NamespaceDefinition(StrEnum):
    SOURCE = "source"
    DESTINATION = "destination"
    CUSTOM_FORMAT = "custom_format"


class SchemaUpdates(StrEnum):
    IGNORE = "ignore"
    DISABLE_CONNECTION = "disable_connection"
    PROPAGATE_COLUMNS = "propagate_columns"
    PROPAGATE_FULLY = "propagate_fully"


class SyncModeWord(StrEnum):
    FULL_REFRESH_OVERWRITE = "full_refresh_overwrite"
    FULL_REFRESH_OVERWRITE_DEDUPED = "full_refresh_overwrite_deduped"
    FULL_REFRESH_APPEND = "full_refresh_append"
    INCREMENTAL_APPEND = "incremental_append"
    INCREMENTAL_DEDUPED_HISTORY = "incremental_deduped_history"


class ConnectionSchedule(WireModel):
    """``cronExpression`` is Quartz (6 or 7 fields, then perhaps a time zone) or five fields. ``basicTiming`` is
    ``Every 2 hours``, in Airbyte's words."""

    schedule_type: ScheduleType
    cron_expression: str | None = Field(default=None, max_length=256)
    basic_timing: str | None = Field(default=None, max_length=64)


class ScheduleResponse(WireModel):
    schedule_type: ScheduleType
    cron_expression: str | None = None
    basic_timing: str | None = None


class SelectedField(WireModel):
    field_path: list[str] = []


class StreamConfiguration(WireModel):
    """One stream of a connection; what is absent gets the stream's own default."""

    name: Name
    namespace: str | None = None
    sync_mode: SyncModeWord | None = None
    cursor_field: list[str] | None = None
    primary_key: list[list[str]] | None = None
    selected_fields: list[SelectedField] | None = None
    mappers: list[dict[str, Any]] | None = None
    include_files: bool | None = None
    destination_object_name: str | None = None


class StreamConfigurations(WireModel):
    streams: list[StreamConfiguration] | None = None


class ConfigurationsResponse(WireModel):
    streams: list[StreamConfiguration]


class TagReference(WireModel):
    """Only the id counts."""

    tag_id: UUID


class ConnectionCreate(WireModel):
    source_id: UUID
    destination_id: UUID
    name: Name | None = None
    configurations: StreamConfigurations | None = None
    schedule: ConnectionSchedule | None = None
    namespace_definition: NamespaceDefinition | None = None
    namespace_format: str | None = Field(default=None, max_length=256)
    prefix: str | None = Field(default=None, max_length=128)
    non_breaking_schema_updates_behavior: SchemaUpdates | None = None
    status: SettableStatus | None = None
    tags: list[TagReference] | None = None


class ConnectionPatch(WireModel):
    """What is absent stays."""

    name: Name | None = None
    configurations: StreamConfigurations | None = None
    schedule: ConnectionSchedule | None = None
    namespace_definition: NamespaceDefinition | None = None
    namespace_format: str | None = Field(default=None, max_length=256)
    prefix: str | None = Field(default=None, max_length=128)
    non_breaking_schema_updates_behavior: SchemaUpdates | None = None
    status: SettableStatus | None = None
    tags: list[TagReference] | None = None


class ConnectionResponse(WireModel):
    connection_id: str
    name: str
    source_id: str
    destination_id: str
    workspace_id: str
    status: ConnectionStatus
    schedule: ScheduleResponse
    configurations: ConfigurationsResponse
    created_at: int
    tags: list[TagResponse] = []
    non_breaking_schema_updates_behavior: SchemaUpdates
    namespace_definition: NamespaceDefinition
    namespace_format: str | None = None
    prefix: str = ""
    status_reason: str | None = None


class ConnectionsResponse(Page):
    data: list[ConnectionResponse]
