"""Parquet files that nobody sees yet, for questions in SQL: DuckDB over exactly these files, wherever they lie.

Besides them a question may name other streams that the same connection has written here; nothing else can be read.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs as pafs

from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.schema import Field
from syncline.sdk.time_limit import ANSWER_SECONDS, time_limit, too_long

__all__ = ["StagedFilesView", "ViewFile", "ViewTable", "staged_files_view"]

_STAGED = "_syncline_staged"
#: What a question may hold in memory; more is kept in a folder of its own while it runs.
_MEMORY = "1GiB"
_PART = re.compile(r'"((?:[^"]|"")*)"|([^."]+)')


@dataclass(frozen=True, kw_only=True)
class ViewFile:
    """One file. ``values``: columns that are in its folder's name instead (None: NULL)."""

    open: Callable[[], pa.NativeFile]
    values: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ViewTable:
    """Files that are rows of one table. ``schema`` has all its columns; one that a file lacks is NULL in it."""

    files: Sequence[ViewFile]
    schema: pa.Schema


#: From namespace (None: not said) and name to a visible table; None when this connection has written none.
Lookup = Callable[[str | None, str], ViewTable | None]


@contextmanager
def staged_files_view(
    staged: ViewTable, place: str, visible: Lookup, work_dir: Path, *, stream: str
) -> Iterator[StagedFilesView]:
    """``stream`` is what ``visible`` is asked for as the staged rows' own table."""
    work_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=work_dir, prefix="gates-") as spill, duckdb.connect() as con:
        con.execute(f"SET memory_limit = '{_MEMORY}'")
        con.execute(f"SET temp_directory = {_literal(spill)}")
        con.execute("SET TimeZone = 'UTC'")
        con.execute("SET python_enable_replacements = false")
        # From here on the statements may be a user's.
        con.execute("SET enable_external_access = false")
        yield StagedFilesView(con, staged, place, visible, stream)


class StagedFilesView:
    """See :class:`syncline.sdk.destination.StagedView`."""

    relation = _STAGED

    def __init__(
        self, con: duckdb.DuckDBPyConnection, staged: ViewTable, place: str, visible: Lookup, stream: str
    ) -> None:
        self.place = place
        self._con, self._visible, self._stream = con, visible, stream
        self._files = _Files()
        self._known: dict[str, str] = {}
        con.register(_STAGED, _dataset(staged, self._files))

    @property
    def published(self) -> str:
        return self.table(self._stream)

    def table(self, name: str) -> str:
        namespace, _, last = name.rpartition(".")
        found = self._shown(namespace or None, last)
        if found is None:
            raise SynclineError(
                ErrorKind.CONFIG,
                f"a gate refers to {name}, and this connection has written no such stream here",
                hint="name a stream of the same connection (stream, or namespace.stream), and copy it before",
            )
        return found

    def columns(self) -> list[str]:
        return [str(d[0]) for d in self._con.execute(f"SELECT * FROM {_STAGED} LIMIT 0").description or ()]

    def rows(self, query: str, *, seconds: float = ANSWER_SECONDS) -> list[tuple[Any, ...]]:
        with self._told(seconds):
            for asked in sorted(self._con.get_table_names(query, qualified=True)):
                self._show(asked)
            # By way of Arrow: DuckDB's own moments with a zone need a library that we do not have.
            found = self._con.execute(query).to_arrow_table()
        return list(zip(*(column.to_pylist() for column in found.columns), strict=True))

    def batches(self, fields: Sequence[Field]) -> Iterator[pa.RecordBatch]:
        schema = pa.schema([f.arrow() for f in fields])
        wanted = ", ".join(_quoted(f.name) for f in fields)
        with self._told(ANSWER_SECONDS):
            for batch in self._con.execute(f"SELECT {wanted} FROM {_STAGED}").to_arrow_reader(65536):
                pairs = zip(batch.columns, schema, strict=True)
                columns = [c if c.type == f.type else c.cast(f.type) for c, f in pairs]
                yield pa.RecordBatch.from_arrays(columns, schema=schema)

    def _show(self, asked: str) -> None:
        """Make a table that a question names visible to it, under that very name."""
        parts = [(quoted or plain).replace('""', '"') for quoted, plain in _PART.findall(asked)]
        namespace, name = (parts[-2] if len(parts) > 1 else None), parts[-1]
        if name == _STAGED or asked in self._known.values():
            return
        relation = self._shown(namespace, name)
        if relation is None:
            return  # DuckDB says so in its own words
        if namespace is not None:
            self._con.execute(f"CREATE SCHEMA IF NOT EXISTS {_quoted(namespace)}")
        full = _quoted(name) if namespace is None else f"{_quoted(namespace)}.{_quoted(name)}"
        self._con.execute(f"CREATE OR REPLACE VIEW {full} AS SELECT * FROM {relation}")

    def _shown(self, namespace: str | None, name: str) -> str | None:
        key = f"{namespace or ''}\0{name}"
        if key not in self._known:
            found = self._visible(namespace, name)
            if found is None:
                return None
            relation = f"_syncline_visible_{len(self._known)}"
            self._con.register(relation, _dataset(found, self._files))
            self._known[key] = relation
        return self._known[key]

    @contextmanager
    def _told(self, seconds: float) -> Iterator[None]:
        """Within, DuckDB's errors become ours, and a question that does not end is given up."""
        with time_limit(seconds, self._con.interrupt) as limit:
            try:
                yield
            except duckdb.Error as error:
                if limit.passed:
                    raise too_long(seconds) from error
                if self._files.error is not None:
                    raise self._files.error from error  # a file could not be read: the question is not to blame
                raise SynclineError(
                    ErrorKind.CONFIG,
                    f"DuckDB cannot answer a gate's question: {str(error).strip().splitlines()[0]}",
                    hint="gates of files may read the staged rows, and streams that this connection has written here",
                ) from error


class _Files(pafs.FileSystemHandler):  # type: ignore[misc]
    """The files as Arrow's datasets open them, by number. Nothing can be listed, written or removed."""

    def __init__(self) -> None:
        self._open: list[Callable[[], pa.NativeFile]] = []
        self.error: SynclineError | None = None

    def add(self, file: ViewFile) -> str:
        self._open.append(file.open)
        return str(len(self._open) - 1)

    def get_type_name(self) -> str:
        return "staged"

    def normalize_path(self, path: str) -> str:
        return path

    def open_input_file(self, path: str) -> pa.NativeFile:
        try:
            return self._open[int(path)]()
        except SynclineError as error:
            self.error = error
            raise

    open_input_stream = open_input_file

    def get_file_info(self, paths: Sequence[str]) -> list[pafs.FileInfo]:
        return [pafs.FileInfo(path, pafs.FileType.File) for path in paths]

    def get_file_info_selector(self, selector: pafs.FileSelector) -> list[pafs.FileInfo]:
        raise OSError("read only")

    def _refused(self, *_: object) -> None:
        raise OSError("read only")

    create_dir = delete_dir = delete_dir_contents = delete_root_dir_contents = _refused
    delete_file = move = copy_file = open_output_stream = open_append_stream = _refused


def _dataset(table: ViewTable, files: _Files) -> ds.Dataset:
    seen: dict[str, str] = {}
    for name in table.schema.names:
        if seen.setdefault(name.casefold(), name) != name:
            raise SynclineError(
                ErrorKind.CONFIG,
                f"a gate asks rows whose columns {seen[name.casefold()]!r} and {name!r} differ in case only",
                hint="DuckDB, which answers, cannot tell them apart: rename one (field_mappings), or leave it out",
            )
    if not table.files:
        return ds.dataset(table.schema.empty_table())
    form, system = ds.ParquetFileFormat(), pafs.PyFileSystem(files)
    fragments = [form.make_fragment(files.add(f), system, _held_to(f.values, table.schema)) for f in table.files]
    return ds.FileSystemDataset(fragments, table.schema, form, system)


def _held_to(values: Mapping[str, str | None], schema: pa.Schema) -> ds.Expression | None:
    """What the folder's name says of every row of its files."""
    whole: ds.Expression | None = None
    for name, text in values.items():
        if name not in schema.names:
            continue
        column = ds.field(name)
        one = column.is_null() if text is None else column == pa.scalar(text).cast(schema.field(name).type)
        whole = one if whole is None else whole & one
    return whole


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
