"""One cursor on the log, decoded: see :class:`syncline.sdk.change_log.ChangeReader`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace

from syncline.connectors.postgres.changes.decode import ChangeDecoder
from syncline.connectors.postgres.changes.describe import Describer, stopped
from syncline.connectors.postgres.changes.followed import Followed
from syncline.connectors.postgres.changes.spool_cursor import SpoolCursor
from syncline.connectors.postgres.changes.table import Tables
from syncline.core.change import ChangeSlice, LogPosition
from syncline.core.errors import SynclineError
from syncline.core.stream import SelectedStream, StreamName

__all__ = ["PostgresChangeReader", "shows"]


def shows(snapshot: str) -> Callable[[int], bool]:
    """Whether a snapshot (``xmin:xmax:xip,…`` of 64-bit ids) shows the transaction of a 32-bit id, which is taken to be
    the one nearest to the snapshot. A transaction and its subtransactions are shown together."""
    first, end, running = snapshot.split(":")
    xmin, xmax = int(first), int(end)
    open_then = frozenset(int(x) for x in running.split(",")) if running else frozenset()

    def visible(xid: int) -> bool:
        distance = (xid - xmax) & 0xFFFFFFFF
        full = xmax + (distance if distance < 1 << 31 else distance - (1 << 32))
        return full < xmin or (full < xmax and full not in open_then)

    return visible


class PostgresChangeReader:
    """Made by the log; used by one thread. ``followed`` is the log's, where streams may break while this reads.
    ``ensure_place`` raises when the log is not kept for this reader any more."""

    def __init__(
        self,
        *,
        cursor: SpoolCursor,
        tables: Tables,
        followed: Followed,
        check_utf8: bool,
        ensure_place: Callable[[], None],
        on_close: Callable[[PostgresChangeReader], None],
    ) -> None:
        self._cursor, self._tables, self._followed, self._on_close = cursor, tables, followed, on_close
        self._ensure_place = ensure_place
        self._describer = Describer(tables)
        self._decoder = ChangeDecoder(self._describer, check_utf8=check_utf8)
        self._position = cursor.position
        self._parts: Iterator[ChangeSlice] = iter(())
        self._streams: set[StreamName] = set()
        self._told: set[StreamName] = set()  # broken, and said so
        self._closed = False

    @property
    def position(self) -> int:
        return self._position

    @property
    def column_numbers(self) -> Mapping[StreamName, tuple[int, ...]]:
        """The numbers (attnum) of each stream's columns, in the destination's order."""
        return self._describer.column_numbers

    def read(self, timeout: float, max_bytes: int = 16 << 20) -> ChangeSlice | None:
        found = next(self._parts, None)
        if found is None and (news := self._broken()):
            return ChangeSlice(batches=(), position=self._position, broken=news)
        if found is None:
            # Who was left behind must not go on in what it still has open.
            self._ensure_place()
            stretch = self._cursor.read(timeout)
            if stretch is None:
                return None
            self._parts = self._decoder.decode(stretch, max_bytes)
            found = next(self._parts)
        told = frozenset(self._told)
        own = {name: error for name, error in found.broken.items() if name not in told}
        self._followed.broken.update(own)
        self._told.update(own)
        # In the middle of a transaction the decoder's word comes alone: others' news can wait.
        news = {**own, **self._broken()} if found.whole else own
        if found.whole:
            self._position = found.position
        # Batches that came before the break, in this very slice, stay; the others are of no use any more.
        gone = self._told - own.keys()
        batches = tuple((name, batch) for name, batch in found.batches if name not in gone)
        return replace(found, batches=batches, broken=news)

    def add(self, selected: SelectedStream, position: LogPosition) -> None:
        name = selected.name
        self._streams.add(name)
        table = self._followed.tables.get(name)
        if table is None:
            self._followed.broken.setdefault(name, stopped(name, "it was not there when the log was opened"))
            return
        self._describer.add(table, selected, self._followed.numbers.get(name, ()))
        visible = shows(position.snapshot) if position.snapshot is not None else None
        self._decoder.follow(name, start=position.lsn, visible=visible)

    def close(self) -> None:
        """May be called twice."""
        if self._closed:
            return
        self._closed = True
        self._cursor.close()
        self._decoder.close()
        self._tables.close()
        with suppress(ValueError):
            self._on_close(self)

    # -- within ----------------------------------------------------------------------------------------------------

    def _broken(self) -> dict[StreamName, SynclineError]:
        """Streams of this reader that broke and were not told of yet. Not in the middle of a transaction."""
        found = {n: e for n, e in list(self._followed.broken.items()) if n in self._streams and n not in self._told}
        self._told.update(found)
        return found
