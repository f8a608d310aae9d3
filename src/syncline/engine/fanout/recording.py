"""What is read once and taken by several: a thread reads the source into files, and each destination reads the files.

    recording = Recording(folder, read)      # nothing is read yet
    for header, data in recording.items():   # one for each destination; they may come at any time
        ...

Files, not a queue: the quick must not wait for the slow. Yet the reading goes on only a little ahead of the quickest,
and files that all have passed are deleted. When the files of all recordings take more than their budget, the oldest of
what only the slow still need go: who is in the middle of them has to read the source by itself.
"""

from __future__ import annotations

import json
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias, cast

import pyarrow as pa

from syncline.core.errors import ErrorKind, SynclineError

__all__ = ["Item", "Recording"]

#: What it says, as plain JSON, and the rows that belong to it.
Item: TypeAlias = tuple[Mapping[str, Any], pa.RecordBatch | None]

_LENGTHS = struct.Struct("<QQ")
_SEGMENT_BYTES = 32 << 20
#: So far ahead of the quickest taker: what it takes next is there, and a source is not read for nobody.
_AHEAD_BYTES = 64 << 20


@dataclass(eq=False)
class _Taker:
    """One destination on its way through: the next byte that it takes, counted from the beginning."""

    at: int = 0


@dataclass(frozen=True, kw_only=True)
class _Segment:
    """One file. ``start`` counts from the beginning of the recording."""

    path: Path
    start: int


class Recording:
    """Made for one reading. ``folder`` is this recording's own. ``made_at`` is the monotonic time of its making."""

    def __init__(self, folder: Path, read: Callable[[], Iterator[Item]]) -> None:
        self.made_at = self.touched_at = time.monotonic()
        self._folder, self._read = folder, read
        self._changed = threading.Condition()
        self._segments: list[_Segment] = []
        self._file: BinaryIO | None = None
        self._end = self._furthest = 0  # what is written, and what somebody has
        self._takers: set[_Taker] = set()
        self._expects = True
        self._thread: threading.Thread | None = None
        self._finished = self._dropped = False
        self._error: BaseException | None = None

    # -- who takes -------------------------------------------------------------------------------------------------

    @property
    def usable(self) -> bool:
        """Whether somebody who comes now gets all of it."""
        with self._changed:
            whole = not self._segments or self._segments[0].start == 0
            return whole and not self._dropped and self._error is None

    @property
    def bytes(self) -> int:
        """What its files take."""
        with self._changed:
            return self._end - self._segments[0].start if self._segments else 0

    @property
    def taken_from(self) -> bool:
        """Whether somebody is on the way through."""
        with self._changed:
            return bool(self._takers)

    def items(self) -> Iterator[Item]:
        """Everything from the beginning, as it comes. Raises what ended the reading, after all that came before;
        ``transient`` when the files went. Not :attr:`usable` is an ``internal`` error: ask before."""
        taker = _Taker()
        with self._changed:
            if self._dropped or (self._segments and self._segments[0].start > 0):
                raise SynclineError(ErrorKind.INTERNAL, "a recording was asked for that is gone")
            self._takers.add(taker)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=f"read once {self._folder.name}", daemon=True)
                self._thread.start()
        file: BinaryIO | None = None
        opened: _Segment | None = None
        try:
            while True:
                segment, end = self._wait(taker)
                if segment is None:
                    return
                if file is None or segment is not opened:
                    if file is not None:
                        file.close()
                    file, opened = _opened(segment, taker.at), segment
                while taker.at < end:
                    item, size = _load(file)
                    yield item
                    with self._changed:
                        taker.at += size
                        self._furthest = max(self._furthest, taker.at)
                        self.touched_at = time.monotonic()
                        self._changed.notify_all()
        finally:
            if file is not None:
                file.close()
            with self._changed:
                self._takers.discard(taker)
                self.touched_at = time.monotonic()
                self._changed.notify_all()
            self.shrink()

    def _wait(self, taker: _Taker) -> tuple[_Segment | None, int]:
        """The segment of the taker's next item and up to where it can be read; None at the end of all."""
        with self._changed:
            while taker.at >= self._end and not self._finished:
                self._changed.wait()
            if taker.at < self._end:
                found = [s for s in self._segments if s.start <= taker.at]
                if not found:
                    raise _too_slow()
                after = self._segments[len(found)].start if len(found) < len(self._segments) else self._end
                return found[-1], after
            if self._error is not None:
                raise _again(self._error)
            return None, 0

    # -- who reads -------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            with closing(cast(Any, self._read())) as items:
                for header, data in items:
                    if not self._append(header, data):
                        error = SynclineError(ErrorKind.TRANSIENT, "nobody takes what is read any more")
                        break
        except OSError as raised:
            error = SynclineError(
                ErrorKind.RESOURCE,
                f"what is read for several destinations cannot be kept: {raised.strerror or raised}",
                hint="free space on the disk of SYNCLINE_HOME; nothing is lost, the next try goes on",
                where={"path": str(self._folder)},
            )
            error.__cause__ = raised
        except BaseException as raised:  # noqa: BLE001 - handed to the takers, which raise it
            error = raised
        with self._changed:
            self._finished, self._error = True, error
            if self._file is not None:
                self._file.close()
                self._file = None
            self._changed.notify_all()

    def _append(self, header: Mapping[str, Any], data: pa.RecordBatch | None) -> bool:
        """False when nobody is there to take it."""
        said = json.dumps(header).encode()
        rows = b"" if data is None else _stream_of(data)
        with self._changed:
            while self._takers and self._end - max(t.at for t in self._takers) > _AHEAD_BYTES and not self._dropped:
                self._changed.wait()
            if not self._takers or self._dropped:
                return False
            if self._file is None or self._end - self._segments[-1].start >= _SEGMENT_BYTES:
                self._begin_segment()
            assert self._file is not None
            file = self._file
        for part in (_LENGTHS.pack(len(said), len(rows)), said, rows):
            file.write(part)
        file.flush()
        with self._changed:
            self._end += _LENGTHS.size + len(said) + len(rows)
            self._changed.notify_all()
        self.shrink()
        return True

    def _begin_segment(self) -> None:
        if self._file is not None:
            self._file.close()
        self._folder.mkdir(parents=True, exist_ok=True)
        segment = _Segment(path=self._folder / f"{len(self._segments)}-{self._end}", start=self._end)
        self._file = segment.path.open("wb")
        segment.path.chmod(0o600)  # it holds the data itself
        self._segments = [*self._segments, segment]

    # -- what goes -------------------------------------------------------------------------------------------------

    def expect_nobody(self) -> None:
        """No one who is not on the way already will come: what all have passed can go."""
        with self._changed:
            self._expects = False
        self.shrink()

    def shrink(self) -> None:
        """Delete what nobody needs."""
        with self._changed:
            if self._expects:
                return
            lowest = min((t.at for t in self._takers), default=self._end if self._finished else 0)
            self._cut(lowest)

    def give_up(self, size: int) -> int:
        """Delete the oldest files, at least ``size`` bytes where that can be had without those that are just written or
        that the quickest takes. Gives what was freed."""
        with self._changed:
            before = self._segments[0].start if self._segments else 0
            self._cut(min(self._furthest, before + size + _SEGMENT_BYTES))
            return (self._segments[0].start if self._segments else self._end) - before

    def drop(self) -> None:
        """Nobody gets anything more of it; the reading ends."""
        with self._changed:
            self._dropped = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(10.0)
        with self._changed:
            self._cut(self._end)
            for segment in self._segments:
                segment.path.unlink(missing_ok=True)
            self._segments = []
        with suppress(OSError):
            self._folder.rmdir()

    def _cut(self, lowest: int) -> None:
        """Whole files below ``lowest`` go; the one that is written stays."""
        while len(self._segments) > 1 and self._segments[1].start <= lowest:
            self._segments[0].path.unlink(missing_ok=True)
            self._segments = self._segments[1:]


def _opened(segment: _Segment, at: int) -> BinaryIO:
    try:
        file = segment.path.open("rb")
    except FileNotFoundError:
        raise _too_slow() from None
    file.seek(at - segment.start)
    return file


def _too_slow() -> SynclineError:
    return SynclineError(
        ErrorKind.TRANSIENT,
        "this destination was too slow for the reading that it shares with others",
        hint="it reads what is missing by itself",
    )


def _stream_of(data: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, data.schema) as writer:
        writer.write_batch(data)
    return cast(bytes, memoryview(sink.getvalue()))


def _load(file: BinaryIO) -> tuple[Item, int]:
    said, rows = _LENGTHS.unpack(file.read(_LENGTHS.size))
    header = json.loads(file.read(said))
    data = None
    if rows:
        with pa.ipc.open_stream(pa.py_buffer(file.read(rows))) as reader:
            data = reader.read_next_batch()
    return (header, data), _LENGTHS.size + said + rows


def _again(error: BaseException) -> BaseException:
    """For each taker an error of its own."""
    if isinstance(error, SynclineError):
        again = SynclineError(error.kind, error.message, hint=error.hint, where=error.where, final=error.final)
        again.__cause__ = error.__cause__
        return again
    return error
