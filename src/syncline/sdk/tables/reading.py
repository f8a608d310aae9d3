"""Rows of a table's files, row group by row group, in the types that the table has now."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from syncline.core.errors import ErrorKind, SynclineError
from syncline.sdk.files.columns import to_file_type
from syncline.sdk.files.store import ObjectStore
from syncline.sdk.tables.bounds import bounds_of, may_hold
from syncline.sdk.tables.table import TableFile

__all__ = ["FileReader"]


@dataclass(frozen=True, kw_only=True)
class FileReader:
    """Reads files of one table. ``schema`` are the table's columns; a column that a file does not have is NULL in it.
    ``names``: from a file's Arrow schema to what it calls the table's columns, None where both use the same names."""

    store: ObjectStore
    schema: pa.Schema
    names: Callable[[pa.Schema], Mapping[str, str]] | None = None

    def tables(
        self, file: TableFile, columns: Sequence[str] | None = None, *, keys: pa.Table | None = None
    ) -> Iterator[tuple[int, pa.Table]]:
        """The file's rows as (number of the first row, rows). Row groups that cannot hold any of ``keys`` are left
        out."""
        wanted = list(self.schema.names if columns is None else columns)
        with self._opened(file) as opened:
            called = self.names(opened.schema_arrow) if self.names is not None else {}
            inside = {n: called.get(n, n) for n in wanted}
            present = set(opened.schema_arrow.names)
            start = 0
            for group in range(opened.num_row_groups):
                footer = opened.metadata.row_group(group)
                if keys is None or self._may_hold(opened, group, keys, called):
                    table = opened.read_row_group(group, columns=[c for c in inside.values() if c in present])
                    yield start, self._fitted(table, wanted, inside)
                start += footer.num_rows

    def _may_hold(self, opened: pq.ParquetFile, group: int, keys: pa.Table, called: Mapping[str, str]) -> bool:
        if opened.num_row_groups == 1:
            return True
        one = opened.metadata.row_group(group)
        fields = [pa.field(called.get(n, n), keys.schema.field(n).type) for n in keys.column_names]
        found = bounds_of(_OneGroup(opened.metadata, one), pa.schema(fields))
        back = {called.get(n, n): n for n in keys.column_names}
        return bool(may_hold({back[n]: b for n, b in found.items()}, keys).any())

    def _fitted(self, table: pa.Table, wanted: Sequence[str], inside: Mapping[str, str]) -> pa.Table:
        present = set(table.column_names)
        arrays = []
        for name in wanted:
            kind = self.schema.field(name).type
            if inside[name] in present:
                arrays.append(to_file_type(table[inside[name]], kind))
            else:
                arrays.append(pa.chunked_array([pa.nulls(table.num_rows, kind)]))
        fields = [pa.field(name, self.schema.field(name).type) for name in wanted]
        return pa.Table.from_arrays(arrays, schema=pa.schema(fields))

    def _opened(self, file: TableFile) -> pq.ParquetFile:
        try:
            return pq.ParquetFile(self.store.open_input(file.key))
        except pa.ArrowInvalid as error:
            raise SynclineError(
                ErrorKind.DATA,
                f"{self.store.url_of(file.key)} is not a whole Parquet file",
                hint="something changed a file of the table; restore it, or copy the stream anew",
                where={"path": self.store.url_of(file.key)},
            ) from error


class _OneGroup:
    """One row group's footer in the form of a file's."""

    def __init__(self, footer: pq.FileMetaData, group: pq.RowGroupMetaData) -> None:
        self._footer, self._group = footer, group
        self.schema, self.num_columns, self.num_row_groups = footer.schema, footer.num_columns, 1

    def row_group(self, number: int) -> pq.RowGroupMetaData:
        return self._group
