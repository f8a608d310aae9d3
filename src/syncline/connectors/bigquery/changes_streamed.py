"""What a stretch of a log leaves behind as rows for BigQuery's own change data capture.

A row replaces the one with its key as a whole: a value that an update left out cannot be taken from the table, which
may be behind what was sent. Such rows are asked for at the source.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from syncline.connectors.bigquery.changes_merge import Step, Types
from syncline.connectors.bigquery.changes_rows import taken
from syncline.connectors.bigquery.default_stream import DefaultStreams, RowForm
from syncline.connectors.bigquery.names import TableName
from syncline.connectors.bigquery.types import column_type, is_bytes
from syncline.connectors.bigquery.values import staged_array
from syncline.connectors.bigquery.warehouse import Script
from syncline.core.change import ChangeBatch
from syncline.core.checkpoint import StreamTarget
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.schema import Field
from syncline.sdk.collapse import FinalRows, collapse
from syncline.sdk.decimals import decimal_text
from syncline.sdk.metadata import change_rows

__all__ = ["LARGEST_STREAMED_ROW", "Streamed", "cannot_be_streamed", "streamed"]

#: A request to the Storage Write API takes 10 MB.
LARGEST_STREAMED_ROW = 9_000_000


@dataclass(kw_only=True)
class Streamed(Step):
    """Rows that are there (``upserts``, the target's columns) and keys that are gone (``deletes``), each with the place
    of its change in the log."""

    streams: DefaultStreams
    upserts: pa.RecordBatch
    upserts_at: list[str]
    deletes: pa.RecordBatch
    deletes_at: list[str]

    def add(self, script: Script, table: TableName, types: Types) -> None:
        """Send the rows now. They are no part of the transaction: a flush that fails after this sends them again, and
        BigQuery knows by their numbers that it has them."""
        fields = {f.name: f for f in self.target.schema.fields}
        form = RowForm({self.names[n]: self.type(n, types) for n in fields})
        rows = [
            form.row(row, change, at)
            for data, change, places in (
                (self.deletes, "DELETE", self.deletes_at),
                (self.upserts, "UPSERT", self.upserts_at),
            )
            for row, at in zip(self._rows(data, fields, types), places, strict=True)
        ]
        if rows:
            self.streams.send(table, form, rows, str(self.target.stream))

    def _rows(self, data: pa.RecordBatch, fields: Mapping[str, Field], types: Types) -> Iterator[dict[str, Any]]:
        """The protobuf library takes rows one by one: the only place where a change becomes Python objects."""
        names = [self.names[n] for n in data.schema.names]
        columns = [
            _sent(column, fields[name], self.type(name, types))
            for name, column in zip(data.schema.names, data.columns, strict=True)
        ]
        for values in zip(*columns, strict=True):
            yield {n: v for n, v in zip(names, values, strict=True) if v is not None}


def streamed(
    streams: DefaultStreams, target: StreamTarget, names: dict[str, str], batch: ChangeBatch, at: datetime
) -> tuple[Streamed, pa.RecordBatch | None]:
    """The batch as rows to send, and the keys of rows that are left out because nobody here knows them whole."""
    found = collapse(batch, target.primary_key)
    if found.truncate is not None:
        raise cannot_be_streamed(target, "a TRUNCATE", "BigQuery's own change data capture knows no such change")
    changes = found.upserts.changes
    partial = np.zeros(changes.rows, np.bool_)
    for mask in changes.unchanged.values():
        partial |= mask.to_numpy(zero_copy_only=False)
    key = list(target.primary_key)
    missing = [] if found.lost is None else [found.lost]
    if partial.any():
        missing.append(changes.data.select(key).filter(pa.array(partial)))
        changes = taken(changes, ~partial)
    rows = change_rows(
        target.schema, changes, extracted_at=at, sync_id=target.sync_id, generation=target.generation
    )  # fmt: skip
    step = Streamed(
        target=target,
        names=names,
        streams=streams,
        upserts=rows,
        upserts_at=_places(changes),
        deletes=_keys(found.deletes, key),
        deletes_at=_places(found.deletes.changes),
    )
    if not missing:
        return step, None
    return step, pa.Table.from_batches(missing).combine_chunks().to_batches()[0]


def cannot_be_streamed(target: StreamTarget, what: str, why: str) -> SynclineError:
    """The stream stops here; the others go on."""
    return SynclineError(
        ErrorKind.SCHEMA,
        f"{what} of stream {target.stream} cannot be carried out: {why}",
        hint=f"copy the stream anew (syncline state reset --stream {target.stream}), or let its changes be merged "
        "(changes: merge) after dropping the table",
        where={"connector": "bigquery", "stream": str(target.stream)},
    )


def _keys(final: FinalRows, key: list[str]) -> pa.RecordBatch:
    return final.changes.data.select(key)


def _places(changes: ChangeBatch) -> list[str]:
    """Commit LSN and place within the transaction, as BigQuery compares them: hexadecimal, the first part first."""
    pairs = zip(changes.lsn.to_pylist(), changes.ordinal.to_pylist(), strict=True)
    return [f"{lsn:X}/{ordinal:X}" for lsn, ordinal in pairs]


def _sent(array: pa.Array, field: Field, wanted: str) -> list[Any]:
    """A column's values as the Storage Write API takes them for a column of type ``wanted``."""
    if is_bytes(array.type) and wanted == "BYTES":
        return list(array.cast(pa.large_binary()).to_pylist())
    staged = staged_array(array, field)
    own = column_type(field)
    if own != wanted:  # a wider column that was there: its values are sent as text
        own = "NUMERIC" if pa.types.is_decimal(staged.type) else "STRING"
    if own in ("NUMERIC", "BIGNUMERIC"):
        return list(decimal_text(staged).to_pylist())
    if own == "DATE":
        return list(staged.view(pa.int32()).to_pylist())
    if own == "TIMESTAMP":
        return list(staged.view(pa.int64()).to_pylist())
    if own in ("TIME", "DATETIME", "STRING", "JSON") and not pa.types.is_string(staged.type):
        staged = pc.cast(staged, pa.string())
    return list(staged.to_pylist())
