"""A source and a destination in memory: the contracts in their plainest form, for tests of the engine.

Both keep their world in a process-wide :class:`World` named in their configuration, so that objects made anew from
plain data (as tasks do) meet the same tables.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from syncline.core.batch import Batch, QuarantinedRow
from syncline.core.checkpoint import LedgerEntry, Staged, StreamCheckpoint, StreamTarget
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.partition import Partition, ReadPlan
from syncline.core.schema import Field, StreamSchema
from syncline.core.stream import Catalog, SelectedStream, Stream, StreamName, SyncMode, WriteMode
from syncline.sdk.config import ConnectorConfig
from syncline.sdk.connector import ConnectorContext, ConnectorSpec, register
from syncline.sdk.destination import DestinationTraits
from syncline.sdk.findings import Finding
from syncline.sdk.quarantine import set_aside
from syncline.testing.memory_changes import MemoryChangeSession

__all__ = ["MemoryConfig", "MemoryDestination", "MemorySource", "World", "register_memory", "world"]


@dataclass
class World:
    """Everything that the memory connectors hold. ``tables`` are the source's rows as dicts, ``visible`` those of the
    destination by stream. ``trip`` is called with a place's name and may raise: the fault injection of tests."""

    schemas: dict[str, StreamSchema] = field(default_factory=dict)
    keys: dict[str, tuple[str, ...]] = field(default_factory=dict)
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    resumable: bool = True
    partition_rows: int = 10
    visible: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    hidden: dict[tuple[str, int], list[dict[str, Any]]] = field(default_factory=dict)
    quarantined: dict[str, list[QuarantinedRow]] = field(default_factory=dict)
    stages: dict[str, tuple[list[dict[str, Any]], list[QuarantinedRow]]] = field(default_factory=dict)
    ledger: dict[tuple[str, str], LedgerEntry] = field(default_factory=dict)
    acknowledged: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    reads: list[tuple[str, str]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    trip: Callable[[str], None] = lambda place: None
    lock: threading.RLock = field(default_factory=threading.RLock)

    def table(self, name: str, fields: Sequence[Field], rows: list[dict[str, Any]], key: tuple[str, ...] = ()) -> None:
        self.schemas[name], self.tables[name], self.keys[name] = StreamSchema(fields=tuple(fields)), rows, key


_worlds: dict[str, World] = {}


def world(name: str) -> World:
    """The world of that name, made at first use."""
    return _worlds.setdefault(name, World())


class MemoryConfig(ConnectorConfig):
    """Names the world."""

    world: str


class MemorySource:
    """Reads ``World.tables``; partitions are row ranges of a copy fixed at planning; any column is a cursor."""

    _plans: dict[str, list[dict[str, Any]]] = {}  # noqa: RUF012 - shared on purpose: survives the objects

    def __init__(self, config: MemoryConfig, context: ConnectorContext) -> None:
        self._world = world(config.world)

    def check(self, selection: Sequence[SelectedStream] = ()) -> list[Finding]:
        return []

    def discover(self) -> Catalog:
        w = self._world
        return Catalog(
            streams=tuple(
                Stream(
                    name=StreamName(name=n),
                    schema=w.schemas[n],
                    primary_key=w.keys[n],
                    cursor_fields=w.schemas[n].names,
                )
                for n in sorted(w.tables)
            )
        )

    def snapshot(self, selected: SelectedStream) -> ReadPlan:
        self._world.trip("snapshot")
        rows = list(self._world.tables[selected.name.name])
        return self._plan(selected, rows)

    def read_since(self, selected: SelectedStream, position: Mapping[str, Any]) -> ReadPlan:
        cursor, last = selected.cursor_field, position["cursor"]
        assert cursor is not None
        rows = [r for r in self._world.tables[selected.name.name] if last is None or r[cursor] > last]
        return self._plan(selected, rows, last)

    def _plan(self, selected: SelectedStream, rows: list[dict[str, Any]], last: Any = None) -> ReadPlan:
        plan_id = f"plan{len(self._plans)}"
        self._plans[plan_id] = rows
        size = self._world.partition_rows
        partitions = tuple(
            Partition(id=f"p{i // size}", bounds={"plan": plan_id, "start": i, "stop": i + size})
            for i in range(0, len(rows), size)
        )
        cursor = selected.cursor_field
        end = max((r[cursor] for r in rows), default=last) if cursor else None
        return ReadPlan(
            id=plan_id,
            partitions=partitions,
            end={"cursor": end},
            resumable=self._world.resumable,
            estimated_rows=len(rows),
        )

    def read(self, selected: SelectedStream, partition: Partition) -> Iterator[Batch]:
        self._world.trip(f"read {partition.id}")
        self._world.trip(f"read {selected.name} {partition.id}")
        with self._world.lock:
            self._world.reads.append((selected.name.name, partition.id))
        b = partition.bounds
        rows = self._plans[b["plan"]][b["start"] : b["stop"]]
        schema = selected.stream.schema.arrow()
        for i in range(0, len(rows), 4):
            part = [{n: r.get(n) for n in schema.names} for r in rows[i : i + 4]]
            yield Batch(data=pa.RecordBatch.from_pylist(part, schema=schema))
            self._world.trip(f"read {partition.id} batch")

    def acknowledge(self, selected: SelectedStream, position: Mapping[str, Any]) -> None:
        self._world.acknowledged[selected.name.name] = position

    def close(self) -> None:
        pass


class _MemoryWriter:
    def __init__(self, w: World, key: str, partition: str) -> None:
        self._world, self._key, self._partition = w, key, partition
        self._rows: list[dict[str, Any]] = []
        self._aside: list[QuarantinedRow] = []

    def write(self, batch: Batch) -> None:
        data, aside = set_aside(batch.data, batch.misfits)
        self._rows += data.to_pylist()
        self._aside += aside

    def seal(self) -> Staged:
        self._world.trip(f"seal {self._partition}")
        self._world.stages[self._key] = (self._rows, self._aside)
        return Staged(
            partition=self._partition, rows=len(self._rows), quarantined=len(self._aside), payload={"key": self._key}
        )

    def abort(self) -> None:
        self._world.stages.pop(self._key, None)


class MemoryDestination:
    """Keeps rows in ``World.visible``; every commit is one act under the world's lock."""

    traits = DestinationTraits(modes=frozenset(SyncMode), refusals={}, atomic_scope="connection")

    def __init__(self, config: MemoryConfig, context: ConnectorContext) -> None:
        self._world = world(config.world)

    def check(self, targets: Sequence[StreamTarget] = ()) -> list[Finding]:
        return self._world.findings

    def committed(self, connection: str, stream: StreamName) -> LedgerEntry | None:
        return self._world.ledger.get((connection, str(stream)))

    def fence(self, connection: str, stream: StreamName) -> LedgerEntry:
        with self._world.lock:
            old = self.committed(connection, stream)
            entry = LedgerEntry(
                token=(old.token if old else 0) + 1, checkpoint=old.checkpoint if old else StreamCheckpoint()
            )
            self._world.ledger[connection, str(stream)] = entry
            return entry

    def prepare(self, target: StreamTarget, checkpoint: StreamCheckpoint, token: int) -> list[Staged]:
        with self._world.lock:
            for key in [k for k in self._world.hidden if k[0] == str(target.stream) and k[1] != target.generation]:
                del self._world.hidden[key]
            return []

    def writer(self, target: StreamTarget, partition: str, token: int) -> _MemoryWriter:
        key = f"{target.connection}/{target.stream}/{target.generation}/{partition}/{token}"
        return _MemoryWriter(self._world, key, partition)

    def commit(
        self,
        target: StreamTarget,
        staged: Sequence[Staged],
        checkpoint: StreamCheckpoint,
        token: int,
        *,
        publish: bool = False,
    ) -> None:
        w, stream = self._world, str(target.stream)
        w.trip("commit")
        with w.lock:
            entry = w.ledger[target.connection, stream]
            if entry.token != token or entry.checkpoint.sequence + 1 != checkpoint.sequence:
                raise SynclineError(
                    ErrorKind.CONFLICT,
                    "another attempt has taken over",
                    hint="this one must end",
                    final=entry.token != token,
                )
            for s in staged:
                rows, aside = w.stages.pop(s.payload["key"])
                w.quarantined.setdefault(stream, []).extend(aside)
                self._lay_down(target, stream, rows)
            if publish and target.write is WriteMode.REPLACE:
                rows = w.hidden.pop((stream, target.generation), [])
                w.visible[stream] = _deduped(rows, target) if target.dedupe else rows
            if publish:
                w.visible.setdefault(stream, [])
            w.ledger[target.connection, stream] = LedgerEntry(token=token, checkpoint=checkpoint)
        w.trip("committed")

    def change_session(self, connection: str) -> MemoryChangeSession:
        return MemoryChangeSession(self._world)

    def _lay_down(self, target: StreamTarget, stream: str, rows: list[dict[str, Any]]) -> None:
        w = self._world
        if target.write is WriteMode.REPLACE:
            w.hidden.setdefault((stream, target.generation), []).extend(rows)
        elif target.write is WriteMode.APPEND:
            w.visible.setdefault(stream, []).extend(rows)
        else:
            w.visible[stream] = _deduped([*w.visible.get(stream, []), *rows], target)

    def close(self) -> None:
        pass


def _deduped(rows: list[dict[str, Any]], target: StreamTarget) -> list[dict[str, Any]]:
    """The newest row of each key: the one with the greatest cursor, of equals the last."""
    cursor = target.cursor_field
    ordered = sorted(rows, key=lambda r: (r[cursor] is not None, r[cursor])) if cursor else rows
    return list({tuple(r[k] for k in target.primary_key): r for r in ordered}.values())


def register_memory() -> None:
    """Make ``type: memory`` known to this process, as source and destination."""
    for role, factory in (("source", "MemorySource"), ("destination", "MemoryDestination")):
        register(
            ConnectorSpec(
                name="memory",
                role=role,  # type: ignore[arg-type]
                title="Memory",
                summary="tables in this process, for tests",
                config="syncline.testing.memory:MemoryConfig",
                factory=f"syncline.testing.memory:{factory}",
            )
        )
