"""A Postgres table or view as one end: the server itself sums the hashes, only the sums travel.

Everything is read in one REPEATABLE READ, READ ONLY transaction, shared by a few sessions through an exported snapshot,
so that all of the table is seen at one moment. Where that transaction would become older than is allowed, chunks are
read one group after the other, each at its own moment, and the report says so.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.csv as pa_csv

from syncline.core.errors import ErrorKind, SynclineError
from syncline.verify.columns import Chunking, ColumnSpec
from syncline.verify.division import range_predicate
from syncline.verify.postgres_catalog import Relation, read_relation
from syncline.verify.postgres_cells import Dialect, UnsupportedError, identifier
from syncline.verify.postgres_sessions import Sessions, TooOldError
from syncline.verify.postgres_statements import PostgresTable, Statements
from syncline.verify.side import KEY_HASHES, Progress, RowCells
from syncline.verify.sums import ChunkSum, Sums

if TYPE_CHECKING:
    import psycopg

    Session = psycopg.Connection[tuple[Any, ...]]

__all__ = ["PostgresSide"]

#: ~64 MB with 8 KB pages: some hundred thousand rows, so that progress is seen and the age is looked at often enough.
_SLAB_PAGES = 8192
#: A group of chunks read at its own moment.
_GROUP_ROWS = 2_000_000
#: What is handed on at once while rows are read one by one.
_COPY_BYTES = 4 << 20
_SHOWN_CHARACTERS = 200


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
        self.label = label
        self.notes: list[str] = []
        self._count = max(sessions, 1)
        self._sessions = Sessions(
            connect,
            table.schema,
            table.name,
            label=label,
            max_age=max_age,
            lock_timeout=lock_timeout,
            snapshot=snapshot,
        )
        try:
            with self._sessions.errors():
                self._sessions.open()
                version = self._sessions.server_version
                encoding = self._sessions.query("SELECT current_setting('server_encoding')")[0][0]
                self._relation = read_relation(self._sessions.query, table.schema, table.name)
            dialect = Dialect(utf8=encoding == "UTF8", trims=version >= 130_000)
            self._table = decide(self._relation) if decide else table
            self._sql = Statements(self._table, self._relation, dialect, bytes_to_int=version >= 180_000)
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
            self._sql.cell(column)
        except UnsupportedError as reason:
            return str(reason)
        return None

    def orders(self, column: ColumnSpec) -> bool:
        try:
            self._sql.comparable(column)
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
        cells = ", ".join(f"concat({self._sql.cell(column)})" for column in key)
        nulls = ", ".join(f"{identifier(column.name)} IS NULL" for column in key)
        where = f" WHERE {self._table.where}" if self._table.where else ""
        rows = self._sessions.read(
            f"SELECT {cells}, {nulls} FROM {self._sql.base()} TABLESAMPLE SYSTEM ({percent}){where} LIMIT {want * 4}"
        )
        width = len(key)
        return [tuple(None if row[width + n] else str(row[n]) for n in range(width)) for row in rows]

    def chunk_sums(self, columns: Sequence[ColumnSpec], chunking: Chunking, progress: Progress) -> Sums:
        try:
            return self._sums_at_one_moment(columns, chunking, progress)
        except TooOldError:
            return self._sums_at_many_moments(columns, chunking, progress)

    def key_hashes(
        self, columns: Sequence[ColumnSpec], chunking: Chunking, chunks: Sequence[int]
    ) -> Iterator[pa.RecordBatch]:
        rows = self._sql.chosen(columns, chunking, chunks)
        statement = f"COPY (SELECT c, k, m, p FROM ({rows}) AS s) TO STDOUT (FORMAT csv)"
        self._sessions.renew_if_old()
        with self._sessions.errors(), self._sessions.first.cursor() as cursor:
            self._sessions.limit_age(cursor)
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
        texts = [f"concat({self._sql.cell(column)})" for column in columns]
        extra = (
            f"ARRAY[{', '.join(f'left({t}, {_SHOWN_CHARACTERS})' for t in texts)}] AS a, "
            f"ARRAY[{', '.join(self._sql.md5(t) for t in texts)}] AS b"
        )
        rows = self._sql.chosen(columns, chunking, chunks, extra=extra, keys=keys)
        self._sessions.renew_if_old()
        return [
            RowCells(key=key, pending=bool(pending), cells=tuple(cells), digests=tuple(digests))
            for key, pending, cells, digests in self._sessions.read(f"SELECT k, p, a, b FROM ({rows}) AS s")
        ]

    def query(self, statement: str) -> Sequence[tuple[Any, ...]]:
        """Rows of a query of ours beside the comparison, seen at the same moment."""
        return self._sessions.read(statement)

    def moment(self) -> dict[str, Any]:
        return {**self._sessions.moment, "moments": self._sessions.moments}

    def close(self) -> None:
        self._sessions.close()

    @staticmethod
    def _add(sums: Sums, rows: Sequence[tuple[Any, ...]]) -> int:
        """Add the result of :meth:`Statements.sums`; returns the rows in it. Halves are signed there: the upper one
        matters modulo 2^64 only, the lower one lacks 2^64 for each negative."""
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
                    self._sessions.refuse_if_hopeless(finished, len(slabs))
                if slab is None:
                    return
                rows = self._sessions.read(self._sql.sums(columns, chunking, slab or None), session)
                with guard:
                    finished += 1
                    done += self._add(sums, rows)
                    progress(self.label, done, self._relation.rows)

        sessions = self._sessions.share(min(self._count, len(slabs)))
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
        if self._table.latest or self._relation.pages <= _SLAB_PAGES or self._sessions.server_version < 140_000:
            return [""]
        starts = list(range(0, self._relation.pages, _SLAB_PAGES))
        slabs = [f"ctid >= '({a},0)'::tid AND ctid < '({b},0)'::tid" for a, b in pairwise(starts)]
        return [*slabs, f"ctid >= '({starts[-1]},0)'::tid"]

    # At many moments

    def _sums_at_many_moments(self, columns: Sequence[ColumnSpec], chunking: Chunking, progress: Progress) -> Sums:
        if not chunking.cuts:
            raise SynclineError(
                ErrorKind.RESOURCE,
                f"the table cannot be read within {self._sessions.max_age:g} s, and has no key to read it in parts by",
                hint="raise max_transaction_age of the source, or compare on a replica",
                where={"table": f"{self._table.schema}.{self._table.name}"},
            )
        sums, done = Sums(), 0
        key = [self._sql.comparable(column) for column in chunking.key]
        per_chunk = max(self._relation.rows, 1) / chunking.number
        step = max(1, int(_GROUP_ROWS / per_chunk))
        moments = 0
        for first in range(0, chunking.number, step):
            group = range(first, min(first + step, chunking.number))
            self._sessions.reopen()
            moments += 1
            try:
                rows = self._sessions.read(self._sql.sums(columns, chunking, range_predicate(chunking, key, group)))
            except TooOldError:
                raise SynclineError(
                    ErrorKind.RESOURCE,
                    f"a part of the table cannot be read within {self._sessions.max_age:g} s",
                    hint="raise max_transaction_age of the source, or compare on a replica",
                    where={"table": f"{self._table.schema}.{self._table.name}"},
                ) from None
            done += self._add(sums, rows)
            progress(self.label, done, self._relation.rows)
        self._sessions.moments = moments
        self.notes.append(
            f"{self.label}: read at {moments} moments, because one transaction would have been older than "
            f"{self._sessions.max_age:g} s; rows changed meanwhile may show as different"
        )
        return sums


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
