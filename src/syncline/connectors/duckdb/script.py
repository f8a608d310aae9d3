"""A script of the user's, in one transaction."""

from __future__ import annotations

import threading

import duckdb

from syncline.core.errors import ErrorKind, SynclineError

__all__ = ["run_script"]


def run_script(con: duckdb.DuckDBPyConnection, script: str, timeout: float) -> None:
    """Run all statements or none. Raises ``data`` with DuckDB's words, ``resource`` when it takes too long."""
    late = threading.Event()

    def interrupt() -> None:
        late.set()
        con.interrupt()

    clock = threading.Timer(timeout, interrupt)
    clock.daemon = True
    clock.start()
    try:
        con.begin()
        con.execute(script)
        con.commit()
    except duckdb.Error as error:
        if late.is_set():
            raise SynclineError(
                ErrorKind.RESOURCE, f"the script took longer than {timeout:g} s", hint="raise the step's timeout"
            ) from error
        raise SynclineError(
            ErrorKind.DATA,
            f"DuckDB refused the script: {str(error).strip().splitlines()[0]}",
            hint="nothing of it was kept; try it by hand",
            where={"connector": "duckdb"},
        ) from error
    finally:
        clock.cancel()
