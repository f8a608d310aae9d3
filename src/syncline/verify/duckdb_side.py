"""A DuckDB table, or files that DuckDB can be made to read, as one end: hashed and summed in SQL, in our process."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import duckdb
import pyarrow as pa

from syncline.verify.canonical import jsonb_text
from syncline.verify.columns import Chunking, ColumnSpec
from syncline.verify.division import Comparable, chunk_by_range, range_predicate
from syncline.verify.duckdb_cells import FUNCTIONS, cell_sql, comparable, concat_sql, identifier, literal
from syncline.verify.duckdb_errors import duckdb_error
from syncline.verify.postgres_cells import UnsupportedError
from syncline.verify.side import Latest, Progress, RowCells
from syncline.verify.sums import ChunkSum, Sums

__all__ = ["DuckDbSide", "Feed", "Part", "Restriction", "open_engine"]

#: Joins and windows over more than this go to disk.
_MEMORY = "192MB"
_SHOWN_CHARACTERS = 200
_BATCH_ROWS = 65_536
#: A name beside a table's own columns.
_MD5 = '"_syncline_md5"'


@contextmanager
def open_engine(work_dir: Path, *, threads: int = 2, memory: str = _MEMORY) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB of our own, bounded in memory, spilling below ``work_dir``; nothing of it is left afterwards."""
    work_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(prefix="verify-", dir=work_dir, ignore_cleanup_errors=True) as spill:
        engine = duckdb.connect(
            ":memory:",
            config={
                "memory_limit": memory,
                "threads": threads,
                "temp_directory": spill,
                "preserve_insertion_order": False,
                "autoinstall_known_extensions": False,
            },
        )
        try:
            engine.execute("SET TimeZone = 'UTC'")
            engine.execute(FUNCTIONS)
            yield engine
        finally:
            with suppress(duckdb.Error):
                engine.close()


@dataclass(frozen=True, kw_only=True)
class Part:
    """Some of the rows: what stands after FROM, each column's type, and a condition under which a row is pending."""

    sql: str
    types: Mapping[str, Any]
    pending: str = "false"


class Feed(Protocol):
    """Where the rows come from."""

    moment: Mapping[str, Any]
    estimated_rows: int
    #: Columns that this feed cannot give exactly, with the reason.
    refused: Mapping[str, str]

    def types(self, engine: duckdb.DuckDBPyConnection) -> dict[str, Any]:
        """Make the rows readable (attach, register) and say each column's type, as ``DuckDBPyType``. Called once."""
        ...

    def parts(self, engine: duckdb.DuckDBPyConnection) -> Iterator[Part]:
        """All rows, one part after the other; each is valid until the next is asked for."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Restriction:
    """Which of the rows count. ``where`` is an SQL condition of ours. With ``latest`` the feed must have a single
    part."""

    where: str | None = None
    latest: Latest | None = None


class DuckDbSide:
    """See :class:`syncline.verify.side.Side`. Owns the engine and the feed and closes both."""

    def __init__(
        self,
        feed: Feed,
        *,
        label: str,
        work_dir: Path,
        restriction: Restriction | None = None,
        threads: int = 2,
    ) -> None:
        self.label = label
        self.notes: list[str] = []
        self._feed, self._restriction = feed, restriction or Restriction()
        self._has_jsonb = False
        self._opened = ExitStack()
        self._opened.callback(feed.close)
        self._engine = self._opened.enter_context(open_engine(work_dir, threads=threads))
        try:
            with _errors(label):
                self._types = feed.types(self._engine)
        except BaseException:
            self.close()
            raise

    def names(self) -> set[str]:
        return set(self._types)

    def jsonb(self, column: str) -> bool:
        return False

    def refusal(self, column: ColumnSpec) -> str | None:
        if column.name not in self._types:
            return "is not there"
        if column.name in self._feed.refused:
            return self._feed.refused[column.name]
        try:
            _cell(self._types, column)
        except UnsupportedError as reason:
            return str(reason)
        return None

    def orders(self, column: ColumnSpec) -> bool:
        try:
            _comparable(self._types, column)
        except UnsupportedError:
            return False
        return True

    def estimated_rows(self) -> int:
        return self._feed.estimated_rows

    def sample(self, key: Sequence[ColumnSpec], want: int) -> list[tuple[str | None, ...]]:
        found: list[tuple[str | None, ...]] = []
        with _errors(self.label):
            for part in self._feed.parts(self._engine):
                cells = ", ".join(_cell(part.types, column) for column in key)
                found += self._engine.execute(f"SELECT {cells} FROM {part.sql} USING SAMPLE {want} ROWS").fetchall()
        return found

    def chunk_sums(self, columns: Sequence[ColumnSpec], chunking: Chunking, progress: Progress) -> Sums:
        self._prepare(columns)
        sums, done = Sums(), 0
        with _errors(self.label):
            for part in self._parts():
                for chunk, count, high, low in self._engine.execute(self._sums_sql(part, columns, chunking)).fetchall():
                    sums.add(chunk, ChunkSum.of_halves(count=count, high=int(high), low=int(low)))
                    done += count
                progress(self.label, done, self._feed.estimated_rows)
        return sums

    def key_hashes(
        self, columns: Sequence[ColumnSpec], chunking: Chunking, chunks: Sequence[int]
    ) -> Iterator[pa.RecordBatch]:
        self._prepare(columns)
        with _errors(self.label):
            for part in self._parts():
                rows = self._chosen(part, columns, chunking, chunks)
                result = self._engine.execute(
                    f"SELECT c::INTEGER AS chunk, k AS key, m AS hash, p AS pending FROM ({rows})"
                )
                # The name since DuckDB 1.5; 1.4 knows only the other, which 1.5 warns of.
                arrow = getattr(result, "to_arrow_reader", None) or result.fetch_record_batch
                yield from arrow(_BATCH_ROWS)

    def cells(
        self, columns: Sequence[ColumnSpec], chunking: Chunking, chunks: Sequence[int], keys: Sequence[str]
    ) -> list[RowCells]:
        self._prepare(columns)
        found = []
        with _errors(self.label):
            for part in self._parts() if keys else ():
                texts = [f"coalesce({_cell(part.types, column)}, '')" for column in columns]
                extra = (
                    f"[{', '.join(f'left({t}, {_SHOWN_CHARACTERS})' for t in texts)}] AS a, "
                    f"[{', '.join(f'md5({t})' for t in texts)}] AS b"
                )
                rows = self._chosen(part, columns, chunking, chunks, extra=extra, keys=keys)
                found += [
                    RowCells(key=key, pending=pending, cells=tuple(cells), digests=tuple(digests))
                    for key, pending, cells, digests in self._engine.execute(
                        f"SELECT k, p, a, b FROM ({rows})"
                    ).fetchall()
                ]
        return found

    def moment(self) -> dict[str, Any]:
        return dict(self._feed.moment)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of a query of ours beside the comparison, in this end's engine."""
        with _errors(self.label):
            return self._engine.execute(sql).fetchall()

    def close(self) -> None:
        self._opened.close()

    # How rows and chunks are written

    def _prepare(self, columns: Sequence[ColumnSpec]) -> None:
        if not self._has_jsonb and any(column.jsonb for column in columns):
            self._engine.create_function("syncline_jsonb", jsonb_text, ["VARCHAR"], "VARCHAR")
            self._has_jsonb = True

    def _parts(self) -> Iterator[Part]:
        for part in self._feed.parts(self._engine):
            where = f" WHERE {self._restriction.where}" if self._restriction.where else ""
            latest = ""
            if self._restriction.latest is not None:
                alive = f" AND {self._restriction.latest.alive}" if self._restriction.latest.alive else ""
                latest = f" QUALIFY {self._restriction.latest.sql()} = 1{alive}"
            yield replace(part, sql=f"(SELECT * FROM {part.sql}{where}{latest})")

    def _key(self, part: Part, chunking: Chunking) -> str:
        return concat_sql([_cell(part.types, column) for column in chunking.key])

    def _row(self, part: Part, columns: Sequence[ColumnSpec]) -> str:
        return concat_sql([_cell(part.types, column) for column in columns])

    def _chunk(self, part: Part, chunking: Chunking, row_md5: str) -> str:
        if chunking.cuts:
            return chunk_by_range(chunking, [_comparable(part.types, column) for column in chunking.key])
        if chunking.number <= 1:
            return "0"
        digest = f"md5({self._key(part, chunking)})" if chunking.key else row_md5
        return f"(('0x' || left({digest}, 4))::INTEGER % {chunking.number})"

    def _chosen(
        self,
        part: Part,
        columns: Sequence[ColumnSpec],
        chunking: Chunking,
        chunks: Sequence[int],
        *,
        extra: str | None = None,
        keys: Sequence[str] | None = None,
    ) -> str:
        """A query for rows of some chunks: c (chunk), k (key text), m (row MD5), p (pending), and ``extra``."""
        wanted = f"IN ({', '.join(str(chunk) for chunk in chunks)})"
        key = self._key(part, chunking) if chunking.key else _MD5
        conditions = [f"{self._chunk(part, chunking, _MD5)} {wanted}"]
        if chunking.cuts:
            # Lets DuckDB leave out row groups by their statistics.
            conditions.insert(0, range_predicate(chunking, [_comparable(part.types, c) for c in chunking.key], chunks))
        if keys is not None:
            conditions.append(f"{key} IN ({', '.join(literal(k) for k in keys)})")
        more = f", {extra}" if extra else ""
        inner = f"SELECT *, md5({self._row(part, columns)}) AS {_MD5} FROM {part.sql}"
        chosen = f"{self._chunk(part, chunking, _MD5)} AS c, {key} AS k, {_MD5} AS m, {part.pending} AS p{more}"
        return f"SELECT {chosen} FROM ({inner}) WHERE {' AND '.join(conditions)}"

    def _sums_sql(self, part: Part, columns: Sequence[ColumnSpec], chunking: Chunking) -> str:
        """Per chunk: rows and the sums of the halves of their hashes, unsigned."""
        chunk = self._chunk(part, chunking, "md5(r)")
        row = f"{self._row(part, columns)} AS r"
        inner = f"SELECT {row}, {chunk} AS c FROM {part.sql}"
        if not chunking.key:
            inner = f"SELECT r, {chunk} AS c FROM (SELECT {row} FROM {part.sql})"
        hashed = f"SELECT c, md5_number(r) AS h FROM ({inner})"
        low = "syncline_swap((h >> 64)::UBIGINT)"
        high = "syncline_swap((h & 18446744073709551615::UHUGEINT)::UBIGINT)"
        return f"SELECT c, count(*), sum({high}), sum({low}) FROM ({hashed}) GROUP BY c"


def _cell(types: Mapping[str, Any], column: ColumnSpec) -> str:
    """A column's cell; NULL where a part has no such column, as files have that are older than it."""
    if column.name not in types:
        return "NULL::VARCHAR"
    return cell_sql(identifier(column.name), column, column.kind, types[column.name])


def _comparable(types: Mapping[str, Any], column: ColumnSpec) -> Comparable:
    return comparable(identifier(column.name), column, types[column.name])


@contextmanager
def _errors(label: str) -> Iterator[None]:
    try:
        yield
    except duckdb.Error as error:
        raise duckdb_error(error).at(verify=label) from error
