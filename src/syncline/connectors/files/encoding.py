"""The file formats: an encoder takes tables and writes bytes to a sink. Used by one thread; Arrow releases the GIL."""

from __future__ import annotations

import zlib
from collections.abc import Collection
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from syncline.connectors.files.config import FormatConfig
from syncline.connectors.files.json_text import calendar_text, far_from_now, hex_text, json_lines, json_text
from syncline.connectors.files.types import decimal_text, file_type, to_file_type

__all__ = ["Encoder", "encoder"]

#: Rows looked at to decide whether a dictionary pays for a column.
_SAMPLE = 16_384
#: Above this share of distinct values a dictionary costs time and space (measured: twice the time on keys and prices).
_DISTINCT_SHARE = 0.4
#: Text formats are written in steps of this many rows, so that their text, several times as large, stays small.
_TEXT_ROWS = 16_384
#: zlib's level 4 costs a quarter of its usual 6 here, for files 3 % larger; 31: with the header and check sum of gzip.
_GZIP_LEVEL, _GZIP_FORMAT = 4, 31
_CODED = pa.dictionary(pa.int32(), pa.string())


class Encoder(Protocol):
    """Writes one file."""

    def write(self, table: pa.Table) -> None:
        """Add rows; for Parquet one row group."""
        ...

    def close(self) -> None:
        """Write what ends the file; the sink stays open."""
        ...

    def discard(self) -> None:
        """Write nothing more: the file is thrown away. Comes before the sink is closed."""
        ...


def encoder(config: FormatConfig, schema: pa.Schema, sink: pa.NativeFile, constants: Collection[str] = ()) -> Encoder:
    """An encoder for files with the columns of ``schema`` (as they come; the encoder converts them). Columns named in
    ``constants`` have one value per file: a hint that saves time."""
    if config.format_type == "Parquet":
        return _Parquet(config, schema, sink, constants)
    return _Csv(config, sink) if config.format_type == "CSV" else _Jsonl(config, sink)


class _Parquet:
    """Format version 2.6, data pages 1.0, statistics, and no Arrow schema beside the Parquet one: every reader sees the
    same plain types. Decimals of up to 18 digits are integers inside, half the size and faster both ways."""

    def __init__(
        self, config: FormatConfig, schema: pa.Schema, sink: pa.NativeFile, constants: Collection[str]
    ) -> None:
        # A constant text given as a dictionary of one entry is not hashed row by row.
        self._coded = {f.name for f in schema if f.name in constants and pa.types.is_string(f.type)}
        self._schema = pa.schema(
            [pa.field(f.name, _CODED if f.name in self._coded else file_type(f.type, "Parquet")) for f in schema]
        )
        self._codec = {"UNCOMPRESSED": "none"}.get(config.codec, config.codec.lower())
        self._sink = sink
        self._writer: pq.ParquetWriter | None = None

    def write(self, table: pa.Table) -> None:
        columns = [
            _coded(c) if f.name in self._coded else to_file_type(c, f.type)
            for c, f in zip(table.columns, self._schema, strict=True)
        ]
        table = pa.Table.from_arrays(columns, schema=self._schema)
        if self._writer is None:
            self._writer = self._open(table)
        self._writer.write_table(table, row_group_size=max(table.num_rows, 1))

    def _open(self, table: pa.Table) -> pq.ParquetWriter:
        chosen: list[str] | bool = [name for name in self._schema.names if _repeats(table[name])]
        if any("." in name for name in self._schema.names):
            chosen = True  # the list is of paths: a dot in a name would be read as nesting
        return pq.ParquetWriter(
            self._sink,
            self._schema,
            version="2.6",
            compression=self._codec,
            compression_level=_GZIP_LEVEL if self._codec == "gzip" else None,
            use_dictionary=chosen,
            write_statistics=True,
            store_schema=False,
            store_decimal_as_integer=True,
        )

    def close(self) -> None:
        writer = self._writer or self._open(self._schema.empty_table())
        writer.close()

    def discard(self) -> None:
        if self._writer is not None:
            self._writer.is_open = False  # or it would write a footer when it is collected


def _coded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    value = column[0]
    if not value.is_valid or not pc.all(pc.equal(column, value), skip_nulls=False).as_py():
        return column.dictionary_encode().cast(_CODED)
    codes = pa.array(np.zeros(len(column), dtype=np.int32))
    return pa.chunked_array([pa.DictionaryArray.from_arrays(codes, pa.array([value.as_py()]))])


def _repeats(column: pa.ChunkedArray) -> bool:
    """Whether values repeat enough for a dictionary, judged by the first rows."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return True
    if pa.types.is_nested(kind) or pa.types.is_boolean(kind):
        return False
    sample = column.slice(0, _SAMPLE)
    if len(sample) == 0:
        return True
    distinct = pc.count_distinct(sample.combine_chunks()).as_py()
    return bool(distinct <= max(1.0, _DISTINCT_SHARE * len(sample)))


class _Text:
    """What CSV and JSON lines share: small steps, and compression by zlib itself (Arrow's gzip is fixed to its slowest
    level: twenty times the time for a tenth of the size)."""

    def __init__(self, config: FormatConfig, sink: pa.NativeFile) -> None:
        self._sink = sink
        compressed = config.codec == "GZIP"
        self._gzip = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP_FORMAT) if compressed else None

    def write(self, table: pa.Table) -> None:
        for batch in table.to_batches(max_chunksize=_TEXT_ROWS):
            self._write_batch(batch)

    def _emit(self, text: pa.Buffer) -> None:
        self._sink.write(self._gzip.compress(text) if self._gzip is not None else text)

    def close(self) -> None:
        if self._gzip is not None:
            self._sink.write(self._gzip.flush())

    def discard(self) -> None:
        pass

    def _write_batch(self, batch: pa.RecordBatch) -> None:
        raise NotImplementedError


class _Jsonl(_Text):
    def _write_batch(self, batch: pa.RecordBatch) -> None:
        lines = json_lines(batch)
        # The text of consecutive lines lies in one piece: written as it is.
        buffer = lines.buffers()[2]
        if buffer is not None:
            self._emit(buffer.slice(0, _text_end(lines)))


def _text_end(lines: pa.Array) -> int:
    return int(np.frombuffer(lines.buffers()[1], dtype=np.int32)[len(lines)])


class _Csv(_Text):
    """A header line; text in quotes, so that an empty text (``""``) differs from NULL (nothing). Lists and structs are
    JSON text, bytes hexadecimal digits."""

    def __init__(self, config: FormatConfig, sink: pa.NativeFile) -> None:
        super().__init__(config, sink)
        self._first = True

    def _write_batch(self, batch: pa.RecordBatch) -> None:
        import pyarrow.csv as csv

        columns = [_csv_column(column) for column in batch.columns]
        plain = pa.RecordBatch.from_arrays(columns, names=batch.schema.names)
        text = pa.BufferOutputStream()
        csv.write_csv(plain, text, csv.WriteOptions(include_header=self._first, batch_size=_TEXT_ROWS))
        self._emit(text.getvalue())
        self._first = False


def _csv_column(array: pa.Array) -> pa.Array:
    kind = array.type
    if pa.types.is_dictionary(kind):
        return _csv_column(array.dictionary_decode())
    if pa.types.is_nested(kind):
        return pc.if_else(array.is_null(), pa.scalar(None, pa.string()), json_text(array))
    if pa.types.is_decimal(kind) and (kind.scale > 6 or kind.scale < 0):
        return decimal_text(array)
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return hex_text(array)
    if (pa.types.is_timestamp(kind) or pa.types.is_date32(kind)) and far_from_now(array):
        return calendar_text(array)
    wanted = file_type(kind, "CSV")
    return array if kind == wanted else array.cast(wanted)
