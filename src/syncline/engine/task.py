"""One partition's work as a value, and the one function that runs it: read, normalize, write, seal.

A task holds names, configuration and bounds as plain JSON, with secrets by reference; no connection, lock or closure.
It may run in a thread here or on another machine. Making its result visible is the coordinator's separate, single act.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from syncline.core.batch import Batch
from syncline.core.checkpoint import Staged, StreamTarget
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.failpoints import failpoint
from syncline.core.partition import Partition
from syncline.core.stream import SelectedStream
from syncline.engine.byte_queue import ByteQueue
from syncline.quality.screen import Screen
from syncline.sdk.connector import ConnectorContext
from syncline.sdk.destination import Destination, TakesNote, Writer, WritesRaw
from syncline.sdk.mapping import mapped_source
from syncline.sdk.metadata import Normalizer
from syncline.sdk.reference import ConnectorReference, open_destination, open_source
from syncline.sdk.source import RawFormat, ReadsRaw, Source

__all__ = ["CancelledError", "PartitionTask", "TaskOutcome", "noted_seal", "raw_route", "run_partition"]

#: Batches between reader and writer of one partition: 32 MiB is two to four batches, enough to keep both busy.
QUEUE_BYTES = 32 << 20


class CancelledError(Exception):
    """The task was asked to stop. Internal to the engine; never reaches a user."""


@dataclass(frozen=True, kw_only=True)
class PartitionTask:
    """Everything needed to read one partition and lay it down. ``extracted_at`` is the plan's time (UTC)."""

    source: ConnectorReference
    destination: ConnectorReference
    work_dir: str
    selected: SelectedStream
    partition: Partition
    target: StreamTarget
    token: int
    extracted_at: datetime
    concurrency: int

    def to_json(self) -> dict[str, Any]:
        return {
            "source": self.source.to_json(),
            "destination": self.destination.to_json(),
            "work_dir": self.work_dir,
            "selected": self.selected.to_json(),
            "partition": self.partition.to_json(),
            "target": self.target.to_json(),
            "token": self.token,
            "extracted_at": self.extracted_at.isoformat(),
            "concurrency": self.concurrency,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> PartitionTask:
        return cls(
            source=ConnectorReference.from_json(data["source"]),
            destination=ConnectorReference.from_json(data["destination"]),
            work_dir=data["work_dir"],
            selected=SelectedStream.from_json(data["selected"]),
            partition=Partition.from_json(data["partition"]),
            target=StreamTarget.from_json(data["target"]),
            token=data["token"],
            extracted_at=datetime.fromisoformat(data["extracted_at"]),
            concurrency=data["concurrency"],
        )


@dataclass(frozen=True, kw_only=True)
class TaskOutcome:
    """What became of a task: ``staged``, or ``error``. Counts are what was read, also when it failed."""

    stream: str
    partition: str
    staged: Staged | None
    error: SynclineError | None
    rows_read: int
    bytes_read: int
    seconds: float


def raw_route(
    source: Source, destination: Destination, selected: SelectedStream, target: StreamTarget
) -> RawFormat | None:
    """The format in which this stream can go undecoded from this source to this destination, or None."""
    if target.options.get("raw") is False or not isinstance(source, ReadsRaw) or not isinstance(destination, WritesRaw):
        return None
    raw = source.raw_format(selected)
    return raw if raw is not None and destination.accepts_raw(target, raw) else None


def run_partition(
    data: Mapping[str, Any],
    report: Callable[[int, int, int], None],
    cancelled: threading.Event | None = None,
    open_source: Callable[[ConnectorReference, ConnectorContext], Source] = open_source,
) -> TaskOutcome:
    """Run one task given as JSON. ``report(rows, bytes, queued)`` is called after each batch. Never
    raises.

    Checks that every row read was laid down or quarantined; a difference is an ``internal`` error of the partition.
    """
    task = PartitionTask.from_json(data)
    stop = cancelled or threading.Event()
    counts = _Counts(report, stop)
    start = time.monotonic()
    staged: Staged | None = None
    failure: SynclineError | None = None
    try:
        staged = _run(task, counts, open_source)
        laid_down = staged.rows + staged.quarantined
        if laid_down != counts.rows:
            raise SynclineError(
                ErrorKind.INTERNAL,
                f"{counts.rows} rows were read but {laid_down} laid down",
                hint="nothing of this partition was committed; please report this",
            )
    except SynclineError as error:
        failure = error.at(stream=str(task.selected.name), partition=task.partition.id)
    except CancelledError:
        failure = SynclineError(ErrorKind.TRANSIENT, "cancelled", where={"stream": str(task.selected.name)})
    except MemoryError:
        failure = SynclineError(
            ErrorKind.RESOURCE,
            "out of memory",
            hint="lower the connection's concurrency or the source's batch size",
            where={"stream": str(task.selected.name)},
        )
    except Exception as error:  # noqa: BLE001 - a defect in a connector must not take the other streams with it
        failure = SynclineError(
            ErrorKind.INTERNAL,
            f"{type(error).__name__}: {error}",
            hint="this is a defect; run again with --debug and report the trace",
            where={"stream": str(task.selected.name), "partition": task.partition.id},
        )
        failure.__cause__ = error
    return TaskOutcome(
        stream=str(task.selected.name),
        partition=task.partition.id,
        staged=None if failure else staged,
        error=failure,
        rows_read=counts.rows,
        bytes_read=counts.bytes,
        seconds=time.monotonic() - start,
    )


class _Counts:
    def __init__(self, report: Callable[[int, int, int], None], stop: threading.Event) -> None:
        self.rows = 0
        self.bytes = 0
        self.batches = 0
        self._report = report
        self._stop = stop

    def begin_again(self) -> None:
        self.rows = self.bytes = 0

    def add(self, rows: int, size: int, queued: int = 0) -> None:
        if self._stop.is_set():
            raise CancelledError
        self.rows += rows
        self.bytes += size
        self.batches += 1
        self._report(rows, size, queued)
        if self.batches == 1:
            failpoint("read.first")
        elif self.batches == 3:
            failpoint("read.middle")


def _run(
    task: PartitionTask, counts: _Counts, open_source: Callable[[ConnectorReference, ConnectorContext], Source]
) -> Staged:
    context = ConnectorContext(
        connection=task.target.connection, work_dir=Path(task.work_dir), concurrency=task.concurrency
    )
    with (
        closing(open_source(task.source, context)) as opened,
        closing(open_destination(task.destination, context)) as dest,
    ):
        source = opened if task.selected.origin is None else mapped_source(opened)
        raw = raw_route(source, dest, task.selected, task.target)
        if raw is not None:
            try:
                return _relay(task, source, dest, raw, counts)
            except SynclineError as error:
                if error.kind is not ErrorKind.DATA:
                    raise
                # The destination refuses a row, which undecoded bytes cannot set aside: the partition is read once
                # more and goes decoded, so that only that row goes to quarantine.
                counts.begin_again()
        return _convey(task, source, dest, counts)


def _convey(task: PartitionTask, source: Source, destination: Destination, counts: _Counts) -> Staged:
    """Read in a second thread, write in this one, at most QUEUE_BYTES between them."""
    own = set(task.selected.stream.schema.names)
    normalize = Normalizer(
        task.target.schema,
        [f for f in task.target.schema.fields if f.name not in own],
        extracted_at=task.extracted_at,
        sync_id=task.target.sync_id,
        generation=task.target.generation,
        lsn=task.target.options.get("lsn"),
    )
    queue = ByteQueue(QUEUE_BYTES)
    reader = threading.Thread(
        target=_read_into,
        args=(queue, source, task),
        name=f"read {task.selected.name} {task.partition.id}",
        daemon=True,
    )
    screen = Screen.of(task.target.options, task.target.schema)
    writer = destination.writer(task.target, task.partition.id, task.token)
    reader.start()
    try:
        for batch in queue:
            counts.add(batch.rows, batch.bytes, queue.bytes)
            whole = normalize(batch)
            writer.write(whole if screen is None else screen(whole))
            if counts.batches == 1:
                failpoint("write.after")
        return _seal(writer, screen)
    except BaseException:
        queue.close()
        writer.abort()
        raise
    finally:
        queue.close()
        reader.join()


def _read_into(queue: ByteQueue, source: Source, task: PartitionTask) -> None:
    expected = task.selected.stream.schema.arrow()
    try:
        with closing(cast(Any, source.read(task.selected, task.partition))) as batches:
            for batch in batches:
                _check_schema(batch, expected)
                if not queue.put(batch):
                    return
        queue.finish()
    except BaseException as error:  # noqa: BLE001 - handed to the writer's side, which raises it
        queue.finish(error)


def _check_schema(batch: Batch, expected: Any) -> None:
    if not batch.data.schema.equals(expected):
        raise SynclineError(
            ErrorKind.INTERNAL, f"the source gave columns {batch.data.schema} where {expected} was agreed"
        )


def _relay(task: PartitionTask, source: Source, destination: Destination, raw: RawFormat, counts: _Counts) -> Staged:
    """Undecoded bytes from one end to the other; the kernel's socket buffers are the queue."""
    writer = cast(WritesRaw, destination).raw_writer(task.target, task.partition.id, task.token, raw)
    try:
        with closing(cast(ReadsRaw, source).read_raw(task.selected, task.partition)) as chunks:
            first = True
            for chunk in chunks:
                counts.add(0, len(chunk))
                writer.write_raw(chunk)
                if first:
                    failpoint("write.after")
                    first = False
            counts.rows += chunks.rows
        return _seal(writer)
    except BaseException:
        writer.abort()
        raise


def _seal(writer: Any, screen: Screen | None = None) -> Staged:
    failpoint("seal.before")
    staged = noted_seal(cast(Writer, writer), screen)
    failpoint("seal.after")
    return staged


def noted_seal(writer: Writer, screen: Screen | None) -> Staged:
    """Seal, with what the screen has counted in these rows. A destination that gives stages back after a crash keeps
    the note with them."""
    if screen is None:
        return writer.seal()
    note = screen.note()
    if isinstance(writer, TakesNote):
        writer.note(note)
    return replace(writer.seal(), note=note)
