"""Postgres as source and as destination of a stream."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from syncline.connectors.postgres.config import PostgresDestinationConfig, PostgresSourceConfig
from syncline.connectors.postgres.connection import PostgresConnectionConfig, connect
from syncline.core.checkpoint import StreamTarget
from syncline.core.stream import SelectedStream, StreamName
from syncline.sdk.config import ConnectorConfig
from syncline.verify.postgres_catalog import Relation
from syncline.verify.postgres_cells import identifier, literal
from syncline.verify.postgres_side import PostgresSide
from syncline.verify.postgres_statements import PostgresTable
from syncline.verify.quarantine import Record
from syncline.verify.side import Latest
from syncline.verify.stream import DestinationEnd, Scope

if TYPE_CHECKING:
    import psycopg

__all__ = ["open_postgres_destination", "open_postgres_source"]

_SESSIONS = 2
_QUARANTINE = "_syncline_quarantine"


def open_postgres_source(
    config: ConnectorConfig,
    selected: SelectedStream,
    position: Mapping[str, Any] | None,
    latest: Latest | None,
    work_dir: Path,
    snapshot: str | None,
    where: str | None = None,
) -> PostgresSide:
    """The stream's table or view, as ``snapshot`` shows it where one is given; rows changed after ``position`` are
    pending. ``where``: an SQL condition of the connection's mappings."""
    config = cast(PostgresSourceConfig, config)
    table = PostgresTable(
        schema=selected.name.namespace or "public", name=selected.name.name, where=where, latest=latest
    )

    def decide(relation: Relation) -> PostgresTable:
        pending = _pending(relation, position, rows_have_xmin=latest is None) if position else None
        return replace(table, pending=pending)

    return PostgresSide(
        _connector(config, work_dir),
        table,
        label="source",
        sessions=min(_SESSIONS, config.concurrency or _SESSIONS),
        max_age=config.max_transaction_age,
        lock_timeout=config.lock_timeout,
        decide=decide,
        snapshot=snapshot,
    )


def open_postgres_destination(
    config: ConnectorConfig, target: StreamTarget, scope: Scope, work_dir: Path
) -> DestinationEnd:
    """The stream's table."""
    config = cast(PostgresDestinationConfig, config)
    schema, name = _place(config, target.stream)
    where = scope.where
    if scope.generation is not None and scope.generation_column is not None:
        where = f"{identifier(scope.generation_column)} = {scope.generation}"
    side = PostgresSide(
        _connector(config, work_dir),
        PostgresTable(schema=schema, name=name, where=where, latest=scope.latest),
        label="destination",
        sessions=_SESSIONS,
    )
    if scope.generation is not None and where is None:
        side.notes.append("destination: without metadata columns all generations are compared")

    def quarantine() -> list[Record]:
        place = f"{literal(schema)} AND c.relname = {literal(_QUARANTINE)}"
        there = side.query(
            f"SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = {place}"
        )
        if not there:
            return []
        stream = target.stream
        rows = side.query(
            f"SELECT record::text FROM {identifier(schema, _QUARANTINE)} "
            f"WHERE connection = {literal(target.connection)} AND stream_namespace = {literal(stream.namespace or '')} "
            f"AND stream_name = {literal(stream.name)}"
        )
        return [_record(text) for (text,) in rows]

    return DestinationEnd(side=side, quarantine=quarantine)


def _connector(config: PostgresConnectionConfig, work_dir: Path) -> Callable[[], psycopg.Connection[tuple[Any, ...]]]:
    return partial(connect, config, work_dir=work_dir, application_name="syncline verify")


def _place(config: PostgresDestinationConfig, stream: StreamName) -> tuple[str, str]:
    """Schema and table, by the rules that the configuration's fields describe."""
    schema = config.target_schema
    if config.namespace == "source" and stream.namespace:
        schema = stream.namespace
    schema = schema.replace("${SOURCE_NAMESPACE}", stream.namespace or "")
    return schema, config.table if config.table is not None else config.table_prefix + stream.name


def _pending(relation: Relation, position: Mapping[str, Any], *, rows_have_xmin: bool) -> str | None:
    """The condition under which the sync that reached ``position`` was not yet to see a row as it is now."""
    unsettled = "false"
    if rows_have_xmin and relation.kind in ("r", "p") and position.get("horizon") is not None:
        unsettled = _written_since(int(position["horizon"]))
    if position.get("kind") == "xmin":
        return unsettled
    name = position.get("field")
    if position.get("kind") != "cursor" or name not in relation.columns:
        return None
    column, upto = identifier(str(name)), position.get("cursor")
    if upto is None:
        return "true"
    typed = identifier(relation.columns[str(name)].name)
    late = f"{column} >= {literal(str(position.get('floor') or upto))}::{typed} OR {column} IS NULL"
    return f"{column} > {literal(str(upto))}::{typed} OR (({late}) AND {unsettled})"


def _written_since(horizon: int) -> str:
    """Whether a row's version is of a transaction from ``horizon`` (64 bits) on. Rows keep 32 bits, compared in a
    circle; ids below 3 are of rows as old as the table."""
    xmin = "xmin::text::bigint"
    distance = f"({xmin} - {horizon % 2**32} + 4294967296) % 4294967296"
    return f"({xmin} >= 3 AND {distance} < 2147483648)"


def _record(text: str) -> Record:
    import json

    return cast(Record, json.loads(text))
