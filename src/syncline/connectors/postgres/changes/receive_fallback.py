"""The receiving end in Python: what ``_receive.c`` does, where that was not compiled. Also says what both mean.

Formats: PostgreSQL documentation, "Streaming Replication Protocol" (XLogData ``w``, primary keepalive ``k``) and
"Logical Replication Message Formats". All integers are big-endian.
"""

from __future__ import annotations

import enum
import select
import struct
import time

import psycopg

__all__ = ["PythonReceiver", "Status"]

_CHANGES = frozenset(b"IUDTMRY")
_RELATIONS = frozenset(b"RY")
_XLOG_DATA = struct.Struct(">cQQq")
_KEEPALIVE = struct.Struct(">cQqB")
_BEGIN = struct.Struct(">cQqI")
_COMMIT = struct.Struct(">cBQQq")
_STREAM_COMMIT = struct.Struct(">cIBQQq")
_STREAM_ABORT = struct.Struct(">cII")
_U32, _U64 = struct.Struct(">I"), struct.Struct(">Q")
_BEGIN_FRAME = _BEGIN.size + 4
#: As in _receive.c, there in detail: how long to rest between two looks when very many messages come.
_WINDOW, _SOME_PER_MS, _MANY_PER_MS, _LONGEST_MS = 0.002, 10, 40, 10


class Status(enum.IntEnum):
    """What a call ended with; ``enum status`` of ``_receive.c``. Whatever it is, ``frames`` and then ``block`` may hold
    something that belongs before it."""

    IDLE = 0  #: nothing came for a while, or only news of the position
    DATA = 1  #: whole transactions lie in ``frames``
    BLOCK = 2  #: a part of the streamed transaction ``block_xid`` lies in ``block``
    COMMIT = 3  #: the streamed transaction ``xid`` was committed
    ABORT = 4  #: the subtransaction ``subxid`` of ``xid`` was rolled back, or all of it when both are the same
    REPLY = 5  #: the server wants to hear from us at once
    WOKEN = 6  #: the ``wake`` descriptor is readable
    SERVER_ENDED = 7  #: the server has something to say (an error, or good-bye)
    CONNECTION = 8  #: libpq has something to say
    MALFORMED = 9  #: a message that the protocol does not have here
    MEMORY = 10


class PythonReceiver:
    """Takes messages of one replication session apart. Used by one thread.

    ``frames`` holds whole ordinary transactions, up to ``position``; ``relations`` the Relation and Type messages among
    them once more, as frames; ``dropped_relations`` those of transactions that were known already (their commit LSN is
    below the first position). After writing them down call :meth:`clear`. ``block`` holds a part of the streamed
    transaction ``block_xid`` in streamed form; then :meth:`clear_block`. An ordinary transaction of more than
    ``spill_bytes`` is given as a streamed one. ``xid``, ``subxid``, ``commit_lsn``, ``end_lsn`` and ``committed_at``
    belong to ``COMMIT`` and ``ABORT``. ``server_end`` is the last LSN that the server named.
    """

    def __init__(self, *, target_bytes: int, spill_bytes: int, position: int) -> None:
        self.position = position
        self.server_end = self.messages = self.bytes = 0
        self.block_xid = self.xid = self.subxid = self.commit_lsn = self.end_lsn = self.committed_at = 0
        self._target, self._spill, self._skip_below = target_bytes, spill_bytes, position
        self._main, self._whole, self._relations_whole = bytearray(), 0, 0
        self._block = bytearray()
        self._relations, self._block_relations, self._dropped_relations = bytearray(), bytearray(), bytearray()
        self._open = self._streaming = self._spilled = self._dropping = self._dead = False
        self._open_lsn = self._open_xid = 0
        self._announced = position
        self._count, self._window = 0, time.monotonic()
        self._pause = self._rest = 0

    def read(self, connection: psycopg.Connection[tuple[object, ...]], wake: int, timeout_ms: int) -> Status:
        """Take messages until there is something to do; wait at most ``timeout_ms`` or until ``wake`` is readable.
        Raises psycopg's error where libpq does."""
        pgconn = connection.pgconn
        rest, self._rest = self._rest, 0
        if rest and _wait([wake], rest):
            return Status.WOKEN
        waited = False
        while True:
            try:
                length, message = pgconn.get_copy_data(1)
                if length == 0 and not self._dead:
                    try:
                        pgconn.consume_input()
                    except psycopg.OperationalError:
                        self._dead = True  # the server's last words may be in the buffer
                    length, message = pgconn.get_copy_data(1)
            except psycopg.OperationalError:
                return Status.CONNECTION
            if length > 0:
                self._count += 1
                status = self.feed(bytes(message))
                if status is not Status.IDLE:
                    return status
                continue
            if length < 0:
                return Status.SERVER_ENDED
            if self._dead:
                return Status.CONNECTION
            self._adapt()
            if self._whole:
                self._rest = self._pause
                return Status.DATA
            if waited:
                return Status.IDLE
            if self._pause:
                if _wait([wake], self._pause):
                    return Status.WOKEN
                continue
            moved = self.position > self._announced
            ready = _wait([wake, pgconn.socket], min(timeout_ms, 100) if moved else timeout_ms)
            if wake in ready:
                return Status.WOKEN
            if not ready:
                self._announced = self.position
                waited = True

    def feed(self, message: bytes) -> Status:
        """Take one CopyData message."""
        self.messages += 1
        self.bytes += len(message)
        try:
            if message[:1] == b"w":
                end = _XLOG_DATA.unpack_from(message)[2]
                self.server_end = max(self.server_end, end)
                status = self._output(message[_XLOG_DATA.size :])
            elif message[:1] == b"k":
                _, end, _, reply = _KEEPALIVE.unpack_from(message)
                self.server_end = max(self.server_end, end)
                if not self._open:
                    self.position = max(self.position, end)
                return Status.REPLY if reply else Status.IDLE
            else:
                return Status.MALFORMED
        except (struct.error, IndexError):
            return Status.MALFORMED
        return Status.DATA if status is Status.IDLE and self._whole >= self._target else status

    @property
    def frames(self) -> memoryview:
        return memoryview(bytes(self._main[: self._whole]))

    @property
    def relations(self) -> bytes:
        return bytes(self._relations[: self._relations_whole])

    @property
    def dropped_relations(self) -> bytes:
        return bytes(self._dropped_relations)

    @property
    def block(self) -> memoryview:
        return memoryview(bytes(self._block))

    @property
    def block_relations(self) -> bytes:
        return bytes(self._block_relations)

    def clear(self) -> None:
        """``frames`` are written down: keep what follows them."""
        del self._main[: self._whole]
        del self._relations[: self._relations_whole]
        self._whole = self._relations_whole = 0
        self._dropped_relations.clear()

    def clear_block(self) -> None:
        self._block.clear()
        self._block_relations.clear()

    def close(self) -> None:
        """Nothing to give back."""

    def _output(self, message: bytes) -> Status:
        match message[:1]:
            case b"B":
                _, self._open_lsn, _, self._open_xid = _BEGIN.unpack_from(message)
                if self._open or self._streaming:
                    return Status.MALFORMED
                self._open, self._spilled = True, False
                self._dropping = self._open_lsn < self._skip_below
                if not self._dropping:
                    if self._open_lsn < self.position:
                        return Status.MALFORMED  # commits come in order, else the position would be wrong
                    _frame(self._main, message)
                return Status.IDLE
            case b"C":
                return self._commit(message)
            case b"S":
                if self._open or self._streaming or len(message) < 6:
                    return Status.MALFORMED
                self._streaming, self.block_xid = True, _U32.unpack_from(message, 1)[0]
                return Status.IDLE
            case b"E":
                if not self._streaming:
                    return Status.MALFORMED
                self._streaming = False
                return Status.BLOCK if self._block else Status.IDLE
            case b"c":
                if self._open or self._streaming:
                    return Status.MALFORMED
                _, self.xid, _, self.commit_lsn, self.end_lsn, self.committed_at = _STREAM_COMMIT.unpack_from(message)
                return Status.COMMIT
            case b"A":
                if self._open or self._streaming:
                    return Status.MALFORMED
                _, self.xid, self.subxid = _STREAM_ABORT.unpack_from(message)
                return Status.ABORT
            case _:
                return self._streamed(message) if self._streaming else self._ordinary(message)

    def _commit(self, message: bytes) -> Status:
        _, _, lsn, end, committed_at = _COMMIT.unpack_from(message)
        if not self._open or lsn != self._open_lsn:
            return Status.MALFORMED
        self._open = False
        if self._spilled:
            self._spilled = False
            self.xid, self.commit_lsn, self.end_lsn, self.committed_at = self._open_xid, lsn, end, committed_at
            return Status.COMMIT
        if not self._dropping:
            if len(self._main) - self._whole == _BEGIN_FRAME:
                del self._main[self._whole :]  # nothing happened
            else:
                _frame(self._main, message)
            self._whole, self._relations_whole = len(self._main), len(self._relations)
        self._dropping = False
        self.position = max(self.position, end)
        return Status.IDLE

    def _ordinary(self, message: bytes) -> Status:
        kind = message[0]
        if kind == ord("M") and not self._open:
            lsn = _U64.unpack_from(message, 2)[0]
            if lsn >= self._skip_below:
                _frame(self._main, message)
                self._whole = len(self._main)
                self.position = max(self.position, lsn)
            return Status.IDLE
        if not self._open or (kind not in _CHANGES and kind != ord("O")):
            return Status.MALFORMED
        if self._dropping:
            if kind in _RELATIONS:
                _frame(self._dropped_relations, message)
            return Status.IDLE
        if self._spilled:
            self._put_streamed(message)
            return Status.BLOCK if len(self._block) >= self._target else Status.IDLE
        _frame(self._main, message)
        if kind in _RELATIONS:
            _frame(self._relations, message)
        return self._spill_over() if len(self._main) - self._whole > self._spill else Status.IDLE

    def _spill_over(self) -> Status:
        at = self._whole
        while at < len(self._main):
            length = _U32.unpack_from(self._main, at)[0]
            self._put_streamed(bytes(self._main[at + 4 : at + 4 + length]))
            at += 4 + length
        del self._main[self._whole :]
        del self._relations[self._relations_whole :]
        self.block_xid, self._spilled = self._open_xid, True
        return Status.BLOCK

    def _put_streamed(self, message: bytes) -> None:
        if message[0] not in _CHANGES:
            return
        streamed = message[:1] + _U32.pack(self._open_xid) + message[1:]
        _frame(self._block, streamed)
        if message[0] in _RELATIONS:
            _frame(self._block_relations, streamed)

    def _streamed(self, message: bytes) -> Status:
        if message[:1] == b"O":
            return Status.IDLE
        if message[0] not in _CHANGES or len(message) < 9:
            return Status.MALFORMED
        _frame(self._block, message)
        if message[0] in _RELATIONS:
            _frame(self._block_relations, message)
        return Status.BLOCK if len(self._block) >= self._target else Status.IDLE

    def _adapt(self) -> None:
        now = time.monotonic()
        elapsed = now - self._window
        if elapsed < _WINDOW and not self._pause:
            return
        rate = self._count / max(1e-6, elapsed) / 1000
        if rate >= _MANY_PER_MS:
            self._pause = min(_LONGEST_MS, 2 * self._pause) if self._pause else 1
        else:
            self._pause = 1 if rate >= _SOME_PER_MS else 0
        self._count, self._window = 0, now


def _frame(buffer: bytearray, message: bytes) -> None:
    buffer += _U32.pack(len(message))
    buffer += message


def _wait(descriptors: list[int], timeout_ms: int) -> list[int]:
    """Which of them are readable; poll, since select knows no descriptor above 1023."""
    poll = select.poll()
    for each in descriptors:
        poll.register(each, select.POLLIN)
    return [each for each, _ in poll.poll(timeout_ms)]
