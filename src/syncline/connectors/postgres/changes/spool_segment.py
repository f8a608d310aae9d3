"""One file of a spool: written from front to back, then sealed by a footer; and what a former process left of it."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from syncline.connectors.postgres.changes.spool_format import (
    FILE_HEADER,
    Head,
    Kind,
    file_header,
    footer,
    parse_footer,
    read_file_header,
    record,
    records,
)

__all__ = ["FileWriter", "Segment", "load_segment", "seal_loaded"]


class Segment:
    """What readers need to know of a file. Changed only under the spool's condition.

    All its transactions have commit LSNs from ``start`` to below ``end``. Records lie from :data:`FILE_HEADER` to
    ``size``; ``file_bytes`` is all that it takes on disk. ``sealed``: nothing more comes. ``head`` is set for a file
    that is one streamed transaction. ``checked``: written or checked by this process."""

    __slots__ = ("checked", "end", "file_bytes", "head", "path", "sealed", "sequence", "size", "start")

    def __init__(self, sequence: int, path: Path, start: int) -> None:
        self.sequence, self.path = sequence, path
        self.start = self.end = start
        self.size = self.file_bytes = FILE_HEADER
        self.sealed = False
        self.head: Head | None = None
        self.checked = True

    @property
    def empty(self) -> bool:
        return self.size == FILE_HEADER


class FileWriter:
    """Appends records to a file of its own making. A failed write is cut off again, then OSError."""

    def __init__(self, path: Path, identity: bytes, sequence: int, start: int) -> None:
        self.path = path
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self.size = 0
        try:
            self._write([file_header(identity, sequence, start)])
        except BaseException:
            os.close(self.descriptor)
            path.unlink(missing_ok=True)
            raise

    def append(self, kind: Kind, start: int, end: int, *payload: Any) -> None:
        self._write([record(kind, start, end, *payload), *payload])

    def seal(self, start: int, end: int, head: Head | None) -> None:
        self._write([footer(start, end, head)])

    def close(self) -> None:
        os.close(self.descriptor)

    def _write(self, parts: list[Any]) -> None:
        total, written = sum(len(part) for part in parts), 0
        left = [memoryview(part) for part in parts]
        try:
            while written < total:
                count = os.pwritev(self.descriptor, left, self.size + written)
                written += count
                while left and count >= len(left[0]):
                    count -= len(left.pop(0))
                if left and count:
                    left[0] = left[0][count:]
        except OSError:
            with suppress(OSError):  # what stays behind is no whole record, and is written over
                os.ftruncate(self.descriptor, self.size)
            raise
        self.size += total


def load_segment(sequence: int, path: Path, identity: bytes, *, check: bool) -> Segment | None:
    """The whole part of a file of a former process; None when that is nothing. With ``check`` every record is read and
    compared with its checksum, and what follows the last whole one is cut off; without, a footer must be there."""
    file_bytes = path.stat().st_size
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        known = read_file_header(os.pread(descriptor, FILE_HEADER, 0), identity)
        if known is None:
            return None
        found = parse_footer(descriptor, file_bytes)
        segment = Segment(sequence, path, known[1])
        segment.file_bytes, segment.checked = file_bytes, check
        if found is not None:
            end, segment.head = found
            segment.start, segment.end, segment.size, segment.sealed = end.start, end.end, end.offset, True
        if not check:
            return segment if segment.sealed else None
        size, end_lsn = FILE_HEADER, segment.start
        for each in records(path, file_bytes):
            if each.kind is Kind.FOOTER:
                break
            if each.kind is Kind.PART and segment.head is None:
                return None  # of a transaction whose commit is not there
            size = each.after
            end_lsn = max(end_lsn, each.end)
        if segment.sealed and size == segment.size:
            return segment
        if segment.head is not None:
            return None
        segment.size = segment.file_bytes = size
        segment.end, segment.sealed = end_lsn, False
        os.ftruncate(descriptor, size)
        return segment
    finally:
        os.close(descriptor)


def seal_loaded(segment: Segment) -> None:
    """Put a footer behind the whole part of a file that its writer left open."""
    descriptor = os.open(segment.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    try:
        data = footer(segment.start, segment.end, None)
        if os.write(descriptor, data) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError:
        os.ftruncate(descriptor, segment.size)
        raise
    finally:
        os.close(descriptor)
    segment.sealed = True
    segment.file_bytes = segment.size + len(data)
