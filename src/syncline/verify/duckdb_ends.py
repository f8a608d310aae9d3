"""A DuckDB file as destination of a stream."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

from syncline.connectors.duckdb.config import DuckdbDestinationConfig
from syncline.core.checkpoint import StreamTarget
from syncline.core.errors import ErrorKind, SynclineError
from syncline.sdk.config import ConnectorConfig
from syncline.verify.duckdb_cells import identifier, literal
from syncline.verify.duckdb_side import DuckDbSide, Restriction
from syncline.verify.duckdb_table import DATABASE, DuckDbTable
from syncline.verify.quarantine import Record
from syncline.verify.stream import DestinationEnd, Scope

__all__ = ["open_duckdb_destination"]

_QUARANTINE = "_syncline_quarantine"


def open_duckdb_destination(
    config: ConnectorConfig, target: StreamTarget, scope: Scope, work_dir: Path
) -> DestinationEnd:
    """The stream's table. The file is held open for reading until the end is closed."""
    config = cast(DuckdbDestinationConfig, config)
    stream = target.stream
    schema = stream.namespace if config.namespace == "source" and stream.namespace else config.target_schema
    path = Path(config.destination_path).absolute()
    if not path.exists():
        raise SynclineError(
            ErrorKind.CONFIG, f"there is no database file {path}", hint="run the sync first, or check the path"
        )
    where = scope.where
    if scope.generation is not None and scope.generation_column is not None:
        where = f"{identifier(scope.generation_column)} = {scope.generation}"
    side = DuckDbSide(
        DuckDbTable(path, schema, config.table_prefix + stream.name, lock_timeout=config.lock_timeout),
        label="destination",
        work_dir=work_dir,
        restriction=Restriction(where=where, latest=scope.latest),
    )
    if scope.generation is not None and where is None:
        side.notes.append("destination: without metadata columns all generations are compared")

    def quarantine() -> list[Record]:
        there = side.query(
            f"SELECT 1 FROM duckdb_tables() WHERE database_name = {literal(DATABASE)} "
            f"AND schema_name = {literal(schema)} AND table_name = {literal(_QUARANTINE)}"
        )
        if not there:
            return []
        rows = side.query(
            f"SELECT record::VARCHAR FROM {identifier(DATABASE, schema, _QUARANTINE)} "
            f"WHERE connection = {literal(target.connection)} AND stream_namespace = {literal(stream.namespace or '')} "
            f"AND stream_name = {literal(stream.name)}"
        )
        return [cast(Record, json.loads(text)) for (text,) in rows]

    return DestinationEnd(side=side, quarantine=quarantine)
