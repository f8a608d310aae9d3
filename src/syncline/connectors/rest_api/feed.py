"""One run: streams read side by side, their records as Arrow with the states between them."""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from syncline.connectors.rest_api.client import Client
from syncline.connectors.rest_api.paths import fields_of
from syncline.connectors.rest_api.reading import Reading
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.schema import StreamSchema
from syncline.core.stream import StreamName
from syncline.sdk.feed import FedBatch, FedDone, FedLog, FedMessage, FedState
from syncline.sdk.records.reader import RecordReader

__all__ = ["RestFeed", "StreamJob"]

#: Pages are gathered to this much, so that small pages do not become small batches.
_ROWS, _BYTES, _SECONDS = 10_000, 4 << 20, 5.0


@dataclass(kw_only=True)
class StreamJob:
    """One stream's work. ``columns`` are all of the stream's, ``schema`` those that were chosen; ``extra`` is the
    column for all other fields, None when they are left out."""

    name: StreamName
    reading: Reading
    state: Any
    incremental: bool
    schema: StreamSchema
    columns: frozenset[str]
    extra: str | None
    whole: bool


class RestFeed:
    """``close`` ends it, also in the middle. A stream that fails leaves the others alone."""

    def __init__(self, jobs: Sequence[StreamJob], client: Client, stop: threading.Event, *, side_by_side: int) -> None:
        self._jobs: queue.SimpleQueue[StreamJob] = queue.SimpleQueue()
        for job in jobs:
            self._jobs.put(job)
        self._client, self._stop = client, stop
        # Some 4 MiB each: what waits is bounded.
        self._out: queue.Queue[FedMessage | None] = queue.Queue(maxsize=4)
        self._workers = [
            threading.Thread(target=self._work, name=f"rest {n}", daemon=True)
            for n in range(max(1, min(side_by_side, len(jobs))))
        ]

    def close(self) -> None:
        self._stop.set()
        self._client.close()
        for worker in self._workers:
            if worker.is_alive():
                worker.join(5.0)

    def __iter__(self) -> Iterator[FedMessage]:
        for worker in self._workers:
            worker.start()
        working = len(self._workers)
        while working:
            message = self._out.get()
            if message is None:
                working -= 1
            else:
                yield message
        if self._client.waits:
            yield FedLog(level="INFO", message=f"the API made us wait {self._client.waits} times")

    def _work(self) -> None:
        try:
            while not self._stop.is_set():
                try:
                    job = self._jobs.get_nowait()
                except queue.Empty:
                    return
                error: SynclineError | None = None
                try:
                    self._read(job)
                except SynclineError as failed:
                    error = failed
                except Exception as defect:  # noqa: BLE001 - a defect in one stream must not hang the run
                    error = SynclineError(
                        ErrorKind.INTERNAL,
                        self._client.redact(f"{type(defect).__name__}: {defect}"),
                        hint="this is a defect; run again with --debug and report it",
                    )
                    error.__cause__ = defect
                self._say(FedDone(stream=job.name, error=error))
        finally:
            self._say(None)

    def _read(self, job: StreamJob) -> None:
        reader = RecordReader(job.schema, whole=job.whole)
        unknown: Counter[str] = Counter()
        waiting: list[Any] = []
        size = since = 0
        begun = time.monotonic()
        mark: Any = None
        chunks = job.reading.read(job.state, incremental=job.incremental)
        while True:
            try:
                chunk = next(chunks)
            except StopIteration:
                break
            except SynclineError:
                # What came before is good: the next attempt goes on behind it.
                if mark is not None:
                    since += self._give(job, reader, waiting, unknown)
                    self._say(FedState(stream=job.name, position=mark, records=since))
                raise
            waiting += chunk.records
            size += sum(map(len, chunk.records))
            # A state that is followed by records of no state of their own does not cover them: it goes out before them.
            mark = chunk.state if chunk.state is not None else (None if chunk.records else mark)
            if len(waiting) >= _ROWS or size >= _BYTES or time.monotonic() - begun > _SECONDS:
                since += self._give(job, reader, waiting, unknown)
                waiting, size, begun = [], 0, time.monotonic()
                if mark is not None:
                    self._say(FedState(stream=job.name, position=mark, records=since))
                    since, mark = 0, None
            if self._stop.is_set():
                raise SynclineError(ErrorKind.TRANSIENT, "stopped")
        since += self._give(job, reader, waiting, unknown)
        if mark is not None and job.incremental:
            self._say(FedState(stream=job.name, position=mark, records=since))
        self._last_words(job, reader, unknown)

    def _give(self, job: StreamJob, reader: RecordReader, records: list[Any], unknown: Counter[str]) -> int:
        if not records:
            return 0
        rows = records if job.whole else [_fitted(r, job.columns, job.extra, unknown) for r in records]
        self._say(FedBatch(stream=job.name, batch=reader.batch(rows)))
        return len(rows)

    def _last_words(self, job: StreamJob, reader: RecordReader, unknown: Counter[str]) -> None:
        for note in job.reading.notes:
            self._say(FedLog(level="WARN", message=note, stream=job.name))
        if unknown:
            named = ", ".join(f"{name} ({count})" for name, count in unknown.most_common(10))
            kept = f"kept in the column {job.extra}" if job.extra else "left out"
            message = f"fields that are not among the columns are {kept}: {named}"
            self._say(FedLog(level="WARN", message=message, stream=job.name))
        for column in sorted({*reader.turned, *reader.set_aside}):
            turned, aside = reader.turned[column], reader.set_aside[column]
            if turned or aside:
                message = (
                    f"column {column}: {turned + aside} values were not of its type; {turned} were turned into it "
                    f"without loss, {aside} set aside with their rows"
                )
                self._say(FedLog(level="WARN", message=message, stream=job.name))

    def _say(self, message: FedMessage | None) -> None:
        while True:
            try:
                self._out.put(message, timeout=0.5)
                return
            except queue.Full:
                if self._stop.is_set():
                    return


def _fitted(record: Any, columns: frozenset[str], extra: str | None, unknown: Counter[str]) -> Any:
    """The record with its unknown fields in one column."""
    try:
        fields = fields_of(record)
    except msgspec.DecodeError:
        return record  # the reader says what is wrong with it
    more = {name: raw for name, raw in fields.items() if name not in columns}
    if not more:
        return record
    unknown.update(more.keys())
    if extra is None:
        return record
    return msgspec.json.encode({**{n: raw for n, raw in fields.items() if n in columns}, extra: more})
