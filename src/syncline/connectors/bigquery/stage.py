"""Stages: rows of one partition in a table of their own, durable and not yet visible.

Rows go into Parquet files in the local work folder and from there by load jobs into ``_syncline_s_…``. Columns are
numbered in it (c0, c1 …), the last is the row's number: no name in it can collide. A stage that nobody commits is
dropped by the next attempt, or by BigQuery after a week.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from google.cloud import bigquery as bq

from syncline.connectors.bigquery.names import OURS, TableName, digest
from syncline.connectors.bigquery.ranges import KeyRanges
from syncline.connectors.bigquery.types import stage_arrow, stage_type
from syncline.connectors.bigquery.values import fitted, staged_array
from syncline.connectors.bigquery.warehouse import Warehouse
from syncline.core.batch import Batch, QuarantinedRow
from syncline.core.checkpoint import Staged, StreamTarget
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.failpoints import failpoint
from syncline.core.schema import Field
from syncline.core.stream import StreamName, WriteMode

__all__ = ["StageTable", "StageWriter", "aside_rows", "drop_stages", "stage_start"]

#: ~128 MB a load job: well below what one takes, and no long upload begins again for a broken connection.
_FILE_BYTES = 128 << 20
_KEPT = timedelta(days=7)

#: column, reason, record as JSON, id, original
ASIDE = tuple(Field(name=f"c{i}", type=pa.string()) for i in range(5))
NUMBER = Field(name="n", type=pa.int64())


def stage_start(connection: str, stream: StreamName) -> str:
    """How the names of a stream's stages begin."""
    return f"{OURS}s_{digest(connection, stream.namespace or '', stream.name)}_"


def drop_stages(warehouse: Warehouse, connection: str, stream: StreamName, token: int) -> None:
    """Remove the stages of other attempts than that with this token, and the files that they left in a bucket."""
    start = stage_start(connection, stream)
    for name in warehouse.table_names(start):
        if not name.startswith(f"{start}{token}_"):
            warehouse.drop(warehouse.table_name(name))
    if (bucket := warehouse.bucket()) is not None:
        with contextlib.closing(bucket):
            for name in bucket.names(start):
                if not name.startswith(f"{start}{token}_"):
                    bucket.delete(name)


class StageTable:
    """One table that is filled by load jobs. ``fields`` in their order; their columns are c0, c1 …"""

    def __init__(
        self, warehouse: Warehouse, start: str, fields: Sequence[Field], folder: Path, stream: StreamName
    ) -> None:
        self.name: TableName = warehouse.table_name(f"{start}{uuid.uuid4().hex[:16]}")
        self.rows = self.bytes = 0
        self._warehouse, self._fields, self._stream = warehouse, tuple(fields), str(stream)
        self._columns = [(f"c{i}", stage_type(f)) for i, f in enumerate(self._fields)]
        self._schema = pa.schema([pa.field(f"c{i}", stage_arrow(f)) for i, f in enumerate(self._fields)])
        self._folder = folder
        self._path: Path | None = None
        self._writer: pq.ParquetWriter | None = None
        self._loads = 0
        self._made = False

    @property
    def made(self) -> bool:
        """Whether there is such a table; there is none without rows."""
        return self._made

    def write(self, data: pa.RecordBatch) -> None:
        """Rows with the fields, still in their carriers."""
        if not data.num_rows:
            return
        arrays = [staged_array(c, f) for c, f in zip(data.columns, self._fields, strict=True)]
        try:
            if self._writer is None:
                self._folder.mkdir(parents=True, exist_ok=True)
                descriptor, name = tempfile.mkstemp(suffix=".parquet", dir=self._folder)
                os.close(descriptor)
                self._path = Path(name)
                self._writer = pq.ParquetWriter(name, self._schema, compression="zstd", compression_level=1)
            self._writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=self._schema))
            size = self._path.stat().st_size if self._path else 0
        except OSError as error:
            raise _from_os(error, self._folder) from error
        self.rows += data.num_rows
        if size >= _FILE_BYTES:
            self._load()

    def seal(self) -> None:
        """Everything written is in the table afterwards."""
        if self._writer is not None:
            self._load()

    def _load(self) -> None:
        assert self._writer is not None
        assert self._path is not None
        if not self._made:
            table = bq.Table(self.name.path, [bq.SchemaField(n, k) for n, k in self._columns])
            table.expires = datetime.now(UTC) + _KEPT
            self._warehouse.create(table)
            self._made = True
        try:
            self._writer.close()
            with self._path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()[:32]
            self.bytes += self._path.stat().st_size
        except OSError as error:
            raise _from_os(error, self._folder) from error
        self._writer = None
        # The id follows from what is loaded and where to: a try that did arrive is not repeated.
        base = f"syncline_load_{digest(self.name)}_{self._loads}_{content}"
        self._warehouse.load(self._path, self.name, self._columns, base, self._stream)
        self._loads += 1
        self._path.unlink(missing_ok=True)
        self._path = None

    def abort(self) -> None:
        """Throw it away. What cannot be dropped now is garbage for the next attempt."""
        with contextlib.suppress(OSError, pa.ArrowException):
            if self._writer is not None:
                self._writer.close()
        self._writer = None
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            self._path = None
        if self._made:
            with contextlib.suppress(SynclineError):
                self._warehouse.drop(self.name)
            self._made = False


class StageWriter:
    """Writes the rows of one partition; see :class:`syncline.sdk.destination.Writer`."""

    def __init__(self, warehouse: Warehouse, target: StreamTarget, partition: str, token: int, folder: Path) -> None:
        self._target, self._partition = target, partition
        start = f"{stage_start(target.connection, target.stream)}{token}_"
        self._key = target.primary_key if target.write is WriteMode.MERGE or target.dedupe else ()
        self._rows = StageTable(warehouse, start, (*target.schema.fields, NUMBER), folder, target.stream)
        self._aside = StageTable(warehouse, start, ASIDE, folder, target.stream)
        self._ranges = KeyRanges(target.schema.field(self._key[0])) if self._key else None
        self._note: Mapping[str, Any] = {}

    def note(self, note: Mapping[str, Any]) -> None:
        """See :class:`syncline.sdk.destination.TakesNote`."""
        self._note = note

    def write(self, batch: Batch) -> None:
        data, rows = fitted(batch, self._target.schema, self._key)
        if rows:
            self._aside.write(aside_rows(rows))
        if self._ranges is not None:
            self._ranges.add(data.column(data.schema.get_field_index(self._key[0])))
        numbers = pa.array(np.arange(self._rows.rows, self._rows.rows + data.num_rows, dtype=np.int64))
        whole = [*data.columns, numbers]
        self._rows.write(pa.RecordBatch.from_arrays(whole, names=[f"c{i}" for i in range(len(whole))]))

    def seal(self) -> Staged:
        self._rows.seal()
        self._aside.seal()
        failpoint("seal.inside")
        return Staged(
            partition=self._partition,
            rows=self._rows.rows,
            quarantined=self._aside.rows,
            bytes=self._rows.bytes + self._aside.bytes,
            payload={
                "rows": self._rows.name.name if self._rows.made else None,
                "aside": self._aside.name.name if self._aside.made else None,
                "ranges": None if self._ranges is None else self._ranges.ranges,
            },
            note=self._note,
        )

    def abort(self) -> None:
        self._rows.abort()
        self._aside.abort()


def aside_rows(rows: Sequence[QuarantinedRow]) -> pa.RecordBatch:
    """The rows with the columns of :data:`ASIDE`."""
    columns = [
        [r.column for r in rows],
        [r.reason for r in rows],
        [json.dumps(dict(r.record), ensure_ascii=False) for r in rows],
        [r.id for r in rows],
        [r.original for r in rows],
    ]
    return pa.RecordBatch.from_arrays(
        [pa.array(c, pa.string()) for c in columns], schema=pa.schema([f.arrow() for f in ASIDE])
    )


def _from_os(error: OSError, folder: Path) -> SynclineError:
    return SynclineError(
        ErrorKind.RESOURCE,
        f"the stage cannot be written: {error.strerror or error}",
        hint=f"is there room on the disk of {folder}?",
        where={"connector": "bigquery", "path": str(folder)},
    )
