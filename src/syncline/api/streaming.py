"""Server-sent events from blocking sources: job events and live logs.

A source's ``next`` may block for seconds. It runs in threads of its own kind, limited in number, so that people who
watch cannot keep others from being answered.
"""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator, Generator, Iterator
from typing import Any

import anyio
import anyio.to_thread
from starlette.responses import StreamingResponse

from syncline.api.errors import ApiError

__all__ = ["MAX_WATCHERS", "Watchers", "event_text", "keeping_alive"]

#: Streams at once. Each holds a thread, which sleeps.
MAX_WATCHERS = 64

_END = object()


class Watchers:
    """Counts the streams of one application. Used in one event loop only."""

    def __init__(self, limit: int = MAX_WATCHERS) -> None:
        self._limit = limit
        self._threads: anyio.CapacityLimiter | None = None
        self._count = 0

    def stream(self, texts: Generator[str]) -> StreamingResponse:
        """Send what ``texts`` yields (each one whole event) until it ends or the client goes. 429 when too many
        watch."""
        if self._count >= self._limit:
            raise ApiError(429, "Too many streams are open. Close one, or poll instead.", headers={"Retry-After": "5"})
        if self._threads is None:
            self._threads = anyio.CapacityLimiter(self._limit)
        self._count += 1
        return StreamingResponse(
            self._send(_Steps(texts), self._threads),
            media_type="text/event-stream",
            # Proxies would hold events back to compress or to collect them.
            headers={"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"},
        )

    async def _send(self, steps: _Steps, threads: anyio.CapacityLimiter) -> AsyncIterator[str]:
        try:
            # At once, so that a client knows that it is connected.
            yield ": connected\n\n"
            while True:
                text = await anyio.to_thread.run_sync(steps.next, limiter=threads, abandon_on_cancel=True)
                if text is _END:
                    break
                yield str(text)
        finally:
            self._count -= 1
            steps.stop()


class _Steps:
    """A generator whose steps run in threads and which may be stopped while one of them runs."""

    def __init__(self, texts: Generator[str]) -> None:
        self._texts = texts
        self._lock = threading.Lock()
        self._stopped = False

    def next(self) -> object:
        with self._lock:
            try:
                return _END if self._stopped else next(self._texts, _END)
            finally:
                if self._stopped:
                    self._texts.close()

    def stop(self) -> None:
        """Close the generator now, or when its running step has ended."""
        self._stopped = True
        if self._lock.acquire(blocking=False):
            try:
                self._texts.close()
            finally:
                self._lock.release()


def event_text(kind: str, data: Any, cursor: str | int | None = None) -> str:
    """One event as text: ``id`` (what ``Last-Event-ID`` sends back), ``event`` and ``data``, JSON in one line."""
    head = "" if cursor is None else f"id: {cursor}\n"
    return f"{head}event: {kind}\ndata: {json.dumps(data, default=str, ensure_ascii=False)}\n\n"


def keeping_alive(items: Iterator[Any], render: Any) -> Generator[str]:
    """Each item as text; None as a comment that keeps proxies from closing the connection."""
    for item in items:
        yield ": still here\n\n" if item is None else render(item)
