"""A log that is read by hand: real messages of a real server, as the decoder gets them."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
from psycopg import pq
from tests.integration.postgres.harness import Database

from syncline.connectors.postgres.changes.decode import ChangeDecoder
from syncline.connectors.postgres.changes.relation import Described, RelationMessage
from syncline.connectors.postgres.changes.stretch import Stretch, TransactionHeader
from syncline.connectors.postgres.connection import TEXT_SETTINGS
from syncline.connectors.postgres.reading.source import PostgresSource
from syncline.core.change import ChangeBatch, ChangeSlice
from syncline.core.stream import SelectedStream, Stream, StreamName, SyncMode

PUBLICATION, SLOT = "p", "decoded"
SETTINGS = {**TEXT_SETTINGS, "lc_monetary": "C"}


class Log:
    """A slot on a database with everything published. ``close`` drops it."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.slot = f"{SLOT}_{db.name}"
        db.execute(f"CREATE PUBLICATION {PUBLICATION} FOR ALL TABLES")
        db.session.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [self.slot])

    def close(self) -> None:
        self.db.session.execute("SELECT pg_drop_replication_slot(%s)", [self.slot])

    def stretch(self) -> Stretch:
        """All that was committed since the last time, in one."""
        with self.db.connect() as session:
            for name, value in SETTINGS.items():
                session.execute("SELECT set_config(%s, %s, false)", [name, value])
            # Only what is on disk is decoded.
            session.execute("SET synchronous_commit = on")
            session.execute("SELECT pg_logical_emit_message(true, 'syncline', '')")
            found = session.execute(
                "SELECT data FROM pg_logical_slot_get_binary_changes("
                f"%s, NULL, NULL, 'proto_version', '1', 'publication_names', '{PUBLICATION}', 'messages', %s)"
                if session.info.server_version >= 140000
                else "SELECT data FROM pg_logical_slot_get_binary_changes("
                f"%s, NULL, NULL, 'proto_version', '1', 'publication_names', '{PUBLICATION}')",
                [self.slot, "on"] if session.info.server_version >= 140000 else [self.slot],
            ).fetchall()
        frames = b"".join(framed(data) for (data,) in found)
        return Stretch(frames=frames, header=None, aborted=frozenset(), start=0, end=2**63, whole=True)

    def live(self, work_mem: str = "64kB") -> Live:
        return Live(self, work_mem)


class Live:
    """A walsender that streams open transactions. Gives what it sent as stretches in the order of the commits."""

    def __init__(self, log: Log, work_mem: str) -> None:
        server = log.db.server
        options = " ".join(
            f"-c {name}={value}".replace(", ", ",")
            for name, value in {**SETTINGS, "logical_decoding_work_mem": work_mem}.items()
        )
        dsn = (
            f"host={server.host} port={server.port} dbname={log.db.name} user={server.user} "
            f"password={server.password} replication=database options='{options}'"
        )
        self._connection = pq.PGconn.connect(dsn.encode())
        assert self._connection.status == pq.ConnStatus.OK, self._connection.error_message
        started = self._connection.exec_(
            f'START_REPLICATION SLOT "{log.slot}" LOGICAL 0/0 '
            f"(proto_version '2', streaming 'on', publication_names '{PUBLICATION}')".encode()
        )
        assert started.status == pq.ExecStatus.COPY_BOTH, self._connection.error_message
        self._ordinary = bytearray()
        self._open: dict[int, bytearray] = {}
        self._aborted: dict[int, set[int]] = {}
        self._streaming = 0
        self.ready: list[Stretch] = []

    def close(self) -> None:
        self._connection.finish()

    def wait(self, done: Any, seconds: float = 30.0) -> None:
        """Receive until ``done()``."""
        until = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < until, "the server did not send what was expected"
            self._connection.consume_input()
            size, data = self._connection.get_copy_data(1)
            if size == 0:
                time.sleep(0.005)
            elif bytes(data[:1]) == b"w":
                self._message(bytes(data[25:]))

    @property
    def held(self) -> int:
        """Bytes of transactions that are not finished yet."""
        return sum(map(len, self._open.values()))

    def _message(self, message: bytes) -> None:
        kind = message[:1]
        if kind == b"S":
            (self._streaming,) = struct.unpack_from(">I", message, 1)
            self._open.setdefault(self._streaming, bytearray())
            self._aborted.setdefault(self._streaming, set())
        elif kind == b"E":
            self._streaming = 0
        elif kind == b"A":
            top, sub = struct.unpack_from(">II", message, 1)
            if top == sub:
                self._open.pop(top, None)
            else:
                self._aborted[top].add(sub)
        elif kind == b"c":
            xid, _, lsn, end, at = struct.unpack_from(">IbQQq", message, 1)
            self.ready.append(
                Stretch(
                    frames=bytes(self._open.pop(xid)),
                    header=TransactionHeader(xid=xid, commit_lsn=lsn, end_lsn=end, committed_at=at),
                    aborted=frozenset(self._aborted.pop(xid)),
                    start=0,
                    end=end,
                    whole=True,
                )
            )
        elif self._streaming:
            self._open[self._streaming] += framed(message)
        else:
            self._ordinary += framed(message)
            if kind == b"C":
                (end,) = struct.unpack_from(">Q", message, 10)
                frames, self._ordinary = bytes(self._ordinary), bytearray()
                self.ready.append(
                    Stretch(frames=frames, header=None, aborted=frozenset(), start=0, end=end, whole=True)
                )


def framed(message: bytes) -> bytes:
    return struct.pack(">I", len(message)) + message


def described(source: PostgresSource) -> Any:
    """A ``describe`` from the source's own catalog, as it is now: a stream's fields as a snapshot has them."""
    catalog = source.discover()

    def describe(message: RelationMessage) -> Described | None:
        stream = catalog.get(StreamName(namespace=message.namespace, name=message.name))
        if stream is None:
            return None
        columns = [column.name for column in message.columns]
        schema = stream.schema.select(tuple(columns))
        return Described(
            stream=stream.name,
            schema=schema,
            columns=tuple(columns.index(field.name) for field in schema.fields),
            key=stream.primary_key,
        )

    return describe


def decoded(describe: Any, stretches: Iterable[Stretch], *, native: bool) -> list[ChangeSlice]:
    with ChangeDecoder(describe, native=native) as decoder:
        return [part for stretch in stretches for part in decoder.decode(stretch)]


def batches(slices: Iterable[ChangeSlice], stream: StreamName) -> Iterator[ChangeBatch]:
    return (batch for part in slices for name, batch in part.batches if name == stream)


def snapshot(source: PostgresSource, stream: Stream) -> tuple[pa.Table, list[tuple[int, str, str, str]]]:
    """What a snapshot reads of a table, and its misfits."""
    selected = SelectedStream(stream=stream, sync_mode=SyncMode.FULL_REFRESH_OVERWRITE, primary_key=stream.primary_key)
    tables: list[pa.RecordBatch] = []
    misfits: list[tuple[int, str, str, str]] = []
    for partition in source.snapshot(selected).partitions:
        for batch in source.read(selected, partition):
            before = sum(table.num_rows for table in tables)
            misfits += [(m.row + before, m.column, m.text, m.reason) for m in batch.misfits]
            tables.append(batch.data)
    return pa.Table.from_batches(tables, stream.schema.arrow()), misfits
