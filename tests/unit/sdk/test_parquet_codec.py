"""Columns that a codec cannot shorten are written as they are; the others are compressed. Either reads back."""

from __future__ import annotations

import hashlib

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from syncline.sdk.files.parquet import ParquetEncoder

ROWS = 5000
TABLE = pa.table(
    {
        "digest": [hashlib.sha256(b"%d" % i).hexdigest() for i in range(ROWS)],
        "raw": [hashlib.sha256(b"%d" % i).digest() for i in range(ROWS)],
        "text": [f"the customer number {i} lives in a street" for i in range(ROWS)],
        "number": pa.array(range(ROWS), pa.int64()),
        "nothing": pa.nulls(ROWS, pa.string()),
        "a.b": [hashlib.md5(b"%d" % i, usedforsecurity=False).hexdigest() for i in range(ROWS)],
    }
)


@pytest.mark.parametrize(
    ("codec", "digest"), [("SNAPPY", "UNCOMPRESSED"), ("ZSTD", "ZSTD"), ("GZIP", "GZIP"), ("UNCOMPRESSED", None)]
)
@pytest.mark.parametrize("names", [["digest", "raw", "text", "number", "nothing"], TABLE.column_names])
def test_a_column_is_compressed_where_that_makes_it_smaller(codec: str, digest: str | None, names: list[str]) -> None:
    sink = pa.BufferOutputStream()
    encoder = ParquetEncoder(TABLE.select(names).schema, sink, codec=codec)
    encoder.write(TABLE.select(names).slice(3))  # a slice: its buffers begin before its rows
    footer = encoder.close()
    group = footer.row_group(0)
    used = {group.column(i).path_in_schema: group.column(i).compression for i in range(group.num_columns)}
    if "a.b" not in names:  # where a name has a dot, columns cannot be told apart in Parquet's settings
        assert used["digest"] == (digest or codec)
        assert used["raw"] == "UNCOMPRESSED"
    assert used["text"] == codec
    assert pq.read_table(pa.BufferReader(sink.getvalue())).equals(TABLE.select(names).slice(3))


def test_beside_a_nested_column_all_are_compressed() -> None:
    table = TABLE.select(["digest", "text"]).append_column("list", pa.array([["x"]] * ROWS))
    sink = pa.BufferOutputStream()
    encoder = ParquetEncoder(table.schema, sink, codec="SNAPPY")
    encoder.write(table)
    group = encoder.close().row_group(0)
    assert {group.column(i).compression for i in range(group.num_columns)} == {"SNAPPY"}


def test_no_rows_are_a_file_too() -> None:
    sink = pa.BufferOutputStream()
    ParquetEncoder(TABLE.schema, sink, codec="SNAPPY").close()
    assert pq.read_table(pa.BufferReader(sink.getvalue())).num_rows == 0
