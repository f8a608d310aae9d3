"""Rows that a change does not tell whole, completed by what was looked up at the source under their keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from syncline.core.batch import Batch
from syncline.core.change import ChangeBatch, Op
from syncline.core.schema import StreamSchema

__all__ = ["as_inserts", "doubtful", "filled", "left_out"]


def left_out(batch: ChangeBatch) -> pa.Array:
    """The rows that leave any value out; ``batch.unchanged`` is not empty."""
    masks = list(batch.unchanged.values())
    found = masks[0]
    for mask in masks[1:]:
        found = pc.or_(found, mask)
    return found


def filled(batch: ChangeBatch, key: Sequence[str], wanted: pa.Array, fetched: Batch) -> ChangeBatch:
    """The values that the ``wanted`` rows of the batch left out, from the ``fetched`` row of the same key; NULL where
    there is none. ``batch.unchanged`` stays as it is."""
    places = {row: i for i, row in enumerate(_rows(fetched.data.select(list(key))))}
    take = [
        places.get(row) if asked else None
        for row, asked in zip(_rows(batch.data.select(list(key))), wanted.to_pylist(), strict=True)
    ]
    found = fetched.data.take(pa.array(take, pa.int64()))
    columns = []
    misfits = list(batch.misfits)
    for field, column in zip(batch.data.schema, batch.data.columns, strict=True):
        mask = batch.unchanged.get(field.name)
        asked = None if mask is None else pc.and_(mask, wanted)
        columns.append(column if asked is None else pc.if_else(asked, found.column(field.name), column))
        told = {m.row: m for m in fetched.misfits if m.column == field.name}
        if asked is not None and told:
            rows = [row for row, yes in enumerate(asked.to_pylist()) if yes and take[row] in told]
            misfits += [replace(told[take[row]], row=row) for row in rows]  # type: ignore[index]
    data = pa.RecordBatch.from_arrays(columns, schema=batch.data.schema)
    return replace(batch, data=data, misfits=tuple(sorted(misfits, key=lambda m: (m.row, m.column))))


def doubtful(batch: ChangeBatch, key: Sequence[str], wanted: pa.Array, fetched: Batch) -> bool:
    """Whether a row fetched for one of the ``wanted`` ones need not be that row as its last change left it: the key is
    gone or was new to the row (another one may have it by now), or what the change did tell is not what came."""
    if batch.moved is not None and pc.and_(batch.moved, wanted).true_count:
        return True
    present = {row: i for i, row in enumerate(_rows(fetched.data.select(list(key))))}
    last = {row: i for i, row in enumerate(_rows(batch.data.select(list(key)))) if wanted[i].as_py()}
    if not last.keys() <= present.keys():
        return True
    told = batch.data.take(pa.array(last.values(), pa.int64()))
    came = fetched.data.take(pa.array([present[row] for row in last], pa.int64()))
    for name in batch.data.schema.names:
        mask = batch.unchanged.get(name)
        unsaid = [False] * len(last) if mask is None else mask.take(pa.array(last.values(), pa.int64())).to_pylist()
        pairs = zip(told.column(name).to_pylist(), came.column(name).to_pylist(), unsaid, strict=True)
        if any(said != now and not left for said, now, left in pairs):
            return True
    return False


def as_inserts(fetched: Batch, schema: StreamSchema, of: ChangeBatch) -> ChangeBatch:
    """Fetched rows as inserts at the place of the batch that asked for them."""
    rows, last = fetched.data.num_rows, of.rows - 1
    return ChangeBatch(
        schema=schema,
        data=fetched.data,
        op=pa.array([int(Op.INSERT)] * rows, pa.uint8()),
        lsn=pa.repeat(of.lsn[last], rows),
        ordinal=pa.repeat(of.ordinal[last], rows),
        committed_at=pa.repeat(of.committed_at[last], rows),
        misfits=fetched.misfits,
    )


def _rows(data: pa.RecordBatch) -> list[tuple[Any, ...]]:
    return list(zip(*(column.to_pylist() for column in data.columns), strict=True))
