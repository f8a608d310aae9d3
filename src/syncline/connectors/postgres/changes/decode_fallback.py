"""Frames of pgoutput into Arrow without a compiler: the same rows, misfits and slices as ``_changes.c`` gives.

Used by ``decode.py`` where the extension was not built. Format: PostgreSQL documentation, "Logical Replication Message
Formats". Every message and value costs Python objects; correctness is all that is asked of it.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from syncline.connectors.postgres.changes.decode_form import META, Column, Status, Taken, View
from syncline.connectors.postgres.changes.stretch import Stretch
from syncline.connectors.postgres.changes.values import MalformedValueError
from syncline.connectors.postgres.changes.values_fallback import Misfitting, column_of, parse_value
from syncline.core.change import Op

__all__ = ["PythonWalker"]

_MICROSECONDS = 946_684_800_000_000  # 1970 to 2000, where Postgres counts from
_OPS = {"I": Op.INSERT, "U": Op.UPDATE, "D": Op.DELETE}

Cell = tuple[str, bytes]
"""Kind (n, u, t) and bytes of one column of a tuple."""

_NULL: Cell = ("n", b"")


class _MalformedError(Exception):
    """What was found, and in which table."""

    def __init__(self, words: str, oid: int = 0) -> None:
        super().__init__(words)
        self.oid = oid


class _AskError(Exception):
    """Something must be asked before the message at hand can be taken."""

    def __init__(self, status: Status, oid: int) -> None:
        super().__init__(status)
        self.status = status
        self.oid = oid


@dataclass(kw_only=True)
class _Table:
    columns: Sequence[Column]
    keys: Sequence[int]
    start: int
    asks: bool
    fixed: int
    answered: int = -1
    wanted: bool = False
    rows: list[list[Any]] = field(default_factory=list)
    meta: list[tuple[int, int, int, int]] = field(default_factory=list)
    masks: dict[int, set[int]] = field(default_factory=dict)
    old: dict[int, list[Any]] = field(default_factory=dict)
    misfits: list[tuple[int, int, int, bytes]] = field(default_factory=list)


@dataclass(kw_only=True)
class _Relation:
    message: bytes
    identity: list[bool]
    state: str = "unknown"  # skipped, described


class PythonWalker:
    """A :class:`~.decode_form.Walker`. ``check_utf8``: text may be in no encoding at all."""

    def __init__(self, *, check_utf8: bool) -> None:
        self._check_utf8 = check_utf8
        self._relations: dict[int, _Relation] = {}
        self._tables: dict[int, _Table] = {}
        self._touched: dict[int, None] = {}
        self._frames = b""
        self._streamed = False
        self._aborted: frozenset[int] = frozenset()
        self._at = self._lsn = self._xid = self._end_lsn = self._committed_at = self._transaction_at = 0
        self._ordinal = self._serial = self._bytes = self._oid = 0
        self._field = -1
        self._inside = False
        self.error = ""

    def load(self, stretch: Stretch, *, resumed: bool) -> None:
        self._frames = bytes(stretch.frames)
        self._aborted = stretch.aborted
        self._streamed = stretch.header is not None
        self._at = self._end_lsn = self._committed_at = 0
        if resumed:
            return
        self._inside = False
        if stretch.header is not None:
            header = stretch.header
            try:
                self._begin(header.commit_lsn, header.committed_at, header.xid)
            except _MalformedError as error:
                self.error = str(error)

    def run(self, full: int, most: int) -> Status:
        self._oid, self._field = 0, -1
        try:
            return self._walk(full, most)
        except _AskError as question:
            self._oid = question.oid
            return question.status
        except _MalformedError as error:
            self._oid = error.oid
            self.error = self.error or str(error)
            return Status.MALFORMED

    @property
    def view(self) -> View:
        return View(
            lsn=self._lsn,
            xid=self._xid,
            inside=self._inside,
            end_lsn=self._end_lsn,
            committed_at=self._committed_at,
            oid=self._oid,
            field=self._field,
            at=self._at,
        )

    def relation(self, oid: int) -> bytes:
        return b"R" + self._relations[oid].message

    def describe(self, oid: int, columns: Sequence[Column], keys: Sequence[int], start: int, *, asks: bool) -> None:
        fixed = 21
        for column in columns:
            try:
                width = column.arrow.bit_width // 8 or 1
            except ValueError:  # of variable width
                width = 4
            fixed += width
        self._tables[oid] = _Table(columns=columns, keys=keys, start=start, asks=asks, fixed=fixed)
        self._relations[oid].state = "described"

    def skip(self, oid: int) -> None:
        self._relations[oid].state = "skipped"

    def ask_again(self, oid: int) -> None:
        self._relations[oid].state = "unknown"

    def filter(self, oid: int, start: int, *, asks: bool) -> None:
        table = self._tables[oid]
        table.start, table.asks, table.answered = start, asks, -1

    def answer(self, oid: int, *, wanted: bool) -> None:
        self._tables[oid].answered, self._tables[oid].wanted = self._serial, wanted

    def take(self, oid: int) -> Taken | None:
        table = self._tables.get(oid)
        if table is None or not table.rows:
            return None
        count = len(table.rows)
        data = [
            column_of([row[index] for row in table.rows], column.arrow) for index, column in enumerate(table.columns)
        ]
        op, lsn, ordinal, committed_at = (list(values) for values in zip(*table.meta, strict=True))
        moved, old = None, []
        if table.old:
            moved = pa.array([row in table.old for row in range(count)], pa.bool_())
            former = [table.old.get(row) for row in range(count)]
            old = [
                column_of([None if key is None else key[place] for key in former], table.columns[index].arrow)
                for place, index in enumerate(table.keys)
            ]
        taken = Taken(
            rows=count,
            data=data,
            meta=[column_of(values, kind) for values, kind in zip((op, lsn, ordinal, committed_at), META, strict=True)],
            masks={
                index: pa.array([row in rows for row in range(count)], pa.bool_())
                for index, rows in sorted(table.masks.items())
            },
            moved=moved,
            old=old,
            misfits=table.misfits,
        )
        table.rows, table.meta, table.masks, table.old, table.misfits = [], [], {}, {}, []
        return taken

    def touched(self) -> list[int]:
        return list(self._touched)

    def emptied(self) -> None:
        self._bytes = 0
        self._touched.clear()

    def close(self) -> None:
        self._frames = b""

    # ---- the walk ----------------------------------------------------------------------------------------------

    def _walk(self, full: int, most: int) -> Status:
        length = len(self._frames)
        while self._at < length:
            if length - self._at < 4:
                raise _MalformedError("a frame without its length")
            (size,) = struct.unpack_from(">I", self._frames, self._at)
            if not 1 <= size <= length - self._at - 4:
                raise _MalformedError("a frame longer than its stretch")
            committed = self._message(self._frames[self._at + 4 : self._at + 4 + size])
            self._at += 4 + size
            if self._bytes < (full if committed else most) or self._at == length:
                continue
            if committed or self._frames[self._at + 4 : self._at + 5] != b"C":  # not cut right before its end
                return Status.FULL
        if self._inside and not self._streamed:
            raise _MalformedError("a stretch that ends within a transaction")
        return Status.END

    def _message(self, message: bytes) -> bool:
        """One message; whether it ended a transaction."""
        kind, body = message[:1].decode("latin-1"), message[1:]
        if self._streamed and kind != "O":
            if len(body) < 4:
                raise _MalformedError("a message without its transaction")
            if int.from_bytes(body[:4]) in self._aborted:
                return False
            body = body[4:]
        if kind in "IUDT":
            if not self._inside:
                raise _MalformedError("a change outside of a transaction")
            if kind == "T":
                self._truncate(body)
            else:
                self._change(kind, body)
        elif kind == "R":
            self._relation_message(body)
        elif kind == "B":
            if self._streamed or self._inside or len(body) != 20:
                raise _MalformedError("a Begin at a wrong place or of a wrong length")
            self._begin(*struct.unpack(">QqI", body))
        elif kind == "C":
            if (
                self._streamed
                or not self._inside
                or len(body) != 25
                or struct.unpack_from(">Q", body, 1)[0] != self._lsn
            ):
                raise _MalformedError("a Commit at a wrong place, of a wrong length or another transaction")
            self._inside = False
            (self._end_lsn,) = struct.unpack_from(">Q", body, 9)
            self._committed_at = self._transaction_at
            return True
        elif kind not in "YMO":
            raise _MalformedError(f"a message of the unknown type {ord(kind)}")
        return False

    def _begin(self, lsn: int, at: int, xid: int) -> None:
        if at + _MICROSECONDS >= 2**63:
            raise _MalformedError("a commit at an impossible time")
        self._transaction_at = at + _MICROSECONDS
        self._lsn, self._xid, self._inside = lsn, xid, True
        self._ordinal = 0
        self._serial += 1

    def _relation_message(self, body: bytes) -> None:
        oid = 0
        try:
            (oid,) = struct.unpack_from(">I", body)
            known = self._relations.get(oid)
            if known is not None and known.message == body:
                return
            at = body.index(b"\0", body.index(b"\0", 4) + 1) + 1
            _, count = struct.unpack_from(">cH", body, at)
            at += 3
            identity = []
            for _ in range(count):
                identity.append(bool(body[at] & 1))
                at = body.index(b"\0", at + 1) + 9
            if at != len(body):
                raise ValueError
        except (struct.error, IndexError, ValueError) as error:
            raise _MalformedError("a Relation message that is cut off, or longer than its columns", oid) from error
        self._relations[oid] = _Relation(message=body, identity=identity)

    def _consider(self, oid: int) -> _Table | None:
        """The table if the change at hand is a row of it. Raises _AskError."""
        relation = self._relations.get(oid)
        if relation is None:
            raise _MalformedError("a change of a table without its Relation message", oid)
        if relation.state == "skipped":
            return None
        if relation.state == "unknown":
            raise _AskError(Status.DESCRIBE, oid)
        table = self._tables[oid]
        if table.start > self._lsn:
            return None
        if not table.asks:
            return table
        if table.answered != self._serial:
            raise _AskError(Status.ASK, oid)
        return table if table.wanted else None

    def _change(self, kind: str, body: bytes) -> None:
        if len(body) < 5:
            raise _MalformedError("a change that ends before its tuple")
        (oid,) = struct.unpack_from(">I", body)
        table = self._consider(oid)
        if table is None:
            self._ordinal += 1
            return
        columns = len(self._relations[oid].identity)
        tuple_kind, at, old = chr(body[4]), 5, ""
        new: list[Cell] = []
        before: list[Cell] = []
        if tuple_kind in "KO":
            if kind == "I":
                raise _MalformedError("an insert with an old tuple", oid)
            before, at = _tuple(body, at, columns, oid)
            old = tuple_kind
            if kind == "U":
                if at == len(body):
                    raise _MalformedError("an update without a new tuple", oid)
                tuple_kind = chr(body[at])
                at += 1
            else:
                new = before
        if kind != "D" or not old:
            if tuple_kind != "N" or kind == "D":
                raise _MalformedError("a tuple of an unknown kind", oid)
            new, at = _tuple(body, at, columns, oid)
        if at != len(body):
            raise _MalformedError("a change longer than its tuples", oid)
        self._put_row(table, oid, _OPS[kind], new, before, old)

    def _truncate(self, body: bytes) -> None:
        if len(body) < 5 or len(body) != 5 + 4 * int.from_bytes(body[:4]):
            raise _MalformedError("a truncate of another number of tables")
        oids = struct.unpack_from(f">{(len(body) - 5) // 4}I", body, 5)
        for oid in oids:  # all questions before the first row: the message may come again
            self._consider(oid)
        for oid in oids:
            table = self._consider(oid)
            if table is None:
                self._ordinal += 1
            else:
                self._put_row(table, oid, Op.TRUNCATE, [_NULL] * len(self._relations[oid].identity), [], "")

    def _put_row(self, table: _Table, oid: int, op: Op, new: Sequence[Cell], before: Sequence[Cell], old: str) -> None:
        place, size, row = len(table.rows), table.fixed, []
        if old and op is Op.UPDATE and table.keys:
            self._put_old_key(table, oid, new, before, full=old == "O")
        for index, column in enumerate(table.columns):
            kind, data = new[column.source]
            if kind == "u":
                if op is not Op.UPDATE:
                    self._field = index
                    raise _MalformedError("a value is left out of a row that is not an update", oid)
                if old and before[column.source][0] == "t":
                    kind, data = before[column.source]
                else:
                    table.masks.setdefault(index, set()).add(place)
            value = None
            if kind == "t":
                if column.form.depth or pa.types.is_string(column.arrow) or pa.types.is_binary(column.arrow):
                    size += len(data)
                try:
                    value = self._value(column, data, index, oid)
                except Misfitting as misfit:
                    table.misfits.append((place, index, misfit.reason, data))
                    self._bytes += len(data) + 256
            row.append(value)
        self._ordinal += 1
        self._touched[oid] = None
        table.rows.append(row)
        table.meta.append((op, self._lsn, self._ordinal, self._transaction_at))
        self._bytes += size

    def _put_old_key(self, table: _Table, oid: int, new: Sequence[Cell], before: Sequence[Cell], *, full: bool) -> None:
        identity = self._relations[oid].identity
        cells, moved = [], False
        for index in table.keys:
            source = table.columns[index].source
            former, present = before[source], new[source]
            known = former[0] == "t" or (former[0] == "n" and (full or identity[source]))
            cells.append(former if known else present)
            moved = moved or (known and present[0] != "u" and former != present)
        if not moved:
            return
        values: list[Any] = []
        for index, (kind, data) in zip(table.keys, cells, strict=True):
            if kind != "t":
                values.append(None)
                continue
            try:
                values.append(self._value(table.columns[index], data, index, oid))
            except Misfitting as misfit:
                self._field = index
                raise _AskError(Status.KEY, oid) from misfit
            self._bytes += len(data)
        table.old[len(table.rows)] = values

    def _value(self, column: Column, data: bytes, index: int, oid: int) -> Any:
        try:
            return parse_value(column.form, data, check_utf8=self._check_utf8)
        except MalformedValueError as error:
            self._field = index
            raise _MalformedError("a value that is not of its type", oid) from error


def _tuple(body: bytes, at: int, columns: int, oid: int) -> tuple[list[Cell], int]:
    """TupleData and the place after it."""
    cells: list[Cell] = []
    try:
        (count,) = struct.unpack_from(">H", body, at)
        at += 2
        if count != columns:
            raise ValueError
        for _ in range(count):
            kind = chr(body[at])
            at += 1
            if kind == "t":
                (length,) = struct.unpack_from(">i", body, at)
                at += 4
                if not 0 <= length <= len(body) - at:
                    raise ValueError
                cells.append(("t", body[at : at + length]))
                at += length
            elif kind in "nu":
                cells.append((kind, b""))
            else:
                raise ValueError
    except (struct.error, IndexError, ValueError) as error:
        raise _MalformedError("a tuple that is not of its table", oid) from error
    return cells, at
