"""Changes on their way into a stage: batches of a flush joined, judged and reduced to one row or deletion per key.

Batches are kept together as long as they fit into memory, for each MERGE reads the table anew: one for a flush is
cheapest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from syncline.connectors.bigquery.values import LARGEST_ROW, fitted
from syncline.core.batch import Batch, QuarantinedRow
from syncline.core.change import ChangeBatch, Op, concat_changes
from syncline.core.checkpoint import StreamTarget
from syncline.core.schema import Field
from syncline.sdk.collapse import FinalRows, collapse, stretches
from syncline.sdk.metadata import change_rows

__all__ = [
    "DELETE",
    "MARK",
    "UPSERT",
    "Frame",
    "Reduced",
    "appended",
    "frame_fields",
    "joined",
    "judged",
    "reduced",
    "taken",
]

#: What a staged row does to the table.
UPSERT, DELETE, MARK = 0, 1, 2

_OWN = tuple(Field(name=f"_syncline_{n}", type=pa.int64()) for n in ("act", "pattern", "moved", "row"))


def frame_fields(target: StreamTarget) -> tuple[Field, ...]:
    """The columns of a staged frame: those of the target, what the row does, the number of what it leaves out, whether
    it has moved, its own number, and the key under which the table has what it leaves out."""
    key = [replace(target.schema.field(k), name=f"_syncline_origin{i}") for i, k in enumerate(target.primary_key)]
    return (*target.schema.fields, *_OWN, *key)


@dataclass(frozen=True, kw_only=True)
class Frame:
    """Rows with the columns of :func:`frame_fields`. ``patterns``: the columns that each number stands for; ``keys``:
    those of the rows that leave something out, by the rows' numbers."""

    data: pa.RecordBatch
    patterns: Sequence[frozenset[str]]
    keys: pa.RecordBatch
    moves: bool


@dataclass(frozen=True, kw_only=True)
class Reduced:
    """What a stretch of changes leaves behind, carried out in this order: ``truncate``, then ``frame``. ``lost``: keys
    of rows that no sound log would ask for."""

    truncate: ChangeBatch | None
    frame: Frame | None
    lost: pa.RecordBatch | None


def judged(
    batch: ChangeBatch, key: Sequence[str], *, largest: int = LARGEST_ROW
) -> tuple[ChangeBatch, list[QuarantinedRow]]:
    """The changes that can be held, and the others. Of a row that moved and cannot be held, its departure stays.
    ``largest``: bytes of a row."""
    kept, aside = fitted(Batch(data=batch.data, misfits=batch.misfits), batch.schema, (), largest=largest)
    if not aside:
        return replace(batch, misfits=()), []
    good = np.ones(batch.rows, np.bool_)
    good[[m.row for m in batch.misfits]] = False
    if int(good.sum()) != kept.num_rows:
        good = _held(batch, largest)
    gone = np.zeros(batch.rows, np.bool_) if batch.moved is None else _bools(batch.moved) & ~good
    if not gone.any():
        return taken(batch, good), aside
    assert batch.old_key is not None
    mask = pa.array(gone)
    columns = list(batch.data.columns)
    for name in key:
        place = batch.data.schema.get_field_index(name)
        old = batch.old_key.column(name).cast(columns[place].type)
        columns[place] = pc.if_else(mask, old, columns[place])
    departed = replace(
        batch,
        data=pa.RecordBatch.from_arrays(columns, schema=batch.data.schema),
        op=pc.if_else(mask, pa.scalar(int(Op.DELETE), pa.uint8()), batch.op),
        moved=pc.and_not(batch.moved, mask),
    )
    return taken(departed, good | gone), aside


def _held(batch: ChangeBatch, largest: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Row by row, where more than the source's own misfits cannot be held; rare."""
    out = np.ones(batch.rows, np.bool_)
    misfits = {m.row for m in batch.misfits}
    for row in range(batch.rows):
        one = Batch(data=batch.data.slice(row, 1))
        out[row] = row not in misfits and not fitted(one, batch.schema, (), largest=largest)[1]
    return out


def taken(batch: ChangeBatch, rows: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> ChangeBatch:
    """The changes in these rows."""
    mask = pa.array(rows)
    return replace(
        batch,
        data=batch.data.filter(mask),
        op=batch.op.filter(mask),
        lsn=batch.lsn.filter(mask),
        ordinal=batch.ordinal.filter(mask),
        committed_at=batch.committed_at.filter(mask),
        unchanged={n: m.filter(mask) for n, m in batch.unchanged.items()},
        old_key=None if batch.old_key is None else batch.old_key.filter(mask),
        moved=None if batch.moved is None else batch.moved.filter(mask),
        misfits=(),
    )


def joined(batches: Sequence[ChangeBatch]) -> ChangeBatch:
    """Batches of one schema as one; misfits were judged, and the table was altered, batch by batch."""
    return concat_changes([replace(batch, misfits=(), evolution=None) for batch in batches])


def _bools(array: pa.Array) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    return np.asarray(array.fill_null(False).to_numpy(zero_copy_only=False), dtype=np.bool_)


def appended(target: StreamTarget, batch: ChangeBatch, at: datetime) -> tuple[pa.RecordBatch, list[QuarantinedRow]]:
    """Each change as a row."""
    rows = _rows(target, batch, at)
    return fitted(Batch(data=rows, misfits=batch.misfits), target.schema, ())


def reduced(target: StreamTarget, batch: ChangeBatch, at: datetime) -> Iterator[Reduced]:
    """What the batch leaves behind; several stretches only where deleted rows stay and a TRUNCATE is among them."""
    soft = target.deletes == "soft"
    for part in stretches(batch) if soft else (batch,):
        found = collapse(part, target.primary_key, keep_deleted=soft)
        frames = [_framed(target, found.upserts, UPSERT, at)] if found.upserts.rows else []
        if found.deletes.rows:
            frames.append(_framed(target, found.deletes, MARK if soft else DELETE, at))
        yield Reduced(truncate=found.truncate, frame=_stacked(target, frames), lost=found.lost)


def _rows(target: StreamTarget, changes: ChangeBatch, at: datetime) -> pa.RecordBatch:
    return change_rows(
        target.schema, changes, extracted_at=at, sync_id=target.sync_id, generation=target.generation
    )  # fmt: skip


def _framed(
    target: StreamTarget, final: FinalRows, act: int, at: datetime
) -> tuple[list[pa.Array], list[frozenset[str]]]:
    rows, key = _rows(target, final.changes, at), list(target.primary_key)
    number, patterns = final.patterns(target.schema.names, marking=act == MARK)
    own = final.changes.data.select(key)
    origin = final.origin if final.origin is not None else own
    count = final.rows
    moved = np.zeros(count, np.bool_)
    if final.origin is not None:
        for name in key:
            same = pc.equal(own.column(name), final.origin.column(name).cast(own.column(name).type))
            moved |= ~_bools(same)
    ints = [np.full(count, act), number, moved.astype(np.int64), np.arange(count)]
    arrays = [*rows.columns, *(pa.array(i, pa.int64()) for i in ints), *origin.columns]
    return arrays, patterns


def _stacked(target: StreamTarget, frames: list[tuple[list[pa.Array], list[frozenset[str]]]]) -> Frame | None:
    """Upserts and deletions as one frame: numbers of patterns and rows go on."""
    if not frames:
        return None
    fields = frame_fields(target)
    schema = pa.schema([f.arrow() for f in fields])
    width = len(target.schema.fields)
    patterns: list[frozenset[str]] = []
    parts, rows = [], 0
    for arrays, own in frames:
        columns = [a if a.type == f.type else a.cast(f.type) for a, f in zip(arrays, fields, strict=True)]
        columns[width + 1] = pc.add(columns[width + 1], len(patterns))
        columns[width + 3] = pc.add(columns[width + 3], rows)
        parts.append(pa.RecordBatch.from_arrays(columns, schema=schema))
        patterns += own
        rows += len(arrays[0])
    data = pa.concat_batches(parts)
    return Frame(
        data=data,
        patterns=patterns,
        keys=data.select(list(target.primary_key)),
        moves=bool(pc.any(pc.equal(data.column(width + 2), 1)).as_py()),
    )
