"""Messages of pgoutput made by hand, and what a cursor gives, as plain values that can be compared."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from syncline.connectors.postgres.changes.spool import Spool
from syncline.connectors.postgres.changes.spool_relations import messages
from syncline.connectors.postgres.changes.stretch import Stretch, TransactionHeader

__all__ = [
    "Transaction",
    "begin",
    "change",
    "commit",
    "content",
    "expected",
    "frames",
    "header",
    "put",
    "relation",
    "streamed",
    "texts",
]


def begin(lsn: int, xid: int) -> bytes:
    return struct.pack(">cQqI", b"B", lsn, 0, xid)


def commit(lsn: int, end: int) -> bytes:
    return struct.pack(">cBQQq", b"C", 0, lsn, end, 0)


def change(oid: int, text: bytes) -> bytes:
    return struct.pack(">cIcHcI", b"I", oid, b"N", 1, b"t", len(text)) + text


def relation(oid: int, name: bytes) -> bytes:
    return struct.pack(">cI", b"R", oid) + b"public\0" + name + b"\0d\0\0"


def streamed(xid: int, message: bytes) -> bytes:
    return message[:1] + struct.pack(">I", xid) + message[1:]


def frames(*parts: bytes) -> bytes:
    return b"".join(struct.pack(">I", len(part)) + part for part in parts)


@dataclass(frozen=True)
class Transaction:
    """An ordinary transaction: its commit LSN, its messages between Begin and Commit. It ends 8 bytes on."""

    lsn: int
    body: tuple[bytes, ...]

    @property
    def end(self) -> int:
        return self.lsn + 8

    @property
    def frames(self) -> bytes:
        return frames(begin(self.lsn, 7), *self.body, commit(self.lsn, self.end))

    @property
    def relations(self) -> bytes:
        return frames(*(part for part in self.body if part[:1] in (b"R", b"Y")))


def put(spool: Spool, *transactions: Transaction) -> None:
    """In one record."""
    spool.append(
        b"".join(each.frames for each in transactions),
        transactions[-1].end,
        relations=b"".join(each.relations for each in transactions),
    )


def content(spool: Spool, start: int | None = None, max_bytes: int = 4 << 20) -> list[Stretch]:
    """Everything from ``start`` (the spool's beginning) on."""
    cursor = spool.cursor(spool.begin if start is None else start)
    found = []
    while (stretch := cursor.read(0, max_bytes)) is not None:
        found.append(
            Stretch(
                frames=bytes(stretch.frames),
                header=stretch.header,
                aborted=stretch.aborted,
                start=stretch.start,
                end=stretch.end,
                whole=stretch.whole,
            )
        )
    cursor.close()
    return found


def texts(stretches: Iterable[Stretch]) -> list[tuple[int, bytes]]:
    """Commit LSN and text of every change that counts: those of rolled back subtransactions do not."""
    found: list[tuple[int, bytes]] = []
    lsn = 0
    for stretch in stretches:
        data = bytes(stretch.frames)
        for start, end in messages(data):
            message = data[start:end]
            if stretch.header is not None:
                if int.from_bytes(message[1:5], "big") in stretch.aborted:
                    continue
                lsn, message = stretch.header.commit_lsn, message[:1] + message[5:]
            elif message[:1] == b"B":
                lsn = int.from_bytes(message[1:9], "big")
            if message[:1] == b"I":
                found.append((lsn, message[13:]))
    return found


def header(xid: int, lsn: int) -> TransactionHeader:
    return TransactionHeader(xid=xid, commit_lsn=lsn, end_lsn=lsn + 8, committed_at=5)


def expected(transactions: Sequence[Transaction], start: int = 0) -> list[tuple[int, bytes]]:
    return [
        (each.lsn, part[13:]) for each in transactions if each.lsn >= start for part in each.body if part[:1] == b"I"
    ]
