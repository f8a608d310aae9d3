"""The file formats: an encoder takes tables and writes bytes to a sink. Used by one thread; Arrow releases the GIL."""

from __future__ import annotations

import zlib
from collections.abc import Collection
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from syncline.connectors.files.config import FormatConfig
from syncline.connectors.files.types import file_type
from syncline.sdk.files.columns import decimal_text
from syncline.sdk.files.parquet import ParquetEncoder
from syncline.sdk.records.json_text import calendar_text, far_from_now, hex_text, json_lines, json_text

__all__ = ["Encoder", "encoder"]

#: Text formats are written in steps of this many rows, so that their text, several times as large, stays small.
_TEXT_ROWS = 16_384
#: zlib's level 4 costs a quarter of its usual 6 here, for files 3 % larger; 31: with the header and check sum of gzip.
_GZIP_LEVEL, _GZIP_FORMAT = 4, 31


class Encoder(Protocol):
    """Writes one file."""

    def write(self, table: pa.Table) -> None:
        """Add rows; for Parquet one row group."""
        ...

    def close(self) -> object:
        """Write what ends the file; the sink stays open."""
        ...

    def discard(self) -> None:
        """Write nothing more: the file is thrown away. Comes before the sink is closed."""
        ...


def encoder(config: FormatConfig, schema: pa.Schema, sink: pa.NativeFile, constants: Collection[str] = ()) -> Encoder:
    """An encoder for files with the columns of ``schema`` (as they come; the encoder converts them). Columns named in
    ``constants`` have one value per file: a hint that saves time."""
    if config.format_type == "Parquet":
        kept = pa.schema([pa.field(f.name, file_type(f.type, "Parquet")) for f in schema])
        return ParquetEncoder(kept, sink, codec=config.codec, constants=constants)
    return _Csv(config, sink) if config.format_type == "CSV" else _Jsonl(config, sink)


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
