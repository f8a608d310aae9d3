"""The sessions that read one Postgres table for a comparison: all at one moment, none older than is allowed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import psycopg

from syncline.core.errors import ErrorKind, SynclineError
from syncline.verify.postgres_cells import identifier, literal
from syncline.verify.postgres_errors import postgres_error

if TYPE_CHECKING:
    Session = psycopg.Connection[tuple[Any, ...]]

__all__ = ["Sessions", "TooOldError"]

_OPENINGS = 5
#: A moment that was fixed for us cannot be renewed: it may last this long.
_FIXED_SECONDS = 86_400.0


class TooOldError(Exception):
    """The transaction would become older than is allowed."""


class Sessions:
    """``connect`` opens a session; :meth:`close` closes all. ``moments`` counts at how many moments was read,
    ``moment`` says what the newest is. See :class:`syncline.verify.postgres_side.PostgresSide` for the rest."""

    def __init__(
        self,
        connect: Callable[[], Session],
        schema: str,
        name: str,
        *,
        label: str,
        max_age: float,
        lock_timeout: float,
        snapshot: str | None,
    ) -> None:
        self.max_age = max_age if snapshot is None else max(max_age, _FIXED_SECONDS)
        self.moments = 0
        self.moment: dict[str, Any] = {}
        self._connect, self._name, self._label = connect, (schema, name), label
        self._lock_timeout, self._snapshot = lock_timeout, snapshot
        self._sessions: list[Session] = []
        self._began = 0.0

    @property
    def first(self) -> Session:
        return self._sessions[0]

    @property
    def server_version(self) -> int:
        return self.first.info.server_version

    def close(self) -> None:
        for session in self._sessions:
            with suppress(psycopg.Error):
                session.close()
        self._sessions = []

    def open(self) -> None:
        for _ in range(_OPENINGS):
            session = self._begin()
            self._sessions = [session]
            if self._snapshot is not None:
                session.execute(f"SET TRANSACTION SNAPSHOT {literal(self._snapshot)}".encode())
            self._settle(session)
            self._began = time.monotonic()
            if self._holds(session):
                self._note_moment(session)
                return
            self.close()
        raise SynclineError(
            ErrorKind.TRANSIENT,
            f"table {self._name[0]}.{self._name[1]} is being replaced again and again",
            hint="verify when no sync is running",
        )

    def _holds(self, session: Session) -> bool:
        """Lock the table and see whether it is the one that the snapshot knows: between the two it may have been
        swapped or truncated, and its new rows would be invisible. Once we hold it, neither can happen."""
        session.execute(f"SELECT FROM {identifier(*self._name)} LIMIT 0".encode())
        schema, name = self._name
        row = session.execute(
            f"SELECT c.oid = to_regclass({literal(identifier(schema, name))})::oid "
            "AND (c.relkind NOT IN ('r', 'm') OR c.relfilenode = pg_relation_filenode(c.oid)) "
            "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            f"WHERE n.nspname = {literal(schema)} AND c.relname = {literal(name)}".encode()
        ).fetchone()
        return row is not None and bool(row[0])

    def _note_moment(self, session: Session) -> None:
        self.moments = 1
        row = session.execute(
            b"SELECT pg_current_snapshot()::text, pg_is_in_recovery(), "
            b"CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END::text"
            if session.info.server_version >= 130_000
            else b"SELECT txid_current_snapshot()::text, pg_is_in_recovery(), NULL"
        ).fetchone()
        assert row is not None
        self.moment = {"at": datetime.now(UTC).isoformat(), "snapshot": row[0], "lsn": row[2]}

    def _begin(self) -> Session:
        session = self._connect()
        with self.errors():
            session.autocommit = True
            session.execute(b"BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        return session

    def _settle(self, session: Session) -> None:
        # Compiling these long expressions takes longer than it saves. Nothing of ours needs another schema's functions.
        # The session that holds the snapshot waits for the other end.
        settings = {
            "jit": "off",
            "search_path": "pg_catalog",
            "idle_in_transaction_session_timeout": "0",
            "lock_timeout": f"{int(self._lock_timeout * 1000)}",
        }
        calls = ", ".join(f"set_config({literal(name)}, {literal(value)}, true)" for name, value in settings.items())
        session.execute(f"SELECT {calls}".encode())

    def reopen(self) -> None:
        self.close()
        with self.errors():
            self.open()

    def renew_if_old(self) -> None:
        if self.moments > 1 or time.monotonic() - self._began > self.max_age * 0.9:
            moments = self.moments
            self.reopen()
            self.moments = moments + 1

    def limit_age(self, cursor: psycopg.Cursor[Any]) -> None:
        remaining = self.max_age - (time.monotonic() - self._began)
        cursor.execute(f"SET LOCAL statement_timeout = {max(int(remaining * 1000), 1)}".encode())

    def query(self, statement: str) -> Sequence[tuple[Any, ...]]:
        return self._sessions[0].execute(statement.encode()).fetchall()

    def read(self, statement: str, session: Session | None = None) -> Sequence[tuple[Any, ...]]:
        with self.errors(), (session or self._sessions[0]).cursor() as cursor:
            self.limit_age(cursor)
            try:
                return cursor.execute(statement.encode()).fetchall()
            except psycopg.errors.QueryCanceled:
                if time.monotonic() - self._began >= self.max_age * 0.95:
                    raise TooOldError from None
                raise

    @contextmanager
    def errors(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            raise postgres_error(error).at(verify=self._label) from error

    def share(self, sessions: int) -> list[Session]:
        """The first session and others that see exactly what it sees."""
        if sessions > 1:
            (name,) = self.read("SELECT pg_export_snapshot()")[0]
            while len(self._sessions) < sessions:
                session = self._begin()
                self._sessions.append(session)
                with self.errors():
                    session.execute(f"SET TRANSACTION SNAPSHOT {literal(name)}".encode())
                    self._settle(session)
        return self._sessions[:sessions]

    def refuse_if_hopeless(self, finished: int, of: int) -> None:
        age = time.monotonic() - self._began
        if age > self.max_age or (finished and age > self.max_age / 10 and age / finished * of > self.max_age):
            raise TooOldError
