"""The memory destination's change session: one change after the other, in the plainest form of the contract.

Nothing here is collapsed or sorted, so that what real destinations make of a batch can be compared with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from syncline.core.batch import QuarantinedRow
from syncline.core.change import ChangeBatch, Evolution, Op
from syncline.core.checkpoint import LedgerEntry, StreamTarget
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.failpoints import failpoint
from syncline.core.stream import WriteMode
from syncline.sdk.change_log import Applied, StreamCommit
from syncline.sdk.metadata import change_rows
from syncline.sdk.quarantine import set_aside

if TYPE_CHECKING:
    from syncline.testing.memory import World

__all__ = ["MemoryChangeSession"]

Row = dict[str, Any]


class MemoryChangeSession:
    """Works on copies of touched tables; a commit puts them in place and moves the ledger, under the world's lock."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._tables: dict[str, list[Row]] = {}
        self._aside: dict[str, list[QuarantinedRow]] = {}

    def apply(self, target: StreamTarget, batch: ChangeBatch) -> Applied:
        stream = str(target.stream)
        if stream not in self._tables:
            with self._world.lock:
                self._tables[stream] = [dict(row) for row in self._world.visible.get(stream, [])]
        table = self._tables[stream]
        if batch.evolution is not None:
            _evolve(table, batch.evolution, batch.schema.names)
        data = change_rows(
            target.schema,
            batch,
            extracted_at=datetime.now(UTC),
            sync_id=target.sync_id,
            generation=target.generation,
        )
        _, aside = set_aside(data, batch.misfits)
        self._aside.setdefault(stream, []).extend(aside)
        bad = {m.row for m in batch.misfits}
        rows = data.to_pylist()
        if target.write is WriteMode.APPEND:
            table += [row for i, row in enumerate(rows) if i not in bad]
            return Applied(rows=batch.rows, quarantined=len(aside))
        missing = _merge(target, batch, rows, bad, table)
        keys = None
        if missing:
            keys = pa.RecordBatch.from_pylist(
                [dict(zip(target.primary_key, key, strict=True)) for key in missing],
                pa.schema([batch.data.schema.field(k) for k in target.primary_key]),
            )
        return Applied(rows=batch.rows, quarantined=len(aside), missing=keys)

    def commit(self, commits: Sequence[StreamCommit]) -> None:
        w = self._world
        w.trip("commit")
        failpoint("apply.inside")
        with w.lock:
            for each in commits:
                entry = w.ledger.get((each.target.connection, str(each.target.stream)))
                current = entry is not None and entry.token == each.token
                if not current or entry.checkpoint.sequence + 1 != each.checkpoint.sequence:  # type: ignore[union-attr]
                    raise SynclineError(
                        ErrorKind.CONFLICT,
                        "another attempt has taken over",
                        hint="this one must end",
                        final=not current,
                    )
            failpoint("commit.inside")
            for stream, rows in self._tables.items():
                w.visible[stream] = rows
            for stream, aside in self._aside.items():
                w.quarantined.setdefault(stream, []).extend(aside)
            for each in commits:
                key = (each.target.connection, str(each.target.stream))
                w.ledger[key] = LedgerEntry(token=each.token, checkpoint=each.checkpoint)
            self.rollback()
        w.trip("committed")

    def rollback(self) -> None:
        self._tables, self._aside = {}, {}

    def close(self) -> None:
        self.rollback()


def _evolve(table: list[Row], evolution: Evolution, names: Sequence[str]) -> None:
    for row in table:
        for new, old in evolution.renamed.items():
            if old in row:
                row[new] = row.pop(old)
        for name in names:
            value = evolution.backfill.get(name)
            if name not in row:
                row[name] = None if value is None else value.as_py()


def _merge(
    target: StreamTarget, batch: ChangeBatch, rows: list[Row], bad: set[int], table: list[Row]
) -> list[tuple[Any, ...]]:
    """One change after the other; returns the keys of updates whose row was missing."""
    key = target.primary_key
    soft = target.deletes == "soft"
    former = batch.old_key.to_pylist() if batch.old_key is not None else []
    moved = batch.moved.to_pylist() if batch.moved is not None else []
    masks = {name: mask.to_pylist() for name, mask in batch.unchanged.items()}
    kept = {tuple(row[k] for k in key): row for row in table}
    missing: dict[tuple[Any, ...], None] = {}

    def remove(gone: tuple[Any, ...], change: Row, at: int) -> None:
        if not soft:
            kept.pop(gone, None)
        elif gone in kept:
            kept[gone] = {
                name: value if name in batch.data.schema.names else change[name] for name, value in kept[gone].items()
            }
            kept[gone]["_syncline_deleted_at"] = batch.committed_at[at].as_py()

    for at, (op, row) in enumerate(zip(batch.op.to_pylist(), rows, strict=True)):
        here = tuple(row[k] for k in key)
        before = tuple(former[at][k] for k in key) if moved and moved[at] else here
        if op == Op.TRUNCATE:
            for each in [k for k, r in kept.items() if r.get("_syncline_deleted_at") is None]:
                remove(each, row, at)
            missing.clear()
        elif op == Op.DELETE:
            remove(here, row, at)
            missing.pop(here, None)
        elif at not in bad:
            unsaid = [name for name, mask in masks.items() if mask[at]]
            base = kept.get(before) if unsaid else None
            if before != here:
                remove(before, row, at)
                missing.pop(before, None)
            if unsaid and base is None:
                missing[here] = None
                continue
            missing.pop(here, None)
            kept[here] = {**row, **{name: base[name] for name in unsaid}} if base is not None else row
    table[:] = kept.values()
    return list(missing)
