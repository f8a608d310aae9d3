"""A source in memory that has a log: the contract of :mod:`syncline.sdk.change_log` in its plainest form.

Each transaction gets the LSN ``10 * (its number + 1)`` and the position after it five more. The log is never forgotten
here; ``World.confirmed`` remembers what the source was told, so that tests can see that it was never told too much.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from syncline.core.batch import Batch
from syncline.core.change import ChangeBatch, ChangeSlice, LogPosition, Op
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.partition import ReadPlan
from syncline.core.schema import StreamSchema
from syncline.core.stream import Catalog, SelectedStream, StreamName
from syncline.sdk.change_log import ChangeLog, LogStatus
from syncline.sdk.connector import ConnectorContext, ConnectorSpec, register
from syncline.testing.memory import MemoryConfig, MemorySource, world

__all__ = ["Change", "MemoryLogSource", "Recorded", "recorded", "register_memory_log"]

_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Change:
    """One change of one row. ``row`` is the new one (the old one's key for DELETE, None for TRUNCATE); ``old_key`` is
    set where an UPDATE changed the key; ``unchanged`` names values that it left out."""

    stream: str
    op: Op
    row: Mapping[str, Any] | None = None
    old_key: tuple[Any, ...] | None = None
    unchanged: frozenset[str] = frozenset()


@dataclass
class Recorded:
    """The log of one world, and what became of it."""

    transactions: list[list[Change]] = field(default_factory=list)
    confirmed: int = 0
    system: str = "memory"

    @property
    def end(self) -> int:
        return 10 * len(self.transactions) + 5

    def commit(self, source: MemoryConfig, *changes: Change) -> None:
        """Apply a transaction to the source's tables and write it to the log, in one act."""
        w = world(source.world)
        with w.lock:
            for change in changes:
                _apply(w.tables[change.stream], w.keys[change.stream], change)
            self.transactions.append(list(changes))


_logs: dict[str, Recorded] = {}


def recorded(name: str) -> Recorded:
    """The log of the world of that name, made at first use."""
    return _logs.setdefault(name, Recorded())


def _apply(rows: list[dict[str, Any]], key: tuple[str, ...], change: Change) -> None:
    if change.op is Op.TRUNCATE:
        rows.clear()
        return
    assert change.row is not None
    wanted = change.old_key or tuple(change.row[k] for k in key)
    place = next((i for i, r in enumerate(rows) if tuple(r[k] for k in key) == wanted), None)
    if change.op is Op.INSERT:
        rows.append(dict(change.row))
    elif place is not None and change.op is Op.DELETE:
        del rows[place]
    elif place is not None:
        rows[place] = {n: rows[place][n] if n in change.unchanged else v for n, v in change.row.items()}


class MemoryLogSource(MemorySource):
    """As :class:`MemorySource`, with incremental streams continued by the log."""

    def __init__(self, config: MemoryConfig, context: ConnectorContext) -> None:
        super().__init__(config, context)
        self._config = config

    def discover(self) -> Catalog:
        from dataclasses import replace

        streams = super().discover().streams
        return Catalog(streams=tuple(replace(s, cursor_fields=(), source_defined_cursor=True) for s in streams))

    def snapshot(self, selected: SelectedStream) -> ReadPlan:
        from dataclasses import replace

        log = recorded(self._config.world)
        with self._world.lock:
            plan = super().snapshot(selected)
            # Deliberately early, as a real log's would be: the snapshot shows some transactions behind it.
            end = LogPosition(lsn=max(log.confirmed, log.end - 40), snapshot=str(len(log.transactions)))
        return replace(plan, end=end.to_json()) if selected.sync_mode.incremental else plan

    def change_log(self, selection: Sequence[SelectedStream]) -> ChangeLog:
        return _MemoryLog(self._config)


class _MemoryLog:
    def __init__(self, config: MemoryConfig) -> None:
        self._config, self._log, self._world = config, recorded(config.world), world(config.world)

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"system": self._log.system}

    def open(self, positions: Mapping[StreamName, LogPosition | None], identity: Mapping[str, Any] | None) -> None:
        self._world.trip("log open")
        if identity is not None and identity != self.identity:
            raise SynclineError(ErrorKind.CONFLICT, "another log", hint="reset the state")
        # What was confirmed is forgotten, as a real log forgets it.
        for name, position in positions.items():
            if position is not None and position.lsn < self._log.confirmed:
                raise SynclineError(
                    ErrorKind.CONFLICT,
                    f"{name} needs the log from {position.lsn} on, and it was confirmed up to {self._log.confirmed}",
                    hint="reset the state",
                )

    def end(self) -> int:
        self._world.trip("log end")
        return self._log.end

    def reader(self, positions: Mapping[StreamName, tuple[SelectedStream, LogPosition]], start: int) -> _MemoryReader:
        self._world.trip("log reader")
        assert all(position.lsn >= start for _, position in positions.values())
        return _MemoryReader(self._config, dict(positions), start)

    def keep(self, lsn: int) -> None:
        pass

    def confirm(self, lsn: int) -> None:
        self._world.trip("confirm")
        self._log.confirmed = max(self._log.confirmed, lsn)

    def status(self) -> LogStatus:
        end = self._log.end
        return LogStatus(
            end=end, received=end, confirmed=self._log.confirmed, retained_bytes=0, spool_bytes=0, state="reserved"
        )

    def fetch(self, selected: SelectedStream, keys: pa.RecordBatch) -> Batch:
        wanted = {tuple(row.values()) for row in keys.to_pylist()}
        names = keys.schema.names
        with self._world.lock:
            rows = [r for r in self._world.tables[selected.name.name] if tuple(r[n] for n in names) in wanted]
        schema = selected.stream.schema.arrow()
        return Batch(data=pa.RecordBatch.from_pylist([{n: r.get(n) for n in schema.names} for r in rows], schema))

    def close(self) -> None:
        pass


class _MemoryReader:
    def __init__(
        self, config: MemoryConfig, streams: dict[StreamName, tuple[SelectedStream, LogPosition]], start: int
    ) -> None:
        self._config, self._streams, self.position = config, streams, start
        self._log = recorded(config.world)

    def add(self, selected: SelectedStream, position: LogPosition) -> None:
        assert position.lsn >= self.position
        self._streams[selected.name] = (selected, position)

    def read(self, timeout: float, max_bytes: int = 16 << 20) -> ChangeSlice | None:
        """Three transactions at most."""
        world(self._config.world).trip("log read")
        until = time.monotonic() + timeout
        while self.position >= self._log.end:
            if time.monotonic() >= until:
                return None
            time.sleep(0.002)
        first = max(0, (self.position - 5) // 10)
        last = min(len(self._log.transactions), first + 3)
        batches = [
            (name, batch)
            for name, (selected, position) in self._streams.items()
            if (batch := self._batch(selected, position, first, last)) is not None
        ]
        self.position = 10 * last + 5
        return ChangeSlice(batches=tuple(batches), position=self.position, committed_at=int(time.time() * 1e6))

    def _batch(self, selected: SelectedStream, position: LogPosition, first: int, last: int) -> ChangeBatch | None:
        found: list[tuple[int, int, Change]] = []
        for number in range(first, last):
            lsn = 10 * (number + 1)
            seen = position.snapshot is not None and number < int(position.snapshot)
            if lsn < position.lsn or seen:
                continue
            for ordinal, change in enumerate(self._log.transactions[number], start=1):
                if change.stream == selected.name.name:
                    found.append((lsn, ordinal, change))
        return change_batch(selected.stream.schema, selected.primary_key, found) if found else None

    def close(self) -> None:
        pass


def change_batch(schema: StreamSchema, key: tuple[str, ...], found: list[tuple[int, int, Change]]) -> ChangeBatch:
    """Changes with (LSN, ordinal) as a batch."""
    arrow = schema.arrow()
    rows = [
        {
            n: None if n in c.unchanged or (c.op is Op.DELETE and n not in key) else (c.row or {}).get(n)
            for n in arrow.names
        }
        for _, _, c in found
    ]
    moved = [c.old_key is not None for _, _, c in found]
    masks = {n: pa.array([n in c.unchanged for _, _, c in found], pa.bool_()) for n in arrow.names}
    old = pa.RecordBatch.from_pylist(
        [dict(zip(key, c.old_key or [None] * len(key), strict=True)) for _, _, c in found],
        pa.schema([arrow.field(k) for k in key]),
    )
    return ChangeBatch(
        schema=schema,
        data=pa.RecordBatch.from_pylist(rows, arrow),
        op=pa.array([int(c.op) for _, _, c in found], pa.uint8()),
        lsn=pa.array([lsn for lsn, _, _ in found], pa.uint64()),
        ordinal=pa.array([ordinal for _, ordinal, _ in found], pa.uint32()),
        committed_at=pa.array([_EPOCH] * len(found), pa.timestamp("us", tz="UTC")),
        unchanged={n: m for n, m in masks.items() if m.true_count},
        old_key=old if any(moved) else None,
        moved=pa.array(moved) if any(moved) else None,
    )


def register_memory_log() -> None:
    """Make the source ``memory-log`` known to this process."""
    register(
        ConnectorSpec(
            name="memory-log",
            role="source",
            title="Memory with a log",
            summary="tables in this process and a log of their changes, for tests",
            config="syncline.testing.memory:MemoryConfig",
            factory="syncline.testing.memory_log:MemoryLogSource",
        )
    )
