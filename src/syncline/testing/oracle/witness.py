"""A second consumer of the source's log, by plain SQL on a slot of its own: what really happened, in order.

Made before the first row is written, so that its history is whole. The server keeps the log for it: fine in a test.
"""

from __future__ import annotations

from dataclasses import dataclass

import psycopg

from syncline.testing.oracle.pgoutput import UNCHANGED, Begin, Change, Commit, Relation, Values, parse

__all__ = ["Committed", "Witness", "row_key"]

_PUBLICATION = "oracle_witness"
#: Slots belong to the server, not to a database: so that several may be watched at once.
_SLOT_OF_DATABASE = "SELECT 'oracle_' || oid FROM pg_database WHERE datname = current_database()"


@dataclass(frozen=True, kw_only=True)
class Committed:
    """One transaction with at least one change, its changes in order."""

    lsn: int
    end_lsn: int
    xid: int
    changes: tuple[Change, ...]


class Witness:
    """Follows all tables of one database; partitions are seen as their root."""

    def __init__(self, dsn: str, slot: str) -> None:
        self._dsn, self.slot = dsn, slot
        self.history: list[Committed] = []

    @classmethod
    def create(cls, dsn: str) -> Witness:
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(
                f"CREATE PUBLICATION {_PUBLICATION} FOR ALL TABLES WITH (publish_via_partition_root = true)".encode()
            )
            row = connection.execute(_SLOT_OF_DATABASE).fetchone()
            assert row is not None
            connection.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", row)
        return cls(dsn, row[0])

    def read(self) -> list[Committed]:
        """Everything committed so far; the slot moves on."""
        relations: dict[int, Relation] = {}
        with psycopg.connect(self._dsn, autocommit=True) as connection, connection.cursor(binary=True) as cursor:
            cursor.execute(
                """
                SELECT data
                FROM pg_logical_slot_get_binary_changes(%s, NULL, NULL, 'proto_version', '1', 'publication_names', %s)
                """,
                (self.slot, _PUBLICATION),
            )
            lsn = xid = 0
            changes: list[Change] = []
            for (message,) in cursor:
                for item in parse(bytes(message), relations):
                    if isinstance(item, Begin):
                        lsn, xid, changes = item.lsn, item.xid, []
                    elif isinstance(item, Commit):
                        if changes:
                            whole = Committed(lsn=lsn, end_lsn=item.end_lsn, xid=xid, changes=tuple(changes))
                            self.history.append(whole)
                    else:
                        changes.append(item)
        return self.history


def row_key(values: Values, key: tuple[str, ...]) -> tuple[str, ...]:
    """The key's texts; a key is never left out of the log."""
    found = []
    for name in key:
        value = values[name]
        if value is None or value is UNCHANGED or not isinstance(value, str):
            raise ValueError(f"the log has no value of key column {name}")
        found.append(value)
    return tuple(found)
