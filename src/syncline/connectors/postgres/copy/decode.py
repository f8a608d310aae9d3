"""COPY … TO STDOUT (FORMAT binary) as Arrow batches, or as undecoded bytes.

    with CopyReader(connection, query, columns) as reader:
        for decoded in reader:
            use(decoded.batch, decoded.exceptions)

The work is done in the caller's thread, by C without the GIL where the extension was built, else by numpy
(``decode_fallback.py``); both give the same batches. Called by the Postgres source, one reader per partition.

Errors: psycopg's own for what the server or libpq says, also in the middle of the stream; ``schema`` for bytes that are
not of the expected types; ``resource`` for a row that no batch can hold. Whoever iterates has everything only when the
iteration ends without an error: the count of rows is then that of the server.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Self

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.sql import SQL, Composable

from syncline.connectors.postgres.copy.cell_text import MalformedError, cell_text
from syncline.connectors.postgres.copy.decode_fallback import Misfit, PythonDecoder, TooLargeError
from syncline.connectors.postgres.copy.decode_native import NativeDecoder, NativeRelay, Status, native_library
from syncline.connectors.postgres.copy.layouts import (
    REASONS,
    CellException,
    CopyColumn,
    DecodedBatch,
    Layout,
    layout_of,
    schema_of,
)
from syncline.connectors.postgres.copy.libpq import connection_pointer, copy_failure, libpq
from syncline.connectors.postgres.silence import Silence
from syncline.core.errors import ErrorKind, SynclineError

__all__ = ["CellException", "CopyColumn", "CopyReader", "DecodedBatch", "RawCopyReader", "native_available"]

_BATCH_BYTES = 16 << 20
_CHUNK_BYTES = 1 << 20
_TRAILER = b"\xff\xff"
#: Arrow's offsets within a batch are 32 bits wide.
_MOST_ROWS = 2**31 - 64
_MOST_BYTES = 1 << 30
#: How often a silent server lets Python look at signals.
_IDLE_MS = 100


def native_available() -> bool:
    """Whether the readers run compiled: the extension is there, not forbidden, and psycopg's libpq is reachable."""
    return native_library() is not None and libpq() is not None


class _Abandoned(Exception):  # noqa: N818  (a signal to psycopg, never seen by anyone)
    """Tells psycopg that a COPY is given up, so that it cancels it."""


class _Copy:
    """A running COPY on a connection, from its start to the server's last word."""

    def __init__(self, connection: psycopg.Connection[Any], query: Composable | str) -> None:
        statement = SQL("COPY ({}) TO STDOUT (FORMAT binary)").format(SQL(query) if isinstance(query, str) else query)
        self.connection = connection
        self.rows: int | None = None
        self._cursor = connection.cursor()
        self._context: AbstractContextManager[psycopg.Copy] | None = self._cursor.copy(statement)
        try:
            self._copy = self._context.__enter__()
        except BaseException:
            # An interrupt while the server prepares its first rows leaves psycopg's session with half an answer.
            if connection.pgconn.transaction_status == TransactionStatus.ACTIVE:
                connection.close()
            raise

    def messages(self) -> Iterator[memoryview]:
        """The messages through psycopg, up to the successful end of the COPY."""
        while message := self._copy.read():
            yield memoryview(message)

    def finish(self) -> int:
        """After the trailer: the server's confirmation. Gives its count of rows. Raises psycopg's error."""
        if self._copy.read():
            raise _malformed("data after the trailer")
        return self.confirmed()

    def confirmed(self) -> int:
        context, self._context = self._context, None
        assert context is not None
        context.__exit__(None, None, None)
        return self._cursor.rowcount

    def abandon(self) -> None:
        """Cancel what still runs; does nothing after the end."""
        context, self._context = self._context, None
        if context is not None:
            reason = _Abandoned()
            context.__exit__(_Abandoned, reason, None)

    def failure(self, status: Status, words: str) -> Exception:
        """Why a native read ended early."""
        if status is Status.SERVER_ENDED:
            return copy_failure(self.connection) or _malformed("the stream ended without its trailer")
        if status is Status.CONNECTION:
            text = self.connection.pgconn.get_error_message()
            return psycopg.OperationalError(f"consuming COPY failed: {text}")
        if status is Status.MALFORMED:
            return _malformed(words)
        if status is Status.TOO_LARGE:
            return _too_large()
        return MemoryError()


class CopyReader:
    """Iterates the rows of ``query`` as :class:`DecodedBatch`. Use as a context manager, once.

    ``batch_bytes`` bounds the Arrow bytes of a batch; a batch is larger by at most one row, which Postgres limits to
    1 GiB. ``batch_rows`` bounds its rows too. No batch is empty. ``close`` (or leaving the block) cancels a COPY that
    still runs; within a transaction that aborts the transaction. The connection is not closed. All of it in one thread;
    another one may stop it with ``connection.cancel_safe()``.
    """

    def __init__(
        self,
        connection: psycopg.Connection[Any],
        query: Composable | str,
        columns: Sequence[CopyColumn],
        *,
        batch_bytes: int = _BATCH_BYTES,
        batch_rows: int | None = None,
    ) -> None:
        self._layouts = [layout_of(column) for column in columns]
        self._schema = schema_of(columns)
        self._batch_bytes = max(1, min(batch_bytes, _MOST_BYTES))
        self._batch_rows = max(1, min(batch_rows or _MOST_ROWS, _MOST_ROWS))
        self._check_utf8 = _unchecked_utf8(connection)
        self._copy = _Copy(connection, query)
        self._batches = self._read_native() if native_available() else self._read_python()
        #: Rows given so far; at the end all that the server sent.
        self.rows = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[DecodedBatch]:
        return self

    def __next__(self) -> DecodedBatch:
        decoded = next(self._batches)
        self.rows += decoded.batch.num_rows
        return decoded

    def close(self) -> None:
        """Cancel the COPY if it still runs. May be called more than once."""
        self._batches.close()
        self._copy.abandon()

    def _read_native(self) -> Generator[DecodedBatch]:
        library, functions = native_library(), libpq()
        assert library is not None
        assert functions is not None
        decoder = NativeDecoder(library, self._layouts, self._schema, check_utf8=self._check_utf8)
        rows = 0
        try:
            pointer = connection_pointer(self._copy.connection)
            silence, heard = Silence(self._copy.connection), 0
            while True:
                status = decoder.read(pointer, functions, self._batch_bytes, self._batch_rows, _IDLE_MS)
                if status is Status.END:
                    _same_count(rows + decoder.rows, self._copy.finish())
                elif status is not Status.FULL:
                    if status is not Status.IDLE:
                        raise self._copy.failure(status, decoder.error)
                    if decoder.rows == heard:
                        silence.goes_on()
                    else:
                        silence.heard()
                    heard = decoder.rows
                    continue
                if decoder.rows:
                    rows += decoder.rows
                    exceptions = tuple(_exceptions(self._layouts, decoder.misfits()))
                    yield DecodedBatch(batch=decoder.take(), exceptions=exceptions)
                if status is Status.END:
                    return
                silence.heard()  # nobody listened
                heard = 0
        finally:
            decoder.close()

    def _read_python(self) -> Generator[DecodedBatch]:
        decoder = PythonDecoder(self._layouts, self._schema, check_utf8=self._check_utf8, batch_bytes=self._batch_bytes)
        rows = 0
        try:
            for message in self._copy.messages():
                decoder.feed(message)
                if decoder.size >= self._batch_bytes or decoder.rows >= self._batch_rows:
                    rows += decoder.rows
                    yield from self._taken(decoder)
            if not decoder.ended:
                raise _malformed("the stream ended without its trailer")
            _same_count(rows + decoder.rows, self._copy.confirmed())
            yield from self._taken(decoder)
        except MalformedError as error:
            raise _malformed(str(error)) from error
        except TooLargeError as error:
            raise _too_large() from error

    def _taken(self, decoder: PythonDecoder) -> Iterator[DecodedBatch]:
        for batch, misfits in decoder.take():
            yield DecodedBatch(batch=batch, exceptions=tuple(_exceptions(self._layouts, misfits)))


class RawCopyReader:
    """Iterates the undecoded stream of ``query``, header and trailer included, in chunks of about ``chunk_bytes``.

    Each chunk ends with a whole row and belongs to the caller. ``rows`` counts them; it is final, and equal to the
    server's count, when the iteration ends. Otherwise as :class:`CopyReader`.
    """

    def __init__(
        self, connection: psycopg.Connection[Any], query: Composable | str, *, chunk_bytes: int = _CHUNK_BYTES
    ) -> None:
        self._chunk_bytes = max(1, min(chunk_bytes, _MOST_BYTES))
        self._copy = _Copy(connection, query)
        self._chunks = self._read_native() if native_available() else self._read_python()
        self.rows = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[memoryview]:
        return self

    def __next__(self) -> memoryview:
        return next(self._chunks)

    def close(self) -> None:
        """Cancel the COPY if it still runs. May be called more than once."""
        self._chunks.close()
        self._copy.abandon()

    def _read_native(self) -> Generator[memoryview]:
        library, functions = native_library(), libpq()
        assert library is not None
        assert functions is not None
        relay = NativeRelay(library, self._chunk_bytes)
        try:
            pointer = connection_pointer(self._copy.connection)
            silence, heard = Silence(self._copy.connection), 0
            while True:
                status = relay.read(pointer, functions, _IDLE_MS)
                if status is Status.IDLE:
                    if relay.messages == heard:
                        silence.goes_on()
                    else:
                        silence.heard()
                    heard = relay.messages
                    continue
                # One message per row; the header shares the first, the trailer has its own (or the header's).
                self.rows = max(0, relay.messages - (status is Status.END))
                if status is Status.END:
                    _same_count(self.rows, self._copy.finish())
                elif status is not Status.FULL:
                    raise self._copy.failure(status, "")
                yield relay.take()
                if status is Status.END:
                    return
                silence.heard()  # nobody listened
        finally:
            relay.close()

    def _read_python(self) -> Generator[memoryview]:
        chunk, messages, last = bytearray(), 0, b""
        for message in self._copy.messages():
            chunk += message
            messages += 1
            last = bytes(message[-2:])
            if len(chunk) >= self._chunk_bytes and len(message) > len(_TRAILER):
                self.rows = messages
                yield memoryview(chunk).toreadonly()
                chunk = bytearray()
        if last != _TRAILER:
            raise _malformed("the stream ended without its trailer")
        self.rows = messages - 1
        _same_count(self.rows, self._copy.confirmed())
        yield memoryview(chunk).toreadonly()


#: 'infinity' may come a million times, alone or in an array.
_REMEMBERED_BYTES, _REMEMBERED_TEXTS = 64, 1000


def _exceptions(layouts: Sequence[Layout], misfits: Iterable[Misfit]) -> Iterator[CellException]:
    texts: dict[tuple[int, bytes], str] = {}
    for row, column, reason, data in misfits:
        text = texts.get((column, data))
        if text is None:
            try:
                text = cell_text(layouts[column].op, layouts[column].depth, data)
            except MalformedError as error:
                raise _malformed(str(error)) from error
            if len(data) <= _REMEMBERED_BYTES and len(texts) < _REMEMBERED_TEXTS:
                texts[column, data] = text
        yield CellException(row=row, column=column, text=text, reason=REASONS[reason])


def _same_count(read: int, sent: int) -> None:
    if read != sent:
        raise SynclineError(
            ErrorKind.INTERNAL, f"the server sent {sent} rows and {read} were read", hint="report this as a defect"
        )


def _malformed(words: str) -> SynclineError:
    return SynclineError(
        ErrorKind.SCHEMA,
        f"COPY BINARY is not what was asked for: {words}",
        hint="a column's type may have changed after it was discovered: run again; poolers and proxies must pass COPY "
        "through unchanged",
    )


def _too_large() -> SynclineError:
    return SynclineError(
        ErrorKind.RESOURCE,
        "one row has more than 2 GiB in one column once it is written out",
        hint="leave the column out, or cast it to a smaller form in a view",
    )


def _unchecked_utf8(connection: psycopg.Connection[Any]) -> bool:
    """Whether the bytes of text must be looked at: a session in SQL_ASCII gets whatever was put into the database. In
    one in UTF8 the server sends nothing else, and stops the COPY at the first text that it cannot convert."""
    encoding = connection.info.parameter_status("client_encoding")
    if encoding not in {"UTF8", "SQL_ASCII"}:
        raise SynclineError(
            ErrorKind.INTERNAL,
            f"the session's client_encoding is {encoding}, and COPY is read as UTF8",
            hint="SET client_encoding = 'UTF8'",
        )
    return encoding == "SQL_ASCII"
