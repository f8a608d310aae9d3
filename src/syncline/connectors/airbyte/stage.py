"""Rows on their way to a destination of Airbyte's: messages in a compressed file of the journal, durable when sealed.

They are sent when they are committed, so that reading goes on while the destination is slow or away, and a copy can be
given as a whole.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from syncline.connectors.airbyte.declared import descriptor
from syncline.core.batch import Batch, Misfit, QuarantinedRow
from syncline.core.checkpoint import Staged, StreamTarget
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.failpoints import failpoint
from syncline.sdk.files.local import local_error
from syncline.sdk.files.manifest import FileKind, ManifestFile
from syncline.sdk.files.store import ObjectStore, Upload
from syncline.sdk.quarantine import QuarantineEntry, set_aside
from syncline.sdk.records.json_text import json_lines

__all__ = ["StageWriter", "entries_of", "lines_of"]

#: Text of rows is several times their Arrow size: it is made in steps of so many rows and bytes.
_ROWS, _BYTES = 16_384, 8 << 20
_CHUNK = 1 << 20
_CODEC = "zstd"


class StageWriter:
    """Lays down one partition of one stream. See :class:`syncline.sdk.destination.Writer` for the protocol."""

    def __init__(self, store: ObjectStore, folder: str, target: StreamTarget, partition: str, token: int) -> None:
        self._store, self._folder, self._target, self._partition = store, folder, target, partition
        # The token begins the name: whose stage it is can be seen from outside.
        self._name = f"{token}-{target.generation}-{time.time_ns():x}"
        self._raw = {f.name for f in target.schema.fields if f.logical == "json"}
        self._floats = [f.name for f in target.schema.fields if pa.types.is_floating(f.type)]
        said = {"stream": target.stream.name, **descriptor(target.stream), "emitted_at": int(time.time() * 1000)}
        del said["name"]
        self._before = '{"type":"RECORD","record":' + json.dumps(said)[:-1] + ', "data":'
        self._upload: Upload | None = None
        self._out: pa.NativeFile | None = None
        self._aside: Upload | None = None
        self._rows = self._quarantined = self._bytes = 0

    def write(self, batch: Batch) -> None:
        misfits = (*batch.misfits, *self._no_numbers(batch.data))
        data, aside = set_aside(batch.data, misfits)
        if data.num_rows:
            self._write_rows(data)
        if aside:
            self._set_aside(aside)

    def seal(self) -> Staged:
        failpoint("seal.inside")
        files = []
        if self._upload is not None and self._out is not None:
            with _told(self._upload.key):
                self._out.close()
            files.append(self._file(self._upload, self._rows, FileKind.DATA))
        if self._aside is not None:
            files.append(self._file(self._aside, self._quarantined, FileKind.QUARANTINE))
        return Staged(
            partition=self._partition,
            rows=self._rows,
            quarantined=self._quarantined,
            bytes=self._bytes,
            payload={"files": [f.to_json() for f in files]},
        )

    def abort(self) -> None:
        for upload in (self._upload, self._aside):
            if upload is not None:
                upload.abort()

    def _write_rows(self, data: pa.RecordBatch) -> None:
        if self._upload is None:
            self._upload = self._store.upload(f"{self._folder}sent/{self._name}.zst", stage=self._folder + "stage/")
            self._out = pa.CompressedOutputStream(self._upload.sink, _CODEC)
        assert self._out is not None
        step = max(1, min(_ROWS, int(_BYTES / max(1, data.nbytes) * data.num_rows)))
        for start in range(0, data.num_rows, step):
            lines = json_lines(data.slice(start, step), raw=self._raw, before=self._before, after="}}\n")
            with _told(self._upload.key):
                self._bytes += self._out.write(_text(lines))
        self._rows += data.num_rows

    def _no_numbers(self, data: pa.RecordBatch) -> Iterator[Misfit]:
        """NaN and the infinities, which JSON lacks: as text they would contradict their declared type."""
        for name in self._floats:
            column = data.column(name)
            bad = pc.invert(pc.is_finite(column))
            if pc.any(bad).as_py():
                for row in pc.indices_nonzero(bad).to_pylist():
                    text = str(column[row].as_py())
                    yield Misfit(row=row, column=name, text=text, reason="JSON has no such number")

    def _set_aside(self, rows: Sequence[QuarantinedRow]) -> None:
        if self._aside is None:
            key = f"{self._folder}quarantine/{self._name}.jsonl"
            self._aside = self._store.upload(key, stage=self._folder + "stage/")
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        lines = [
            json.dumps(
                {
                    "id": row.id,
                    "generation": self._target.generation,
                    "partition": self._partition,
                    "sync_id": self._target.sync_id,
                    "column": row.column,
                    "reason": row.reason,
                    "record": dict(row.record),
                    "at": now,
                    "original": row.original,
                },
                ensure_ascii=False,
            )
            for row in rows
        ]
        self._aside.sink.write("".join(line + "\n" for line in lines).encode())
        self._quarantined += len(rows)

    def _file(self, upload: Upload, rows: int, kind: FileKind) -> ManifestFile:
        staged = upload.finish()
        return ManifestFile(
            key=staged.key,
            rows=rows,
            bytes=staged.size,
            generation=self._target.generation,
            partition=self._partition,
            kind=kind,
            staged=staged,
        )


def _text(lines: pa.Array) -> pa.Buffer:
    """The text of consecutive lines lies in one piece: written as it is."""
    end = int(np.frombuffer(lines.buffers()[1], dtype=np.int32)[len(lines)])
    return lines.buffers()[2].slice(0, end)


def lines_of(store: ObjectStore, file: ManifestFile) -> Iterator[bytes]:
    """The messages of a staged file, in pieces. Raises ``data`` when it is gone or damaged."""
    assert file.staged is not None
    with (
        _told(file.staged.upload),
        store.open_input(file.staged.upload) as raw,
        pa.CompressedInputStream(raw, _CODEC) as text,
    ):
        while chunk := text.read(_CHUNK):
            yield chunk


def entries_of(data: bytes) -> list[QuarantineEntry]:
    """The rows of a quarantine file, in its order."""
    return [QuarantineEntry(**json.loads(line)) for line in data.splitlines() if line.strip()]


@contextmanager
def _told(key: str) -> Iterator[None]:
    """Errors of Arrow's own files as ours."""
    try:
        yield
    except pa.ArrowInvalid as error:
        message = f"rows cannot be written as JSON: {error}"
        raise SynclineError(ErrorKind.DATA, message, hint="see the type matrix") from error
    except OSError as error:
        raise local_error(error, key) from error
