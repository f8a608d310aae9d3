"""Drives the destination as the engine does, with hand-made plans and batches."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa

from syncline.connectors.postgres.writing.config import PostgresDestinationConfig
from syncline.connectors.postgres.writing.destination import PostgresDestination
from syncline.core.batch import Batch, Misfit
from syncline.core.checkpoint import Phase, Staged, StreamCheckpoint, StreamTarget
from syncline.core.partition import Partition, ReadPlan
from syncline.core.schema import Field, StreamSchema
from syncline.core.stream import StreamName, WriteMode
from syncline.sdk.connector import ConnectorContext

CONSTANTS = {
    "_syncline_extracted_at": "2026-11-21T08:00:00+00:00",
    "_syncline_sync_id": "s1",
    "_syncline_generation": "1",
}
METADATA = (
    Field(name="_syncline_extracted_at", type=pa.timestamp("us", tz="UTC")),
    Field(name="_syncline_sync_id", type=pa.string()),
    Field(name="_syncline_generation", type=pa.int64()),
)
ORDERS = (
    Field(name="id", type=pa.int64(), nullable=False),
    Field(name="name", type=pa.string()),
    Field(name="amount", type=pa.decimal128(15, 2)),
    Field(name="changed", type=pa.timestamp("us", tz="UTC")),
)


@contextmanager
def destination(dsn: Mapping[str, Any], connection: str = "c", **config: Any) -> Iterator[PostgresDestination]:
    model = PostgresDestinationConfig.model_validate(
        {
            "host": dsn["host"],
            "port": dsn["port"],
            "database": dsn["dbname"],
            "username": dsn["user"],
            "password": dsn["password"],
            **config,
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        made = PostgresDestination(model, ConnectorContext(connection=connection, work_dir=Path(folder)))
        try:
            yield made
        finally:
            made.close()


def target(
    *,
    fields: Sequence[Field] = ORDERS,
    stream: str = "orders",
    namespace: str | None = "shop",
    write: WriteMode = WriteMode.REPLACE,
    generation: int = 1,
    sync_id: str = "s1",
    metadata: bool = True,
    connection: str = "c",
    **more: Any,
) -> StreamTarget:
    constants = {**CONSTANTS, "_syncline_generation": str(generation), "_syncline_sync_id": sync_id}
    return StreamTarget(
        connection=connection,
        stream=StreamName(namespace=namespace, name=stream),
        schema=StreamSchema(fields=(*fields, *(METADATA if metadata else ()))),
        write=write,
        generation=generation,
        sync_id=sync_id,
        sync_date=date(2026, 11, 21),
        constants=constants if metadata else {},
        **more,
    )


def batch(fields: Sequence[Field], columns: Mapping[str, Sequence[Any]], misfits: Sequence[Misfit] = ()) -> Batch:
    """Data columns only; the metadata columns of the target are added as the engine's normalizer does."""
    rows = len(next(iter(columns.values())))
    arrays = [pa.array(columns[f.name], f.type) for f in fields]
    schema = StreamSchema(fields=(*fields, *METADATA)).arrow()
    arrays += [pa.nulls(rows, f.type) for f in METADATA]
    return Batch(data=pa.RecordBatch.from_arrays(arrays, schema=schema), misfits=tuple(misfits))


def orders(*rows: tuple[Any, ...]) -> Batch:
    """Rows of (id, name, amount, changed)."""
    import datetime as dt
    from decimal import Decimal

    def when(second: Any) -> Any:
        return None if second is None else dt.datetime(2026, 1, 1, 0, 0, second, tzinfo=dt.UTC)

    return batch(
        ORDERS,
        {
            "id": [r[0] for r in rows],
            "name": [r[1] if len(r) > 1 else None for r in rows],
            "amount": [Decimal(r[2]) if len(r) > 2 and r[2] is not None else None for r in rows],
            "changed": [when(r[3]) if len(r) > 3 else None for r in rows],
        },
    )


def plan_of(parts: Sequence[str], name: str = "plan") -> ReadPlan:
    return ReadPlan(id=name, partitions=tuple(Partition(id=p, bounds={}) for p in parts), end={"at": name})


class Run:
    """One plan of one stream, step by step."""

    def __init__(
        self, made: PostgresDestination, aim: StreamTarget, parts: Mapping[str, Sequence[Any]], plan: str = "plan"
    ) -> None:
        self.destination, self.target, self.parts, self.plan_name = made, aim, parts, plan
        self.token = 0
        self.checkpoint = StreamCheckpoint()
        self.recovered: list[Staged] = []

    def start(self) -> Run:
        entry = self.destination.fence(self.target.connection, self.target.stream)
        self.token, self.checkpoint = entry.token, entry.checkpoint
        if (
            self.checkpoint.phase is Phase.READING
            and self.checkpoint.plan
            and self.checkpoint.plan.id == self.plan_name
        ):
            self._commit([], publish=False)
        else:
            self._commit(
                [],
                publish=False,
                phase=Phase.READING,
                plan=plan_of(list(self.parts), self.plan_name),
                write=self.target.write,
                done=frozenset(),
                generation=self.target.generation,
                schema=self.target.schema,
                sync_id=self.target.sync_id,
            )
        self.recovered = self.destination.prepare(self.target, self.checkpoint, self.token)
        return self

    def lay(self, part: str) -> Staged:
        writer = self.destination.writer(self.target, part, self.token)
        try:
            for each in self.parts[part]:
                writer.write(each)
            return writer.seal()
        except BaseException:
            writer.abort()
            raise

    def commit(self, *staged: Staged) -> None:
        self._commit(staged, publish=False, done=self.checkpoint.done | {s.partition for s in staged})

    def finish(self) -> None:
        self._commit(
            [], publish=True, phase=Phase.IDLE, plan=None, write=None, done=frozenset(), position={"at": "end"}
        )

    def all(self) -> list[Staged]:
        """Everything from the fence to the publish; goes on where a dead run stopped."""
        self.start()
        laid = []
        for staged in self.recovered:
            self.commit(staged)
        for part in self.parts:
            if part not in self.checkpoint.done:
                laid.append(self.lay(part))
                self.commit(laid[-1])
        self.finish()
        return laid

    def _commit(self, staged: Sequence[Staged], *, publish: bool, **changes: Any) -> None:
        following = replace(self.checkpoint, sequence=self.checkpoint.sequence + 1, **changes)
        self.destination.commit(self.target, staged, following, self.token, publish=publish)
        self.checkpoint = following
