"""What stands between the decoder that readers use and the two that do its work, compiled and in Python."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import pyarrow as pa

from syncline.connectors.postgres.changes.stretch import Stretch
from syncline.connectors.postgres.changes.values import Form

__all__ = ["META", "Column", "Status", "Taken", "View", "Walker"]

#: The columns that every batch has besides the stream's: op, lsn, ordinal, committed_at.
META: tuple[pa.DataType, ...] = (pa.uint8(), pa.uint64(), pa.uint32(), pa.timestamp("us", tz="UTC"))


class Status(enum.IntEnum):
    """What a walk ended with; ``enum status`` of ``_changes.c``."""

    END = 0  #: the frames have ended
    FULL = 1  #: the batches are as big as they were to be
    DESCRIBE = 2  #: a change of a table (``oid``) of which nothing is known yet, or no longer
    ASK = 3  #: a change of a table in a transaction that may not be wanted
    KEY = 4  #: an update changed a key whose former value has no place in its Arrow type
    MALFORMED = 5
    MEMORY = 6
    TOO_LARGE = 7  #: a row that no batch can hold


@dataclass(frozen=True, kw_only=True)
class Column:
    """A field of a stream: its form, its Arrow type, and which column of the relation it is."""

    form: Form
    arrow: pa.DataType
    source: int


@dataclass(frozen=True, kw_only=True)
class View:
    """Where a walk is. ``lsn`` and ``xid`` are those of the transaction at hand, ``inside`` says that it goes on.
    ``end_lsn`` and ``committed_at`` (Unix microseconds) are of the last transaction that ended in these frames, 0
    before the first. ``oid`` is the table that the status is about, ``field`` the malformed field or -1, ``at`` the
    place of the frame."""

    lsn: int
    xid: int
    inside: bool
    end_lsn: int
    committed_at: int
    oid: int
    field: int
    at: int


@dataclass(frozen=True, kw_only=True)
class Taken:
    """The rows of one table. ``meta`` are the columns of :data:`META`, ``masks`` those fields (by index) of which
    values were left out, ``moved`` and ``old`` the former key; ``misfits`` row, field, number of the reason, text."""

    rows: int
    data: Sequence[pa.Array]
    meta: Sequence[pa.Array]
    masks: dict[int, pa.Array] = field(default_factory=dict)
    moved: pa.Array | None = None
    old: Sequence[pa.Array] = ()
    misfits: Sequence[tuple[int, int, int, bytes]] = ()


class Walker(Protocol):
    """Walks over frames and gathers rows by table (``oid`` of its Relation message). Used by one thread at a time."""

    def load(self, stretch: Stretch, *, resumed: bool) -> None:
        """The frames to walk over; ``resumed``: the next part of the transaction of the frames before."""
        ...

    def run(self, full: int, most: int) -> Status:
        """Go on, until the frames end, or the rows have ``full`` bytes after a transaction or ``most`` within one, or
        something must be asked. The change that was asked about comes first at the next call."""
        ...

    @property
    def view(self) -> View: ...

    @property
    def error(self) -> str:
        """What was malformed."""
        ...

    def relation(self, oid: int) -> bytes:
        """The last Relation message of the table, without a transaction's id."""
        ...

    def describe(self, oid: int, columns: Sequence[Column], keys: Sequence[int], start: int, *, asks: bool) -> None:
        """How rows become columns from here on. Take the rows so far before."""
        ...

    def skip(self, oid: int) -> None:
        """Leave changes out, until a Relation message says something new."""
        ...

    def ask_again(self, oid: int) -> None:
        """Stop with DESCRIBE at the next change."""
        ...

    def filter(self, oid: int, start: int, *, asks: bool) -> None:
        """Leave out transactions with a commit LSN below ``start``; ``asks``: stop with ASK at the first change of each
        of the others."""
        ...

    def answer(self, oid: int, *, wanted: bool) -> None:
        """Whether the transaction at hand is wanted for the table."""
        ...

    def take(self, oid: int) -> Taken | None:
        """The rows so far, None when there are none."""
        ...

    def touched(self) -> list[int]:
        """The tables that may have rows, in the order of their first."""
        ...

    def emptied(self) -> None:
        """The rows of all tables have been taken."""
        ...

    def close(self) -> None: ...
