"""psycopg's errors as ours, for what only reads."""

from __future__ import annotations

import psycopg

from syncline.core.errors import ErrorKind, SynclineError

__all__ = ["postgres_error"]

#: SQLSTATE, or its first two characters, to (kind, what to do).
_STATES: dict[str, tuple[ErrorKind, str]] = {
    "42501": (ErrorKind.PERMISSION, "grant it: GRANT SELECT ON the table TO the role, GRANT USAGE ON its schema"),
    "42P01": (ErrorKind.SCHEMA, "run the sync first, or check the name"),
    "42703": (ErrorKind.SCHEMA, "the table has changed while it was read: run verify again"),
    "57014": (ErrorKind.TRANSIENT, "a statement_timeout or a person ended the statement: try again"),
    "55P03": (ErrorKind.CONFLICT, "something holds the table under an exclusive lock: try again when it is done"),
    "40001": (ErrorKind.TRANSIENT, "a replica dropped the snapshot: try again, or set hot_standby_feedback = on there"),
    "53": (ErrorKind.RESOURCE, "the server is short of memory, disk or connections"),
    "08": (ErrorKind.UNREACHABLE, "try again when the server answers"),
    "57": (ErrorKind.UNREACHABLE, "try again when the server answers"),
}


def postgres_error(error: psycopg.Error) -> SynclineError:
    """psycopg's error with a kind and the next step."""
    state = error.sqlstate or ""
    text = str(error).strip().split("\n")[0] or type(error).__name__
    known = _STATES.get(state) or _STATES.get(state[:2])
    if known is None and not state and isinstance(error, psycopg.OperationalError):
        known = (ErrorKind.UNREACHABLE, "try again when the server answers")
    kind, hint = known or (ErrorKind.INTERNAL, "this statement is ours: please report it")
    return SynclineError(kind, f"Postgres: {text}", hint=hint, where={"sqlstate": state or None})
