"""Connections and catalogs as the config API has them."""

from __future__ import annotations

from typing import Any, Literal
from uuid import UUID

from pydantic import ConfigDict

from syncline.api.wire import Name, WireModel

__all__ = [
    "CatalogConfig",
    "CatalogEntry",
    "CatalogStream",
    "ConfigConnectionCreate",
    "ConfigConnectionUpdate",
    "ConnectionListBody",
    "ConnectionListRead",
    "ConnectionRead",
    "FieldSelection",
    "ScheduleData",
    "SyncCatalog",
]


class CatalogStream(WireModel):
    model_config = ConfigDict(extra="ignore")

    name: str
    json_schema: dict[str, Any] = {}
    namespace: str | None = None
    supported_sync_modes: list[str] = []
    source_defined_cursor: bool | None = None
    default_cursor_field: list[str] = []
    source_defined_primary_key: list[list[str]] = []
    is_resumable: bool | None = None


class FieldSelection(WireModel):
    field_path: list[str] = []


class CatalogConfig(WireModel):
    sync_mode: Literal["full_refresh", "incremental"]
    destination_sync_mode: str
    cursor_field: list[str] = []
    primary_key: list[list[str]] = []
    alias_name: str | None = None
    selected: bool = True
    field_selection_enabled: bool = False
    selected_fields: list[FieldSelection] = []


class CatalogEntry(WireModel):
    stream: CatalogStream
    config: CatalogConfig | None = None


class SyncCatalog(WireModel):
    streams: list[CatalogEntry]


class ScheduleData(WireModel):
    basic_schedule: dict[str, Any] | None = None
    cron: dict[str, Any] | None = None


class ConnectionRead(WireModel):
    connection_id: str
    name: str
    namespace_definition: str
    namespace_format: str | None = None
    prefix: str = ""
    source_id: str
    destination_id: str
    operation_ids: list[str] = []
    sync_catalog: SyncCatalog
    schedule: dict[str, Any] | None = None
    schedule_type: str
    schedule_data: ScheduleData | None = None
    status: str
    source_catalog_id: str | None = None
    breaking_change: bool = False
    notify_schema_changes: bool = False
    non_breaking_changes_preference: str = "ignore"
    created_at: int
    workspace_id: str
    tags: list[Any] = []


class ConfigConnectionCreate(WireModel):
    name: Name | None = None
    source_id: UUID
    destination_id: UUID
    namespace_definition: str | None = None
    namespace_format: str | None = None
    prefix: str | None = None
    sync_catalog: SyncCatalog | None = None
    schedule: dict[str, Any] | None = None
    schedule_type: str | None = None
    schedule_data: ScheduleData | None = None
    status: str | None = None
    non_breaking_changes_preference: str | None = None


class ConfigConnectionUpdate(WireModel):
    """What is absent stays."""

    connection_id: UUID
    name: Name | None = None
    namespace_definition: str | None = None
    namespace_format: str | None = None
    prefix: str | None = None
    sync_catalog: SyncCatalog | None = None
    schedule: dict[str, Any] | None = None
    schedule_type: str | None = None
    schedule_data: ScheduleData | None = None
    status: str | None = None
    non_breaking_changes_preference: str | None = None


class ConnectionListBody(WireModel):
    workspace_id: UUID | None = None


class ConnectionListRead(WireModel):
    connections: list[ConnectionRead]
