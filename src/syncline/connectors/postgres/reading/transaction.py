"""Read-only transactions of the source: their isolation, their limits, and the snapshot that several may share."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql as compose

from syncline.connectors.postgres.config import PostgresSourceConfig
from syncline.connectors.postgres.connection import TEXT_SETTINGS, connect
from syncline.connectors.postgres.errors import postgres_error
from syncline.core.errors import ErrorKind, SynclineError

if TYPE_CHECKING:
    from syncline.connectors.postgres.connection import Session

__all__ = ["CATALOG_PATH", "PlanningSession", "SessionMaker", "age_exceeded", "begin", "catalog_names"]

#: Under this search path the server prints every name that is not its own with its schema.
CATALOG_PATH = compose.SQL("SET LOCAL search_path = pg_catalog, pg_temp")


#: A session that was idle for longer may have been cut off by the server, a pooler or a firewall.
_STALE_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class SessionMaker:
    """Opens sessions for one connection. Plain values only: safe to use from several threads."""

    config: PostgresSourceConfig
    connection: str
    work_dir: Path

    def connect(self) -> Session:
        """A session in autocommit, without settings: each transaction makes its own, where no pooler between can take
        them away. The caller closes it."""
        return connect(self.config, work_dir=self.work_dir, application_name=f"syncline {self.connection}", settings={})


class PlanningSession:
    """The one session in which check, discover and all plans of a source are made, opened when first needed."""

    def __init__(self, maker: SessionMaker) -> None:
        self._maker = maker
        self._session: Session | None = None
        self._used = 0.0

    @contextmanager
    def use(self, **where: Any) -> Iterator[Session]:
        """The session, outside of a transaction; psycopg's errors inside become ours (``where``: stream). After an
        error it is closed, and the next use opens another."""
        if time.monotonic() - self._used > _STALE_SECONDS:
            self.close()
        if self._session is None or self._session.closed:
            self._session = self._maker.connect()
        session = self._session
        try:
            yield session
        except BaseException as error:
            self.close()
            if isinstance(error, psycopg.Error):
                raise postgres_error(error, role=session.info.user, **where) from error
            raise
        self._used = time.monotonic()

    def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.close()


def begin(
    session: Session,
    config: PostgresSourceConfig,
    *,
    seconds: float | None = None,
    snapshot: str | None = None,
    repeatable: bool = False,
) -> None:
    """Begin a read-only transaction in one round trip.

    ``seconds``: what is left of its permitted age (default: ``max_transaction_age``); the server ends a statement, or
    an idle session, that lasts longer. ``snapshot``: an exported one to share. ``repeatable``: one view for all
    statements; otherwise each statement sees what was committed before it began.
    """
    seconds = config.max_transaction_age if seconds is None else seconds
    age = max(int(seconds * 1000), 1)
    statement = min(int(config.statement_timeout * 1000) or age, age)
    limits = {
        "statement_timeout": statement,
        "lock_timeout": int(config.lock_timeout * 1000),
        "idle_in_transaction_session_timeout": age,
        # One process of the server per partition: `concurrency` is what it says.
        "max_parallel_workers_per_gather": 0,
        "jit": "off",
    }
    if session.info.server_version >= 170000:
        limits["transaction_timeout"] = 0
    isolation = "REPEATABLE READ" if repeatable or snapshot else "READ COMMITTED"
    parts: list[compose.Composable] = [compose.SQL(f"BEGIN ISOLATION LEVEL {isolation} READ ONLY")]
    if snapshot:
        parts.append(compose.SQL("SET TRANSACTION SNAPSHOT {}").format(compose.Literal(snapshot)))
    parts += [
        compose.SQL("SET LOCAL {} = {}").format(compose.Identifier(name), compose.Literal(value))
        for name, value in [*TEXT_SETTINGS.items(), *limits.items()]
    ]
    session.execute(compose.SQL("; ").join(parts))


@contextmanager
def catalog_names(session: Session, config: PostgresSourceConfig) -> Iterator[None]:
    """A short transaction in which the catalogue prints qualified names. Ended in any case."""
    begin(session, config)
    try:
        session.execute(CATALOG_PATH)
        yield
    finally:
        if not session.closed and not session.broken:
            session.execute("ROLLBACK")


def age_exceeded(config: PostgresSourceConfig) -> SynclineError:
    """The error of a transaction that would live too long."""
    return SynclineError(
        ErrorKind.RESOURCE,
        f"a read transaction lived longer than max_transaction_age ({config.max_transaction_age:g} s) and was ended, "
        "so that VACUUM at the source is not held up",
        hint="raise max_transaction_age or concurrency, or lower partition_bytes for shorter transactions",
    )
