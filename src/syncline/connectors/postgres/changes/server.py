"""Whose log it is: the server's own identity, its timelines, and what it lets us do."""

from __future__ import annotations

import re
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg

from syncline.connectors.postgres.changes.lsn import lsn_from_text
from syncline.connectors.postgres.changes.receive_errors import replication_connect_error
from syncline.connectors.postgres.connection import connection_parameters
from syncline.connectors.postgres.errors import postgres_error
from syncline.connectors.postgres.reading.transaction import SessionMaker
from syncline.connectors.postgres.silence import open_watched
from syncline.core.errors import ErrorKind, SynclineError

if TYPE_CHECKING:
    from syncline.connectors.postgres.connection import Session

__all__ = ["LogServer", "Switch", "ensure_logical", "identify"]


@dataclass(frozen=True, kw_only=True)
class Switch:
    """A failover or a restore: ``timeline`` ended at ``lsn``, and another one went on from there."""

    timeline: int
    lsn: int


@dataclass(frozen=True, kw_only=True)
class LogServer:
    """``system`` is the cluster's own number, the same on all its standbys and for ever. ``timeline`` grows by one with
    each promotion; ``history`` says how the present one came about. ``end`` is the end of the log on disk."""

    system: str
    timeline: int
    end: int
    database: str
    history: tuple[Switch, ...]

    def left(self, timeline: int) -> int | None:
        """Where this server's history left ``timeline``; None when it never was on it."""
        return next((s.lsn for s in self.history if s.timeline == timeline), None)


def identify(maker: SessionMaker) -> LogServer:
    """Ask over a replication connection, where every role that may replicate is told. Raises ``permission`` with the
    statement that lets the role do so, and what connecting raises."""
    parameters = connection_parameters(
        maker.config, work_dir=maker.work_dir, application_name=f"syncline {maker.connection}"
    )
    try:
        connection = open_watched(parameters, replication="database")
    except (psycopg.Error, OSError, ValueError) as error:
        raise replication_connect_error(error) from error
    with closing(connection):
        try:
            row = connection.execute("IDENTIFY_SYSTEM").fetchone()
            assert row is not None
            system, timeline, end, database = row
            history: tuple[Switch, ...] = ()
            if int(timeline) > 1:
                history = _history(connection, int(timeline))
        except psycopg.Error as error:
            raise postgres_error(error) from error
    return LogServer(
        system=str(system), timeline=int(timeline), end=lsn_from_text(end), database=database, history=history
    )


def _history(connection: Session, timeline: int) -> tuple[Switch, ...]:
    row = connection.execute(f"TIMELINE_HISTORY {timeline}".encode()).fetchone()
    text = row[1] if row else ""
    content = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
    lines = re.findall(r"^\s*(\d+)\s+([0-9A-F]+/[0-9A-F]+)", content, re.MULTILINE)
    return tuple(Switch(timeline=int(number), lsn=lsn_from_text(lsn)) for number, lsn in lines)


def ensure_logical(session: Session) -> None:
    """Raise ``config`` when the server writes no logical log, or is a standby."""
    row = session.execute("SELECT current_setting('wal_level'), pg_is_in_recovery()").fetchone()
    assert row is not None
    if row[1]:
        raise SynclineError(
            ErrorKind.CONFIG,
            "the server is a standby: slots and publications are made at the primary",
            hint="set host to the primary, or to a name that always leads there",
            where={"connector": "postgres"},
        )
    if row[0] != "logical":
        raise SynclineError(
            ErrorKind.CONFIG,
            f"the server's wal_level is {row[0]}: its log does not hold what change data capture needs",
            hint="ALTER SYSTEM SET wal_level = logical, then restart the server (on RDS: rds.logical_replication = 1)",
            where={"connector": "postgres"},
        )
