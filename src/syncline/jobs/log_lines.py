"""The log of an attempt: JSON lines that people read and grep.

    {"at":"2026-11-21T10:00:00.123Z","level":"ERROR","job":7,"attempt":1,"stream":"public.orders","kind":"transient",…}

One line per thing worth telling, made from the attempt's events; progress is not. ``kind`` is the error's. ``about`` is
a word to search for where the message may use another: ``timeout`` for what took too long, ``validation`` for rows that
were set aside.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from syncline.core.errors import ErrorKind
from syncline.engine.events import (
    AttemptFinished,
    AttemptStarted,
    Event,
    Log,
    PartitionCommitted,
    RetainedWal,
    SchemaChanged,
    StreamFinished,
    StreamPlanned,
)

__all__ = ["LEVELS", "AttemptLog", "LogLine", "line_of"]

LEVELS = ("DEBUG", "INFO", "WARN", "ERROR")
_KINDS = frozenset(kind.value for kind in ErrorKind)
_TIMEOUT_WORDS = ("timeout", "timed out", "time-out", "time out", "too long", "no progress")


@dataclass(frozen=True, kw_only=True)
class LogLine:
    """One line. ``at`` is UTC, ISO 8601."""

    at: str
    level: str
    job: int
    attempt: int
    stream: str | None = None
    kind: str | None = None
    about: str | None = None
    message: str

    def text(self) -> str:
        """For a terminal: one line, the level and the words to search for in it."""
        words = [self.at, self.level]
        if self.stream:
            words.append(f"[{self.stream}]")
        if self.about and self.about not in self.message.lower():
            words.append(f"{self.about}:")
        return " ".join([*words, self.message.replace("\n", "\n    ")])

    def to_json(self) -> dict[str, Any]:
        found = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {name: value for name, value in found.items() if value is not None}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LogLine:
        return cls(**{name: data[name] for name in cls.__dataclass_fields__ if name in data})


def line_of(event: Event, job: int, attempt: int) -> LogLine | None:
    """What the log says of an event; None for those that are only counted."""
    level, stream, kind, about = "INFO", getattr(event, "stream", None), None, None
    if isinstance(event, Log):
        level, message = event.level, event.message
        before, colon, _ = message.partition(": ")
        kind = before if colon and before in _KINDS else None
    elif isinstance(event, AttemptStarted):
        message = f"attempt {event.attempt} of {event.connection} started: {', '.join(event.streams)}"
    elif isinstance(event, StreamPlanned):
        how = "goes on" if event.resumed else event.write
        message = f"{how}: {event.partitions - event.done} of {event.partitions} partitions to read"
        message += f" ({event.note})" if event.note else ""
    elif isinstance(event, PartitionCommitted):
        level, message = "DEBUG", f"committed partition {event.partition}: {event.rows} rows"
        if event.quarantined:
            level, about = "WARN", "validation"
            message = (
                f"validation: {event.quarantined} rows of partition {event.partition} were set aside in quarantine"
            )
    elif isinstance(event, StreamFinished):
        message = f"{event.status}: {event.rows_read} rows read, {event.rows_written} written in {event.seconds:.1f} s"
        if event.error is not None:
            level, kind = "ERROR", event.error["kind"]
            hint = event.error.get("hint")
            message = f"{event.error['message']}" + (f" -> {hint}" if hint else "")
    elif isinstance(event, RetainedWal):
        level, about, message = "INFO" if event.level == "within" else "WARN", "retained WAL", event.text
    elif isinstance(event, SchemaChanged):
        level, about, message = "WARN" if event.change == "called" else "INFO", "schema change", event.text
    elif isinstance(event, AttemptFinished):
        level = "INFO" if event.status == "succeeded" else "ERROR"
        message = f"attempt {event.status} after {event.seconds:.1f} s"
    else:
        return None
    if level in ("WARN", "ERROR") and any(word in message.lower() for word in _TIMEOUT_WORDS):
        about = "timeout"
    return LogLine(
        at=event.at, level=level, job=job, attempt=attempt, stream=stream, kind=kind, about=about, message=message
    )


class AttemptLog:
    """Appends lines; from any thread. Of a log that has reached its size only warnings and errors are still taken, up
    to twice that: then one last line says so."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._lock = threading.Lock()
        self._max = max_bytes
        self._size = os.fstat(self._file).st_size
        self._full = self._size >= 2 * max_bytes

    def write(self, line: LogLine) -> None:
        data = _encoded(line)
        with self._lock:
            if self._full or (self._size >= self._max and line.level in ("DEBUG", "INFO")):
                return
            if self._size + len(data) > 2 * self._max:
                self._full = True
                data = _encoded(
                    LogLine(
                        at=line.at,
                        level="WARN",
                        job=line.job,
                        attempt=line.attempt,
                        message="the log is full and says no more (SYNCLINE_LOG_ATTEMPT_MB); the attempt goes on",
                    )
                )
            os.write(self._file, data)
            self._size += len(data)

    def close(self) -> None:
        os.close(self._file)


def _encoded(line: LogLine) -> bytes:
    return (json.dumps(line.to_json(), separators=(",", ":"), ensure_ascii=False) + "\n").encode()
