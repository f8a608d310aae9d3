"""The binary log of one connection. The server keeps it by itself and any number of readers may read it, so that
nothing is received beforehand and nothing spooled: what a reader wants is asked for from its place on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import pyarrow as pa

from syncline.connectors.mysql.changes.charsets import collations
from syncline.connectors.mysql.changes.followed import FollowedStream
from syncline.connectors.mysql.changes.history import History
from syncline.connectors.mysql.changes.packets import EventStream
from syncline.connectors.mysql.changes.position import BinlogPlace, gtid_at, log_end, log_files
from syncline.connectors.mysql.changes.reader import MySqlChangeReader
from syncline.connectors.mysql.check import missing_for_log
from syncline.connectors.mysql.config import BinaryLog, MySqlSourceConfig
from syncline.connectors.mysql.connection import Session, open_session
from syncline.connectors.mysql.keys import kept, same_key
from syncline.connectors.mysql.partition import read_rows, select
from syncline.core.batch import Batch
from syncline.core.change import LogPosition
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.partition import Partition
from syncline.core.stream import SelectedStream, StreamName
from syncline.sdk.change_log import LogStatus
from syncline.sdk.findings import ensure_no_errors

__all__ = ["MySqlChangeLog", "log_status"]

_ANEW = "copy the streams anew: syncline state reset FILE"


class MySqlChangeLog:
    """See :class:`~syncline.sdk.change_log.ChangeLog`."""

    def __init__(
        self,
        config: MySqlSourceConfig,
        log: BinaryLog,
        selection: Sequence[SelectedStream],
        offered: Mapping[StreamName, tuple[str, ...]],
    ) -> None:
        self._config, self._log = config, log
        # All columns chosen: then new ones come along.
        self._whole = {
            s.name for s in selection if set(s.stream.schema.names) >= set(offered.get(s.name, s.stream.schema.names))
        }
        self._history = History()
        self._server = ""
        self._anchor: dict[str, Any] = {}
        self._here: BinlogPlace | None = None
        self._collations: dict[int, str] = {}
        self._readers = 0
        self._end = self._confirmed = 0

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"server": self._server, **self._anchor, "altered": self._history.to_json()}

    def open(self, positions: Mapping[StreamName, LogPosition | None], identity: Mapping[str, Any] | None) -> None:
        with closing(open_session(self._config, database=False)) as session:
            ensure_no_errors(missing_for_log(session))
            self._server = _server_of(session)
            self._here = log_end(session)
            self._end = self._here.lsn
            self._collations = collations(session)
            if identity is not None:
                self._history = History.from_json(identity.get("altered", {}))
            wanted = [p.lsn for p in positions.values() if p is not None]
            if wanted:
                self._ensure_no_gap(session, min(wanted), identity or {})
        for name, position in positions.items():
            if position is None:
                self._history.anew(name)

    def _ensure_no_gap(self, session: Session, lsn: int, identity: Mapping[str, Any]) -> None:
        """Everything from ``lsn`` on is there, in the log of the same server that we know."""
        assert self._here is not None
        known = str(identity.get("server", self._server))
        if known != self._server:
            raise _gap(f"this is another server ({self._server}; the streams were copied from {known})")
        files = log_files(session)
        place = self._here.at(lsn)
        there = {f.number: f for f in files}
        if place.number not in there:
            oldest = files[0].file if files else "none"
            raise _gap(f"{place.file} was purged before it was read; the oldest file is {oldest}")
        if lsn > self._here.lsn or place.offset > max(there[place.number].offset, self._offset_of(place)):
            raise _gap(f"the log ends before {place.file}:{place.offset}: it was begun anew")
        anchor = identity.get("place")
        if anchor is not None and self._here.at(int(anchor)).number in there:
            found = gtid_at(session, self._here.at(int(anchor)))
            if found != identity.get("gtid"):
                raise _gap(f"at {place.file} the log has other transactions ({found}) than were read before")
            self._anchor = {"place": anchor, "gtid": identity.get("gtid")}

    def _offset_of(self, place: BinlogPlace) -> int:
        """The size that a file is listed with may be older than its end."""
        assert self._here is not None
        return self._here.offset if place.number == self._here.number else 0

    def end(self) -> int:
        with closing(open_session(self._config, database=False)) as session:
            self._end = max(self._end, log_end(session).lsn)
        return self._end

    def reader(
        self, positions: Mapping[StreamName, tuple[SelectedStream, LogPosition]], start: int
    ) -> MySqlChangeReader:
        assert self._here is not None
        self._readers += 1
        number = self._readers % 8
        return MySqlChangeReader(
            lambda place: EventStream(self._config, self._log, place, number),
            self._follow,
            positions,
            self._here.at(start),
            self._history,
        )

    def _follow(self, selected: SelectedStream, position: LogPosition) -> FollowedStream:
        whole = selected.name in self._whole
        return FollowedStream(selected, position, self._history, self._collations, whole=whole)

    def keep(self, lsn: int) -> None:
        self._history.forget(lsn)

    def confirm(self, lsn: int) -> None:
        """The server is told nothing: it forgets by its own rules. What is remembered here tells a log that was begun
        anew from the one that we know; once for each file is enough."""
        assert self._here is not None
        place = self._here.at(lsn)
        self._confirmed = max(self._confirmed, lsn)
        self._end = max(self._end, lsn)
        if self._anchor and self._here.at(int(self._anchor["place"])).number == place.number:
            return
        with closing(open_session(self._config, database=False)) as session:
            self._anchor = {"place": lsn, "gtid": gtid_at(session, place)}

    def status(self) -> LogStatus:
        return log_status(self._end, received=self._confirmed, confirmed=self._confirmed)

    def fetch(self, selected: SelectedStream, keys: pa.RecordBatch) -> Batch:
        """The log has whole rows, so that this is hardly ever asked for."""
        fields = [selected.stream.schema.field(n) for n in keys.schema.names]
        texts = [
            [str(kept(f, _cell(value))) for f, value in zip(fields, row.values(), strict=True)]
            for row in keys.to_pylist()
        ]
        where = same_key(fields, texts)
        narrowed = replace(selected, stream=replace(selected.stream, primary_key=()))
        statement = select(narrowed, Partition(id="", bounds={"where": where}))
        with closing(open_session(self._config)) as session:
            found = list(read_rows(session, statement, selected.stream.schema, stream=str(selected.name)))
        if not found:
            return Batch(data=pa.RecordBatch.from_pylist([], selected.stream.schema.arrow()))
        table = pa.Table.from_batches([b.data for b in found]).combine_chunks()
        return Batch(data=table.to_batches()[0])

    def close(self) -> None:
        """Readers are closed by whoever has them."""


def log_status(end: int, *, received: int, confirmed: int) -> LogStatus:
    """The server keeps its log for its own time, not for us."""
    return LogStatus(end=end, received=received, confirmed=confirmed, retained_bytes=0, spool_bytes=0, state="reserved")


def _cell(value: Any) -> bytes | None:
    if value is None or isinstance(value, bytes):
        return value
    return str(value).encode()


def _server_of(session: Session) -> str:
    """What tells this server's log from that of any other."""
    if session.mariadb:
        found = session.variables(["server_uid", "server_id"])
        return found.get("server_uid") or f"server_id {found.get('server_id')}"
    return session.variables(["server_uuid"]).get("server_uuid", "")


def _gap(reason: str) -> SynclineError:
    return SynclineError(
        ErrorKind.CONFLICT, f"the binary log cannot be followed: {reason}", hint=_ANEW, where={"connector": "mysql"}
    )
