"""What of Airbyte's streams, namespaces and prefixes can be said to our engine, and how.

Asked when a connection is stored, so that what cannot be done is refused then and not at three in the morning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from syncline.core.errors import SynclineError
from syncline.sdk.mapping import checked_blocks
from syncline.service.definitions import Definition, connector_of
from syncline.service.errors import invalid
from syncline.service.inputs import checked_json, checked_text
from syncline.service.secrets.masking import field_names
from syncline.store.values import StoredConnection, StreamConfig

__all__ = ["MODES", "SHORT_MODES", "checked_streams", "placed", "stream_block"]

#: Airbyte's modes that our engine has. The others (``…_update``, ``…_soft_delete``) are for writing into applications.
MODES = (
    "full_refresh_overwrite",
    "full_refresh_append",
    "full_refresh_overwrite_deduped",
    "incremental_append",
    "incremental_deduped_history",
)
SHORT_MODES = ("full_refresh", "incremental")

_SOURCE_NAMESPACE = "${SOURCE_NAMESPACE}"
#: Connectors whose schema may be made of the source's namespace and other text.
_COMPOSES_SCHEMAS = ("postgres",)
_STREAMS = 10_000


def checked_streams(streams: Sequence[StreamConfig] | None) -> tuple[StreamConfig, ...] | None:
    """The streams if each can be run; None, for all of the source's, when there are none. Raises ``config``."""
    if not streams:
        return None
    if len(streams) > _STREAMS:
        raise invalid("configurations.streams", f"has more than {_STREAMS:,} streams")
    seen: set[tuple[str | None, str]] = set()
    for stream in streams:
        checked_json("configurations.streams", stream.to_json())
        stream_block(stream)
        if (stream.namespace, stream.name) in seen:
            raise invalid("configurations.streams", f"stream {stream.name!r} is listed twice")
        seen.add((stream.namespace, stream.name))
    return tuple(streams)


def stream_block(stream: StreamConfig) -> dict[str, Any]:
    """The stream as a block of the project file. Raises ``config`` for what our engine does not do."""
    if not stream.name:
        raise invalid("configurations.streams", "a stream has no name")
    if stream.sync_mode is not None and stream.sync_mode not in MODES + SHORT_MODES:
        raise _not_done(stream, f"syncMode {stream.sync_mode!r}", f"use one of: {', '.join(MODES)}")
    if stream.include_files:
        raise _not_done(stream, "includeFiles", "set includeFiles to false")
    if stream.destination_object_name not in (None, "", stream.name):
        raise _not_done(stream, "destinationObjectName", "use prefix to name the tables")
    if len(stream.cursor_field) > 1:
        raise _not_done(stream, "a nested cursorField", "name one column")
    if any(len(path) != 1 for path in stream.primary_key):
        raise _not_done(stream, "a nested primaryKey", 'name columns: [["id"]]')
    if any(len(path) != 1 for path in stream.selected_fields or ()):
        raise _not_done(stream, "a nested field of selectedFields", "select whole columns")
    fields = stream.selected_fields
    return {
        "name": f"{stream.namespace}.{stream.name}" if stream.namespace else stream.name,
        "mode": stream.sync_mode,
        "cursor_field": stream.cursor_field[0] if stream.cursor_field else None,
        "primary_key": tuple(path[0] for path in stream.primary_key) or None,
        "columns": tuple(path[0] for path in fields) if fields else None,
        "mappers": checked_mappers(stream),
    }


def checked_mappers(stream: StreamConfig) -> tuple[Mapping[str, Any], ...]:
    """The stream's mappers if each can be carried out, keys by reference. Raises ``config``."""
    if stream.mappers:
        try:
            checked_blocks([{"from": stream.name, "mappers": list(stream.mappers)}])
        except SynclineError as error:
            raise invalid(
                "configurations.streams", f"mappers of stream {stream.name!r}: {error.message}", hint=error.hint
            ) from error
    return tuple(stream.mappers)


def _not_done(stream: StreamConfig, what: str, hint: str) -> SynclineError:
    return invalid("configurations.streams", f"{what} of stream {stream.name!r} is not supported", hint=hint)


def placed(definition: Definition, config: Mapping[str, Any], connection: StoredConnection) -> dict[str, Any]:
    """A destination's configuration (ours) with the connection's namespace and prefix in it. Raises ``config``."""
    names = field_names(connector_of(definition).config_model())
    found = dict(config)
    kind, written, prefix = connection.namespace_definition, connection.namespace_format or "", connection.prefix
    checked_text("prefix", prefix, length=1000)
    if kind == "custom_format":
        checked_text("namespaceFormat", written, length=1000)
        if not written.strip():
            raise invalid("namespaceFormat", "is missing", hint="custom_format needs it, as in ${SOURCE_NAMESPACE}_raw")
        if written.strip() == _SOURCE_NAMESPACE:
            kind = "source"
    if "s3_path_format" in names:
        return _in_folders(found, kind, written, prefix)
    if prefix and "table_prefix" not in names:
        raise invalid("prefix", f"{definition.name} cannot do that")
    if kind != "destination" and not {"namespace", "schema"} <= names.keys():
        raise invalid("namespaceDefinition", f"{definition.name} cannot do that")
    return _in_schemas(definition, found, names, kind, written, prefix)


def _in_schemas(
    definition: Definition, config: dict[str, Any], names: Mapping[str, str], kind: str, written: str, prefix: str
) -> dict[str, Any]:
    """Namespaces are schemas, and a stream is a table."""
    if prefix:
        own = next((str(v) for k, v in config.items() if names.get(k) == "table_prefix"), "")
        config = {k: v for k, v in config.items() if names.get(k) != "table_prefix"} | {"table_prefix": own + prefix}
    if kind == "source":
        return config | {"namespace": "source"}
    if kind == "destination":
        return config
    if "${" in written and definition.connector not in _COMPOSES_SCHEMAS:
        raise invalid("namespaceFormat", f"{definition.name} takes a schema's name, or ${{SOURCE_NAMESPACE}} alone")
    if "${" in written.replace(_SOURCE_NAMESPACE, ""):
        raise invalid("namespaceFormat", "knows only ${SOURCE_NAMESPACE}")
    config = {k: v for k, v in config.items() if names.get(k) != "schema"}
    return config | {"schema": written, "namespace": "destination"}


def _in_folders(config: dict[str, Any], kind: str, written: str, prefix: str) -> dict[str, Any]:
    """Namespaces and streams are variables of the path. As with Airbyte, the destination's own namespace is none."""
    path = str(config.get("s3_path_format", config.get("path_format")) or "${STREAM_NAME}/")
    config = {k: v for k, v in config.items() if k not in ("s3_path_format", "path_format")}
    if kind == "custom_format":
        path = path.replace("${NAMESPACE}", written.replace(_SOURCE_NAMESPACE, "${NAMESPACE}"))
    elif kind == "destination":
        path = path.replace("${NAMESPACE}", "")
    path = path.replace("${STREAM_NAME}", prefix + "${STREAM_NAME}")
    while "//" in path:
        path = path.replace("//", "/")
    return config | {"s3_path_format": path.lstrip("/")}
