"""The journal: an attempt's events as JSON lines in an append-only file, the only thing it tells the world."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from syncline.engine import events
from syncline.engine.events import Event, Progress

__all__ = ["Journal", "JournalTail", "event_of", "read_journal"]


class Journal:
    """Takes events from any thread. Every line but progress is fsynced before :meth:`emit` returns; progress is written
    at most once a second and stream, with the sums since the last line."""

    PROGRESS_SECONDS = 1.0

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._lock = threading.Lock()
        self._pending: dict[str, tuple[float, Progress]] = {}

    def emit(self, event: Event) -> None:
        with self._lock:
            if isinstance(event, Progress):
                self._progress(event)
                return
            self._flush_progress()
            self._write(event.to_json())
            os.fsync(self._file)

    def write_result(self, result: dict[str, Any]) -> None:
        """What :func:`read_journal` gives as ``{"event": "Result", …}``; no event comes after it."""
        self.write_line({"event": "Result", "result": result})

    def write_line(self, line: dict[str, Any]) -> None:
        """A line that is no event of the engine, durable when this returns."""
        with self._lock:
            self._flush_progress()
            self._write(line)
            os.fsync(self._file)

    def close(self) -> None:
        os.close(self._file)

    def _progress(self, event: Progress) -> None:
        import time

        first, sums = self._pending.get(event.stream, (time.monotonic(), None))
        if sums is not None:
            event = Progress(
                at=event.at,
                stream=event.stream,
                partition=event.partition,
                rows=sums.rows + event.rows,
                bytes=sums.bytes + event.bytes,
            )
        if time.monotonic() - first >= self.PROGRESS_SECONDS:
            self._pending.pop(event.stream, None)
            self._write(event.to_json())
        else:
            self._pending[event.stream] = (first, event)

    def _flush_progress(self) -> None:
        for _, event in self._pending.values():
            self._write(event.to_json())
        self._pending.clear()

    def _write(self, data: dict[str, Any]) -> None:
        rest = (json.dumps(data, separators=(",", ":")) + "\n").encode()
        while rest:  # a disk that is almost full takes a part
            rest = rest[os.write(self._file, rest) :]


class JournalTail:
    """Reads a journal as it grows, or a log of the same form, from an offset on; each byte once. Used by one thread at
    a time. ``required``: the text that each line has."""

    #: At most this much is read in one go, so that a long journal does not fill the reader's memory.
    CHUNK_BYTES = 1 << 20

    def __init__(self, path: Path, offset: int = 0, *, required: str = "event") -> None:
        self.path = path
        self._required = required
        #: behind the last line that was given out; where another reader goes on
        self.offset = offset

    def read(self) -> list[tuple[int, dict[str, Any]]]:
        """The complete lines that came since, each with the offset at which it begins, at most some 1 MiB of them;
        empty when there are none. A line that is being written is left for the next time."""
        try:
            if self.path.stat().st_size <= self.offset:
                return []
            with self.path.open("rb") as file:
                file.seek(self.offset)
                chunk = file.read(self.CHUNK_BYTES)
                if b"\n" not in chunk:
                    chunk += file.readline()
        except FileNotFoundError:
            return []
        found = []
        for line in chunk[: chunk.rfind(b"\n") + 1].splitlines(keepends=True):
            if (data := _parsed(line, self._required)) is not None:
                found.append((self.offset, data))
            self.offset += len(line)
        return found


def _parsed(line: bytes, required: str) -> dict[str, Any] | None:
    """None for what is no line of ours: a full disk or a power cut tore it. What it said is in the ledger, and a reader
    that failed at it would fail for ever, and with it the watch over all other attempts."""
    try:
        data = json.loads(line)
    except ValueError:
        return None
    return data if isinstance(data, dict) and isinstance(data.get(required), str) else None


def event_of(line: dict[str, Any]) -> Event | None:
    """The engine's event of a line; None for lines that are none, or of an event that this version does not know. An
    attempt may be of another version than its server, which was replaced while it ran."""
    kind = getattr(events, line["event"], None)
    if not (isinstance(kind, type) and issubclass(kind, Event)):
        return None
    known = {each.name for each in fields(kind)}
    try:
        return kind(**{name: value for name, value in line.items() if name in known})
    except TypeError:
        return None


def read_journal(path: Path) -> Iterator[dict[str, Any]]:
    """The complete lines of a journal; a torn last line (the process was killed while writing) is left out."""
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n") and (data := _parsed(line, "event")) is not None:
                yield data
