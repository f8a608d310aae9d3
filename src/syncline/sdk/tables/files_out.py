"""Parquet files on their way into a table: encoded by a thread of their own, durable and invisible until completed."""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from syncline.core.errors import ErrorKind, SynclineError
from syncline.sdk.files.local import local_error
from syncline.sdk.files.parquet import ParquetEncoder
from syncline.sdk.files.store import ObjectStore, PendingUpload, StagedObject, Upload
from syncline.sdk.tables.bounds import bounds_of
from syncline.sdk.tables.table import TableFile

__all__ = ["FilesOut", "Naming", "NewFile", "Sizes", "complete_all"]

#: Uploads completed at once. Each is one request that waits for the server.
_COMPLETERS = 8
_OWNED = re.compile(r"-([0-9a-f]{10})-(\d+)-[0-9a-f]{16}\.(?:parquet|jsonl)$")


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """``target_file_size``: a file is closed once it has so many bytes. ``row_group_bytes``: rows gathered for one row
    group, measured in memory."""

    target_file_size: int
    row_group_bytes: int
    codec: str = "SNAPPY"


@dataclass(frozen=True, kw_only=True)
class Naming:
    """Names of one writer's files: ``<prefix>part-<owner>-<token>-<random>.parquet``, so that what a dead attempt left
    behind is known by its name. ``stage`` is where a store without multipart uploads keeps them until then."""

    prefix: str
    stage: str
    owner: str
    token: int

    def key(self) -> str:
        return f"{self.prefix}part-{self.owner}-{self.token}-{secrets.token_hex(8)}.parquet"

    def aside(self, folder: str, beginning: str) -> str:
        """The key of a file of rows set aside."""
        return f"{folder}{beginning}-{self.owner}-{self.token}-{secrets.token_hex(8)}.jsonl"

    def older(self, name: str) -> bool:
        """Whether a name is that of an attempt of ours before this one."""
        found = _OWNED.search(name)
        return bool(found and found[1] == self.owner and int(found[2]) < self.token)


@dataclass(frozen=True, kw_only=True)
class NewFile:
    """A file that is durable and not yet visible."""

    file: TableFile
    staged: StagedObject

    def to_json(self) -> dict[str, Any]:
        return {"file": self.file.to_json(), "staged": self.staged.to_json()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> NewFile:
        return cls(file=TableFile.from_json(data["file"]), staged=StagedObject.from_json(data["staged"]))


class FilesOut:
    """Rows in, files out. ``schema`` is that of the files; rows come in its types. Used by one thread."""

    def __init__(
        self, store: ObjectStore, naming: Naming, schema: pa.Schema, sizes: Sizes, constants: Collection[str] = ()
    ) -> None:
        self._store, self._naming, self._schema, self._sizes = store, naming, schema, sizes
        self._constants = constants
        self._held: list[pa.RecordBatch] = []
        self._bytes = 0
        self._upload: Upload | None = None
        self._encoder: ParquetEncoder | None = None
        self._rows_in_file = 0
        self._files: list[NewFile] = []
        self._running: Future[None] | None = None
        self._thread: ThreadPoolExecutor | None = None
        self.rows = 0

    def write(self, data: pa.RecordBatch | pa.Table) -> None:
        """Add rows; a full row group is handed to the encoding thread once that is done with the one before."""
        for batch in data.to_batches() if isinstance(data, pa.Table) else (data,):
            if batch.num_rows:
                self._held.append(batch)
                self._bytes += batch.nbytes
                self.rows += batch.num_rows
        if self._bytes >= self._sizes.row_group_bytes:
            self._flush()

    def finish(self) -> list[NewFile]:
        """Everything durable."""
        with _errors():
            if self._held:
                self._flush()
            self._wait()
            self._close_file()
        self._stop()
        return self._files

    def abort(self) -> None:
        """Throw everything away; safe at any time and more than once."""
        if self._running is not None:
            self._running.cancel()
            if not self._running.cancelled():
                self._running.exception()
            self._running = None
        self._stop()
        if self._encoder is not None:
            self._encoder.discard()
        if self._upload is not None:
            self._upload.abort()
        self._encoder = self._upload = None
        self._store.abort([PendingUpload(key=f.staged.key, upload=f.staged.upload) for f in self._files])
        self._files = []

    def _flush(self) -> None:
        batches, self._held, self._bytes = self._held, [], 0
        self._wait()
        if self._thread is None:
            self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="encode")
        self._running = self._thread.submit(self._encode, batches)

    def _wait(self) -> None:
        if self._running is not None:
            running, self._running = self._running, None
            with _errors():
                running.result()

    def _stop(self) -> None:
        if self._thread is not None:
            self._thread.shutdown()
            self._thread = None

    def _encode(self, batches: Sequence[pa.RecordBatch]) -> None:
        if self._upload is None or self._encoder is None:
            self._upload = self._store.upload(self._naming.key(), stage=self._naming.stage)
            self._encoder = ParquetEncoder(
                self._schema, self._upload.sink, codec=self._sizes.codec, constants=self._constants
            )
        self._encoder.write(pa.Table.from_batches(batches))
        self._rows_in_file += sum(b.num_rows for b in batches)
        if self._upload.tell() >= self._sizes.target_file_size:
            self._close_file()

    def _close_file(self) -> None:
        if self._upload is None or self._encoder is None:
            return
        footer = self._encoder.close()
        staged = self._upload.finish()
        file = TableFile(
            key=staged.key,
            rows=self._rows_in_file,
            bytes=staged.size,
            bounds=bounds_of(footer, self._schema),
        )
        self._files.append(NewFile(file=file, staged=staged))
        self._upload, self._encoder, self._rows_in_file = None, None, 0


def complete_all(store: ObjectStore, staged: Sequence[StagedObject]) -> None:
    """Make finished uploads visible under their keys; those that are do not matter."""
    if len(staged) < 2:
        for one in staged:
            store.complete(one)
        return
    with ThreadPoolExecutor(min(_COMPLETERS, len(staged)), thread_name_prefix="complete") as pool:
        for _ in pool.map(store.complete, staged):
            pass


class _errors:  # noqa: N801 - reads as a statement
    """Arrow's own errors as ours."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, pa.ArrowInvalid | pa.ArrowNotImplementedError | pa.ArrowTypeError):
            raise SynclineError(
                ErrorKind.DATA, f"rows cannot be encoded: {error}", hint="see the type matrix"
            ) from error
        if isinstance(error, OSError):
            raise local_error(error, error.filename or "the file") from error
