"""Our own tables at the destination: the ledger, the marks of sealed stages, and the quarantine.

The ledger is the truth (one row per connection and stream). Its row is replaced only by compare-and-set on (token,
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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from syncline.connectors.postgres.reading.statement import TableName, commas, run
from syncline.connectors.postgres.writing.ledger_tables import LATER_COLUMNS, LEDGER_TABLES
from syncline.connectors.postgres.writing.names import StreamPlace
from syncline.core.batch import QuarantinedRow
from syncline.core.checkpoint import LedgerEntry, StreamCheckpoint
from syncline.core.errors import ErrorKind, SynclineError

if TYPE_CHECKING:
    from syncline.connectors.postgres.connection import Session

__all__ = ["Ledger", "Mark", "Owned"]

#: Advisory lock under which our tables are made; any constant ("sync" in ASCII).
_MAKING = 0x73796E63

#: Seconds that each try of a fence waits for the ledger's row; between two, older sessions of the stream are ended.
_PATIENCE = (1, 2, 5, 20)


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A sealed stage: written in the same transaction as its rows. ``relation`` is the table that has them."""

    partition: str
    generation: int
    sync_id: str
    relation: str
    rows: int
    quarantined: int
    bytes: int
    note: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Owned:
    """What the ledger knows of the table that it made for a stream. ``oid`` is None when it cannot be relied on (the
    database was restored from a dump); then the name alone counts."""

    table: TableName
    oid: int | None


class Ledger:
    """Our tables in one schema, as one stream of one connection sees them. The session is given to each call."""

    def __init__(self, place: StreamPlace) -> None:
        self.place = place
        self.schema = place.table.schema
        self.table, self.staged, self.quarantine, self.staged_quarantine = (
            TableName(schema=self.schema, name=name) for name in LEDGER_TABLES
        )
        self._plan_written: str | None = None
        self._seen = False
        self._where = {
            "connection": place.connection,
            "namespace": place.stream.namespace or "",
            "name": place.stream.name,
        }

    # -- existence -------------------------------------------------------------------------------------------------

    def missing(self, session: Session) -> list[str]:
        """Which of our tables are not there; ["schema"] when their schema is not."""
        row = run(
            session,
            """
            SELECT n.oid IS NOT NULL, ARRAY(SELECT relname::text FROM pg_class WHERE relnamespace = n.oid
                                            AND relname IN ({tables}))
            FROM (SELECT 1) one
            LEFT JOIN pg_namespace n ON n.nspname = {schema}
            """,
            schema=self.schema,
            tables=commas(sql.Literal(name) for name in LEDGER_TABLES),
        ).fetchone()
        assert row is not None
        return [name for name in LEDGER_TABLES if name not in row[1]] if row[0] else ["schema"]

    def exists(self, session: Session) -> bool:
        """Whether our tables are all there."""
        self._seen = self._seen or not self.missing(session)
        return self._seen

    def make(self, session: Session) -> None:
        """Make the schema and our tables where they are missing. Does nothing, and needs no right, where they are."""
        missing = self.missing(session)
        if not missing:
            self._add_later_columns(session)
            return
        with session.transaction():
            run(session, "SELECT pg_advisory_xact_lock({key})", key=_MAKING)
            missing = self.missing(session)
            if missing == ["schema"]:
                run(session, "CREATE SCHEMA {schema}", schema=sql.Identifier(self.schema))
                missing = list(LEDGER_TABLES)
            for name, ddl in LEDGER_TABLES.items():
                if name in missing:
                    run(session, ddl, table=TableName(schema=self.schema, name=name))

    def _add_later_columns(self, session: Session) -> None:
        rows = run(
            session,
            """
            SELECT c.relname::text, a.attname::text
            FROM pg_class c
            JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = {schema}
            JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
            WHERE c.relname IN ({tables})
            """,
            schema=self.schema,
            tables=commas(sql.Literal(name) for name in LEDGER_TABLES),
        ).fetchall()
        for name, column in LATER_COLUMNS:
            if (name, column) not in rows:
                run(
                    session,
                    "ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {column} text",
                    table=TableName(schema=self.schema, name=name),
                    column=sql.Identifier(column),
                )

    # -- the ledger's row ------------------------------------------------------------------------------------------

    def read(self, session: Session) -> LedgerEntry | None:
        """The entry, None when this connection never wrote the stream."""
        if self.missing(session):
            return None
        row = self._run(
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
                    row = self._run(
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
                current = self._run(session, "SELECT token FROM {table} WHERE {mine}").fetchone()
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
        self._check(self._run(session, "SELECT token FROM {table} WHERE {mine}").fetchone(), token)

    def hold(self, session: Session, token: int) -> None:
        """End of a writing transaction that does not advance the ledger: nobody can fence us before it is durable."""
        self._check(self._run(session, "SELECT token FROM {table} WHERE {mine} FOR SHARE").fetchone(), token)

    def advance(self, session: Session, checkpoint: StreamCheckpoint, token: int) -> bool:
        """Replace the entry by ``checkpoint``. Raises ``conflict`` when the token or the sequence before is not the
        current one. Returns whether the plan is another one than before: marks then belong to a plan that is gone."""
        plan_id = checkpoint.plan.id if checkpoint.plan else None
        changes: sql.Composable = sql.SQL("")
        if plan_id is None or plan_id != self._plan_written:
            # The plan may be long and is the same for many commits: it is written once and not again with each.
            text = json.dumps(checkpoint.plan.to_json()) if checkpoint.plan else None
            changes = sql.SQL("plan = {}, ").format(sql.Literal(text))
        row = self._run(
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
        found = self._run(session, "SELECT token, sequence FROM {table} WHERE {mine}").fetchone()
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
        row = self._run(
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
        self._run(
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
        row = self._run(
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

    # -- marks and quarantine --------------------------------------------------------------------------------------

    def mark(self, session: Session, mark: Mark, token: int) -> None:
        """Say that a stage is whole; in its own transaction."""
        self._run(
            session,
            """
            INSERT INTO {staged}
            VALUES ({connection}, {namespace}, {name}, {partition}, {generation}, {sync_id}, {token}, {relation},
                    {rows}, {quarantined}, {bytes}, now(), {note})
            """,
            partition=mark.partition,
            generation=mark.generation,
            sync_id=mark.sync_id,
            token=token,
            relation=mark.relation,
            rows=mark.rows,
            quarantined=mark.quarantined,
            bytes=mark.bytes,
            note=json.dumps(dict(mark.note)) if mark.note else None,
        )

    def marks(self, session: Session) -> list[Mark]:
        """Sealed and not committed, of this stream."""
        rows = self._run(
            session,
            """
            SELECT partition_id, generation, sync_id, relation, rows, quarantined, bytes, note
            FROM {staged}
            WHERE {mine}
            ORDER BY partition_id
            """,
        ).fetchall()
        return [
            Mark(
                partition=p,
                generation=g,
                sync_id=s,
                relation=r,
                rows=n,
                quarantined=q,
                bytes=b,
                note=json.loads(note) if note else {},
            )
            for p, g, s, r, n, q, b, note in rows
        ]

    def unmark(self, session: Session, partitions: Sequence[str]) -> int:
        """These stages are committed: their quarantined rows become visible, their marks go. Returns how many."""
        if not partitions:
            return 0
        only = commas(sql.Literal(p) for p in partitions)
        self._run(
            session,
            """
            WITH moved AS (DELETE FROM {staged_quarantine} WHERE {mine} AND partition_id IN ({only}) RETURNING *)
            INSERT INTO {quarantine} SELECT * FROM moved
            """,
            only=only,
        )
        return self._run(session, "DELETE FROM {staged} WHERE {mine} AND partition_id IN ({only})", only=only).rowcount

    def forget_marks(self, session: Session, *, keep: Iterable[str] = ()) -> None:
        """Sealed stages that nobody will commit, with their quarantined rows."""
        kept = commas(sql.Literal(p) for p in keep)
        for table in (self.staged, self.staged_quarantine):
            self._run(
                session,
                "DELETE FROM {some} WHERE {mine} AND partition_id <> ALL (ARRAY[{kept}]::text[])",
                some=table,
                kept=kept,
            )

    def put_aside(
        self,
        session: Session,
        rows: Sequence[QuarantinedRow],
        *,
        partition: str,
        generation: int,
        sync_id: str,
        staged: bool = True,
    ) -> None:
        """Rows that the table cannot hold; visible when the stage that they belong to is committed, or with this
        transaction when they belong to none (not ``staged``)."""
        into = self.staged_quarantine if staged else self.quarantine
        for start in range(0, len(rows), 500):
            values = sql.SQL(", ").join(
                sql.SQL("({})").format(
                    commas(
                        sql.Literal(v)
                        for v in (
                            *self._where.values(),
                            generation,
                            partition,
                            sync_id,
                            _holdable(row.column),
                            _holdable(row.reason),
                            json.dumps({name: _holdable(text) for name, text in row.record.items()}),
                        )
                    )
                    + sql.SQL(", now(), {}, {}").format(sql.Literal(row.id), sql.Literal(row.original))
                )
                for row in rows[start : start + 500]
            )
            self._run(session, "INSERT INTO {into} VALUES {values}", into=into, values=values)

    def quarantined(self, session: Session) -> list[tuple[Any, ...]]:
        """The stream's rows as they came: id, generation, partition, sync, column, reason, record, time, original."""
        return self._run(
            session,
            """
            SELECT id, generation, partition_id, sync_id, column_name, reason, record::text,
                   to_char(quarantined_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"'), original
            FROM {quarantine}
            WHERE {mine}
            ORDER BY quarantined_at, ctid
            """,
        ).fetchall()

    def forget_quarantined(self, session: Session, ids: Sequence[str]) -> int:
        """Remove rows by their ids; returns how many there were."""
        wanted = commas(sql.Literal(i) for i in ids)
        return self._run(
            session, "DELETE FROM {quarantine} WHERE {mine} AND id = ANY (ARRAY[{wanted}]::text[])", wanted=wanted
        ).rowcount

    def forget_quarantine(self, session: Session, *, before: int | None = None, since: int | None = None) -> None:
        """Quarantined rows of generations that are gone: those before one, or one given up and later ones."""
        self._run(
            session,
            "DELETE FROM {quarantine} WHERE {mine} AND (generation < {before} OR generation >= {since})",
            before=before,
            since=since,
        )

    # -- within ----------------------------------------------------------------------------------------------------

    def _run(self, session: Session, template: Any, **parts: Any) -> psycopg.Cursor[tuple[Any, ...]]:
        mine = sql.SQL("connection = {} AND stream_namespace = {} AND stream_name = {}").format(
            *(sql.Literal(v) for v in self._where.values())
        )
        named = {
            "table": self.table,
            "staged": self.staged,
            "quarantine": self.quarantine,
            "staged_quarantine": self.staged_quarantine,
            "mine": mine,
            **self._where,
        }
        return run(session, template, **{**named, **parts})

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


def _holdable(text: str | None) -> str | None:
    """U+0000, which no type of the server holds and no function of its JSON reads, as people write it."""
    return None if text is None else text.replace("\0", "\\u0000")
