"""Messages of pgoutput written by hand, and decoded changes as plain values."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from types import EllipsisType
from typing import Any

import pyarrow as pa

from syncline.connectors.postgres.changes.decode import ChangeDecoder
from syncline.connectors.postgres.changes.relation import Described, RelationMessage
from syncline.connectors.postgres.changes.stretch import Stretch, TransactionHeader
from syncline.core.change import ChangeBatch, ChangeSlice
from syncline.core.schema import Field, StreamSchema
from syncline.core.stream import StreamName

Value = str | bytes | None | EllipsisType
"""One column of a tuple: text, NULL, or … for a value that is left out."""

#: 2000-01-01 in Unix microseconds.
EPOCH = 946_684_800_000_000


def tuple_data(values: Sequence[Value]) -> bytes:
    out = struct.pack(">H", len(values))
    for value in values:
        if value is None:
            out += b"n"
        elif value is ...:
            out += b"u"
        else:
            data = value.encode() if isinstance(value, str) else value
            out += b"t" + struct.pack(">i", len(data)) + data
    return out


class Frames:
    """Appends messages; ``xid`` makes them those of a streamed transaction."""

    def __init__(self) -> None:
        self.data = bytearray()

    def raw(self, message: bytes) -> Frames:
        self.data += struct.pack(">I", len(message)) + message
        return self

    def _message(self, kind: bytes, body: bytes, xid: int | None) -> Frames:
        return self.raw(kind + (b"" if xid is None else struct.pack(">I", xid)) + body)

    def begin(self, lsn: int, *, at: int = 0, xid: int = 700) -> Frames:
        return self._message(b"B", struct.pack(">QqI", lsn, at, xid), None)

    def commit(self, lsn: int, end: int | None = None, *, at: int = 0) -> Frames:
        return self._message(b"C", struct.pack(">bQQq", 0, lsn, lsn + 8 if end is None else end, at), None)

    def relation(
        self,
        oid: int,
        name: str,
        columns: Sequence[tuple[str, bool]],
        *,
        identity: str = "d",
        type_oid: int = 25,
        xid: int | None = None,
    ) -> Frames:
        body = struct.pack(">I", oid) + b"public\0" + name.encode() + b"\0"
        body += identity.encode() + struct.pack(">H", len(columns))
        for column, key in columns:
            body += bytes([key]) + column.encode() + b"\0" + struct.pack(">Ii", type_oid, -1)
        return self._message(b"R", body, xid)

    def insert(self, oid: int, values: Sequence[Value], *, xid: int | None = None) -> Frames:
        return self._message(b"I", struct.pack(">I", oid) + b"N" + tuple_data(values), xid)

    def update(
        self,
        oid: int,
        values: Sequence[Value],
        *,
        old: Sequence[Value] | None = None,
        kind: bytes = b"K",
        xid: int | None = None,
    ) -> Frames:
        before = b"" if old is None else kind + tuple_data(old)
        return self._message(b"U", struct.pack(">I", oid) + before + b"N" + tuple_data(values), xid)

    def delete(self, oid: int, old: Sequence[Value], *, kind: bytes = b"K", xid: int | None = None) -> Frames:
        return self._message(b"D", struct.pack(">I", oid) + kind + tuple_data(old), xid)

    def truncate(self, *oids: int, flags: int = 0, xid: int | None = None) -> Frames:
        return self._message(b"T", struct.pack(f">Ib{len(oids)}I", len(oids), flags, *oids), xid)

    def message(self, prefix: str, content: bytes = b"", *, xid: int | None = None) -> Frames:
        body = struct.pack(">bQ", 1, 5) + prefix.encode() + b"\0" + struct.pack(">I", len(content)) + content
        return self._message(b"M", body, xid)

    def stretch(self, start: int = 0, end: int = 1 << 40) -> Stretch:
        return Stretch(frames=bytes(self.data), header=None, aborted=frozenset(), start=start, end=end, whole=True)

    def streamed(
        self,
        commit_lsn: int,
        *,
        aborted: Iterable[int] = (),
        whole: bool = True,
        xid: int = 900,
        at: int = 0,
        start: int = 0,
    ) -> Stretch:
        header = TransactionHeader(xid=xid, commit_lsn=commit_lsn, end_lsn=commit_lsn + 8, committed_at=at)
        return Stretch(
            frames=bytes(self.data),
            header=header,
            aborted=frozenset(aborted),
            start=start,
            end=commit_lsn + 8 if whole else start,
            whole=whole,
        )


def name(stream: str) -> StreamName:
    return StreamName(namespace="public", name=stream)


class Tables:
    """A ``describe`` for tables whose columns have the given Arrow types (text without one)."""

    def __init__(
        self,
        types: Mapping[str, pa.DataType] | None = None,
        *,
        natives: Mapping[str, str] | None = None,
        unselected: Iterable[str] = (),
    ) -> None:
        self.types, self.natives, self.unselected = dict(types or {}), dict(natives or {}), set(unselected)
        self.asked: list[RelationMessage] = []

    def __call__(self, message: RelationMessage) -> Described | None:
        self.asked.append(message)
        if message.name in self.unselected:
            return None
        fields = tuple(
            Field(name=c.name, type=self.types.get(c.name, pa.string()), native=self.natives.get(c.name))
            for c in message.columns
        )
        return Described(
            stream=name(message.name),
            schema=StreamSchema(fields=fields),
            columns=tuple(range(len(fields))),
            key=tuple(c.name for c in message.columns if c.key) if message.identity != "f" else ("id",),
        )


def rows(batch: ChangeBatch) -> list[dict[str, Any]]:
    """What a batch says, a dict per row: the columns, ``op``, and what else there is about the row."""
    batch.data.validate(full=True)
    assert batch.data.schema == batch.schema.arrow()
    out = []
    for row, values in enumerate(batch.data.to_pylist()):
        said: dict[str, Any] = {"op": int(batch.op[row].as_py()), **values}
        if left_out := sorted(c for c, mask in batch.unchanged.items() if mask[row].as_py()):
            said["unchanged"] = left_out
        if batch.moved is not None and batch.moved[row].as_py():
            assert batch.old_key is not None
            batch.old_key.validate(full=True)
            said["old"] = batch.old_key.slice(row, 1).to_pylist()[0]
        if misfits := {m.column: (m.text, m.reason) for m in batch.misfits if m.row == row}:
            said["misfits"] = misfits
        out.append(said)
    for array in (batch.op, batch.lsn, batch.ordinal, batch.committed_at, *batch.unchanged.values()):
        array.validate(full=True)
        assert len(array) == batch.rows
        assert array.null_count == 0
    return out


def decode(decoder: ChangeDecoder, *stretches: Stretch, max_bytes: int = 16 << 20) -> list[ChangeSlice]:
    return [part for stretch in stretches for part in decoder.decode(stretch, max_bytes)]


def changes(slices: Iterable[ChangeSlice], stream: str) -> list[dict[str, Any]]:
    """All rows of a stream."""
    return [row for part in slices for which, batch in part.batches if which.name == stream for row in rows(batch)]


def places(slices: Iterable[ChangeSlice], stream: str) -> list[tuple[int, int]]:
    """LSN and ordinal of all rows of a stream."""
    return [
        place
        for part in slices
        for which, batch in part.batches
        if which.name == stream
        for place in zip(batch.lsn.to_pylist(), batch.ordinal.to_pylist(), strict=True)
    ]
