"""A script of the user's, in one transaction."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from syncline.connectors.postgres.reading.statement import run, trusted
from syncline.core.errors import ErrorKind, SynclineError

if TYPE_CHECKING:
    from syncline.connectors.postgres.connection import Session

__all__ = ["run_script"]


def run_script(session: Session, script: str, timeout: float, *, schema: str) -> None:
    """Run all statements or none; names without a schema are looked for in ``schema`` first. Raises ``data`` with the
    server's words, ``resource`` when it takes too long."""
    late = threading.Event()

    def cancel() -> None:
        late.set()
        session.cancel()

    clock = threading.Timer(timeout, cancel)
    clock.daemon = True
    clock.start()
    try:
        with session.transaction():
            path = sql.SQL(", ").join([sql.Identifier(schema), sql.SQL("public")]).as_string(session)
            run(session, "SELECT set_config('search_path', {path}, true)", path=path)
            session.execute(trusted(script))
    except psycopg.Error as error:
        if late.is_set():
            raise SynclineError(
                ErrorKind.RESOURCE, f"the script took longer than {timeout:g} s", hint="raise the step's timeout"
            ) from error
        if not error.sqlstate or error.sqlstate[:2] in ("08", "57"):
            raise
        raise SynclineError(
            ErrorKind.DATA,
            f"Postgres refused the script: {error.diag.message_primary}",
            hint="nothing of it was kept; try it by hand",
            where={"connector": "postgres"},
        ) from error
    finally:
        clock.cancel()
