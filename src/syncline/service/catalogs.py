"""Use cases of catalogs: what a source offers and what a connection takes of it, in the words of Airbyte's two APIs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from syncline.service import actors, connections, definitions, json_schema, probes
from syncline.service.callers import SYSTEM, Caller
from syncline.service.control import Control
from syncline.service.errors import invalid
from syncline.store.values import Actor, StoredCatalog, StoredConnection, StreamConfig

__all__ = [
    "StreamProperties",
    "airbyte_catalog",
    "streams",
    "streams_from_sync_catalog",
    "sync_catalog",
]

#: Airbyte's public modes and their halves in the config API.
_HALVES = {
    "full_refresh_overwrite": ("full_refresh", "overwrite"),
    "full_refresh_append": ("full_refresh", "append"),
    "full_refresh_overwrite_deduped": ("full_refresh", "overwrite_dedup"),
    "incremental_append": ("incremental", "append"),
    "incremental_deduped_history": ("incremental", "append_dedup"),
}
_WHOLES = {halves: mode for mode, halves in _HALVES.items()}


@dataclass(frozen=True, kw_only=True)
class StreamProperties:
    """One stream in the words of ``GET /streams``."""

    stream_name: str
    stream_namespace: str | None
    sync_modes: tuple[str, ...]
    default_cursor_field: tuple[str, ...]
    source_defined_cursor_field: bool
    source_defined_primary_key: tuple[tuple[str, ...], ...]
    property_fields: tuple[tuple[str, ...], ...]


def streams(
    control: Control,
    caller: Caller,
    source_id: UUID,
    destination_id: UUID | None = None,
    ignore_cache: bool = False,
) -> list[StreamProperties]:
    """Looks at the source when it has not been seen yet, or is to be seen anew. With a destination only the modes that
    it can keep."""
    kept = set(_HALVES)
    if destination_id is not None:
        destination = actors.get(control, caller, "destination", destination_id)
        if "s3_path_format" in definitions.connector_of(_definition(control, destination)).config_model().model_fields:
            kept = {mode for mode in _HALVES if "dedup" not in mode}  # files are added, never merged
    stored = probes.discover(control, caller, source_id, fresh=ignore_cache)
    return [
        StreamProperties(
            stream_name=stream["name"]["name"],
            stream_namespace=stream["name"].get("namespace"),
            sync_modes=tuple(mode for mode in _modes(stream) if mode in kept),
            default_cursor_field=tuple(stream["cursor_fields"][:1]),
            source_defined_cursor_field=stream["source_defined_cursor"],
            source_defined_primary_key=tuple((column,) for column in stream["primary_key"]),
            property_fields=tuple((field["name"],) for field in stream["schema"]),
        )
        for stream in stored.catalog["streams"]
    ]


def airbyte_catalog(stored: StoredCatalog) -> dict[str, Any]:
    """The config API's catalog: every stream, with the configuration that it would get."""
    return {"streams": [_entry(stream, StreamConfig(name=stream["name"]["name"])) for stream in _all(stored)]}


def sync_catalog(control: Control, caller: Caller, connection_id: UUID) -> dict[str, Any]:
    """A connection's catalog: the source's streams as last seen, with what the connection takes of them. A chosen
    stream that was not seen is there by its name alone. Looks at nothing."""
    connection = connections.get(control, caller, connection_id)
    source = actors.get(control, caller, "source", connection.source_id)
    stored = probes.known_catalog(control, source)
    known = [] if stored is None else _all(stored)
    if connection.streams is None:
        default = connection.options.mode
        return {"streams": [_entry(s, StreamConfig(name=s["name"]["name"], sync_mode=default)) for s in known]}
    entries, matched = [], set()
    for stream in known:
        config = _choice(connection, stream)
        if config is not None:
            matched.add((config.namespace, config.name))
        entries.append(_entry(stream, config or StreamConfig(name=stream["name"]["name"]), selected=config is not None))
    unseen = [each for each in connection.streams if (each.namespace, each.name) not in matched]
    return {"streams": [_entry(_by_name(each), each) for each in unseen] + entries}


def _choice(connection: StoredConnection, stream: Mapping[str, Any]) -> StreamConfig | None:
    """What a connection says of a stream: matched by name when it gave no namespace."""
    name, namespace = stream["name"]["name"], stream["name"].get("namespace")
    for config in connection.streams or ():
        if config.name == name and config.namespace in (None, namespace):
            return config
    return None


def _by_name(config: StreamConfig) -> dict[str, Any]:
    return {
        "name": {"name": config.name, "namespace": config.namespace},
        "schema": [],
        "primary_key": [],
        "cursor_fields": [],
        "source_defined_cursor": False,
        "incremental": True,
    }


def _all(stored: StoredCatalog) -> list[dict[str, Any]]:
    return list(stored.catalog["streams"])


def _definition(control: Control, actor: Actor) -> definitions.Definition:
    return definitions.get(control, SYSTEM, actor.role, actor.definition_id)


def _modes(stream: Mapping[str, Any]) -> list[str]:
    found = ["full_refresh_overwrite", "full_refresh_append"]
    if stream["primary_key"]:
        found.append("full_refresh_overwrite_deduped")
    if stream["incremental"] and (stream["source_defined_cursor"] or stream["cursor_fields"]):
        found.append("incremental_append")
        if stream["primary_key"]:
            found.append("incremental_deduped_history")
    return found


def _entry(stream: Mapping[str, Any], config: StreamConfig, *, selected: bool = True) -> dict[str, Any]:
    incremental = stream["incremental"] and (stream["source_defined_cursor"] or stream["cursor_fields"])
    key = [[column] for column in stream["primary_key"]]
    about = {
        "name": stream["name"]["name"],
        "namespace": stream["name"].get("namespace"),
        "jsonSchema": json_schema.of_fields(stream["schema"]),
        "supportedSyncModes": ["full_refresh", "incremental"] if incremental else ["full_refresh"],
        "sourceDefinedCursor": stream["source_defined_cursor"],
        "defaultCursorField": stream["cursor_fields"][:1],
        "sourceDefinedPrimaryKey": key,
    }
    sync, write = _halves(stream, config)
    fields = config.selected_fields
    wanted: dict[str, Any] = {
        "syncMode": sync,
        "destinationSyncMode": write,
        "cursorField": list(config.cursor_field) or stream["cursor_fields"][:1],
        "primaryKey": [list(path) for path in config.primary_key] or key,
        "aliasName": stream["name"]["name"],
        "selected": selected,
        "suggested": selected,
        "fieldSelectionEnabled": fields is not None,
    }
    if fields is not None:
        wanted["selectedFields"] = [{"fieldPath": list(path)} for path in fields]
    return {"stream": {k: v for k, v in about.items() if v is not None}, "config": wanted}


def _halves(stream: Mapping[str, Any], config: StreamConfig) -> tuple[str, str]:
    mode = config.sync_mode or "full_refresh_overwrite"
    if mode == "full_refresh":
        mode = "full_refresh_overwrite"
    elif mode == "incremental":
        mode = "incremental_deduped_history" if stream["primary_key"] else "incremental_append"
    return _HALVES[mode]


def streams_from_sync_catalog(catalog: Mapping[str, Any]) -> tuple[StreamConfig, ...]:
    """The selected streams of a catalog of the config API. Raises ``config`` for halves that make no mode."""
    found = []
    for entry in catalog.get("streams") or ():
        stream, config = entry["stream"], entry.get("config") or {}
        if config.get("selected") is False:
            continue
        halves = (config.get("syncMode", "full_refresh"), config.get("destinationSyncMode", "overwrite"))
        if halves not in _WHOLES:
            raise invalid("syncCatalog", f"{halves[0]} with {halves[1]} is not supported", hint=f"known: {[*_HALVES]}")
        fields = config.get("selectedFields") if config.get("fieldSelectionEnabled") else None
        found.append(
            StreamConfig(
                name=stream["name"],
                namespace=stream.get("namespace"),
                sync_mode=_WHOLES[halves],
                cursor_field=tuple(config.get("cursorField") or ()),
                primary_key=tuple(tuple(path) for path in config.get("primaryKey") or ()),
                selected_fields=None if fields is None else tuple(tuple(f["fieldPath"]) for f in fields),
            )
        )
    return tuple(found)
