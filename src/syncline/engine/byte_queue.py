"""A queue between one reader and one writer, bounded in bytes."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator

from syncline.core.batch import Batch

__all__ = ["ByteQueue"]


class ByteQueue:
    """Holds batches up to ``limit`` bytes (one batch may exceed it: a row of 100 MB must pass).

    The reader calls :meth:`put` and, at the end, :meth:`finish` with its error or None. The writer iterates; the
    reader's
    error is raised there after the batches before it. :meth:`close` by the writer makes further puts fail, which ends
    the reader.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._items: deque[Batch] = deque()
        self._bytes = 0
        self._finished = False
        self._closed = False
        self._error: BaseException | None = None
        self._changed = threading.Condition()

    @property
    def bytes(self) -> int:
        """What waits now."""
        return self._bytes

    def put(self, batch: Batch) -> bool:
        """Wait for room and add. Returns False when the writer has gone."""
        size = batch.bytes
        with self._changed:
            while self._items and self._bytes + size > self._limit and not self._closed:
                self._changed.wait()
            if self._closed:
                return False
            self._items.append(batch)
            self._bytes += size
            self._changed.notify_all()
            return True

    def finish(self, error: BaseException | None = None) -> None:
        with self._changed:
            self._finished, self._error = True, error
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._items.clear()
            self._bytes = 0
            self._changed.notify_all()

    def __iter__(self) -> Iterator[Batch]:
        while True:
            with self._changed:
                while not self._items and not self._finished:
                    self._changed.wait()
                if not self._items:
                    if self._error is not None:
                        raise self._error
                    return
                batch = self._items.popleft()
                self._bytes -= batch.bytes
                self._changed.notify_all()
            yield batch
