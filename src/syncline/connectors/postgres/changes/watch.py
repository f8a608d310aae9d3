"""What happens to followed tables without a word in the log: looked for in the catalogue from time to time.

A partition that is attached may bring rows that no insert tells of.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql as compose

from syncline.connectors.postgres.changes.describe import FollowedTable, stopped
from syncline.core.errors import SynclineError
from syncline.core.stream import StreamName

if TYPE_CHECKING:
    from syncline.connectors.postgres.connection import Session

__all__ = ["attached_since", "catalog_horizon"]

#: Partitions (leaves) that became part of these trees in a transaction from the given id on, with that transaction and
#: the command in it; the last column: the table was made by another transaction than the one that attached it, judged
#: by its column ctid, which nobody can alter. Parameters: array of oids, transaction id (32 bits, as text).
_ATTACHED = """
WITH RECURSIVE tree AS (
    SELECT o.oid AS root, o.oid, NULL::xid AS attached, NULL::cid AS command
    FROM unnest(%s::oid[]) AS o (oid)
    JOIN pg_catalog.pg_class AS c ON c.oid = o.oid AND c.relkind = 'p'
    UNION ALL
    SELECT tree.root,
           h.inhrelid,
           CASE WHEN age(tree.attached) < age(h.xmin) THEN tree.attached ELSE h.xmin END,
           CASE WHEN age(tree.attached) < age(h.xmin) THEN tree.command ELSE h.cmin END
    FROM tree
    JOIN pg_catalog.pg_inherits AS h ON h.inhparent = tree.oid
)
SELECT tree.root, n.nspname, c.relname, tree.attached::text, tree.command::text, tree.attached <> a.xmin
FROM tree
JOIN pg_catalog.pg_class AS c ON c.oid = tree.oid AND c.relkind = 'r'
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = -1
WHERE tree.attached IS NOT NULL AND age(tree.attached) <= age(%s::xid)
"""


def catalog_horizon(session: Session) -> int:
    """A 64-bit transaction id: what was committed before a later look and has a lower one is seen by this look."""
    row = session.execute("SELECT txid_snapshot_xmin(txid_current_snapshot())").fetchone()
    assert row is not None
    return int(row[0])


def attached_since(
    session: Session, tables: Mapping[StreamName, FollowedTable], horizon: int
) -> dict[StreamName, SynclineError]:
    """Streams whose partitioned table got a partition with rows of its own since ``horizon``, and the error that stops
    each. The session is in autocommit."""
    roots = {table.oid: stream for stream, table in tables.items()}
    found: dict[StreamName, SynclineError] = {}
    for root, schema, name, attached, command, made_before in session.execute(
        _ATTACHED.encode(), [list(roots), str(horizon & 0xFFFFFFFF)]
    ).fetchall():
        if _had_rows(session, schema, name, attached, command, made_before=made_before):
            found[roots[root]] = stopped(
                roots[root],
                f"table {schema}.{name} was attached as a partition, and the log does not hold the rows that it had",
            )
    return found


def _had_rows(session: Session, schema: str, name: str, attached: str, command: str, *, made_before: bool) -> bool:
    """Whether a row of the partition was written before it was attached: by an older transaction, or earlier in the
    same one."""
    query = compose.SQL(
        "SELECT EXISTS (SELECT FROM {table} WHERE age(xmin) > age({attached}::xid)"
        " OR (xmin = {attached}::xid AND cmin::text::int8 < {command}::int8))"
    ).format(table=compose.Identifier(schema, name), attached=attached, command=command)
    try:
        row = session.execute(query).fetchone()
    except psycopg.errors.InsufficientPrivilege:
        return made_before  # we may read it through its root only, so the worst is assumed
    return row is not None and bool(row[0])
