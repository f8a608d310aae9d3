"""What a Postgres table is asked when it is compared, as SQL: its cells' texts, chunks, hashes and their sums."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from syncline.verify.columns import Chunking, ColumnSpec
from syncline.verify.division import Comparable, chunk_by_range, range_predicate
from syncline.verify.postgres_catalog import Relation
from syncline.verify.postgres_cells import Dialect, cell_sql, concat_sql, identifier, literal
from syncline.verify.postgres_cells import comparable as comparable_sql
from syncline.verify.side import Latest

__all__ = ["PostgresTable", "Statements"]

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


class Statements:
    """For one table. ``bytes_to_int``: the server casts bytea to bigint."""

    def __init__(self, table: PostgresTable, relation: Relation, dialect: Dialect, *, bytes_to_int: bool) -> None:
        self._table, self._relation, self._dialect = table, relation, dialect
        # From 18 on; before, it goes through bit strings, at three times the cost.
        self._bytes_to_int = bytes_to_int

    def cell(self, column: ColumnSpec) -> str:
        physical = self._relation.columns[column.name]
        return cell_sql(identifier(column.name), column, column.kind, physical, self._dialect)

    def comparable(self, column: ColumnSpec) -> Comparable:
        return comparable_sql(identifier(column.name), column, self._relation.columns[column.name])

    def base(self) -> str:
        return identifier(self._table.schema, self._table.name)

    def from_(self) -> str:
        where = f" WHERE {self._table.where}" if self._table.where else ""
        if self._table.latest is None:
            return self.base()
        ranked = f"SELECT *, {self._table.latest.sql()} AS {_RANK} FROM {self.base()}{where}"
        alive = f" AND {self._table.latest.alive}" if self._table.latest.alive else ""
        return f"(SELECT * FROM ({ranked}) AS ranked WHERE {_RANK} = 1{alive}) AS latest"

    def where(self, *conditions: str | None) -> str:
        # With `latest` the table's own condition has been applied below it.
        own = None if self._table.latest else self._table.where
        known = [f"({c})" for c in (own, *conditions) if c and c != "true"]
        return f" WHERE {' AND '.join(known)}" if known else ""

    def pending(self) -> str:
        return f"coalesce({self._table.pending}, false)" if self._table.pending else "false"

    def md5(self, text: str) -> str:
        return f"md5({text})" if self._dialect.utf8 else f"md5(convert_to({text}, 'UTF8'))"

    def row_md5(self, columns: Sequence[ColumnSpec]) -> str:
        return self.md5(concat_sql([self.cell(column) for column in columns]))

    def key(self, chunking: Chunking) -> str:
        return concat_sql([self.cell(column) for column in chunking.key])

    def chunk(self, chunking: Chunking) -> str:
        """The number of a row's chunk; where there is no key, by the MD5 that a query below has named."""
        if chunking.cuts:
            return chunk_by_range(chunking, [self.comparable(column) for column in chunking.key])
        if chunking.number <= 1:
            return "0"
        digest = self.md5(self.key(chunking)) if chunking.key else _MD5
        return f"('x' || left({digest}, 4))::bit(16)::int % {chunking.number}"

    def chosen(
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
            ranges = range_predicate(chunking, [self.comparable(c) for c in chunking.key], chunks)
        only = f"= ANY (ARRAY[{', '.join(literal(key) for key in keys)}])" if keys is not None else None
        more = f", {extra}" if extra else ""
        row = f"{self.row_md5(columns)} AS m, {self.pending()} AS p"
        if chunking.key:
            conditions = [ranges, f"{self.chunk(chunking)} {wanted}", only and f"{self.key(chunking)} {only}"]
            key = f"{self.chunk(chunking)} AS c, {self.key(chunking)} AS k"
            return f"SELECT {row}, {key}{more} FROM {self.from_()}{self.where(*conditions)}"
        # The MD5 of every row is needed to find some; whatever else is shown, of those only.
        row = f"{self.row_md5(columns)} AS {_MD5}, {self.pending()} AS {_PENDING}"
        outer = [f"{self.chunk(chunking)} {wanted}", *([f"{_MD5} {only}"] if only else [])]
        return (
            f"SELECT {_MD5} AS m, {_PENDING} AS p, {self.chunk(chunking)} AS c, {_MD5} AS k{more} "
            f"FROM (SELECT *, {row} FROM {self.from_()}{self.where()} OFFSET 0) AS r WHERE {' AND '.join(outer)}"
        )

    def sums(self, columns: Sequence[ColumnSpec], chunking: Chunking, condition: str | None) -> str:
        """Per chunk: rows and the sums of the halves of their hashes. OFFSET 0 keeps the MD5 from being computed once
        for each place where it is used."""
        chunk = self.chunk(chunking)
        early, late = (f"{chunk} AS c", "c") if chunking.key else ("0 AS c", chunk)
        row = f"SELECT {early}, {self.row_md5(columns)} AS {_MD5} FROM {self.from_()}{self.where(condition)} OFFSET 0"
        halves = [f"substr(decode({_MD5}, 'hex'), {start}, 8)::bigint" for start in (1, 9)]
        if not self._bytes_to_int:
            halves = [f"('x' || substr({_MD5}, {start}, 16))::bit(64)::bigint" for start in (1, 17)]
        return (
            "SELECT c, count(*), sum(high), sum(low), count(*) FILTER (WHERE low < 0) "
            f"FROM (SELECT {late} AS c, {halves[0]} AS high, {halves[1]} AS low FROM ({row}) AS r OFFSET 0) AS h "
            "GROUP BY c"
        )
