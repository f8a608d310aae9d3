"""Our own tables at the destination: the ledger, which is the truth about what is committed, and the quarantine.

The ledger is changed only by compare-and-set on token and sequence, in the transaction that brings the data. BigQuery
cannot put a table in another's place within a transaction: a publication is announced in the row first (``pending``),
carried out by a job that runs once, and then made the entry; whoever comes in between finishes it.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from syncline.connectors.bigquery.names import OURS, TableName, digest
from syncline.connectors.bigquery.warehouse import Script, Warehouse
from syncline.core.checkpoint import LedgerEntry, StreamCheckpoint
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.stream import StreamName

__all__ = ["Claim", "Ledger", "Row", "ledger_tables_are_there", "make_ledger_tables"]

_LEDGER = """
    connection STRING NOT NULL,
    stream_namespace STRING NOT NULL,
    stream_name STRING NOT NULL,
    generation INT64 NOT NULL,
    sequence INT64 NOT NULL,
    token INT64 NOT NULL,
    position STRING,
    checkpoint STRING NOT NULL,
    plan_id STRING,
    plan STRING,
    pending STRING,
    table_name STRING,
    table_made BOOL NOT NULL,
    updated_at TIMESTAMP NOT NULL
"""
_QUARANTINE = """
    connection STRING,
    stream_namespace STRING,
    stream_name STRING,
    generation INT64,
    partition_id STRING,
    sync_id STRING,
    column_name STRING,
    reason STRING,
    record STRING,
    id STRING,
    original STRING,
    quarantined_at TIMESTAMP
"""


def _tables(warehouse: Warehouse) -> tuple[TableName, TableName]:
    return warehouse.table_name(OURS + "ledger"), warehouse.table_name(OURS + "quarantine")


def ledger_tables_are_there(warehouse: Warehouse) -> bool:
    return all(warehouse.find(table) is not None for table in _tables(warehouse))


def make_ledger_tables(warehouse: Warehouse) -> None:
    """Ledger and quarantine, where they are missing."""
    for table, columns in zip(_tables(warehouse), (_LEDGER, _QUARANTINE), strict=True):
        if warehouse.find(table) is None:
            warehouse.query(f"CREATE TABLE IF NOT EXISTS {table} ({columns})", what="ledger")


@dataclass(frozen=True, kw_only=True)
class Claim:
    """Which stream writes a table, and whether it made the table (and so may replace it)."""

    connection: str
    stream: StreamName
    table: str
    made: bool


@dataclass(frozen=True, kw_only=True)
class Row:
    """The stream's row: its entry, the publication that somebody announced, and the claim."""

    entry: LedgerEntry
    pending: Mapping[str, Any] | None
    table: str | None
    made: bool


class Ledger:
    """The ledger and the quarantine of the dataset, seen for one stream of one connection."""

    def __init__(self, warehouse: Warehouse, connection: str, stream: StreamName) -> None:
        self._warehouse, self._connection, self._stream = warehouse, connection, stream
        self.table, self.quarantine = _tables(warehouse)
        # A key column cannot be NULL; a stream without a namespace has an empty one.
        self._key = {"connection": connection, "namespace": stream.namespace or "", "name": stream.name}

    def row(self) -> Row | None:
        """The stream's row, or None."""
        found = self._ask(
            f"SELECT token, checkpoint, plan, pending, table_name, table_made FROM {self.table} WHERE {_MINE}"
        )
        if not found:
            return None
        token, text, plan, pending, table, made = found[0]
        data = json.loads(text)
        data["plan"] = json.loads(plan) if plan else None
        entry = LedgerEntry(token=token, checkpoint=StreamCheckpoint.from_json(data))
        return Row(entry=entry, pending=json.loads(pending) if pending else None, table=table, made=bool(made))

    def take_token(self) -> Row:
        """The next token; older ones are refused from now on."""
        while True:
            row = self.row()
            if row is None:
                row = self._first()
                if row is None:
                    continue
                return row
            token = row.entry.token
            answer = self._warehouse.change(
                f"""
                UPDATE {self.table}
                SET token = @next, updated_at = CURRENT_TIMESTAMP()
                WHERE {_MINE} AND token = @token
                """,
                {**self._key, "token": token, "next": token + 1},
                what="fence",
                stream=str(self._stream),
            )
            if answer.affected == 1:
                entry = LedgerEntry(token=token + 1, checkpoint=row.entry.checkpoint)
                return Row(entry=entry, pending=row.pending, table=row.table, made=row.made)

    def _first(self) -> Row | None:
        """The stream's first row with token 1; None when somebody else has made it. BigQuery has no unique keys: that
        there is one row comes from the job's id, which it takes once. The table's age is in it, for a table that was
        dropped and made anew."""
        found = self._warehouse.find(self.table)
        age = "" if found is None else str(found.created)
        fresh = LedgerEntry(token=1, checkpoint=StreamCheckpoint())
        sql = f"""
            INSERT INTO {self.table}
                (connection, stream_namespace, stream_name, generation, sequence, token, checkpoint, table_made,
                 updated_at)
            VALUES (@connection, @namespace, @name, 0, 0, 1, @checkpoint, FALSE, CURRENT_TIMESTAMP())
            """
        values = {**self._key, "checkpoint": _text(fresh.checkpoint)}
        base = f"syncline_first_{digest(self.table, age, *self._key.values())}"
        for count in itertools.count():
            job = f"{base}_{count}"
            if self._warehouse.try_once(sql, values, job, what="fence", stream=str(self._stream)) is not None:
                return Row(entry=fresh, pending=None, table=None, made=False)
            if self.row() is not None:
                return None
        raise AssertionError("not reached")

    def hold(self, token: int) -> Row:
        """The row. ``conflict`` unless the token is the current one."""
        row = self.row()
        self._refuse(row, token, None)
        assert row is not None
        return row

    # -- within a transaction ----------------------------------------------------------------------------------------

    def advance(self, script: Script, checkpoint: StreamCheckpoint, token: int, *, claim: str | None = None) -> None:
        """Make ``checkpoint`` the entry, or let the transaction fail. ``claim``: the table is now one that we made."""
        bind, plan = script.value, checkpoint.plan
        position = None if checkpoint.position is None else json.dumps(dict(checkpoint.position))
        plan_id = bind(plan.id if plan else None)
        self._update(
            script,
            [
                f"generation = {bind(checkpoint.generation)}",
                f"sequence = {bind(checkpoint.sequence)}",
                f"position = {bind(position)}",
                f"checkpoint = {bind(_text(checkpoint))}",
                # A plan may have thousands of partitions: it is not sent again with each of its commits.
                f"plan = IF(plan_id = {plan_id}, plan, ERROR('another plan'))"
                if plan is not None and checkpoint.done
                else f"plan = {bind(json.dumps(plan.to_json()) if plan else None)}",
                f"plan_id = {plan_id}",
                "pending = NULL",
                *([] if claim is None else [f"table_name = {bind(claim)}", "table_made = TRUE"]),
            ],
            f"token = {bind(token)} AND sequence = {bind(checkpoint.sequence - 1)}",
        )

    def announce(self, script: Script, pending: Mapping[str, Any], checkpoint: StreamCheckpoint, token: int) -> None:
        """Say what is about to be published; the entry stays as it is until :meth:`advance`."""
        self._update(
            script,
            [f"pending = {script.value(json.dumps(dict(pending)))}"],
            f"token = {script.value(token)} AND sequence = {script.value(checkpoint.sequence - 1)}",
        )

    def _update(self, script: Script, sets: Sequence[str], guard: str) -> None:
        """Change the stream's row if ``guard`` still holds; exactly one row must be hit."""
        mine = " AND ".join(
            f"{column} = {script.value(value)}"
            for column, value in zip(("connection", "stream_namespace", "stream_name"), self._key.values(), strict=True)
        )
        script.add(
            f"UPDATE {self.table}\nSET {', '.join(sets)}, updated_at = CURRENT_TIMESTAMP()\nWHERE {mine} AND {guard}"
        )
        script.add(f"SELECT IF(@@row_count = 1, 1, ERROR('{_LOST} {digest(*self._key.values())}'))")

    def refused(self, error: SynclineError, token: int, sequence: int) -> SynclineError:
        """What to raise for a transaction that failed: the conflict, if it was the ledger that refused."""
        if f"{_LOST} {digest(*self._key.values())}" not in error.message:
            return error
        try:
            self._refuse(self.row(), token, sequence)
        except SynclineError as conflict:
            return conflict
        return self._conflict("the ledger was changed beside us")

    def _refuse(self, row: Row | None, token: int, sequence: int | None) -> None:
        if row is None:
            raise self._conflict("the ledger has no entry for the stream any more")
        if row.entry.token != token:
            text = f"a newer run holds the stream (token {row.entry.token}, ours is {token})"
            raise self._conflict(text, final=True)
        at = row.entry.checkpoint.sequence
        if sequence is not None and at != sequence - 1:
            raise self._conflict(f"the ledger stands at sequence {at}, so {sequence} cannot follow")

    def _conflict(self, message: str, *, final: bool = False) -> SynclineError:
        return SynclineError(
            ErrorKind.CONFLICT,
            message,
            hint="nothing of this run was committed after that; let the newer run finish",
            where={"connector": "bigquery", "stream": str(self._stream), "connection": self._connection},
            final=final,
        )

    # -- who writes which table ------------------------------------------------------------------------------------

    def claim(self, table: str, *, made: bool) -> None:
        """Note that this stream writes ``table``, and whether it made it."""
        self._warehouse.change(
            f"UPDATE {self.table} SET table_name = @table, table_made = @made WHERE {_MINE}",
            {**self._key, "table": table, "made": made},
            what="claim",
            stream=str(self._stream),
        )

    def other(self, table: str) -> Claim | None:
        """Another stream's claim to the table, or None."""
        found = self._ask(
            f"""
            SELECT connection, stream_namespace, stream_name, table_name, table_made
            FROM {self.table}
            WHERE LOWER(table_name) = LOWER(@table) AND NOT ({_MINE})
            """,
            table=table,
        )
        for connection, namespace, name, claimed, made in found:
            stream = StreamName(namespace=namespace or None, name=name)
            return Claim(connection=connection, stream=stream, table=claimed, made=made)
        return None

    # -- quarantine ------------------------------------------------------------------------------------------------

    def quarantine_from(
        self, script: Script, stage: TableName, *, partition: str, generation: int, sync_id: str
    ) -> None:
        """Add the rows of a stage of :data:`~syncline.connectors.bigquery.stage.ASIDE` to the quarantine."""
        bind = script.value
        key = ", ".join(bind(v) for v in self._key.values())
        script.add(
            f"""
            INSERT INTO {self.quarantine}
                (connection, stream_namespace, stream_name, generation, partition_id, sync_id,
                 column_name, reason, record, id, original, quarantined_at)
            SELECT {key}, {bind(generation)}, {bind(partition)}, {bind(sync_id)}, c0, c1, c2, c3, c4,
                   CURRENT_TIMESTAMP()
            FROM {stage}
            """
        )

    def quarantined(self) -> list[tuple[Any, ...]]:
        """The stream's rows in the order in which they came."""
        return self._ask(
            f"""
            SELECT id, generation, partition_id, sync_id, column_name, reason, record, quarantined_at, original
            FROM {self.quarantine}
            WHERE {_MINE}
            ORDER BY quarantined_at, id
            """
        )

    def forget_quarantined(self, ids: Sequence[str]) -> int:
        """Remove rows by their ids; returns how many there were."""
        if not ids:
            return 0
        return self._warehouse.change(
            f"DELETE FROM {self.quarantine} WHERE {_MINE} AND id IN UNNEST(@ids)",
            {**self._key, "ids": list(ids)},
            what="quarantine",
            stream=str(self._stream),
        ).affected

    def forget_quarantine(self, script: Script, generation: int) -> None:
        """Quarantined rows of every other generation go: the rows beside them are gone, or were never seen."""
        mine = " AND ".join(
            f"{column} = {script.value(value)}"
            for column, value in zip(("connection", "stream_namespace", "stream_name"), self._key.values(), strict=True)
        )
        script.add(f"DELETE FROM {self.quarantine} WHERE {mine} AND generation != {script.value(generation)}")

    def _ask(self, sql: str, **values: Any) -> list[tuple[Any, ...]]:
        return self._warehouse.query(sql, {**self._key, **values}, what="ledger", stream=str(self._stream)).rows


_LOST = "syncline: the ledger refuses"
_MINE = "connection = @connection AND stream_namespace = @namespace AND stream_name = @name"


def _text(checkpoint: StreamCheckpoint) -> str:
    """The checkpoint without its plan, which has a column of its own."""
    data = checkpoint.to_json()
    data["plan"] = None
    return json.dumps(data)
