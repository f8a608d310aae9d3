"""Drives the source as the engine does: plan, read every partition, keep the position."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import psycopg
import pyarrow as pa

from syncline.connectors.postgres.config import PostgresSourceConfig
from syncline.connectors.postgres.reading.source import PostgresSource
from syncline.core.partition import ReadPlan
from syncline.core.stream import SelectedStream, StreamName, SyncMode
from syncline.sdk.connector import ConnectorContext
from syncline.testing.postgres_server import PostgresServer

APPEND, MERGE, FULL = "incremental_append", "incremental_deduped_history", "full_refresh_overwrite"
#: Small enough that tables of some thousand rows are cut.
SMALL = 65536


_NUMBERS = {pa.timestamp("us").id: pa.int64(), pa.date32().id: pa.int32()}


class Database:
    """One database of a server, an open session to change it, and sources that read it."""

    def __init__(self, server: PostgresServer, name: str, work_dir: Path) -> None:
        self.server = server
        self.name = name
        self.work_dir = work_dir
        self.session = server.connect(name)
        self._sources: list[PostgresSource] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for source in self._sources:
            source.close()
        self.session.close()

    def execute(self, *statements: str) -> None:
        for statement in statements:
            self.session.execute(statement.encode())

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return self.session.execute(query.encode()).fetchall()

    def connect(self, **overrides: Any) -> psycopg.Connection[Any]:
        return self.server.connect(self.name, **overrides)

    def source(self, **config: Any) -> PostgresSource:
        params = {
            "host": self.server.host,
            "port": self.server.port,
            "database": self.name,
            "username": self.server.user,
            "password": self.server.password,
            **config,
        }
        context = ConnectorContext(connection="test", work_dir=self.work_dir)
        source = PostgresSource(PostgresSourceConfig.model_validate(params), context)
        self._sources.append(source)
        return source

    def selected(
        self,
        table: str,
        mode: str = FULL,
        *,
        source: PostgresSource | None = None,
        cursor: str | None = None,
        key: str = "",
    ) -> SelectedStream:
        schema, _, name = table.rpartition(".")
        stream = (source or self.source()).discover().get(StreamName(namespace=schema or "public", name=name))
        assert stream is not None, table
        return SelectedStream(
            stream=stream,
            sync_mode=SyncMode(mode),
            cursor_field=cursor,
            primary_key=tuple(key.split(",")) if key else stream.primary_key,
        )

    def sync(self, table: str, mode: str, *, cursor: str | None = None, key: str = "", **config: Any) -> Sync:
        source = self.source(**config)
        return Sync(source, self.selected(table, mode, source=source, cursor=cursor, key=key))


class Sync:
    """A stream and its position between runs; ``delivered`` is everything that an appending destination holds."""

    def __init__(self, source: PostgresSource, selected: SelectedStream) -> None:
        self.source = source
        self.selected = selected
        self.position: Mapping[str, Any] | None = None
        self.delivered: list[dict[str, Any]] = []
        self.plan: ReadPlan | None = None

    def prepare(self) -> ReadPlan:
        plan = (
            self.source.snapshot(self.selected)
            if self.position is None
            else self.source.read_since(self.selected, self.position)
        )
        # As through the ledger.
        self.plan = ReadPlan.from_json(json.loads(json.dumps(plan.to_json())))
        assert len({p.id for p in self.plan.partitions}) == len(self.plan.partitions)
        return self.plan

    def finish(self) -> list[dict[str, Any]]:
        assert self.plan is not None
        found = read_all(self.source, self.selected, self.plan)
        self.position = self.plan.end
        self.source.acknowledge(self.selected, self.position)
        self.delivered += found
        return found

    def run(self) -> list[dict[str, Any]]:
        self.prepare()
        return self.finish()

    def merged(self) -> dict[Any, dict[str, Any]]:
        """What a destination that merges by ``id`` holds."""
        return {row["id"]: row for row in self.delivered}


def read_all(source: PostgresSource, selected: SelectedStream, plan: ReadPlan) -> list[dict[str, Any]]:
    found = []
    for partition in plan.partitions:
        for batch in source.read(selected, partition):
            assert batch.data.schema == selected.stream.schema.arrow()
            rows = _plain(batch.data).to_pylist()
            for misfit in batch.misfits:
                assert rows[misfit.row][misfit.column] is None
                rows[misfit.row][misfit.column] = misfit.text
            found += rows
    return found


def _plain(data: pa.RecordBatch) -> pa.Table:
    """Moments as numbers: Python has none before the year 1 or after 9999."""
    fields = [f.with_type(_NUMBERS.get(f.type.id, f.type)) for f in data.schema]
    return pa.table(data).cast(pa.schema(fields))


def ids(rows: list[dict[str, Any]]) -> list[Any]:
    return sorted(row["id"] for row in rows)
