"""The rows of a plan before they are published, for questions in SQL: read-only, shut off from files and network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from syncline.connectors.duckdb.database import Database
from syncline.connectors.duckdb.loading import append_stage
from syncline.connectors.duckdb.sql import TableName, folded, quote
from syncline.connectors.duckdb.stage import StageFolder
from syncline.connectors.duckdb.tables import StreamPlace
from syncline.connectors.duckdb.types import column_type
from syncline.core.checkpoint import Staged, StreamTarget
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.schema import Field
from syncline.core.stream import WriteMode
from syncline.sdk.time_limit import ANSWER_SECONDS, time_limit, too_long

__all__ = ["DuckdbStagedView", "flushed_view", "staged_view"]

_HELD = TableName(catalog="temp", schema="main", name="_syncline_held")


@contextmanager
def staged_view(
    database: Database, place: StreamPlace, target: StreamTarget, held: Sequence[Staged]
) -> Iterator[DuckdbStagedView]:
    """See :class:`syncline.sdk.destination.ReadsStage`. The file stays open, and others out, until the block ends."""
    with database.opened(read_only=True) as con:
        if target.write is WriteMode.REPLACE:
            relation = place.hidden(target.generation)
            where = f"table {relation} in {database.path}"
        else:
            relation = _HELD
            where = f"stages below {database.side}"
            types = {folded(f.name): column_type(f) for f in target.schema.fields}
            columns = ", ".join(f"{quote(f.name)} {types[folded(f.name)]}" for f in target.schema.fields)
            con.execute(f"CREATE TEMPORARY TABLE {relation} ({columns})")
            folder = StageFolder(database.side, target)
            for one in held:
                append_stage(con, folder, one, target, relation, types)
        # From here on the statements may be a user's.
        con.execute("SET enable_external_access = false")
        con.execute(f"USE {quote(place.table.schema)}")
        yield DuckdbStagedView(con, str(relation), where, place.table)


@contextmanager
def flushed_view(con: duckdb.DuckDBPyConnection, path: Path, table: TableName) -> Iterator[DuckdbStagedView]:
    """The table as the open transaction has it. Files and network stay shut until the connection is closed, which is
    after the flush."""
    before = con.execute("SELECT current_database(), current_schema()").fetchone()
    assert before is not None
    con.execute("SET enable_external_access = false")
    con.execute(f"USE {quote(table.schema)}")
    yield DuckdbStagedView(con, str(table), f"table {table} in {path}", table)
    con.execute(f"USE {quote(before[0])}.{quote(before[1])}")


class DuckdbStagedView:
    """See :class:`syncline.sdk.destination.StagedView`."""

    def __init__(self, con: duckdb.DuckDBPyConnection, relation: str, place: str, table: TableName) -> None:
        self.relation = relation
        self.place = place
        self.published = str(table)
        self._con = con
        self._schema = table.schema

    def table(self, name: str) -> str:
        schema, _, table = name.rpartition(".")
        return f"{quote(schema or self._schema)}.{quote(table)}"

    def columns(self) -> list[str]:
        described = self._con.execute(f"SELECT * FROM {self.relation} LIMIT 0").description or ()
        return [str(d[0]) for d in described]

    def rows(self, query: str, *, seconds: float = ANSWER_SECONDS) -> list[tuple[Any, ...]]:
        with time_limit(seconds, self._con.interrupt) as limit:
            try:
                asked = self._con.extract_statements(query)
                if len(asked) != 1 or asked[0].type != duckdb.StatementType.SELECT:
                    raise duckdb.ParserException("a question is one SELECT")
                # By way of Arrow: DuckDB's own moments with a zone need a library that we do not have.
                found = self._con.execute(query).to_arrow_table()
            except duckdb.Error as error:
                if limit.passed:
                    raise too_long(seconds) from error
                raise _not_understood(error) from error
        return list(zip(*(column.to_pylist() for column in found.columns), strict=True))

    def batches(self, fields: Sequence[Field]) -> Iterator[pa.RecordBatch]:
        schema = pa.schema([f.arrow() for f in fields])
        wanted = ", ".join(quote(f.name) for f in fields)
        reader = self._con.execute(f"SELECT {wanted} FROM {self.relation}").to_arrow_reader(65536)
        for batch in reader:
            columns = [c if c.type == f.type else c.cast(f.type) for c, f in zip(batch.columns, schema, strict=True)]
            yield pa.RecordBatch.from_arrays(columns, schema=schema)


def _not_understood(error: duckdb.Error) -> SynclineError:
    return SynclineError(
        ErrorKind.CONFIG,
        f"DuckDB cannot answer a gate's question: {str(error).strip().splitlines()[0]}",
        hint="try the statement by hand at the destination; gates may read its tables, and no files",
        where={"connector": "duckdb"},
    )
