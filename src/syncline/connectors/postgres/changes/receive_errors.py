"""What the server says when it cannot send a log, as ours: what happened to the slot, and what to do."""

from __future__ import annotations

import re

import psycopg

from syncline.connectors.postgres.errors import connect_error, postgres_error
from syncline.core.errors import ErrorKind, SynclineError

__all__ = ["active_pid", "missing_publication", "replication_connect_error", "stream_error"]

_ACTIVE = re.compile(r"is active for PID (\d+)")
_MISSING_SLOT = re.compile(r"replication slot \"[^\"]*\" does not exist")
_LOST_SLOT = re.compile(
    r"can no longer (get changes from|access) replication slot|cannot read from (logical )?replication slot|"
    r"has been invalidated|requested WAL segment \S+ has already been removed"
)
_OTHER_SLOT = re.compile(
    r"was not created in this database|cannot use physical replication slot|"
    r"does not support the .*option|cannot be advanced|client sent proto_version"
)
_MISSING_PUBLICATION = re.compile(r"publication \"([^\"]*)\" does not exist")
#: PostgreSQL up to 18 at least: a slot made while a table was being rewritten or truncated. It never passes.
_UNREADABLE = re.compile(r"could not map file(number|node)")
_NOT_ALLOWED = re.compile(
    r"must be superuser or replication role|permission denied to (start WAL sender|use replication)"
)
_NO_SENDER = re.compile(r"number of requested standby connections exceeds|remaining connection slots")

_AGAIN = (
    "what it held back is gone, so the log has a gap: drop it (SELECT pg_drop_replication_slot('{slot}')) and copy the "
    "streams again (syncline state reset, then sync)"
)


def replication_connect_error(error: BaseException) -> SynclineError:
    """A replication connection that could not be made."""
    text = str(error)
    if _NOT_ALLOWED.search(text):
        return SynclineError(
            ErrorKind.PERMISSION,
            "this role may not read the replication log",
            hint="ALTER ROLE name REPLICATION (on RDS: GRANT rds_replication TO name)",
            where={"connector": "postgres"},
        )
    found = connect_error(error)
    if _NO_SENDER.search(text):
        found.hint = "raise max_wal_senders at the server, or end other replication sessions (pg_stat_replication)"
        found.kind = ErrorKind.TRANSIENT
    elif "pg_hba.conf" in text:
        found.hint = (
            "the server's pg_hba.conf must let this role and address in for its database (a line with the database's "
            "name or 'all'; 'replication' is for physical replication only): add it and SELECT pg_reload_conf()"
        )
    return found


def stream_error(error: psycopg.Error, slot: str) -> SynclineError:
    """What the server said to START_REPLICATION, or in the middle of the log."""
    state, text = error.sqlstate or "", str(error)
    where = {"connector": "postgres", "slot": slot}
    if found := _ACTIVE.search(text) or (re.search(r"(\d+)", text) if state == "55006" else None):
        return SynclineError(
            ErrorKind.CONFLICT,
            f"replication slot {slot} is being read by somebody else (pid {found[1]})",
            hint="if that is another run or installation with this connection's name, stop it or rename the connection;"
            f" a dead one is ended by SELECT pg_terminate_backend({found[1]})",
            where={**where, "pid": int(found[1])},
        )
    if _MISSING_SLOT.search(text):
        return SynclineError(
            ErrorKind.CONFLICT,
            f"replication slot {slot} does not exist any more",
            hint="somebody dropped it, so the log has a gap: copy the streams again (syncline state reset, then sync)",
            where=where,
        )
    if _LOST_SLOT.search(text):
        return SynclineError(
            ErrorKind.CONFLICT,
            f"replication slot {slot} was invalidated by the server: {_line(error)}",
            hint=_AGAIN.format(slot=slot),
            where=where,
        )
    if _UNREADABLE.search(text):
        return SynclineError(
            ErrorKind.CONFLICT,
            f"the server cannot decode the log of replication slot {slot}, now or later: {_line(error)}",
            hint="the slot was made while a table was being truncated or rewritten (a defect of PostgreSQL); drop it "
            f"(SELECT pg_drop_replication_slot('{slot}')) and copy the streams again (syncline state reset, then sync)",
            where=where,
        )
    if found := _MISSING_PUBLICATION.search(text):
        return missing_publication(found[1], slot)
    if _OTHER_SLOT.search(text):
        return SynclineError(
            ErrorKind.CONFLICT,
            f"replication slot {slot} cannot be used: {_line(error)}",
            hint="name another slot (replication_method.replication_slot), made with the plugin pgoutput in this "
            "database",
            where=where,
        )
    if state == "42501":
        return SynclineError(
            ErrorKind.PERMISSION,
            _line(error),
            hint="ALTER ROLE name REPLICATION (on RDS: GRANT rds_replication TO name)",
            where=where,
        )
    if not state and isinstance(error, psycopg.OperationalError):
        return SynclineError(
            ErrorKind.TRANSIENT,
            f"the replication connection broke: {_line(error)}",
            hint="the receiver connects again and goes on after what it has",
            where=where,
        )
    return postgres_error(error, slot=slot)


def missing_publication(name: str, slot: str) -> SynclineError:
    """A publication that the log needs is not there (at the place of the log that is being read)."""
    return SynclineError(
        ErrorKind.CONFLICT,
        f"publication {name} does not exist, or did not yet at this place of the log",
        hint="changes that it should have published are missing: make it again, then drop the slot "
        f"(SELECT pg_drop_replication_slot('{slot}')) and copy the streams again (syncline state reset, then sync)",
        where={"connector": "postgres", "slot": slot, "publication": name},
    )


def active_pid(error: SynclineError) -> int | None:
    """Who reads the slot, when that is what is wrong."""
    found = error.where.get("pid")
    return found if error.kind is ErrorKind.CONFLICT and isinstance(found, int) else None


def _line(error: psycopg.Error) -> str:
    message = error.diag.message_primary or str(error)
    detail = error.diag.message_detail
    return " ".join(f"{message} ({detail})".split()) if detail else " ".join(message.split())
