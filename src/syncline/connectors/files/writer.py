"""The writer of one partition: batches in, files out that nobody sees until their commit.

write      batches gather in memory, per folder when the files are partitioned by columns
encode     a thread of its own turns a full row group into bytes while the next one gathers, so that reading goes on
seal       all files durable, as uploads not yet completed
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from syncline.connectors.files.config import FilesDestinationConfig
from syncline.connectors.files.encoding import Encoder, encoder
from syncline.connectors.files.folders import FolderSplit
from syncline.connectors.files.layout import FileNames
from syncline.core.batch import Batch, QuarantinedRow
from syncline.core.checkpoint import Staged, StreamTarget
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.failpoints import failpoint
from syncline.sdk.files.local import local_error
from syncline.sdk.files.log import stream_folder
from syncline.sdk.files.manifest import FileKind, ManifestFile
from syncline.sdk.files.store import ObjectStore, PendingUpload, StagedObject, Upload
from syncline.sdk.quarantine import set_aside

__all__ = ["FilesWriter"]

#: Files open at once. Each holds the part of its upload that is not yet sent (8 MiB with S3). Further folders gather in
#: files of the work directory and are encoded one after the other at the end.
_OPEN_FILES = 8
#: More folders than this in one partition of the source is a mistake in the configuration, not a layout.
_MOST_FOLDERS = 5000


@dataclass
class _Lane:
    """One folder's rows on their way. ``number`` counts its files."""

    folder: str
    values: dict[str, str | None]
    batches: list[pa.RecordBatch] = field(default_factory=list)
    bytes: int = 0
    upload: Upload | None = None
    encoder: Encoder | None = None
    rows: int = 0
    spill: Path | None = None

    def take(self) -> list[pa.RecordBatch]:
        batches, self.batches, self.bytes = self.batches, [], 0
        return batches


class FilesWriter:
    """Lays down one partition of one stream. See :class:`syncline.sdk.destination.Writer` for the protocol."""

    def __init__(
        self,
        store: ObjectStore,
        config: FilesDestinationConfig,
        target: StreamTarget,
        partition: str,
        token: int,
        work_dir: Path,
    ) -> None:
        self._store, self._config, self._target, self._partition = store, config, target, partition
        self._folder = stream_folder(target.connection, target.stream)
        self._stage = self._folder + "stage/"
        self._names = FileNames.now(config, target, partition, token)
        self._split = FolderSplit(config, target)
        self._schema = self._split.file_schema
        self._readable = bool(target.options.get("readable_stage"))
        self._lanes: dict[str, _Lane] = {}
        self._held = 0  # bytes gathered over all lanes
        self._number = 0
        self._files: list[ManifestFile] = []
        self._rows = 0
        self._quarantined = 0
        self._quarantine: Upload | None = None
        self._encoding: Future[None] | None = None
        self._encoders = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"encode {target.stream.name}")
        self._spills = work_dir / f"spill-{os.getpid()}-{id(self):x}"
        self._spilled = False

    def write(self, batch: Batch) -> None:
        data, aside = set_aside(batch.data, batch.misfits)
        if data.num_rows:
            for part in self._split(data, aside):
                lane = self._lane(part.folder, part.values)
                lane.batches.append(part.data)
                size = part.data.nbytes
                lane.bytes += size
                self._held += size
                self._rows += part.data.num_rows
                while self._held >= self._config.max_row_group_bytes:
                    self._flush(max(self._lanes.values(), key=lambda each: each.bytes))
        if aside:
            self._set_aside(aside)

    def seal(self) -> Staged:
        with _disk_errors(self._spills):
            for lane in list(self._lanes.values()):
                if lane.batches:
                    self._flush(lane)
            self._wait()
            failpoint("seal.inside")
            for lane in self._lanes.values():
                if lane.spill is not None:
                    self._encode_spill(lane)
                self._finish(lane)
            if self._quarantine is not None:
                staged = self._quarantine.finish()
                self._files.append(self._file(staged, self._quarantined, {}, FileKind.QUARANTINE))
        self._encoders.shutdown()
        self._remove_spills()
        return Staged(
            partition=self._partition,
            rows=self._rows,
            quarantined=self._quarantined,
            bytes=sum(f.bytes for f in self._files),
            files=tuple(f.bytes for f in self._files if f.kind is not FileKind.QUARANTINE),
            payload={"files": [f.to_json() for f in self._files]},
        )

    def abort(self) -> None:
        self._encoders.shutdown(cancel_futures=True)
        for lane in self._lanes.values():
            if lane.encoder is not None:
                lane.encoder.discard()
            if lane.upload is not None:
                lane.upload.abort()
            lane.encoder, lane.upload = None, None
        if self._quarantine is not None:
            self._quarantine.abort()
        finished = [f.staged for f in self._files if f.staged is not None]
        self._store.abort([PendingUpload(key=s.key, upload=s.upload) for s in finished])
        self._remove_spills()

    def _lane(self, folder: str, values: dict[str, str | None]) -> _Lane:
        lane = self._lanes.get(folder)
        if lane is None:
            if len(self._lanes) >= _MOST_FOLDERS:
                raise SynclineError(
                    ErrorKind.CONFIG,
                    f"partitioning gives more than {_MOST_FOLDERS} folders in one partition of the source",
                    hint="partition by a column with fewer values, or by DATE, MONTH or YEAR of a timestamp",
                    where={"stream": str(self._target.stream)},
                )
            lane = self._lanes[folder] = _Lane(folder=folder, values=values)
        return lane

    def _flush(self, lane: _Lane) -> None:
        """Hand a lane's rows to the encoding thread, once it is done with those before: at most one row group is being
        encoded while one gathers."""
        self._held -= lane.bytes
        batches = lane.take()
        self._wait()
        self._encoding = self._encoders.submit(self._encode, lane, batches)

    def _wait(self) -> None:
        if self._encoding is not None:
            running, self._encoding = self._encoding, None
            running.result()

    def _encode(self, lane: _Lane, batches: list[pa.RecordBatch]) -> None:
        with _disk_errors(self._spills):
            if lane.encoder is None and sum(each.encoder is not None for each in self._lanes.values()) >= _OPEN_FILES:
                self._spill(lane, batches)
            else:
                self._add(lane, pa.Table.from_batches(batches, self._schema))

    def _add(self, lane: _Lane, table: pa.Table) -> None:
        if lane.upload is None or lane.encoder is None:
            self._number += 1
            key = self._names.data(lane.folder, self._number - 1)
            lane.upload = self._store.upload(key, stage=self._stage, readable=self._readable)
            lane.encoder = encoder(self._config.format, self._schema, lane.upload.sink, self._target.constants)
        lane.encoder.write(table)
        lane.rows += table.num_rows
        if lane.upload.tell() >= self._config.target_file_size:
            self._finish(lane)

    def _finish(self, lane: _Lane) -> None:
        if lane.upload is None or lane.encoder is None:
            return
        lane.encoder.close()
        staged = lane.upload.finish()
        self._files.append(self._file(staged, lane.rows, lane.values, FileKind.DATA))
        lane.upload, lane.encoder, lane.rows = None, None, 0

    def _file(self, staged: StagedObject, rows: int, values: dict[str, str | None], kind: FileKind) -> ManifestFile:
        return ManifestFile(
            key=staged.key,
            rows=rows,
            bytes=staged.size,
            generation=self._target.generation,
            partition=self._partition,
            kind=kind,
            values=values,
            staged=staged,
        )

    def _spill(self, lane: _Lane, batches: Sequence[pa.RecordBatch]) -> None:
        """Keep rows in a file of the work directory: it may be lost, and this partition is then read again."""
        if lane.spill is None:
            self._spills.mkdir(parents=True, exist_ok=True)
            self._spilled = True
            number = sum(each.spill is not None for each in self._lanes.values())
            lane.spill = self._spills / f"{number}.arrows"
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        with lane.spill.open("ab") as file, pa.ipc.new_stream(file, self._schema, options=options) as out:
            for batch in batches:
                out.write_batch(batch)

    def _encode_spill(self, lane: _Lane) -> None:
        assert lane.spill is not None
        size = lane.spill.stat().st_size
        held: list[pa.RecordBatch] = []
        with lane.spill.open("rb") as file:
            while file.tell() < size:  # one stream was appended per flush
                for batch in pa.ipc.open_stream(file):
                    held.append(batch)
                    if sum(each.nbytes for each in held) >= self._config.max_row_group_bytes:
                        self._add(lane, pa.Table.from_batches(held, self._schema))
                        held = []
        if held:
            self._add(lane, pa.Table.from_batches(held, self._schema))
        lane.spill.unlink()
        lane.spill = None

    def _remove_spills(self) -> None:
        if self._spilled:
            shutil.rmtree(self._spills, ignore_errors=True)

    def _set_aside(self, rows: Sequence[QuarantinedRow]) -> None:
        """Write rows that cannot be held beside the data, as JSON lines."""
        if self._quarantine is None:
            self._quarantine = self._store.upload(self._names.quarantine(self._folder), stage=self._stage)
        target = self._target
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        lines = []
        for row in rows:
            record = {
                "connection": target.connection,
                "stream_namespace": target.stream.namespace,
                "stream_name": target.stream.name,
                "generation": target.generation,
                "partition_id": self._partition,
                "sync_id": target.sync_id,
                "column_name": row.column,
                "reason": row.reason,
                "record": dict(row.record),
                "quarantined_at": now,
                "id": row.id,
                "original": row.original,
            }
            lines.append(json.dumps(record, ensure_ascii=False))
        self._quarantine.sink.write("".join(line + "\n" for line in lines).encode())
        self._quarantined += len(rows)


class _disk_errors:  # noqa: N801 - reads as a statement
    """Errors of Arrow's own files and of spills as ours."""

    def __init__(self, place: Path) -> None:
        self._place = place

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, pa.ArrowInvalid | pa.ArrowNotImplementedError | pa.ArrowTypeError):
            raise SynclineError(
                ErrorKind.DATA, f"rows cannot be encoded: {error}", hint="see the type matrix"
            ) from error
        if isinstance(error, OSError):
            raise local_error(error, error.filename or self._place) from error
