"""Heartbeats: something of ours in the log, so that who reads it gets past the present moment although nobody writes.

By default a logical message, which touches no table. It is sent in a transaction of its own with
``synchronous_commit = local``: that brings the log up to it to disk at once, where alone it is sent from, and waits for
no standby.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql as compose

from syncline.connectors.postgres.changes.config import HeartbeatConfig
from syncline.connectors.postgres.changes.lsn import lsn_from_text

if TYPE_CHECKING:
    from syncline.connectors.postgres.connection import Session

__all__ = ["MESSAGE_PREFIX", "Heartbeat"]

#: Of our logical messages; who decodes passes over them.
MESSAGE_PREFIX = "syncline"

_log = logging.getLogger("syncline.postgres")


class Heartbeat:
    """Sends heartbeats through sessions in autocommit that the caller owns."""

    def __init__(self, config: HeartbeatConfig) -> None:
        self._config = config
        self._warned = False

    def beat(self, session: Session) -> int:
        """The end of the log as of now, with a heartbeat behind it. A heartbeat that fails for want of a right is told
        once; then only the server's keepalives move the reader on. Other errors of psycopg pass through."""
        row = session.execute("SELECT pg_current_wal_insert_lsn()::text").fetchone()
        assert row is not None
        try:
            self._send(session)
        except (psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedFunction) as error:
            if not self._warned:
                _log.warning("no heartbeat can be sent: %s; a quiet log is followed by keepalives only", error)
                self._warned = True
        return lsn_from_text(row[0])

    def _send(self, session: Session) -> None:
        if self._config.statement is not None:
            session.execute(self._config.statement.encode())
        elif self._config.table is not None:
            self._touch(session, self._config.table)
        else:
            session.execute(
                compose.SQL(
                    "BEGIN; SET LOCAL synchronous_commit = local; "
                    "SELECT pg_logical_emit_message(true, {}, 'heartbeat'); COMMIT"
                ).format(MESSAGE_PREFIX)
            )

    @staticmethod
    def _touch(session: Session, table: str) -> None:
        schema, _, name = table.rpartition(".")
        target = compose.Identifier(schema or "public", name)
        upsert = compose.SQL(
            "INSERT INTO {} (id, beat_at) VALUES (1, clock_timestamp()) "
            "ON CONFLICT (id) DO UPDATE SET beat_at = excluded.beat_at"
        ).format(target)
        try:
            session.execute(upsert)
        except psycopg.errors.UndefinedTable:
            session.execute(
                compose.SQL("CREATE TABLE IF NOT EXISTS {} (id bigint PRIMARY KEY, beat_at timestamptz)").format(target)
            )
            session.execute(upsert)
