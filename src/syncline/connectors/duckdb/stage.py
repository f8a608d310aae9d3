"""Stages: rows of one partition in a file beside the database, durable and not yet visible.

    <database>.syncline/stage/<connection>/<stream>/t<token>/plan.json       the plan that these stages belong to
                                                           /<partition>.arrow       rows, an Arrow IPC stream, LZ4
                                                           /<partition>.aside.arrow rows for the quarantine, if any
                                                           /<partition>.json        the proof; written last

LZ4 is worth it: a third of the bytes to sync to disk for 0.08 s of CPU per million rows. The stream form rather than
the file form lets DuckDB pull batches in C, one at a time; anything that passes Python reads far ahead of it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc

from syncline.connectors.duckdb.aside import ASIDE, aside_batch
from syncline.connectors.duckdb.errors import from_os
from syncline.connectors.duckdb.types import column_type, holds_text, stage_type
from syncline.connectors.duckdb.values import fitted, staged_array
from syncline.core.batch import Batch, QuarantinedRow
from syncline.core.checkpoint import Staged, StreamCheckpoint, StreamTarget
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.failpoints import failpoint
from syncline.core.schema import Field
from syncline.core.stream import WriteMode

__all__ = ["StageFolder", "StageWriter", "remove_empty_side", "staged_field"]

#: ~8 MB: what the committing process holds of a stage at a time, times two.
_CHUNK_BYTES = 8 << 20

_OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)


def _staged_fields(target: StreamTarget) -> tuple[Field, ...]:
    """The fields that every row brings itself; those with one value for the whole plan are put in at the commit."""
    return tuple(f for f in target.schema.fields if f.name not in target.constants)


def _null_free_key(target: StreamTarget) -> tuple[str, ...]:
    """The columns by which rows are told apart, if they are."""
    return target.primary_key if target.write is WriteMode.MERGE or target.dedupe else ()


class StageFolder:
    """The stages of one stream of one connection. ``side`` is the folder beside the database file."""

    def __init__(self, side: Path, target: StreamTarget) -> None:
        self._side = side
        self._target = target
        stream = f"{target.stream.namespace or ''}\0{target.stream.name}"
        self._home = side / "stage" / _digest(target.connection) / _digest(stream)

    # -- in the coordinator, which has the database open and the current token ---------------------------------------

    def prepare(self, checkpoint: StreamCheckpoint, token: int) -> list[Staged]:
        """Remove what dead attempts left, except sealed stages of this very plan that are not committed yet; these are
        returned. Afterwards writers with this token can work."""
        plan = self._plan(checkpoint)
        found: dict[str, Staged] = {}
        try:
            for folder in sorted(self._home.glob("t*")) if self._home.exists() else ():
                if folder == self._folder(token):
                    # This very attempt's: a stream that gets a column is prepared again in the middle of a flush.
                    continue
                if checkpoint.plan is None or not checkpoint.plan.resumable or _read(folder / "plan.json") != plan:
                    _remove(folder)
                    continue
                keep = {"plan.json"}
                for proof in folder.glob("*.json"):
                    staged = _read(proof)
                    if proof.name == "plan.json" or staged is None:
                        continue
                    if staged["partition"] not in checkpoint.done and staged["partition"] not in found:
                        found[staged["partition"]] = Staged.from_json(staged)
                        keep |= {proof.name, *(Path(p).name for p in _files(staged["payload"]))}
                for path in folder.iterdir():
                    if path.name not in keep:
                        path.unlink(missing_ok=True)
            mine = self._folder(token)
            mine.mkdir(parents=True, exist_ok=True)
            _write_durably(mine / "plan.json", json.dumps(plan).encode())
        except OSError as error:
            raise from_os(error, self._home) from error
        return list(found.values())

    def _plan(self, checkpoint: StreamCheckpoint) -> dict[str, Any]:
        target = self._target
        return {
            "plan": checkpoint.plan.id if checkpoint.plan else None,
            "write": target.write.value,
            "generation": target.generation,
            "sync_id": target.sync_id,
            "schema": target.schema.to_json(),
            "key": list(_null_free_key(target)),
        }

    @contextlib.contextmanager
    def reader(self, path: str) -> Iterator[pa.RecordBatchReader]:
        """The staged rows of one file of a payload, batch by batch."""
        whole = self._side / path
        try:
            # Read, not mapped: the batches are unpacked anyway, and mapped pages would count as our memory.
            with pa.OSFile(str(whole)) as source:
                yield pa.ipc.open_stream(source, options=pa.ipc.IpcReadOptions(use_threads=False))
        except FileNotFoundError as error:
            raise SynclineError(
                ErrorKind.CONFLICT,
                "a stage to commit is gone",
                hint="a newer run may have removed it, or somebody cleaned up the folder; run again",
                where={"connector": "duckdb", "path": str(whole), "stream": str(self._target.stream)},
            ) from error

    def remove(self, staged: Sequence[Staged]) -> None:
        """Delete committed stages. What cannot be deleted now is garbage for the next :meth:`prepare`."""
        for one in staged:
            with contextlib.suppress(OSError):
                for path in _files(one.payload):
                    (self._side / path).unlink(missing_ok=True)
                (self._side / str(one.payload["proof"])).unlink(missing_ok=True)

    def tidy(self) -> None:
        """After a plan's last commit, while the database is still open: remove the folders, so that nothing of ours is
        left beside the file."""
        _remove(self._home)
        _remove_empty(self._home.parent)
        remove_empty_side(self._side)

    # -- anywhere ------------------------------------------------------------------------------------------------------

    def writer(self, partition: str, token: int) -> StageWriter:
        """A writer for one partition. Needs nothing but the folder, so it may run in another process."""
        return StageWriter(self._target, self._side, self._folder(token), partition)

    def _folder(self, token: int) -> Path:
        return self._home / f"t{token:08d}"


class StageWriter:
    """Writes the rows of one partition; see :class:`syncline.sdk.destination.Writer`."""

    def __init__(self, target: StreamTarget, side: Path, folder: Path, partition: str) -> None:
        self._target = target
        self._side = side
        self._base = folder / _digest(partition)
        self._partition = partition
        self._fields = _staged_fields(target)
        self._schema = pa.schema([staged_field(i, f) for i, f in enumerate(self._fields)])
        self._places = [target.schema.names.index(f.name) for f in self._fields]
        self._key = _null_free_key(target)
        self._rows = _Part(self._path(".arrow"), self._schema)
        self._aside = _Part(self._path(".aside.arrow"), ASIDE)
        self._text_bytes = [0] * len(self._fields)
        self._note: Mapping[str, Any] = {}

    def note(self, note: Mapping[str, Any]) -> None:
        """See :class:`syncline.sdk.destination.TakesNote`."""
        self._note = note

    def write(self, batch: Batch) -> None:
        data, rows = fitted(batch, self._target.schema, self._key)
        if rows:
            self._put_aside(rows)
        if data.num_rows == 0:
            return
        arrays = [staged_array(data.column(i)) for i in self._places]
        for i, array in enumerate(arrays):
            if holds_text(array.type):
                self._text_bytes[i] += array.nbytes
        staged = pa.RecordBatch.from_arrays(arrays, schema=self._schema)
        step = max(1, int(_CHUNK_BYTES * staged.num_rows / max(staged.nbytes, 1)))
        try:
            for start in range(0, staged.num_rows, step):
                self._rows.write(staged.slice(start, step))
        except OSError as error:
            raise from_os(error, self._rows.path) from error

    def seal(self) -> Staged:
        try:
            data, aside = self._rows.seal(), self._aside.seal()
            failpoint("seal.inside")
            proof = self._path(".json")
            payload: dict[str, Any] = {
                "data": self._relative(data),
                "aside": self._relative(aside),
                "proof": self._relative(proof),
                "columns": [f.name for f in self._fields],
                "constants": dict(self._target.constants),
                "widest_text": max(self._text_bytes, default=0) // max(self._rows.rows, 1),
            }
            staged = Staged(
                partition=self._partition,
                rows=self._rows.rows,
                quarantined=self._aside.rows,
                bytes=self._rows.bytes + self._aside.bytes,
                payload=payload,
                note=self._note,
            )
            # Last, and under its own name only when it is whole: where it stands, everything stands.
            _write_durably(proof, json.dumps(staged.to_json()).encode())
        except OSError as error:
            raise from_os(error, self._base) from error
        return staged

    def abort(self) -> None:
        for part in (self._rows, self._aside):
            part.abort()
        with contextlib.suppress(OSError):
            self._path(".json").unlink(missing_ok=True)

    def _put_aside(self, rows: Sequence[QuarantinedRow]) -> None:
        try:
            self._aside.write(aside_batch(rows))
        except OSError as error:
            raise from_os(error, self._aside.path) from error

    def _path(self, ending: str) -> Path:
        return self._base.with_name(self._base.name + ending)

    def _relative(self, path: Path | None) -> str | None:
        # The database and its folder may be moved together between two attempts.
        return None if path is None else path.relative_to(self._side).as_posix()


class _Part:
    """One Arrow file, made with its first row and given its name when it is whole."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path = path
        self.rows = 0
        self.bytes = 0
        self._schema = schema
        self._partial = path.with_name(path.name + ".part")
        self._sink: pa.OSFile | None = None
        self._writer: pa.ipc.RecordBatchStreamWriter | None = None

    def write(self, data: pa.RecordBatch) -> None:
        if self._writer is None:
            self._sink = pa.OSFile(str(self._partial), "wb")
            self._writer = pa.ipc.new_stream(self._sink, self._schema, options=_OPTIONS)
        self._writer.write_batch(data)
        self.rows += data.num_rows

    def seal(self) -> Path | None:
        """Make it durable; None when it has no rows."""
        if self._writer is None or self._sink is None:
            return None
        self._writer.close()
        self._sink.close()
        self._writer = self._sink = None
        _sync(self._partial)
        self.bytes = self._partial.stat().st_size
        self._partial.rename(self.path)
        return self.path

    def abort(self) -> None:
        with contextlib.suppress(OSError, pa.ArrowException):
            if self._writer is not None:
                self._writer.close()
            if self._sink is not None:
                self._sink.close()
        self._writer = self._sink = None
        with contextlib.suppress(OSError):
            self._partial.unlink(missing_ok=True)
            self.path.unlink(missing_ok=True)


def staged_field(place: int, field: Field) -> pa.Field:
    """The field of a stage. Columns are numbered in it: no name in it can collide or be mistaken for a path."""
    # The mark makes DuckDB see JSON at once, without parsing each text.
    metadata = {b"ARROW:extension:name": b"arrow.json"} if column_type(field) == "JSON" else None
    return pa.field(f"c{place}", stage_type(field.type), metadata=metadata)


def _files(payload: Mapping[str, Any]) -> list[str]:
    return [str(payload[name]) for name in ("data", "aside") if payload.get(name)]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:20]


def _read(path: Path) -> Any:
    """A JSON file's content; None when it is missing or broken."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None


def _write_durably(path: Path, data: bytes) -> None:
    partial = path.with_name(path.name + ".part")
    with partial.open("wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
    partial.rename(path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_empty_side(side: Path) -> None:
    """Remove the folder beside the database if nothing is in it."""
    for folder in (side / "stage", side):
        _remove_empty(folder)


def _remove_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
