"""What the log says about a table (pgoutput's Relation message), and what the connector makes of it for a stream.

The decoder asks ``describe(RelationMessage) -> Described | Refused | None`` before the first change that follows a
Relation message which says something new; None: the table is not selected. It asks once per such message, from the
thread that decodes, and skips the table's changes until the next one when the answer is None or Refused.

Format: PostgreSQL documentation, "Logical Replication Message Formats", Relation.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

from syncline.core.change import Evolution
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.schema import StreamSchema
from syncline.core.stream import StreamName

__all__ = ["Described", "Refused", "RelationColumn", "RelationMessage"]


@dataclass(frozen=True, kw_only=True)
class RelationColumn:
    """One column as the log has it. ``type_oid`` and ``typmod`` are those of ``pg_attribute``; ``key``: part of the
    replica identity (of the index; under FULL every column)."""

    name: str
    type_oid: int
    typmod: int
    key: bool


@dataclass(frozen=True, kw_only=True)
class RelationMessage:
    """A table as it was when the changes that follow were made, columns in the order of their values.

    ``oid`` is ``pg_class.oid`` (of the root, where the publication says so), ``identity`` is
    ``pg_class.relreplident``: d default, n nothing, f full, i index. Dropped and generated columns are not there."""

    oid: int
    namespace: str
    name: str
    identity: str
    columns: tuple[RelationColumn, ...]

    @classmethod
    def parse(cls, message: bytes, *, streamed: bool = False) -> RelationMessage:
        """From the whole message, type byte included; ``streamed``: with an xid after it. Raises ``data``."""
        try:
            at = 5 if streamed else 1
            (oid,) = struct.unpack_from(">I", message, at)
            namespace, at = _string(message, at + 4)
            name, at = _string(message, at)
            identity, count = struct.unpack_from(">cH", message, at)
            at += 3
            columns = []
            for _ in range(count):
                flags = message[at]
                column, at = _string(message, at + 1)
                type_oid, typmod = struct.unpack_from(">Ii", message, at)
                at += 8
                columns.append(RelationColumn(name=column, type_oid=type_oid, typmod=typmod, key=bool(flags & 1)))
            if message[:1] != b"R" or at != len(message):
                raise ValueError("a Relation message of a wrong length")
        except (struct.error, IndexError, ValueError) as error:
            raise SynclineError(
                ErrorKind.DATA,
                f"the log holds a malformed Relation message: {error}",
                hint="report this as a defect",
            ) from error
        # An empty namespace stands for pg_catalog.
        return cls(
            oid=oid,
            namespace=namespace or "pg_catalog",
            name=name,
            identity=identity.decode("latin-1"),
            columns=tuple(columns),
        )


def _string(message: bytes, at: int) -> tuple[str, int]:
    end = message.index(b"\0", at)
    return message[at:end].decode("utf-8", "backslashreplace"), end + 1


@dataclass(frozen=True, kw_only=True)
class Described:
    """How a table's changes become rows of a stream.

    ``columns`` holds for each field of ``schema`` the index of its column in the Relation message. ``key`` are names of
    fields: the primary key of the stream, empty without one; its columns should be part of the replica identity, for
    otherwise the log does not say which row was deleted or moved. ``evolution`` is to be set when ``schema`` is not
    what the stream had before; the next batch of the stream then carries it.

    ``delimiters``: for array fields whose items' type has another ``pg_type.typdelim`` than a comma, that character
    (``box`` is known)."""

    stream: StreamName
    schema: StreamSchema
    columns: tuple[int, ...]
    key: tuple[str, ...] = ()
    evolution: Evolution | None = None
    delimiters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Refused:
    """The stream cannot go on with this table (an unsafe change); ``error`` says what to do."""

    stream: StreamName
    error: SynclineError
