"""Looking while everything runs: nothing is acknowledged too early, no reader sees half a transaction or the past.

Three observations, made again and again. First the slot's ``confirmed_flush_lsn``, and *after* it what is durable: as
both only grow, a confirmation beyond it is a wrong one at every timing. Then one snapshot of the destination: the sum
of all balances, the twins among the counters, and that no counter is smaller than it was before.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import duckdb
import psycopg

from syncline.testing.oracle.tables import ACCOUNTS

__all__ = ["Destination", "DuckDBDestination", "PostgresDestination", "Seen", "Watch"]

_WATCHED = ("accounts", "vaults", "counters")
_SUM = 1000 * ACCOUNTS


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One snapshot of the destination. ``lsn`` is the log's committed position (None: none yet). The rest is filled
    when all watched tables flow with the log: ``total`` of the balances, ``versions`` of the counters."""

    lsn: int | None
    total: int | None = None
    versions: dict[int, int] = field(default_factory=dict)


class Destination(Protocol):
    def look(self) -> Seen | None:
        """All in one snapshot; None when it cannot be asked now (it is down, or another process has it open)."""
        ...

    def close(self) -> None: ...


_LEDGER = "SELECT stream_namespace, stream_name, position FROM {schema}._syncline_ledger WHERE connection = {hole}"


def _flow(rows: list[tuple[Any, ...]]) -> tuple[int | None, bool]:
    """Up to where every stream is at the destination, and whether all watched tables flow with the log."""
    positions = {(namespace, name): json.loads(text) if text else {} for namespace, name, text in rows}
    log = positions.pop(("_syncline", "log"), {})
    flows = all(
        any(
            name == wanted and position.get("joined") and "snapshot" not in position
            for (_, name), position in positions.items()
        )
        for wanted in _WATCHED
    )
    # A stream that flows is where the log is; one that catches up holds the log back.
    behind = [position["lsn"] for position in positions.values() if "lsn" in position and not position.get("joined")]
    lsn = log.get("lsn")
    return None if lsn is None else min([lsn, *behind]), flows


@dataclass(kw_only=True)
class PostgresDestination:
    """``alive`` is the condition for a row that is not softly deleted. Looks with one session, while it lasts; any
    thread may look."""

    dsn: str
    connection: str
    schema: str = "public"
    alive: str = "true"
    _session: psycopg.Connection[tuple[Any, ...]] | None = None
    _one: threading.Lock = field(default_factory=threading.Lock)

    def look(self) -> Seen | None:
        with self._one:
            return self._try()

    def close(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None

    def _try(self) -> Seen | None:
        try:
            if self._session is None:
                self._session = psycopg.connect(self.dsn, connect_timeout=5)
                self._session.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            with self._session.transaction():
                return self._look(self._session)
        except psycopg.errors.UndefinedTable:
            return None
        except psycopg.OperationalError:
            self.close()
            return None

    def _look(self, session: psycopg.Connection[tuple[Any, ...]]) -> Seen:
        rows = session.execute(_LEDGER.format(schema=self.schema, hole="%s").encode(), (self.connection,)).fetchall()
        lsn, flows = _flow(rows)
        if not flows:
            return Seen(lsn=lsn)
        total = session.execute(_total(self.schema, self.alive).encode()).fetchone()
        versions = session.execute(f"SELECT id, version FROM {self.schema}.counters".encode()).fetchall()
        return Seen(lsn=lsn, total=int(total[0]) if total else None, versions=dict(versions))


@dataclass(frozen=True, kw_only=True)
class DuckDBDestination:
    path: Path
    connection: str
    schema: str = "main"
    alive: str = "true"

    def look(self) -> Seen | None:
        if not self.path.exists():
            return None
        try:
            with duckdb.connect(str(self.path), read_only=True) as session:
                session.execute("BEGIN")
                rows = session.execute(_LEDGER.format(schema=self.schema, hole="?"), [self.connection]).fetchall()
                lsn, flows = _flow(rows)
                if not flows:
                    return Seen(lsn=lsn)
                total = session.execute(_total(self.schema, self.alive)).fetchone()
                versions = session.execute(f"SELECT id, version FROM {self.schema}.counters").fetchall()
        except (duckdb.IOException, duckdb.CatalogException):
            return None
        return Seen(lsn=lsn, total=int(total[0]) if total else None, versions=dict(versions))

    def close(self) -> None:
        """Nothing is kept open: the file is for the one who writes it."""


def _total(schema: str, alive: str) -> str:
    return (
        f"SELECT (SELECT coalesce(sum(balance), 0) FROM {schema}.accounts WHERE {alive})"
        f" + (SELECT coalesce(sum(balance), 0) FROM {schema}.vaults WHERE {alive})"
    )


class Watch(threading.Thread):
    """Watches until :meth:`stop`; ``findings`` are sentences. ``atomic``: whether the destination promises that a
    transaction is seen whole. ``durable`` gives a further LSN up to which the log is safe with us (the durable spool),
    None when there is none. ``looks`` and ``confirmations`` say how often there was something to judge."""

    def __init__(
        self,
        source: str,
        destination: Destination,
        *,
        atomic: bool = True,
        durable: Callable[[], int | None] | None = None,
        interval: float = 0.03,
    ) -> None:
        super().__init__(name="oracle-watch", daemon=True)
        self._source, self._destination, self._atomic = source, destination, atomic
        self._durable, self._interval = durable, interval
        self._end = threading.Event()
        self._versions: dict[int, int] = {}
        self.findings: list[str] = []
        self.looks = self.confirmations = 0
        self.failure: BaseException | None = None

    def stop(self) -> None:
        self._end.set()
        self.join(60)
        self._destination.close()
        if self.failure is not None:
            raise self.failure

    def run(self) -> None:
        try:
            while not self._end.wait(self._interval):
                try:
                    with psycopg.connect(self._source, autocommit=True, connect_timeout=5) as session:
                        while not self._end.wait(self._interval):
                            self._judge(self._confirmed(session))
                except psycopg.OperationalError:
                    time.sleep(0.1)  # the source is down
        except BaseException as error:  # noqa: BLE001 - told by `stop`
            self.failure = error

    def _confirmed(self, session: psycopg.Connection[Any]) -> int | None:
        row = session.execute(
            """
            SELECT max(confirmed_flush_lsn - '0/0'::pg_lsn)
            FROM pg_replication_slots
            WHERE database = current_database() AND slot_name NOT LIKE 'oracle%'
            """
        ).fetchone()
        return None if row is None or row[0] is None else int(row[0])

    def _judge(self, confirmed: int | None) -> None:
        spooled = self._durable() if self._durable is not None else None
        seen = self._destination.look()
        if seen is None:
            return
        if confirmed is not None and seen.lsn is not None:
            self.confirmations += 1
            safe = max(seen.lsn, spooled or 0)
            if confirmed > safe:
                self._find(f"the slot is confirmed up to {confirmed}, durable is {safe}")
        if seen.total is None:
            return
        self.looks += 1
        if self._atomic and seen.total != _SUM:
            self._find(f"a reader saw balances of {seen.total}, not {_SUM}: half a transaction")
        for number, version in seen.versions.items():
            if self._atomic and number % 2 == 0 and seen.versions.get(number + 1) != version:
                self._find(
                    f"counter {number} is {version}, its twin {seen.versions.get(number + 1)}: half a transaction"
                )
            if version < self._versions.get(number, 0):
                self._find(f"counter {number} went back from {self._versions[number]} to {version}")
        self._versions = seen.versions

    def _find(self, sentence: str) -> None:
        kind = " ".join(sentence.split()[:2])
        if sum(each.startswith(kind) for each in self.findings) < 5:  # more of a kind say no more
            self.findings.append(sentence)
