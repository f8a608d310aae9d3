"""What the spool gives out: whole transactions in commit order as the server sent them, or a part of a very large one.

*Frames* are bytes ``[u32 big-endian length][pgoutput message]``, one after the other, each message exactly as received
(PostgreSQL documentation, "Logical Replication Message Formats"). An LSN is an unsigned 64-bit number.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Stretch", "TransactionHeader"]


@dataclass(frozen=True, kw_only=True)
class TransactionHeader:
    """The end of a streamed transaction, known before its first change is given out.

    ``xid`` is the top-level transaction's (32 bits). ``commit_lsn`` is the place of its commit record, ``end_lsn`` the
    first byte after it. ``committed_at`` is the server's time of the commit in microseconds since 2000-01-01 UTC."""

    xid: int
    commit_lsn: int
    end_lsn: int
    committed_at: int


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """Some whole ordinary transactions, or a streamed one, or a part of it.

    ``header`` None: ``frames`` hold ordinary messages, Begin and Commit among them, and end after a Commit; Relation
    and Type messages (R, Y) and logical messages (M) may also stand outside a transaction. ``frames`` may be empty: the
    log has moved on to ``end`` without anything to read.

    ``header`` set: ``frames`` hold messages of one streamed transaction without any Stream or Begin/Commit message, in
    the streamed form (an Int32 xid after the type byte of R Y I U D T M): the top-level or a subtransaction's. Those
    with an xid in ``aborted`` are to be skipped, Relation and Type messages among them. ``whole`` is False on all parts
    of the transaction but the last.

    ``start`` and ``end`` are positions: every transaction with a commit LSN below ``start`` was given out before, and
    below ``end`` after this stretch. On parts that are not the last, ``end`` equals ``start``.
    """

    frames: bytes | bytearray | memoryview
    header: TransactionHeader | None
    aborted: frozenset[int]
    start: int
    end: int
    whole: bool
