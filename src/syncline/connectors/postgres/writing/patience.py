"""Short locks on tables that other people use: many quick tries instead of one long wait.

A session that waits for an exclusive lock makes everybody after it wait too. So each try gives up after a second, and
the pauses between tries let the others through.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import psycopg

from syncline.connectors.postgres.reading.statement import TableName, run
from syncline.core.errors import ErrorKind, SynclineError

if TYPE_CHECKING:
    from syncline.connectors.postgres.connection import Session

__all__ = ["patiently"]

_Result = TypeVar("_Result")

#: How long a try may keep others waiting behind us; the longest pause between two.
_TRY = "1s"
_LONGEST_PAUSE = 5.0


def patiently(session: Session, table: TableName, work: Callable[[], _Result], *, seconds: float) -> _Result:
    """Run ``work`` in a transaction, again while a lock cannot be had, for at most ``seconds``. ``work`` must stand
    being rolled back and repeated. Raises ``conflict`` naming who holds ``table``."""
    deadline = time.monotonic() + seconds
    pause = 0.1
    while True:
        try:
            with session.transaction():
                run(session, "SELECT set_config('lock_timeout', {wait}, true)", wait=_TRY)
                return work()
        except psycopg.errors.LockNotAvailable as error:
            if time.monotonic() >= deadline:
                raise SynclineError(
                    ErrorKind.CONFLICT,
                    f"table {table} was in use for {seconds:.0f} s: {_holders(session, table)}",
                    hint="end that session (SELECT pg_terminate_backend(pid)), or raise lock_timeout, and run again",
                    where={"connector": "postgres"},
                ) from error
        time.sleep(min(pause, max(0.0, deadline - time.monotonic())))
        pause = min(pause * 2, _LONGEST_PAUSE)


def _holders(session: Session, table: TableName) -> str:
    rows = run(
        session,
        """
        SELECT DISTINCT l.pid, coalesce(a.usename::text, '?'), coalesce(a.state, '?'), left(coalesce(a.query, '?'), 60)
        FROM pg_locks l
        JOIN pg_class c ON c.oid = l.relation
        JOIN pg_namespace n ON n.oid = c.relnamespace
        LEFT JOIN pg_stat_activity a ON a.pid = l.pid
        WHERE n.nspname = {schema} AND c.relname = {name} AND l.granted AND l.pid <> pg_backend_pid()
        ORDER BY l.pid
        LIMIT 5
        """,
        schema=table.schema,
        name=table.name,
    ).fetchall()
    held = "; ".join(f"pid {pid} ({user}, {state}): {query}" for pid, user, state, query in rows)
    return held or "nobody is left now"
