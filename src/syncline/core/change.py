"""Changes: what a source's log says happened to rows, as Arrow columns, and where in the log that was.

An *LSN* is a place in a source's log as an unsigned 64-bit number that only grows (Postgres: bytes of WAL). Changes are
ordered by (commit LSN of their transaction, ordinal within it).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any

import pyarrow as pa

from syncline.core.batch import Misfit
from syncline.core.errors import SynclineError
from syncline.core.schema import StreamSchema
from syncline.core.stream import StreamName

__all__ = ["ChangeBatch", "ChangeSlice", "Evolution", "LogPosition", "Op", "concat_changes"]


class Op(IntEnum):
    """What happened to a row; the values stand in :attr:`ChangeBatch.op`."""

    INSERT = 1
    UPDATE = 2
    DELETE = 3
    TRUNCATE = 4  #: every row of the stream is gone

    @property
    def word(self) -> str:
        """As written into ``_syncline_op``: insert, update, delete, truncate (and ``read`` for rows of a snapshot)."""
        return self.name.lower()


@dataclass(frozen=True, kw_only=True)
class Evolution:
    """How a stream's columns changed at this place of the log, as far as the new schema does not say it by itself.

    ``renamed``: new name -> former name. ``backfill``: for added columns whose default the source gave to the rows that
    were there, that value (of the column's Arrow type; columns without an entry are NULL there).
    ``called``: the name that the table has from here on, where it got another one; the stream keeps its own.
    ``columns``: False when only the name is new."""

    renamed: Mapping[str, str] = field(default_factory=dict)
    backfill: Mapping[str, pa.Scalar] = field(default_factory=dict)
    called: StreamName | None = None
    columns: bool = True


@dataclass(frozen=True, kw_only=True)
class ChangeBatch:
    """Changes of one stream in log order, one row each; all arrays have the length of ``data``.

    ``data`` has exactly the columns of ``schema``: the row after the change; for DELETE the replica identity's columns
    (all of them under REPLICA IDENTITY FULL) and NULL elsewhere; for TRUNCATE only NULLs. ``op`` (uint8) holds
    :class:`Op`, ``lsn`` (uint64) the commit LSN, ``ordinal`` (uint32, from 1) the place among all changes of the
    transaction, ``committed_at`` (timestamp[us, UTC]) the commit's time.

    ``unchanged`` has, for each column in which it happened at all, a boolean array: true where an UPDATE did not say
    the value because it did not change (Postgres: TOAST); the cell is then NULL in ``data`` and must keep its old
    value. ``old_key`` holds the former key columns of UPDATEs that changed the key, ``moved`` (boolean) says in which
    rows; both None when there are none. ``evolution`` is set on the first batch with a new
    schema (which may have no rows).
    """

    schema: StreamSchema
    data: pa.RecordBatch
    op: pa.Array
    lsn: pa.Array
    ordinal: pa.Array
    committed_at: pa.Array
    unchanged: Mapping[str, pa.Array] = field(default_factory=dict)
    old_key: pa.RecordBatch | None = None
    moved: pa.Array | None = None
    misfits: tuple[Misfit, ...] = ()
    evolution: Evolution | None = None

    @property
    def rows(self) -> int:
        return int(self.data.num_rows)

    @property
    def bytes(self) -> int:
        return int(self.data.nbytes)

    def slice(self, start: int, stop: int) -> ChangeBatch:
        """Rows ``start`` to ``stop`` (exclusive), without copying."""
        length = stop - start
        return ChangeBatch(
            schema=self.schema,
            data=self.data.slice(start, length),
            op=self.op.slice(start, length),
            lsn=self.lsn.slice(start, length),
            ordinal=self.ordinal.slice(start, length),
            committed_at=self.committed_at.slice(start, length),
            unchanged={name: mask.slice(start, length) for name, mask in self.unchanged.items()},
            old_key=None if self.old_key is None else self.old_key.slice(start, length),
            moved=None if self.moved is None else self.moved.slice(start, length),
            misfits=tuple(replace(m, row=m.row - start) for m in self.misfits if start <= m.row < stop),
            evolution=self.evolution if start == 0 else None,
        )


def concat_changes(batches: Sequence[ChangeBatch]) -> ChangeBatch:
    """Batches of one stream that follow each other in the log, as one. All have one schema, and only the first may have
    an evolution. Copies, unless there is only one."""
    first = batches[0]
    if len(batches) == 1:
        return first
    if any(batch.evolution is not None or batch.schema != first.schema for batch in batches[1:]):
        raise ValueError("batches of different schemas cannot be one")
    unchanged = sorted({name for batch in batches for name in batch.unchanged})
    keys = next((batch.old_key.schema for batch in batches if batch.old_key is not None), None)
    misfits: list[Misfit] = []
    start = 0
    for batch in batches:
        misfits += [replace(misfit, row=misfit.row + start) for misfit in batch.misfits]
        start += batch.rows
    return ChangeBatch(
        schema=first.schema,
        data=pa.concat_batches([batch.data for batch in batches]),
        op=pa.concat_arrays([batch.op for batch in batches]),
        lsn=pa.concat_arrays([batch.lsn for batch in batches]),
        ordinal=pa.concat_arrays([batch.ordinal for batch in batches]),
        committed_at=pa.concat_arrays([batch.committed_at for batch in batches]),
        unchanged={
            name: pa.concat_arrays([batch.unchanged.get(name, _none(batch.rows)) for batch in batches])
            for name in unchanged
        },
        old_key=None if keys is None else pa.concat_batches([_old_key(batch, keys) for batch in batches]),
        moved=None
        if keys is None
        else pa.concat_arrays([_none(batch.rows) if batch.moved is None else batch.moved for batch in batches]),
        misfits=tuple(misfits),
        evolution=first.evolution,
    )


def _none(rows: int) -> pa.Array:
    return pa.repeat(pa.scalar(False), rows)


def _old_key(batch: ChangeBatch, schema: pa.Schema) -> pa.RecordBatch:
    if batch.old_key is not None:
        return batch.old_key
    return pa.RecordBatch.from_arrays([pa.nulls(batch.rows, f.type) for f in schema], schema=schema)


@dataclass(frozen=True, kw_only=True)
class ChangeSlice:
    """A stretch of the log: some whole transactions, or a part of a very large one.

    ``batches`` are in log order for each stream; a stream comes again when its schema changed in between. After this
    slice everything committed before ``position`` has been read (a transaction counts by its commit LSN, which is
    smaller than ``position``). ``whole`` is False when the last transaction goes on in the next slice: ``position``
    then still lies before it, and nothing of it may become visible yet. ``committed_at`` is the time of the last commit
    in it (Unix microseconds, None without one). ``broken`` names streams that cannot go on from here (an unsafe change
    of their table), with the error that says what to do; no more batches come for them.
    """

    batches: tuple[tuple[StreamName, ChangeBatch], ...]
    position: int
    whole: bool = True
    committed_at: int | None = None
    broken: Mapping[StreamName, SynclineError] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        return sum(batch.rows for _, batch in self.batches)


@dataclass(frozen=True, kw_only=True)
class LogPosition:
    """Up to where one stream has the log: all transactions with a commit LSN below ``lsn``.

    ``snapshot`` (the source's own words, Postgres: ``xmin:xmax:xip``) is set between the stream's snapshot and the
    moment its own catching up has reached the others: transactions that it shows are in the snapshot already and are
    skipped.
    """

    lsn: int
    snapshot: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The ``position`` of a stream's checkpoint; ``ReadPlan.end`` of a snapshot that a log continues."""
        return {"lsn": self.lsn} if self.snapshot is None else {"lsn": self.lsn, "snapshot": self.snapshot}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LogPosition:
        return cls(lsn=int(data["lsn"]), snapshot=data.get("snapshot"))
