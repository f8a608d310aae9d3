"""The stream of events that a server sends to a replica: asking for it, and taking events from the socket."""

from __future__ import annotations

import random
import select
import socket
import ssl
import struct
import time

import pymysql

from syncline.connectors.mysql.changes.position import BinlogPlace
from syncline.connectors.mysql.config import BinaryLog, MySqlSourceConfig
from syncline.connectors.mysql.connection import open_session
from syncline.connectors.mysql.errors import mysql_error
from syncline.core.errors import ErrorKind, SynclineError

__all__ = ["EventStream"]

_REGISTER_SLAVE, _BINLOG_DUMP = 21, 18
#: The server sends a heartbeat on a quiet log this often; without any for so long it is not there any more.
_HEARTBEAT_SECONDS, _SILENCE_SECONDS = 5, 60
_CHUNK = 1 << 20
_WHOLE_PACKET = 0xFFFFFF
_PURGED = 1236


class EventStream:
    """One connection that reads the log from a place on. Used by one thread."""

    def __init__(self, config: MySqlSourceConfig, log: BinaryLog, place: BinlogPlace, number: int) -> None:
        """``number`` tells the readers of one run apart: each replica needs a server id of its own."""
        self._session = open_session(config, database=False)
        self._place = place
        try:
            self._session.do(
                # That we know checksums; they come as they are in the file, and the reader leaves them out.
                "SET @master_binlog_checksum = @@global.binlog_checksum",
                "SET @source_binlog_checksum = @@global.binlog_checksum",
                f"SET @master_heartbeat_period = {_HEARTBEAT_SECONDS * 10**9}",
                f"SET @source_heartbeat_period = {_HEARTBEAT_SECONDS * 10**9}",
                "SET @mariadb_slave_capability = 4",
            )
            # Nothing secret: a number that no other replica is likely to have.
            server_id = (log.server_id + number) if log.server_id else random.randrange(2**30, 2**32 - 1)  # noqa: S311
            driver = self._session.driver
            register = struct.pack("<IBBBHII", server_id, 0, 0, 0, 0, 0, 0)
            driver._execute_command(_REGISTER_SLAVE, register)
            driver._read_packet()
            dump = struct.pack("<IHI", place.offset, 0, server_id) + place.file.encode()
            driver._execute_command(_BINLOG_DUMP, dump)
            # From here on the server only talks. The driver reads whole packets or waits; we take what is there.
            self._socket: socket.socket = driver._sock
        except (pymysql.err.Error, OSError) as error:
            self._session.close()
            raise mysql_error(error) from error
        except BaseException:
            self._session.close()
            raise
        self._buffer = bytearray()
        self._taken = 0
        self._heard = time.monotonic()

    def next(self, timeout: float) -> bytes | None:
        """The next event, None when none comes in time. Raises when the connection or the log has ended."""
        until = time.monotonic() + timeout
        while (payload := self._packet()) is None:
            wait = until - time.monotonic()
            if not self._receive(max(wait, 0.0)) and wait <= 0:
                self._listen()
                return None
        head = payload[0]
        if head == 0x00:
            return bytes(payload[1:])
        if head == 0xFE:
            raise SynclineError(
                ErrorKind.TRANSIENT, "the server has ended the stream of the log", hint="it is tried again"
            )
        raise self._refused(payload)

    def _packet(self) -> bytes | None:
        """One whole packet from the buffer; those of 16 MiB are parts of one."""
        buffer, at = self._buffer, self._taken
        parts: list[bytes] = []
        while True:
            if len(buffer) - at < 4:
                return None
            length = int.from_bytes(buffer[at : at + 3], "little")
            if len(buffer) - at - 4 < length:
                return None
            parts.append(bytes(memoryview(buffer)[at + 4 : at + 4 + length]))
            at += 4 + length
            if length != _WHOLE_PACKET:
                break
        self._taken = at
        if self._taken >= _CHUNK or self._taken == len(buffer):
            del buffer[: self._taken]
            self._taken = 0
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _receive(self, wait: float) -> bool:
        """Whether anything came within the time."""
        try:
            pending = isinstance(self._socket, ssl.SSLSocket) and self._socket.pending() > 0
            if not pending and not select.select([self._socket], [], [], wait)[0]:
                return False
            data = self._socket.recv(_CHUNK)
        except (OSError, ValueError) as error:
            raise mysql_error(OSError(str(error))) from error
        if not data:
            raise SynclineError(ErrorKind.TRANSIENT, "the server has closed the log's connection", hint="tried again")
        self._buffer += data
        self._heard = time.monotonic()
        return True

    def _listen(self) -> None:
        if time.monotonic() - self._heard > _SILENCE_SECONDS:
            raise SynclineError(
                ErrorKind.TRANSIENT,
                f"nothing came from the server for {_SILENCE_SECONDS} s, not even a heartbeat",
                hint="the connection is lost; it is tried again",
            )

    def _refused(self, payload: bytes) -> SynclineError:
        number = int.from_bytes(payload[1:3], "little")
        said = payload[3:].decode("utf-8", "replace")
        if said.startswith("#"):
            said = said[6:]
        if number == _PURGED:
            return SynclineError(
                ErrorKind.CONFLICT,
                f"the server cannot give the binary log from {self._place.file}:{self._place.offset} on: {said}",
                hint="what lay there was purged or is another log: copy anew (syncline state reset FILE), and keep the "
                "log longer (binlog_expire_logs_seconds)",
            )
        return mysql_error(pymysql.err.OperationalError(number, said))

    def close(self) -> None:
        self._session.close()
