"""Changes into one table, inside the caller's transaction.

Final rows of a batch are laid into a temporary table; what they leave out is taken from the table itself; then the rows
with their keys are deleted and they are inserted, as merging does it: an index on the key would have to be in memory as
a whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

import duckdb
import pyarrow as pa

from syncline.connectors.duckdb.changes_rows import Frame, framed, framed_keys, laid_down
from syncline.connectors.duckdb.sql import TableName, folded, quote, quoted_list
from syncline.core.batch import QuarantinedRow
from syncline.core.change import ChangeBatch, Op
from syncline.core.checkpoint import StreamTarget
from syncline.sdk.collapse import DELETED_AT, MARKS, FinalRows, collapse, stretches

__all__ = ["Merge"]

_FINAL, _ROWS, _KEYS = (
    TableName(catalog="temp", schema="main", name=f"_syncline_{name}") for name in ("final", "rows", "keys")
)


class Merge:
    """One batch for one table. ``types``: column types of the table by folded name; ``fills``: SQL of the value that
    rows get in columns which their batch is too old to know. Afterwards ``aside`` are rows that DuckDB cannot hold,
    ``missing`` keys of updates whose row is not there, ``long_texts`` whether texts were long."""

    def __init__(
        self,
        con: duckdb.DuckDBPyConnection,
        target: StreamTarget,
        table: TableName,
        types: Mapping[str, str],
        fills: Mapping[str, str],
        extracted_at: datetime,
    ) -> None:
        self._con = con
        self._target = target
        self._table = table
        self._names = target.schema.names
        self._key = [self._names.index(k) for k in target.primary_key]
        self._types = {**types, **{_origin(i): types[folded(k)] for i, k in enumerate(target.primary_key)}}
        self._fills = {name: value for name, value in fills.items() if name not in self._names}
        self._extracted_at = extracted_at
        self.aside: list[QuarantinedRow] = []
        self.missing: list[pa.RecordBatch] = []
        self.long_texts = False

    def append(self, batch: ChangeBatch) -> None:
        """Each change is a row."""
        self._lay(_FINAL, framed(self._target, FinalRows(changes=batch), self._extracted_at, keyed=False))
        self._insert(_FINAL)
        self._con.execute(f"DROP TABLE {_FINAL}")

    def merge(self, batch: ChangeBatch) -> None:
        """The rows as the batch leaves them."""
        soft = self._target.deletes == "soft"
        for part in stretches(batch) if soft else (batch,):
            found = collapse(part, self._target.primary_key, keep_deleted=soft)
            if found.truncate is not None:
                self._clear(found.truncate, soft=soft)
            if found.lost is not None:
                self.missing.append(found.lost)
            if soft and found.deletes.rows:
                marked, _ = self._completed(found.deletes, marking=True)  # what is not there need not be marked
                self._put(marked)
            # Before anything is deleted: rows that moved have values under the keys that go.
            rows, without = self._completed(found.upserts)
            if without:
                key = list(self._target.primary_key)
                self.missing.append(found.upserts.changes.data.select(key).take(pa.array(without)))
            if not soft and found.deletes.rows:
                self._lay(_KEYS, framed_keys(self._target, found.deletes))
                self._delete(_KEYS, range(len(self._key)))
                self._con.execute(f"DROP TABLE {_KEYS}")
            self._put(rows)

    # -- within ----------------------------------------------------------------------------------------------------

    def _clear(self, truncate: ChangeBatch, *, soft: bool) -> None:
        """Every row goes, or is marked."""
        if not soft:
            self._con.execute(f"DELETE FROM {self._table}")
            return
        deleted = replace(truncate, op=pa.array([int(Op.DELETE)], pa.uint8()))
        self._lay(_FINAL, framed(self._target, FinalRows(changes=deleted), self._extracted_at, keyed=False))
        mark = next(name for name in DELETED_AT if name in self._names)
        sets = ", ".join(f"{quote(name)} = s.c{i}" for i, name in enumerate(self._names) if name in MARKS)
        self._con.execute(f"UPDATE {self._table} AS t SET {sets} FROM {_FINAL} AS s WHERE t.{quote(mark)} IS NULL")
        self._con.execute(f"DROP TABLE {_FINAL}")

    def _completed(self, final: FinalRows, *, marking: bool = False) -> tuple[TableName, list[int]]:
        """The rows in a temporary table with all that they leave out, and the numbers of those without a base."""
        frame = framed(self._target, final, self._extracted_at, marking=marking)
        self._lay(_FINAL, frame)
        if frame.whole:
            return _FINAL, []
        count = len(self._names)
        pattern, row = f"s.c{count}", f"s.c{count + 1}"
        same = " AND ".join(f"b.{quote(k)} = s.c{count + 2 + i}" for i, k in enumerate(self._target.primary_key))
        whole = ", ".join(str(i) for i, p in enumerate(frame.patterns) if not p) or "-1"
        plain = ", ".join(f"s.c{i} AS c{i}" for i in range(count))
        values = ", ".join(f"{self._value(i, frame)} AS c{i}" for i in range(count))
        # Two statements in one: a join of all rows by "equal, and not whole" would compare each with each.
        self._con.execute(
            f"""
            CREATE OR REPLACE TEMPORARY TABLE {_ROWS} AS
            SELECT {plain}, {row} AS number
            FROM {_FINAL} AS s
            WHERE {pattern} IN ({whole})
            UNION ALL
            SELECT {values}, {row} AS number
            FROM {_FINAL} AS s
            JOIN {self._table} AS b ON {same}
            WHERE {pattern} NOT IN ({whole})
            """
        )
        missing = self._con.execute(
            f"SELECT {row} FROM {_FINAL} AS s WHERE {row} NOT IN (SELECT number FROM {_ROWS}) ORDER BY 1"
        ).fetchall()
        self._con.execute(f"DROP TABLE {_FINAL}")
        return _ROWS, [int(number) for (number,) in missing]

    def _value(self, place: int, frame: Frame) -> str:
        without = [str(i) for i, pattern in enumerate(frame.patterns) if self._names[place] in pattern]
        if not without:
            return f"s.c{place}"
        base = f"b.{quote(self._names[place])}"
        return f"CASE WHEN s.c{len(self._names)} IN ({', '.join(without)}) THEN {base} ELSE s.c{place} END"

    def _put(self, rows: TableName) -> None:
        """In the place of those with the same key."""
        self._delete(rows, self._key)
        self._insert(rows)
        self._con.execute(f"DROP TABLE {rows}")

    def _delete(self, keys: TableName, places: range | list[int]) -> None:
        same = " AND ".join(
            f"t.{quote(k)} = s.c{place}" for k, place in zip(self._target.primary_key, places, strict=True)
        )
        self._con.execute(f"DELETE FROM {self._table} AS t USING {keys} AS s WHERE {same}")

    def _insert(self, rows: TableName) -> None:
        columns = [*self._names, *self._fills]
        values = [*(f"c{i}" for i in range(len(self._names))), *self._fills.values()]
        self._con.execute(f"INSERT INTO {self._table} ({quoted_list(columns)}) SELECT {', '.join(values)} FROM {rows}")

    def _lay(self, table: TableName, frame: Frame) -> None:
        self.aside += frame.aside
        self.long_texts |= frame.long_texts
        laid_down(self._con, table, frame, self._types)


def _origin(place: int) -> str:
    return f"_syncline_origin{place}"
