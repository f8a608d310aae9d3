"""A connection in the keys of the project file, and in the values that the store keeps: both ways, without loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from syncline.jobs.schedule import next_due
from syncline.jobs.transform.step import parse_steps
from syncline.quality.rules import parse_gates
from syncline.service.connections import check_options
from syncline.service.errors import invalid
from syncline.service.project import ConnectionBlock, StreamBlock
from syncline.service.server_keys import schedule_text, schedule_without_after
from syncline.service.stream_configs import checked_streams
from syncline.store.schema import now
from syncline.store.values import ConnectionOptions, NamespaceDefinition, Schedule, StoredConnection, StreamConfig

__all__ = ["Values", "block_json", "in_order", "stored_json", "values_of"]


@dataclass(frozen=True, kw_only=True)
class Values:
    """What a connection of the file is in the store. ``schedule`` lacks the ids of ``after_names``."""

    name: str
    block: ConnectionBlock
    schedule: Schedule
    streams: tuple[StreamConfig, ...] | None
    options: ConnectionOptions
    namespace_definition: NamespaceDefinition

    @property
    def after_names(self) -> tuple[str, ...]:
        after = self.block.after
        return () if after is None else (*(after.all or ()), *(after.any or ()))

    def schedule_with(self, ids: Mapping[str, UUID]) -> Schedule:
        """The schedule, with the ids of the connections that it comes after."""
        after = self.block.after
        if after is None:
            return self.schedule
        said: dict[str, Any] = {
            "all": [str(ids[name]) for name in after.all] if after.all else None,
            "any": [str(ids[name]) for name in after.any] if after.any else None,
            "on": after.on,
            "files": after.files,
        }
        return Schedule(kind="after", after={key: value for key, value in said.items() if value is not None})


def values_of(name: str, block: ConnectionBlock) -> Values:
    """Raises ``config`` for what cannot be stored."""
    changes = block.schema_changes
    options = ConnectionOptions(
        mode=block.mode,
        cursor_field=block.cursor_field,
        concurrency=block.concurrency,
        deletes=block.deletes,
        metadata_columns=block.metadata_columns.value,
        priority=block.priority,
        timeout_seconds=block.timeout_seconds,
        no_progress_seconds=block.no_progress_seconds,
        max_attempts=block.max_attempts,
        mappings=tuple(block.mappings) if not isinstance(block.mappings, str) else (),
        contracts={column: word.value for column, word in changes.contracts.items()},
        backfill=changes.backfill,
        quality=_quality(block),
        transforms=_steps(block),
        fan_out={} if block.fan_out is None else block.fan_out.model_dump(exclude_defaults=True),
    )
    schedule, streams = schedule_without_after(block), None
    if block.streams is not None:
        streams = checked_streams([_stream(each) for each in block.streams])
    check_options(options)
    if schedule.kind == "cron":
        next_due(schedule, now())
    return Values(
        name=name,
        block=block,
        schedule=schedule,
        streams=streams,
        options=options,
        namespace_definition=block.namespace_definition,
    )


def block_json(block: ConnectionBlock) -> dict[str, Any]:
    """What the block says beyond the defaults and its ends."""
    found = block.model_dump(mode="json", exclude_defaults=True, exclude_none=True)
    if "tags" in found:
        found["tags"] = sorted(set(found["tags"]))  # a set: the store keeps no order either
    return {key: value for key, value in found.items() if key not in ("source", "destination")}


def stored_json(stored: StoredConnection, names: Mapping[UUID, str]) -> dict[str, Any]:
    """The same of a stored connection; ``names`` are those of the connections that it may come after."""
    options, after = stored.options, stored.schedule.after
    said: dict[str, Any] = {
        "schedule": schedule_text(stored.schedule),
        "time_zone": stored.schedule.time_zone,
        "after": None if after is None else {key: _named(value, names) for key, value in after.items()},
        "enabled": stored.status == "active",
        "tags": sorted(tag.name for tag in stored.tags),
        "priority": options.priority,
        "timeout_seconds": options.timeout_seconds,
        "no_progress_seconds": options.no_progress_seconds,
        "max_attempts": options.max_attempts,
        "mode": options.mode,
        "cursor_field": options.cursor_field,
        "concurrency": options.concurrency,
        "deletes": options.deletes,
        "metadata_columns": options.metadata_columns,
        "mappings": [dict(each) for each in options.mappings],
        "transforms": [dict(each) for each in options.transforms],
        "schema_changes": {
            "policy": stored.non_breaking_updates,
            "contracts": dict(options.contracts),
            "backfill": options.backfill,
        },
        "streams": None if stored.streams is None else [_stream_json(each, options) for each in stored.streams],
        "prefix": stored.prefix,
        "namespace_definition": stored.namespace_definition,
        "namespace_format": stored.namespace_format,
        "fan_out": dict(options.fan_out) or None,
        **{key: value for key, value in options.quality.items() if key != "streams"},
    }
    # Through the file's own model, which knows what a default is.
    return block_json(ConnectionBlock.model_validate({"source": "", "destination": "", **said}))


def _named(value: Any, names: Mapping[UUID, str]) -> Any:
    if not isinstance(value, list):
        return value
    return [names.get(UUID(each), each) for each in value]


def _quality(block: ConnectionBlock) -> dict[str, Any]:
    """Gates and limits of the quarantine, of the connection and of each stream."""
    streams = {each.name: said for each in block.streams or () if (said := _gates(each))}
    return {**_gates(block), **({"streams": streams} if streams else {})}


def _steps(block: ConnectionBlock) -> tuple[dict[str, Any], ...]:
    """Steps after a sync as they were written; files of SQL stay with who has them."""
    parse_steps(block.transforms)
    return tuple(dict(each) for each in block.transforms)


def _gates(block: ConnectionBlock | StreamBlock) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if block.gates:
        parse_gates(block.gates)  # a suite is a file, and that the server does not have
        found["gates"] = [dict(each) for each in block.gates]
    if block.quarantine is not None:
        found["quarantine"] = block.quarantine.model_dump(mode="json", exclude_none=True)
    return found


def _stream(block: StreamBlock) -> StreamConfig:
    # One dot parts schema and table; a name with more is a file's, and stays whole.
    namespace, dot, table = block.name.partition(".")
    whole = not dot or "." in table
    return StreamConfig(
        name=block.name if whole else table,
        namespace=None if whole else namespace,
        sync_mode=block.mode,
        cursor_field=(block.cursor_field,) if block.cursor_field else (),
        primary_key=tuple((column,) for column in block.primary_key or ()),
        selected_fields=None if block.columns is None else tuple((column,) for column in block.columns),
        mappers=tuple(block.mappers),
    )


def _stream_json(stream: StreamConfig, options: ConnectionOptions) -> dict[str, Any]:
    name = f"{stream.namespace}.{stream.name}" if stream.namespace else stream.name
    return {
        "name": name,
        "mode": stream.sync_mode,
        "cursor_field": ".".join(stream.cursor_field) or None,
        "primary_key": [".".join(path) for path in stream.primary_key] or None,
        "columns": None if stream.selected_fields is None else [".".join(path) for path in stream.selected_fields],
        "mappers": [dict(each) for each in stream.mappers],
        **options.quality.get("streams", {}).get(name, {}),
    }


def in_order(values: Mapping[str, Values]) -> list[str]:
    """Each connection behind those that it comes after. Raises ``config`` for a circle."""
    done: list[str] = []

    def visit(name: str, above: tuple[str, ...]) -> None:
        if name in above:
            raise invalid(f"connections.{name}.after", "would wait for itself", hint="break the circle")
        if name not in done:
            for parent in values[name].after_names:
                visit(parent, (*above, name))
            done.append(name)

    for name in values:
        visit(name, ())
    return done
