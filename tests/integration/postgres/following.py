"""Follows tables as the engine does, into plain dictionaries: copy, then changes, with positions kept between runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tests.integration.postgres.harness import MERGE, Database, read_all

from syncline.connectors.postgres.changes.log import PostgresChangeLog
from syncline.connectors.postgres.changes.reader import PostgresChangeReader
from syncline.core.change import ChangeBatch, Evolution, LogPosition, Op
from syncline.core.errors import SynclineError
from syncline.core.stream import SelectedStream, StreamName

Row = dict[str, Any]


class Following:
    """One connection. ``rows`` by stream and key, ``changes`` as an appending destination would keep them, ``broken``
    streams with their errors."""

    def __init__(self, db: Database, *tables: str, mode: str = MERGE, **replication: Any) -> None:
        self.db, self.tables, self.mode = db, tables, mode
        self.replication = {"method": "CDC", **replication}
        self.rows: dict[str, dict[Any, Row]] = {}
        self.copied: dict[str, list[Row]] = {}
        self.changes: dict[str, list[tuple[str, Row]]] = {}
        self.positions: dict[StreamName, LogPosition] = {}
        self.identity: Mapping[str, Any] | None = None
        self.broken: dict[str, SynclineError] = {}
        self.selected: dict[StreamName, SelectedStream] = {}
        self.known: dict[StreamName, SelectedStream] = {}
        self.log: PostgresChangeLog | None = None
        self.evolutions: list[Evolution] = []

    def open(self, **config: Any) -> Following:
        """Begin a run: discover, open the log, copy what has no position."""
        self.source = self.db.source(replication_method=self.replication, **config)
        self.selected = {}
        for table in self.tables:
            chosen = self.db.selected(table, self.mode, source=self.source)
            self.selected[chosen.name] = chosen
        log = self.source.change_log(list(self.selected.values()))
        assert log is not None
        self.log = log
        log.open({name: self.positions.get(name) for name in self.selected}, self.identity)
        self.identity = json.loads(json.dumps(log.identity))
        for name, chosen in self.selected.items():
            if name not in self.positions and name not in log._followed.broken:
                self.copy(chosen)
        return self

    def copy(self, chosen: SelectedStream) -> None:
        plan = self.source.snapshot(chosen)
        self.positions[chosen.name] = LogPosition.from_json(json.loads(json.dumps(dict(plan.end))))
        rows = read_all(self.source, chosen, plan)
        self.copied[str(chosen.name)] = rows
        self.rows[str(chosen.name)] = {self._key(chosen, row): row for row in rows}
        self.known[chosen.name] = chosen

    def reader(self) -> PostgresChangeReader:
        assert self.log is not None
        streams = {name: (self.known[name], position) for name, position in self.positions.items()}
        start = min((p.lsn for p in self.positions.values()), default=self.log.end())
        return self.log.reader(streams, start)

    def catch_up(self) -> Following:
        """Apply everything up to now, and confirm it."""
        assert self.log is not None
        reader = self.reader()
        for name in self.selected:
            if name not in self.positions:
                reader.add(self.selected[name], LogPosition(lsn=reader.position))
        end = self.log.end()
        while reader.position < end:
            found = reader.read(5.0)
            assert found is not None, (
                reader.position,
                end,
                self.log.station.receiver and self.log.station.receiver.error,
            )
            for name, batch in found.batches:
                self.apply(name, batch)
            self.broken.update({str(name): error for name, error in found.broken.items()})
        self.positions = {name: LogPosition(lsn=reader.position) for name in self.positions}
        self.log.confirm(reader.position)
        self.log.keep(reader.position)
        self.identity = json.loads(json.dumps(self.log.identity))
        reader.close()
        return self

    def close(self) -> Following:
        assert self.log is not None
        self.log.close()
        self.source.close()
        return self

    def again(self, **config: Any) -> Following:
        """The next run."""
        return self.close().open(**config)

    def apply(self, name: StreamName, batch: ChangeBatch) -> None:
        chosen, rows = self.known[name], self.rows[str(name)]
        if batch.evolution is not None:
            self.evolutions.append(batch.evolution)
            former = {old: new for new, old in batch.evolution.renamed.items()}
            given = {column: value.as_py() for column, value in batch.evolution.backfill.items()}
            for key, row in rows.items():
                rows[key] = {former.get(n, n): v for n, v in row.items()}
                for column in batch.schema.names:
                    rows[key].setdefault(column, given.get(column))
            self._evolve(name, batch, former)
            chosen = self.known[name]
        moved = batch.moved.to_pylist() if batch.moved is not None else [False] * batch.rows
        old = batch.old_key.to_pylist() if batch.old_key is not None else []
        for i, (op, row) in enumerate(zip(batch.op.to_pylist(), batch.data.to_pylist(), strict=True)):
            self.changes.setdefault(str(name), []).append((Op(op).word, row))
            if op == Op.TRUNCATE:
                rows.clear()
                continue
            key = self._key(chosen, row)
            if op == Op.DELETE:
                rows.pop(key, None)
                continue
            before = rows.get(key, {})
            if moved[i]:
                before = rows.pop(tuple(old[i][n] for n in chosen.primary_key), {})
            keep = {n for n, mask in batch.unchanged.items() if mask[i].as_py()}
            lost = {n: v for n, v in before.items() if n not in row}
            rows[key] = {**lost, **{n: before.get(n) if n in keep else v for n, v in row.items()}}

    def _evolve(self, name: StreamName, batch: ChangeBatch, former: Mapping[str, str]) -> None:
        """The columns that the destination has now."""
        from dataclasses import replace

        chosen = self.known[name]
        fresh = {f.name: f for f in batch.schema.fields}
        kept = [fresh.pop(n := former.get(f.name, f.name), replace(f, name=n)) for f in chosen.stream.schema.fields]
        schema = replace(chosen.stream.schema, fields=(*kept, *fresh.values()))
        key = tuple(former.get(k, k) for k in chosen.primary_key)
        self.known[name] = replace(chosen, stream=replace(chosen.stream, schema=schema), primary_key=key)

    @staticmethod
    def _key(chosen: SelectedStream, row: Row) -> Any:
        return tuple(row[n] for n in chosen.primary_key)

    def table(self, table: str) -> list[Row]:
        """What the destination has, in the order of its keys."""
        return [row for _, row in sorted(self.rows[table if "." in table else f"public.{table}"].items())]
