"""The bytes of a spool's files: a header, then records, each with a checksum.

    file    = header record*
    header  = "SYNCSPL1" spool's uuid (16 bytes) sequence (u64) start LSN (u64) CRC-32 of these (u32) zeros, 64 in all
    record  = "SLr1" kind (u32) length (u32) CRC-32 (u32) start LSN (u64) end LSN (u64) payload

Little-endian; the CRC (zlib's) is of kind, length, start and end, then of the payload. Kinds:

    ORDINARY  frames of whole ordinary transactions; without frames: the log has moved on to `end`
    DESCRIBED the same with Relation or Type messages among them
    STREAMED  one streamed transaction: head, then its frames
    PART      frames of the streamed transaction whose file this is
    FOOTER    the file is whole. Payload: the head of the streamed transaction or nothing, then the footer's own length
              and "SLf1", so that it is found from the end

    head    = xid (u32) count of aborted xids (u32) commit LSN (u64) end LSN (u64) time of commit (i64) aborted (u32)*

A file is written by one process, from front to back. What a crash left is recognised by the first record that is not
whole; records are never longer than a message of the server and some MiB.
"""

from __future__ import annotations

import enum
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from syncline.connectors.postgres.changes.stretch import TransactionHeader

__all__ = [
    "FILE_HEADER",
    "RECORD_HEADER",
    "Head",
    "Kind",
    "Record",
    "file_header",
    "footer",
    "head_bytes",
    "parse_footer",
    "parse_head",
    "read_file_header",
    "record",
    "record_header",
    "records",
]

#: Anything that has bytes.
Data: TypeAlias = Any

_MAGIC, _RECORD_MAGIC, _FOOTER_MAGIC = b"SYNCSPL1", b"SLr1", b"SLf1"
_FILE = struct.Struct("<8s16sQQ")
_CRC = struct.Struct("<I")
FILE_HEADER = 64  #: bytes
_RECORD = struct.Struct("<4sIIIQQ")
RECORD_HEADER = _RECORD.size  #: bytes
_CHECKED = struct.Struct("<IIQQ")
_HEAD = struct.Struct("<IIQQq")
_TAIL = struct.Struct("<I4s")


class Kind(enum.IntEnum):
    """What a record holds; see the top of this file."""

    ORDINARY = 1
    STREAMED = 2
    PART = 3
    FOOTER = 4
    DESCRIBED = 5


@dataclass(frozen=True, slots=True)
class Record:
    """Where a record lies in its file: ``offset`` of its header, ``length`` of its payload."""

    kind: Kind
    offset: int
    length: int
    crc: int
    start: int
    end: int

    @property
    def payload(self) -> int:
        """Offset of the payload."""
        return self.offset + RECORD_HEADER

    @property
    def after(self) -> int:
        """Offset of the next record."""
        return self.offset + RECORD_HEADER + self.length

    def holds(self, payload: Data) -> bool:
        """Whether these are the bytes that were written."""
        return _crc(self.kind, self.length, self.start, self.end, (payload,)) == self.crc


@dataclass(frozen=True)
class Head:
    """What is known of a streamed transaction once it has been committed."""

    header: TransactionHeader
    aborted: frozenset[int]


def file_header(identity: bytes, sequence: int, start: int) -> bytes:
    body = _FILE.pack(_MAGIC, identity, sequence, start)
    return (body + _CRC.pack(zlib.crc32(body))).ljust(FILE_HEADER, b"\0")


def read_file_header(data: bytes, identity: bytes) -> tuple[int, int] | None:
    """Sequence and start LSN; None when these are not the first bytes of a file of this spool."""
    if len(data) < FILE_HEADER:
        return None
    magic, owner, sequence, start = _FILE.unpack_from(data)
    crc = _CRC.unpack_from(data, _FILE.size)[0]
    if magic != _MAGIC or owner != identity or crc != zlib.crc32(data[: _FILE.size]):
        return None
    return sequence, start


def record(kind: Kind, start: int, end: int, *payload: Data) -> bytes:
    """The header that goes before the payload."""
    length = sum(len(part) for part in payload)
    return _RECORD.pack(_RECORD_MAGIC, kind, length, _crc(kind, length, start, end, payload), start, end)


def record_header(data: Data, at: int, offset: int) -> Record | None:
    """The record whose header is at ``at`` of ``data`` and at ``offset`` of the file; None when it is none."""
    if at + RECORD_HEADER > len(data):
        return None
    magic, kind, length, crc, start, end = _RECORD.unpack_from(data, at)
    if magic != _RECORD_MAGIC or not 1 <= kind <= len(Kind):
        return None
    return Record(Kind(kind), offset, length, crc, start, end)


def head_bytes(head: Head) -> bytes:
    header, aborted = head.header, sorted(head.aborted)
    fixed = _HEAD.pack(header.xid, len(aborted), header.commit_lsn, header.end_lsn, header.committed_at)
    return fixed + struct.pack(f"<{len(aborted)}I", *aborted)


def parse_head(data: Data) -> tuple[Head, int]:
    """The head at the beginning of ``data``, and its length."""
    xid, count, commit_lsn, end_lsn, committed_at = _HEAD.unpack_from(data)
    aborted = struct.unpack_from(f"<{count}I", data, _HEAD.size)
    header = TransactionHeader(xid=xid, commit_lsn=commit_lsn, end_lsn=end_lsn, committed_at=committed_at)
    return Head(header, frozenset(aborted)), _HEAD.size + 4 * count


def footer(start: int, end: int, head: Head | None) -> bytes:
    """The record that makes a file whole."""
    body = b"" if head is None else head_bytes(head)
    payload = body + _TAIL.pack(RECORD_HEADER + len(body) + _TAIL.size, _FOOTER_MAGIC)
    return record(Kind.FOOTER, start, end, payload) + payload


def parse_footer(descriptor: int, size: int) -> tuple[Record, Head | None] | None:
    """The footer at the end of a file of ``size`` bytes; None when the file is not whole."""
    if size < FILE_HEADER + RECORD_HEADER + _TAIL.size:
        return None
    length, magic = _TAIL.unpack(os.pread(descriptor, _TAIL.size, size - _TAIL.size))
    if magic != _FOOTER_MAGIC or not RECORD_HEADER + _TAIL.size <= length <= size - FILE_HEADER:
        return None
    data = os.pread(descriptor, length, size - length)
    found = record_header(data, 0, size - length)
    if found is None or found.kind is not Kind.FOOTER or found.after != size:
        return None
    payload = memoryview(data)[RECORD_HEADER:]
    if not found.holds(payload):
        return None
    return found, parse_head(payload)[0] if len(payload) > _TAIL.size else None


def records(path: Path, size: int) -> Iterator[Record]:
    """The whole records of a file from its beginning, each read and checked, up to the first that is not whole."""
    with path.open("rb") as file:
        file.seek(FILE_HEADER)
        offset = FILE_HEADER
        while offset < size:
            found = record_header(file.read(RECORD_HEADER), 0, offset)
            if found is None or found.after > size:
                return
            if not found.holds(file.read(found.length)):
                return
            yield found
            offset = found.after


def _crc(kind: int, length: int, start: int, end: int, payload: tuple[Data, ...]) -> int:
    crc = zlib.crc32(_CHECKED.pack(kind, length, start, end))
    for part in payload:
        crc = zlib.crc32(part, crc)
    return crc
