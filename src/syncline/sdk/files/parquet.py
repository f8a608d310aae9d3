"""Parquet as every reader takes it, and what its footer says about a file's columns."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from syncline.sdk.files.columns import to_file_type

__all__ = ["ParquetEncoder"]

#: Rows looked at to decide whether a dictionary pays for a column.
_SAMPLE = 16_384
#: Above this share of distinct values a dictionary costs time and space (measured: twice the time on keys and prices).
_DISTINCT_SHARE = 0.4
#: zlib's level 4 costs a quarter of its usual 6 here, for files 3 % larger.
_GZIP_LEVEL = 4
#: Values looked at to decide whether a codec pays for a column of text or bytes; fewer bytes than this tell nothing.
_CODEC_SAMPLE, _CODEC_BYTES = 4096, 16_384
#: What is left above this share is not worth the time (hexadecimal digests with Snappy: 97 %, at twice the time).
_CODEC_SHARE = 0.9
_CODED = pa.dictionary(pa.int32(), pa.string())


class ParquetEncoder:
    """Writes one file. Format version 2.6, data pages 1.0, statistics, and no Arrow schema beside the Parquet one:
    every reader sees the same plain types. Decimals of up to 18 digits are integers inside, half the size and faster
    both ways.

    ``schema`` is the file's own; tables are converted to its types as they come. Columns named in ``constants`` have
    one value per file: a hint that saves time. ``codec`` is a name of Parquet's, or ``UNCOMPRESSED``."""

    def __init__(
        self, schema: pa.Schema, sink: pa.NativeFile, *, codec: str = "SNAPPY", constants: Collection[str] = ()
    ) -> None:
        # A constant text given as a dictionary of one entry is not hashed row by row.
        self._coded = {f.name for f in schema if f.name in constants and pa.types.is_string(f.type)}
        self._schema = pa.schema([f.with_type(_CODED) if f.name in self._coded else f for f in schema])
        self._codec = {"UNCOMPRESSED": "none"}.get(codec, codec.lower())
        self._sink = sink
        self._writer: pq.ParquetWriter | None = None

    def write(self, table: pa.Table) -> None:
        """Add rows as one row group."""
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
        # Digests, ciphertexts and random keys get no smaller, and trying costs more than encoding them.
        # (A codec for each column is given by its name, which does not reach the leaves of a nested one.)
        alike = self._codec == "none" or any(pa.types.is_nested(f.type) for f in self._schema)
        plain = set() if alike else {n for n in self._schema.names if self._stays(table[n], n, chosen)}
        codecs = {n: "none" if n in plain else self._codec for n in self._schema.names} if plain else self._codec
        level = _GZIP_LEVEL if self._codec == "gzip" else None
        return pq.ParquetWriter(
            self._sink,
            self._schema,
            version="2.6",
            compression=codecs,
            compression_level={n: level for n in self._schema.names if n not in plain} if plain and level else level,
            use_dictionary=chosen,
            write_statistics=True,
            store_schema=False,
            store_decimal_as_integer=True,
        )

    def _stays(self, column: pa.ChunkedArray, name: str, coded: list[str] | bool) -> bool:
        """Whether the codec would leave a text or binary column about as long as it is, judged by its first values."""
        kind = column.type
        if isinstance(coded, bool) or name in coded or not (pa.types.is_string(kind) or pa.types.is_binary(kind)):
            return False
        sample = pa.concat_arrays(column.slice(0, _CODEC_SAMPLE).chunks)
        if len(sample) == 0 or (data := sample.buffers()[2]) is None:
            return False
        first, last = sample.offset, sample.offset + len(sample)
        offsets = np.frombuffer(sample.buffers()[1], np.int32)
        text = data.slice(int(offsets[first]), int(offsets[last] - offsets[first]))
        if text.size < _CODEC_BYTES:
            return False
        return bool(len(pa.Codec(self._codec).compress(text)) > _CODEC_SHARE * text.size)

    def close(self) -> pq.FileMetaData:
        """Write what ends the file and give it back; the sink stays open."""
        writer = self._writer or self._open(self._schema.empty_table())
        writer.close()
        return writer.writer.metadata

    def discard(self) -> None:
        """Write nothing more: the file is thrown away. Comes before the sink is closed."""
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
