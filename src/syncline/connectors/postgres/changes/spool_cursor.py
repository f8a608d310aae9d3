"""A place in the spool, from which one thread reads on. Many may be open at once."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from syncline.connectors.postgres.changes.spool_format import (
    FILE_HEADER,
    RECORD_HEADER,
    Head,
    Kind,
    Record,
    parse_head,
    record_header,
)
from syncline.connectors.postgres.changes.spool_relations import KnownRelations, first_from
from syncline.connectors.postgres.changes.spool_segment import Segment
from syncline.connectors.postgres.changes.stretch import Stretch
from syncline.core.errors import ErrorKind, SynclineError

if TYPE_CHECKING:
    from syncline.connectors.postgres.changes.spool import Spool

__all__ = ["SpoolCursor"]

_LEAST_READ = 64 << 10
_NOBODY: frozenset[int] = frozenset()


@dataclass
class _Gathered:
    """Records on their way into one stretch."""

    parts: list[memoryview]
    head: Head | None = None
    bytes: int = 0


class SpoolCursor:
    """Made by :meth:`Spool.cursor`. Used by one thread; another may only :meth:`close` it when that one is done."""

    def __init__(self, spool: Spool, start: int) -> None:
        self._spool = spool
        self._from = self._position = self._reached = start
        self._skipped = KnownRelations()
        self._descriptor: int | None = None
        self._offset = FILE_HEADER
        with spool.changed:
            segments = spool.segments
            if not segments or start < segments[0].start:
                raise self._gone()
            self._segment = next((each for each in segments if each.end > start), segments[-1])

    @property
    def position(self) -> int:
        """The ``end`` of the last stretch: everything below has been given out."""
        return self._position

    def read(self, timeout: float, max_bytes: int = 4 << 20) -> Stretch | None:
        """What is there at once, else what comes first within ``timeout`` seconds; a stretch without frames when by
        then only the position has moved, None when not even that. Frames are at most about ``max_bytes``, or one
        record (8 MiB, or a single message that is larger). Raises what ended the receiver, after everything that it
        had received; ``conflict`` when the files were deleted or damaged."""
        deadline = time.monotonic() + timeout
        while True:
            with self._spool.changed:
                if self._offset >= self._segment.size and not self._advance():
                    left = deadline - time.monotonic()
                    if left <= 0:
                        return self._moved()
                    self._spool.changed.wait(left)
                    continue
                segment, size = self._segment, self._segment.size
            if (found := self._take(segment, size, max_bytes)) is not None:
                self._spool.read_to = max(self._spool.read_to, (segment.sequence, self._offset))
                return found

    def close(self) -> None:
        """Give the open file back. May be called twice."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    # -- under the spool's condition ---------------------------------------------------------------------------------

    def _advance(self) -> bool:
        """Into the next file, when this one is whole and read. Raises what ended the spool when there is nothing."""
        spool, sequence = self._spool, self._segment.sequence + 1
        if spool.closed:
            raise SynclineError(ErrorKind.INTERNAL, "the spool is closed", where={"path": str(spool.folder)})
        if self._segment.sealed:
            first = spool.segments[0].sequence
            if sequence < first:
                # What was between held nothing that is not read, or nothing at all; else it should not be gone.
                if spool.segments[0].start > max(self._position, self._reached):
                    raise self._gone()
                sequence = first
            if sequence - first < len(spool.segments):
                self.close()
                self._segment, self._offset = spool.segments[sequence - first], FILE_HEADER
                self._skipped.clear()  # the file begins with all of that, or is one transaction that says its own
                return self._segment.size > FILE_HEADER or self._advance()
        if spool.error is not None:
            raise spool.error
        return False

    def _moved(self) -> Stretch | None:
        """The log has moved on, without any transaction for us."""
        self._reached = max(self._reached, self._spool.end)
        return self._stretch(_Gathered([])) if self._reached > self._position else None

    # -- reading -----------------------------------------------------------------------------------------------------

    def _take(self, segment: Segment, size: int, max_bytes: int) -> Stretch | None:
        """The next records up to ``size`` as a stretch; None when all of them are passed over."""
        if segment.head is not None and segment.head.header.commit_lsn < self._from:
            self._offset, self._reached = size, max(self._reached, segment.end)
            return None
        data = memoryview(self._pread(min(max(max_bytes, _LEAST_READ), size - self._offset)))
        first = record_header(data, 0, self._offset)
        if first is not None and RECORD_HEADER + first.length > len(data):
            data = memoryview(self._pread(RECORD_HEADER + first.length))
        gathered, base = _Gathered([], segment.head), self._offset
        while (at := self._offset - base) < len(data):
            found = record_header(data, at, self._offset)
            if found is None or found.after - base > len(data):
                if at == 0:
                    raise self._damaged()
                break  # it begins in what was read, and ends beyond
            payload = data[at + RECORD_HEADER : found.after - base]
            if not segment.checked and not found.holds(payload):
                raise self._damaged()
            if found.kind is Kind.STREAMED:
                head, length = parse_head(payload)
                if head.header.commit_lsn >= self._from:
                    if gathered.parts or self._skipped:
                        break  # those first
                    gathered = _Gathered([payload[length:]], head)
                    self._pass(found)
                    break
            elif found.kind is not Kind.PART and found.start < self._from:
                payload = self._cut(found, payload)
            if found.kind is not Kind.STREAMED and len(payload):
                gathered.parts.append(payload)
                gathered.bytes += len(payload)
            self._pass(found)
            if gathered.bytes >= max_bytes:
                break
        if self._skipped and (gathered.parts or self._offset < size):
            return self._with_skipped(gathered)
        whole_file = segment.head is not None and self._offset >= size
        return self._stretch(gathered, segment.end if whole_file else None) if gathered.parts or whole_file else None

    def _pass(self, record: Record) -> None:
        self._offset = record.after
        self._reached = max(self._reached, record.end)

    def _cut(self, record: Record, payload: memoryview) -> memoryview:
        """What of an ordinary record is not before our place; what was said in the rest is remembered."""
        at = first_from(payload, self._from) if record.end > self._from else None
        skipped = payload if at is None else payload[:at]
        if record.kind is Kind.DESCRIBED:
            self._skipped.take(skipped)
        return payload[len(skipped) :]

    def _with_skipped(self, gathered: _Gathered) -> Stretch:
        """Ahead of the first change: what was said before our place."""
        frames = memoryview(self._skipped.frames())
        self._skipped.clear()
        if gathered.head is None and gathered.parts:
            return self._stretch(_Gathered([frames, *gathered.parts]))
        assert not gathered.parts
        return Stretch(
            frames=frames, header=None, aborted=_NOBODY, start=self._position, end=self._position, whole=True
        )

    def _stretch(self, gathered: _Gathered, end_of_file: int | None = None) -> Stretch:
        frames = gathered.parts[0] if len(gathered.parts) == 1 else memoryview(b"".join(gathered.parts))
        start, head = self._position, gathered.head
        whole = self._segment.head is None or end_of_file is not None
        if end_of_file is not None:
            self._reached = max(self._reached, end_of_file)
        if whole:
            self._position = self._reached
        return Stretch(
            frames=frames,
            header=head.header if head is not None else None,
            aborted=head.aborted if head is not None else _NOBODY,
            start=start,
            end=self._position,
            whole=whole,
        )

    def _pread(self, length: int) -> bytes:
        try:
            if self._descriptor is None:
                self._descriptor = os.open(self._segment.path, os.O_RDONLY | os.O_CLOEXEC)
            return os.pread(self._descriptor, length, self._offset)
        except FileNotFoundError as error:
            raise self._gone() from error

    # -- what can be wrong -------------------------------------------------------------------------------------------

    def _gone(self) -> SynclineError:
        spool = self._spool
        return SynclineError(
            ErrorKind.CONFLICT,
            "the spool no longer has what is asked for",
            hint="the stream must be copied again: syncline state reset, then sync",
            where={"path": str(spool.folder), "asked": self._position, "first": spool.begin},
        )

    def _damaged(self) -> SynclineError:
        return SynclineError(
            ErrorKind.CONFLICT,
            "a file of the spool is damaged",
            hint="check the disk; delete the spool's folder, and the streams must be copied again",
            where={"path": str(self._segment.path), "offset": self._offset},
        )
