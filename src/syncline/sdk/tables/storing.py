"""Rows in the types in which a table's files hold them; those that do not fit go aside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from syncline.core.batch import Batch, Misfit, QuarantinedRow
from syncline.core.schema import StreamSchema
from syncline.sdk.files.columns import to_file_type
from syncline.sdk.quarantine import set_aside

__all__ = ["storage_schema", "stored"]

_NULL_KEY = "the primary key has a NULL value"


def storage_schema(schema: StreamSchema, storage_types: Sequence[pa.DataType]) -> pa.Schema:
    """The stream's columns in these types."""
    return pa.schema([pa.field(f.name, t) for f, t in zip(schema.fields, storage_types, strict=True)])


def stored(batch: Batch, schema: pa.Schema, key: Sequence[str] = ()) -> tuple[pa.RecordBatch, list[QuarantinedRow]]:
    """The rows of a batch in the types of ``schema`` (its columns by place), and those that cannot be held: rows with
    misfits, values that their column cannot hold exactly, and NULL in a column of ``key``."""
    data, misfits = batch.data, list(batch.misfits)
    names = data.schema.names
    told = {(m.row, m.column) for m in misfits}
    for name in key:
        column = data.column(names.index(name))
        if column.null_count:
            rows = np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False)).tolist()
            misfits += [
                Misfit(row=row, column=name, text="", reason=_NULL_KEY) for row in rows if (row, name) not in told
            ]
    columns = []
    bad: list[Misfit] = []
    for field, column in zip(schema, data.columns, strict=True):
        try:
            columns.append(_as(column, field.type))
        except pa.ArrowInvalid as error:
            reason = f"a column of {field.type} cannot hold this value exactly"
            rows = list(_bad_rows(column, field.type))
            if not rows:
                raise
            bad += [Misfit(row=row, column=field.name, text=_text(column, row, error), reason=reason) for row in rows]
            columns.append(column)
    misfits += bad
    if not misfits:
        return pa.RecordBatch.from_arrays(columns, schema=schema), []
    kept, aside = set_aside(data, sorted(misfits, key=lambda m: m.row))
    arrays = [_as(column, field.type) for field, column in zip(schema, kept.columns, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema), aside


def _as(column: pa.Array, wanted: pa.DataType) -> pa.Array:
    if column.type == wanted:
        return column
    made = to_file_type(pa.chunked_array([column]), wanted)
    return made.chunk(0) if made.num_chunks else pa.array([], wanted)


def _bad_rows(column: pa.Array, wanted: pa.DataType, start: int = 0) -> Iterator[int]:
    """Rows that cannot be converted: the whole is tried first, and halved only where something is wrong."""
    try:
        _as(column, wanted)
    except pa.ArrowInvalid:
        if len(column) == 1:
            yield start
            return
        half = len(column) // 2
        yield from _bad_rows(column.slice(0, half), wanted, start)
        yield from _bad_rows(column.slice(half), wanted, start + half)


def _text(column: pa.Array, row: int, error: Exception) -> str:
    value = column[row]
    try:
        return str(value.cast(pa.string()).as_py())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return f"{value} ({error})"
