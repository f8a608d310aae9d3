"""Parquet files: schema from the footer, rows by row groups."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from syncline.connectors.files.source_text import Extra, FileAt, unreadable
from syncline.connectors.files.source_types import Kind, carrier, fit
from syncline.core.batch import Batch, Misfit
from syncline.core.schema import Field

__all__ = ["ParquetFormat"]

_BATCH_BYTES = 8 << 20
#: Row groups up to this are read column by column in one go, larger ones through buffers of so much in all.
_ROW_GROUP_BYTES = 96 << 20
_BUFFERS_BYTES = 32 << 20


class ParquetFormat:
    """Reads the Parquet files of a stream."""

    def columns(self, file: FileAt) -> dict[str, Kind]:
        with unreadable(file), self._open(file) as opened:
            schema = opened.schema_arrow
            return {name: carrier(kind) for name, kind in zip(schema.names, schema.types, strict=True)}

    def row_groups(self, file: FileAt) -> list[int]:
        """Compressed sizes of the row groups."""
        with unreadable(file), self._open(file) as opened:
            return [_compressed(opened.metadata, i) for i in range(opened.metadata.num_row_groups)]

    def read(
        self, file: FileAt, fields: Sequence[Field], extra: Extra, start: int = 0, stop: int = -1
    ) -> Iterator[Batch]:
        with unreadable(file), self._open(file) as opened:
            extra(file, opened.schema_arrow.names)
            metadata = opened.metadata
            groups = range(start, metadata.num_row_groups if stop < 0 else stop)
            largest = max((_compressed(metadata, i) for i in groups), default=0)
            width = max((_width(metadata.row_group(i)) for i in groups), default=1)
            present = [f.name for f in fields if f.name in opened.schema_arrow.names]
        buffer = 0 if largest <= _ROW_GROUP_BYTES else max(_BUFFERS_BYTES // max(len(present), 1), 1 << 16)
        with unreadable(file), self._open(file, buffer) as opened:
            for data in opened.iter_batches(
                batch_size=max(min(_BATCH_BYTES // max(width, 8), 1 << 18), 16),
                row_groups=list(groups),
                columns=present,
                use_threads=False,
            ):
                yield _fitted(data, fields)

    def _open(self, file: FileAt, buffer: int = 0) -> pq.ParquetFile:
        source = file.store.open_input(file.key)
        try:
            return pq.ParquetFile(source, buffer_size=buffer, coerce_int96_timestamp_unit="us")
        except BaseException:
            source.close()
            raise


def _compressed(metadata: pq.FileMetaData, number: int) -> int:
    group = metadata.row_group(number)
    return sum(group.column(i).total_compressed_size for i in range(group.num_columns))


def _width(group: pq.RowGroupMetaData) -> int:
    """Bytes per row, decompressed and not decoded."""
    return int(group.total_byte_size) // max(int(group.num_rows), 1)


def _fitted(data: pa.RecordBatch, fields: Sequence[Field]) -> Batch:
    arrays: list[pa.Array] = []
    misfits: list[Misfit] = []
    for field in fields:
        at = data.schema.get_field_index(field.name)
        if at < 0:
            arrays.append(pa.nulls(data.num_rows, field.type))
            continue
        array, wrong = fit(data.column(at), field)
        arrays.append(array)
        misfits += wrong
    schema = pa.schema([f.arrow() for f in fields])
    return Batch(data=pa.RecordBatch.from_arrays(arrays, schema=schema), misfits=tuple(misfits))
