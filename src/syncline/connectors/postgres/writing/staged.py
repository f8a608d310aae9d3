"""The rows of a plan before they are published, for questions in SQL: one read-only transaction of bounded time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
import pyarrow as pa
from psycopg import sql

from syncline.connectors.postgres.reading.statement import TableName, commas, run, statement, trusted
from syncline.connectors.postgres.writing.ledger import Ledger
from syncline.connectors.postgres.writing.tables import staged_fields
from syncline.core.checkpoint import Staged, StreamTarget
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.schema import Field
from syncline.core.stream import WriteMode
from syncline.sdk.time_limit import ANSWER_SECONDS, too_long

if TYPE_CHECKING:
    from syncline.connectors.postgres.connection import Session

__all__ = ["PostgresStagedView", "flushed_view", "staged_view"]

_BATCH_ROWS = 20_000
#: What the server says of a statement and not of itself: 22 its values, 25 that it writes, 42 its words.
_STATEMENTS = ("21", "22", "25", "42")


@contextmanager
def staged_view(
    session: Session, ledger: Ledger, target: StreamTarget, held: Sequence[Staged]
) -> Iterator[PostgresStagedView]:
    """See :class:`syncline.sdk.destination.ReadsStage`."""
    table = ledger.place.table
    if target.write is WriteMode.REPLACE:
        relations = [ledger.place.generation(target.generation)]
        relation: sql.Composable = relations[0].sql
    else:
        relations = [table.sibling(str(s.payload["relation"])) for s in held]
        columns = commas(sql.Identifier(f.name) for f in staged_fields(target))
        parts = [statement("SELECT {columns} FROM {stage}", columns=columns, stage=r) for r in relations]
        if not parts:
            parts = [statement("SELECT {columns} FROM {table} LIMIT 0", columns=columns, table=table)]
        relation = sql.SQL("(") + sql.SQL(" UNION ALL ").join(parts) + sql.SQL(")")
    with session.transaction():
        run(session, "SET TRANSACTION READ ONLY")
        run(session, "SELECT set_config('statement_timeout', {wait}, true)", wait=f"{ANSWER_SECONDS:.0f}s")
        path = sql.SQL(", ").join([sql.Identifier(table.schema), sql.SQL("public")]).as_string(session)
        run(session, "SELECT set_config('search_path', {path}, true)", path=path)
        names = ", ".join(str(r) for r in relations) or "no stage"
        yield PostgresStagedView(session, relation.as_string(session), f"table {names}", table)


@contextmanager
def flushed_view(session: Session, table: TableName) -> Iterator[PostgresStagedView]:
    """The table as the session's open transaction has it. What the questions need is set within a savepoint, and the
    transaction cannot be written to by them."""
    run(session, "SAVEPOINT _syncline_gates")
    run(session, "SELECT set_config('statement_timeout', {wait}, true)", wait=f"{ANSWER_SECONDS:.0f}s")
    path = sql.SQL(", ").join([sql.Identifier(table.schema), sql.SQL("public")]).as_string(session)
    run(session, "SELECT set_config('search_path', {path}, true)", path=path)
    # Switched off where a few rows are looked up by key (see changes_staged).
    run(session, "SET LOCAL enable_hashjoin = on; SET LOCAL enable_mergejoin = on")
    run(session, "SET LOCAL transaction_read_only = on")
    yield PostgresStagedView(session, table.sql.as_string(session), f"table {table}", table)
    run(session, "ROLLBACK TO SAVEPOINT _syncline_gates; RELEASE SAVEPOINT _syncline_gates")


class PostgresStagedView:
    """See :class:`syncline.sdk.destination.StagedView`."""

    def __init__(self, session: Session, relation: str, place: str, table: TableName) -> None:
        self.relation = relation
        self.place = place
        self.published = table.sql.as_string(session)
        self._session = session
        self._table = table

    def table(self, name: str) -> str:
        schema, _, table = name.rpartition(".")
        return TableName(schema=schema or self._table.schema, name=table).sql.as_string(self._session)

    def columns(self) -> list[str]:
        found = self._session.execute(trusted(f"SELECT * FROM {self.relation} s LIMIT 0")).description
        return [c.name for c in found or ()]

    def rows(self, query: str, *, seconds: float = ANSWER_SECONDS) -> list[tuple[Any, ...]]:
        wait = f"{max(1, round(seconds * 1000))}ms"
        run(self._session, "SELECT set_config('statement_timeout', {wait}, true)", wait=wait)
        try:
            return self._session.execute(trusted(query)).fetchall()
        except psycopg.errors.QueryCanceled as error:
            raise too_long(seconds) from error
        except psycopg.Error as error:
            if (error.sqlstate or "")[:2] not in _STATEMENTS:
                raise
            raise SynclineError(
                ErrorKind.CONFIG,
                f"Postgres cannot answer a gate's question: {error.diag.message_primary}",
                hint="try the statement by hand at the destination",
                where={"connector": "postgres"},
            ) from error

    def batches(self, fields: Sequence[Field]) -> Iterator[pa.RecordBatch]:
        schema = pa.schema([f.arrow() for f in fields])
        wanted = ", ".join(_readable(f).as_string(self._session) for f in fields)
        with self._session.cursor(name="_syncline_staged") as cursor:
            cursor.itersize = _BATCH_ROWS
            cursor.execute(trusted(f"SELECT {wanted} FROM {self.relation} s"))
            while rows := cursor.fetchmany(_BATCH_ROWS):
                columns = zip(*rows, strict=True)
                arrays = [pa.array(c, f.type) for c, f in zip(columns, fields, strict=True)]
                yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def _readable(field: Field) -> sql.Composable:
    """A column as Python can hold it; what it cannot hold (infinity, NaN) is NULL here."""
    name = sql.Identifier(field.name)
    if pa.types.is_string(field.type) or pa.types.is_large_string(field.type):
        return sql.SQL("s.{}::text").format(name)
    if pa.types.is_timestamp(field.type) or pa.types.is_date(field.type):
        return sql.SQL("CASE WHEN isfinite(s.{0}) THEN s.{0} END").format(name)
    if pa.types.is_decimal(field.type):
        return sql.SQL("nullif(s.{}, 'NaN')").format(name)
    return sql.SQL("s.{}").format(name)
