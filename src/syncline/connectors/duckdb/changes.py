"""Changes of a log applied to the tables of one file: one transaction for a flush, however many streams it has.

The file is opened by the first change of a flush and closed after its commit, so that others come in between.

DuckDB 1.5 cannot commit a transaction that deletes rows of a table and then adds a column to it or changes a type
("another transaction has altered this table"). So when that comes in the middle of a flush, what the flush did is
rolled back, the table is altered by a transaction of its own (which shows nothing but the column), and the flush is
done again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime

import duckdb
import pyarrow as pa

from syncline.connectors.duckdb.aside import aside_batch
from syncline.connectors.duckdb.changes_merge import Merge
from syncline.connectors.duckdb.config import DuckdbDestinationConfig
from syncline.connectors.duckdb.database import Database
from syncline.connectors.duckdb.errors import from_duckdb
from syncline.connectors.duckdb.ledger import Ledger
from syncline.connectors.duckdb.loading import reclaim
from syncline.connectors.duckdb.sql import TableName, literal
from syncline.connectors.duckdb.staged import DuckdbStagedView, flushed_view
from syncline.connectors.duckdb.tables import ColumnPlan, StreamPlace, Tables, place_of
from syncline.core.batch import QuarantinedRow
from syncline.core.change import ChangeBatch, Evolution
from syncline.core.checkpoint import StreamTarget
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.failpoints import failpoint
from syncline.core.stream import StreamName, WriteMode
from syncline.sdk.change_log import Applied, StreamCommit
from syncline.sdk.quarantine import value_text

__all__ = ["DuckdbChangeSession"]

#: ~64 MB of a flush are kept for doing it again. An engine's flush is no larger, except for a very large transaction.
_KEPT_BYTES = 64 << 20


class DuckdbChangeSession:
    """A :class:`~syncline.sdk.change_log.ChangeSession` on one file."""

    def __init__(self, config: DuckdbDestinationConfig, database: Database, connection: str) -> None:
        self._config = config
        self._database = database
        self._connection = connection
        self._file = ExitStack()
        self._forget()

    def _forget(self) -> None:
        self._con: duckdb.DuckDBPyConnection | None = None
        self._followed: dict[StreamName, StreamTarget] = {}
        self._changed: dict[StreamName, TableName] = {}  # tables in which the flush has written
        self._merged: set[StreamName] = set()
        self._fills: dict[StreamName, dict[str, str]] = {}
        self._done: list[tuple[StreamTarget, ChangeBatch]] | None = []
        self._done_bytes = 0
        self._extracted_at = datetime.now(UTC)

    # -- the protocol ----------------------------------------------------------------------------------------------

    def apply(self, target: StreamTarget, batch: ChangeBatch) -> Applied:
        with self._errors():
            self._follow(target, batch.evolution)
            applied = self._carry_out(target, batch)
            self._done_bytes += batch.bytes
            if self._done is not None and self._done_bytes <= _KEPT_BYTES:
                self._done.append((target, batch))
            else:
                self._done = None
            return applied

    def commit(self, commits: Sequence[StreamCommit]) -> None:
        try:
            with self._errors():
                con = self._begun()
                if self._changed:
                    failpoint("apply.inside")
                for each in commits:
                    self._ledger(each.target.stream).advance(each.checkpoint, each.token)
                failpoint("commit.inside")
                con.commit()
                for stream in self._merged:
                    reclaim(con, self._changed[stream])
                self._file.close()
        except BaseException:
            self.rollback()
            raise
        self._forget()

    @contextmanager
    def flushed(self, target: StreamTarget) -> Iterator[DuckdbStagedView]:
        """See :class:`~syncline.sdk.change_log.ReadsFlush`."""
        with self._errors():
            place = self._place(target.stream)
            with flushed_view(self._begun(), self._database.path, place.table) as view:
                yield view

    def rollback(self) -> None:
        con = self._con
        self._forget()
        if con is not None:
            # Closing it would say so too, but after an error DuckDB may already have done it.
            with suppress(duckdb.Error):
                con.rollback()
        file, self._file = self._file, ExitStack()
        file.close()

    def close(self) -> None:
        self.rollback()

    # -- the file --------------------------------------------------------------------------------------------------

    def _begun(self) -> duckdb.DuckDBPyConnection:
        if self._con is None:
            con = self._file.enter_context(self._database.opened())
            con.begin()
            self._con = con
            self._extracted_at = datetime.now(UTC)
        return self._con

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except duckdb.Error as error:
            raise from_duckdb(error, self._database.path) from error

    def _place(self, stream: StreamName) -> StreamPlace:
        return place_of(self._config, self._connection, stream)

    def _ledger(self, stream: StreamName) -> Ledger:
        return Ledger(self._begun(), self._place(stream).table.schema, self._connection, stream)

    # -- the tables ------------------------------------------------------------------------------------------------

    def _follow(self, target: StreamTarget, evolution: Evolution | None) -> None:
        """Let the table have the target's columns."""
        stream = target.stream
        if evolution is None and self._followed.get(stream) == target:
            return
        tables, made = self._tables(target)
        if evolution is not None and made:
            for new, old in evolution.renamed.items():
                tables.rename(old, new)
        plan = tables.inspect(known=True)
        fills = {} if evolution is None else {name: _sql(value) for name, value in evolution.backfill.items()}
        if (plan.add or plan.widen) and made and stream in self._changed:
            self._alter_apart(target, plan, evolution, fills)
        else:
            tables.evolve(plan, made=made, fills=fills)
            if fills:
                self._changed[stream] = self._place(stream).table
        self._followed[stream] = target

    def _tables(self, target: StreamTarget) -> tuple[Tables, bool]:
        con, place, ledger = self._begun(), self._place(target.stream), self._ledger(target.stream)
        tables = Tables(con, ledger, place, target)
        if not tables.exists(place.table):
            raise SynclineError(
                ErrorKind.CONFLICT,
                f"table {place.table} is gone",
                hint="reset the stream's state, so that it is copied anew",
                where={"connector": "duckdb", "stream": str(target.stream)},
            )
        return tables, ledger.made(place.table.name)

    def _alter_apart(
        self, target: StreamTarget, plan: ColumnPlan, evolution: Evolution | None, fills: dict[str, str]
    ) -> None:
        """Alter first and do the flush again. Rows of the batches before get the filled value themselves."""
        done, con = self._done, self._begun()
        if done is None:
            raise SynclineError(
                ErrorKind.SCHEMA,
                f"table {self._place(target.stream).table} would have to be altered in the middle of a transaction of "
                f"more than {_KEPT_BYTES >> 20} MB that has changed its rows, which DuckDB cannot do",
                hint="copy the stream anew: syncline state reset",
                where={"connector": "duckdb", "stream": str(target.stream)},
            )
        con.rollback()
        con.begin()
        former = {} if evolution is None else evolution.renamed
        widen = tuple(former.get(name, name) for name in plan.widen)
        types = {**plan.types, **{former.get(name, name): plan.types[name] for name in plan.widen}}
        early = ColumnPlan(types=types, add=plan.add, widen=widen)
        tables, made = self._tables(target)
        tables.evolve(early, made=made, fills=fills)
        con.commit()
        con.begin()
        kept = {**self._fills, target.stream: {**self._fills.get(target.stream, {}), **fills}}
        self._followed, self._changed, self._fills = {}, {}, kept
        for each, batch in done:
            self._follow(each, batch.evolution)
            self._carry_out(each, batch)
        if evolution is not None:
            tables, _ = self._tables(target)
            for new, old in evolution.renamed.items():
                tables.rename(old, new)

    # -- the rows --------------------------------------------------------------------------------------------------

    def _carry_out(self, target: StreamTarget, batch: ChangeBatch) -> Applied:
        if batch.rows == 0:
            return Applied(rows=0)
        con, place = self._begun(), self._place(target.stream)
        tables = Tables(con, self._ledger(target.stream), place, target)
        fills = self._fills.get(target.stream, {})
        merge = Merge(con, target, place.table, tables.types_of(place.table), fills, self._extracted_at)
        self._changed[target.stream] = place.table
        if target.write is WriteMode.APPEND:
            merge.append(batch)
        else:
            merge.merge(batch)
            self._merged.add(target.stream)
        if merge.long_texts:
            # Its search for repeats in long texts costs much and finds none, see :func:`.loading.spare_long_texts`.
            con.execute("SET disabled_compression_methods = 'dict_fsst'")
        self._put_aside(target, merge.aside)
        keys = pa.Table.from_batches(merge.missing).combine_chunks().to_batches()[0] if merge.missing else None
        return Applied(rows=batch.rows, quarantined=len(merge.aside), missing=keys)

    def _put_aside(self, target: StreamTarget, rows: Sequence[QuarantinedRow]) -> None:
        if not rows:
            return
        con = self._begun()
        con.register("_syncline_aside", pa.Table.from_batches([aside_batch(rows)]))
        try:
            self._ledger(target.stream).quarantine_from(
                "_syncline_aside", partition="log", generation=target.generation, sync_id=target.sync_id
            )
        finally:
            con.unregister("_syncline_aside")


def _sql(value: pa.Scalar) -> str:
    """A value as SQL that casts to its column's type."""
    if not value.is_valid:
        return "NULL"
    if pa.types.is_binary(value.type) or pa.types.is_large_binary(value.type):
        return "'" + "".join(f"\\x{byte:02X}" for byte in value.as_py()) + "'"
    return literal(value_text(value) or "")
