"""A short driver of the protocol for the tests of the DuckDB destination: what the engine does, without the engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from syncline.connectors.duckdb.config import DuckdbDestinationConfig
from syncline.connectors.duckdb.destination import DuckdbDestination
from syncline.core.batch import Batch
from syncline.core.checkpoint import LedgerEntry, Phase, Staged, StreamCheckpoint, StreamTarget
from syncline.core.partition import Partition, ReadPlan
from syncline.core.schema import Field, StreamSchema
from syncline.core.stream import StreamName, WriteMode
from syncline.sdk.connector import ConnectorContext

STREAM = StreamName(namespace="public", name="orders")
PEOPLE = StreamSchema(
    fields=(
        Field(name="id", type=pa.int64()),
        Field(name="name", type=pa.string()),
        Field(name="seen", type=pa.int64()),
    )
)
CONSTANTS = {
    "_syncline_extracted_at": "2026-11-21T10:00:00+00:00",
    "_syncline_sync_id": "s1",
    "_syncline_generation": "1",
}
METADATA = (
    Field(name="_syncline_extracted_at", type=pa.timestamp("us", tz="UTC")),
    Field(name="_syncline_sync_id", type=pa.string()),
    Field(name="_syncline_generation", type=pa.int64()),
)


def destination(path: Path, **settings: Any) -> DuckdbDestination:
    config = DuckdbDestinationConfig.model_validate({"destination_path": str(path), **settings})
    return DuckdbDestination(config, ConnectorContext(connection="c", work_dir=path.parent))


def target(
    write: WriteMode = WriteMode.REPLACE,
    *,
    schema: StreamSchema = PEOPLE,
    generation: int = 1,
    key: Sequence[str] = (),
    cursor: str | None = None,
    dedupe: bool = False,
    stream: StreamName = STREAM,
    constants: Mapping[str, str] | None = None,
    sync_id: str = "s1",
    connection: str = "c",
) -> StreamTarget:
    metadata = METADATA if constants else ()
    return StreamTarget(
        connection=connection,
        stream=stream,
        schema=schema.extended(*metadata),
        write=write,
        generation=generation,
        sync_id=sync_id,
        sync_date=date(2026, 11, 21),
        primary_key=tuple(key),
        cursor_field=cursor,
        dedupe=dedupe,
        constants=constants or {},
    )


def people(rows: Sequence[tuple[Any, Any, Any]]) -> Batch:
    """A batch of PEOPLE from tuples."""
    columns = list(zip(*rows, strict=True)) if rows else [(), (), ()]
    arrays = [pa.array(c, f.type) for c, f in zip(columns, PEOPLE.fields, strict=True)]
    return Batch(data=pa.RecordBatch.from_arrays(arrays, schema=PEOPLE.arrow()))


def plan(*partitions: str, name: str = "p", resumable: bool = True) -> ReadPlan:
    return ReadPlan(
        id=name,
        partitions=tuple(Partition(id=p, bounds={}) for p in partitions),
        end={"at": name},
        resumable=resumable,
    )


class Attempt:
    """One attempt at one stream: fence, plan, prepare; then the test writes, seals and commits."""

    def __init__(
        self, to: DuckdbDestination, aim: StreamTarget, read: ReadPlan | None, *, resume: bool = False
    ) -> None:
        self.to = to
        self.aim = aim
        entry: LedgerEntry = to.fence(aim.connection, aim.stream)
        self.token, self.checkpoint = entry.token, entry.checkpoint
        if not resume:
            assert read is not None
            following = self.checkpoint.next(
                phase=Phase.READING,
                plan=read,
                write=aim.write,
                generation=aim.generation,
                done=frozenset(),
                schema=aim.schema,
                sync_id=aim.sync_id,
            )
            to.commit(aim, [], following, self.token)
            self.checkpoint = following
        self.recovered = to.prepare(aim, self.checkpoint, self.token)

    def stage(self, partition: str, *batches: Batch) -> Staged:
        writer = self.to.writer(self.aim, partition, self.token)
        for batch in batches:
            writer.write(_with_constants(batch, self.aim))
        return Staged.from_json(writer.seal().to_json())

    def commit(self, *staged: Staged, publish: bool = False) -> None:
        following = self.checkpoint.next(done=self.checkpoint.done | {s.partition for s in staged})
        if publish:
            assert self.checkpoint.plan is not None
            end = self.checkpoint.plan.end
            following = replace(following, phase=Phase.IDLE, plan=None, write=None, done=frozenset(), position=end)
        self.to.commit(self.aim, staged, following, self.token, publish=publish)
        self.checkpoint = following


def _with_constants(batch: Batch, aim: StreamTarget) -> Batch:
    if not aim.constants:
        return batch
    rows = batch.data.num_rows
    more = [pa.array([aim.constants[f.name]] * rows).cast(f.type) for f in METADATA]
    data = pa.RecordBatch.from_arrays([*batch.data.columns, *more], schema=aim.schema.arrow())
    return Batch(data=data, misfits=batch.misfits)


def load(to: DuckdbDestination, aim: StreamTarget, *parts: Sequence[Batch], name: str = "p") -> Attempt:
    """A whole plan: one partition per item, each committed by itself, then published."""
    ids = [str(i) for i in range(len(parts))]
    attempt = Attempt(to, aim, plan(*ids, name=name))
    for part, batches in zip(ids, parts, strict=True):
        attempt.commit(attempt.stage(part, *batches))
    attempt.commit(publish=True)
    return attempt


def rows(path: Path, query: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    with closing(duckdb.connect(str(path), read_only=True)) as con:
        con.execute("SET TimeZone = 'UTC'")
        return con.execute(query, list(parameters)).fetchall()


def ledger(path: Path) -> StreamCheckpoint:
    found = destination(path).committed("c", STREAM)
    assert found is not None
    return found.checkpoint
