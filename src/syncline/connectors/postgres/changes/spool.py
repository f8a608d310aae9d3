"""The spool: a durable log on local disk of whole transactions in commit order, as the server sent them.

    spool = Spool(folder, max_bytes=…)
    if spool.empty: spool.reset(lsn)
    spool.append(frames, end)                     # the receiver's thread
    cursor = spool.cursor(lsn); cursor.read(1.0)  # any thread, any number
    durable = spool.sync()                        # any thread, when the source shall forget
    spool.keep(lsn)                               # any thread, when no reader will ask for less

Memory does not grow with a transaction: a streamed one lies in its own file until its commit makes that file the next
one of the log. A killed process loses nothing that was appended; a power cut nothing below :attr:`Spool.durable`. What
is torn is cut back to the last whole transaction at the next opening. Files are 0600 in a folder of 0700: they hold
the data itself.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias

from syncline.connectors.postgres.changes.spool_cursor import SpoolCursor
from syncline.connectors.postgres.changes.spool_folder import Durable, SpoolFolder, disk_error
from syncline.connectors.postgres.changes.spool_format import Head, Kind, head_bytes
from syncline.connectors.postgres.changes.spool_recovery import recover
from syncline.connectors.postgres.changes.spool_relations import KnownRelations, without_xid
from syncline.connectors.postgres.changes.spool_segment import FileWriter, Segment
from syncline.connectors.postgres.changes.spool_streams import OpenStream
from syncline.connectors.postgres.changes.stretch import TransactionHeader
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.failpoints import failpoint

__all__ = ["Spool"]

Frames: TypeAlias = bytes

_SEGMENT_BYTES = 64 << 20


class Spool:
    """One folder, open in one process. One thread appends; the other methods may be called by any.

    ``max_bytes`` bounds what the files take: when they take as much, :attr:`full` says so and the receiver must wait.
    Raises ``conflict`` when another process has the folder open or its durable part is damaged, ``resource`` when the
    disk is full or broken.
    """

    def __init__(self, folder: Path, *, max_bytes: int = 16 << 30, segment_bytes: int = _SEGMENT_BYTES) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self._segment_bytes = max(1 << 16, min(segment_bytes, max_bytes // 8))
        self._writing = threading.RLock()  # whoever changes files
        self._syncing = threading.Lock()
        self.changed = threading.Condition()  # what readers see; held for moments only
        self._folder = SpoolFolder(folder)
        self._known = KnownRelations()  # said in this session of the server
        self._resend = KnownRelations()  # said, but the transaction that said it was left out
        self._streams: dict[int, OpenStream] = {}
        self._writer: FileWriter | None = None
        self._failed: SynclineError | None = None
        self._sealed_bytes = 0
        self._session_start = 0
        self.segments: list[Segment] = []
        self.error: SynclineError | None = None
        self.closed = False
        self.read_to = (0, 0)  #: the furthest place that any cursor has given out, also within a transaction
        try:
            with self._disk():
                found, self._durable = recover(self._folder)
                self._have(found)
                self._dirty = [each for each in self.segments if each.sequence >= self._folder.durable.sequence]
                self._dirty_names = True
                self._end = self._written = self.segments[-1].end if self.segments else 0
                if self.segments:
                    self._begin_segment(self._end)
        except BaseException:
            self._folder.close()
            raise

    # -- where it stands -------------------------------------------------------------------------------------------

    @property
    def identity(self) -> str:
        """A UUID; another one after :meth:`reset` or when the folder was lost."""
        return str(self._folder.identity)

    @property
    def empty(self) -> bool:
        """Nothing was ever put in (or all of it was lost): :meth:`reset` says where it begins."""
        return not self.segments

    @property
    def begin(self) -> int:
        """The lowest LSN from which a cursor can read."""
        return self.segments[0].start if self.segments else 0

    @property
    def end(self) -> int:
        """Every transaction with a commit LSN below is in the spool, as far as it was to be received."""
        return self._end

    @property
    def durable(self) -> int:
        """Every transaction with a commit LSN below is on disk and survives a power cut."""
        return self._durable

    @property
    def bytes(self) -> int:
        """What the files take, with those of transactions that are not committed yet."""
        with self.changed:
            return self._sealed_bytes + (self.segments[-1].file_bytes if self.segments else 0) + self.stream_bytes

    @property
    def stream_bytes(self) -> int:
        """What transactions take that are not committed yet; :meth:`keep` cannot free it."""
        return sum(each.file_bytes for each in list(self._streams.values()))

    @property
    def full(self) -> bool:
        return self.bytes >= self.max_bytes

    def bytes_below(self, lsn: int) -> int:
        """What :meth:`keep` of this LSN would free."""
        with self.changed:
            return sum(each.file_bytes for each in self.segments if each.end <= lsn)

    def wait_for_room(self, timeout: float) -> bool:
        """Whether an eighth is free again, waiting for it at most ``timeout`` seconds."""
        with self.changed:
            return self.changed.wait_for(lambda: self.bytes <= self.max_bytes // 8 * 7, timeout)

    # -- writing ---------------------------------------------------------------------------------------------------

    def reset(self, lsn: int) -> None:
        """Give up all content and begin at ``lsn`` as another spool. Not while a cursor or a receiver uses it."""
        with self._writing, self._disk():
            self.abandon_streams()
            if self._writer is not None:
                self._writer.close()
                self._writer = None
            former, self._failed = self.segments, None
            for each in former:
                each.path.unlink(missing_ok=True)
            self._folder.renew()
            self._have([])
            self._dirty = []
            with self.changed:
                self._end = self._written = self._durable = lsn
            self._known.clear()
            self._resend.clear()
            self._begin_segment(lsn)
        self._sync()  # where it begins must not be lost

    def begin_session(self) -> None:
        """The server begins anew to say its relations and to send streamed transactions that are not committed."""
        with self._writing:
            self.abandon_streams()
            self._known.clear()
            self._resend.clear()
            self._session_start = self._end

    def append(self, frames: Any, end: int, *, relations: Frames = b"", dropped_relations: Frames = b"") -> None:
        """Whole ordinary transactions, in commit order; after them every transaction below ``end`` is here.
        ``relations`` are the Relation and Type messages among them once more, ``dropped_relations`` those of known
        transactions that were left out before. Without frames it only says how far the log has been read: cheap, and
        cursors hear of it when they have waited their time. OSErrors become ``resource``; nothing is appended then."""
        with self._writing, self._disk():
            if dropped_relations:
                self._resend.take(dropped_relations)
            if not len(frames):
                if end > self._end:
                    with self.changed:
                        self._end = end
                return
            self._make_room(len(frames))
            self._write_resent()
            kind = Kind.DESCRIBED if relations else Kind.ORDINARY
            self._write(kind, self._end, max(end, self._end), frames)
            self._known.take(relations)

    def write_stream(self, xid: int, frames: Any, relations: Frames = b"") -> None:
        """A block of a streamed transaction, in streamed form."""
        with self._writing, self._disk():
            stream = self._streams.get(xid)
            if stream is None:
                stream = self._streams[xid] = OpenStream(self._folder, xid)
            stream.write(frames, relations)

    def abort_stream(self, xid: int, subxid: int) -> None:
        """A subtransaction was rolled back, or (both the same) all of it."""
        with self._writing:
            if xid == subxid:
                if stream := self._streams.pop(xid, None):
                    stream.discard()
            elif stream := self._streams.get(xid):
                stream.aborted.add(subxid)

    def abandon_streams(self) -> None:
        """Forget the streamed transactions that are not committed: the server sends them again."""
        with self._writing:
            for stream in self._streams.values():
                stream.discard()
            self._streams.clear()

    def commit_stream(self, header: TransactionHeader) -> None:
        """A streamed transaction was committed: it is the next of the log. Its file is not copied."""
        with self._writing, self._disk():
            stream = self._streams.get(header.xid) or OpenStream(self._folder, header.xid)
            relations = without_xid(bytes(stream.relations), stream.aborted)
            if header.commit_lsn < self._session_start:  # known already
                self._resend.take(relations)
                stream.discard()
            elif header.commit_lsn < self._end:
                raise SynclineError(
                    ErrorKind.INTERNAL,
                    "the server sent a transaction that lies before what it had sent already",
                    hint="this is a defect: please report it with the server's version",
                    where={"xid": header.xid, "commit": header.commit_lsn, "received": self._end},
                )
            elif stream.in_memory and not stream.waiting:  # nothing that is published
                with self.changed:
                    self._end = max(self._end, header.end_lsn)
            else:
                head = Head(header, frozenset(stream.aborted))
                if stream.in_memory:
                    self._make_room(len(stream.waiting))
                    self._write(Kind.STREAMED, self._end, header.end_lsn, head_bytes(head), stream.waiting)
                    if relations:  # who goes on from here finds them in their ordinary form
                        self._write(Kind.DESCRIBED, self._end, self._end, relations)
                    self._known.take(relations)
                else:
                    self._adopt(stream, head, relations)
            self._streams.pop(header.xid, None)

    # -- durability and forgetting -----------------------------------------------------------------------------------

    def sync(self) -> int:
        """Bring everything to disk; gives the LSN up to which it is. Takes as long as the disk does."""
        lsn = self._sync()
        # All below is on disk; from here on, and not before, the source may be told.
        failpoint("log.synced")
        return lsn

    def _sync(self) -> int:
        with self._syncing:
            with self._writing, self._disk():
                self._check()
                if not self.segments:
                    return self._durable
                self._make_room(0)
                if self._end > self._written:
                    self._write(Kind.ORDINARY, self._end, self._end)
                active, lsn = self.segments[-1], self._end
                mark = Durable(sequence=active.sequence, offset=active.size, lsn=lsn)
                if lsn == self._durable and not self._dirty:
                    return lsn
                dirty, self._dirty = self._dirty, []
                names, self._dirty_names = self._dirty_names, False
            try:
                for each in dirty:
                    with suppress(FileNotFoundError):  # kept no more
                        _fsync(each.path)
                if names:
                    self._folder.sync()
                self._folder.durable = mark
            except OSError as error:
                # The kernel may have dropped what it could not write: nothing that is asked now can be believed.
                self._failed = disk_error(error, self.folder)
                raise self._failed from error
            self._durable = lsn
            return lsn

    def keep(self, lsn: int) -> None:
        """No cursor will ask for a transaction below ``lsn``: files that hold nothing else are deleted."""
        with self._writing, self._disk():
            if not self.segments:
                return
            active = self.segments[-1]
            if active.end <= lsn and not active.empty and (active.size > self._segment_bytes // 4 or self.full):
                self._rotate()
            while len(self.segments) > 1 and self.segments[0].end <= lsn:
                gone = self.segments[0]
                gone.path.unlink(missing_ok=True)
                self._have(self.segments[1:])
                self._dirty = [each for each in self._dirty if each is not gone]

    def cursor(self, start: int) -> SpoolCursor:
        """Reads from ``start`` on: every transaction with a commit LSN from there. ``conflict`` when the spool begins
        later."""
        return SpoolCursor(self, start)

    def fail(self, error: SynclineError | None) -> None:
        """Nothing more will come, because of this: cursors raise it when they have given out everything. None: it
        goes on again."""
        with self.changed:
            self.error = error
            self.changed.notify_all()

    def close(self) -> None:
        """Close the files and give the folder free; cursors raise. Nothing is fsynced. May be called twice."""
        with self._writing:
            if self.closed:
                return
            self.abandon_streams()
            if self._writer is not None:
                self._writer.close()
                self._writer = None
            with self.changed:
                self.closed = True
                self.changed.notify_all()
            self._folder.close()

    # -- files -------------------------------------------------------------------------------------------------------

    def _write(self, kind: Kind, start: int, end: int, *payload: Any) -> None:
        self._check()
        assert self._writer is not None
        self._writer.append(kind, start, end, *payload)
        active = self.segments[-1]
        if not self._dirty or self._dirty[-1] is not active:
            self._dirty.append(active)
        self._written = max(self._written, end)
        with self.changed:
            active.size = active.file_bytes = self._writer.size
            active.end = self._end = max(self._end, end)
            self.changed.notify_all()

    def _write_resent(self) -> None:
        if self._resend:
            frames = self._resend.frames()
            self._write(Kind.DESCRIBED, self._end, self._end, frames)
            self._known.take(frames)
            self._resend.clear()

    def _make_room(self, more: int) -> None:
        self._check()
        if self._writer is None:  # the disk was full when the last file was sealed
            self._begin_segment(self.segments[-1].end)
        active = self.segments[-1]
        if not active.empty and active.size + more > self._segment_bytes:
            self._rotate()

    def _rotate(self) -> None:
        self._seal()
        self._begin_segment(self.segments[-1].end)

    def _seal(self) -> None:
        """The active file is whole: nothing more comes into it."""
        active = self.segments[-1]
        if self._writer is None:
            return
        self._writer.seal(active.start, self._end, None)
        with self.changed:
            active.end, active.sealed, active.file_bytes = self._end, True, self._writer.size
        if active not in self._dirty:
            self._dirty.append(active)
        self._writer.close()
        self._writer = None

    def _begin_segment(self, start: int) -> None:
        sequence = self.segments[-1].sequence + 1 if self.segments else 1
        segment = Segment(sequence, self._folder.segment_path(sequence), start)
        writer = FileWriter(segment.path, self._folder.identity.bytes, sequence, start)
        try:
            if self._known:
                writer.append(Kind.DESCRIBED, start, start, self._known.frames())
        except OSError:
            writer.close()
            segment.path.unlink(missing_ok=True)
            raise
        segment.size = segment.file_bytes = writer.size
        self._writer = writer
        self._dirty.append(segment)
        self._dirty_names = True
        self._have([*self.segments, segment])

    def _adopt(self, stream: OpenStream, head: Head, relations: Frames) -> None:
        """The file of a streamed transaction becomes the next of the log."""
        self._check()
        writer = stream.flush()
        self._seal()
        start, end, size = self.segments[-1].end, head.header.end_lsn, writer.size
        writer.seal(start, end, head)
        sequence = self.segments[-1].sequence + 1
        segment = Segment(sequence, self._folder.segment_path(sequence), start)
        segment.end, segment.head, segment.sealed = end, head, True
        segment.size, segment.file_bytes = size, writer.size
        writer.path.rename(segment.path)
        writer.close()
        self._dirty.append(segment)
        self._known.take(relations)
        self._have([*self.segments, segment])
        with self.changed:
            self._end = self._written = end
        self._begin_segment(end)

    def _have(self, segments: list[Segment]) -> None:
        with self.changed:
            self.segments = segments
            self._sealed_bytes = sum(each.file_bytes for each in segments[:-1])
            self.changed.notify_all()

    def _check(self) -> None:
        if self.closed:
            raise SynclineError(ErrorKind.INTERNAL, "the spool is closed", where={"path": str(self.folder)})
        if self._failed is not None:
            raise self._failed

    @contextmanager
    def _disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise disk_error(error, self.folder) from error


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
