"""The store's database: SQLite in WAL mode, or Postgres. Everybody reads and writes it through two methods."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from syncline.core.errors import ErrorKind, SynclineError
from syncline.store.errors import store_error
from syncline.store.migrate import migrate

__all__ = ["Database", "Transaction", "identities_changed", "open_database", "store_url"]

#: What :meth:`Database.read` and :meth:`Database.write` give and every repository takes first.
Transaction: TypeAlias = Connection

#: How long a writer waits for another process's transaction, which are all short.
BUSY_SECONDS = 10
#: Threads of the API plus the scheduler; more wait.
CONNECTIONS = 16
_BEGIN = "syncline_begin"
_IDENTITIES = "syncline_identities"


class Database:
    """An open store. Safe to use from many threads, each with one transaction at a time: they never nest."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writer = engine.execution_options(**{_BEGIN: "BEGIN IMMEDIATE"})
        # SQLite lets one writer in. Threads of this process queue here, in order, instead of polling the file.
        self._turn = threading.Lock() if engine.dialect.name == "sqlite" else None
        self._watching: Any = None
        #: Another number after each commit, by this process, that changed who may do what.
        self.identities = 0

    @property
    def dialect(self) -> str:
        """``sqlite`` or ``postgresql``."""
        return self._engine.dialect.name

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """A transaction that only reads, of one snapshot on SQLite. Raises ``transient`` when the database is away."""
        try:
            with self._engine.begin() as transaction:
                yield transaction
        except SQLAlchemyError as error:
            raise store_error(error) from error

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """A transaction that may write: committed and durable when the block ends, rolled back when it raises. On
        SQLite nobody else writes meanwhile; on Postgres lock the rows that decide (``with_for_update``). Raises
        ``conflict`` when what is written exists already, ``transient`` when the database is away or overloaded."""
        try:
            with self._turn or nullcontext(), self._writer.begin() as transaction:
                transaction.info.pop(_IDENTITIES, None)
                yield transaction
                changed = transaction.info.pop(_IDENTITIES, False)
        except SQLAlchemyError as error:
            raise store_error(error) from error
        if changed:
            self.identities += 1

    def changes(self) -> int | None:
        """Another number than the last time when anybody, of this process or another, has committed a change since.
        None where that cannot be asked for less than it saves (Postgres). To be asked by one thread."""
        if self.dialect != "sqlite":
            return None
        try:
            if self._watching is None:
                # A connection that never writes: SQLite counts for each connection what others have changed.
                self._watching = self._engine.raw_connection()
            return int(self._watching.cursor().execute("PRAGMA data_version").fetchone()[0])
        except (SQLAlchemyError, sqlite3.Error):
            return None  # whoever reads next meets the same and says so

    def close(self) -> None:
        if self._watching is not None:
            self._watching.close()
            self._watching = None
        self._engine.dispose()


def identities_changed(transaction: Transaction) -> None:
    """Said by what writes users, rights, applications and keys: what is remembered of callers ends with the commit."""
    transaction.info[_IDENTITIES] = True


def open_database(url: str, *, backups: Path | None = None) -> Database:
    """Open the store and bring its schema up to date; the file or the tables are made when they are missing.

    ``url``: ``sqlite:///path``, or a Postgres URL with or without a driver's name. ``backups`` takes the copy of a
    SQLite file from before a migration (default: a folder beside it). Raises ``config`` for a URL that cannot be used
    and for a schema newer than this program, ``unreachable`` when there is no server."""
    parsed = store_url(url)
    try:
        if parsed.get_backend_name() == "sqlite":
            path = Path(str(parsed.database))
            _make_file(path)
            migrate(_sqlite(parsed, pooled=False), path, backups or path.parent / "backups")
            return Database(_sqlite(parsed, pooled=True))
        migrate(_postgres(parsed, pooled=False), None, None)
        return Database(_postgres(parsed, pooled=True))
    except SQLAlchemyError as error:
        raise store_error(error) from error


def store_url(url: str) -> URL:
    """The URL with its driver's name. Raises ``config`` for one that cannot be a store's."""
    hint = "write sqlite:////path/to/syncline.db or postgresql://user:password@host:5432/database"
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise SynclineError(ErrorKind.CONFIG, "SYNCLINE_DATABASE_URL is not a URL", hint=hint) from None
    backend = parsed.get_backend_name()
    if backend in ("postgres", "postgresql"):
        return parsed.set(drivername="postgresql+psycopg")
    if backend != "sqlite":
        raise SynclineError(ErrorKind.CONFIG, f"SYNCLINE_DATABASE_URL names {backend!r}", hint=hint)
    if not parsed.database or parsed.database == ":memory:":
        raise SynclineError(ErrorKind.CONFIG, "a store in memory would be gone with the process", hint=hint)
    return parsed


def _make_file(path: Path) -> None:
    """For this user only from its first moment; SQLite gives the files beside it the same mode."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise SynclineError(
            ErrorKind.CONFIG,
            f"the store cannot be opened: {path}: {error.strerror}",
            hint="set SYNCLINE_HOME or SYNCLINE_DATABASE_URL to a place that this user can write",
        ) from error


def _sqlite(url: URL, *, pooled: bool) -> Engine:
    pool: dict[str, Any] = _pool() if pooled else {"poolclass": sa.NullPool}
    engine = sa.create_engine(url, connect_args={"timeout": BUSY_SECONDS}, json_serializer=_json, **pool)

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # we begin transactions ourselves, see below
        if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            connection.execute("PRAGMA journal_mode = WAL")
        # What was answered is on the disk, also after a power cut.
        connection.execute("PRAGMA synchronous = FULL")
        # Rebuilding a table in a migration would trip over keys that point at it.
        connection.execute(f"PRAGMA foreign_keys = {'ON' if pooled else 'OFF'}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A transaction that begins as a reader and then writes fails at once when another wrote between.
        connection.exec_driver_sql(connection.get_execution_options().get(_BEGIN, "BEGIN"))

    return engine


def _postgres(url: URL, *, pooled: bool) -> Engine:
    limits = "-c timezone=UTC"
    if pooled:
        limits += " -c statement_timeout=30s -c lock_timeout=10s -c idle_in_transaction_session_timeout=60s"
    defaults = {"connect_timeout": 5, "application_name": "syncline-server"}
    arguments = {k: v for k, v in defaults.items() if k not in url.query} | {"options": limits}
    pool: dict[str, Any] = _pool() | {"pool_pre_ping": True} if pooled else {"poolclass": sa.NullPool}
    try:
        return sa.create_engine(url, connect_args=arguments, json_serializer=_json, **pool)
    except ModuleNotFoundError as error:
        raise SynclineError(
            ErrorKind.CONFIG, f"a store in Postgres needs {error.name}", hint="pip install 'syncline[server,postgres]'"
        ) from error


def _pool() -> dict[str, Any]:
    return {"pool_size": CONNECTIONS // 2, "max_overflow": CONNECTIONS // 2, "pool_timeout": BUSY_SECONDS}


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)
