"""Final rows of a collapsed batch laid into a temporary table, in the types of the table that they go to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import duckdb
import numpy as np
import pyarrow as pa

from syncline.connectors.duckdb.sql import TableName, folded, quote
from syncline.connectors.duckdb.stage import staged_field
from syncline.connectors.duckdb.types import holds_text, natural_type
from syncline.connectors.duckdb.values import fitted, staged_array
from syncline.core.batch import Batch, QuarantinedRow
from syncline.core.checkpoint import StreamTarget
from syncline.core.schema import Field, StreamSchema
from syncline.sdk.collapse import FinalRows
from syncline.sdk.metadata import change_rows

__all__ = ["Frame", "framed", "framed_keys", "laid_down"]

#: Bytes of a column's text per row, offsets included. Below it DuckDB's dictionary compression pays.
_LONG_TEXT = 200

_PATTERN = Field(name="_syncline_pattern", type=pa.int64())
_ROW = Field(name="_syncline_row", type=pa.int64())


@dataclass(frozen=True, kw_only=True)
class Frame:
    """Rows with the columns ``fields``, then (not for keys alone) the number of what each leaves out, its own number,
    and the key under which the table has that. ``patterns``: the columns that each of those numbers stands for."""

    data: pa.RecordBatch
    fields: tuple[Field, ...]
    aside: Sequence[QuarantinedRow]
    patterns: Sequence[frozenset[str]] = (frozenset(),)

    @property
    def whole(self) -> bool:
        """Whether every row says everything."""
        return not any(self.patterns)

    @property
    def long_texts(self) -> bool:
        rows = max(self.data.num_rows, 1)
        return any(holds_text(c.type) and c.nbytes > _LONG_TEXT * rows for c in self.data.columns)


def framed(
    target: StreamTarget, final: FinalRows, extracted_at: datetime, *, marking: bool = False, keyed: bool = True
) -> Frame:
    """``marking``: as for :meth:`~syncline.sdk.collapse.FinalRows.patterns`. Not ``keyed``: the rows are records of
    changes, whose key may be NULL, and leave nothing to be filled in."""
    rows = change_rows(
        target.schema,
        final.changes,
        extracted_at=extracted_at,
        sync_id=target.sync_id,
        generation=target.generation,
    )
    if not keyed:
        kept, aside = fitted(Batch(data=rows, misfits=final.changes.misfits), target.schema, ())
        return Frame(data=kept, fields=target.schema.fields, aside=aside)
    key = list(target.primary_key)
    number, patterns = final.patterns(target.schema.names, marking=marking)
    origin = final.origin if final.origin is not None else final.changes.data.select(key)
    extra = (
        _PATTERN,
        _ROW,
        *(replace(target.schema.field(k), name=f"_syncline_origin{i}") for i, k in enumerate(key)),
    )
    arrays = [*rows.columns, pa.array(number), pa.array(np.arange(final.rows)), *origin.columns]
    fields = (*target.schema.fields, *extra)
    data = pa.RecordBatch.from_arrays(arrays, schema=StreamSchema(fields=fields).arrow())
    kept, aside = fitted(Batch(data=data, misfits=final.changes.misfits), target.schema, key)
    ours = {f.name for f in extra}
    return Frame(
        data=kept,
        fields=fields,
        aside=[replace(a, record={n: v for n, v in a.record.items() if n not in ours}) for a in aside],
        patterns=patterns,
    )


def framed_keys(target: StreamTarget, final: FinalRows) -> Frame:
    """Just the keys of ``final``."""
    fields = tuple(target.schema.field(k) for k in target.primary_key)
    data = final.changes.data.select(list(target.primary_key))
    kept, aside = fitted(Batch(data=data, misfits=final.changes.misfits), StreamSchema(fields=fields), ())
    return Frame(data=kept, fields=fields, aside=aside)


def laid_down(con: duckdb.DuckDBPyConnection, table: TableName, frame: Frame, types: Mapping[str, str]) -> None:
    """Make ``table`` of a frame, its columns named c0 …. ``types``: column types by folded name, where they are not the
    field's own."""
    fields = frame.fields
    schema = pa.schema([staged_field(i, f) for i, f in enumerate(fields)])
    arrays = [staged_array(c) for c in frame.data.columns]
    data = pa.RecordBatch.from_arrays(arrays, schema=schema)
    values = ", ".join(f"{_cast(i, f, types)} AS c{i}" for i, f in enumerate(fields))
    con.register("_syncline_frame", pa.RecordBatchReader.from_batches(schema, [data]).__arrow_c_stream__())
    try:
        con.execute(f"CREATE OR REPLACE TEMPORARY TABLE {table} AS SELECT {values} FROM {quote('_syncline_frame')}")
    finally:
        con.unregister("_syncline_frame")


def _cast(place: int, field: Field, types: Mapping[str, str]) -> str:
    wanted = types.get(folded(field.name))
    return f"c{place}" if wanted is None or wanted == natural_type(field) else f"CAST(c{place} AS {wanted})"
