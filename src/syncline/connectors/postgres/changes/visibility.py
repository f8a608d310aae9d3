"""For change logs (append mode): which rows of a copy the log does not bring.

A row version belongs to the copy when the transaction that wrote it is shown by S0; otherwise it is left out and comes
from the log. A row names its writer by ``xmin``, which may be a *sub*transaction, and S0 lists only whole transactions:
a subtransaction of one that was running looks finished. So for each transaction that was running it is either shown
that it had no subtransactions (PostgreSQL 16 and later tell), or the writers that S0 really shows are listed from the
table, which costs a look at all of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg import sql as compose

from syncline.connectors.postgres.catalog import Relation
from syncline.connectors.postgres.reading.bounds import FULL_ID, Condition, shown
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.stream import StreamName

if TYPE_CHECKING:
    from syncline.connectors.postgres.connection import Session

__all__ = ["ensure_files", "files_of", "shown_rows"]

#: Backends whose transaction has no subtransaction with an id. Before the locks are read: a transaction that is still
#: running then was so here.
_PLAIN = """
SELECT pg_stat_get_backend_pid(b.id)
FROM pg_stat_get_backend_idset() AS b (id)
CROSS JOIN LATERAL pg_stat_get_backend_subxact(b.id) AS s
WHERE s.subxact_count = 0 AND NOT s.subxact_overflowed
"""

#: Who runs these transactions (every one holds a lock on its own id). Parameters: array of ids (32 bits, as text).
_RUNNING = """
SELECT l.transactionid::text
FROM pg_catalog.pg_locks AS l
WHERE l.locktype = 'transactionid'
  AND l.mode = 'ExclusiveLock'
  AND l.granted
  AND l.transactionid::text = ANY (%s)
  AND l.pid = ANY (%s)
"""

#: Writers kept in each partition's bounds at most (about 11 bytes each).
_MOST_WRITERS = 2000

#: The files that hold the rows: another one means that they were written anew. Parameters: schema, name.
_FILES = """
WITH RECURSIVE tree AS (
    SELECT c.oid
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = %s AND c.relname = %s
    UNION
    SELECT h.inhrelid
    FROM tree
    JOIN pg_catalog.pg_inherits AS h ON h.inhparent = tree.oid
)
SELECT md5(string_agg(c.oid::text || ':' || COALESCE(pg_relation_filenode(c.oid), 0)::text, ' ' ORDER BY c.oid))
FROM tree
JOIN pg_catalog.pg_class AS c ON c.oid = tree.oid
"""


def files_of(session: Session, name: StreamName) -> str:
    """A word for the files in which the rows lie now. A rewrite (ALTER TABLE … TYPE) gives every row a new writer, so a
    copy that goes by writers cannot go on after one."""
    row = session.execute(_FILES.encode(), [name.namespace or "public", name.name]).fetchone()
    assert row is not None
    return str(row[0])


def ensure_files(session: Session, name: StreamName, files: str) -> None:
    """Raise ``schema`` when the rows lie in other files than when :func:`files_of` said ``files``."""
    if files_of(session, name) == files:
        return
    raise SynclineError(
        ErrorKind.SCHEMA,
        "the table was rewritten, truncated or got another partition while its copy ran, so that nobody can tell any "
        "more which of its rows the log brings",
        hint=f"copy it anew: syncline state reset --stream {name}",
    )


def shown_rows(session: Session, relation: Relation, snapshot: str) -> Condition:
    """The condition on rows whose present version S0 shows. The session is in the transaction of S0."""
    xmin, _, xip = snapshot.split(":")
    running = [int(x) for x in xip.split(",")] if xip else []
    if not running or _without_parts(session, running):
        return shown(snapshot)
    table = compose.Identifier(relation.name.namespace or "public", relation.name.name)
    query = compose.SQL("SELECT DISTINCT {id} FROM {table} WHERE {id} >= {xmin} LIMIT {most}").format(
        id=compose.SQL(FULL_ID), table=table, xmin=compose.Literal(int(xmin)), most=compose.Literal(_MOST_WRITERS + 1)
    )
    writers = sorted(int(row[0]) for row in session.execute(query))
    if len(writers) > _MOST_WRITERS:
        raise SynclineError(
            ErrorKind.TRANSIENT,
            f"more than {_MOST_WRITERS} transactions have written {relation.name} since the oldest open one "
            f"(id {xmin}) began: the copy cannot say which rows the log will bring",
            hint="wait for it to end, or end it: SELECT pid, xact_start, query FROM pg_stat_activity "
            f"WHERE backend_xid::text = '{int(xmin) & 0xFFFFFFFF}'",
            where={"connector": "postgres", "stream": str(relation.name)},
        )
    return shown(snapshot, among=writers)


def _without_parts(session: Session, running: list[int]) -> bool:
    """Whether none of these transactions has subtransactions. False when one is over, prepared, or nobody can tell."""
    if session.info.server_version < 160000:
        return False
    pids = [pid for (pid,) in session.execute(_PLAIN.encode())]
    wanted = [str(x & 0xFFFFFFFF) for x in running]
    found = {xid for (xid,) in session.execute(_RUNNING.encode(), [wanted, pids])}
    return found.issuperset(wanted)
