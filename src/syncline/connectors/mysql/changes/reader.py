"""One cursor on the log: events one after the other, gathered into slices of whole transactions."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Mapping

from syncline.connectors.mysql.changes.followed import FollowedStream
from syncline.connectors.mysql.changes.history import History
from syncline.connectors.mysql.changes.layout import TableLayout
from syncline.connectors.mysql.changes.packets import EventStream
from syncline.connectors.mysql.changes.position import BinlogPlace, lsn_of
from syncline.connectors.mysql.changes.statement import TableChange, changes_of, first_words
from syncline.core.change import ChangeBatch, ChangeSlice, LogPosition, Op
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.stream import SelectedStream, StreamName

__all__ = ["MySqlChangeReader"]

_QUERY, _ROTATE, _FORMAT, _XID, _TABLE_MAP, _HEARTBEAT, _XA_PREPARE = 2, 4, 15, 16, 19, 27, 38
_CRC32 = 1
_PARTIAL_ROWS, _PAYLOAD = 39, 40
_GTIDS = frozenset({33, 34, 42})  # MySQL's
_GTID = 162  # MariaDB's
_QUERY_COMPRESSED = 165
_STANDALONE = 1
#: number of a rows event -> (what it does, whether its header has more, whether it is compressed)
_ROWS = {
    23: (Op.INSERT, False, False),
    24: (Op.UPDATE, False, False),
    25: (Op.DELETE, False, False),
    30: (Op.INSERT, True, False),
    31: (Op.UPDATE, True, False),
    32: (Op.DELETE, True, False),
    166: (Op.INSERT, False, True),
    167: (Op.UPDATE, False, True),
    168: (Op.DELETE, False, True),
    169: (Op.INSERT, True, True),
    170: (Op.UPDATE, True, True),
    171: (Op.DELETE, True, True),
}
_ARTIFICIAL = 0x20
_MANIPULATES = frozenset({"INSERT", "UPDATE", "DELETE", "REPLACE", "LOAD"})
_OFFSETS = 2**32


class MySqlChangeReader:
    """See :class:`~syncline.sdk.change_log.ChangeReader`."""

    def __init__(
        self,
        connect: Callable[[BinlogPlace], EventStream],
        follow: Callable[[SelectedStream, LogPosition], FollowedStream],
        streams: Mapping[StreamName, tuple[SelectedStream, LogPosition]],
        start: BinlogPlace,
        history: History,
    ) -> None:
        self._follow, self._history = follow, history
        self._streams = {name: follow(selected, position) for name, (selected, position) in streams.items()}
        self._broken: dict[StreamName, SynclineError] = {}
        self._file, self._offset = start.number, start.offset
        self._file_name = start.file.encode()
        self._checked = False
        self._position = self._given = start.lsn
        # Of the transaction that is being read.
        self._begun = False
        self._alone = False
        self._start = start.lsn
        self._ordinal = 0
        self._touched: set[StreamName] = set()
        self._committed_at: int | None = None
        self._tables: dict[int, tuple[bytes, StreamName | None, TableLayout | None]] = {}
        self._layouts: dict[bytes, TableLayout] = {}
        self._events = connect(start)

    @property
    def position(self) -> int:
        return self._given

    def add(self, selected: SelectedStream, position: LogPosition) -> None:
        self._streams[selected.name] = self._follow(selected, position)
        # Its table may have been told already, as one that nobody wanted.
        self._tables.clear()
        self._layouts.clear()

    def read(self, timeout: float, max_bytes: int = 16 << 20) -> ChangeSlice | None:
        until = time.monotonic() + timeout
        while True:
            size = sum(s.bytes for s in self._streams.values())
            if size >= max_bytes:
                return self._slice(whole=not self._begun)
            # What has begun is whole at the server, and comes.
            wait = 1.0 if self._begun else 0.0 if size or self._position != self._given else until - time.monotonic()
            event = self._events.next(max(wait, 0.0))
            if event is not None:
                self._take(event)
            elif not self._begun:
                if size or self._broken or self._position != self._given:
                    return self._slice(whole=True)
                if time.monotonic() >= until:
                    return None

    def close(self) -> None:
        self._events.close()

    def _slice(self, *, whole: bool) -> ChangeSlice:
        batches: list[tuple[StreamName, ChangeBatch]] = []
        for name, stream in self._streams.items():
            batches += [(name, batch) for batch in stream.batches()]
        broken, self._broken = self._broken, {}
        for name in broken:
            del self._streams[name]
        self._given = self._position
        committed_at, self._committed_at = self._committed_at, None
        return ChangeSlice(
            batches=tuple(batches), position=self._given, whole=whole, committed_at=committed_at, broken=broken
        )

    # -- events -----------------------------------------------------------------------------------------------------

    def _take(self, event: bytes) -> None:
        at = int.from_bytes(event[:4], "little") * 1_000_000
        kind = event[4]
        end = int.from_bytes(event[13:17], "little")
        artificial = bool(int.from_bytes(event[17:19], "little") & _ARTIFICIAL)
        body = event[19:]
        if kind == _ROTATE:
            self._rotate(body)
            return
        if kind == _HEARTBEAT:
            return
        if kind == _FORMAT:
            self._checked = body[-5] == _CRC32  # each file says whether its events end with a checksum
        elif self._checked:
            body = body[:-4]
        before = self._offset
        if end and not artificial:
            # Beyond 4 GiB the server's number begins anew.
            self._offset = end + (before // _OFFSETS) * _OFFSETS
            if self._offset < before:
                self._offset += _OFFSETS
        if kind in _GTIDS or kind == _GTID:
            self._start = lsn_of(self._file, before)
            self._ordinal = 0
            self._touched.clear()
            self._alone = kind == _GTID and bool(body[12] & _STANDALONE)
            self._begun = kind == _GTID and not self._alone
        elif kind == _TABLE_MAP:
            self._map(body)
        elif kind in _ROWS:
            self._rows(kind, body, at)
        elif kind == _XID:
            self._committed(at)
        elif kind in (_QUERY, _QUERY_COMPRESSED):
            self._query(body, at, compressed=kind == _QUERY_COMPRESSED)
        elif kind == _XA_PREPARE:
            self._undecided("a transaction was prepared (XA) and is decided elsewhere in the log")
            self._committed(at)
        elif kind in (_PARTIAL_ROWS, _PAYLOAD):
            setting = (
                "binlog_row_value_options = ''" if kind == _PARTIAL_ROWS else "binlog_transaction_compression = OFF"
            )
            raise SynclineError(
                ErrorKind.CONFIG,
                "the log has a form that cannot be read here",
                hint=f"SET GLOBAL {setting}, and in the server's configuration; then copy anew (syncline state reset)",
                where={"connector": "mysql"},
            )
        elif not self._begun and not self._alone:
            self._boundary()

    def _rotate(self, body: bytes) -> None:
        """Go on in another file. Whether this event ends with a checksum is not said; its name tells by its length."""
        name = body[8:]
        usual = len(self._file_name)
        more = (len(name) - usual) % 4  # the number has grown by a digit
        self._file = BinlogPlace.of(name[: usual + more].decode(), 0).number
        self._offset = int.from_bytes(body[:8], "little")
        self._file_name = name[: usual + more]
        self._tables.clear()
        self._boundary()

    def _boundary(self) -> None:
        """Outside of a transaction: from here one can go on."""
        if not self._begun:
            self._position = max(self._position, lsn_of(self._file, self._offset))

    def _committed(self, at: int) -> None:
        self._begun = self._alone = False
        if self._touched:
            self._committed_at = at
        self._touched.clear()
        self._boundary()

    def _map(self, body: bytes) -> None:
        number = int.from_bytes(body[:6], "little")
        described = body[8:]
        known = self._tables.get(number)
        if known is not None and known[0] == described:
            name, layout = known[1], known[2]
        else:
            layout = self._layouts.get(described)
            if layout is None:
                layout = self._layouts[described] = TableLayout.parse(described)
            name = StreamName(namespace=layout.database, name=layout.table)
            self._tables[number] = (described, name, layout)
        if name in self._streams and name not in self._broken and layout is not None:
            try:
                self._streams[name].see(layout, self._start)
            except SynclineError as error:
                self._break(name, error)

    def _rows(self, kind: int, body: bytes, at: int) -> None:
        op, more, compressed = _ROWS[kind]
        _, name, _ = self._tables.get(int.from_bytes(body[:6], "little"), (b"", None, None))
        stream = self._streams.get(name) if name is not None else None
        if name is None or stream is None or name in self._broken:
            return
        place = 8
        if more:
            place += int.from_bytes(body[8:10], "little")
        rows = body[place:]
        if compressed:
            rows = _expanded(rows, updates=op is Op.UPDATE)
        try:
            self._ordinal = stream.rows(op, rows, lsn=self._start, ordinal=self._ordinal, at=at)
        except SynclineError as error:
            self._break(name, error)
        self._touched.add(name)

    def _query(self, body: bytes, at: int, *, compressed: bool) -> None:
        schema_length = body[8]
        status_length = int.from_bytes(body[11:13], "little")
        place = 13 + status_length
        database = body[place : place + schema_length].decode("utf-8", "replace")
        text = body[place + schema_length + 1 :]
        statement = (_inflated(text) if compressed else text).decode("utf-8", "replace")
        words = first_words(statement)
        first = words[0] if words else ""
        if first == "BEGIN" or words[:2] == ("START", "TRANSACTION"):
            self._begun, self._alone = True, False
        elif first == "COMMIT":
            self._committed(at)
        elif first == "ROLLBACK":
            self._undecided("a transaction that wrote to tables without transactions was rolled back")
            if "TO" not in words:
                self._committed(at)
        elif first in ("SAVEPOINT", "RELEASE"):
            return
        elif first == "XA":
            self._committed(at)
        elif first in _MANIPULATES:
            self._by_statement(statement, database)
            if not self._begun:
                self._committed(at)
        else:
            self._defined(statement, database, at)
            if not self._begun:
                self._committed(at)

    # -- what changes tables ------------------------------------------------------------------------------------------

    def _defined(self, statement: str, database: str, at: int) -> None:
        told: dict[StreamName, list[TableChange]] = {}
        for change in changes_of(statement, database):
            for name in [n for n in self._streams if _meant(n, change.database, change.table)]:
                if name in self._broken:
                    continue
                if change.what == "truncate":
                    self._ordinal += 1
                    self._streams[name].truncate(lsn=self._start, ordinal=self._ordinal, at=at)
                    self._touched.add(name)
                elif change.what in ("gone", "stop"):
                    self._break(name, _changed(change.reason))
                else:
                    told.setdefault(name, []).append(change)
        for name, changes in told.items():
            self._history.tell(name, self._start, changes)

    def _by_statement(self, statement: str, database: str) -> None:
        """Somebody writes statements into the log instead of rows."""
        for name in list(self._streams):
            if name.name.lower() in statement.lower() and name not in self._broken:
                self._break(name, _changed("rows were changed by a statement, which the log tells without the rows"))

    def _undecided(self, reason: str) -> None:
        for name in list(self._touched):
            if name in self._streams and name not in self._broken:
                self._break(name, _changed(reason))

    def _break(self, name: StreamName, error: SynclineError) -> None:
        self._broken[name] = error.at(stream=str(name))


def _meant(name: StreamName, database: str, table: str) -> bool:
    """Names of tables may differ in case where the server's file system does not tell them apart; taking one table for
    another would only stop a stream."""
    if (name.namespace or "").lower() != database.lower():
        return False
    return not table or name.name == table or name.name.lower() == table.lower()


def _changed(reason: str) -> SynclineError:
    return SynclineError(
        ErrorKind.SCHEMA,
        f"the table cannot be followed further: {reason}",
        hint="copy it anew (syncline state reset FILE), or take it out of the connection",
    )


def _expanded(rows: bytes, *, updates: bool) -> bytes:
    """Compressed rows after their header of columns and bitmaps, which is plain."""
    from syncline.connectors.mysql.changes.layout import length_encoded

    count, place = length_encoded(rows, 0)
    place += (count + 7) // 8 * (2 if updates else 1)
    return rows[:place] + _inflated(rows[place:])


def _inflated(data: bytes) -> bytes:
    """MariaDB's form: a byte with the method and the width of the length, the length, then zlib."""
    width = data[0] & 0x07
    return zlib.decompress(data[1 + width :])
