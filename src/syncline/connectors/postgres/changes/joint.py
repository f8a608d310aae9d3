"""Where a copy and the log meet: a place L0 in the log and a snapshot S0 such that nothing falls between.

Promise: every transaction that S0 does not show and that changed the table has its commit record at or after L0, and
all that it did to the table is in the log. So: rows that S0 shows from the copy, transactions that it does not show
from the log, beginning at L0.

It is not enough to read the end of the log and to take a snapshot after it. A transaction T becomes visible only after
its commit record was written, and that can take hours (``synchronous_commit`` waiting for a dead standby): T's record
lies before L0, S0 does not show T. And a T that wrote before the table was added to the publication is sent only from
there on, whenever it commits.

What is done here, in this order:

1. L0 := end of the log (``pg_current_wal_insert_lsn``). The table is in the publication already, the slot exists.
2. H := whoever holds a lock on the table, or a part of it, under which rows can be written.
3. Wait until every transaction in H is gone. Others that come meanwhile do not matter.
4. S0 := snapshot.

Proof. Let T have changed the table, and S0 not show it. T took a lock of step 2 before its first change and gave it up
only after it had become visible: the server takes a transaction out of the list of running ones
(ProcArrayEndTransaction) before it releases its locks, a prepared one likewise. If T had changed the table before step
2, it would be in H, gone in step 3, and shown by S0 (or rolled back). So T's first change of the table came after step
2, hence after L0 and after the publication had the table; its commit record comes later still. Locks of subtransactions
belong to their transaction (those of rolled back ones are released, and so are their changes undone).

The wait is for writers of this one table only, blocks nobody, and is bounded.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from syncline.connectors.postgres.changes.lsn import lsn_from_text
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.stream import StreamName

if TYPE_CHECKING:
    from syncline.connectors.postgres.connection import Session

__all__ = ["Joint", "begin_of_log", "snapshot_of", "wait_until_flushed"]

#: Parameters: relation oid.
_WRITERS = """
WITH RECURSIVE tree AS (
    SELECT %s::oid AS oid
    UNION
    SELECT h.inhrelid
    FROM tree
    JOIN pg_catalog.pg_inherits AS h ON h.inhparent = tree.oid
)
SELECT DISTINCT l.virtualtransaction, l.pid
FROM pg_catalog.pg_locks AS l
JOIN tree ON tree.oid = l.relation
WHERE l.locktype = 'relation'
  AND l.database = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = current_database())
  AND l.granted
  AND l.mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
  AND l.pid IS DISTINCT FROM pg_backend_pid()
"""

#: Parameters: array of pids.
_WHO = """
SELECT a.pid,
       a.usename::text,
       extract(epoch FROM clock_timestamp() - a.xact_start)::int8,
       COALESCE(a.state, 'state not visible to us'),
       COALESCE(a.wait_event, '')
FROM pg_catalog.pg_stat_activity AS a
WHERE a.pid = ANY (%s)
"""

#: A commit that does not wait (synchronous_commit = off) reaches the disk within a second or so.
_FLUSH_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class Joint:
    """``lsn`` is L0, ``snapshot`` S0 as ``pg_current_snapshot`` prints it: ``xmin:xmax:xip,…`` of 64-bit ids."""

    lsn: int
    snapshot: str


def begin_of_log(session: Session, oid: int, name: StreamName, *, timeout: float) -> int:
    """Steps 1 to 3: L0. The snapshot must be taken afterwards. The session must be outside of a transaction.
    ``transient`` naming the transactions that did not end within ``timeout`` seconds."""
    row = session.execute("SELECT pg_current_wal_insert_lsn()::text").fetchone()
    assert row is not None
    begin = lsn_from_text(row[0])
    holders: dict[str, int | None] = dict(session.execute(_WRITERS.encode(), [oid]).fetchall())
    deadline, pause = time.monotonic() + timeout, 0.002
    while holders:
        if time.monotonic() > deadline:
            raise _still_open(session, holders, name, timeout)
        time.sleep(pause)
        pause = min(pause * 2, 0.25)
        holders = {t: pid for t, pid in session.execute(_WRITERS.encode(), [oid]).fetchall() if t in holders}
    return begin


def snapshot_of(session: Session) -> str:
    """S0: the snapshot of the session's present transaction (which must be REPEATABLE READ)."""
    # The names that PG 12 knows; the text is that of pg_current_snapshot.
    row = session.execute("SELECT txid_current_snapshot()::text").fetchone()
    assert row is not None
    return str(row[0])


def wait_until_flushed(session: Session) -> None:
    """Return when everything that the session's last statement could see has reached the server's disk.

    With ``synchronous_commit = off`` a transaction is visible before it is safe. If the server crashed then, the copy
    would hold rows that never were, and the transaction's id would be given out again, to one that S0 seems to
    show."""
    row = session.execute("SELECT pg_current_wal_insert_lsn()::text").fetchone()
    assert row is not None
    deadline = time.monotonic() + _FLUSH_SECONDS
    while True:
        done = session.execute("SELECT pg_current_wal_flush_lsn() >= %s::pg_lsn", [row[0]]).fetchone()
        assert done is not None
        if done[0]:
            return
        if time.monotonic() > deadline:
            raise SynclineError(
                ErrorKind.TRANSIENT,
                f"the server has not written its log to disk up to {row[0]} within {_FLUSH_SECONDS:g} s",
                hint="see whether its disk is slow or full; the next attempt tries again",
                where={"connector": "postgres"},
            )
        time.sleep(0.01)


def _still_open(session: Session, holders: dict[str, int | None], name: StreamName, timeout: float) -> SynclineError:
    pids = [pid for pid in holders.values() if pid is not None]
    listed = [
        f"pid {pid} ({role}, open for {age} s, {state}{', waiting for a standby' if event == 'SyncRep' else ''})"
        for pid, role, age, state, event in session.execute(_WHO.encode(), [pids])
    ]
    prepared = [t for t, pid in holders.items() if pid is None]
    if prepared:
        listed.append(f"{len(prepared)} prepared (SELECT * FROM pg_prepared_xacts)")
    return SynclineError(
        ErrorKind.TRANSIENT,
        f"the copy of {name} could not begin within {timeout:g} s: transactions that write it are open: "
        f"{'; '.join(listed) or 'they are ending just now'}",
        hint="end them (SELECT pg_terminate_backend(pid)), wait, or raise replication_method.slot_timeout",
        where={"connector": "postgres", "stream": str(name)},
    )
