"""A Postgres table or view as one end: the server itself sums the hashes, only the sums travel.

Everything is read in one REPEATABLE READ, READ ONLY transaction, shared by a few sessions through an exported snapshot,
so that all of the table is seen at one moment. Where that transaction would become older than is allowed, chunks are
read one group after the other, each at its own moment, and the report says so.
"""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import psycopg
import pyarrow as pa
import pyarrow.csv as pa_csv

from syncline.core.errors import ErrorKind, SynclineError
from syncline.verify.columns import Chunking, ColumnSpec
from syncline.verify.division import Comparable, chunk_by_range, range_predicate
from syncline.verify.postgres_catalog import Relation, read_relation
from syncline.verify.postgres_cells import (
    Dialect,
    UnsupportedError,
    cell_sql,
    comparable,
    concat_sql,
    identifier,
    literal,
)
from syncline.verify.postgres_errors import postgres_error
from syncline.verify.side import KEY_HASHES, Latest, Progress, RowCells
from syncline.verify.sums import ChunkSum, Sums

if TYPE_CHECKING:
    Session = psycopg.Connection[tuple[Any, ...]]

__all__ = ["PostgresSide", "PostgresTable"]

#: ~64 MB with 8 KB pages: some hundred thousand rows, so that progress is seen and the age is looked at often enough.
_SLAB_PAGES = 8192
#: A group of chunks read at its own moment.
_GROUP_ROWS = 2_000_000
#: What is handed on at once while rows are read one by one.
_COPY_BYTES = 4 << 20
_SHOWN_CHARACTERS = 200
_OPENINGS = 5
#: A moment that was fixed for us cannot be renewed: it may last this long.
_FIXED_SECONDS = 86_400.0
#: Names beside a table's own columns.
_MD5, _PENDING, _RANK = '"_syncline_md5"', '"_syncline_pending"', '"_syncline_rank"'


@dataclass(frozen=True, kw_only=True)
class PostgresTable:
    """What to read. ``where`` and ``pending`` are SQL conditions of ours or None."""

    schema: str
    name: str
    where: str | None = None
    pending: str | None = None
    latest: Latest | None = None


class _TooOldError(Exception):
    """The transaction would become older than is allowed."""


class PostgresSide:
    """See :class:`syncline.verify.side.Side`. ``connect`` opens a session; the side closes it. ``sessions`` is how many
    read at once, ``max_age`` the longest that a transaction may live and ``lock_timeout`` how long to wait for a lock,
    both in seconds. ``snapshot``: see exactly what this exported snapshot shows; it cannot be renewed, so that nothing
    is ever read at a second moment."""

    def __init__(
        self,
        connect: Callable[[], Session],
        table: PostgresTable,
        *,
        label: str,
        sessions: int = 2,
        max_age: float = 600.0,
        lock_timeout: float = 60.0,
        decide: Callable[[Relation], PostgresTable] | None = None,
        snapshot: str | None = None,
    ) -> None:
        self.label, self._snapshot = label, snapshot
        self.notes: list[str] = []
        self._connect, self._count = connect, max(sessions, 1)
        self._max_age = max_age if snapshot is None else max(max_age, _FIXED_SECONDS)
        self._name, self._lock_timeout = (table.schema, table.name), lock_timeout
        self._sessions: list[Session] = []
        self._moments = 0
        self._began = 0.0
        self._moment: dict[str, Any] = {}
        try:
            with self._errors():
                self._open()
                version = self._sessions[0].info.server_version
                encoding = self._query("SELECT current_setting('server_encoding')")[0][0]
                self._dialect = Dialect(utf8=encoding == "UTF8", trims=version >= 130_000)
                # bytea casts to bigint from 18 on; before, it goes through bit strings, at three times the cost.
                self._bytes_to_int = version >= 180_000
                self._relation = read_relation(self._query, table.schema, table.name)
            self._table = decide(self._relation) if decide else table
        except BaseException:
            self.close()
            raise

    @property
    def relation(self) -> Relation:
        """What the server says about the table."""
        return self._relation

    def names(self) -> set[str]:
        return set(self._relation.columns)

    def jsonb(self, column: str) -> bool:
        physical = self._relation.columns.get(column)
        return physical is not None and physical.name == "jsonb"

    def refusal(self, column: ColumnSpec) -> str | None:
        if column.name not in self._relation.columns:
            return "is not there"
        try:
            self._cell(column)
        except UnsupportedError as reason:
            return str(reason)
        return None

    def orders(self, column: ColumnSpec) -> bool:
        try:
            self._comparable(column)
        except UnsupportedError:
            return False
        return True

    def estimated_rows(self) -> int:
        return self._relation.rows

    def sample(self, key: Sequence[ColumnSpec], want: int) -> list[tuple[str | None, ...]]:
        if self._relation.kind not in ("r", "m", "p") or self._relation.rows < 0:
            return []
        # From whole pages, hence more of them than rows are wanted: neighbours on a page are often alike.
        percent = min(100.0, 100.0 * want / max(self._relation.rows, 1))
        cells = ", ".join(f"concat({self._cell(column)})" for column in key)
        nulls = ", ".join(f"{identifier(column.name)} IS NULL" for column in key)
        where = f" WHERE {self._table.where}" if self._table.where else ""
        rows = self._read(
            f"SELECT {cells}, {nulls} FROM {self._base()} TABLESAMPLE SYSTEM ({percent}){where} LIMIT {want * 4}"
        )
        width = len(key)
        return [tuple(None if row[width + n] else str(row[n]) for n in range(width)) for row in rows]

    def chunk_sums(self, columns: Sequence[ColumnSpec], chunking: Chunking, progress: Progress) -> Sums:
        try:
            return self._sums_at_one_moment(columns, chunking, progress)
        except _TooOldError:
            return self._sums_at_many_moments(columns, chunking, progress)

    def key_hashes(
        self, columns: Sequence[ColumnSpec], chunking: Chunking, chunks: Sequence[int]
    ) -> Iterator[pa.RecordBatch]:
        rows = self._chosen(columns, chunking, chunks)
        statement = f"COPY (SELECT c, k, m, p FROM ({rows}) AS s) TO STDOUT (FORMAT csv)"
        self._renew_if_old()
        with self._errors(), self._sessions[0].cursor() as cursor:
            self._limit_age(cursor)
            with cursor.copy(statement.encode()) as copy:
                buffer = bytearray()
                for chunk in copy:
                    buffer += chunk
                    if len(buffer) >= _COPY_BYTES:
                        yield from _csv_batches(bytes(buffer))
                        buffer.clear()
                yield from _csv_batches(bytes(buffer))

    def cells(
        self, columns: Sequence[ColumnSpec], chunking: Chunking, chunks: Sequence[int], keys: Sequence[str]
    ) -> list[RowCells]:
        if not keys:
            return []
        texts = [f"concat({self._cell(column)})" for column in columns]
        extra = (
            f"ARRAY[{', '.join(f'left({t}, {_SHOWN_CHARACTERS})' for t in texts)}] AS a, "
            f"ARRAY[{', '.join(self._md5(t) for t in texts)}] AS b"
        )
        rows = self._chosen(columns, chunking, chunks, extra=extra, keys=keys)
        self._renew_if_old()
        return [
            RowCells(key=key, pending=bool(pending), cells=tuple(cells), digests=tuple(digests))
            for key, pending, cells, digests in self._read(f"SELECT k, p, a, b FROM ({rows}) AS s")
        ]

    def query(self, statement: str) -> Sequence[tuple[Any, ...]]:
        """Rows of a query of ours beside the comparison, seen at the same moment."""
        return self._read(statement)

    def moment(self) -> dict[str, Any]:
        return {**self._moment, "moments": self._moments}

    def close(self) -> None:
        for session in self._sessions:
            with suppress(psycopg.Error):
                session.close()
        self._sessions = []

    # How rows and chunks are written

    def _cell(self, column: ColumnSpec) -> str:
        physical = self._relation.columns[column.name]
        return cell_sql(identifier(column.name), column, column.kind, physical, self._dialect)

    def _comparable(self, column: ColumnSpec) -> Comparable:
        return comparable(identifier(column.name), column, self._relation.columns[column.name])

    def _base(self) -> str:
        return identifier(self._table.schema, self._table.name)

    def _from(self) -> str:
        where = f" WHERE {self._table.where}" if self._table.where else ""
        if self._table.latest is None:
            return self._base()
        ranked = f"SELECT *, {self._table.latest.sql()} AS {_RANK} FROM {self._base()}{where}"
        alive = f" AND {self._table.latest.alive}" if self._table.latest.alive else ""
        return f"(SELECT * FROM ({ranked}) AS ranked WHERE {_RANK} = 1{alive}) AS latest"

    def _where(self, *conditions: str | None) -> str:
        # With `latest` the table's own condition has been applied below it.
        own = None if self._table.latest else self._table.where
        known = [f"({c})" for c in (own, *conditions) if c and c != "true"]
        return f" WHERE {' AND '.join(known)}" if known else ""

    def _pending(self) -> str:
        return f"coalesce({self._table.pending}, false)" if self._table.pending else "false"

    def _md5(self, text: str) -> str:
        return f"md5({text})" if self._dialect.utf8 else f"md5(convert_to({text}, 'UTF8'))"

    def _row_md5(self, columns: Sequence[ColumnSpec]) -> str:
        return self._md5(concat_sql([self._cell(column) for column in columns]))

    def _key(self, chunking: Chunking) -> str:
        return concat_sql([self._cell(column) for column in chunking.key])

    def _chunk(self, chunking: Chunking) -> str:
        """The number of a row's chunk; where there is no key, by the MD5 that a query below has named."""
        if chunking.cuts:
            return chunk_by_range(chunking, [self._comparable(column) for column in chunking.key])
        if chunking.number <= 1:
            return "0"
        digest = self._md5(self._key(chunking)) if chunking.key else _MD5
        return f"('x' || left({digest}, 4))::bit(16)::int % {chunking.number}"

    def _chosen(
        self,
        columns: Sequence[ColumnSpec],
        chunking: Chunking,
        chunks: Sequence[int],
        *,
        extra: str | None = None,
        keys: Sequence[str] | None = None,
    ) -> str:
        """A query for rows of some chunks: c (chunk), k (key text), m (row MD5), p (pending), and ``extra``."""
        wanted = f"IN ({', '.join(str(chunk) for chunk in chunks)})"
        ranges = None
        if chunking.cuts:
            ranges = range_predicate(chunking, [self._comparable(c) for c in chunking.key], chunks)
        only = f"= ANY (ARRAY[{', '.join(literal(key) for key in keys)}])" if keys is not None else None
        more = f", {extra}" if extra else ""
        row = f"{self._row_md5(columns)} AS m, {self._pending()} AS p"
        if chunking.key:
            conditions = [ranges, f"{self._chunk(chunking)} {wanted}", only and f"{self._key(chunking)} {only}"]
            key = f"{self._chunk(chunking)} AS c, {self._key(chunking)} AS k"
            return f"SELECT {row}, {key}{more} FROM {self._from()}{self._where(*conditions)}"
        # The MD5 of every row is needed to find some; whatever else is shown, of those only.
        row = f"{self._row_md5(columns)} AS {_MD5}, {self._pending()} AS {_PENDING}"
        outer = [f"{self._chunk(chunking)} {wanted}", *([f"{_MD5} {only}"] if only else [])]
        return (
            f"SELECT {_MD5} AS m, {_PENDING} AS p, {self._chunk(chunking)} AS c, {_MD5} AS k{more} "
            f"FROM (SELECT *, {row} FROM {self._from()}{self._where()} OFFSET 0) AS r WHERE {' AND '.join(outer)}"
        )

    def _sums_sql(self, columns: Sequence[ColumnSpec], chunking: Chunking, condition: str | None) -> str:
        """Per chunk: rows and the sums of the halves of their hashes. OFFSET 0 keeps the MD5 from being computed once
        for each place where it is used."""
        chunk = self._chunk(chunking)
        early, late = (f"{chunk} AS c", "c") if chunking.key else ("0 AS c", chunk)
        row = f"SELECT {early}, {self._row_md5(columns)} AS {_MD5} FROM {self._from()}{self._where(condition)} OFFSET 0"
        halves = [f"substr(decode({_MD5}, 'hex'), {start}, 8)::bigint" for start in (1, 9)]
        if not self._bytes_to_int:
            halves = [f"('x' || substr({_MD5}, {start}, 16))::bit(64)::bigint" for start in (1, 17)]
        return (
            "SELECT c, count(*), sum(high), sum(low), count(*) FILTER (WHERE low < 0) "
            f"FROM (SELECT {late} AS c, {halves[0]} AS high, {halves[1]} AS low FROM ({row}) AS r OFFSET 0) AS h "
            "GROUP BY c"
        )

    @staticmethod
    def _add(sums: Sums, rows: Sequence[tuple[Any, ...]]) -> int:
        """Add the result of :meth:`_sums_sql`; returns the rows in it. Halves are signed there: the upper one matters
        modulo 2^64 only, the lower one lacks 2^64 for each negative."""
        for chunk, count, high, low, negative in rows:
            part = ChunkSum.of_halves(count=count, high=int(high), low=int(low) + (int(negative) << 64))
            sums.add(int(chunk), part)
        return sum(count for _, count, _, _, _ in rows)

    # At one moment

    def _sums_at_one_moment(self, columns: Sequence[ColumnSpec], chunking: Chunking, progress: Progress) -> Sums:
        slabs = self._slabs()
        sums, done, guard = Sums(), 0, threading.Lock()
        waiting = iter(slabs)
        finished = 0

        def work(session: Session) -> None:
            nonlocal done, finished
            while True:
                with guard:
                    slab = next(waiting, None)
                    self._refuse_if_hopeless(finished, len(slabs))
                if slab is None:
                    return
                rows = self._read(self._sums_sql(columns, chunking, slab or None), session)
                with guard:
                    finished += 1
                    done += self._add(sums, rows)
                    progress(self.label, done, self._relation.rows)

        sessions = self._share_snapshot(min(self._count, len(slabs)))
        if len(sessions) == 1:
            work(sessions[0])
            return sums
        with ThreadPoolExecutor(max_workers=len(sessions), thread_name_prefix="verify") as pool:
            for future in [pool.submit(work, session) for session in sessions]:
                future.result()
        return sums

    def _slabs(self) -> list[str]:
        """Conditions that cut the table by pages; an empty one takes it whole. The last is open: whatever else the
        snapshot sees lies there."""
        # Before 14 each slab would be a scan of the whole table.
        if self._table.latest or self._relation.pages <= _SLAB_PAGES or self._sessions[0].info.server_version < 140_000:
            return [""]
        starts = list(range(0, self._relation.pages, _SLAB_PAGES))
        slabs = [f"ctid >= '({a},0)'::tid AND ctid < '({b},0)'::tid" for a, b in pairwise(starts)]
        return [*slabs, f"ctid >= '({starts[-1]},0)'::tid"]

    def _refuse_if_hopeless(self, finished: int, of: int) -> None:
        age = time.monotonic() - self._began
        if age > self._max_age or (finished and age > self._max_age / 10 and age / finished * of > self._max_age):
            raise _TooOldError

    def _share_snapshot(self, sessions: int) -> list[Session]:
        """The first session and others that see exactly what it sees."""
        if sessions > 1:
            (name,) = self._read("SELECT pg_export_snapshot()")[0]
            while len(self._sessions) < sessions:
                session = self._begin()
                self._sessions.append(session)
                with self._errors():
                    session.execute(f"SET TRANSACTION SNAPSHOT {literal(name)}".encode())
                    self._settle(session)
        return self._sessions[:sessions]

    # At many moments

    def _sums_at_many_moments(self, columns: Sequence[ColumnSpec], chunking: Chunking, progress: Progress) -> Sums:
        if not chunking.cuts:
            raise SynclineError(
                ErrorKind.RESOURCE,
                f"the table cannot be read within {self._max_age:g} s, and has no key by which to read it in parts",
                hint="raise max_transaction_age of the source, or compare on a replica",
                where={"table": f"{self._table.schema}.{self._table.name}"},
            )
        sums, done = Sums(), 0
        key = [self._comparable(column) for column in chunking.key]
        per_chunk = max(self._relation.rows, 1) / chunking.number
        step = max(1, int(_GROUP_ROWS / per_chunk))
        moments = 0
        for first in range(0, chunking.number, step):
            group = range(first, min(first + step, chunking.number))
            self._reopen()
            moments += 1
            try:
                rows = self._read(self._sums_sql(columns, chunking, range_predicate(chunking, key, group)))
            except _TooOldError:
                raise SynclineError(
                    ErrorKind.RESOURCE,
                    f"a part of the table cannot be read within {self._max_age:g} s",
                    hint="raise max_transaction_age of the source, or compare on a replica",
                    where={"table": f"{self._table.schema}.{self._table.name}"},
                ) from None
            done += self._add(sums, rows)
            progress(self.label, done, self._relation.rows)
        self._moments = moments
        self.notes.append(
            f"{self.label}: read at {moments} moments, because one transaction would have been older than "
            f"{self._max_age:g} s; rows changed meanwhile may show as different"
        )
        return sums

    # Sessions

    def _open(self) -> None:
        for _ in range(_OPENINGS):
            session = self._begin()
            self._sessions = [session]
            if self._snapshot is not None:
                session.execute(f"SET TRANSACTION SNAPSHOT {literal(self._snapshot)}".encode())
            self._settle(session)
            self._began = time.monotonic()
            if self._holds(session):
                self._note_moment(session)
                return
            self.close()
        raise SynclineError(
            ErrorKind.TRANSIENT,
            f"table {self._name[0]}.{self._name[1]} is being replaced again and again",
            hint="verify when no sync is running",
        )

    def _holds(self, session: Session) -> bool:
        """Lock the table and see whether it is the one that the snapshot knows: between the two it may have been
        swapped or truncated, and its new rows would be invisible. Once we hold it, neither can happen."""
        session.execute(f"SELECT FROM {identifier(*self._name)} LIMIT 0".encode())
        schema, name = self._name
        row = session.execute(
            f"SELECT c.oid = to_regclass({literal(identifier(schema, name))})::oid "
            "AND (c.relkind NOT IN ('r', 'm') OR c.relfilenode = pg_relation_filenode(c.oid)) "
            "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            f"WHERE n.nspname = {literal(schema)} AND c.relname = {literal(name)}".encode()
        ).fetchone()
        return row is not None and bool(row[0])

    def _note_moment(self, session: Session) -> None:
        self._moments = 1
        row = session.execute(
            b"SELECT pg_current_snapshot()::text, pg_is_in_recovery(), "
            b"CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END::text"
            if session.info.server_version >= 130_000
            else b"SELECT txid_current_snapshot()::text, pg_is_in_recovery(), NULL"
        ).fetchone()
        assert row is not None
        self._moment = {"at": datetime.now(UTC).isoformat(), "snapshot": row[0], "lsn": row[2]}

    def _begin(self) -> Session:
        session = self._connect()
        with self._errors():
            session.autocommit = True
            session.execute(b"BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        return session

    def _settle(self, session: Session) -> None:
        # Compiling these long expressions takes longer than it saves. Nothing of ours needs another schema's functions.
        # The session that holds the snapshot waits for the other end.
        settings = {
            "jit": "off",
            "search_path": "pg_catalog",
            "idle_in_transaction_session_timeout": "0",
            "lock_timeout": f"{int(self._lock_timeout * 1000)}",
        }
        calls = ", ".join(f"set_config({literal(name)}, {literal(value)}, true)" for name, value in settings.items())
        session.execute(f"SELECT {calls}".encode())

    def _reopen(self) -> None:
        self.close()
        with self._errors():
            self._open()

    def _renew_if_old(self) -> None:
        if self._moments > 1 or time.monotonic() - self._began > self._max_age * 0.9:
            moments = self._moments
            self._reopen()
            self._moments = moments + 1

    def _limit_age(self, cursor: psycopg.Cursor[Any]) -> None:
        remaining = self._max_age - (time.monotonic() - self._began)
        cursor.execute(f"SET LOCAL statement_timeout = {max(int(remaining * 1000), 1)}".encode())

    def _query(self, statement: str) -> Sequence[tuple[Any, ...]]:
        return self._sessions[0].execute(statement.encode()).fetchall()

    def _read(self, statement: str, session: Session | None = None) -> Sequence[tuple[Any, ...]]:
        with self._errors(), (session or self._sessions[0]).cursor() as cursor:
            self._limit_age(cursor)
            try:
                return cursor.execute(statement.encode()).fetchall()
            except psycopg.errors.QueryCanceled:
                if time.monotonic() - self._began >= self._max_age * 0.95:
                    raise _TooOldError from None
                raise

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            raise postgres_error(error).at(verify=self.label) from error


def _csv_batches(data: bytes) -> Iterator[pa.RecordBatch]:
    """Rows that the server wrote as CSV. Keys may hold quotes and line ends, which pyarrow's reader takes only when it
    is told to; a NULL does not occur."""
    if not data:
        return
    table = pa_csv.read_csv(
        io.BytesIO(data),
        read_options=pa_csv.ReadOptions(column_names=KEY_HASHES.names, use_threads=False, block_size=len(data) + 1),
        parse_options=pa_csv.ParseOptions(newlines_in_values=True),
        convert_options=pa_csv.ConvertOptions(
            column_types=KEY_HASHES,
            true_values=["t"],
            false_values=["f"],
            strings_can_be_null=False,
        ),
    )
    yield from table.to_batches()
