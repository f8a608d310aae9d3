"""Files as a feed: Parquet, CSV and JSON lines, as DuckDB reads them."""

from __future__ import annotations

import gzip
import hashlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from syncline.core.schema import Field
from syncline.verify.duckdb_cells import identifier, literal
from syncline.verify.duckdb_side import Part
from syncline.verify.manifest import LakeFile
from syncline.verify.places import Place

__all__ = ["FilesFeed", "TextOptions"]

#: Files of one part: what one query reads, and with a bucket what is fetched before it starts.
_PART_BYTES = 512 << 20
_PART_FILES = 200
#: Longest line of a text file: one row. DuckDB holds two such buffers.
_LINE_BYTES = 16 << 20
_COPY_CHARACTERS = 1 << 20
_FILE_NUMBER, _FILE_PENDING = "_syncline_file_number", "_syncline_file_pending"
#: Our words for it to DuckDB's.
_COMPRESSION = {"auto": "auto_detect", "none": "none", "gzip": "gzip"}


@dataclass(frozen=True, kw_only=True)
class TextOptions:
    """How CSV is written; of JSON lines ``encoding`` and ``compression``. ``names`` are used where there is no header,
    or in its place. ``nulls``: what means NULL unquoted, besides nothing."""

    delimiter: str = ","
    quote: str = '"'
    escape: str = '"'
    header: bool = True
    names: tuple[str, ...] = ()
    skip: int = 0
    nulls: tuple[str, ...] = ()
    encoding: str = "utf-8"
    compression: str = "auto"


class FilesFeed:
    """See :class:`syncline.verify.duckdb_side.Feed`. ``fields`` are the columns as they were written; ``format`` is
    ``Parquet``, ``CSV`` or ``JSONL``, ``text`` how the last two are written (None: as our destinations do). ``whole``:
    everything must be one part. Owns the place."""

    def __init__(
        self,
        place: Place,
        files: Sequence[LakeFile],
        fields: Sequence[Field],
        *,
        format_type: str,
        work_dir: Path,
        whole: bool = False,
        refused: Mapping[str, str] | None = None,
        text: TextOptions | None = None,
        moment: Mapping[str, Any] | None = None,
    ) -> None:
        self.moment: Mapping[str, Any] = {"at": datetime.now(UTC).isoformat(), "files": len(files), **(moment or {})}
        known = [f.rows for f in files]
        self.estimated_rows = sum(known) if known and min(known) >= 0 else (-1 if files else 0)
        self._place, self._fields, self._format = place, list(fields), format_type
        self._text = text or TextOptions()
        self._work_dir = work_dir
        self.refused: Mapping[str, str] = refused or {}
        #: Columns that sort rows as they were written, where everything is one part.
        self.order: tuple[str, ...] = ()
        if whole:
            self.order = (_FILE_NUMBER, "file_row_number") if format_type == "Parquet" else (_FILE_NUMBER,)
        self._rewritten: tempfile.TemporaryDirectory[str] | None = None
        names = {f.name for f in fields}
        self._outside = [n for n in dict.fromkeys(n for f in files for n in f.values) if n in names]
        self._groups = [list(files)] if whole and files else list(_grouped(files))
        self._type_cache: dict[int, dict[str, Any]] = {}

    def types(self, engine: duckdb.DuckDBPyConnection) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if not self._groups:
            for field in self._fields:
                found[field.name] = _type_of(engine, field)
        # Later files have the columns and types that the stream has now.
        for number in range(len(self._groups)):
            if number in (0, len(self._groups) - 1):
                found |= self._types(engine, number)
        return found

    def parts(self, engine: duckdb.DuckDBPyConnection) -> Iterator[Part]:
        for number, group in enumerate(self._groups):
            sql = self._relation(engine, group)
            pending = f'"{_FILE_PENDING}"' if self._joined else str(group[0].pending).lower()
            yield Part(sql=sql, pending=pending, types=self._types(engine, number, sql))

    def close(self) -> None:
        self._place.close()
        if self._rewritten is not None:
            self._rewritten.cleanup()

    def _types(self, engine: duckdb.DuckDBPyConnection, number: int, sql: str | None = None) -> dict[str, Any]:
        if number not in self._type_cache:
            relation = engine.sql(f"SELECT * FROM {sql or self._relation(engine, self._groups[number])}")
            self._type_cache[number] = dict(zip(relation.columns, relation.types, strict=True))
        return self._type_cache[number]

    def _relation(self, engine: duckdb.DuckDBPyConnection, group: Sequence[LakeFile]) -> str:
        paths = [self._in_utf8(path) for path in self._place.paths([(f.key, f.bytes) for f in group])]
        listed = "[" + ", ".join(literal(str(path)) for path in paths) + "]"
        filename = ", filename = '_syncline_file'" if self._joined else ""
        if self._format == "Parquet":
            numbers = ", file_row_number = true" if self.order else ""
            read = f"read_parquet({listed}, union_by_name = true, hive_partitioning = false{filename}{numbers})"
        elif self._format == "CSV":
            read = (
                f"read_csv({listed}, {self._csv_options()}, union_by_name = true, hive_partitioning = false{filename})"
            )
        else:
            read = f"read_json({listed}, {self._json_options()}, hive_partitioning = false{filename})"
        return self._with_outside(engine, read, group, paths) if self._joined else read

    @property
    def _joined(self) -> bool:
        """Whether rows are joined with what is known of their file."""
        return bool(self._outside or self.order)

    @property
    def _recoded(self) -> bool:
        return self._format != "Parquet" and self._text.encoding not in ("utf-8", "utf-8-sig", "ascii")

    @property
    def _compression(self) -> str:
        return "none" if self._recoded else _COMPRESSION[self._text.compression]

    def _in_utf8(self, path: Path) -> Path:
        """The file itself, or its text, unpacked, in UTF-8 where it has another encoding."""
        if not self._recoded:
            return path
        if self._rewritten is None:
            self._rewritten = tempfile.TemporaryDirectory(prefix="verify-text-", dir=self._work_dir)
        target = Path(self._rewritten.name) / f"{hashlib.sha256(str(path).encode()).hexdigest()[:16]}.txt"
        if not target.exists():
            packed = self._text.compression == "gzip" or (self._text.compression == "auto" and path.suffix == ".gz")
            opened: Any = gzip.open if packed else open
            with (
                opened(path, "rt", encoding=self._text.encoding, newline="") as source,
                target.open("w", encoding="utf-8", newline="") as out,
            ):
                shutil.copyfileobj(source, out, _COPY_CHARACTERS)
        return target

    def _with_outside(
        self, engine: duckdb.DuckDBPyConnection, read: str, group: Sequence[LakeFile], paths: Sequence[Path]
    ) -> str:
        """Adds the columns that only the folders' names have, and of each row's file its number and whether it is
        pending."""
        columns = {"_syncline_path": pa.array([str(path) for path in paths], pa.string())}
        for name in self._outside:
            columns[name] = pa.array([f.values.get(name) for f in group], pa.string())
        columns[_FILE_NUMBER] = pa.array(range(len(group)), pa.int64())
        columns[_FILE_PENDING] = pa.array([f.pending for f in group], pa.bool_())
        engine.register("syncline_folders", pa.table(columns))
        added = ", ".join(f"m.{identifier(name)}" for name in (*self._outside, _FILE_NUMBER, _FILE_PENDING))
        return (
            f"(SELECT f.* EXCLUDE (_syncline_file), {added} FROM {read} AS f "
            "JOIN syncline_folders AS m ON f._syncline_file = m._syncline_path)"
        )

    def _csv_options(self) -> str:
        text = self._text
        names = f", names = [{', '.join(literal(name) for name in text.names)}]" if text.names else ""
        nulls = ", ".join(literal(null) for null in ("", *text.nulls))
        # An empty text is in quotes, NULL is nothing (or one of the source's own words for it).
        return (
            f"delim = {literal(text.delimiter)}, quote = {literal(text.quote)}, escape = {literal(text.escape)}, "
            f"header = {text.header!s}, skip = {text.skip}{names}, nullstr = [{nulls}], allow_quoted_nulls = false, "
            f"all_varchar = true, max_line_size = {_LINE_BYTES}, buffer_size = {2 * _LINE_BYTES}, parallel = false, "
            f"compression = {literal(text.compression)}"
        )

    def _json_options(self) -> str:
        columns = {f.name: _json_type(f.type) for f in self._fields if f.name not in self._outside}
        return (
            f"columns = {_struct(columns)}, format = 'newline_delimited', records = true, "
            f"maximum_object_size = {_LINE_BYTES}, compression = {literal(self._compression)}"
        )


def _grouped(files: Sequence[LakeFile]) -> Iterator[list[LakeFile]]:
    group: list[LakeFile] = []
    size = 0
    for file in files:
        full = size + file.bytes > _PART_BYTES or len(group) >= _PART_FILES
        if group and (full or group[0].pending != file.pending):
            yield group
            group, size = [], 0
        group.append(file)
        size += file.bytes
    if group:
        yield group


def _struct(columns: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{literal(name)}: {literal(kind)}" for name, kind in columns.items()) + "}"


def _json_type(kind: pa.DataType) -> str:
    """As what a value of JSON lines is read: numbers as such, everything else as text to be parsed by its kind."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return _json_type(kind.value_type) + "[]"
    if pa.types.is_struct(kind):
        return "STRUCT(" + ", ".join(f"{identifier(f.name)} {_json_type(f.type)}" for f in kind) + ")"
    if pa.types.is_decimal(kind) and 0 <= kind.scale <= kind.precision <= 38:
        return f"DECIMAL({kind.precision}, {kind.scale})"
    if pa.types.is_float32(kind) or pa.types.is_float16(kind):
        return "FLOAT"
    return "DOUBLE" if pa.types.is_float64(kind) else "VARCHAR"


def _type_of(engine: duckdb.DuckDBPyConnection, field: Field) -> Any:
    """The type of a column of which there is no file yet."""
    engine.register("syncline_nothing", pa.table({"c": pa.array([], field.type)}))
    try:
        return engine.sql("SELECT c FROM syncline_nothing").types[0]
    finally:
        engine.unregister("syncline_nothing")
