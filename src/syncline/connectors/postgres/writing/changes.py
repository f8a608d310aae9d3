"""Changes of a log applied to this destination's tables: one transaction for a flush, however many streams it has.

A few changes are sent as prepared statements for single rows, all in one round trip. Many, and those that need more
than that, go through stages (:mod:`changes_staged`). The ledger's entries move in the same transaction, each by
compare-and-set on token and sequence; while nothing but the position changes, only that is written.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, LiteralString

import psycopg
import pyarrow as pa

from syncline.connectors.postgres.errors import postgres_errors
from syncline.connectors.postgres.reading.statement import run, statement
from syncline.connectors.postgres.writing.changes_few import each, each_update, fields_of
from syncline.connectors.postgres.writing.changes_final import Ready, ready
from syncline.connectors.postgres.writing.changes_open import open_change_table
from syncline.connectors.postgres.writing.changes_sift import Sifted, sift
from syncline.connectors.postgres.writing.changes_staged import Stages, lay_down
from syncline.connectors.postgres.writing.changes_table import ChangeTable
from syncline.connectors.postgres.writing.landing import Landing, refused_by_server
from syncline.connectors.postgres.writing.ledger import Ledger
from syncline.connectors.postgres.writing.staged import PostgresStagedView, flushed_view
from syncline.connectors.postgres.writing.volley import Shot, Volleys
from syncline.core.batch import QuarantinedRow
from syncline.core.change import ChangeBatch, Evolution, Op
from syncline.core.checkpoint import StreamCheckpoint, StreamTarget
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.failpoints import failpoint
from syncline.core.stream import StreamName, WriteMode
from syncline.sdk.change_log import Applied, StreamCommit
from syncline.sdk.collapse import Collapsed, collapse, stretches
from syncline.sdk.metadata import change_rows

if TYPE_CHECKING:
    from syncline.connectors.postgres.connection import Session

__all__ = ["PostgresChangeSession"]

#: Up to so many rows a statement for each costs less than stages do: 17 us for each, 5 ms for stages.
_FEW = 250

# Each flush holds, for each of its streams, the advisory lock (stream, 0): the token is not known before the commit,
# and every later fence takes a greater one than 0 and so ends a flush that is in its way.


class PostgresChangeSession:
    """A :class:`~syncline.sdk.change_log.ChangeSession` over one connection of its own, which it closes.

    ``ledgers`` gives a stream's ledger; ``patience`` is how many seconds to keep trying for a table's lock."""

    def __init__(self, session: Session, ledgers: Callable[[StreamName], Ledger], *, patience: float) -> None:
        self._session = session
        self._ledgers = ledgers
        self._patience = patience
        lasting, self._temporary = _manners(session)
        self._volleys = Volleys(session, lasting=lasting)
        self._temporary &= lasting
        self._tables: dict[StreamName, ChangeTable] = {}
        self._stages: dict[StreamName, Stages] = {}
        self._open = False
        self._entered: set[StreamName] = set()
        self._written: dict[StreamName, StreamCommit] = {}
        self._extracted_at = datetime.now(UTC)
        self._texts: dict[tuple[str, str], bytes] = {}

    # -- the protocol ----------------------------------------------------------------------------------------------

    def apply(self, target: StreamTarget, batch: ChangeBatch) -> Applied:
        with postgres_errors(stream=str(target.stream)):
            table = self._table(target, batch.evolution)
            if batch.rows == 0:
                return Applied(rows=0)
            if target.write is WriteMode.APPEND:
                return self._append(table, batch)
            return self._merge(table, batch)

    def commit(self, commits: Sequence[StreamCommit]) -> None:
        with postgres_errors():
            for stages in self._stages.values():
                stages.end()
            if self._open:
                failpoint("apply.inside")
            try:
                self._move_ledger(commits)
            except BaseException:
                self.rollback()
                raise
            self._open = False
            self._entered.clear()
            self._written.update({c.target.stream: c for c in commits})

    @contextmanager
    def flushed(self, target: StreamTarget) -> Iterator[PostgresStagedView]:
        """See :class:`~syncline.sdk.change_log.ReadsFlush`."""
        with postgres_errors(stream=str(target.stream)):
            self._begin([target.stream])
            with flushed_view(self._session, self._ledgers(target.stream).place.table) as view:
                yield view

    def rollback(self) -> None:
        self._open = False
        self._entered.clear()
        self._tables.clear()  # what was altered is so no more
        self._volleys.forget()
        self._stages.clear()
        if not self._session.closed:
            with postgres_errors():
                self._session.rollback()

    def close(self) -> None:
        self._session.close()

    # -- transaction and ledger ------------------------------------------------------------------------------------

    def _prelude(self, streams: Sequence[StreamName]) -> list[Shot]:
        """What must come first: the transaction's begin, and for each stream the lock by which a fence finds us."""
        shots = [] if self._open else [Shot(b"BEGIN")]
        for stream in streams:
            if stream not in self._entered:
                ledger = self._ledgers(stream)
                lock = struct.pack(">i", ledger.place.lock_class)
                shots.append(Shot(self._ledger_text(ledger, _ENTER), [*_mine(ledger), lock]))
        return shots

    def _begin(self, streams: Sequence[StreamName], shots: Sequence[Shot] = ()) -> list[int]:
        """Send what must come first and ``shots`` with it; returns how many rows each of these touched."""
        first = self._prelude(streams)
        entering = [s for s in streams if s not in self._entered]
        begun = not self._open
        self._open = True
        answers = self._volleys.fire([*first, *shots])
        self._extracted_at = datetime.now(UTC) if begun else self._extracted_at
        for stream, answer in zip(entering, answers[begun:], strict=False):
            known = self._written.get(stream)
            if known is not None and answer.first != b"%d" % known.token:
                # Whoever is too late does no work.
                self.rollback()
                raise _fenced(stream)
            self._entered.add(stream)
        return [a.rows for a in answers[len(first) :]]

    def _move_ledger(self, commits: Sequence[StreamCommit]) -> None:
        """And commit."""
        light: list[StreamCommit] = []
        for commit in commits:
            if self._is_light(commit):
                light.append(commit)
            else:
                self._begin([commit.target.stream])
                self._ledgers(commit.target.stream).advance(self._session, commit.checkpoint, commit.token)
        shots = [*self._prelude([c.target.stream for c in light]), *(self._light(c) for c in light), Shot(b"COMMIT")]
        self._open = True
        try:
            self._volleys.fire(shots, before_last=lambda: failpoint("commit.inside"))
        except psycopg.errors.DivisionByZero:
            self.rollback()
            for commit in light:
                self._ledgers(commit.target.stream).refuse(self._session, commit.checkpoint, commit.token)
            raise

    def _light(self, commit: StreamCommit) -> Shot:
        """Move only position and sequence. That no row was hit must fail at the server, which has the commit already:
        hence the division."""
        ledger, checkpoint = self._ledgers(commit.target.stream), commit.checkpoint
        position = None if checkpoint.position is None else json.dumps(dict(checkpoint.position)).encode()
        numbers = struct.pack(">q", checkpoint.sequence), position, struct.pack(">q", commit.token)
        return Shot(self._ledger_text(ledger, _ADVANCE), [*_mine(ledger), *numbers])

    def _is_light(self, commit: StreamCommit) -> bool:
        """Whether only sequence and position differ from what we wrote last."""
        before = self._written.get(commit.target.stream)
        if before is None or before.token != commit.token or commit.checkpoint.plan is not None:
            return False
        return _but_position(commit.checkpoint) == _but_position(before.checkpoint)

    # -- tables ----------------------------------------------------------------------------------------------------

    def _table(self, target: StreamTarget, evolution: Evolution | None) -> ChangeTable:
        known = self._tables.get(target.stream)
        if known is not None and evolution is None and (known.asked is target or known.asked == target):
            return known
        self._begin([target.stream])
        if (old := self._stages.pop(target.stream, None)) is not None:
            old.end()
        table = open_change_table(
            self._session, self._ledgers(target.stream), target, evolution, patience=self._patience
        )
        self._tables[target.stream] = table
        # The server has fixed the types of a prepared statement's parameters: another form of the table needs others.
        self._volleys.forget()
        return table

    def _stages_of(self, table: ChangeTable) -> Stages:
        stream = table.target.stream
        if stream not in self._stages:
            self._stages[stream] = Stages(self._session, table, temporary=self._temporary)
        return self._stages[stream]

    # -- append ----------------------------------------------------------------------------------------------------

    def _append(self, table: ChangeTable, batch: ChangeBatch) -> Applied:
        target = table.target
        data = change_rows(
            target.schema,
            batch,
            extracted_at=self._extracted_at,
            sync_id=target.sync_id,
            generation=target.generation,
        )
        rows = sift(table, data, batch.misfits)
        few = rows.data.num_rows <= _FEW and table.plain and not rows.misfits
        if not (few and self._fired(table, each(table.insert_one, table.coder, rows)) is not None):
            self._begin([target.stream])
            scratch = table.ledger.place.stage("changes", 0)
            landing = Landing(
                self._session,
                table.table,
                table.columns,
                scratch=scratch.sibling(scratch.name + "_x"),
                checked=not table.ours,
            )
            lay_down(landing, rows, rows.encoded)
        return self._done(table, batch, rows.aside, [])

    # -- merge -----------------------------------------------------------------------------------------------------

    def _merge(self, table: ChangeTable, batch: ChangeBatch) -> Applied:
        soft, key = table.target.deletes == "soft", table.target.primary_key
        aside: list[QuarantinedRow] = []
        missing: list[pa.RecordBatch] = []
        for part in stretches(batch) if soft else (batch,):
            found = collapse(part, key, keep_deleted=soft)
            if found.truncate is not None:
                self._clear(table, found.truncate, soft=soft)
            if found.lost is not None:
                missing.append(found.lost)
            if soft:
                marked = ready(table, found.deletes, self._extracted_at, marking=True)
                self._write(table, None, marked)  # what is not there need not be marked
                aside += marked.aside
                gone = None
            else:
                gone = self._keys(table, found)
            rows = ready(table, found.upserts, self._extracted_at)
            without = self._write(table, gone, rows)
            aside += rows.aside
            aside += gone.aside if gone is not None else []
            if without:
                missing.append(found.upserts.changes.data.select(list(key)).take(pa.array(without)))
        return self._done(table, batch, aside, missing)

    def _done(
        self,
        table: ChangeTable,
        batch: ChangeBatch,
        aside: Sequence[QuarantinedRow],
        missing: Sequence[pa.RecordBatch],
    ) -> Applied:
        if aside:
            table.ledger.quarantine.put_aside(
                self._session,
                aside,
                partition="log",
                generation=table.target.generation,
                sync_id=table.target.sync_id,
                staged=False,
            )
        keys = pa.Table.from_batches(missing).combine_chunks().to_batches()[0] if missing else None
        return Applied(rows=batch.rows, quarantined=len(aside), missing=keys)

    def _keys(self, table: ChangeTable, found: Collapsed) -> Sifted | None:
        if not found.deletes.rows:
            return None
        changes = found.deletes.changes
        data = changes.data.select(list(table.target.primary_key))
        return sift(table, data, changes.misfits, only_keys=True)

    def _clear(self, table: ChangeTable, truncate: ChangeBatch, *, soft: bool) -> None:
        """Every row goes, or is marked."""
        stream = table.target.stream
        if not soft:
            self._begin([stream], [Shot(table.delete_all)])
            return
        deleted = replace(truncate, op=pa.array([int(Op.DELETE)], pa.uint8()))
        target = table.target
        data = change_rows(
            target.schema,
            deleted,
            extracted_at=self._extracted_at,
            sync_id=target.sync_id,
            generation=target.generation,
        )
        (values,) = fields_of(table.coder, sift(table, data, ()).encoded)
        self._begin([stream], [Shot(table.mark_all, [values[place] for place in table.marks])])

    def _write(self, table: ChangeTable, gone: Sifted | None, rows: Ready) -> list[int]:
        """Deletes and rows into the table; returns the numbers of final rows that have no base."""
        simple = rows.simple and table.plain and (gone is None or not gone.misfits)
        if simple and rows.rows + (gone.data.num_rows if gone is not None else 0) <= _FEW:
            without = self._write_few(table, gone, rows)
            if without is not None:
                return without
        self._begin([table.target.stream])
        stages = self._stages_of(table)
        stages.begin()
        if rows.whole is not None and rows.whole.data.num_rows:
            stages.fill(rows.whole)
        numbers: list[int] = []
        if rows.partial is not None:
            numbers = [rows.partial.rows.number(n) for n in stages.complete(rows.partial)]
        if gone is not None:
            stages.delete(gone)
        stages.upsert()
        return numbers

    def _write_few(self, table: ChangeTable, gone: Sifted | None, rows: Ready) -> list[int] | None:
        """The same by a statement for each; None when the server refused a row, after which nothing was done."""
        deletes = each(table.delete_one, table.key_coder, gone) if gone is not None else []
        updates = each_update(table, rows.partial) if rows.partial is not None else []
        upserts = each(table.upsert_one, table.coder, rows.whole) if rows.whole is not None else []
        touched = self._fired(table, [*deletes, *updates, *upserts])
        if touched is None:
            return None
        if rows.partial is None:
            return []
        hit = touched[len(deletes) : len(deletes) + len(updates)]
        return [rows.partial.rows.number(i) for i, n in enumerate(hit) if n == 0]

    def _fired(self, table: ChangeTable, shots: list[Shot]) -> list[int] | None:
        """Rows that each statement touched; None when the server refused a row, after which nothing was done."""
        stream = table.target.stream
        if table.sure or not shots:
            return self._begin([stream], shots)
        try:
            return self._begin([stream], [Shot(b"SAVEPOINT few"), *shots, Shot(b"RELEASE few")])[1:-1]
        except psycopg.Error as error:
            if refused_by_server(error) is None:
                raise
            self._session.execute("ROLLBACK TO few")
            return None

    def _ledger_text(self, ledger: Ledger, template: LiteralString) -> bytes:
        known = (ledger.schema, template)
        if known not in self._texts:
            self._texts[known] = statement(template, table=ledger.table).as_bytes(self._session)
        return self._texts[known]


_MINE: LiteralString = "connection = $1 AND stream_namespace = $2 AND stream_name = $3"
_ENTER: LiteralString = "SELECT token, pg_advisory_xact_lock_shared($4, 0) FROM {table} WHERE " + _MINE
_ADVANCE: LiteralString = (
    "WITH moved AS (UPDATE {table} SET sequence = $4::int8, position = $5, updated_at = now() WHERE "
    + _MINE
    + " AND token = $6 AND sequence = $4::int8 - 1 RETURNING 1) SELECT 1 / count(*) FROM moved"
)


def _mine(ledger: Ledger) -> list[bytes]:
    place = ledger.place
    return [place.connection.encode(), (place.stream.namespace or "").encode(), place.stream.name.encode()]


def _but_position(checkpoint: StreamCheckpoint) -> StreamCheckpoint:
    return replace(checkpoint, sequence=0, position=None)


def _manners(session: Session) -> tuple[bool, bool]:
    """Whether the session's server process is ours alone (a pooler shows another process number than the server's own)
    and whether temporary tables are allowed."""
    row = run(session, "SELECT pg_backend_pid(), has_database_privilege(current_database(), 'TEMPORARY')").fetchone()
    assert row is not None
    return row[0] == session.info.backend_pid, bool(row[1])


def _fenced(stream: StreamName) -> SynclineError:
    return SynclineError(
        ErrorKind.CONFLICT,
        "a newer run holds the stream",
        hint="nothing of this run was committed after that; let the newer run finish",
        where={"stream": str(stream), "connector": "postgres"},
        final=True,
    )
