"""Streams, catalogs and selections: what a source has and what a connection takes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from syncline.core.schema import StreamSchema

__all__ = ["Catalog", "SelectedStream", "Stream", "StreamName", "SyncMode", "WriteMode"]


class SyncMode(StrEnum):
    """How a stream is read and kept, in Airbyte's words."""

    FULL_REFRESH_OVERWRITE = "full_refresh_overwrite"
    FULL_REFRESH_APPEND = "full_refresh_append"
    FULL_REFRESH_OVERWRITE_DEDUPED = "full_refresh_overwrite_deduped"
    INCREMENTAL_APPEND = "incremental_append"
    INCREMENTAL_DEDUPED_HISTORY = "incremental_deduped_history"

    @property
    def incremental(self) -> bool:
        return self in (SyncMode.INCREMENTAL_APPEND, SyncMode.INCREMENTAL_DEDUPED_HISTORY)

    @property
    def deduped(self) -> bool:
        return self in (SyncMode.FULL_REFRESH_OVERWRITE_DEDUPED, SyncMode.INCREMENTAL_DEDUPED_HISTORY)


class WriteMode(StrEnum):
    """What one plan's rows do to the destination; derived from the sync mode and whether it is the first load."""

    REPLACE = "replace"  #: a new generation, invisible until it is whole, then swapped in
    APPEND = "append"  #: rows are added; each commit is visible
    MERGE = "merge"  #: rows replace those with the same primary key; each commit is visible


@dataclass(frozen=True, kw_only=True, order=True)
class StreamName:
    """Namespace (schema, folder; may be None) and name of a stream. ``str()`` gives ``namespace.name``."""

    namespace: str | None = None
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}.{self.name}" if self.namespace else self.name

    def to_json(self) -> dict[str, Any]:
        return {"namespace": self.namespace, "name": self.name}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> StreamName:
        return cls(namespace=data.get("namespace"), name=data["name"])


@dataclass(frozen=True, kw_only=True)
class Stream:
    """One table-like flow that a source offers.

    ``primary_key`` is empty when there is none. ``cursor_fields`` are columns usable as a cursor, best first;
    ``source_defined_cursor`` means that the source knows by itself what is new (Xmin, files by modification time).
    ``dialect`` names the type language of the fields' ``native`` (``postgres``), or None. ``kind`` is the source's
    word:
    ``table``, ``view``, ``materialized view``, ``partitioned table``, ``file``. ``estimated_rows``/``estimated_bytes``
    are the source's guess for progress, -1 when unknown. ``mapping`` is what a connection does with the stream's rows
    on their way, as plain JSON (the words are those of :mod:`syncline.sdk.mapping`); the schema is that before it.
    """

    name: StreamName
    schema: StreamSchema
    primary_key: tuple[str, ...] = ()
    cursor_fields: tuple[str, ...] = ()
    source_defined_cursor: bool = False
    incremental: bool = True
    dialect: str | None = None
    kind: str = "table"
    estimated_rows: int = -1
    estimated_bytes: int = -1
    mapping: tuple[Mapping[str, Any], ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name.to_json(),
            "schema": self.schema.to_json(),
            "primary_key": list(self.primary_key),
            "cursor_fields": list(self.cursor_fields),
            "source_defined_cursor": self.source_defined_cursor,
            "incremental": self.incremental,
            "dialect": self.dialect,
            "kind": self.kind,
            "estimated_rows": self.estimated_rows,
            "estimated_bytes": self.estimated_bytes,
            **({"mapping": [dict(step) for step in self.mapping]} if self.mapping else {}),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Stream:
        return cls(
            name=StreamName.from_json(data["name"]),
            schema=StreamSchema.from_json(data["schema"]),
            primary_key=tuple(data["primary_key"]),
            cursor_fields=tuple(data["cursor_fields"]),
            source_defined_cursor=data["source_defined_cursor"],
            incremental=data["incremental"],
            dialect=data["dialect"],
            kind=data["kind"],
            estimated_rows=data["estimated_rows"],
            estimated_bytes=data["estimated_bytes"],
            mapping=tuple(data.get("mapping", ())),
        )


@dataclass(frozen=True, kw_only=True)
class Catalog:
    """All streams that a source offers, in name order."""

    streams: tuple[Stream, ...]

    def get(self, name: StreamName) -> Stream | None:
        return next((s for s in self.streams if s.name == name), None)

    def to_json(self) -> dict[str, Any]:
        return {"streams": [s.to_json() for s in self.streams]}


@dataclass(frozen=True, kw_only=True)
class SelectedStream:
    """A stream as a connection takes it: the schema narrowed to the chosen columns, mode, key and cursor set.

    ``origin`` is the same stream as its source knows it, when something is done with its rows on their way (then
    ``origin.stream.mapping`` says what): names, key and columns of this one are those that the destination sees."""

    stream: Stream
    sync_mode: SyncMode
    cursor_field: str | None = None
    primary_key: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    origin: SelectedStream | None = None

    @property
    def name(self) -> StreamName:
        return self.stream.name

    @property
    def source_name(self) -> StreamName:
        """What the source calls it."""
        return self.stream.name if self.origin is None else self.origin.stream.name

    def called(self, name: str) -> bool:
        """Whether a person who writes ``table`` or ``schema.table`` may mean it: by its own name, or the source's."""
        return any(name in (str(known), known.name) for known in (self.name, self.source_name))

    def to_json(self) -> dict[str, Any]:
        return {
            "stream": self.stream.to_json(),
            "sync_mode": self.sync_mode.value,
            "cursor_field": self.cursor_field,
            "primary_key": list(self.primary_key),
            "options": dict(self.options),
            **({} if self.origin is None else {"origin": self.origin.to_json()}),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SelectedStream:
        return cls(
            stream=Stream.from_json(data["stream"]),
            sync_mode=SyncMode(data["sync_mode"]),
            cursor_field=data["cursor_field"],
            primary_key=tuple(data["primary_key"]),
            options=data.get("options", {}),
            origin=SelectedStream.from_json(data["origin"]) if data.get("origin") else None,
        )
