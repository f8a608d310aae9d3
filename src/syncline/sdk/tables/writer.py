"""The writer of one partition: batches in, files out that nobody sees until their commit."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from syncline.core.batch import Batch
from syncline.core.checkpoint import Staged, StreamTarget
from syncline.core.failpoints import failpoint
from syncline.sdk.files.store import ObjectStore
from syncline.sdk.tables.files_out import FilesOut, Naming, Sizes
from syncline.sdk.tables.quarantine import QuarantineOut
from syncline.sdk.tables.storing import stored

__all__ = ["TableWriter"]


class TableWriter:
    """Lays down one partition of one stream. See :class:`syncline.sdk.destination.Writer` for the protocol.

    ``schema``: the stream's columns in the types of files; ``file_schema`` the same as files are written with it."""

    def __init__(
        self,
        store: ObjectStore,
        naming: Naming,
        target: StreamTarget,
        partition: str,
        *,
        folder: str,
        schema: pa.Schema,
        file_schema: pa.Schema,
        sizes: Sizes,
        key: Sequence[str],
    ) -> None:
        self._schema, self._key, self._partition = schema, key, partition
        self._out = FilesOut(store, naming, file_schema, sizes, target.constants)
        self._aside = QuarantineOut(store, folder, naming, target, partition)

    def write(self, batch: Batch) -> None:
        data, aside = stored(batch, self._schema, self._key)
        self._out.write(data)
        self._aside.write(aside)

    def seal(self) -> Staged:
        failpoint("seal.inside")
        files = self._out.finish()
        aside = self._aside.finish()
        return Staged(
            partition=self._partition,
            rows=self._out.rows,
            quarantined=self._aside.rows,
            bytes=sum(f.file.bytes for f in files),
            payload={
                "files": [f.to_json() for f in files],
                "quarantine": None if aside is None else aside.to_json(),
            },
        )

    def abort(self) -> None:
        self._out.abort()
        self._aside.abort()
