"""One end of a comparison, whatever engine keeps it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

from syncline.verify.columns import Chunking, ColumnSpec
from syncline.verify.sums import Sums

__all__ = ["KEY_HASHES", "Latest", "Progress", "RowCells", "Side"]

#: Called with (label of the end, rows summed so far, rows expected or -1).
Progress = Callable[[str, int, int], None]

#: What :meth:`Side.key_hashes` gives: the row's chunk, the key's text, the row's hash in 32 hex digits, whether the row
#: is pending.
KEY_HASHES = pa.schema([("chunk", pa.int32()), ("key", pa.string()), ("hash", pa.string()), ("pending", pa.bool_())])


@dataclass(frozen=True, kw_only=True)
class Latest:
    """Keep only the newest rows of each key: by ``order``, columns compared downwards, NULL last. Of several that are
    equally new all stay when ``ties``, so that a row that came twice is seen, else one. ``alive`` is an SQL condition
    that the newest row must fulfil to be one at all (in a log of changes it may say that the row was deleted)."""

    key: tuple[str, ...]
    order: tuple[str, ...]
    ties: bool
    alive: str | None = None

    def sql(self) -> str:
        """A window function that is 1 for the rows to keep; the same for every engine."""
        key, order = ([quoted(name) for name in names] for names in (self.key, self.order))
        by = f" ORDER BY {', '.join(f'{name} DESC NULLS LAST' for name in order)}" if order else ""
        function = "rank" if self.ties else "row_number"
        return f"{function}() OVER (PARTITION BY {', '.join(key)}{by})"


@dataclass(frozen=True, kw_only=True)
class RowCells:
    """One row looked at closely: its key's text, each column's cell (long ones cut) and the MD5 of each whole cell."""

    key: str
    pending: bool
    cells: tuple[str, ...]
    digests: tuple[str, ...]


def quoted(name: str) -> str:
    """An identifier, as both engines quote it."""
    return '"' + name.replace('"', '""') + '"'


class Side(Protocol):
    """Reads one end. Used by one thread at a time; different ends by different threads.

    A row of the source is *pending* when the last sync was not yet to see it as it is now: that excuses its key where
    the ends differ. Every method may raise
    :class:`~syncline.core.errors.SynclineError` and nothing else.
    """

    label: str
    #: What a reader of the report should know about this end; grows while it is read.
    notes: list[str]

    def names(self) -> set[str]:
        """The columns that are here."""
        ...

    def jsonb(self, column: str) -> bool:
        """Whether the column is kept as ``jsonb``."""
        ...

    def refusal(self, column: ColumnSpec) -> str | None:
        """Why this end cannot write the column canonically, None when it can."""
        ...

    def orders(self, column: ColumnSpec) -> bool:
        """Whether the column can decide between chunks here."""
        ...

    def estimated_rows(self) -> int:
        """A cheap guess, -1 when there is none."""
        ...

    def sample(self, key: Sequence[ColumnSpec], want: int) -> list[tuple[str | None, ...]]:
        """The key's cells of some rows, from all over the table; empty when that would mean reading it all."""
        ...

    def chunk_sums(self, columns: Sequence[ColumnSpec], chunking: Chunking, progress: Progress) -> Sums:
        """Number and sum of the rows of each chunk, pending ones included."""
        ...

    def key_hashes(
        self, columns: Sequence[ColumnSpec], chunking: Chunking, chunks: Sequence[int]
    ) -> Iterator[pa.RecordBatch]:
        """Every row of these chunks, in no order; schema :data:`KEY_HASHES`."""
        ...

    def cells(
        self, columns: Sequence[ColumnSpec], chunking: Chunking, chunks: Sequence[int], keys: Sequence[str]
    ) -> list[RowCells]:
        """The rows of these chunks with these keys, for examples."""
        ...

    def moment(self) -> dict[str, Any]:
        """When this end was read, as JSON: ``at``, and what fixes it (a snapshot, a log position, a commit)."""
        ...

    def close(self) -> None: ...
