"""Frames of pgoutput as slices of changes in Arrow.

    decoder = ChangeDecoder(describe)
    decoder.follow(stream, start=lsn, visible=snapshot.shows)
    for stretch in stretches:
        for part in decoder.decode(stretch):
            use(part.batches, part.position)

The work is done in the caller's thread, by C without the GIL where the extension was built, else in Python
(``decode_fallback.py``); both give the same. Called by the Postgres log's readers, one decoder per reader.

Errors: ``data`` for frames or values that are not what the protocol says, with the table, the column and the commit
LSN; ``resource`` for a row that no batch can hold; what ``describe`` raises passes through. After an error the decoder
is only good to close, and nothing that it had not given out is lost: the stretch can be decoded again from its start by
another one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import pyarrow as pa

from syncline.connectors.postgres.changes.decode_fallback import PythonWalker
from syncline.connectors.postgres.changes.decode_form import META, Column, Status, Taken, Walker
from syncline.connectors.postgres.changes.decode_native import NativeWalker, native_library
from syncline.connectors.postgres.changes.relation import Described, Refused, RelationMessage
from syncline.connectors.postgres.changes.stretch import Stretch
from syncline.connectors.postgres.changes.values import MalformedValueError, form_of, misfit_text
from syncline.connectors.postgres.copy.layouts import REASONS
from syncline.core.batch import Misfit
from syncline.core.change import ChangeBatch, ChangeSlice, Evolution
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.schema import StreamSchema
from syncline.core.stream import StreamName

__all__ = ["ChangeDecoder", "native_available"]

_SLICE_BYTES = 16 << 20
#: Arrow's offsets within a batch are 32 bits wide, and a value has 1 GiB at most.
_MOST_BYTES = 1 << 30
_MICROSECONDS = 946_684_800_000_000  # 1970 to 2000, where Postgres counts from


def native_available() -> bool:
    """Whether decoders run compiled: the extension is there and not forbidden."""
    return native_library() is not None


@dataclass(frozen=True, kw_only=True)
class _Filter:
    """Which transactions a stream does not want."""

    start: int = 0
    visible: Callable[[int], bool] | None = None


@dataclass(kw_only=True)
class _Table:
    """A described relation, and what its next batch has to say besides its rows."""

    stream: StreamName
    schema: StreamSchema
    names: tuple[str, ...]
    arrow: pa.Schema
    columns: list[Column]
    keys: list[int]
    key_schema: pa.Schema
    evolution: Evolution | None


@dataclass(kw_only=True)
class _Gathered:
    """A slice in the making."""

    batches: list[tuple[StreamName, ChangeBatch]] = field(default_factory=list)
    broken: dict[StreamName, SynclineError] = field(default_factory=dict)


class ChangeDecoder:
    """Decodes one reader's stretches, in their order. Not for use by two threads at once.

    ``describe`` says what the rows of a table are; it is asked before the first change after each Relation message that
    says something new (see ``relation.py``), in log order, also for transactions that :meth:`follow` then leaves out.
    ``check_utf8``: the database is in SQL_ASCII, so that text may be no text. ``native``: True or False to have the
    compiled decoder or not, None for it where it is there.
    """

    def __init__(
        self,
        describe: Callable[[RelationMessage], Described | Refused | None],
        *,
        check_utf8: bool = False,
        native: bool | None = None,
    ) -> None:
        library = None if native is False else native_library()
        if native and library is None:
            raise SynclineError(
                ErrorKind.CONFIG,
                "the compiled decoder of changes is not there",
                hint="run `make setup` with a compiler",
            )
        self._walker: Walker = (
            NativeWalker(library, check_utf8=check_utf8) if library else PythonWalker(check_utf8=check_utf8)
        )
        self._describe_relation = describe
        self._filters: dict[StreamName, _Filter] = {}
        self._tables: dict[int, _Table] = {}
        self._skipped: set[int] = set()
        self._closed = False
        self._open: int | None = None  # commit LSN of a streamed transaction that goes on in the next stretch

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free what is held. May be called more than once."""
        self._closed = True
        self._walker.close()

    def follow(self, stream: StreamName, *, start: int = 0, visible: Callable[[int], bool] | None = None) -> None:
        """Leave out of ``stream`` what was committed at an LSN below ``start``, and transactions that ``visible``
        shows: it is asked with the 32-bit id of a top-level transaction, once for each that changes the stream. To be
        called between two slices, not within a transaction, as often as wanted; a stream never named here is given
        whole. Tables that ``describe`` did not want are asked about again, so that a stream can be added."""
        if self._closed:
            raise _defect("the decoder is closed")
        self._filters[stream] = _Filter(start=start, visible=visible)
        for oid, table in self._tables.items():
            if table.stream == stream:
                self._walker.filter(oid, start, asks=visible is not None)
        for oid in self._skipped:
            self._walker.ask_again(oid)
        self._skipped.clear()

    def decode(self, stretch: Stretch, max_bytes: int = _SLICE_BYTES) -> Iterator[ChangeSlice]:
        """The changes of a stretch, as slices of about ``max_bytes``; at least one. To be iterated to its end before
        the next stretch is given. The last slice has the stretch's own ``end`` and ``whole``; the others end after a
        transaction (a little early, so that few are cut), or within one that is large (``whole`` False)."""
        if self._closed:
            raise _defect("the decoder is closed")
        header = stretch.header
        resumed = header is not None and self._open == header.commit_lsn
        if self._open is not None and not resumed:
            raise _defect("another transaction follows a part of one")
        self._walker.load(stretch, resumed=resumed)
        self._open = header.commit_lsn if header is not None and not stretch.whole else None
        most = max(1, min(max_bytes, _MOST_BYTES))
        gathered, position, committed_before = _Gathered(), stretch.start, 0
        while True:
            if self._closed:
                raise _defect("the decoder is closed")
            status = self._walker.run(most - most // 4, most)
            if status is Status.DESCRIBE:
                self._describe(self._walker.view.oid, gathered)
                continue
            if status is Status.ASK:
                self._ask()
                continue
            if status is Status.KEY:
                self._refuse_key(gathered)
                continue
            if status not in {Status.END, Status.FULL}:
                raise self._failure(status)
            self._gather(gathered)
            view = self._walker.view
            committed_at = view.committed_at if view.end_lsn > committed_before else None
            committed_before = view.end_lsn
            position = max(position, view.end_lsn)
            whole = not view.inside
            if status is Status.END:
                whole, position = stretch.whole, stretch.end
                if header is not None and whole:
                    committed_at = header.committed_at + _MICROSECONDS
            yield ChangeSlice(
                batches=tuple(gathered.batches),
                position=position,
                whole=whole,
                committed_at=committed_at,
                broken=gathered.broken,
            )
            if status is Status.END:
                return
            gathered = _Gathered()

    def _describe(self, oid: int, gathered: _Gathered) -> None:
        message = RelationMessage.parse(self._walker.relation(oid))
        answer = self._describe_relation(message)
        before = self._tables.get(oid)
        self._leave(oid, gathered)
        if answer is None or isinstance(answer, Refused):
            if answer is not None:
                gathered.broken[answer.stream] = answer.error
            self._walker.skip(oid)
            self._skipped.add(oid)
            return
        for other, table in list(self._tables.items()):
            if table.stream == answer.stream:  # another table has taken the stream's name
                before = table
                self._leave(other, gathered)
                self._walker.ask_again(other)
        if before is not None and before.stream == answer.stream and before.evolution is not None:
            # Nothing came since the columns changed the last time: say that first, alone.
            gathered.batches.append((before.stream, _empty(before)))
        table = _table(answer, message)
        wanted = self._filters.get(table.stream, _Filter())
        self._walker.describe(oid, table.columns, table.keys, wanted.start, asks=wanted.visible is not None)
        self._tables[oid] = table

    def _leave(self, oid: int, gathered: _Gathered) -> None:
        """The table is described no longer: its last batch."""
        table = self._tables.get(oid)
        if table is not None:
            taken = self._walker.take(oid)
            if taken is not None:
                gathered.batches.append((table.stream, _batch(table, taken)))
                table.evolution = None
            del self._tables[oid]

    def _ask(self) -> None:
        view = self._walker.view
        visible = self._filters[self._tables[view.oid].stream].visible
        self._walker.answer(view.oid, wanted=visible is None or not visible(view.xid))

    def _refuse_key(self, gathered: _Gathered) -> None:
        """An update moved a row away from a key that no Arrow column can hold: its former self cannot be named."""
        view = self._walker.view
        table = self._tables[view.oid]
        gathered.broken[table.stream] = SynclineError(
            ErrorKind.DATA,
            "a key changed whose former value has no place in the column's carrier",
            hint="read the table again, or leave such values (NaN, infinity, 24:00) out of its key",
            where={"stream": str(table.stream), "column": self._column(view.oid, view.field), "lsn": _lsn(view.lsn)},
        )
        self._leave(view.oid, gathered)
        self._walker.skip(view.oid)
        self._skipped.add(view.oid)

    def _gather(self, gathered: _Gathered) -> None:
        for oid in self._walker.touched():
            table = self._tables.get(oid)
            taken = self._walker.take(oid) if table is not None else None
            if table is not None and taken is not None:
                gathered.batches.append((table.stream, _batch(table, taken)))
                table.evolution = None
        self._walker.emptied()

    def _column(self, oid: int, index: int) -> str | None:
        table = self._tables.get(oid)
        return table.names[index] if table is not None and index >= 0 else None

    def _failure(self, status: Status) -> Exception:
        view = self._walker.view
        table = self._tables.get(view.oid)
        where = {
            "stream": str(table.stream) if table is not None else None,
            "relation": view.oid or None,
            "column": self._column(view.oid, view.field),
            "lsn": _lsn(view.lsn) if view.inside else None,
            "frame": view.at,
        }
        if status is Status.MEMORY:
            return MemoryError()
        if status is Status.TOO_LARGE:
            return SynclineError(
                ErrorKind.RESOURCE,
                "one row has more than 2 GiB in one column",
                hint="leave the column out of the stream",
                where=where,
            )
        return SynclineError(
            ErrorKind.DATA,
            f"the log is not what the protocol says: {self._walker.error}",
            hint="the spool may be damaged: remove it and run again; if it stays so, report this as a defect",
            where=where,
        )


def _lsn(lsn: int) -> str:
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


def _defect(words: str) -> SynclineError:
    return SynclineError(ErrorKind.INTERNAL, words, hint="report this as a defect")


def _table(described: Described, message: RelationMessage) -> _Table:
    fields = described.schema.fields
    if len(fields) != len(described.columns) or not all(0 <= c < len(message.columns) for c in described.columns):
        raise _defect(f"{described.stream} is described with columns that its table has not")
    if not set(described.key) <= set(described.schema.names):
        raise _defect(f"{described.stream} is described with a key that it has not")
    columns = [
        Column(form=form_of(each, described.delimiters.get(each.name)), arrow=each.type, source=source)
        for each, source in zip(fields, described.columns, strict=True)
    ]
    arrow = described.schema.arrow()
    keys = [described.schema.names.index(name) for name in described.key]
    return _Table(
        stream=described.stream,
        schema=described.schema,
        names=described.schema.names,
        arrow=arrow,
        columns=columns,
        keys=keys,
        key_schema=pa.schema([arrow.field(key) for key in keys]),
        evolution=described.evolution,
    )


def _batch(table: _Table, taken: Taken) -> ChangeBatch:
    names = table.names
    op, lsn, ordinal, committed_at = taken.meta
    if names:
        data = pa.RecordBatch.from_arrays(list(taken.data), schema=table.arrow)
    else:  # a table without columns has rows all the same
        data = pa.RecordBatch.from_struct_array(pa.array([{}] * taken.rows, pa.struct([])))
    return ChangeBatch(
        schema=table.schema,
        data=data,
        op=op,
        lsn=lsn,
        ordinal=ordinal,
        committed_at=committed_at,
        unchanged={names[index]: mask for index, mask in taken.masks.items()},
        old_key=None if taken.moved is None else pa.RecordBatch.from_arrays(list(taken.old), schema=table.key_schema),
        moved=taken.moved,
        misfits=tuple(_misfits(table, taken)),
        evolution=table.evolution,
    )


def _empty(table: _Table) -> ChangeBatch:
    nothing = [pa.array([], column.arrow) for column in table.columns]
    return _batch(table, Taken(rows=0, data=nothing, meta=[pa.array([], kind) for kind in META]))


def _misfits(table: _Table, taken: Taken) -> Iterator[Misfit]:
    names = table.names
    for row, index, reason, data in taken.misfits:
        try:
            text = misfit_text(table.columns[index].form, data)
        except MalformedValueError as error:
            raise SynclineError(
                ErrorKind.DATA,
                f"the log is not what the protocol says: {error}",
                hint="report this as a defect",
                where={"stream": str(table.stream), "column": names[index]},
            ) from error
        yield Misfit(row=row, column=names[index], text=text, reason=REASONS[reason])
