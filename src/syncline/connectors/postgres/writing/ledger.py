"""The ledger at the destination.

It is the truth (one row per connection and stream). A row is replaced only by compare-and-set on (token,
sequence), in the same transaction as the data that it speaks of:

* :meth:`Ledger.fence` takes the next token. Sessions of older tokens that still hold a transaction are ended.
* :meth:`Ledger.advance` moves it by one commit.
* :meth:`Ledger.hold` is what every other writing transaction of ours does last: it locks the row in share mode and
  looks at the token, so that what it wrote can only become durable while its token is the current one.

Every transaction of ours holds the shared advisory lock (stream, token); that is how :meth:`Ledger.fence` finds the
sessions of a dead or paused attempt, through any pooler.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from syncline.connectors.postgres.reading.statement import TableName, commas, run
from syncline.connectors.postgres.writing.marks import Marks
from syncline.connectors.postgres.writing.names import StreamPlace
from syncline.connectors.postgres.writing.own_tables import OwnTables
from syncline.connectors.postgres.writing.quarantine import Quarantine
from syncline.core.checkpoint import LedgerEntry, StreamCheckpoint
from syncline.core.errors import ErrorKind, SynclineError

if TYPE_CHECKING:
    from syncline.connectors.postgres.connection import Session

__all__ = ["Ledger", "Owned"]

#: Seconds that each try of a fence waits for the ledger's row; between two, older sessions of the stream are ended.
_PATIENCE = (1, 2, 5, 20)


@dataclass(frozen=True, kw_only=True)
class Owned:
    """What the ledger knows of the table that it made for a stream. ``oid`` is None when it cannot be relied on (the
    database was restored from a dump); then the name alone counts."""

    table: TableName
    oid: int | None


class Ledger(OwnTables):
    """The stream's row; ``marks`` and ``quarantine`` are what lies beside it."""

    def __init__(self, place: StreamPlace) -> None:
        super().__init__(place)
        self.marks, self.quarantine = Marks(self), Quarantine(self)
        self._plan_written: str | None = None

    # -- the ledger's row ------------------------------------------------------------------------------------------

    def read(self, session: Session) -> LedgerEntry | None:
        """The entry, None when this connection never wrote the stream."""
        if self.missing(session):
            return None
        row = self.run(
            session, "SELECT token, sequence, generation, position, checkpoint, plan FROM {table} WHERE {mine}"
        ).fetchone()
        return None if row is None else _entry(row)

    def fence(self, session: Session) -> LedgerEntry:
        """Take the next token; afterwards no transaction of an older one can become durable. Not in a transaction."""
        row = None
        for patience in _PATIENCE:
            try:
                with session.transaction():
                    run(session, "SELECT set_config('lock_timeout', {wait}, true)", wait=f"{patience}s")
                    row = self.run(
                        session,
                        """
                        INSERT INTO {table} AS l (connection, stream_namespace, stream_name, generation, sequence,
                                                  token, checkpoint, updated_at)
                        VALUES ({connection}, {namespace}, {name}, 0, 0, 1, {checkpoint}, now())
                        ON CONFLICT (connection, stream_namespace, stream_name)
                        DO UPDATE SET token = l.token + 1, updated_at = now()
                        RETURNING token, sequence, generation, position, checkpoint, plan
                        """,
                        checkpoint=_checkpoint_text(StreamCheckpoint()),
                    ).fetchone()
                break
            except psycopg.errors.LockNotAvailable:
                # A transaction of an older token holds the row: in the middle of a commit, or paused in it.
                current = self.run(session, "SELECT token FROM {table} WHERE {mine}").fetchone()
                self._end_older(session, int(current[0]) + 1 if current else 1)
        if row is None:
            raise SynclineError(
                ErrorKind.CONFLICT,
                "another session holds the stream's row in the ledger",
                hint=f"end it: SELECT pid FROM pg_stat_activity WHERE query LIKE '%{self.table.name}%'; then run again",
                where={"stream": str(self.place.stream), "connector": "postgres"},
            )
        entry = _entry(row)
        self._end_older(session, entry.token)
        return entry

    def enter(self, session: Session, token: int) -> None:
        """Begin of every writing transaction except the fence: say whose it is, and stop early when fenced."""
        run(
            session,
            "SELECT pg_advisory_xact_lock_shared({stream}, {token})",
            stream=sql.SQL("({})::int4").format(sql.Literal(self.place.lock_class)),
            token=sql.SQL("{}::int4").format(sql.Literal(token % 2**31)),
        )
        self._check(self.run(session, "SELECT token FROM {table} WHERE {mine}").fetchone(), token)

    def hold(self, session: Session, token: int) -> None:
        """End of a writing transaction that does not advance the ledger: nobody can fence us before it is durable."""
        self._check(self.run(session, "SELECT token FROM {table} WHERE {mine} FOR SHARE").fetchone(), token)

    def advance(self, session: Session, checkpoint: StreamCheckpoint, token: int) -> bool:
        """Replace the entry by ``checkpoint``. Raises ``conflict`` when the token or the sequence before is not the
        current one. Returns whether the plan is another one than before: marks then belong to a plan that is gone."""
        plan_id = checkpoint.plan.id if checkpoint.plan else None
        changes: sql.Composable = sql.SQL("")
        if plan_id is None or plan_id != self._plan_written:
            # The plan may be long and is the same for many commits: it is written once and not again with each.
            text = json.dumps(checkpoint.plan.to_json()) if checkpoint.plan else None
            changes = sql.SQL("plan = {}, ").format(sql.Literal(text))
        row = self.run(
            session,
            """
            UPDATE {table} l
            SET generation = {generation}, sequence = {sequence}, position = {position}, checkpoint = {checkpoint},
                {changes} plan_id = {plan_id}, updated_at = now()
            FROM (SELECT plan_id AS before FROM {table} WHERE {mine} FOR UPDATE) o
            WHERE {mine} AND token = {token} AND sequence = {sequence} - 1
            RETURNING o.before IS DISTINCT FROM {plan_id}
            """,
            generation=checkpoint.generation,
            sequence=checkpoint.sequence,
            position=None if checkpoint.position is None else json.dumps(dict(checkpoint.position)),
            checkpoint=_checkpoint_text(checkpoint),
            changes=changes,
            plan_id=plan_id,
            token=token,
        ).fetchone()
        if row is None:
            self.refuse(session, checkpoint, token)
            raise SynclineError(ErrorKind.INTERNAL, "the ledger did not move", where={"stream": str(self.place.stream)})
        return bool(row[0])

    def refuse(self, session: Session, checkpoint: StreamCheckpoint, token: int) -> None:
        """Raise ``conflict`` if ``checkpoint`` cannot be the next entry."""
        found = self.run(session, "SELECT token, sequence FROM {table} WHERE {mine}").fetchone()
        self._check(found, token)
        if found is None or found[1] != checkpoint.sequence - 1:
            raise SynclineError(
                ErrorKind.CONFLICT,
                f"the ledger is at sequence {found[1] if found else None}, this commit would be {checkpoint.sequence}",
                hint="another run committed in between; run again, it goes on from there",
                where={"stream": str(self.place.stream)},
            )

    def remember(self, checkpoint: StreamCheckpoint) -> None:
        """The transaction that advanced to ``checkpoint`` is committed."""
        self._plan_written = checkpoint.plan.id if checkpoint.plan else None

    # -- the table that we made ------------------------------------------------------------------------------------

    def owned(self, session: Session) -> Owned | None:
        """The table that this stream's ledger entry says we made, None when it made none."""
        row = self.run(
            session,
            """
            SELECT table_schema, table_name, table_oid, ledger_oid = {ledger}::regclass::oid::int8
            FROM {table}
            WHERE {mine} AND table_name IS NOT NULL
            """,
            ledger=self._regclass(),
        ).fetchone()
        if row is None:
            return None
        schema, name, oid, same_database = row
        return Owned(table=TableName(schema=schema, name=name), oid=oid if same_database else None)

    def own(self, session: Session, table: TableName, oid: int) -> None:
        """Remember that we made this table. In the transaction that makes it."""
        self.run(
            session,
            """
            UPDATE {table}
            SET table_schema = {schema}, table_name = {relation}, table_oid = {oid},
                ledger_oid = {ledger}::regclass::oid::int8
            WHERE {mine}
            """,
            schema=table.schema,
            relation=table.name,
            oid=oid,
            ledger=self._regclass(),
        )

    def other_owner(self, session: Session, table: TableName) -> str | None:
        """Which other stream's ledger entry says that it made this table, for people."""
        row = self.run(
            session,
            """
            SELECT connection, stream_namespace, stream_name
            FROM {table}
            WHERE table_schema = {schema} AND table_name = {relation} AND NOT ({mine})
            LIMIT 1
            """,
            schema=table.schema,
            relation=table.name,
        ).fetchone()
        if row is None:
            return None
        connection, namespace, name = row
        return f"stream {namespace + '.' if namespace else ''}{name} of connection {connection!r}"

    # -- within ----------------------------------------------------------------------------------------------------

    def _regclass(self) -> sql.Composed:
        """The ledger's own name as a text literal that ``::regclass`` reads."""
        quoted = ".".join('"' + part.replace('"', '""') + '"' for part in (self.table.schema, self.table.name))
        return sql.SQL("{}").format(sql.Literal(quoted))

    def _check(self, row: tuple[Any, ...] | None, token: int) -> None:
        if row is not None and row[0] == token:
            return
        raise SynclineError(
            ErrorKind.CONFLICT,
            f"a newer run holds the stream (token {row[0]}, ours is {token})"
            if row is not None
            else "the ledger has no entry for the stream any more",
            hint="nothing of this run was committed after that; let the newer run finish",
            where={"stream": str(self.place.stream), "connector": "postgres"},
            final=row is not None,
        )

    def _end_older(self, session: Session, token: int) -> None:
        """End sessions of this stream that hold a transaction with an older token. Ones that we may not end are left:
        what they wrote cannot be committed, only their locks are in the way."""
        rows = run(
            session,
            """
            SELECT pid
            FROM pg_locks
            WHERE locktype = 'advisory' AND granted AND objsubid = 2
              AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
              AND classid::int8 = {stream} AND objid::int8 < {token} AND pid <> pg_backend_pid()
            """,
            stream=self.place.lock_class % 2**32,
            token=token,
        ).fetchall()
        for (pid,) in rows:
            try:
                run(session, "SELECT pg_terminate_backend({pid})", pid=int(pid))
            except psycopg.errors.InsufficientPrivilege:
                continue
        if rows:
            # Until they are gone their locks stay; a second is plenty for a session that is not paused in the kernel.
            for _ in range(50):
                time.sleep(0.02)
                left = run(
                    session,
                    "SELECT 1 FROM pg_locks WHERE pid IN ({pids}) LIMIT 1",
                    pids=commas(sql.Literal(int(pid)) for (pid,) in rows),
                ).fetchone()
                if left is None:
                    break


def _checkpoint_text(checkpoint: StreamCheckpoint) -> str:
    """The checkpoint without its plan, which has a column of its own."""
    return json.dumps({**checkpoint.to_json(), "plan": None})


def _entry(row: tuple[Any, ...]) -> LedgerEntry:
    token, sequence, _, position, checkpoint, plan = row
    # Flushes of a log write only these two columns; the text beside them is that of the last commit that changed more.
    data = {
        **json.loads(checkpoint),
        "sequence": sequence,
        "position": None if position is None else json.loads(position),
        "plan": json.loads(plan) if plan else None,
    }
    return LedgerEntry(token=token, checkpoint=StreamCheckpoint.from_json(data))
