"""The executor of one machine: threads in the attempt's process.

The work of a partition is done by native code that releases the interpreter lock (COPY decoding, Arrow, Parquet,
DuckDB), so threads give the parallelism of processes without copying batches between them.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from syncline.engine.events import Event, Progress
from syncline.engine.ports import SourceOpener
from syncline.engine.task import PartitionTask, TaskOutcome, run_partition
from syncline.sdk.reference import open_source

__all__ = ["LocalExecutor"]


class LocalExecutor:
    """Runs up to ``slots`` tasks at once. ``emit`` gets a Progress event for each batch."""

    def __init__(self, slots: int, emit: Callable[[Event], None], open_source: SourceOpener = open_source) -> None:
        self.slots = slots
        self._emit, self._open_source = emit, open_source
        self._pool = ThreadPoolExecutor(max_workers=slots, thread_name_prefix="partition")
        self._done: queue.SimpleQueue[TaskOutcome] = queue.SimpleQueue()
        self._running = 0
        self._stop = threading.Event()

    def submit(self, task: PartitionTask) -> None:
        self._running += 1
        self._pool.submit(self._run, task)

    def outcomes(self) -> Iterator[TaskOutcome]:
        while self._running:
            outcome = self._done.get()
            self._running -= 1
            yield outcome

    def cancel(self) -> None:
        self._stop.set()

    def close(self) -> None:
        self._stop.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _run(self, task: PartitionTask) -> None:
        stream, partition = str(task.selected.name), task.partition.id

        def report(rows: int, size: int, queued: int) -> None:
            self._emit(Progress(stream=stream, partition=partition, rows=rows, bytes=size, queued=queued))

        # The JSON form, as on another machine: what does not survive it would work here and fail there.
        self._done.put(run_partition(task.to_json(), report, self._stop, self._open_source))
