"""A driver's error as ours: which kind, and what to do next."""

from __future__ import annotations

import ssl

import pymysql.err

from syncline.core.errors import ErrorKind, SynclineError

__all__ = ["mysql_error"]

_AUTH = (
    "check username and password, and that the user may log in from this host (SELECT user, host FROM mysql.user); a "
    "server that wants TLS says the same with ssl_mode: disabled"
)
#: The server's number -> (kind, what to do).
_KNOWN: dict[int, tuple[ErrorKind, str]] = {
    1040: (ErrorKind.TRANSIENT, "the server has no connection left: raise max_connections or lower concurrency"),
    1044: (ErrorKind.PERMISSION, "GRANT SELECT ON `database`.* TO this user"),
    1045: (ErrorKind.AUTH, _AUTH),
    1049: (ErrorKind.CONFIG, "check database: SHOW DATABASES"),
    1054: (ErrorKind.SCHEMA, "a column is gone: run discover, and take it out of the connection"),
    1142: (ErrorKind.PERMISSION, "GRANT SELECT ON this table TO this user"),
    1143: (ErrorKind.PERMISSION, "GRANT SELECT ON this table TO this user"),
    1146: (ErrorKind.SCHEMA, "it was dropped or renamed: run discover, and take it out of the connection"),
    1203: (ErrorKind.TRANSIENT, "the user has too many connections: raise max_user_connections or lower concurrency"),
    1205: (ErrorKind.TRANSIENT, "a lock was not granted in time: it is tried again"),
    1213: (ErrorKind.TRANSIENT, "a deadlock: it is tried again"),
    1226: (ErrorKind.RESOURCE, "raise the user's limit, or wait until it is over"),
    1227: (ErrorKind.PERMISSION, "grant the named right to this user"),
    1236: (ErrorKind.CONFLICT, "the log has a gap here: copy anew (syncline state reset FILE)"),
    1317: (ErrorKind.TRANSIENT, "the statement was killed: it is tried again"),
    1698: (ErrorKind.AUTH, _AUTH),
    1827: (ErrorKind.AUTH, _AUTH),
    1969: (ErrorKind.TRANSIENT, "the statement took longer than max_statement_time: lower rows_per_partition"),
    2002: (ErrorKind.UNREACHABLE, "check host, port and firewall, and that the server listens there"),
    2003: (ErrorKind.UNREACHABLE, "check host, port and firewall, and that the server listens there"),
    2005: (ErrorKind.UNREACHABLE, "check host"),
    2006: (ErrorKind.TRANSIENT, "the connection was lost: it is tried again"),
    2013: (ErrorKind.TRANSIENT, "the connection was lost: it is tried again"),
    2026: (ErrorKind.UNREACHABLE, "check ssl_mode and the certificates"),
    3024: (ErrorKind.TRANSIENT, "the statement took longer than max_execution_time: lower rows_per_partition"),
    3118: (ErrorKind.AUTH, "the account is locked: ALTER USER … ACCOUNT UNLOCK"),
    3159: (ErrorKind.CONFIG, "the server wants TLS: set ssl_mode: required"),
}


def mysql_error(error: Exception, *, stream: str | None = None) -> SynclineError:
    """The error to raise in place of a driver's; chain it with ``from``."""
    where = {"connector": "mysql", "stream": stream}
    if isinstance(error, SynclineError):
        return error.at(**where)
    if isinstance(error, ssl.SSLError):
        return SynclineError(
            ErrorKind.UNREACHABLE, f"TLS failed: {error}", hint="check ssl_mode and the certificates", where=where
        )
    if isinstance(error, pymysql.err.Error) and error.args and isinstance(error.args[0], int):
        number, *rest = error.args
        said = str(rest[0]) if rest else type(error).__name__
        kind, hint = _KNOWN.get(number, (ErrorKind.INTERNAL, "look the number up in the server's manual"))
        return SynclineError(kind, f"MySQL error {number}: {said}", hint=hint, where=where)
    if isinstance(error, OSError | pymysql.err.InterfaceError):
        return SynclineError(
            ErrorKind.TRANSIENT, f"the connection was lost: {error}", hint="it is tried again", where=where
        )
    return SynclineError(ErrorKind.INTERNAL, f"{type(error).__name__}: {error}", where=where)
