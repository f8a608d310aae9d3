"""The source of files: streams of CSV, JSON lines or Parquet files in a folder or a bucket.

What is new is told by the files, not by their rows: an increment reads the files that came or changed after the
position, whole. A changed file is read again, so in the append modes its rows come again. In the deduped modes a plan
is one partition that reads files from the oldest to the newest, so that the newest row of a key
stays.
"""

from __future__ import annotations

import hashlib
import importlib.util
import secrets
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import pyarrow as pa

from syncline.connectors.files.source_config import ColumnType, FilesSourceConfig, FileStreamConfig
from syncline.connectors.files.source_csv import CsvFormat
from syncline.connectors.files.source_json import JsonFormat
from syncline.connectors.files.source_listing import FilePart, is_new, listed, parts_of, position_after
from syncline.connectors.files.source_parquet import ParquetFormat
from syncline.connectors.files.source_text import Extra, FileAt, reading
from syncline.connectors.files.source_types import JSON, Kind, field_of, union
from syncline.core.batch import Batch
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.partition import Partition, ReadPlan
from syncline.core.schema import Field, StreamSchema
from syncline.core.stream import Catalog, SelectedStream, Stream, StreamName
from syncline.sdk.connector import ConnectorContext
from syncline.sdk.files.store import ObjectInfo
from syncline.sdk.findings import Finding, Severity

__all__ = ["FilesSource"]

_BATCH_BYTES = 16 << 20
_SAMPLERS = 8
_TYPES: Mapping[ColumnType, Kind] = {
    "string": (pa.string(), None),
    "integer": (pa.int64(), None),
    "number": (pa.float64(), None),
    "boolean": (pa.bool_(), None),
    "date": (pa.date32(), None),
    "timestamp": (pa.timestamp("us"), None),
    "timestamptz": (pa.timestamp("us", "UTC"), None),
    "json": JSON,
}


class _Format(Protocol):
    def columns(self, file: FileAt) -> dict[str, Kind]: ...

    def read(
        self, file: FileAt, fields: Sequence[Field], extra: Extra, start: int = 0, stop: int = -1
    ) -> Iterator[Batch]: ...


class FilesSource:
    """See :class:`syncline.sdk.source.Source`."""

    def __init__(self, config: FilesSourceConfig, context: ConnectorContext) -> None:
        if config.path is None and importlib.util.find_spec("boto3") is None:
            raise SynclineError(
                ErrorKind.CONFIG,
                "reading files from S3 needs the Python module boto3",
                hint="pip install 'syncline[s3]'",
                where={"connector": "files"},
            )
        self._config = config
        self._streams = {s.name: s for s in config.file_streams}
        self._store = config.open_store()
        self._known: dict[str, tuple[str, ...]] = {}  # all columns of a stream, selected or not

    def check(self, selection: Sequence[SelectedStream] = ()) -> list[Finding]:
        wanted = {s.name.name for s in selection} or set(self._streams)
        if (path := self._config.path) is not None and not path.is_dir():
            gone = f"{path} is a file, not a folder" if path.exists() else f"there is no folder {path}"
            hint = "correct path: it is the folder, globs name the files in it"
            return [Finding(severity=Severity.ERROR, message=gone, kind=ErrorKind.CONFIG, hint=hint)]
        findings = []
        for stream in self._streams.values():
            if stream.name not in wanted:
                continue
            try:
                files = self._files(stream)
                columns = self._columns(stream, files)
                message = f"{len(files)} files, {sum(f.size for f in files):,} bytes, {len(columns)} columns"
                findings.append(Finding(severity=Severity.OK, message=message, stream=stream.name))
            except SynclineError as error:
                findings.append(
                    Finding(
                        severity=Severity.ERROR,
                        message=error.message,
                        kind=error.kind,
                        hint=error.hint,
                        stream=stream.name,
                    )
                )
        return findings

    def discover(self) -> Catalog:
        """The columns of each stream from Parquet footers or from the heads of CSV and JSON files: of at most
        ``sample_files`` files, the oldest half and the newest half. A stream without files is a ``config`` error."""
        found = []
        for stream in self._streams.values():
            files = self._files(stream)
            columns = self._columns(stream, files)
            for name in stream.primary_key:
                if name not in columns:
                    raise SynclineError(
                        ErrorKind.CONFIG,
                        f"primary_key: the files have no column {name!r}",
                        hint=f"they have: {', '.join(columns)}",
                        where={"stream": stream.name},
                    )
            found.append(
                Stream(
                    name=StreamName(name=stream.name),
                    schema=StreamSchema(fields=tuple(field_of(n, k) for n, k in columns.items())),
                    primary_key=stream.primary_key,
                    source_defined_cursor=True,
                    kind="file",
                    estimated_bytes=sum(f.size for f in files),
                )
            )
        return Catalog(streams=tuple(found))

    def arrivals(self) -> str:
        """Keys, sizes and times of all streams' files, as one digest."""
        digest = hashlib.sha256()
        found = 0
        for stream in self._streams.values():
            for file in self._listed(stream):
                found += 1
                digest.update(f"{stream.name}\0{file.key}\0{file.size}\0{file.modified}\0".encode())
        return digest.hexdigest()[:32] if found else ""

    def snapshot(self, selected: SelectedStream) -> ReadPlan:
        files = self._files(self._stream(selected))
        return self._plan(selected, files, files)

    def read_since(self, selected: SelectedStream, position: Mapping[str, Any]) -> ReadPlan:
        """All files that are not known to the position, changed ones included. A stream that has lost all its files has
        nothing new."""
        if position.get("kind") != "files":
            raise SynclineError(
                ErrorKind.CONFIG,
                "the stored position is none of files",
                hint="start the stream anew: syncline state reset",
                where={"stream": str(selected.name)},
            )
        files = self._listed(self._stream(selected))
        if not files:
            return ReadPlan(id=secrets.token_hex(8), partitions=(), end=position)
        return self._plan(selected, files, [f for f in files if is_new(f, position)])

    def read(self, selected: SelectedStream, partition: Partition) -> Iterator[Batch]:
        """Files one after the other. One that is gone is a ``conflict``; one that changed since the plan was made is
        read as it is now, and again by the next increment; one that changes while it is read is ``transient``."""
        stream = self._stream(selected)
        form, fields = self._format(stream), selected.stream.schema.fields
        known = {*selected.stream.schema.names, *partition.bounds["ignored"]}

        def extra(file: FileAt, names: Sequence[str]) -> None:
            if unknown := [n for n in names if n not in known]:
                raise SynclineError(
                    ErrorKind.SCHEMA,
                    f"{file.url} has a column {unknown[0]!r} that the stream lacks",
                    hint="run again: columns are looked for at each run's beginning; if that does not find it, raise "
                    "sample_files or sample_bytes",
                    where={"file": file.key},
                )

        for part in map(FilePart.from_json, partition.bounds["files"]):
            file = FileAt(store=self._store, key=part.key)
            before = self._present(part, file)
            for batch in form.read(file, fields, extra, part.start, part.stop):
                yield from _sliced(batch)
            after = self._store.head(part.key)
            if after is None or after.etag != before.etag:
                raise SynclineError(
                    ErrorKind.TRANSIENT,
                    f"{file.url} changed while it was read",
                    hint="it is read again; write files under another name and rename them when they are whole",
                    where={"file": part.key},
                )

    def acknowledge(self, selected: SelectedStream, position: Mapping[str, Any]) -> None:
        """Files stay where they are."""

    def close(self) -> None:
        self._store.close()

    def _stream(self, selected: SelectedStream) -> FileStreamConfig:
        return self._streams[selected.name.name]

    def _format(self, stream: FileStreamConfig) -> _Format:
        if stream.filetype == "parquet":
            return ParquetFormat()
        make = CsvFormat if stream.filetype == "csv" else JsonFormat
        return make(stream.format, self._config.sample_bytes)

    def _listed(self, stream: FileStreamConfig) -> list[ObjectInfo]:
        with reading():
            return listed(self._store, stream.globs)

    def _files(self, stream: FileStreamConfig) -> list[ObjectInfo]:
        files = self._listed(stream)
        if not files:
            raise SynclineError(
                ErrorKind.CONFIG,
                f"no file below {self._store.url} matches {', '.join(stream.globs)}",
                hint="correct path, path_prefix or globs (** goes into folders; empty and hidden files do not count)",
                where={"stream": stream.name},
            )
        return files

    def _columns(self, stream: FileStreamConfig, files: Sequence[ObjectInfo]) -> dict[str, Kind]:
        most = self._config.sample_files
        if len(files) > most:
            files = [*files[: most // 2], *files[len(files) - (most - most // 2) :]]
        form = self._format(stream)
        with ThreadPoolExecutor(_SAMPLERS, thread_name_prefix="sample") as pool:
            sampled = list(pool.map(lambda f: form.columns(FileAt(store=self._store, key=f.key)), files))
        text = stream.filetype != "parquet"
        columns = union(sampled, text=text)
        for name, kind in stream.column_types.items():
            if name not in columns and stream.filetype != "jsonl":
                raise SynclineError(
                    ErrorKind.CONFIG,
                    f"column_types: the files have no column {name!r}",
                    hint=f"they have: {', '.join(columns)}",
                    where={"stream": stream.name},
                )
            columns[name] = _TYPES[kind]
        if not columns:
            raise SynclineError(
                ErrorKind.CONFIG,
                "the files have no columns",
                hint="look into them: they hold no row and no header",
                where={"stream": stream.name},
            )
        self._known[stream.name] = tuple(columns)
        return {name: _whole(kind) if text else kind for name, kind in columns.items()}

    def _plan(self, selected: SelectedStream, files: Sequence[ObjectInfo], new: Sequence[ObjectInfo]) -> ReadPlan:
        stream = self._stream(selected)
        groups = list(parts_of(new, lambda info: self._row_groups(stream, info)))
        if selected.sync_mode.deduped and groups:
            groups = [[part for group in groups for part in group]]
        if new and stream.name not in self._known:
            self._columns(stream, files)
        ignored = [n for n in self._known.get(stream.name, ()) if n not in selected.stream.schema.names]
        return ReadPlan(
            id=secrets.token_hex(8),
            partitions=tuple(
                Partition(id=f"f{number:04}", bounds={"files": [p.to_json() for p in group], "ignored": ignored})
                for number, group in enumerate(groups)
            ),
            end=position_after(files),
            estimated_bytes=sum(f.size for f in new),
            note=f"{len(new)} of {len(files)} files",
        )

    def _row_groups(self, stream: FileStreamConfig, info: ObjectInfo) -> Sequence[int]:
        form = self._format(stream)
        return form.row_groups(FileAt(store=self._store, key=info.key)) if isinstance(form, ParquetFormat) else ()

    def _present(self, part: FilePart, file: FileAt) -> ObjectInfo:
        info = self._store.head(part.key)
        if info is None or (info.etag != part.etag and not part.whole):
            what = "is gone" if info is None else "has changed"
            raise SynclineError(
                ErrorKind.CONFLICT,
                f"{file.url} {what} since the run was planned",
                hint="put it back and run again, or plan the stream anew: syncline state reset",
                where={"file": part.key},
            )
        return info


def _whole(kind: Kind) -> Kind:
    """int32 stands for small numbers in text files; the column is a bigint."""
    arrow, logical = kind
    if arrow == pa.int32():
        return pa.int64(), logical
    return (pa.list_(pa.int64()), logical) if arrow == pa.list_(pa.int32()) else kind


def _sliced(batch: Batch) -> Iterator[Batch]:
    """Batches of at most some 16 MiB; those with misfits stay whole."""
    count = -(-batch.bytes // _BATCH_BYTES)
    if count <= 1 or batch.misfits:
        if batch.rows:
            yield batch
        return
    step = -(-batch.rows // count)
    for start in range(0, batch.rows, step):
        yield Batch(data=batch.data.slice(start, step))
