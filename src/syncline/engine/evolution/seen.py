"""What the source looked like at the last run: the ledger's entry that changes are told from.

It stands under a stream name of its own, so that destinations need nothing new. Its position is ``{"names": [every
stream], "streams": {name: {...}}}`` with the columns of those that the connection takes, in the source's words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from syncline.core.checkpoint import StreamCheckpoint, StreamTarget
from syncline.core.schema import Field, StreamSchema
from syncline.core.stream import StreamName, WriteMode
from syncline.engine.spec import AttemptSpec
from syncline.sdk.destination import Destination

__all__ = ["SCHEMA_STREAM", "SeenSource", "SeenStream", "read_seen", "write_seen"]

SCHEMA_STREAM = StreamName(namespace="_syncline", name="schema")


@dataclass(frozen=True, kw_only=True)
class SeenStream:
    """``left``: columns that are left out. ``named``: present name -> the name that the destination keeps. ``held``:
    column -> the field that the destination keeps."""

    fields: tuple[Field, ...]
    key: tuple[str, ...]
    left: frozenset[str] = frozenset()
    named: Mapping[str, str] = field(default_factory=dict)
    held: Mapping[str, Field] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "fields": StreamSchema(fields=self.fields).to_json(),
            "key": list(self.key),
            **({"left": sorted(self.left)} if self.left else {}),
            **({"named": dict(self.named)} if self.named else {}),
            **({"held": {name: f.to_json() for name, f in self.held.items()}} if self.held else {}),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SeenStream:
        return cls(
            fields=StreamSchema.from_json(data["fields"]).fields,
            key=tuple(data["key"]),
            left=frozenset(data.get("left", ())),
            named=data.get("named", {}),
            held={name: Field.from_json(f) for name, f in data.get("held", {}).items()},
        )


@dataclass(frozen=True, kw_only=True)
class SeenSource:
    """``names``: every stream that the source offered."""

    names: frozenset[str]
    streams: Mapping[str, SeenStream]

    def to_json(self) -> dict[str, Any]:
        return {
            "names": sorted(self.names),
            "streams": {name: seen.to_json() for name, seen in sorted(self.streams.items())},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SeenSource:
        return cls(
            names=frozenset(data["names"]),
            streams={name: SeenStream.from_json(seen) for name, seen in data["streams"].items()},
        )


def read_seen(destination: Destination, connection: str) -> SeenSource | None:
    """None before the first run."""
    entry = destination.committed(connection, SCHEMA_STREAM)
    if entry is None or entry.checkpoint.position is None:
        return None
    return SeenSource.from_json(entry.checkpoint.position)


def write_seen(spec: AttemptSpec, destination: Destination, seen: SeenSource) -> None:
    """One commit of the ledger."""
    target = StreamTarget(
        connection=spec.connection,
        stream=SCHEMA_STREAM,
        schema=StreamSchema(fields=()),
        write=WriteMode.APPEND,
        generation=0,
        sync_id=spec.sync_id,
        sync_date=spec.sync_date,
    )
    entry = destination.fence(spec.connection, SCHEMA_STREAM)
    following: StreamCheckpoint = entry.checkpoint.next(position=seen.to_json())
    destination.commit(target, [], following, entry.token)
