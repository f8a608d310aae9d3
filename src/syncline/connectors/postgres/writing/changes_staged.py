"""Many changes at once: laid into stages of the session, then merged by a few statements.

The stages are temporary tables that stay for the session's life, emptied after each use. Where a pooler may give our
server process to others, or temporary tables are not allowed, they are unlogged tables that do not outlive the
transaction. Values that updates left out are the table's own: unmoved rows are updated in place, so that a large value
is not even read; rows that moved to another key are completed before anything is deleted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, LiteralString

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from psycopg import sql

from syncline.connectors.postgres.copy.encode import EncodeColumn
from syncline.connectors.postgres.reading.statement import TableName, commas, identifiers, run, statement, trusted
from syncline.connectors.postgres.writing.changes_sift import Sifted
from syncline.connectors.postgres.writing.changes_table import ChangeTable
from syncline.connectors.postgres.writing.landing import Landing
from syncline.connectors.postgres.writing.loading import LoadColumn
from syncline.connectors.postgres.writing.relation import Column
from syncline.connectors.postgres.writing.stage import has_checks, make_stage

if TYPE_CHECKING:
    from syncline.connectors.postgres.connection import Session

__all__ = ["Partial", "Stages", "lay_down"]

#: Sorts half a million changed rows in memory; the server's default of 4MB goes to disk. For this transaction only.
_SORT_MEMORY: LiteralString = """
SELECT set_config('work_mem', '64MB', true) WHERE pg_size_bytes(current_setting('work_mem')) < 64 * 1024 * 1024
"""

#: Changed rows are looked up one by one through the key's index, as ON CONFLICT does it anyway. Left to itself the
#: server, which has no statistics of a stage, reads the whole table when the stage seems large enough.
_LOOK_UP: LiteralString = "SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off"


def _number(name: str, kind: str, encoder: str) -> LoadColumn:
    return LoadColumn(column=Column(name=name, type=kind, base=kind), encode=EncodeColumn(name=name, encoder=encoder))


_ROW = _number("_syncline_row", "integer", "int4")
_PATTERN = _number("_syncline_pattern", "integer", "int4")
_MOVED = _number("_syncline_moved", "boolean", "bool")


@dataclass(frozen=True, kw_only=True)
class Partial:
    """Rows that do not say everything. ``pattern`` gives for each row which of ``patterns`` (the columns that it leaves
    out) is its own, ``origin`` (encoded key columns) under which key the table has these values, ``moved``
    whether that is another key than the row's."""

    rows: Sifted
    pattern: npt.NDArray[np.int32]
    patterns: Sequence[frozenset[str]]
    origin: Sequence[pa.Array]
    moved: npt.NDArray[np.bool_]


class Stages:
    """The stages of one stream's table. All methods work in the session's open transaction."""

    def __init__(self, session: Session, table: ChangeTable, *, temporary: bool) -> None:
        self._session = session
        self._table = table
        self._temporary = temporary
        self._made: dict[str, tuple[TableName, bool]] = {}
        self._set = False

    def begin(self) -> None:
        """Settings for the transaction, once in it."""
        if not self._set:
            self._set = True
            run(self._session, _SORT_MEMORY)
            run(self._session, _LOOK_UP)

    def end(self) -> None:
        """Before the transaction's commit: leave nothing that others could see."""
        self._set = False
        if not self._temporary:
            for stage, _ in self._made.values():
                run(self._session, "DROP TABLE {stage}", stage=stage)
            self._made.clear()

    # -- what is merged --------------------------------------------------------------------------------------------

    def fill(self, rows: Sifted) -> None:
        """Lay whole rows down for :meth:`upsert`; those that the server refuses go aside."""
        self._land("u", self._table.columns, rows, rows.encoded)

    def complete(self, partial: Partial) -> list[int]:
        """Update unmoved rows in place, and add moved ones to what :meth:`fill` laid down. Gives the numbers of rows
        whose base is missing."""
        table, rows = self._table, partial.rows
        keys = [table.columns[place] for place in table.key]
        origins = [
            replace(c, encode=replace(c.encode, name=f"_syncline_origin{i}"), sure=False) for i, c in enumerate(keys)
        ]
        extra = [*origins, _ROW, _PATTERN, _MOVED]
        encoded = pa.RecordBatch.from_arrays(
            [
                *rows.encoded.columns,
                *partial.origin,
                pa.array(np.arange(rows.encoded.num_rows, dtype=np.int32)),
                pa.array(partial.pattern),
                pa.array(partial.moved),
            ],
            names=[*rows.encoded.schema.names, *(c.encode.name for c in extra)],
        )
        stage = self._land("p", [*table.columns, *extra], rows, encoded, extra)
        same = table.matches("b", "s", [o.encode.name for o in origins])
        missing = run(
            self._session,
            "SELECT s.{row} FROM {stage} s WHERE NOT EXISTS (SELECT FROM {table} b WHERE {same}) ORDER BY 1",
            row=sql.Identifier(_ROW.encode.name),
            stage=stage,
            table=table.table,
            same=same,
        ).fetchall()
        if partial.moved.any():
            self._complete_moved(partial, stage, same)
        if not partial.moved.all():
            self._update_unmoved(partial, stage)
        self._empty(stage)
        return [number for (number,) in missing]

    def delete(self, keys: Sifted) -> None:
        """Delete the rows with these keys."""
        table = self._table
        stage = self._land("d", [table.columns[place] for place in table.key], keys, keys.encoded)
        self._session.execute(table.delete_staged(stage))
        self._empty(stage)

    def upsert(self) -> None:
        """Merge what :meth:`fill` and :meth:`complete` have laid down."""
        if "u" in self._made:
            stage, _ = self._made["u"]
            self._session.execute(self._table.upsert_staged(stage))
            self._empty(stage)

    # -- within ----------------------------------------------------------------------------------------------------

    def _complete_moved(self, partial: Partial, stage: TableName, same: sql.Composed) -> None:
        table = self._table
        whole, _ = self._stage("u", table.columns, ())
        run(
            self._session,
            "INSERT INTO {whole} ({columns}) SELECT {values} FROM {stage} s JOIN {table} b ON {same} WHERE s.{moved}",
            whole=whole,
            columns=identifiers(table.names),
            values=commas(self._value(name, partial.patterns, "b") for name in table.names),
            stage=stage,
            table=table.table,
            same=same,
            moved=sql.Identifier(_MOVED.encode.name),
        )

    def _update_unmoved(self, partial: Partial, stage: TableName) -> None:
        table = self._table
        sets = [
            statement("{c} = {v}", c=sql.Identifier(name), v=self._value(name, partial.patterns, "t"))
            for name in table.names
            if name not in table.target.primary_key and not all(name in p for p in partial.patterns)
        ]
        sets += [statement("{c} = NULL", c=sql.Identifier(name)) for name in table.gone]
        if sets:
            run(
                self._session,
                "UPDATE {table} t SET {sets} FROM {stage} s WHERE {same} AND NOT s.{moved}",
                table=table.table,
                sets=commas(sets),
                stage=stage,
                same=table.matches("t", "s"),
                moved=sql.Identifier(_MOVED.encode.name),
            )

    def _value(self, name: str, patterns: Sequence[frozenset[str]], base: str) -> sql.Composable:
        """A column's value: the stage's, or the base row's where it was left out."""
        given = sql.Identifier("s", name)
        without = [number for number, pattern in enumerate(patterns) if name in pattern]
        if not without:
            return given
        return statement(
            "CASE WHEN s.{pattern} IN ({numbers}) THEN {base} ELSE {given} END",
            pattern=sql.Identifier(_PATTERN.encode.name),
            numbers=commas(sql.Literal(n) for n in without),
            base=sql.Identifier(base, name),
            given=given,
        )

    def _stage(self, kind: str, columns: Sequence[LoadColumn], extra: Sequence[LoadColumn]) -> tuple[TableName, bool]:
        """A stage, empty unless it was filled in this transaction, and whether it has constraints."""
        if kind not in self._made:
            place = self._table.ledger.place
            # A row of an update that leaves values out has NULLs there, which say nothing about the table's NOT NULL.
            foreign = not self._table.ours and kind != "p"
            if self._temporary:
                stage = TableName(schema="pg_temp", name=f"_syncline_{kind}_{place.digest}")
                run(self._session, "DROP TABLE IF EXISTS {stage}", stage=stage)
            else:
                stage = place.stage(f"changes {kind}", 0)
            make_stage(
                self._session,
                stage,
                self._table.relation,
                [c.encode.name for c in columns[: len(columns) - len(extra)]],
                constraints=foreign,
                more=[sql.Identifier(c.encode.name) + sql.SQL(" ") + trusted(c.column.type) for c in extra],
                temporary=self._temporary,
            )
            self._made[kind] = stage, foreign and has_checks(self._session, stage)
        return self._made[kind]

    def _land(
        self,
        kind: str,
        columns: Sequence[LoadColumn],
        rows: Sifted,
        encoded: pa.RecordBatch,
        extra: Sequence[LoadColumn] = (),
    ) -> TableName:
        stage, checked = self._stage(kind, columns, extra)
        scratch = self._table.ledger.place.stage("changes", 0)
        lay_down(
            Landing(self._session, stage, columns, scratch=scratch.sibling(scratch.name + "_x"), checked=checked),
            rows,
            encoded,
        )
        return stage

    def _empty(self, stage: TableName) -> None:
        run(self._session, "TRUNCATE {stage}", stage=stage)


def lay_down(landing: Landing, rows: Sifted, encoded: pa.RecordBatch) -> None:
    """Fill a table with ``encoded``; what the server refuses is put aside in ``rows``, of which it is the encoding."""
    try:
        texts = sorted({m.row for m in rows.misfits})
        if not texts:
            landing.write(encoded, rows.refuse)
        else:
            others = np.setdiff1d(np.arange(encoded.num_rows), np.array(texts), assume_unique=True)
            plain, odd = rows.take(others), rows.take(np.array(texts))
            landing.write(encoded.take(pa.array(others)), plain.refuse)
            landing.write_texts(encoded.take(pa.array(texts)), odd.misfits, odd.refuse)
            rows.aside += [*plain.aside, *odd.aside]
        landing.finish()
    except BaseException:
        landing.abort()
        raise
