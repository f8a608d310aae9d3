"""One stream as a reader of the log follows it: its columns at this place, and its rows on their way to a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from syncline.connectors.mysql.changes.cells import CellReader, agrees, cell_reader, native_of
from syncline.connectors.mysql.changes.history import Altered, History
from syncline.connectors.mysql.changes.layout import TableLayout, bits, length_encoded
from syncline.connectors.mysql.types import field_of
from syncline.core.batch import Misfit
from syncline.core.change import ChangeBatch, Evolution, LogPosition, Op
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.schema import Field, StreamSchema
from syncline.core.stream import SelectedStream

__all__ = ["FollowedStream"]

_FULL_IMAGE = (
    "SET GLOBAL binlog_row_image = 'FULL', and in the server's configuration; sessions that are open keep theirs"
)


class FollowedStream:
    """Gathers changes; :meth:`batches` hands them out. ``whole``: all columns were selected, so new ones come along."""

    def __init__(
        self,
        selected: SelectedStream,
        position: LogPosition,
        history: History,
        collations: Mapping[int, str],
        *,
        whole: bool,
    ) -> None:
        self.selected, self.position = selected, position
        self._history, self._collations, self._whole = history, collations, whole
        self._schema = selected.stream.schema
        self._key = selected.primary_key
        self._layout: TableLayout | None = None
        self._readers: list[CellReader | None] = []
        self._all_readers: list[CellReader] = []
        self._evolution: Evolution | None = None
        self._done: list[ChangeBatch] = []
        self._rows: list[tuple[Any, ...]] = []
        self._marks: list[tuple[int, int, int, int]] = []  # op, lsn, ordinal, committed_at
        self._old: list[tuple[Any, ...] | None] = []
        self.bytes = 0

    # -- columns --------------------------------------------------------------------------------------------------

    def see(self, layout: TableLayout, lsn: int) -> None:
        """The table's columns as the next rows have them. Raises ``schema`` when the stream cannot go on."""
        pending = self._history.pending(self.selected.name, lsn)
        if layout == self._layout and not pending:
            return
        if not layout.named:
            raise SynclineError(
                ErrorKind.CONFIG,
                "the log does not name the table's columns here",
                hint="SET GLOBAL binlog_row_metadata = 'FULL', and in the server's configuration; then copy the table "
                "anew (syncline state reset FILE)",
            )
        if layout.primary_key is not None and self.selected.stream.primary_key:
            key = self.selected.stream.primary_key
            if self._key == key and set(layout.primary_key) != set(key):
                raise SynclineError(
                    ErrorKind.SCHEMA,
                    f"the table's primary key is ({', '.join(layout.primary_key) or 'none'}) and was "
                    f"({', '.join(key)})",
                    hint="copy it anew (syncline state reset FILE)",
                )
        dropped = self._history.dropped(self.selected.name, lsn)
        altered = Altered.of(self._schema, self._key, pending, dropped)
        chosen: list[tuple[int, Field]] = []
        readers: list[CellReader] = []
        known = {f.name: f for f in self._schema.fields}
        for place, column in enumerate(layout.columns):
            name = column.name
            before = altered.origin.get(name, "")
            taken = before != "" and (before is not None or self._whole)
            native = altered.native.get(name) or (known[before].native if before else None) or native_of(column)
            if not agrees(column, native):
                if taken and before and name not in altered.native:
                    raise SynclineError(
                        ErrorKind.SCHEMA,
                        f"column {name} was {native} and lies in the log as {native_of(column)}",
                        hint="copy the table anew (syncline state reset FILE)",
                    )
                native = native_of(column)
            readers.append(_reader(column, native, self._collations, needed=taken))
            if taken:
                unchanged = before and before == name and known[name].native == native
                field = known[name] if unchanged else field_of(name, native, nullable=True)
                chosen.append((place, field))
            elif name not in altered.origin and self._whole:
                raise SynclineError(
                    ErrorKind.SCHEMA,
                    f"column {name} appeared without a statement that the log tells",
                    hint="copy the table anew (syncline state reset FILE)",
                )
        schema = self._ordered(chosen, altered)
        if schema != self._schema:
            self._cut()
            self._evolution = altered.evolution(schema, self._schema)
            self._schema = schema
        elif layout != self._layout:
            self._cut()
        places = {field.name: place for place, field in chosen}
        self._columns = [(places[f.name], readers[places[f.name]]) for f in schema.fields]
        self._all_readers, self._layout = readers, layout
        self._key_places = [places[k] for k in self._key if k in places]
        self._history.done(self.selected.name, lsn)

    def _ordered(self, chosen: Sequence[tuple[int, Field]], altered: Altered) -> StreamSchema:
        """The columns that were known in their order, then the new ones."""
        by_origin = {altered.origin[f.name]: f for _, f in chosen if altered.origin[f.name] is not None}
        kept = [by_origin[n] for n in self._schema.names if n in by_origin]
        new = [f for _, f in chosen if altered.origin[f.name] is None]
        return StreamSchema(fields=(*kept, *new))

    # -- rows -----------------------------------------------------------------------------------------------------

    def rows(self, op: Op, body: bytes, *, lsn: int, ordinal: int, at: int) -> int:
        """Take the rows of one event (after its header's numbers). Gives the last ordinal used. Changes that the
        stream's copy has already are left out."""
        count, place = length_encoded(body, 0)
        assert self._layout is not None
        if count != len(self._layout.columns):
            raise SynclineError(ErrorKind.INTERNAL, f"{count} columns in the log, {len(self._layout.columns)} told")
        width = (count + 7) // 8
        images = [bits(body[place : place + width], count)]
        place += width
        if op is Op.UPDATE:
            images.append(bits(body[place : place + width], count))
            place += width
        if not all(all(image) for image in images):
            raise SynclineError(ErrorKind.CONFIG, "the log has only parts of changed rows", hint=_FULL_IMAGE)
        wanted = lsn >= self.position.lsn
        end = len(body)
        while place < end:
            before, place = self._row(body, place, width)
            row = before
            if op is Op.UPDATE:
                row, place = self._row(body, place, width)
            ordinal += 1
            if not wanted:
                continue
            self._rows.append(tuple(row[i] for i, _ in self._columns))
            self._marks.append((int(op), lsn, ordinal, at))
            old = tuple(before[i] for i in self._key_places)
            moved = op is Op.UPDATE and old != tuple(row[i] for i in self._key_places)
            self._old.append(old if moved else None)
        if wanted:
            self.bytes += len(body)
        return ordinal

    def truncate(self, *, lsn: int, ordinal: int, at: int) -> None:
        if lsn >= self.position.lsn:
            self._rows.append((None,) * len(self._schema.fields))
            self._marks.append((int(Op.TRUNCATE), lsn, ordinal, at))
            self._old.append(None)
            self.bytes += 64

    def _row(self, body: bytes, place: int, width: int) -> tuple[list[Any], int]:
        nulls = body[place : place + width]
        place += width
        values: list[Any] = []
        if not any(nulls):
            for reader in self._all_readers:
                value, place = reader.read(body, place)
                values.append(value)
            return values, place
        for i, reader in enumerate(self._all_readers):
            if nulls[i >> 3] & (1 << (i & 7)):
                values.append(None)
            else:
                value, place = reader.read(body, place)
                values.append(value)
        return values, place

    # -- batches --------------------------------------------------------------------------------------------------

    def batches(self) -> list[ChangeBatch]:
        """What was gathered; nothing of it stays."""
        self._cut()
        found, self._done = self._done, []
        self.bytes = 0
        return found

    def _cut(self) -> None:
        """Close the batch that is being filled: the columns are about to change, or it is asked for."""
        if not self._rows and self._evolution is None:
            return
        schema, marks = self._schema, self._marks
        arrays: list[pa.Array] = []
        misfits: list[Misfit] = []
        columns = list(zip(*self._rows, strict=True)) if self._rows else [() for _ in schema.fields]
        builders: Sequence[CellReader | None] = (
            [reader for _, reader in self._columns] if self._layout is not None else [None] * len(schema.fields)
        )
        for field, reader, values in zip(schema.fields, builders, columns, strict=True):
            if reader is None:  # a TRUNCATE before any row: nothing but NULL
                arrays.append(pa.nulls(len(values), field.type))
                continue
            array, beside = reader.build(values)
            arrays.append(array)
            misfits += beside
        moved = [old is not None for old in self._old]
        self._done.append(
            ChangeBatch(
                schema=schema,
                data=pa.RecordBatch.from_arrays(arrays, schema=schema.arrow()),
                op=pa.array([m[0] for m in marks], pa.uint8()),
                lsn=pa.array([m[1] for m in marks], pa.uint64()),
                ordinal=pa.array([m[2] for m in marks], pa.uint32()),
                committed_at=pa.array([m[3] for m in marks], pa.timestamp("us", tz="UTC")),
                old_key=self._old_keys() if any(moved) else None,
                moved=pa.array(moved, pa.bool_()) if any(moved) else None,
                misfits=tuple(misfits),
                evolution=self._evolution,
            )
        )
        self._rows, self._marks, self._old, self._evolution = [], [], [], None

    def _old_keys(self) -> pa.RecordBatch:
        fields = [self._schema.field(k) for k in self._key]
        by_name = {reader.name: reader for _, reader in self._columns}
        arrays = []
        for number, field in enumerate(fields):
            values = [None if old is None else old[number] for old in self._old]
            arrays.append(by_name[field.name].build(values)[0])
        return pa.RecordBatch.from_arrays(arrays, schema=pa.schema([f.arrow() for f in fields]))


def _reader(column: Any, native: str, collations: Mapping[int, str], *, needed: bool) -> CellReader:
    """A column that is not taken must still be stepped over, whatever its text means."""
    try:
        return cell_reader(column, native, collations)
    except SynclineError:
        if needed:
            raise
        return cell_reader(column, native, _AnyText())


class _AnyText(dict[int, str]):
    """Every character set is one whose bytes may be taken as they are."""

    def get(self, key: int, default: Any = None) -> str:
        del key, default
        return "utf8mb4"
