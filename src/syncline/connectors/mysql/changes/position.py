"""Places in the binary log as numbers that only grow: the number of the file, then the offset in it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from syncline.connectors.mysql.connection import Session
from syncline.core.errors import ErrorKind, SynclineError

__all__ = ["BinlogPlace", "gtid_at", "log_end", "log_files", "lsn_of", "snapshot_with_position"]

#: Offsets have 32 bits in the protocol. (A file grows beyond that only by one giant transaction.)
_OFFSET_BITS = 32
_NUMBERED = re.compile(r"(.*)\.([0-9]+)")
_NO_LOG = "SET in the server's configuration: log_bin, and restart it"


@dataclass(frozen=True, kw_only=True)
class BinlogPlace:
    """``file`` and ``offset`` as the server says them; ``digits`` is how it numbers its files."""

    base: str
    number: int
    digits: int
    offset: int

    @property
    def lsn(self) -> int:
        return lsn_of(self.number, self.offset)

    @property
    def file(self) -> str:
        return f"{self.base}.{self.number:0{self.digits}d}"

    @classmethod
    def of(cls, file: str, offset: int) -> BinlogPlace:
        found = _NUMBERED.fullmatch(file)
        if found is None:
            raise SynclineError(ErrorKind.CONFIG, f"binary log file {file!r} has no number", hint="look at log_bin")
        return cls(base=found[1], number=int(found[2]), digits=len(found[2]), offset=offset)

    def at(self, lsn: int) -> BinlogPlace:
        """Another place of the same log."""
        return BinlogPlace(
            base=self.base, number=lsn >> _OFFSET_BITS, digits=self.digits, offset=lsn & (2**_OFFSET_BITS - 1)
        )


def lsn_of(number: int, offset: int) -> int:
    if offset >= 2**_OFFSET_BITS:
        raise SynclineError(
            ErrorKind.RESOURCE,
            "one transaction is larger than 4 GiB, past which the log has no positions to go on from",
            hint="copy its tables anew (syncline state reset FILE), and write less in one transaction",
            where={"connector": "mysql"},
        )
    return (number << _OFFSET_BITS) | offset


def log_end(session: Session) -> BinlogPlace:
    """Where the log ends now. Raises ``config`` or ``permission`` with the statement that mends it."""
    found = None
    for statement in ("SHOW MASTER STATUS", "SHOW BINARY LOG STATUS"):  # MySQL 8.4 knows only the second
        try:
            found = session.texts(statement)
            break
        except SynclineError as error:
            if error.kind is ErrorKind.PERMISSION:
                right = "BINLOG MONITOR" if session.mariadb else "REPLICATION CLIENT"
                error.hint = f"GRANT {right} ON *.* TO this user"
                raise
            if "1064" not in error.message:
                raise
    if not found:
        raise SynclineError(
            ErrorKind.CONFIG, "the server writes no binary log", hint=_NO_LOG, where={"connector": "mysql"}
        )
    return BinlogPlace.of(str(found[0][0]), int(found[0][1] or 0))


def log_files(session: Session) -> list[BinlogPlace]:
    """The files that the server still has, each with its size as the offset."""
    return [BinlogPlace.of(str(row[0]), int(row[1] or 0)) for row in session.texts("SHOW BINARY LOGS")]


def gtid_at(session: Session, place: BinlogPlace) -> str | None:
    """The global transaction ids that lie before a place; None where the server cannot say (MySQL)."""
    if not session.mariadb:
        return None
    file = place.file.replace("'", "")
    return session.texts(f"SELECT BINLOG_GTID_POS('{file}', {place.offset})")[0][0]


def snapshot_with_position(session: Session) -> int:
    """Begin a snapshot and give the place in the log that it shows exactly: all before it, nothing after."""
    if session.mariadb:
        session.do("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
        found = session.texts("SHOW STATUS WHERE Variable_name LIKE 'binlog_snapshot_%'")
        by_name = {str(name).lower(): value for name, value in found}
        file = by_name.get("binlog_snapshot_file")
        if not file:
            raise SynclineError(
                ErrorKind.CONFIG, "the server writes no binary log", hint=_NO_LOG, where={"connector": "mysql"}
            )
        return BinlogPlace.of(file, int(by_name["binlog_snapshot_position"] or 0)).lsn
    # MySQL says this of no snapshot: for a moment nobody may write.
    session.do("FLUSH TABLES WITH READ LOCK")
    try:
        session.do("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
        return log_end(session).lsn
    finally:
        session.do("UNLOCK TABLES")
