"""Rows into one table within one open transaction, the ones that the server refuses sorted out.

Rows that can be encoded go by COPY. Where the server may still refuse one (a constraint, an enum's label, the syntax
of JSON), each COPY stands behind a savepoint, and what it refuses is found and handed to ``refuse``. Called by writers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import psycopg
import pyarrow as pa
from psycopg import sql

from syncline.connectors.postgres.copy.encode import CopyWriter, EncodeColumn
from syncline.connectors.postgres.errors import postgres_error
from syncline.connectors.postgres.reading.statement import TableName, commas, identifiers, run, statement, trusted
from syncline.connectors.postgres.writing.loading import LoadColumn
from syncline.core.batch import Misfit
from syncline.core.errors import ErrorKind, SynclineError

if TYPE_CHECKING:
    from syncline.connectors.postgres.connection import Session

__all__ = ["Landing", "copy_statement", "refused_by_server"]

_ROW = "_syncline_row"

#: "COPY orders, line 17, column amount: …"; the words are in the server's language, the numbers are not.
_COPY_LINE = re.compile(r"COPY [^\n]*?, \S+ (\d+)(?:, \S+ ([^:\n]+))?(?::|$)", re.MULTILINE)

#: Called with a slice of the encoded rows of one batch (offset, count == 1), the column if known, and why.
Refuse = Callable[[int, str | None, str], None]


def copy_statement(table: TableName, columns: Sequence[str]) -> sql.Composed:
    """``COPY table (columns) FROM STDIN`` in binary form."""
    return statement("COPY {table} ({columns}) FROM STDIN (FORMAT binary)", table=table, columns=identifiers(columns))


def refused_by_server(error: BaseException) -> psycopg.Error | None:
    """The server's error when it speaks of a value or a row, else None."""
    cause = error if isinstance(error, psycopg.Error) else error.__cause__
    if not isinstance(cause, psycopg.Error) or not cause.sqlstate:
        return None
    # 22: data exceptions. 23: constraints. 54000: a row too wide for a page. 22P03 comes from a wrong plan of ours.
    state = cause.sqlstate
    return cause if (state[:2] in ("22", "23") and state != "22P03") or state == "54000" else None


class Landing:
    """One table, filled within the session's open transaction. Used by one thread."""

    def __init__(
        self, session: Session, table: TableName, columns: Sequence[LoadColumn], *, scratch: TableName, checked: bool
    ) -> None:
        """``scratch`` names a table of ours to make where one is needed. ``checked``: the table has constraints of its
        own, so that the server may refuse any row."""
        self._session = session
        self._table = table
        self._columns = tuple(columns)
        self._names = [c.encode.name for c in columns]
        self._encode = tuple(c.encode for c in columns)
        self._casting = any(c.cast for c in columns)
        self._sure = not checked and not self._casting and all(c.sure for c in columns)
        if session.info.parameter_status("server_encoding") != "UTF8":
            self._sure = False  # a character may have no place in the database's encoding
        self._scratch = scratch
        self._made: set[str] = set()
        self._copy: CopyWriter | None = None
        self.rows = 0

    def write(self, data: pa.RecordBatch, refuse: Refuse) -> None:
        """Lay down rows that have been found encodable; columns as ``columns``."""
        if self._sure:
            if self._copy is None:
                self._copy = CopyWriter(self._session, copy_statement(self._table, self._names), self._encode)
            self._copy.write(data)
            return
        if self._casting:
            self._scratch_table("", self._encode)
        start, step = 0, data.num_rows
        while start < data.num_rows:
            piece = data.slice(start, step)
            try:
                with self._session.transaction():
                    self._lay(piece)
            except (psycopg.Error, SynclineError) as error:
                cause = refused_by_server(error)
                if cause is None:
                    raise
                row = 0 if piece.num_rows == 1 else _line(cause)
                if row is None or row >= piece.num_rows:
                    step = (piece.num_rows + 1) // 2
                    continue
                if row > 0:
                    # The rows before the refused one had been taken: they go in again, now without it.
                    self.write(piece.slice(0, row), _shifted(refuse, start))
                refuse(start + row, *_why(cause))
                start += row + 1
                continue
            self.rows += piece.num_rows
            start += piece.num_rows
            step = min(data.num_rows, step * 2)

    def write_texts(self, data: pa.RecordBatch, misfits: Sequence[Misfit], refuse: Refuse) -> None:
        """Lay down rows some of whose cells are given as text, which the server reads as it prints it; in ``data``
        those cells are NULL. ``misfits`` are numbered by the rows of ``data``, in row order."""
        self.pause()
        # Before any savepoint, whose rollback would take them away.
        self._scratch_table("_t", (*self._encode, _NUMBER))
        self._scratch_table("_c", _CELLS)
        self._write_texts(data, list(misfits), 0, data.num_rows, refuse)

    def pause(self) -> None:
        """End a running COPY so that the session can be used for something else; the next write starts another."""
        if self._copy is not None:
            copy, self._copy = self._copy, None
            try:
                self.rows += copy.finish()
            except BaseException:
                copy.abort()
                raise

    def finish(self) -> int:
        """All rows are in. Returns how many; the scratch tables are gone."""
        self.pause()
        for name in sorted(self._made):
            run(self._session, "DROP TABLE {table}", table=self._scratch.sibling(name))
        self._made.clear()
        return self.rows

    def abort(self) -> None:
        """Stop a running COPY; the transaction is to be rolled back."""
        if self._copy is not None:
            copy, self._copy = self._copy, None
            copy.abort()

    # -- one savepoint's worth -------------------------------------------------------------------------------------

    def _lay(self, data: pa.RecordBatch) -> None:
        if not self._casting:
            self._copied(self._table, self._names, self._encode, data)
            return
        scratch = self._scratch_table("", self._encode)
        self._copied(scratch, self._names, self._encode, data)
        run(
            self._session,
            "INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE SELECT {values} FROM {scratch} s",
            table=self._table,
            columns=identifiers(self._names),
            values=commas(self._value(c, sql.SQL("s.") + sql.Identifier(c.encode.name)) for c in self._columns),
            scratch=scratch,
        )
        run(self._session, "TRUNCATE {scratch}", scratch=scratch)

    def _value(self, column: LoadColumn, value: sql.Composable) -> sql.Composable:
        # Every column, for an enum travels as text too; a scratch column has the modifier of the real one, so that no
        # cast cuts or rounds.
        return sql.SQL("({})::{}").format(value, trusted(column.column.type))

    def _copied(
        self, table: TableName, names: Sequence[str], encode: Sequence[EncodeColumn], data: pa.RecordBatch
    ) -> None:
        copy = CopyWriter(self._session, copy_statement(table, names), encode)
        try:
            copy.write(data)
            rows = copy.finish()
        except BaseException:
            copy.abort()
            raise
        if rows != data.num_rows:
            raise SynclineError(ErrorKind.INTERNAL, f"{data.num_rows} rows were sent but the server took {rows}")

    def _write_texts(self, data: pa.RecordBatch, misfits: list[Misfit], start: int, stop: int, refuse: Refuse) -> None:
        """Rows ``start`` to ``stop``: all at once, or in halves until the refused ones stand alone."""
        if start >= stop:
            return
        cells = [m for m in misfits if start <= m.row < stop]
        try:
            with self._session.transaction():
                self._lay_texts(data.slice(start, stop - start), cells, start)
        except (psycopg.Error, SynclineError) as error:
            cause = refused_by_server(error)
            if cause is None:
                raise
            if stop - start > 1:
                middle = (start + stop) // 2
                self._write_texts(data, misfits, start, middle, refuse)
                self._write_texts(data, misfits, middle, stop, refuse)
                return
            column, reason = _why(cause)
            refuse(start, column or (cells[0].column if cells else None), reason)
            return
        self.rows += stop - start

    def _lay_texts(self, data: pa.RecordBatch, cells: Sequence[Misfit], offset: int) -> None:
        numbered = data.append_column(_ROW, pa.array(range(data.num_rows), pa.int32()))
        encode = (*self._encode, _NUMBER)
        scratch = self._scratch_table("_t", encode)
        self._copied(scratch, [*self._names, _ROW], encode, numbered)

        columns = sorted({self._names.index(c.column) for c in cells})
        texts = self._scratch_table("_c", _CELLS)
        self._copied(
            texts,
            [c.name for c in _CELLS],
            _CELLS,
            pa.record_batch(
                {
                    "cell_row": pa.array([c.row - offset for c in cells], pa.int32()),
                    "cell_column": pa.array([self._names.index(c.column) for c in cells], pa.int32()),
                    "cell_text": pa.array([c.text for c in cells], pa.string()),
                }
            ),
        )
        values = []
        for index, c in enumerate(self._columns):
            value = self._value(c, sql.SQL("s.") + sql.Identifier(c.encode.name))
            if index in columns:
                value = sql.SQL("CASE WHEN {}.cell_row IS NULL THEN {} ELSE {}.cell_text::{} END").format(
                    _cell(index), value, _cell(index), trusted(c.column.type)
                )
            values.append(value)
        joins = sql.SQL("").join(
            sql.SQL(" LEFT JOIN {} {} ON {}.cell_row = s.{} AND {}.cell_column = {}").format(
                texts.sql, _cell(index), _cell(index), sql.Identifier(_ROW), _cell(index), sql.Literal(index)
            )
            for index in columns
        )
        run(
            self._session,
            "INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE SELECT {values} FROM {scratch} s {joins}",
            table=self._table,
            columns=identifiers(self._names),
            values=commas(values),
            scratch=scratch,
            joins=joins,
        )
        run(self._session, "TRUNCATE {scratch}, {texts}", scratch=scratch, texts=texts)

    def _scratch_table(self, suffix: str, columns: Sequence[EncodeColumn]) -> TableName:
        """Made in this transaction, not temporary: that right may be missing, and poolers may share the session."""
        table = self._scratch.sibling(self._scratch.name + suffix)
        if table.name not in self._made:
            run(
                self._session,
                "CREATE UNLOGGED TABLE IF NOT EXISTS {table} ({columns})",
                table=table,
                columns=commas(sql.Identifier(c.name) + sql.SQL(" ") + trusted(c.encoder) for c in columns),
            )
            self._made.add(table.name)
        return table


_NUMBER = EncodeColumn(name=_ROW, encoder="int4")
_CELLS = (
    EncodeColumn(name="cell_row", encoder="int4"),
    EncodeColumn(name="cell_column", encoder="int4"),
    EncodeColumn(name="cell_text", encoder="text"),
)


def _cell(index: int) -> sql.SQL:
    return trusted(f"c{index}")


def _line(cause: psycopg.Error) -> int | None:
    """The row (from 0) that the server names in the context of a COPY's error."""
    found = _COPY_LINE.search(cause.diag.context or "")
    return int(found[1]) - 1 if found else None


def _why(cause: psycopg.Error) -> tuple[str | None, str]:
    found = _COPY_LINE.search(cause.diag.context or "")
    column = cause.diag.column_name or (found[2] if found else None)
    return column, postgres_error(cause).message


def _shifted(refuse: Refuse, by: int) -> Refuse:
    def shifted(row: int, column: str | None, reason: str) -> None:
        refuse(row + by, column, reason)

    return shifted
