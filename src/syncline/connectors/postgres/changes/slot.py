"""The logical replication slot: made, looked at, moved, dropped. Whether it still fits us is said by ``continuity``."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg

from syncline.connectors.postgres.changes.lsn import lsn_from_text
from syncline.connectors.postgres.errors import postgres_error
from syncline.core.errors import ErrorKind, SynclineError

if TYPE_CHECKING:
    from syncline.connectors.postgres.connection import Session

__all__ = ["Slot", "create_slot", "creation_statement", "drop_slot", "free_slot", "look_at_slot", "slots_like"]

#: The view has other columns in each version; as JSON they are simply absent.
_SLOTS = """
SELECT to_jsonb(s)
FROM pg_catalog.pg_replication_slots AS s
WHERE s.slot_name::text LIKE %s
ORDER BY s.slot_name
"""

#: What keeps a new slot waiting: every transaction of the cluster that had an id when the making began. Parameters:
#: none.
_WRITERS = """
SELECT a.pid::text,
       a.usename::text,
       extract(epoch FROM clock_timestamp() - a.xact_start)::int8,
       a.state,
       left(regexp_replace(a.query, '\\s+', ' ', 'g'), 80)
FROM pg_catalog.pg_stat_activity AS a
WHERE a.backend_xid IS NOT NULL AND a.pid <> pg_backend_pid()
UNION ALL
SELECT 'prepared transaction ' || quote_literal(p.gid),
       p.owner::text,
       extract(epoch FROM clock_timestamp() - p.prepared)::int8,
       'prepared',
       'COMMIT PREPARED or ROLLBACK PREPARED ends it'
FROM pg_catalog.pg_prepared_xacts AS p
ORDER BY 3 DESC
LIMIT 10
"""

#: A walsender whose client was killed holds its slot until it notices.
RELEASE_SECONDS = 20.0


@dataclass(frozen=True, kw_only=True)
class Slot:
    """One line of ``pg_replication_slots``. ``confirmed`` is the LSN below which the server sends nothing any more,
    ``restart`` the oldest log that it keeps for the slot (None: nothing is kept). ``state`` is wal_status:
    ``reserved``, ``extended``, ``unreserved``, ``lost`` (before PG 13, which does not say, ``reserved``). ``reason``:
    why it was invalidated, or empty. ``room``: bytes of log until the server gives the slot up
    (max_slot_wal_keep_size), None without such a limit."""

    name: str
    plugin: str
    database: str
    active_pid: int | None
    restart: int | None
    confirmed: int
    state: str
    room: int | None
    two_phase: bool
    failover: bool
    synced: bool
    temporary: bool
    reason: str

    @property
    def lost(self) -> bool:
        """Whether it can never be read again."""
        return self.state == "lost" or bool(self.reason)


def _slot(row: Mapping[str, Any]) -> Slot:
    restart, confirmed = row["restart_lsn"], row["confirmed_flush_lsn"]
    reason = row.get("invalidation_reason") or ("conflict with recovery" if row.get("conflicting") else "")
    return Slot(
        name=row["slot_name"],
        plugin=row["plugin"] or "",
        database=row["database"] or "",
        active_pid=row["active_pid"],
        restart=None if restart is None else lsn_from_text(restart),
        confirmed=0 if confirmed is None else lsn_from_text(confirmed),
        state=row.get("wal_status") or ("reserved" if restart is not None else "lost"),
        room=row.get("safe_wal_size"),
        two_phase=bool(row.get("two_phase")),
        failover=bool(row.get("failover")),
        synced=bool(row.get("synced")),
        temporary=bool(row["temporary"]),
        reason=reason,
    )


def look_at_slot(session: Session, name: str) -> Slot | None:
    """The slot of that name as it is now, whatever it is; None when there is none."""
    row = session.execute(_SLOTS.encode(), [name.replace("\\", "\\\\").replace("_", "\\_")]).fetchone()
    return None if row is None else _slot(row[0])


def slots_like(session: Session, prefix: str) -> list[Slot]:
    """All slots whose names begin with ``prefix``, in name order."""
    pattern = prefix.replace("\\", "\\\\").replace("_", "\\_") + "%"
    return [_slot(row) for (row,) in session.execute(_SLOTS.encode(), [pattern])]


def creation_statement(name: str, version: int, *, failover: bool) -> str:
    """The SQL that makes such a slot on a server of that version (170002 for 17.2)."""
    if version >= 170000:
        more = f", false, false, {'true' if failover else 'false'}"
    else:
        more = ""
    return f"SELECT pg_create_logical_replication_slot('{name}', 'pgoutput'{more})"


def create_slot(session: Session, name: str, *, timeout: float, failover: bool) -> Slot:
    """Make the slot; the session must be in autocommit. The server waits until every transaction that has written
    anything is over, at most ``timeout`` seconds, then ``transient`` names them.

    Its ``confirmed`` is the consistent point: every transaction that was not over when the slot was ready is sent.
    ``two_phase`` stays off: a prepared transaction then comes whole at its COMMIT PREPARED."""
    began = time.monotonic()
    try:
        session.execute(f"SET statement_timeout = {max(int(timeout * 1000), 1)}".encode())
        session.execute(creation_statement(name, session.info.server_version, failover=failover).encode())
    except psycopg.errors.QueryCanceled as error:
        if time.monotonic() - began < timeout * 0.9:
            raise postgres_error(error) from error
        raise _still_waiting(session, name, timeout) from error
    except psycopg.Error as error:
        raise postgres_error(error, hint=_creation_hint(session), role=session.info.user) from error
    finally:
        with contextlib.suppress(psycopg.Error):
            session.execute("RESET statement_timeout")
    made = look_at_slot(session, name)
    if made is None:
        raise SynclineError(
            ErrorKind.CONFLICT,
            f"replication slot {name} was dropped by somebody right after it was made",
            hint="try again",
        )
    return made


def _still_waiting(session: Session, name: str, timeout: float) -> SynclineError:
    rows = session.execute(_WRITERS.encode()).fetchall()
    listed = "; ".join(
        f"{pid if pid.startswith('prepared') else f'pid {pid}'} ({role}, open for {age} s, {state}: {query})"
        for pid, role, age, state, query in rows
    )
    return SynclineError(
        ErrorKind.TRANSIENT,
        f"replication slot {name} could not be made within {timeout:g} s: it waits for transactions that are open: "
        f"{listed or 'none is visible to us any more'}",
        hint="end them (SELECT pg_terminate_backend(pid)), wait, or raise replication_method.slot_timeout",
        where={"connector": "postgres"},
    )


def _creation_hint(session: Session) -> str:
    return f'ALTER ROLE "{session.info.user}" REPLICATION (on RDS: GRANT rds_replication TO "{session.info.user}")'


def free_slot(session: Session, name: str, *, seconds: float | None = None) -> Slot | None:
    """Wait until nobody reads from the slot. ``conflict`` naming the reader when somebody still does after
    ``seconds``; None when there is no such slot."""
    seconds = RELEASE_SECONDS if seconds is None else seconds
    deadline = time.monotonic() + seconds
    while (slot := look_at_slot(session, name)) is not None and slot.active_pid is not None:
        if time.monotonic() > deadline:
            raise _taken(session, slot)
        time.sleep(0.05)
    return slot


def _taken(session: Session, slot: Slot) -> SynclineError:
    row = session.execute(
        "SELECT usename::text, application_name, COALESCE(host(client_addr), 'a local socket') "
        "FROM pg_catalog.pg_stat_activity WHERE pid = %s",
        [slot.active_pid],
    ).fetchone()
    who = f" by role {row[0]} from {row[2]} as {row[1]!r}" if row else ""
    return SynclineError(
        ErrorKind.CONFLICT,
        f"replication slot {slot.name} is being read{who} (pid {slot.active_pid})",
        hint="if that is another run or installation with this connection's name, stop it or rename the connection; a "
        f"dead one is ended by SELECT pg_terminate_backend({slot.active_pid})",
        where={"connector": "postgres"},
    )


def drop_slot(session: Session, name: str) -> bool:
    """Drop it, once nobody reads from it any more (``conflict`` when somebody does). False when there is none."""
    if free_slot(session, name) is None:
        return False
    try:
        session.execute("SELECT pg_drop_replication_slot(%s)", [name])
    except psycopg.errors.UndefinedObject:
        return False
    except psycopg.Error as error:
        raise postgres_error(error, role=session.info.user) from error
    return True
