"""Where a stream goes and what our own tables beside it are called."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

from syncline.connectors.postgres.reading.statement import TableName
from syncline.connectors.postgres.writing.config import PostgresDestinationConfig
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.stream import StreamName

__all__ = ["MAX_NAME_BYTES", "OURS", "StreamPlace", "place_of", "too_long"]

#: NAMEDATALEN - 1: longer names are cut by the server without an error.
MAX_NAME_BYTES = 63

#: Everything that we make begins so.
OURS = "_syncline_"


@dataclass(frozen=True, kw_only=True)
class StreamPlace:
    """One stream of one connection at this destination: its table and the names that follow from it."""

    connection: str
    stream: StreamName
    table: TableName

    @property
    def digest(self) -> str:
        """Ties our hidden tables to (connection, stream); 12 hex digits."""
        return self._hash().hex()[:12]

    @property
    def lock_class(self) -> int:
        """First key of the advisory locks that every transaction of ours for this stream holds; a signed int4."""
        return int(struct.unpack(">i", self._hash()[6:10])[0])

    def generation(self, generation: int) -> TableName:
        """The hidden table of a generation."""
        return self.table.sibling(f"{OURS}g{generation}_{self.digest}")

    def stage(self, partition: str, token: int) -> TableName:
        """The table in which one partition waits for its commit."""
        part = hashlib.sha256(partition.encode()).hexdigest()[:12]
        return self.table.sibling(f"{OURS}s{token}_{self.digest}_{part}")

    def _hash(self) -> bytes:
        key = "\0".join([self.connection, self.stream.namespace or "", self.stream.name])
        return hashlib.sha256(key.encode()).digest()


def place_of(config: PostgresDestinationConfig, connection: str, stream: StreamName) -> StreamPlace:
    """Apply the naming rules of the configuration. Raises ``config`` for a name that the server would refuse or cut."""
    schema = config.target_schema
    if config.namespace == "source" and stream.namespace:
        schema = stream.namespace
    elif "${SOURCE_NAMESPACE}" in schema:
        if not stream.namespace:
            raise SynclineError(
                ErrorKind.CONFIG,
                f"schema {schema!r} needs the stream's namespace, but stream {stream.name!r} has none",
                hint="set schema to a fixed name",
                where={"stream": str(stream)},
            )
        schema = schema.replace("${SOURCE_NAMESPACE}", stream.namespace)
    name = config.table if config.table is not None else config.table_prefix + stream.name
    for what, text in (("schema", schema), ("table", name)):
        if problem := _name_problem(what, text):
            raise SynclineError(
                ErrorKind.CONFIG,
                f"{what} name {text!r} {problem}",
                hint="choose a shorter table_prefix, or set schema or table to another name",
                where={"stream": str(stream)},
            )
    return StreamPlace(connection=connection, stream=stream, table=TableName(schema=schema, name=name))


def too_long(name: str) -> bool:
    """Whether the server would cut this name."""
    return len(name.encode()) > MAX_NAME_BYTES


def _name_problem(what: str, name: str) -> str | None:
    if not name:
        return "is empty"
    if "\0" in name:
        return "contains the character U+0000"
    if too_long(name):
        return f"has {len(name.encode())} bytes; Postgres keeps only {MAX_NAME_BYTES}"
    if name.startswith(OURS):
        return f"begins with {OURS!r}, which is kept for our own tables"
    if what == "schema" and name.startswith("pg_"):
        return "begins with 'pg_', which Postgres keeps for itself"
    return None
