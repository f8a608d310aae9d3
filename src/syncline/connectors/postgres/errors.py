"""psycopg's errors as ours: the server's own words, a kind, and the next step.

    try: …
    except psycopg.Error as error: raise postgres_error(error, stream="public.orders") from error

The kind comes from SQLSTATE where there is one. A connection that was never made has none (libpq gives text only), so
:func:`connect_error` reads the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from syncline.core.errors import ErrorKind, SynclineError

__all__ = ["connect_error", "postgres_error", "postgres_errors"]

_CONNECTOR = "postgres"


class _Case(NamedTuple):
    pattern: str
    kind: ErrorKind
    hint: str


#: Text of a failed connection attempt -> (kind, next step); the first that fits.
_CONNECT: tuple[_Case, ...] = (
    _Case(
        r"password authentication failed|PAM authentication failed|LDAP authentication failed|authentication failed",
        ErrorKind.AUTH,
        "check username and password (or PGUSER, PGPASSWORD and the password file); "
        "a superuser can set a new one: ALTER ROLE name PASSWORD '…'",
    ),
    _Case(
        r"no password supplied",
        ErrorKind.AUTH,
        "set password, PGPASSWORD or a password file (PGPASSFILE)",
    ),
    _Case(
        r"role \"[^\"]*\" does not exist",
        ErrorKind.AUTH,
        "check username, or create the role: CREATE ROLE name LOGIN PASSWORD '…'",
    ),
    _Case(r"role \"[^\"]*\" is not permitted to log in", ErrorKind.AUTH, "let the role log in: ALTER ROLE name LOGIN"),
    _Case(
        r"database \"[^\"]*\" does not exist",
        ErrorKind.CONFIG,
        "check database (or PGDATABASE); list what there is: SELECT datname FROM pg_database",
    ),
    _Case(
        r"no pg_hba\.conf entry|pg_hba\.conf rejects",
        ErrorKind.PERMISSION,
        "the server lets this user, database, address and encryption not in: add a line to its pg_hba.conf and "
        "SELECT pg_reload_conf(); if it says 'no encryption', set ssl_mode: require",
    ),
    _Case(
        r"permission denied for database|User does not have CONNECT privilege",
        ErrorKind.PERMISSION,
        "GRANT CONNECT ON DATABASE name TO user",
    ),
    _Case(
        r"too many (clients|connections)|remaining connection slots|too many database connections",
        ErrorKind.TRANSIENT,
        "lower concurrency here, end idle sessions, or raise max_connections (or the role's CONNECTION LIMIT) there",
    ),
    _Case(
        r"server does not support SSL",
        ErrorKind.CONFIG,
        "turn TLS on at the server (ssl = on), or set ssl_mode: prefer or disable",
    ),
    _Case(
        r"certificate verify failed|root certificate file .* does not exist|does not match host name|"
        r"certificate .* does not|sslrootcert|could not (load|read) (root )?certificate|private key file",
        ErrorKind.CONFIG,
        "check ssl_mode.ca_certificate (the authority that signed the server's certificate), the host name, and the "
        "client certificate and key",
    ),
    _Case(
        r"certificate required|connection requires a valid client certificate|SSL error|tlsv1 alert|sslv3 alert",
        ErrorKind.CONFIG,
        "check ssl_mode: the server and we do not agree on TLS; it may want client_certificate and client_key",
    ),
    _Case(
        r"the database system is (starting up|shutting down|in recovery mode|not yet accepting|not accepting)",
        ErrorKind.TRANSIENT,
        "wait until the server takes connections",
    ),
    _Case(
        r"failed to resolve host|could not translate host name|Name or service not known|"
        r"nodename nor servname|Temporary failure in name resolution",
        ErrorKind.UNREACHABLE,
        "check host (or PGHOST): this machine's name service does not know it",
    ),
    _Case(
        r"Connection refused",
        ErrorKind.UNREACHABLE,
        "check host and port (PGHOST, PGPORT), that the server runs and listens there (listen_addresses), and whether "
        "a firewall, security group or tunnel is between",
    ),
    _Case(
        r"timeout expired|timed out|No route to host|Network is unreachable",
        ErrorKind.UNREACHABLE,
        "nothing answered: check host and port, firewalls and security groups, and whether a VPN or tunnel is needed",
    ),
    _Case(
        r"No such file or directory",
        ErrorKind.UNREACHABLE,
        "no server listens on the local socket: set host (or PGHOST), or start the server",
    ),
    _Case(
        r"definition of service|invalid connection option|invalid .* value|invalid connection|missing \"=\"|"
        r"invalid integer value|unsupported startup parameter",
        ErrorKind.CONFIG,
        "check the connection fields and the PG… environment variables",
    ),
)

_LOCKED = (
    "another session holds a lock on the table (who: SELECT pid, pg_blocking_pids(pid), query FROM pg_stat_activity); "
    "try again later, or raise lock_timeout"
)

#: SQLSTATE, or the two characters of its class, -> (kind, next step).
_STATES: dict[str, tuple[ErrorKind, str]] = {
    "08": (ErrorKind.TRANSIENT, "the connection broke; the next attempt goes on from the last commit"),
    "0A": (ErrorKind.CONFIG, ""),
    "22": (ErrorKind.DATA, ""),
    "23": (ErrorKind.DATA, ""),
    "25006": (ErrorKind.CONFIG, "the server is a read-only standby, or the role's default is read-only"),
    "25P03": (ErrorKind.TRANSIENT, "raise idle_in_transaction_session_timeout for this role"),
    "25P04": (ErrorKind.TRANSIENT, "raise transaction_timeout for this role, or lower partition_bytes"),
    "28": (ErrorKind.AUTH, "check username and password"),
    "3D000": (ErrorKind.CONFIG, "check database"),
    "3F000": (ErrorKind.SCHEMA, "run discover again: the schema is gone"),
    "40001": (ErrorKind.TRANSIENT, "the server asked to try again"),
    "40P01": (ErrorKind.TRANSIENT, "the server broke a deadlock; try again"),
    "42501": (ErrorKind.PERMISSION, "grant the missing right to this role"),
    "42703": (ErrorKind.SCHEMA, "the table changed after it was discovered: run again"),
    "42704": (ErrorKind.SCHEMA, "a type or object is gone: run again"),
    "42804": (ErrorKind.SCHEMA, "a column's type changed after it was discovered: run again"),
    "42809": (ErrorKind.SCHEMA, "the object is of another kind than when it was discovered: run again"),
    "42846": (ErrorKind.SCHEMA, "a column's type changed after it was discovered: run again"),
    "42883": (ErrorKind.SCHEMA, "a column's type changed after it was discovered: run again"),
    "42P01": (ErrorKind.SCHEMA, "the table is gone or was renamed: run discover again"),
    "53100": (ErrorKind.RESOURCE, "the server's disk is full: free space there (temporary files count too)"),
    "53200": (ErrorKind.RESOURCE, "the server is out of memory: lower concurrency here, or work_mem there"),
    "53300": (ErrorKind.TRANSIENT, "lower concurrency here, or raise max_connections there"),
    "53": (ErrorKind.RESOURCE, "the server has not enough of what it needs"),
    "54": (ErrorKind.RESOURCE, "a limit of the server was reached"),
    "55000": (ErrorKind.CONFIG, ""),
    "55006": (ErrorKind.CONFLICT, "somebody else uses the object"),
    "55P03": (ErrorKind.TRANSIENT, _LOCKED),
    "57014": (ErrorKind.TRANSIENT, "the server or its administrator cancelled the statement"),
    "57": (ErrorKind.TRANSIENT, "the server is restarting or an administrator ended the session"),
    "58": (ErrorKind.RESOURCE, "the server could not read or write its files: see its log"),
    "72000": (ErrorKind.TRANSIENT, "the snapshot became too old; try again"),
    "P0001": (ErrorKind.DATA, "a function or trigger of the database raised this"),
    "XX001": (ErrorKind.DATA, "the server found a damaged page: restore it before you copy"),
    "XX002": (ErrorKind.DATA, "the server found a damaged index: REINDEX it"),
}

_DENIED = re.compile(r"permission denied for (table|view|materialized view|foreign table|relation|schema) (\S+)")


def connect_error(error: BaseException, **where: Any) -> SynclineError:
    """What went wrong while connecting, as ours."""
    state = getattr(error, "sqlstate", None)
    if state:
        return postgres_error(error, **where)
    text = _one_line(str(error)).removeprefix("connection failed: ")
    for case in _CONNECT:
        if re.search(case.pattern, text):
            return SynclineError(case.kind, text, hint=case.hint, where={"connector": _CONNECTOR, **where})
    return SynclineError(
        ErrorKind.UNREACHABLE,
        text or "no connection could be made",
        hint="check host, port and that the server runs",
        where={"connector": _CONNECTOR, **where},
    )


def postgres_error(error: BaseException, *, hint: str = "", role: str | None = None, **where: Any) -> SynclineError:
    """A failed statement as ours. ``hint``: a better next step than the table's, used for the kinds ``permission`` and
    ``schema``. ``role`` completes the GRANT of a missing right. ``where``: stream, partition, …"""
    diag = getattr(error, "diag", None)
    state = getattr(error, "sqlstate", None) or ""
    message = _one_line(getattr(diag, "message_primary", None) or str(error)) or type(error).__name__
    if detail := getattr(diag, "message_detail", None):
        message = f"{message} ({_one_line(detail)})"
    kind, advice = _kind(state, message, error)
    if kind in (ErrorKind.PERMISSION, ErrorKind.SCHEMA) and hint:
        advice = hint
    elif kind is ErrorKind.PERMISSION and (denied := _DENIED.search(message)):
        advice = _grant(denied[1], denied[2], role)
    elif server_hint := getattr(diag, "message_hint", None):
        advice = f"{_one_line(server_hint)}{'; ' + advice if advice else ''}"
    return SynclineError(kind, message, hint=advice, where={"connector": _CONNECTOR, **where})


@contextmanager
def postgres_errors(*, hint: str = "", role: str | None = None, **where: Any) -> Iterator[None]:
    """Everything psycopg raises inside becomes ours."""
    import psycopg

    try:
        yield
    except psycopg.Error as error:
        raise postgres_error(error, hint=hint, role=role, **where) from error


def _kind(state: str, message: str, error: BaseException) -> tuple[ErrorKind, str]:
    if state == "57014" and "statement timeout" in message:
        return ErrorKind.TRANSIENT, "raise statement_timeout, or lower partition_bytes so that each query is shorter"
    if state == "57014" and "lock timeout" in message:
        return _STATES["55P03"]
    if state == "40001" and "recovery" in message:
        return ErrorKind.TRANSIENT, (
            "the standby cancelled our query to replay its log: set hot_standby_feedback = on or raise "
            "max_standby_streaming_delay there, or lower partition_bytes here"
        )
    found = _STATES.get(state) or _STATES.get(state[:2])
    if found:
        return found
    if not state and _lost(error, message):
        return ErrorKind.TRANSIENT, "the connection broke; the next attempt goes on from the last commit"
    return ErrorKind.INTERNAL, "this is a defect of the connector: please report it with this message"


def _lost(error: BaseException, message: str) -> bool:
    import psycopg

    return isinstance(error, psycopg.OperationalError) or "connection" in message


def _grant(kind: str, name: str, role: str | None) -> str:
    right = "USAGE ON SCHEMA" if kind == "schema" else "SELECT ON TABLE"
    return f"GRANT {right} {name} TO {role or 'the role that connects'}"


def _one_line(text: str) -> str:
    """libpq's and the server's texts on one line, without the severity that they begin with."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return re.sub(r"\b(FATAL|ERROR):\s+", "", "; ".join(lines))
