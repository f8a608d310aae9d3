"""Metadata columns: what we add to every row, last in the schema."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import numpy as np
import pyarrow as pa

from syncline.core.batch import Batch
from syncline.core.schema import Field, StreamSchema

__all__ = ["MetadataColumns", "Normalizer", "metadata_constants", "metadata_fields"]

_UTC_MICROS = pa.timestamp("us", tz="UTC")


class MetadataColumns(StrEnum):
    """Whose names the metadata columns carry."""

    SYNCLINE = "syncline"
    AIRBYTE = "airbyte"
    NONE = "none"


def metadata_fields(style: MetadataColumns) -> tuple[Field, ...]:
    """The metadata fields of a style, in order."""
    if style is MetadataColumns.SYNCLINE:
        return (
            Field(name="_syncline_extracted_at", type=_UTC_MICROS),
            Field(name="_syncline_sync_id", type=pa.string()),
            Field(name="_syncline_generation", type=pa.int64()),
        )
    if style is MetadataColumns.AIRBYTE:
        return (
            Field(name="_airbyte_raw_id", type=pa.string()),
            Field(name="_airbyte_extracted_at", type=_UTC_MICROS),
            Field(name="_airbyte_meta", type=pa.string(), logical="json"),
            Field(name="_airbyte_generation_id", type=pa.int64()),
        )
    return ()


def metadata_constants(
    style: MetadataColumns, *, extracted_at: datetime, sync_id: str, generation: int
) -> dict[str, str] | None:
    """Metadata values as text when they are the same for a whole plan; None when they differ from row to row
    (``_airbyte_raw_id``), so that undecoded bytes cannot carry them."""
    if style is MetadataColumns.SYNCLINE:
        return {
            "_syncline_extracted_at": extracted_at.astimezone(UTC).isoformat(),
            "_syncline_sync_id": sync_id,
            "_syncline_generation": str(generation),
        }
    return {} if style is MetadataColumns.NONE else None


class Normalizer:
    """Adds the metadata columns to batches of one plan. ``schema`` is the target's, ``style`` decides the columns."""

    def __init__(
        self, schema: StreamSchema, style: MetadataColumns, *, extracted_at: datetime, sync_id: str, generation: int
    ) -> None:
        self._schema = schema.arrow()
        self._columns: list[Callable[[int], pa.Array]] = []
        at = pa.scalar(extracted_at.astimezone(UTC), _UTC_MICROS)
        values: dict[str, Any] = {
            "_syncline_extracted_at": at,
            "_syncline_sync_id": pa.scalar(sync_id),
            "_syncline_generation": pa.scalar(generation, pa.int64()),
            "_airbyte_extracted_at": at,
            "_airbyte_meta": pa.scalar(f'{{"sync_id":"{sync_id}","changes":[]}}'),
            "_airbyte_generation_id": pa.scalar(generation, pa.int64()),
        }
        for field in metadata_fields(style):
            if field.name == "_airbyte_raw_id":
                self._columns.append(_random_ids)
            else:
                self._columns.append(_constant(values[field.name]))

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
