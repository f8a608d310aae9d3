"""Read-only transactions of the source: their isolation, their limits, and the snapshot that several may share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psycopg import sql as compose

from syncline.connectors.postgres.config import PostgresSourceConfig
from syncline.connectors.postgres.connection import TEXT_SETTINGS, connect
from syncline.connectors.postgres.errors import postgres_error
from syncline.core.errors import ErrorKind, SynclineError

if TYPE_CHECKING:
    from syncline.connectors.postgres.connection import Session

__all__ = ["CATALOG_PATH", "SessionMaker", "begin", "catalog_names"]

#: Under this search path the server prints every name that is not its own with its schema.
CATALOG_PATH = compose.SQL("SET LOCAL search_path = pg_catalog, pg_temp")


@dataclass(frozen=True, kw_only=True)
class SessionMaker:
    """Opens sessions for one connection. Plain values only: safe to use from several threads."""

    config: PostgresSourceConfig
    connection: str
    work_dir: Path

    @contextmanager
    def open(self, **where: Any) -> Iterator[Session]:
        """A session in autocommit; psycopg's errors inside become ours, and it is closed in the end. ``where``: stream,
        partition."""
        import psycopg

        session = self.connect()
        try:
            yield session
        except psycopg.Error as error:
            raise postgres_error(error, role=session.info.user, **where) from error
        finally:
            session.close()

    def connect(self) -> Session:
        """As :meth:`open`, for a session that is kept; the caller closes it."""
        # Settings are made again in each transaction, where a pooler cannot take them away.
        return connect(self.config, work_dir=self.work_dir, application_name=f"syncline {self.connection}", settings={})


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
