"""Our own tables at the destination: the ledger, which is the truth about what is committed, and the quarantine.

Every method runs inside the caller's transaction; the ledger is changed only by compare-and-set on token and sequence.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from syncline.connectors.duckdb.sql import TableName, folded, quote
from syncline.core.checkpoint import LedgerEntry, StreamCheckpoint
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.stream import StreamName

__all__ = ["OURS", "Claim", "Ledger"]

#: Everything that we make for ourselves begins so.
OURS = "_syncline_"


@dataclass(frozen=True, kw_only=True)
class Claim:
    """Which stream writes a table, and whether it made the table (and so may replace it)."""

    connection: str
    stream: StreamName
    table: str
    made: bool


class Ledger:
    """The ledger and the quarantine of one schema, seen for one stream of one connection."""

    def __init__(self, con: duckdb.DuckDBPyConnection, schema: str, connection: str, stream: StreamName) -> None:
        self._con = con
        self._schema = schema
        self._stream = stream
        self._connection = connection
        # A key column cannot be NULL; a stream without a namespace has an empty one.
        self._key = [connection, stream.namespace or "", stream.name]
        self.table = TableName(schema=schema, name=OURS + "ledger")
        self.quarantine = TableName(schema=schema, name=OURS + "quarantine")

    def exists(self) -> bool:
        row = self._con.execute(
            """
            SELECT 1
            FROM duckdb_tables()
            WHERE database_name = current_database() AND schema_name = ? AND table_name = ?
            """,
            [self._schema, self.table.name],
        ).fetchone()
        return row is not None

    def create(self) -> None:
        """Schema, ledger and quarantine, where they are missing."""
        self._con.execute(f"CREATE SCHEMA IF NOT EXISTS {quote(self._schema)}")
        self._con.execute(
            f"""
            CREATE TABLE IF NOT EXISTS {self.table} (
                connection VARCHAR NOT NULL,
                stream_namespace VARCHAR NOT NULL,
                stream_name VARCHAR NOT NULL,
                generation BIGINT NOT NULL,
                sequence BIGINT NOT NULL,
                token BIGINT NOT NULL,
                position VARCHAR,
                checkpoint VARCHAR NOT NULL,
                plan_id VARCHAR,
                plan VARCHAR,
                table_name VARCHAR,
                table_made BOOLEAN NOT NULL DEFAULT false,
                updated_at TIMESTAMPTZ NOT NULL,
                PRIMARY KEY (connection, stream_namespace, stream_name)
            )
            """
        )
        self._con.execute(
            f"""
            CREATE TABLE IF NOT EXISTS {self.quarantine} (
                connection VARCHAR,
                stream_namespace VARCHAR,
                stream_name VARCHAR,
                generation BIGINT,
                partition_id VARCHAR,
                sync_id VARCHAR,
                column_name VARCHAR,
                reason VARCHAR,
                record JSON,
                quarantined_at TIMESTAMPTZ
            )
            """
        )
        for later in ("id", "original"):
            self._con.execute(f"ALTER TABLE {self.quarantine} ADD COLUMN IF NOT EXISTS {later} VARCHAR")

    def entry(self) -> LedgerEntry | None:
        """The stream's entry, or None."""
        row = self._row("token, checkpoint, plan")
        if row is None:
            return None
        data = json.loads(row[1])
        data["plan"] = json.loads(row[2]) if row[2] else None
        return LedgerEntry(token=row[0], checkpoint=StreamCheckpoint.from_json(data))

    def take_token(self) -> LedgerEntry:
        """The next token; older ones are refused from now on."""
        entry = self.entry()
        if entry is None:
            fresh = LedgerEntry(token=1, checkpoint=StreamCheckpoint())
            self._con.execute(
                f"""
                INSERT INTO {self.table}
                    (connection, stream_namespace, stream_name, generation, sequence, token, checkpoint, updated_at)
                VALUES (?, ?, ?, 0, 0, 1, ?, now())
                """,
                [*self._key, _text(fresh.checkpoint)],
            )
            return fresh
        self._update("token = token + 1", [], "token = ?", [entry.token], entry.token)
        return LedgerEntry(token=entry.token + 1, checkpoint=entry.checkpoint)

    def hold(self, token: int) -> None:
        """Raise ``conflict`` unless the token is the current one. The file is open to nobody else, so that it stays so
        until the transaction ends."""
        self._refuse(self._row("token, sequence"), token, None)

    def advance(self, checkpoint: StreamCheckpoint, token: int) -> None:
        """Make ``checkpoint`` the entry. ``conflict`` unless the token is current and the sequence the next one."""
        plan = checkpoint.plan
        self._update(
            "generation = ?, sequence = ?, position = ?, checkpoint = ?",
            [
                checkpoint.generation,
                checkpoint.sequence,
                None if checkpoint.position is None else json.dumps(dict(checkpoint.position)),
                _text(checkpoint),
            ],
            "token = ? AND sequence = ?",
            [token, checkpoint.sequence - 1],
            token,
            checkpoint.sequence,
        )
        # A plan may have thousands of partitions: it is written once, not with each of its commits.
        row = self._row("plan_id")
        if row is not None and row[0] != (plan.id if plan else None):
            values = [plan.id, json.dumps(plan.to_json())] if plan else [None, None]
            self._update("plan_id = ?, plan = ?", values, "token = ?", [token], token)

    # -- who writes which table ------------------------------------------------------------------------------------

    def claim(self, table: str, *, made: bool) -> None:
        """Note that this stream writes ``table``, and whether it made it."""
        self._con.execute(
            f"UPDATE {self.table} SET table_name = ?, table_made = ? WHERE {_MINE}", [table, made, *self._key]
        )

    def claims(self) -> list[Claim]:
        """All claims of this schema, this stream's among them."""
        rows = self._con.execute(
            f"""
            SELECT connection, stream_namespace, stream_name, table_name, table_made
            FROM {self.table}
            WHERE table_name IS NOT NULL
            """
        ).fetchall()
        return [
            Claim(connection=c, stream=StreamName(namespace=ns or None, name=name), table=table, made=made)
            for c, ns, name, table, made in rows
        ]

    def made(self, table: str) -> bool:
        """Whether this stream made the table."""
        return any(c.made and folded(c.table) == folded(table) for c in self.claims() if self._is_mine(c))

    def other(self, table: str) -> Claim | None:
        """Another stream's claim to the table, or None."""
        return next((c for c in self.claims() if folded(c.table) == folded(table) and not self._is_mine(c)), None)

    def _is_mine(self, claim: Claim) -> bool:
        return [claim.connection, claim.stream.namespace or "", claim.stream.name] == self._key

    # -- quarantine ------------------------------------------------------------------------------------------------

    def quarantine_from(self, relation: str, *, partition: str, generation: int, sync_id: str) -> int:
        """Add the rows of ``relation`` (:func:`aside_table`) to the quarantine; returns how many."""
        row = self._con.execute(
            f"""
            INSERT INTO {self.quarantine} (
                connection, stream_namespace, stream_name, generation, partition_id, sync_id,
                column_name, reason, record, quarantined_at, id, original
            )
            SELECT ?, ?, ?, ?, ?, ?, c0, c1, c2, now(), c3, c4
            FROM {quote(relation)}
            """,
            [*self._key, generation, partition, sync_id],
        ).fetchone()
        return int(row[0]) if row else 0

    def quarantined(self) -> list[tuple[Any, ...]]:
        """The stream's rows in the order in which they came: id, generation, partition, sync, column, reason, record,
        time, original."""
        return self._con.execute(
            f"""
            SELECT id, generation, partition_id, sync_id, column_name, reason, record,
                   CAST(quarantined_at AS VARCHAR), original
            FROM {self.quarantine}
            WHERE {_MINE}
            ORDER BY quarantined_at, rowid
            """,
            self._key,
        ).fetchall()

    def forget_quarantined(self, ids: Sequence[str]) -> int:
        """Remove rows by their ids; returns how many there were."""
        row = self._con.execute(
            f"DELETE FROM {self.quarantine} WHERE {_MINE} AND list_contains(?, id)", [*self._key, list(ids)]
        ).fetchone()
        return int(row[0]) if row else 0

    def forget_quarantine(self, generation: int) -> None:
        """Quarantined rows of every other generation go: the rows beside them are gone, or were never seen."""
        self._con.execute(f"DELETE FROM {self.quarantine} WHERE {_MINE} AND generation <> ?", [*self._key, generation])

    # -- within ----------------------------------------------------------------------------------------------------

    def _row(self, columns: str) -> tuple[Any, ...] | None:
        return self._con.execute(f"SELECT {columns} FROM {self.table} WHERE {_MINE}", self._key).fetchone()

    def _update(
        self, sets: str, values: list[Any], guard: str, guards: list[Any], token: int, sequence: int | None = None
    ) -> None:
        """Change the stream's row if ``guard`` still holds; exactly one row must be hit."""
        row = self._con.execute(
            f"UPDATE {self.table} SET {sets}, updated_at = now() WHERE {_MINE} AND {guard}",
            [*values, *self._key, *guards],
        ).fetchone()
        if row is None or row[0] != 1:
            self._refuse(self._row("token, sequence"), token, sequence)
            raise self._conflict("the ledger was changed beside us")

    def _refuse(self, row: tuple[Any, ...] | None, token: int, sequence: int | None) -> None:
        if row is None:
            raise self._conflict("the ledger has no entry for the stream any more")
        if row[0] != token:
            raise self._conflict(f"a newer run holds the stream (token {row[0]}, ours is {token})", final=True)
        if sequence is not None and row[1] != sequence - 1:
            raise self._conflict(f"the ledger stands at sequence {row[1]}, so {sequence} cannot follow")

    def _conflict(self, message: str, *, final: bool = False) -> SynclineError:
        return SynclineError(
            ErrorKind.CONFLICT,
            message,
            hint="nothing of this run was committed after that; let the newer run finish",
            where={"connector": "duckdb", "stream": str(self._stream), "connection": self._connection},
            final=final,
        )


_MINE = "connection = ? AND stream_namespace = ? AND stream_name = ?"


def _text(checkpoint: StreamCheckpoint) -> str:
    """The checkpoint without its plan, which has a column of its own."""
    data = checkpoint.to_json()
    data["plan"] = None
    return json.dumps(data)
