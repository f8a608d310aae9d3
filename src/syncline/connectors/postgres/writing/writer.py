"""Writers: one partition, one session, one transaction, from the first row to the mark that says it is whole.

A REPLACE writer's table is the hidden generation itself; an APPEND or MERGE writer makes an unlogged stage of its own.
Either way nothing of it exists for others before :meth:`seal`, and :meth:`seal` succeeds only while our token is the
current one.
"""

from __future__ import annotations

import contextlib
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import psycopg
import pyarrow as pa
import pyarrow.compute as pc

from syncline.connectors.postgres.copy.encode import CopyWriter, find_unencodable
from syncline.connectors.postgres.errors import postgres_errors
from syncline.connectors.postgres.reading.statement import TableName
from syncline.connectors.postgres.writing.aside import aside_row
from syncline.connectors.postgres.writing.landing import Landing, copy_statement
from syncline.connectors.postgres.writing.ledger import Ledger
from syncline.connectors.postgres.writing.loading import LoadColumn, prepared
from syncline.connectors.postgres.writing.marks import Mark
from syncline.core.batch import Batch, Misfit, QuarantinedRow
from syncline.core.checkpoint import Staged, StreamTarget
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.failpoints import failpoint

if TYPE_CHECKING:
    from syncline.connectors.postgres.connection import Session

__all__ = ["ArrowWriter", "Berth", "RelayWriter", "staged_of"]

#: Quarantined rows kept in memory before they are sent; the COPY in progress has to be ended for them.
_ASIDE_ROWS = 500


@dataclass(frozen=True, kw_only=True)
class Berth:
    """Where a partition is laid down. ``keys``: columns that must not be NULL. ``checked``: the table has constraints
    that may refuse a row."""

    target: StreamTarget
    partition: str
    token: int
    table: TableName
    scratch: TableName
    keys: tuple[str, ...] = ()
    checked: bool = False


class _Transaction:
    """The session of one writer and its only transaction. ``release`` gets the session back, if it is still good."""

    def __init__(self, session: Session, ledger: Ledger, berth: Berth, release: Callable[[Session], None]) -> None:
        self.session = session
        self.berth = berth
        self._ledger = ledger
        self._release = release
        self._open = True
        self.note: Mapping[str, Any] = {}
        self._where = {"stream": str(berth.target.stream), "partition": berth.partition}

    def errors(self) -> contextlib.AbstractContextManager[None]:
        return postgres_errors(**self._where)

    def put_aside(self, rows: Sequence[QuarantinedRow]) -> None:
        self._ledger.quarantine.put_aside(
            self.session,
            rows,
            partition=self.berth.partition,
            generation=self.berth.target.generation,
            sync_id=self.berth.target.sync_id,
        )

    def seal(self, rows: int, quarantined: int, size: int) -> Staged:
        """Mark, look at the token, commit."""
        berth = self.berth
        mark = Mark(
            partition=berth.partition,
            generation=berth.target.generation,
            sync_id=berth.target.sync_id,
            relation=berth.table.name,
            rows=rows,
            quarantined=quarantined,
            bytes=size,
            note=self.note,
        )
        self._ledger.marks.put(self.session, mark, berth.token)
        self._ledger.hold(self.session, berth.token)
        failpoint("seal.inside")
        self.session.commit()
        self._open = False
        self._release(self.session)
        return staged_of(mark)

    def abort(self) -> None:
        """Roll back and let the session go; nothing of the partition remains."""
        if self._open:
            self._open = False
            # Whatever goes wrong here, the server rolls back when the session ends.
            with contextlib.suppress(psycopg.Error):
                self.session.rollback()
            self.session.close()


def staged_of(mark: Mark) -> Staged:
    """The proof that the engine carries, from the mark in the database."""
    return Staged(
        partition=mark.partition,
        rows=mark.rows,
        quarantined=mark.quarantined,
        bytes=mark.bytes,
        payload={"relation": mark.relation, "generation": mark.generation, "sync_id": mark.sync_id},
        note=mark.note,
    )


class ArrowWriter:
    """Takes batches. The session is in a transaction in which the token has been looked at and the table exists."""

    def __init__(
        self,
        session: Session,
        ledger: Ledger,
        berth: Berth,
        columns: Sequence[LoadColumn],
        release: Callable[[Session], None],
    ) -> None:
        self._transaction = _Transaction(session, ledger, berth, release)
        self._columns = tuple(columns)
        self._encode = tuple(c.encode for c in columns)
        # A key that is NULL equals no other: such rows cannot be merged, and no primary key holds them.
        self._keys = berth.keys
        self._texts_welcome = berth.target.dialect == "postgres"
        self._landing = Landing(session, berth.table, columns, scratch=berth.scratch, checked=berth.checked)
        self._aside: list[QuarantinedRow] = []
        self._quarantined = self._sent = self._bytes = 0

    def note(self, note: Mapping[str, Any]) -> None:
        """See :class:`syncline.sdk.destination.TakesNote`."""
        self._transaction.note = note

    def write(self, batch: Batch) -> None:
        """Rows that can be held go into the table, the others aside."""
        if batch.rows == 0:
            return
        with self._transaction.errors():
            data, misfits = batch.data, list(batch.misfits)
            failed = [m for m in misfits if m.rule or not self._texts_welcome]
            if failed:
                data, misfits = self._set_aside(data, failed, [m for m in misfits if not m.rule])
            encoded, problems = prepared(data, self._columns)
            problems += find_unencodable(encoded, self._encode)
            problems += self._null_keys(data, misfits)
            if problems:
                data, misfits = self._set_aside(data, problems, misfits)
                encoded, _ = prepared(data, self._columns)
            self._lay(data, encoded, misfits)
            self._bytes += batch.bytes
            if len(self._aside) >= _ASIDE_ROWS:
                self._flush_aside()

    def seal(self) -> Staged:
        with self._transaction.errors():
            self._flush_aside()
            rows = self._landing.finish()
            if rows != self._sent:
                raise SynclineError(ErrorKind.INTERNAL, f"{self._sent} rows were sent but the server took {rows}")
            return self._transaction.seal(rows, self._quarantined, self._bytes)

    def abort(self) -> None:
        self._landing.abort()
        self._transaction.abort()

    def _lay(self, data: pa.RecordBatch, encoded: pa.RecordBatch, misfits: list[Misfit]) -> None:
        if not misfits:
            self._sent += data.num_rows
            if data.num_rows:
                self._landing.write(encoded, self._refusing(data, []))
            return
        rows = sorted({m.row for m in misfits})
        mask = pc.is_in(pa.array(range(data.num_rows), pa.int64()), value_set=pa.array(rows, pa.int64()))
        self._lay(data.filter(pc.invert(mask)), encoded.filter(pc.invert(mask)), [])
        apart = [replace(m, row=bisect_left(rows, m.row)) for m in misfits]
        self._sent += len(rows)
        self._landing.write_texts(encoded.filter(mask), apart, self._refusing(data.filter(mask), apart))

    def _refusing(self, data: pa.RecordBatch, misfits: Sequence[Misfit]) -> Callable[[int, str | None, str], None]:
        def refuse(row: int, column: str | None, reason: str) -> None:
            texts = [m for m in misfits if m.row == row]
            guess = texts[0].column if texts else data.schema.names[0]
            known = column if column is not None and column in data.schema.names else guess
            self._aside.append(aside_row(data, row, known, reason, texts))
            self._quarantined += 1
            self._sent -= 1

        return refuse

    def _set_aside(
        self, data: pa.RecordBatch, problems: Sequence[Misfit], misfits: Sequence[Misfit]
    ) -> tuple[pa.RecordBatch, list[Misfit]]:
        """Rows with ``problems`` go aside; returns the others, with the ``misfits`` among them numbered anew."""
        bad = sorted({p.row for p in problems})
        gone = set(bad)
        first = {p.row: p for p in reversed(problems)}
        texts: dict[int, list[Misfit]] = {}
        for m in [*misfits, *problems]:
            if m.row in gone and m.text:
                texts.setdefault(m.row, []).append(m)
        self._aside += [aside_row(data, r, first[r].column, first[r].reason, texts.get(r, ())) for r in bad]
        self._quarantined += len(bad)
        mask = pc.is_in(pa.array(range(data.num_rows), pa.int64()), value_set=pa.array(bad, pa.int64()))
        kept = [replace(m, row=m.row - bisect_left(bad, m.row)) for m in misfits if m.row not in gone]
        return data.filter(pc.invert(mask)), kept

    def _null_keys(self, data: pa.RecordBatch, misfits: Sequence[Misfit]) -> list[Misfit]:
        found = []
        told = {(m.row, m.column) for m in misfits}
        for key in self._keys:
            array = data.column(data.schema.get_field_index(key))
            if array.null_count:
                found += [
                    Misfit(row=row, column=key, text="", reason="the primary key is NULL")
                    for row in pc.indices_nonzero(array.is_null()).to_pylist()
                    if (row, key) not in told
                ]
        return found

    def _flush_aside(self) -> None:
        if self._aside:
            self._landing.pause()
            rows, self._aside = self._aside, []
            self._transaction.put_aside(rows)


class RelayWriter:
    """Takes the undecoded bytes of one ``COPY … TO STDOUT (FORMAT binary)``."""

    def __init__(
        self,
        session: Session,
        ledger: Ledger,
        berth: Berth,
        columns: Sequence[str],
        release: Callable[[Session], None],
    ) -> None:
        self._transaction = _Transaction(session, ledger, berth, release)
        self._bytes = 0
        with self._transaction.errors():
            self._copy: CopyWriter | None = CopyWriter(session, copy_statement(berth.table, columns), ())

    def write_raw(self, chunk: memoryview | bytes) -> None:
        assert self._copy is not None
        with self._transaction.errors():
            self._copy.write_raw(chunk)
        self._bytes += len(chunk)

    def seal(self) -> Staged:
        assert self._copy is not None
        with self._transaction.errors():
            rows = self._copy.finish()
            self._copy = None
            return self._transaction.seal(rows, 0, self._bytes)

    def abort(self) -> None:
        if self._copy is not None:
            copy, self._copy = self._copy, None
            copy.abort()
        self._transaction.abort()
