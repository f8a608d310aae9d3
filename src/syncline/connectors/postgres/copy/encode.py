"""Arrow batches into ``COPY t (…) FROM STDIN (FORMAT binary)``.

The compiled encoder writes rows from Arrow buffers without a Python object per row; without it a pure Python one gives
the same bytes, slower. Called by the Postgres destination.

    columns = [EncodeColumn(name="id", encoder="int8"), …]           # encoder_for() finds the encoder
    bad = find_unencodable(batch, columns)                          # rows to set aside before
    writer = CopyWriter(connection, statement, columns)
    writer.write(batch); …; rows = writer.finish()
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol, Self

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from psycopg import sql
from psycopg.waiting import READY_R, READY_W, WAIT_RW, WAIT_W

from syncline.connectors.postgres.copy.encode_fallback import PythonEncoder
from syncline.connectors.postgres.copy.encode_native import NativeEncoder, native_library
from syncline.connectors.postgres.copy.encode_plan import EncodeColumn, Reason, compile_plan, encoder_for
from syncline.connectors.postgres.errors import postgres_errors
from syncline.core.batch import Misfit
from syncline.core.errors import ErrorKind, SynclineError

if TYPE_CHECKING:
    from psycopg.abc import PQGen
    from psycopg.pq.abc import PGconn

__all__ = ["BatchCoder", "CellProblem", "CopyWriter", "EncodeColumn", "encode_batch", "encoder_for", "find_unencodable"]

#: A cell that Postgres cannot hold. The row is of the batch; the text is what people would read in quarantine.
CellProblem = Misfit

SIGNATURE = b"PGCOPY\n\xff\r\n\0"
HEADER = SIGNATURE + bytes(8)  # no flags, no extension
TRAILER = b"\xff\xff"

# 1 MiB: fewer and larger sends cost the client less (2.0 s of CPU for 1.1 GB against 2.3 s with 256 KiB); libpq holds
# one copy of it.
_CHUNK = 1024 * 1024
_GATHER = 64 * 1024  # relayed pieces smaller than this are joined before they are sent
_EVERYTHING = 1 << 62
_HINT = "compare the destination table with the columns of the stream, or run again"


class BatchEncoder(Protocol):
    """The native encoder and the pure Python one."""

    def bind(self, batch: pa.RecordBatch) -> None: ...

    def rows(self, start: int, target: int) -> tuple[int, memoryview, tuple[int, int, int] | None]: ...

    def check(self, column: int) -> list[tuple[int, int]]: ...


class BatchCoder:
    """Looks through and encodes batches of one kind, one after the other; the plan is made for the first. Used by one
    thread."""

    def __init__(self, columns: Sequence[EncodeColumn]) -> None:
        self._columns = tuple(columns)
        self._schema: pa.Schema | None = None
        self._encoder: BatchEncoder | None = None
        self._indices: Sequence[int] = ()

    def encode(self, batch: pa.RecordBatch) -> bytes:
        """The batch as tuples of COPY BINARY, without the file's header and trailer.

        Raises ``data`` for a cell that does not fit (row, column, reason), ``schema`` for a column of the wrong type.
        """
        batch = _plain(batch)
        _, data, problem = self._bound(batch).rows(0, _EVERYTHING)
        if problem is not None:
            raise _cell_error(batch, self._columns, problem)
        return bytes(data)

    def unencodable(self, batch: pa.RecordBatch) -> list[CellProblem]:
        """Cells that :meth:`encode` would refuse, and those that the server would refuse in the middle of a COPY:
        U+0000 and broken UTF-8 in text, ``\\u0000`` and half surrogate pairs in jsonb. Sorted by row, then by column.

        Costs little where nothing is wrong. What only the server knows (constraints, the syntax of JSON) is not looked
        for.
        """
        batch = _plain(batch)
        encoder = self._bound(batch)
        found = [(row, at, reason) for at in range(len(self._columns)) for row, reason in encoder.check(at)]
        return [
            CellProblem(
                row=row,
                column=self._columns[position].name,
                text=_cell_text(batch.column(self._indices[position]), row),
                reason=Reason(reason).text,
            )
            for row, position, reason in sorted(found)
        ]

    def _bound(self, batch: pa.RecordBatch) -> BatchEncoder:
        if self._encoder is None or self._schema != batch.schema:
            self._schema, self._encoder = batch.schema, _encoder(batch.schema, self._columns)
            _, self._indices = compile_plan(batch.schema, self._columns)
        self._encoder.bind(batch)
        return self._encoder


def encode_batch(batch: pa.RecordBatch, columns: Sequence[EncodeColumn]) -> bytes:
    """See :meth:`BatchCoder.encode`."""
    return BatchCoder(columns).encode(batch)


def find_unencodable(batch: pa.RecordBatch, columns: Sequence[EncodeColumn]) -> list[CellProblem]:
    """See :meth:`BatchCoder.unencodable`."""
    return BatchCoder(columns).unencodable(batch)


class CopyWriter:
    """One ``COPY … FROM STDIN (FORMAT binary)`` into one table on one connection, in the connection's transaction.

    ``copy_statement`` names the columns in the order of ``columns``. A method that raises has ended the COPY: nothing
    of it stays, and the transaction must be rolled back. As a context manager it aborts when the block ends without
    :meth:`finish`. Used by one thread.
    """

    def __init__(
        self,
        connection: psycopg.Connection[Any],
        copy_statement: sql.Composable,
        columns: Sequence[EncodeColumn],
    ) -> None:
        self._connection = connection
        self._columns = tuple(columns)
        self._schema: pa.Schema | None = None
        self._encoder: BatchEncoder | None = None
        self._open = False
        self._started = False  # our header is out
        # Inside a relayed stream: what has not been sent, at least the last two bytes, which may be the trailer.
        self._relay: bytearray | None = None
        self._relay_head = b""
        with postgres_errors(hint=_HINT):
            if connection.info.encoding != "utf-8":
                # Arrow text is UTF-8; in another client encoding the server would misread it without a word.
                connection.execute("SET client_encoding TO 'UTF8'")
            self._cursor = connection.cursor()
            self._context = self._cursor.copy(copy_statement.as_bytes(connection))
            self._copy = self._context.__enter__()
        self._open = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.abort()

    def write(self, batch: pa.RecordBatch) -> None:
        """Send a batch. Raises ``data`` for a cell that does not fit."""
        with self._or_abort():
            self._end_relay()
            batch = _plain(batch)
            if self._encoder is None or self._schema != batch.schema:
                self._schema, self._encoder = batch.schema, _encoder(batch.schema, self._columns)
            self._encoder.bind(batch)
            self._start()
            row = 0
            while row < batch.num_rows:
                row, data, problem = self._encoder.rows(row, _CHUNK)
                if problem is not None:
                    raise _cell_error(batch, self._columns, problem)
                self._send(data)

    def write_raw(self, chunk: memoryview | bytes) -> None:
        """Relay bytes of a COPY BINARY stream as another COPY gave them, in pieces of any size. The stream's own header
        and trailer are taken off; :meth:`end_raw` ends it, after which another may follow."""
        with self._or_abort():
            data = memoryview(chunk).cast("B")
            if self._relay is None:
                head = self._relay_head + bytes(data[: len(HEADER) - len(self._relay_head)])
                data = data[len(head) - len(self._relay_head) :]
                self._relay_head = head
                if len(head) < len(HEADER):
                    return
                if head != HEADER:
                    raise SynclineError(ErrorKind.INTERNAL, "the relayed bytes do not start as COPY BINARY does")
                self._start()
                self._relay, self._relay_head = bytearray(), b""
            if len(self._relay) + len(data) < _GATHER:
                self._relay += data
                return
            if len(data) < len(TRAILER):
                data = memoryview(bytes(self._relay) + bytes(data))
            else:
                self._send(bytes(self._relay))
            stop = len(data) - len(TRAILER)
            self._relay = bytearray(data[stop:])
            for at in range(0, stop, _CHUNK):
                self._send(data[at : min(at + _CHUNK, stop)])

    def end_raw(self) -> None:
        """The relayed stream is over. Raises ``internal`` when it does not end as a whole stream does."""
        with self._or_abort():
            if self._relay is None or not self._relay.endswith(TRAILER) or self._relay_head:
                raise SynclineError(
                    ErrorKind.INTERNAL, "the relayed COPY BINARY stream ended early", hint="read the partition again"
                )
            rest, self._relay = bytes(self._relay[: -len(TRAILER)]), None
            self._send(rest)

    def finish(self) -> int:
        """End the COPY; returns the rows that the server has taken. Raises what the server found wrong."""
        with self._or_abort():
            self._end_relay()
            self._start()
            self._send(TRAILER)
            self._open = False
            with postgres_errors(hint=_HINT):
                self._context.__exit__(None, None, None)
        return self._cursor.rowcount

    def abort(self) -> None:
        """Make the server forget the COPY, if it is not over. The transaction is failed afterwards: roll it back."""
        if not self._open:
            return
        self._open = False
        with contextlib.suppress(_AbortedError, psycopg.Error):
            self._context.__exit__(_AbortedError, _AbortedError("the writer gave up"), None)

    @contextlib.contextmanager
    def _or_abort(self) -> Iterator[None]:
        """A connection that stays inside a COPY takes no other statement, not even ROLLBACK."""
        try:
            yield
        except BaseException:
            self.abort()
            raise

    def _start(self) -> None:
        if not self._started:
            self._started = True
            with postgres_errors(hint=_HINT):
                self._copy.write(HEADER)  # through psycopg, which otherwise adds its own header and trailer at the end

    def _end_relay(self) -> None:
        if self._relay is not None or self._relay_head:
            self.end_raw()

    def _send(self, data: memoryview | bytes) -> None:
        if not data:
            return
        with postgres_errors(hint=_HINT):
            if self._connection.wait(_sending(self._connection.pgconn, data)):
                # The COPY has failed already; what follows would be sent for nothing. Ending it brings the error.
                self._open = False
                self._context.__exit__(None, None, None)


class _AbortedError(Exception):
    """Carries an abort through psycopg's context manager."""


def _sending(pgconn: PGconn, data: memoryview | bytes) -> PQGen[bool]:
    """Hand ``data`` to libpq and wait until the kernel has it. True when the server has sent an error meanwhile: libpq
    itself would keep that to itself until the end of the COPY."""
    while pgconn.put_copy_data(data) == 0:
        while not (yield WAIT_W):
            continue
    while True:
        ready = yield WAIT_RW
        if ready & READY_R:
            if _next_byte(pgconn.socket) == b"E":
                return True
            pgconn.consume_input()
        if ready & READY_W and pgconn.flush() == 0:
            return False


def _next_byte(descriptor: int) -> bytes:
    """The first unread byte: the kind of the server's next message, or something else on an encrypted connection."""
    try:
        with socket.socket(fileno=os.dup(descriptor)) as peeking:
            return peeking.recv(1, socket.MSG_PEEK)
    except OSError:
        return b""


def _encoder(schema: pa.Schema, columns: Sequence[EncodeColumn]) -> BatchEncoder:
    nodes, indices = compile_plan(schema, columns)
    library = native_library()
    if library is not None:
        return NativeEncoder(library, nodes, indices)
    return PythonEncoder(nodes, indices)


def _plain(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch without run-end encoding, which is rare and costs one copy here."""
    if not any(pa.types.is_run_end_encoded(kind) for kind in batch.schema.types):
        return batch
    arrays = [pc.run_end_decode(a) if pa.types.is_run_end_encoded(a.type) else a for a in batch.columns]
    return pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)


def _cell_error(batch: pa.RecordBatch, columns: Sequence[EncodeColumn], problem: tuple[int, int, int]) -> SynclineError:
    row, column, reason = problem
    where = {"row": row, "column": columns[column].name if column >= 0 else None}
    return SynclineError(
        ErrorKind.DATA, Reason(reason).text, hint="set the row aside or change the column's type", where=where
    )


def _cell_text(column: pa.Array, row: int) -> str:
    """The value for people; bytes that are not UTF-8 as escapes, values outside Python's range of dates as numbers."""
    value = column[row]
    kind = value.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return str(value.as_buffer().to_pybytes(), "utf-8", "backslashreplace")
    try:
        return str(pc.cast(value, pa.string()).as_py())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, UnicodeDecodeError):
        return str(value)
