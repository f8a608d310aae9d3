"""Replica identity: which columns of the former row the log holds for an update or a delete.

A published table without one refuses every UPDATE and DELETE at the source. So a table is given to the publication only
when it has an identity, and for streams that are merged by key one that covers this key.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql as compose

from syncline.connectors.postgres.errors import postgres_error
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.stream import SelectedStream, StreamName

if TYPE_CHECKING:
    from syncline.connectors.postgres.connection import Session

__all__ = ["IdentityNeed", "identity_needs", "set_identity"]

#: Each table, or the leaves of a partitioned one (identity is a matter of each leaf), with its identity and the columns
#: of the index behind it. Parameters: array of oids.
_IDENTITIES = """
WITH RECURSIVE tree AS (
    SELECT o.oid AS root, o.oid
    FROM unnest(%s::oid[]) AS o (oid)
    UNION
    SELECT tree.root, h.inhrelid
    FROM tree
    JOIN pg_catalog.pg_inherits AS h ON h.inhparent = tree.oid
    JOIN pg_catalog.pg_class AS p ON p.oid = h.inhparent AND p.relkind = 'p'
)
SELECT tree.root,
       n.nspname,
       c.relname,
       c.relreplident::text,
       (
           SELECT array_agg(a.attname ORDER BY a.attnum)
           FROM pg_catalog.pg_index AS i
           JOIN pg_catalog.pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey::int2[])
           WHERE i.indrelid = c.oid
             AND i.indisvalid
             AND CASE c.relreplident WHEN 'i' THEN i.indisreplident WHEN 'd' THEN i.indisprimary AND i.indimmediate END
       ),
       (
           SELECT jsonb_object_agg(x.relname, x.columns)
           FROM (
               SELECT x.relname, array_agg(a.attname ORDER BY a.attnum) AS columns
               FROM pg_catalog.pg_index AS i
               JOIN pg_catalog.pg_class AS x ON x.oid = i.indexrelid
               JOIN pg_catalog.pg_attribute AS a
                 ON a.attrelid = i.indrelid
                AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])
               WHERE i.indrelid = c.oid
                 AND i.indisunique AND i.indimmediate AND i.indisvalid
                 AND i.indpred IS NULL AND i.indexprs IS NULL
               GROUP BY x.relname
               HAVING bool_and(a.attnotnull)
           ) AS x
       )
FROM tree
JOIN pg_catalog.pg_class AS c ON c.oid = tree.oid AND c.relkind = 'r'
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
ORDER BY 1, 2, 3
"""

_WORDS = {"d": "the default", "f": "full", "i": "an index", "n": "nothing"}


@dataclass(frozen=True, kw_only=True)
class IdentityNeed:
    """A stream whose changes cannot be followed as its tables are: the reason, and the statements that mend it."""

    stream: StreamName
    reason: str
    statements: tuple[str, ...]

    def error(self) -> SynclineError:
        return SynclineError(
            ErrorKind.CONFIG,
            self.reason,
            hint=f"run: {'; '.join(self.statements)} (or set replication_method.manage: true to have it done)",
            where={"connector": "postgres", "stream": str(self.stream)},
        )


def identity_needs(session: Session, streams: Iterable[tuple[int, SelectedStream]]) -> list[IdentityNeed]:
    """What is missing, for relations given by oid."""
    chosen = dict(streams)
    found: dict[int, IdentityNeed] = {}
    for root, schema, name, identity, columns, indexes in session.execute(_IDENTITIES.encode(), [list(chosen)]):
        selected = chosen[root]
        key = set(selected.primary_key) if selected.sync_mode.deduped else set()
        if identity == "f" or (columns and key.issubset(columns)):
            continue
        table = compose.Identifier(schema, name).as_string()
        statement = f"ALTER TABLE {table} REPLICA IDENTITY {_best(key, identity, indexes or {}, name)}"
        if columns:
            reason = (
                f"updates and deletes of {schema}.{name} are logged with ({', '.join(columns)}), the stream's key is "
                f"({', '.join(selected.primary_key)})"
            )
        else:
            reason = (
                f"replica identity of {schema}.{name} is {_WORDS[identity]} and it has "
                f"{'no primary key' if identity == 'd' else 'no columns for it'}: as part of a publication the server "
                "would refuse every UPDATE and DELETE of it"
            )
        before = found.get(root)
        found[root] = IdentityNeed(
            stream=selected.name,
            reason=before.reason if before else reason,
            statements=(*(before.statements if before else ()), statement),
        )
    return list(found.values())


def _best(key: set[str], identity: str, indexes: dict[str, Sequence[str]], table: str) -> str:
    """The cheapest identity that does: the least columns that hold the key, else the whole row."""
    fits = [(len(columns), name) for name, columns in indexes.items() if key.issubset(columns)]
    if not fits:
        return "FULL"
    return f"USING INDEX {compose.Identifier(min(fits)[1]).as_string()}"


def set_identity(session: Session, need: IdentityNeed) -> None:
    """Run its statements (``manage: true``)."""
    for statement in need.statements:
        try:
            session.execute(statement.encode())
        except psycopg.Error as error:
            raise postgres_error(
                error,
                hint=f"the owner of the table may run it: {statement}",
                role=session.info.user,
                stream=str(need.stream),
            ) from error
