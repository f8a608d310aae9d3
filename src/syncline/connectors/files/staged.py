"""Parquet files before they are published, for questions in SQL: DuckDB over the staged files and no others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.schema import Field
from syncline.sdk.files.manifest import ManifestFile

__all__ = ["FilesStagedView", "staged_view"]


@contextmanager
def staged_view(root: Path, files: Sequence[ManifestFile], columns: Sequence[Field]) -> Iterator[FilesStagedView]:
    """``files`` are staged ones of a local store; without any the rows are none, of ``columns``."""
    paths = [str(root / f.staged.upload) for f in files if f.staged is not None]
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        con.execute(f"SET allowed_paths = [{', '.join(map(_literal, paths))}]")
        con.execute("SET enable_external_access = false")
        names = {f.name for f in columns}
        parts = []
        for file, path in zip(files, paths, strict=True):
            # Columns by which files are parted are in their folder's name, and staged files have none yet.
            more = "".join(f", {_value(v)} AS {_quoted(n)}" for n, v in file.values.items() if n in names)
            parts.append(f"SELECT *{more} FROM read_parquet({_literal(path)})")
        if parts:
            con.execute("CREATE VIEW staged AS " + " UNION ALL BY NAME ".join(parts))
        else:
            empty = pa.schema([f.arrow() for f in columns]).empty_table()
            con.register("staged", empty)
        folder = str(Path(paths[0]).parent) if paths else f"no file below {root}"
        yield FilesStagedView(con, folder)


class FilesStagedView:
    """See :class:`syncline.sdk.destination.StagedView`."""

    relation = "staged"

    def __init__(self, con: duckdb.DuckDBPyConnection, place: str) -> None:
        self.place = place
        self._con = con

    @property
    def published(self) -> str:
        raise _no_tables()

    def table(self, name: str) -> str:
        raise _no_tables()

    def columns(self) -> list[str]:
        return [str(d[0]) for d in self._con.execute("SELECT * FROM staged LIMIT 0").description or ()]

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        try:
            found = self._con.execute(query).to_arrow_table()
        except duckdb.Error as error:
            raise SynclineError(
                ErrorKind.CONFIG,
                f"DuckDB cannot answer a gate's question: {str(error).strip().splitlines()[0]}",
                hint="gates of files may read the staged rows and nothing else",
            ) from error
        return list(zip(*(column.to_pylist() for column in found.columns), strict=True))

    def batches(self, fields: Sequence[Field]) -> Iterator[pa.RecordBatch]:
        schema = pa.schema([f.arrow() for f in fields])
        wanted = ", ".join(_quoted(f.name) for f in fields)
        for batch in self._con.execute(f"SELECT {wanted} FROM staged").to_arrow_reader(65536):
            columns = [c if c.type == f.type else c.cast(f.type) for c, f in zip(batch.columns, schema, strict=True)]
            yield pa.RecordBatch.from_arrays(columns, schema=schema)


def _no_tables() -> SynclineError:
    return SynclineError(
        ErrorKind.CONFIG, "files have no tables to refer to", hint="use the rule references at a database"
    )


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _value(text: str | None) -> str:
    return "NULL" if text is None else _literal(text)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
