"""Streamed transactions that are not committed yet: each in memory while small, then in a file of its own."""

from __future__ import annotations

from typing import Any

from syncline.connectors.postgres.changes.spool_folder import SpoolFolder
from syncline.connectors.postgres.changes.spool_format import Kind
from syncline.connectors.postgres.changes.spool_segment import FileWriter

__all__ = ["OpenStream"]

#: A transaction below this goes into the common file when it is committed; hundreds may be open at once.
_SMALL_BYTES = 256 << 10


class OpenStream:
    """The blocks of one top-level transaction so far, in streamed form; its subtransactions that were rolled back."""

    def __init__(self, folder: SpoolFolder, xid: int) -> None:
        self.xid = xid
        self.aborted: set[int] = set()
        self.relations = bytearray()
        self.waiting = bytearray()
        self._folder = folder
        self._writer: FileWriter | None = None

    @property
    def in_memory(self) -> bool:
        return self._writer is None

    @property
    def file_bytes(self) -> int:
        return self._writer.size if self._writer is not None else 0

    def write(self, frames: Any, relations: bytes) -> None:
        """One more block. OSError when there is no room: the block is then not taken."""
        if len(self.waiting) + len(frames) > _SMALL_BYTES:
            self.flush()
            self._part(frames)
        else:
            self.waiting += frames
        self.relations += relations

    def flush(self) -> FileWriter:
        """All of it in the file."""
        writer = self._writer
        if writer is None:
            path = self._folder.part_path(self.xid)
            writer = self._writer = FileWriter(path, self._folder.identity.bytes, 0, 0)
        if self.waiting:
            writer.append(Kind.PART, 0, 0, self.waiting)
            self.waiting = bytearray()
        return writer

    def discard(self) -> None:
        """The transaction was rolled back, or the session that sent it is over."""
        if self._writer is not None:
            self._writer.close()
            self._writer.path.unlink(missing_ok=True)
            self._writer = None

    def _part(self, frames: Any) -> None:
        if len(frames):
            self.flush().append(Kind.PART, 0, 0, frames)
