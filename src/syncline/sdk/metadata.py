"""Metadata columns: what we add to every row, last in the schema.

Rows of a snapshot get them from a :class:`Normalizer`, changes of a log from :func:`change_rows`. Which columns there
are depends on the connection's style and, for streams that a log continues, on what is done with the changes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from syncline.core.batch import Batch
from syncline.core.change import ChangeBatch, Op
from syncline.core.schema import Field, StreamSchema

__all__ = [
    "ChangeColumns",
    "MetadataColumns",
    "Normalizer",
    "change_rows",
    "metadata_constants",
    "metadata_fields",
]

_UTC_MICROS = pa.timestamp("us", tz="UTC")


class MetadataColumns(StrEnum):
    """Whose names the metadata columns carry."""

    SYNCLINE = "syncline"
    AIRBYTE = "airbyte"
    NONE = "none"


class ChangeColumns(StrEnum):
    """What a stream's changes become, which decides the columns that tell about them."""

    NONE = "none"  #: the stream has no log
    MERGE = "merge"  #: applied to the rows; deleted rows go
    MERGE_SOFT = "merge_soft"  #: applied to the rows; deleted rows stay, marked
    APPEND = "append"  #: each change is a row


def metadata_fields(style: MetadataColumns, changes: ChangeColumns = ChangeColumns.NONE) -> tuple[Field, ...]:
    """The metadata fields of a style, in order."""
    if style is MetadataColumns.SYNCLINE:
        return (
            Field(name="_syncline_extracted_at", type=_UTC_MICROS),
            Field(name="_syncline_sync_id", type=pa.string()),
            Field(name="_syncline_generation", type=pa.int64()),
            *_OWN_CHANGES[changes],
        )
    if style is MetadataColumns.AIRBYTE:
        return (
            Field(name="_airbyte_raw_id", type=pa.string()),
            Field(name="_airbyte_extracted_at", type=_UTC_MICROS),
            Field(name="_airbyte_meta", type=pa.string(), logical="json"),
            Field(name="_airbyte_generation_id", type=pa.int64()),
            *(() if changes is ChangeColumns.NONE else _AIRBYTE_CHANGES),
        )
    # Without them a change log says nothing and a soft delete cannot be told from a row.
    if changes is ChangeColumns.APPEND:
        return _OWN_CHANGES[changes]
    return (_DELETED_AT,) if changes is ChangeColumns.MERGE_SOFT else ()


_LSN = Field(name="_syncline_lsn", type=pa.int64())
_DELETED_AT = Field(name="_syncline_deleted_at", type=_UTC_MICROS)
_OWN_CHANGES: dict[ChangeColumns, tuple[Field, ...]] = {
    ChangeColumns.NONE: (),
    ChangeColumns.MERGE: (_LSN,),
    ChangeColumns.MERGE_SOFT: (_LSN, _DELETED_AT),
    ChangeColumns.APPEND: (
        Field(name="_syncline_op", type=pa.string()),
        _LSN,
        Field(name="_syncline_ordinal", type=pa.int64()),
        Field(name="_syncline_committed_at", type=_UTC_MICROS),
        Field(name="_syncline_unchanged", type=pa.string(), logical="json"),
        Field(name="_syncline_old_key", type=pa.string(), logical="json"),
    ),
}
_AIRBYTE_CHANGES = (
    Field(name="_ab_cdc_lsn", type=pa.int64()),
    Field(name="_ab_cdc_updated_at", type=pa.string()),
    Field(name="_ab_cdc_deleted_at", type=pa.string()),
)


def metadata_constants(
    style: MetadataColumns,
    *,
    extracted_at: datetime,
    sync_id: str,
    generation: int,
    changes: ChangeColumns = ChangeColumns.NONE,
    lsn: int | None = None,
) -> dict[str, str] | None:
    """Metadata values as text when they are the same for a whole plan; None when they differ from row to row
    (``_airbyte_raw_id``), so that undecoded bytes cannot carry them. A column that is left out is NULL."""
    if style is MetadataColumns.AIRBYTE:
        return None
    values = {
        "_syncline_extracted_at": extracted_at.astimezone(UTC).isoformat(),
        "_syncline_sync_id": sync_id,
        "_syncline_generation": str(generation),
        "_syncline_op": "read",
        "_syncline_ordinal": "0",
        **({} if lsn is None else {"_syncline_lsn": str(lsn)}),
    }
    return {f.name: values[f.name] for f in metadata_fields(style, changes) if f.name in values}


def _plan_values(extracted_at: datetime, sync_id: str, generation: int) -> dict[str, pa.Scalar]:
    """The columns with one value for every row of a plan or flush, whatever happened to it."""
    at = pa.scalar(extracted_at.astimezone(UTC), _UTC_MICROS)
    return {
        "_syncline_extracted_at": at,
        "_syncline_sync_id": pa.scalar(sync_id),
        "_syncline_generation": pa.scalar(generation, pa.int64()),
        "_airbyte_extracted_at": at,
        "_airbyte_meta": pa.scalar(f'{{"sync_id":"{sync_id}","changes":[]}}'),
        "_airbyte_generation_id": pa.scalar(generation, pa.int64()),
    }


class Normalizer:
    """Adds the metadata columns to batches of one plan. ``schema`` is the target's; ``fields`` are the metadata columns
    among its columns, ``lsn`` the place in the log at which a snapshot was begun."""

    def __init__(
        self,
        schema: StreamSchema,
        fields: Sequence[Field],
        *,
        extracted_at: datetime,
        sync_id: str,
        generation: int,
        lsn: int | None = None,
    ) -> None:
        self._schema = schema.arrow()
        self._columns: list[Callable[[int], pa.Array]] = []
        at = pa.scalar(extracted_at.astimezone(UTC).isoformat())
        values: dict[str, Any] = {
            **_plan_values(extracted_at, sync_id, generation),
            "_syncline_op": pa.scalar("read"),
            "_syncline_ordinal": pa.scalar(0, pa.int64()),
            "_syncline_lsn": pa.scalar(lsn, pa.int64()),
            "_ab_cdc_lsn": pa.scalar(lsn, pa.int64()),
            "_ab_cdc_updated_at": at,
        }
        for field in fields:
            if field.name == "_airbyte_raw_id":
                self._columns.append(_random_ids)
            else:
                self._columns.append(_constant(values.get(field.name, pa.scalar(None, field.type))))

    def __call__(self, batch: Batch) -> Batch:
        if not self._columns:
            return batch
        rows = batch.data.num_rows
        arrays = [*batch.data.columns, *(make(rows) for make in self._columns)]
        data = pa.RecordBatch.from_arrays(arrays, schema=self._schema)
        return Batch(data=data, misfits=batch.misfits)


def _constant(value: pa.Scalar) -> Callable[[int], pa.Array]:
    """Batches are mostly of one size: keep the longest array made and slice it."""
    kept = pa.repeat(value, 0)

    def make(rows: int) -> pa.Array:
        nonlocal kept
        if len(kept) < rows:
            kept = pa.repeat(value, rows)
        return kept.slice(0, rows)

    return make


def _random_ids(rows: int) -> pa.Array:
    """Version 4 UUIDs as text, made without a Python object per row."""
    raw = np.frombuffer(bytearray(os.urandom(16 * rows)), dtype=np.uint8).reshape(rows, 16)
    raw[:, 6] = (raw[:, 6] & 0x0F) | 0x40
    raw[:, 8] = (raw[:, 8] & 0x3F) | 0x80
    digits = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)
    text = np.full((rows, 36), ord("-"), dtype=np.uint8)
    places = [i for i in range(36) if i not in (8, 13, 18, 23)]
    text[:, places[0::2]] = digits[raw >> 4]
    text[:, places[1::2]] = digits[raw & 15]
    offsets = np.arange(0, 36 * rows + 1, 36, dtype=np.int32)
    return pa.StringArray.from_buffers(rows, pa.py_buffer(offsets), pa.py_buffer(text.tobytes()))


_WORDS = pa.array(["read", *(op.word for op in Op)])


def change_rows(
    schema: StreamSchema, batch: ChangeBatch, *, extracted_at: datetime, sync_id: str, generation: int
) -> pa.RecordBatch:
    """The changes with ``schema``'s columns: those of the batch, and the metadata columns filled by their names.

    Used by everything that applies changes, once per batch. A column of ``schema`` that the batch does not have is
    NULL; one of the batch that ``schema`` does not have is left out."""
    rows = batch.rows
    plan = _plan_values(extracted_at, sync_id, generation)
    arrays = []
    for field in schema.fields:
        if (place := batch.data.schema.get_field_index(field.name)) >= 0:
            arrays.append(batch.data.column(place))
        elif field.name in plan:
            arrays.append(pa.repeat(plan[field.name], rows))
        elif field.name == "_airbyte_raw_id":
            arrays.append(_random_ids(rows))
        elif field.name in _FROM_CHANGE:
            arrays.append(_FROM_CHANGE[field.name](batch))
        else:
            arrays.append(pa.nulls(rows, field.type))
    return pa.RecordBatch.from_arrays(arrays, schema=schema.arrow())


def _deleted(batch: ChangeBatch) -> pa.Array:
    return pc.if_else(pc.equal(batch.op, int(Op.DELETE)), batch.committed_at, pa.scalar(None, _UTC_MICROS))


def _iso(times: pa.Array) -> pa.Array:
    return pc.strftime(times, format="%Y-%m-%dT%H:%M:%SZ")


def _unchanged(batch: ChangeBatch) -> pa.Array:
    """The names of columns whose value an update left out, as a JSON array; NULL for rows that said everything."""
    if not batch.unchanged:
        return pa.nulls(batch.rows, pa.string())
    parts = [pc.if_else(mask, json.dumps(name, ensure_ascii=False) + ",", "") for name, mask in batch.unchanged.items()]
    names = pc.utf8_rtrim(pc.binary_join_element_wise(*parts, "", ""), ",")
    whole = pc.binary_join_element_wise("[", names, "]", "")
    return pc.if_else(pc.equal(names, ""), pa.scalar(None, pa.string()), whole)


def _old_key(batch: ChangeBatch) -> pa.Array:
    """The former key of rows whose key changed, as a JSON object; NULL for others. Such rows are few."""
    if batch.old_key is None or batch.moved is None:
        return pa.nulls(batch.rows, pa.string())
    texts: list[str | None] = [None] * batch.rows
    places = pc.indices_nonzero(batch.moved)
    for place, row in zip(places.to_pylist(), batch.old_key.take(places).to_pylist(), strict=True):
        texts[place] = json.dumps(row, ensure_ascii=False, default=_key_text)
    return pa.array(texts, pa.string())


def _key_text(value: Any) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


_FROM_CHANGE: dict[str, Callable[[ChangeBatch], pa.Array]] = {
    "_syncline_op": lambda batch: _WORDS.take(batch.op),
    "_syncline_lsn": lambda batch: batch.lsn.cast(pa.int64()),
    "_syncline_ordinal": lambda batch: batch.ordinal.cast(pa.int64()),
    "_syncline_committed_at": lambda batch: batch.committed_at,
    "_syncline_unchanged": _unchanged,
    "_syncline_old_key": _old_key,
    "_syncline_deleted_at": _deleted,
    "_ab_cdc_lsn": lambda batch: batch.lsn.cast(pa.int64()),
    "_ab_cdc_updated_at": lambda batch: _iso(batch.committed_at),
    "_ab_cdc_deleted_at": lambda batch: _iso(_deleted(batch)),
}
