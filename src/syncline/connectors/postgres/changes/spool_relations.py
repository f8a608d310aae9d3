"""Relation and Type messages: what a reader must know before it understands what comes after them.

The server says them once in a session, before the first change that needs them. Every file of the spool begins with
those known when it was begun, and a reader that starts in the middle gets those before its place.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator
from typing import Any

__all__ = ["KnownRelations", "first_from", "messages", "without_xid"]

_U32, _U64 = struct.Struct(">I"), struct.Struct(">Q")
_RELATIONS = (ord("R"), ord("Y"))
_BEGIN = ord("B")
_MESSAGE = ord("M")


class KnownRelations:
    """The latest Relation message of each table and Type message of each type, as ordinary frames."""

    def __init__(self) -> None:
        self._latest: dict[bytes, bytes] = {}

    def __bool__(self) -> bool:
        return bool(self._latest)

    def take(self, frames: Any) -> None:
        """Every Relation and Type message among ``frames`` (others are passed over)."""
        for start, end in messages(frames):
            if frames[start] in _RELATIONS:
                key = bytes(frames[start : start + 5])  # the type and the object's id
                self._latest.pop(key, None)  # the order is that of the log: a type comes before who uses it
                self._latest[key] = bytes(frames[start - 4 : end])

    def take_all(self, other: KnownRelations) -> None:
        for key, frame in other._latest.items():
            self._latest.pop(key, None)
            self._latest[key] = frame

    def clear(self) -> None:
        self._latest.clear()

    def frames(self) -> bytes:
        return b"".join(self._latest.values())


def messages(frames: Any) -> Iterator[tuple[int, int]]:
    """Start and end of each message of some frames."""
    at, size, length_of = 0, len(frames), _U32.unpack_from
    while at < size:
        start = at + 4
        at = start + length_of(frames, at)[0]
        yield start, at


def first_from(frames: Any, lsn: int) -> int | None:
    """Where the first transaction (or message outside of one) begins whose LSN is not below ``lsn``; None: nowhere."""
    within = False
    for start, _ in messages(frames):
        kind = frames[start]
        if kind == _BEGIN:
            within = True
            if _U64.unpack_from(frames, start + 1)[0] >= lsn:
                return start - 4
        elif kind == ord("C"):
            within = False
        elif kind == _MESSAGE and not within and _U64.unpack_from(frames, start + 2)[0] >= lsn:
            return start - 4
    return None


def without_xid(frames: bytes, aborted: Collection[int]) -> bytes:
    """Relation and Type messages of a streamed transaction in ordinary form, without those that were rolled back."""
    parts = []
    for start, end in messages(frames):
        if _U32.unpack_from(frames, start + 1)[0] not in aborted:
            message = frames[start : start + 1] + frames[start + 5 : end]
            parts += [_U32.pack(len(message)), message]
    return b"".join(parts)
