"""COPY BINARY that goes wrong: malformed bytes, servers that stop half way, callers that do."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from syncline.connectors.postgres.copy import decode as copy_decode
from syncline.connectors.postgres.copy import libpq
from syncline.connectors.postgres.copy.cell_text import MalformedError, cell_text
from syncline.connectors.postgres.copy.decode import CopyColumn, CopyReader, RawCopyReader
from syncline.connectors.postgres.copy.decode_fallback import PythonDecoder, TooLargeError
from syncline.connectors.postgres.copy.decode_native import NativeDecoder, Status, native_library
from syncline.connectors.postgres.copy.layouts import layout_of, schema_of
from syncline.core.errors import ErrorKind, SynclineError
from syncline.testing.postgres_server import PostgresServer

NUMBER = [CopyColumn(name="g", decoder="int4", arrow=pa.int32())]
#: More than libpq, sockets and the server hold between them.
LONG = "SELECT generate_series(1, 20000000)"


@pytest.fixture(scope="module")
def database(postgres_server: PostgresServer) -> Iterator[str]:
    name = postgres_server.create_database()
    yield postgres_server.dsn(name)
    postgres_server.drop_database(name)


@pytest.fixture
def session(database: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


@pytest.fixture(params=["native", "python"])
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "python":
        monkeypatch.setenv("SYNCLINE_NO_NATIVE", "1")
    elif not copy_decode.native_available():
        pytest.skip("the extension is not built here")
    return str(request.param)


Reading = CopyReader | RawCopyReader


def decoding(session: psycopg.Connection[Any], query: str) -> Reading:
    return CopyReader(session, query, NUMBER, batch_rows=1000)


def relaying(session: psycopg.Connection[Any], query: str) -> Reading:
    return RawCopyReader(session, query, chunk_bytes=10_000)


BOTH: tuple[Callable[[psycopg.Connection[Any], str], Reading], ...] = (decoding, relaying)


def test_an_error_of_the_server_in_the_middle(session, reader) -> None:
    for make in BOTH:
        reading = make(session, "SELECT 1 / (50000 - generate_series(1, 60000))")
        with reading, pytest.raises(psycopg.errors.DivisionByZero, match="division by zero"):
            for _ in reading:
                pass
        assert 0 < reading.rows < 50_000
        assert session.execute("SELECT 1").fetchone() == (1,)


def test_an_error_before_the_first_row(session, reader) -> None:
    for query, error in [("SELECT 1 / 0", psycopg.errors.DivisionByZero), ("SELECT x", psycopg.errors.UndefinedColumn)]:
        with pytest.raises(error), CopyReader(session, query, NUMBER) as reading:
            list(reading)
        assert session.execute("SELECT 1").fetchone() == (1,)


def test_a_server_that_ends_the_session_is_quoted(database, session, reader) -> None:
    for make in BOTH:
        with psycopg.connect(database, autocommit=True) as victim:
            reading = make(victim, LONG)
            next(reading)
            session.execute("SELECT pg_terminate_backend(%s)", [victim.info.backend_pid])
            with pytest.raises(psycopg.OperationalError, match="terminating connection due to administrator command"):
                for _ in reading:
                    pass
            reading.close()


def test_a_query_that_is_cancelled_or_takes_too_long(session, reader) -> None:
    session.execute("SET statement_timeout = 200")
    for make in BOTH:
        reading = make(session, "SELECT g FROM generate_series(1, 1000) AS g, pg_sleep(0.001 * g)")
        with reading, pytest.raises(psycopg.errors.QueryCanceled, match="statement timeout"):
            list(reading)
    assert session.execute("SELECT 1").fetchone() == (1,)


def test_a_connection_that_breaks(database, reader) -> None:
    for make in BOTH:
        with psycopg.connect(database, autocommit=True) as victim:
            reading = make(victim, LONG)
            next(reading)
            with socket.socket(fileno=os.dup(victim.fileno())) as wire:
                wire.shutdown(socket.SHUT_RDWR)
            with pytest.raises(psycopg.OperationalError, match=r"closed the connection|consuming"):
                for _ in reading:
                    pass
            reading.close()


def test_a_reader_that_is_left_early_gives_the_connection_back(session, reader) -> None:
    started = time.monotonic()
    for make in BOTH:
        reading = make(session, LONG)
        with reading:
            next(reading)
        reading.close()
        assert session.execute("SELECT 1").fetchone() == (1,)
        with pytest.raises(StopIteration):
            next(reading)
    for query in ("SELECT generate_series(1, 5000) UNION ALL SELECT 1 FROM pg_sleep(30)", LONG):
        CopyReader(session, query, NUMBER).close()  # before anything was read
        assert session.execute("SELECT 1").fetchone() == (1,)
    assert time.monotonic() - started < 10


def _fail_inside(reading: Reading) -> None:
    with reading:
        next(reading)
        raise KeyError("mine")


def test_an_error_of_the_caller_is_not_covered_up(session, reader) -> None:
    for make in BOTH:
        reading = make(session, LONG)
        with pytest.raises(KeyError, match="mine"):
            _fail_inside(reading)
        assert session.execute("SELECT 1").fetchone() == (1,)


def test_columns_other_than_expected(session, reader) -> None:
    for query, words in [
        ("SELECT 1, 2", "another count of columns"),
        ("SELECT 1::int8", "int4|not the bytes of its type|wrong length"),
        ("SELECT 'x'", "not the bytes of its type|wrong length"),
    ]:
        with pytest.raises(SynclineError, match=words) as refused, CopyReader(session, query, NUMBER) as reading:
            list(reading)
        assert refused.value.kind is ErrorKind.SCHEMA
        assert session.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize(
    ("query", "usable"),
    [
        ("SELECT generate_series(1, 5000) UNION ALL SELECT 1 FROM pg_sleep(20)", True),
        ("SELECT 1 FROM pg_sleep(20)", False),
    ],
    ids=["between rows", "before the first row"],
)
def test_a_signal_is_seen_while_the_server_is_silent(database, reader, query, usable) -> None:
    """In a process of its own, for the signal goes to the main thread. An interrupt before the first row costs the
    connection, one after it does not."""
    program = f"""
import psycopg, pyarrow as pa, signal, time
from syncline.connectors.postgres.copy.decode import CopyColumn, CopyReader
signal.setitimer(signal.ITIMER_REAL, 0.3)
signal.signal(signal.SIGALRM, signal.default_int_handler)
with psycopg.connect({database!r}, autocommit=True) as session:
    started = time.monotonic()
    try:
        with CopyReader(session, {query!r}, [CopyColumn(name="g", decoder="int4", arrow=pa.int32())]) as reading:
            list(reading)
    except KeyboardInterrupt:
        usable = not session.closed and session.execute("SELECT 1").fetchone() == (1,)
        print("seen", time.monotonic() - started < 5, usable)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout == f"seen True {usable}\n", done.stderr


def test_other_threads_run_while_one_waits(session, reader) -> None:
    def wait() -> None:
        with CopyReader(session, "SELECT 1 FROM pg_sleep(0.5)", NUMBER) as reading:
            list(reading)

    waiting = threading.Thread(target=wait)
    waiting.start()
    longest, last = 0.0, time.monotonic()
    while waiting.is_alive():
        now = time.monotonic()
        longest, last = max(longest, now - last), now
    waiting.join()
    assert longest < 0.3


@pytest.mark.tls
def test_through_tls_nothing_waits_in_the_records(tls_postgres_server: PostgresServer, reader) -> None:
    """TLS decrypts 16 KiB at a time, of which libpq may take a part; the rest does not wake poll(2)."""
    query = "SELECT repeat('x', 1000 * g), pg_sleep(0.01)::text FROM generate_series(1, 60) AS g"
    columns = [CopyColumn(name=name, decoder="text", arrow=pa.string()) for name in ("a", "b")]
    with psycopg.connect(tls_postgres_server.dsn("postgres", sslmode="require"), autocommit=True) as session:
        assert session.pgconn.ssl_in_use
        started = time.monotonic()
        with CopyReader(session, query, columns) as reading:
            sizes = [len(text) for decoded in reading for text in decoded.batch.column(0).to_pylist()]
        assert sizes == [1000 * g for g in range(1, 61)]
        assert time.monotonic() - started < 5
        with RawCopyReader(session, query) as relay:
            assert sum(map(len, relay)) > 1000 * 60 * 61 / 2
        assert relay.rows == 60
        long = CopyReader(session, LONG, NUMBER)
        next(long)
        with psycopg.connect(tls_postgres_server.dsn("postgres", sslmode="require"), autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(%s)", [session.info.backend_pid])
        # psycopg looks no further when TLS breaks off; the native reader finds the server's last words.
        words = "terminating connection due to administrator command"
        with pytest.raises(psycopg.OperationalError, match=words if reader == "native" else rf"{words}|unexpected eof"):
            for _ in long:
                pass


def test_libpq_is_that_of_psycopg(session) -> None:
    functions = libpq.libpq()
    if functions is None:
        pytest.skip("this build of psycopg hides its libpq")
    assert all(getattr(functions, name) for name in ("get_copy_data", "consume_input", "socket", "freemem"))
    assert libpq.connection_pointer(session) > 0
    session.close()
    with pytest.raises(psycopg.OperationalError, match="closed"):
        libpq.connection_pointer(session)


# ---- malformed bytes ----------------------------------------------------------------------------------------------

EVERYTHING = [
    CopyColumn(name=name, decoder=decoder, arrow=arrow)
    for name, decoder, arrow in [
        ("bool", "bool", pa.bool_()),
        ("int2", "int2", pa.int16()),
        ("int8", "int8", pa.int64()),
        ("float4", "float4", pa.float32()),
        ("decimal", "numeric", pa.decimal128(15, 2)),
        ("wide", "numeric", pa.decimal256(60, 20)),
        ("numeric", "numeric", pa.string()),
        ("text", "text", pa.string()),
        ("jsonb", "jsonb", pa.string()),
        ("bytea", "bytea", pa.binary()),
        ("date", "date", pa.date32()),
        ("time", "time", pa.time64("us")),
        ("stamp", "timestamptz", pa.timestamp("us", tz="UTC")),
        ("uuid", "uuid", pa.string()),
        ("ints", "int4", pa.list_(pa.int32())),
        ("texts", "text", pa.list_(pa.list_(pa.string()))),
        ("numbers", "numeric", pa.list_(pa.decimal128(10, 2))),
        ("oid", "oid", pa.uint32()),
    ]
]
ROWS = f"""SELECT g % 2 = 0, g::int2, g::int8, g::float4, 1.5 * g, -12345678901234567890.5 * g, g / 7.0, 'word' || g,
    jsonb_build_object('g', g), '\\x00ff'::bytea, date '2000-01-01' + g, time '12:00', timestamptz 'infinity',
    md5(g::text)::uuid, ARRAY[g, NULL], ARRAY[['a', 'b'], [NULL, 'é']], '{{1.5,NULL,1.234}}'::numeric[], g::oid
    FROM generate_series(1, 3) AS g UNION ALL SELECT {", ".join(["NULL"] * 18)}"""


@pytest.fixture(scope="module")
def stream(database: str) -> list[bytes]:
    """The messages of a good COPY of every kind of column."""
    statement = f"COPY ({ROWS}) TO STDOUT (FORMAT binary)"
    with psycopg.connect(database, autocommit=True) as session, session.cursor().copy(statement) as copy:
        return [bytes(message) for message in copy]


Outcome = tuple[pa.Table, list[tuple[int, int, int, bytes]]] | None


def natively(messages: list[bytes]) -> Outcome:
    """Rows and misfits, or None for malformed bytes."""
    library = native_library()
    assert library is not None
    schema = schema_of(EVERYTHING)
    decoder = NativeDecoder(library, [layout_of(c) for c in EVERYTHING], schema, check_utf8=True)
    status = Status.IDLE
    for message in messages:
        status = decoder.feed(message, 1 << 30, 1 << 30)
        if status is Status.MALFORMED:
            assert decoder.error
            return None
        assert status in {Status.IDLE, Status.END}
    if status is not Status.END:
        return None
    misfits = list(decoder.misfits())
    batch = decoder.take()
    batch.validate(full=True)
    decoder.close()
    return pa.Table.from_batches([batch], schema), misfits


def in_python(messages: list[bytes]) -> Outcome:
    schema = schema_of(EVERYTHING)
    decoder = PythonDecoder([layout_of(c) for c in EVERYTHING], schema, check_utf8=True, batch_bytes=1 << 30)
    batches, misfits = [], []
    try:
        for message in messages:
            decoder.feed(message)
        if not decoder.ended:
            return None
        for batch, found in decoder.take():
            batch.validate(full=True)
            batches.append(batch)
            misfits += found
    except MalformedError:
        return None
    return pa.Table.from_batches(batches, schema), misfits


def bits(table: pa.Table) -> list[pa.Array]:
    """Columns that are equal only if they are so bit by bit, in which NaN is equal to itself."""
    columns = [column.combine_chunks() for column in table.columns]
    return [column.view(pa.uint32()) if column.type == pa.float32() else column for column in columns]


edits = st.lists(
    st.tuples(
        st.integers(0, 4), st.integers(0, 2**16), st.sampled_from(["set", "flip", "cut", "insert", "delete"]),
        st.integers(0, 255) | st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]),
    ),
    max_size=3,
)  # fmt: skip


def damaged(messages: list[bytes], changes: list[tuple[int, int, str, int]]) -> list[bytes]:
    out = [bytearray(message) for message in messages]
    for which, place, how, byte in changes:
        message = out[which % len(out)]
        if not message:
            continue
        at = place % len(message)
        if how == "set":
            message[at] = byte
        elif how == "flip":
            message[at] ^= 1 << byte % 8
        elif how == "cut":
            del message[at:]
        elif how == "insert":
            message.insert(at, byte)
        else:
            del message[at]
    return [bytes(message) for message in out if message]


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=edits)
def test_damaged_bytes_are_refused_or_read_alike_by_both(stream, changes) -> None:
    if native_library() is None:
        pytest.skip("the extension is not built here")
    messages = damaged(stream, changes)
    native, python = natively(messages), in_python(messages)
    assert (native is None) == (python is None)
    if native is None or python is None:
        assert changes
        return
    assert bits(native[0]) == bits(python[0])
    assert sorted(native[1]) == sorted(python[1])
    layouts = [layout_of(column) for column in EVERYTHING]
    for _, column, _, data in native[1]:
        with contextlib.suppress(MalformedError):  # which the reader passes on; arrays are only looked through before
            assert cell_text(layouts[column].op, layouts[column].depth, data)


def test_a_stream_that_is_cut_anywhere_is_refused(stream) -> None:
    for make in [in_python] + ([natively] if native_library() is not None else []):
        assert make(stream) is not None
        for cut in range(len(stream)):
            assert make(stream[:cut]) is None
        for place in range(1, len(stream[1])):
            assert make([stream[0], stream[1][:place], *stream[2:]]) is None
            assert make([stream[0], stream[1] + stream[1][:place], *stream[2:]]) is None
        assert make([*stream, stream[1]]) is None


@pytest.mark.slow
def test_one_row_with_more_text_than_a_batch_can_hold() -> None:
    """A numeric of 8 bytes may print 131,072 digits; 20,000 of them are more than 2 GiB."""
    item = b"\x00\x00\x00\x0a" + b"\x00\x01\x7f\xff\x00\x00\x00\x00\x00\x01"
    array = (1).to_bytes(4, "big") + bytes(4) + (1700).to_bytes(4, "big") + (20_000).to_bytes(4, "big") + b"\0\0\0\1"
    value = array + item * 20_000
    row = b"\x00\x01" + len(value).to_bytes(4, "big") + value
    header = b"PGCOPY\n\xff\r\n\0" + bytes(8)
    column = CopyColumn(name="n", decoder="numeric", arrow=pa.list_(pa.string()))
    short = b"\x00\x01\xff\xff\xff\xff"
    library = native_library()
    if library is not None:
        decoder = NativeDecoder(library, [layout_of(column)], schema_of([column]), check_utf8=False)
        assert decoder.feed(header + short, 1 << 30, 1 << 30) is Status.IDLE
        assert decoder.feed(row, 1 << 30, 1 << 30) is Status.FULL
        assert decoder.take().to_pylist() == [{"n": None}]
        assert decoder.feed(b"", 1 << 30, 1 << 30) is Status.TOO_LARGE
        decoder.close()
    python = PythonDecoder([layout_of(column)], schema_of([column]), check_utf8=False, batch_bytes=1 << 20)
    for message in (header + short, row):
        python.feed(message)
    batches = python.take()
    assert next(batches)[0].to_pylist() == [{"n": None}]
    with pytest.raises(TooLargeError):
        next(batches)
