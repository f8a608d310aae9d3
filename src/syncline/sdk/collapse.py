"""Many changes to one key become one: what a batch of changes leaves behind, key by key.

Everything is arrays; there is no Python object per row. A change is an *event* of one key; an update that moves a row
to another key is two, the departure from the old key and the arrival at the new one. The last event of each key says
whether it ends as a row or is gone. Values that updates left out are looked for in the row's earlier events, through
its moves and back to its insertion, by pointer doubling: an event that does not say a value points to the one before
it, and each round doubles how far every pointer reaches. So a chain of a hundred thousand updates takes 17 rounds.

Keys are equal here when their carriers are. A destination may find more of them equal (a collation without case, 1.0
and 1.00 as numeric): at most one of those is a row at the end, so it must delete first and insert then.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from syncline.core.batch import Misfit
from syncline.core.change import ChangeBatch, Op
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.schema import StreamSchema

__all__ = ["DELETED_AT", "MARKS", "Collapsed", "FinalRows", "collapse", "stretches"]

#: Our own columns that say when and how a row was last written. A deletion that keeps the row writes these and no
#: other; the first of ``DELETED_AT`` that a stream has says that a row was deleted.
DELETED_AT = ("_syncline_deleted_at", "_ab_cdc_deleted_at")
MARKS = frozenset(
    {
        *DELETED_AT,
        "_syncline_extracted_at",
        "_syncline_sync_id",
        "_syncline_lsn",
        "_airbyte_raw_id",
        "_airbyte_extracted_at",
        "_airbyte_meta",
        "_ab_cdc_lsn",
        "_ab_cdc_updated_at",
    }
)

_Ints = npt.NDArray[np.int64]
_Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class FinalRows:
    """One row for each of some keys, in the order of their last changes.

    ``changes.unchanged`` marks values that no change in the batch said: the destination's row under the key ``origin``
    has them. ``origin`` (columns of the key; None when each is the row's own key) differs where the row has moved.
    """

    changes: ChangeBatch
    origin: pa.RecordBatch | None = None

    @property
    def rows(self) -> int:
        return self.changes.rows

    def patterns(self, columns: Sequence[str], *, marking: bool = False) -> tuple[_Ints, list[frozenset[str]]]:
        """Which of ``columns`` (the destination's) each row leaves out: a number for each row, and the set of columns
        that each number stands for. ``marking``: the rows are deleted ones that stay, so that columns which the log no
        longer has keep their value too."""
        masks = {name: _numpy(mask) for name, mask in self.changes.unchanged.items()}
        if marking:
            known = {*self.changes.schema.names, *MARKS}
            masks.update({name: np.ones(self.rows, np.bool_) for name in columns if name not in known})
        code: _Ints = np.zeros(self.rows, np.int64)
        for count, mask in enumerate(masks.values()):
            code = code * 2 + mask
            if count % 32 == 31:  # before the bits run out
                code = np.unique(code, return_inverse=True)[1].astype(np.int64)
        _, first, number = np.unique(code, return_index=True, return_inverse=True)
        sets = [frozenset(name for name, mask in masks.items() if mask[at]) for at in first.tolist()]
        return number.astype(np.int64), sets


@dataclass(frozen=True, kw_only=True)
class Collapsed:
    """What a batch leaves behind. Carried out in this order: ``truncate`` (that change alone; everything that was there
    is gone, and so is what the batch did before it), read the base rows of masked ``upserts``, ``deletes``,
    ``upserts``.

    ``deletes`` has only the columns of the key, or with ``keep_deleted`` whole rows as they were when they went.
    ``lost`` are keys whose row the batch deletes and then updates with values left out, as no sound log does: they are
    among the deletes, and their row must be asked for.
    """

    truncate: ChangeBatch | None
    deletes: FinalRows
    upserts: FinalRows
    lost: pa.RecordBatch | None = None


def stretches(batch: ChangeBatch) -> Iterator[ChangeBatch]:
    """The batch in pieces that have a TRUNCATE in their first row or not at all. For destinations that keep deleted
    rows, which must see what came before it too."""
    start = 0
    for at in np.flatnonzero(_numpy(batch.op) == Op.TRUNCATE).tolist():
        if at > start:
            yield batch.slice(start, at)
        start = at
    if start < batch.rows:
        yield batch.slice(start, batch.rows)


def collapse(batch: ChangeBatch, key: Sequence[str], *, keep_deleted: bool = False) -> Collapsed:
    """Collapse a batch by ``key`` (columns of its schema). ``keep_deleted``: deleted rows are kept with their last
    values; give the batch in :func:`stretches` then. Raises ``data`` for a change without its key."""
    op, truncate = _numpy(batch.op), None
    truncates = np.flatnonzero(op == Op.TRUNCATE)
    if len(truncates):
        last = int(truncates[-1])
        truncate = batch.slice(last, last + 1)
        batch, op = batch.slice(last + 1, batch.rows), op[last + 1 :]
    events = _Events(batch, tuple(key), op)
    final = events.final()
    gone = events.kind[final] == Op.DELETE
    chained = bool(batch.unchanged) or (keep_deleted and bool(gone.any()))
    if not chained:
        return Collapsed(
            truncate=truncate,
            deletes=events.keys_alone(final[gone]),
            upserts=events.rows_at(final if not len(gone) else final[~gone]),
        )
    chain = _Chain(events, keep_deleted=keep_deleted)
    upserts, deletes = final[~gone], final[gone]
    lost = chain.lost(upserts)
    lost_keys = events.keys(upserts[lost]) if lost.any() else None
    if lost_keys is not None:
        deletes, upserts = np.sort(np.concatenate([deletes, upserts[lost]])), upserts[~lost]
    if keep_deleted:
        deletes = deletes[~chain.lost(deletes)]
    return Collapsed(
        truncate=truncate,
        deletes=chain.rows_at(deletes, Op.DELETE) if keep_deleted else events.keys_alone(deletes),
        upserts=chain.rows_at(upserts),
        lost=lost_keys,
    )


class _Events:
    """The events of a batch in order. For each event: ``row`` of the batch, ``kind`` (an :class:`Op`), ``code`` of its
    key and ``source`` of it, a row of ``key_table``."""

    def __init__(self, batch: ChangeBatch, key: tuple[str, ...], op: npt.NDArray[np.uint8]) -> None:
        self.batch, self.key = batch, key
        rows = batch.rows
        moved = np.flatnonzero(_numpy(batch.moved)) if batch.moved is not None else np.empty(0, np.int64)
        keys = [batch.data.column(batch.data.schema.get_field_index(name)) for name in key]
        texts = _misfit_texts(batch, key)
        _refuse_nulls(keys, key, texts)
        identities = [_with_texts(k, texts[name]) if name in texts else k for k, name in zip(keys, key, strict=True)]
        if len(moved):
            assert batch.old_key is not None
            former = [batch.old_key.column(name).take(pa.array(moved)) for name in key]
            _refuse_nulls(former, key, {})
            identities = [
                pa.concat_arrays([i, f if i.type == f.type else _as_text(f)])
                for i, f in zip(identities, former, strict=True)
            ]
            keys = [pa.concat_arrays([k, f]) for k, f in zip(keys, former, strict=True)]
        self.key_table = pa.RecordBatch.from_arrays(keys, names=list(key))
        code = _codes(identities)
        self.every = np.arange(rows, dtype=np.int64)
        if not len(moved):
            self.row, self.kind, self.code, self.source = self.every, op, code, self.every
            self.departures = self.arrivals = moved
            return
        shift = np.zeros(rows, np.int64)
        shift[moved] = 1
        at = self.every + np.cumsum(shift)
        self.arrivals = at[moved]
        self.departures = self.arrivals - 1
        count = rows + len(moved)
        self.row, self.source = np.empty(count, np.int64), np.empty(count, np.int64)
        self.row[at], self.row[self.departures] = self.every, moved
        self.source[at], self.source[self.departures] = self.every, np.arange(rows, count)
        self.kind = op[self.row].copy()
        self.kind[self.departures] = Op.DELETE
        self.code = code[self.source]

    def final(self) -> _Ints:
        """The last event of each key, in order."""
        count = len(self.code)
        if count == 0:
            return self.every
        last = np.full(int(self.code.max()) + 1, -1, np.int64)
        # Of several values for one place numpy leaves the last.
        last[self.code] = np.arange(count)
        is_last = np.zeros(count, np.bool_)
        is_last[last[last >= 0]] = True
        return np.flatnonzero(is_last)

    def keys(self, events: _Ints) -> pa.RecordBatch:
        return self.key_table.take(pa.array(self.source[events]))

    def keys_alone(self, events: _Ints) -> FinalRows:
        """Changes that have only the key."""
        fields = {f.name: f for f in self.batch.schema.fields}
        schema = StreamSchema(fields=tuple(fields[name] for name in self.key))
        if not len(events):
            empty = self.batch.slice(0, 0)
            return FinalRows(
                changes=replace(empty, schema=schema, data=empty.data.select(list(self.key)), unchanged={})
            )
        data = pa.RecordBatch.from_arrays(self.keys(events).columns, schema=schema.arrow())
        misfits = [m for name in self.key for m in self.misfits(name, self.source[events])]
        return FinalRows(changes=self.wrapped(events, schema, data, misfits, op=Op.DELETE))

    def rows_at(self, events: _Ints) -> FinalRows:
        """The rows as these events say them; all of them at no cost."""
        rows = self.row[events]
        if len(rows) == self.batch.rows:
            return FinalRows(changes=replace(self.batch, old_key=None, moved=None, evolution=None))
        data = self.batch.data.take(pa.array(rows))
        columns = {m.column for m in self.batch.misfits}
        misfits = [m for name in columns for m in self.misfits(name, rows)]
        return FinalRows(changes=self.wrapped(events, self.batch.schema, data, misfits))

    def misfits(self, column: str, rows: _Ints) -> list[Misfit]:
        """Misfits of one column where its values are taken from ``rows`` (-1: from nowhere)."""
        known = {m.row: m for m in self.batch.misfits if m.column == column}
        if not known:
            return []
        places = np.flatnonzero(np.isin(rows, np.fromiter(known, np.int64, len(known))))
        return [replace(known[row], row=at) for at, row in zip(places.tolist(), rows[places].tolist(), strict=True)]

    def wrapped(
        self,
        events: _Ints,
        schema: StreamSchema,
        data: pa.RecordBatch,
        misfits: list[Misfit],
        *,
        op: Op | None = None,
        unchanged: dict[str, pa.Array] | None = None,
    ) -> ChangeBatch:
        rows = pa.array(self.row[events])
        batch = self.batch
        return ChangeBatch(
            schema=schema,
            data=data,
            op=batch.op.take(rows) if op is None else pa.repeat(pa.scalar(int(op), pa.uint8()), len(rows)),
            lsn=batch.lsn.take(rows),
            ordinal=batch.ordinal.take(rows),
            committed_at=batch.committed_at.take(rows),
            unchanged=unchanged or {},
            misfits=tuple(sorted(misfits, key=lambda m: (m.row, m.column))),
        )


class _Chain:
    """The events that go before each other in the life of one row, and what values come down them.

    Pointers are numbers of events; one past the last means the destination's base row, two past it that the row was
    deleted before, which an update that leaves values out cannot follow."""

    def __init__(self, events: _Events, *, keep_deleted: bool) -> None:
        self._events = events
        self._base = count = len(events.code)
        self._lost = count + 1
        before = self._before()
        # A deleted row that is kept goes on saying what it said before.
        self._mute = np.zeros(count + 2, np.bool_)
        self._mute[:count] = keep_deleted & (events.kind == Op.DELETE)
        self._previous = before
        begins = before[:count] >= count
        self._root = _resolved(np.where(np.append(begins, [True, True]), np.arange(count + 2), before))
        self._said: dict[str, _Ints] = {}
        self._generic = _resolved(np.where(self._mute, before, np.arange(count + 2)))
        for name, mask in events.batch.unchanged.items():
            mute = self._mute.copy()
            mute[:count] |= _numpy(mask)[events.row] & (events.kind == Op.UPDATE)
            self._said[name] = _resolved(np.where(mute, before, np.arange(count + 2)))

    def _before(self) -> _Ints:
        """For each event that of the same row before it."""
        events, count = self._events, self._base
        before = np.full(count + 2, count, np.int64)
        before[-1] = self._lost
        order = np.argsort(events.code, kind="stable")
        same = events.code[order[1:]] == events.code[order[:-1]]
        before[order[1:][same]] = order[:-1][same]
        # A row that arrives was the one that departs.
        before[events.arrivals] = before[events.departures]
        update = np.flatnonzero(events.kind == Op.UPDATE)
        known = update[before[update] < count]
        before[known[events.kind[before[known]] == Op.DELETE]] = self._lost
        return before

    def lost(self, events: _Ints) -> _Bools:
        found: _Bools = self._generic[events] == self._lost
        for said in self._said.values():
            found |= said[events] == self._lost
        return found

    def rows_at(self, events: _Ints, op: Op | None = None) -> FinalRows:
        """The rows as they are at these events."""
        own, batch = self._events, self._events.batch
        unchanged: dict[str, pa.Array] = {}
        misfits: list[Misfit] = []
        columns = []
        told = {m.column for m in batch.misfits}
        kept: tuple[_Ints, pa.Array] | None = None
        incomplete = np.zeros(len(events), np.bool_)
        for name, column in zip(batch.data.schema.names, batch.data.columns, strict=True):
            if name in own.key:
                source = own.source[events]
                columns.append(own.key_table.column(name).take(pa.array(source)))
                misfits += own.misfits(name, source) if name in told else []
                continue
            said = self._said.get(name, self._generic)[events]
            unknown = said == self._base
            if unknown.any():
                unchanged[name] = pa.array(unknown)
                incomplete |= unknown
            if name in self._said or kept is None:
                source = np.append(own.row, [-1, -1])[said]
                places = pa.array(source, mask=unknown)
                kept = (source, places) if name not in self._said else kept
            else:
                source, places = kept
            columns.append(column.take(places))
            misfits += own.misfits(name, source) if name in told else []
        data = pa.RecordBatch.from_arrays(columns, schema=batch.data.schema)
        changes = own.wrapped(events, batch.schema, data, misfits, op=op, unchanged=unchanged)
        return FinalRows(changes=changes, origin=self._origin(events, incomplete))

    def _origin(self, events: _Ints, incomplete: _Bools) -> pa.RecordBatch | None:
        own = self._events
        if not len(own.arrivals) or not incomplete.any():
            return None
        source = own.source.copy()
        source[own.arrivals] = own.source[own.departures]
        origin = np.where(incomplete, source[self._root[events]], own.source[events])
        if (own.code[events] == _code_of(own, origin)).all():
            return None
        return own.key_table.take(pa.array(origin))


def _code_of(events: _Events, source: _Ints) -> _Ints:
    codes = np.empty(events.key_table.num_rows, np.int64)
    codes[events.source] = events.code
    return codes[source]


def _resolved(pointers: _Ints) -> _Ints:
    """Where each pointer ends; an end points to itself."""
    while True:
        further = pointers[pointers]
        if np.array_equal(further, pointers):
            return pointers
        pointers = further


def _codes(columns: Sequence[pa.Array]) -> _Ints:
    """A small number for each different key."""
    code = _column_codes(columns[0])
    for column in columns[1:]:
        other = _column_codes(column)
        if not len(code):
            return code
        wide = int(code.max() + 1) * int(other.max() + 1)
        if wide > 1 << 62:  # cannot be: codes are smaller than four times the rows
            raise SynclineError(ErrorKind.INTERNAL, "keys cannot be numbered")
        code = _small(code * int(other.max() + 1) + other)
    return code


def _small(values: _Ints) -> _Ints:
    """Numbers without wide gaps, different for different values."""
    if len(values):
        low, high = int(values.min()), int(values.max())
        if high - low < max(1024, 4 * len(values)):
            return values - low
    return _numpy(pc.dictionary_encode(pa.array(values)).indices).astype(np.int64)


def _column_codes(column: pa.Array) -> _Ints:
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if pa.types.is_integer(kind) and kind != pa.uint64():
        return _small(_numpy(column.cast(pa.int64())))
    if pa.types.is_floating(kind):
        column = pa.array(_numpy(column.cast(pa.float64())) + 0.0)  # -0.0 is 0.0; one NaN is another
        column = pc.if_else(pc.is_nan(column), float("nan"), column)
    try:
        encoded = pc.dictionary_encode(column)
    except pa.ArrowNotImplementedError:  # nested keys (arrays): one Python object each
        encoded = pc.dictionary_encode(_as_text(column))
    return _numpy(encoded.indices).astype(np.int64)


def _misfit_texts(batch: ChangeBatch, key: Sequence[str]) -> dict[str, list[Misfit]]:
    found: dict[str, list[Misfit]] = {}
    for m in batch.misfits:
        if m.column in key and not m.rule:
            found.setdefault(m.column, []).append(m)
    return found


def _with_texts(column: pa.Array, misfits: Sequence[Misfit]) -> pa.Array:
    """A key column some of whose values only their text says: all as text, apart from each other."""
    texts = _as_text(column).to_pylist()
    for m in misfits:
        texts[m.row] = "\0" + m.text
    return pa.array(texts, pa.string())


def _as_text(column: pa.Array) -> pa.Array:
    return pa.array([repr(value) for value in column.to_pylist()], pa.string())


def _refuse_nulls(columns: Sequence[pa.Array], key: Sequence[str], texts: dict[str, list[Misfit]]) -> None:
    for column, name in zip(columns, key, strict=True):
        if column.null_count > len(texts.get(name, ())):
            raise SynclineError(
                ErrorKind.DATA,
                f"a change came without a value of its key column {name!r}",
                hint="the table's replica identity must contain the key: ALTER TABLE … REPLICA IDENTITY DEFAULT "
                "(or FULL), and copy the stream anew",
                where={"column": name},
            )


def _numpy(array: pa.Array) -> npt.NDArray[Any]:
    values: npt.NDArray[Any] = array.to_numpy(zero_copy_only=False)
    return values
