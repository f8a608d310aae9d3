"""A stream as a destination of Airbyte's is told of it: the JSON Schema of its rows, and its part of the catalog.

What JSON cannot say exactly is declared as text: decimals of more than 15 digits (a reader's double would round them),
bytes (``\\x`` and hexadecimal digits), intervals and other text of the source's own.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from syncline.core.checkpoint import StreamTarget
from syncline.core.schema import Field, StreamSchema
from syncline.core.stream import StreamName, WriteMode

__all__ = ["column_words", "configured", "descriptor", "json_schema_of", "sync_number"]

#: As many digits survive a reader that takes every number for a double; :mod:`json_text` writes so.
_EXACT_DIGITS = 15
_ANYTHING = ["object", "array", "string", "number", "boolean"]


def json_schema_of(schema: StreamSchema) -> dict[str, Any]:
    """Every column may be null: a required one would let a destination refuse the row."""
    return {"type": "object", "properties": {f.name: _column(f) for f in schema.fields}}


def column_words(schema: StreamSchema) -> dict[str, str]:
    """One word per column for what its values are in JSON, to be compared with an earlier one."""
    words = {}
    for f in schema.fields:
        said = _column(f)
        kind = "any" if f.logical == "json" else next(t for t in said["type"] if t != "null")
        words[f.name] = said.get("format", kind) if kind == "string" else kind
    return words


def descriptor(name: StreamName) -> dict[str, Any]:
    return {"name": name.name, **({} if name.namespace is None else {"namespace": name.namespace})}


def configured(target: StreamTarget, mode: str, *, minimum_generation: int) -> dict[str, Any]:
    """The stream's part of a configured catalog. Generations below the minimum are to go once the stream is
    complete."""
    key = [[column] for column in target.primary_key]
    cursor = [target.cursor_field] if target.cursor_field else []
    return {
        "stream": {
            **descriptor(target.stream),
            "json_schema": json_schema_of(target.schema),
            "supported_sync_modes": ["full_refresh", "incremental"],
            "source_defined_primary_key": key,
            "default_cursor_field": cursor,
        },
        "sync_mode": "full_refresh" if target.write is WriteMode.REPLACE else "incremental",
        "destination_sync_mode": mode,
        "cursor_field": cursor,
        "primary_key": key,
        "generation_id": target.generation,
        "minimum_generation_id": minimum_generation,
        "sync_id": sync_number(target.sync_id),
    }


def sync_number(sync_id: str) -> int:
    """The protocol wants a number: the milliseconds with which our ids begin, else any that is the id's own."""
    try:
        return int(sync_id[:11], 16)
    except ValueError:
        return zlib.crc32(sync_id.encode())


def _column(field: Field) -> dict[str, Any]:
    return {"type": ["null", *_ANYTHING]} if field.logical == "json" else _kind(field.type)


def _kind(kind: pa.DataType) -> dict[str, Any]:
    said: dict[str, Any]
    if pa.types.is_boolean(kind):
        said = {"type": "boolean"}
    elif pa.types.is_integer(kind) or pa.types.is_duration(kind):
        said = {"type": "integer"}
    elif pa.types.is_floating(kind) or (pa.types.is_decimal(kind) and kind.precision <= _EXACT_DIGITS):
        said = {"type": "number"}
    elif pa.types.is_date(kind):
        said = {"type": "string", "format": "date"}
    elif pa.types.is_timestamp(kind):
        zone = "with" if kind.tz is not None else "without"
        said = {"type": "string", "format": "date-time", "airbyte_type": f"timestamp_{zone}_timezone"}
    elif pa.types.is_time(kind):
        said = {"type": "string", "format": "time", "airbyte_type": "time_without_timezone"}
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        said = {"type": "array", "items": _kind(kind.value_type)}
    elif pa.types.is_struct(kind):
        said = {"type": "object", "properties": {f.name: _kind(f.type) for f in kind}}
    else:
        said = {"type": "string"}
    return _nullable(said)


def _nullable(said: Mapping[str, Any]) -> dict[str, Any]:
    return {**said, "type": ["null", said["type"]]}
