"""The log of one Postgres connection as one destination reads it: publication, cursors and decoders over a station.

See :class:`syncline.sdk.change_log.ChangeLog` for the protocol. The station (:mod:`…changes.station`) receives; whoever
calls reads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from syncline.connectors.postgres.changes.continuity import broken_log, ensure_continues
from syncline.connectors.postgres.changes.describe import stopped
from syncline.connectors.postgres.changes.fetch import fetch_rows
from syncline.connectors.postgres.changes.followed import Followed, follow_tables
from syncline.connectors.postgres.changes.reader import PostgresChangeReader
from syncline.connectors.postgres.changes.station import ALONE, Station
from syncline.connectors.postgres.changes.table import Tables
from syncline.core.batch import Batch
from syncline.core.change import LogPosition
from syncline.core.errors import SynclineError
from syncline.core.stream import SelectedStream, StreamName
from syncline.sdk.change_log import LogStatus

__all__ = ["PostgresChangeLog", "SharedPostgresLog"]


class PostgresChangeLog:
    """Made by :meth:`PostgresSource.change_log`; nothing happens before :meth:`open`. ``offered`` are all columns of
    each stream as discovered: a stream that takes all of them takes those that are added later too. ``member`` is who
    reads; one that is alone closes the station too."""

    def __init__(
        self,
        station: Station,
        selection: Sequence[SelectedStream],
        offered: Mapping[StreamName, Sequence[str]],
        member: str = ALONE,
    ) -> None:
        self.station, self._member = station, member
        self._selection = {s.name: s for s in selection}
        self._offered = offered
        self._followed = Followed()
        self._readers: list[PostgresChangeReader] = []
        self._identity: dict[str, Any] = {}
        self._check_utf8 = False  # text may be no text
        self._closed = False

    # -- the protocol ----------------------------------------------------------------------------------------------

    def open(self, positions: Mapping[StreamName, LogPosition | None], identity: Mapping[str, Any] | None) -> None:
        station = self.station
        given = {name: p for name, p in positions.items() if p is not None}
        with station.opening:
            with station.questions() as session:
                slot = station.look(session)
                self._check_utf8 = session.info.parameter_status("server_encoding") == "SQL_ASCII"
                if given and identity is None:
                    raise broken_log("the destination knows positions of streams, but not whose log they are in")
                away = _left_out(given, identity)
                given = {name: p for name, p in given.items() if name not in away}
                if identity is not None and given:
                    assert station.server is not None
                    ensure_continues(station.server, slot, station.names.slot, given, identity)
                self._followed = follow_tables(
                    session,
                    station.names,
                    list(self._selection.values()),
                    positions=given,
                    offered=self._offered,
                    known=(identity or {}).get("tables", {}),
                    horizon=(identity or {}).get("catalog"),
                    besides=station.published_besides(self._member),
                    manage=station.capture.manage,
                )
                self._followed.broken.update(away)
                # Tables of streams that this attempt leaves alone stay published, or their logs would get a gap.
                self._followed.only(positions.keys() - away.keys())
                lowest = min((p.lsn for p in given.values()), default=None)
                station.enter(session, slot, self._member, lowest, identity if given else None)
            self._remember()
            station.receive(self._member, self._followed)

    @property
    def identity(self) -> Mapping[str, Any]:
        """With the numbers of all columns that the readers have given out. They are asked for between the flush that
        relies on them and its commit, so that the two become true together; a flush that is rolled back teaches
        nothing."""
        given = {name: numbers for reader in self._readers for name, numbers in reader.column_numbers.items()}
        tables = self._followed.to_json(given)
        return self._identity if self._identity.get("tables") == tables else {**self._identity, "tables": tables}

    def end(self) -> int:
        return self.station.end()

    def reader(
        self, positions: Mapping[StreamName, tuple[SelectedStream, LogPosition]], start: int
    ) -> PostgresChangeReader:
        self.station.ensure_place(self._member)
        assert self.station.spool is not None
        reader = PostgresChangeReader(
            cursor=self.station.spool.cursor(start),
            tables=Tables(self.station.maker),
            followed=self._followed,
            check_utf8=self._check_utf8,
            ensure_place=lambda: self.station.ensure_place(self._member),
            on_close=self._readers.remove,
        )
        self._readers.append(reader)
        for selected, position in positions.values():
            reader.add(selected, position)
        return reader

    def keep(self, lsn: int) -> None:
        self.station.keep(self._member, lsn)

    def confirm(self, lsn: int) -> None:
        self.station.confirm(self._member, lsn)
        # What the destination has now is what columns added from here on are told from.
        news = [self._followed.learn(reader.column_numbers) for reader in self._readers]
        if any(news) or self._identity.get("catalog", self._followed.horizon) != self._followed.horizon:
            self._remember()

    def status(self) -> LogStatus:
        return self.station.status()

    def fetch(self, selected: SelectedStream, keys: pa.RecordBatch) -> Batch:
        return fetch_rows(self.station.maker, selected, keys)

    def close(self) -> None:
        """May be called twice, also when :meth:`open` has failed."""
        if self._closed:
            return
        self._closed = True
        for reader in list(self._readers):
            reader.close()
        self.station.leave(self._member)
        if self._member == ALONE:
            self.station.close()

    def _remember(self) -> None:
        station = self.station
        assert station.server is not None
        assert station.spool is not None
        self._identity = {
            "system": station.server.system,
            "timeline": station.server.timeline,
            "database": station.server.database,
            "slot": station.names.slot,
            "publication": station.names.publication,
            "spool": station.spool.identity,
            **({"catalog": self._followed.horizon} if self._followed.partitioned else {}),
            "tables": self._followed.to_json(),
        }


class SharedPostgresLog:
    """See :class:`syncline.sdk.change_log.SharedLog`. Made by :meth:`PostgresSource.shared_log`."""

    def __init__(self, station: Station, offered: Callable[[], Mapping[StreamName, Sequence[str]]]) -> None:
        self._station, self._offered = station, offered

    def of(self, destination: str, selection: Sequence[SelectedStream]) -> PostgresChangeLog:
        return PostgresChangeLog(self._station, selection, self._offered(), destination)

    def held_from(self, destination: str) -> int | None:
        return self._station.held_from(destination)

    def close(self) -> None:
        self._station.close()


def _left_out(
    given: Mapping[StreamName, LogPosition], identity: Mapping[str, Any] | None
) -> dict[StreamName, SynclineError]:
    """Streams that the last run did not follow although it went on with others: what the log told of them then was
    passed over, whatever position they are said to have."""
    if identity is None:
        return {}
    return {
        name: stopped(name, "the last run went on in the log without it, so its own log has a gap")
        for name in given
        if str(name) not in identity.get("tables", {})
    }
