"""The Postgres destination: puts ledger, tables, writers and the swap together in the order of the protocol."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import psycopg

from syncline.connectors.postgres.connection import TEXT_SETTINGS, connect
from syncline.connectors.postgres.errors import postgres_error, postgres_errors
from syncline.connectors.postgres.reading.statement import TableName, run
from syncline.connectors.postgres.writing.changes import PostgresChangeSession
from syncline.connectors.postgres.writing.check import check_targets, grant_statement
from syncline.connectors.postgres.writing.config import PostgresDestinationConfig
from syncline.connectors.postgres.writing.ledger import Ledger
from syncline.connectors.postgres.writing.loading import load_columns
from syncline.connectors.postgres.writing.merge import append_stage, merge_stage
from syncline.connectors.postgres.writing.names import place_of
from syncline.connectors.postgres.writing.patience import patiently
from syncline.connectors.postgres.writing.publish import Generation, SwapImpossibleError
from syncline.connectors.postgres.writing.relation import Column, Relation, find_relation
from syncline.connectors.postgres.writing.script import run_script
from syncline.connectors.postgres.writing.stage import has_checks, make_stage
from syncline.connectors.postgres.writing.staged import PostgresStagedView, staged_view
from syncline.connectors.postgres.writing.tables import Tables, is_ours, staged_fields
from syncline.connectors.postgres.writing.types import resolve_types
from syncline.connectors.postgres.writing.writer import ArrowWriter, Berth, RelayWriter, staged_of
from syncline.core.checkpoint import LedgerEntry, Staged, StreamCheckpoint, StreamTarget
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.failpoints import failpoint
from syncline.core.stream import StreamName, SyncMode, WriteMode
from syncline.sdk.change_log import ChangeSession
from syncline.sdk.connector import ConnectorContext
from syncline.sdk.destination import DestinationTraits
from syncline.sdk.findings import Finding
from syncline.sdk.quarantine import QuarantineEntry
from syncline.sdk.source import RawFormat

if TYPE_CHECKING:
    from syncline.connectors.postgres.connection import Session

__all__ = ["PostgresDestination"]

#: Beside the exact text forms: names in statements mean what they say whatever lies in other schemas, and a writer that
#: waits for a slow source is not ended for being idle.
_SETTINGS = {
    **TEXT_SETTINGS,
    "search_path": "pg_catalog",
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "default_transaction_read_only": "off",
    "default_transaction_isolation": "read committed",
}

#: Settings that came with later servers, all to be off: limits of a session's life, and the compiling of statements,
#: which for our plain ones with many rows costs more than it saves.
_SINCE = ((110000, "jit"), (140000, "idle_session_timeout"), (170000, "transaction_timeout"))

_RAW = "postgres-copy-binary"


class PostgresDestination:
    """Keeps streams as tables of one database. The coordinator's calls share one session; each writer has its own."""

    def __init__(self, config: PostgresDestinationConfig, context: ConnectorContext) -> None:
        self._config = config
        self._context = context
        self._coordinator: Session | None = None
        self._spare: list[Session] = []  # sessions of sealed writers, for the next
        self._lock = threading.Lock()
        self._ledgers: dict[tuple[str, StreamName], Ledger] = {}

    @property
    def traits(self) -> DestinationTraits:
        return DestinationTraits(modes=frozenset(SyncMode), refusals={}, atomic_scope="connection", remote_stage=True)

    def check(self, targets: Sequence[StreamTarget] = ()) -> list[Finding]:
        with postgres_errors():
            return check_targets(self._config, self._session, targets)

    def committed(self, connection: str, stream: StreamName) -> LedgerEntry | None:
        with postgres_errors(stream=str(stream)):
            return self._ledger(connection, stream).read(self._session())

    def fence(self, connection: str, stream: StreamName) -> LedgerEntry:
        # A publish is one transaction: there is never a half-finished one to roll forward.
        ledger = self._ledger(connection, stream)
        with postgres_errors(stream=str(stream)), self._grants(ledger):
            ledger.make(self._session())
            return ledger.fence(self._session())

    def prepare(self, target: StreamTarget, checkpoint: StreamCheckpoint, token: int) -> list[Staged]:
        ledger = self._ledger(target.connection, target.stream)
        with postgres_errors(stream=str(target.stream)), self._grants(ledger):
            session = self._session()
            whole = target.write is WriteMode.REPLACE
            hidden = ledger.place.generation(target.generation)
            planned = {p.id for p in checkpoint.plan.partitions} if checkpoint.plan else set()
            marks = [
                mark
                for mark in ledger.marks.all(session)
                if mark.partition in planned - checkpoint.done
                and mark.generation == target.generation
                and self._is_whole(session, hidden.sibling(mark.relation), mark.rows, hidden)
            ]
            with session.transaction():
                ledger.enter(session, token)
                ledger.marks.forget(session, keep=[m.partition for m in marks])
                ledger.hold(session, token)
            tables = Tables(session, ledger, target, token, patience=self._config.lock_timeout)
            resumed = bool(checkpoint.done or marks)
            tables.remove_garbage({m.relation for m in marks} | ({hidden.name} if whole and resumed else set()))
            if whole:
                tables.prepare_generation(checkpoint, resumed=resumed)
            else:
                tables.prepare_table()
            return [staged_of(mark) for mark in marks]

    def writer(self, target: StreamTarget, partition: str, token: int) -> ArrowWriter:
        with postgres_errors(stream=str(target.stream), partition=partition):
            session, ledger = self._take_session(), self._ledger(target.connection, target.stream)
            try:
                berth, relation = self._berth(session, ledger, target, partition, token)
                columns = load_columns(staged_fields(target), relation.columns, dialect=target.dialect)
                return ArrowWriter(session, ledger, berth, columns, self._give_back)
            except BaseException:
                session.close()
                raise

    def commit(
        self,
        target: StreamTarget,
        staged: Sequence[Staged],
        checkpoint: StreamCheckpoint,
        token: int,
        *,
        publish: bool = False,
    ) -> None:
        with postgres_errors(stream=str(target.stream)):
            session, ledger = self._session(), self._ledger(target.connection, target.stream)
            if not (publish and target.write is WriteMode.REPLACE):
                with session.transaction():
                    self._advance(session, ledger, target, staged, checkpoint, token)
                    failpoint("commit.inside")
                ledger.remember(checkpoint)
                return

            always = self._config.primary_keys == "always"
            generation = Generation(session, ledger, target, token, primary_key=always)

            def swap() -> None:
                self._advance(session, ledger, target, staged, checkpoint, token)
                generation.publish()
                failpoint("commit.inside")

            for exchange in (False, False, True):
                generation.finish(exchange=exchange)
                try:
                    patiently(session, ledger.place.table, swap, seconds=self._config.lock_timeout)
                    break
                except SwapImpossibleError:
                    continue
            else:
                raise SynclineError(
                    ErrorKind.CONFLICT,
                    f"what hangs on table {ledger.place.table} keeps changing",
                    hint="run again when nobody creates views or triggers on it",
                    where={"stream": str(target.stream)},
                )
            ledger.remember(checkpoint)

    def run_sql(self, script: str, *, timeout: float) -> None:
        with postgres_errors():
            session = self._connect()
            try:
                run_script(session, script, timeout, schema=self._config.target_schema)
            finally:
                session.close()

    def unreadable_stage(self, options: Mapping[str, Any]) -> str:
        return ""

    @contextmanager
    def staged_view(self, target: StreamTarget, held: Sequence[Staged], token: int) -> Iterator[PostgresStagedView]:
        with postgres_errors(stream=str(target.stream)):
            ledger = self._ledger(target.connection, target.stream)
            with staged_view(self._session(), ledger, target, held) as view:
                yield view

    def quarantine(self, connection: str, stream: StreamName) -> Iterator[QuarantineEntry]:
        with postgres_errors(stream=str(stream)):
            session, ledger = self._session(), self._ledger(connection, stream)
            if ledger.missing(session):
                return
            ledger.make(session)  # a store of an earlier version gets the newer columns
            rows = ledger.quarantine.rows(session)
        for number, generation, partition, sync_id, column, reason, record, at, original in rows:
            yield QuarantineEntry(
                id=number or "",
                generation=generation,
                partition=partition,
                sync_id=sync_id,
                column=column,
                reason=reason,
                record=json.loads(record),
                at=at,
                original=original or "",
            )

    def forget_quarantined(self, connection: str, stream: StreamName, ids: Sequence[str]) -> int:
        with postgres_errors(stream=str(stream)):
            return self._ledger(connection, stream).quarantine.forget(self._session(), ids)

    def change_session(self, connection: str) -> PostgresChangeSession:
        """A session that applies changes of a log, over a connection of its own."""
        with postgres_errors():
            return PostgresChangeSession(
                self._connect(), lambda stream: self._ledger(connection, stream), patience=self._config.lock_timeout
            )

    def flushed_view(self, session: ChangeSession, target: StreamTarget) -> AbstractContextManager[PostgresStagedView]:
        assert isinstance(session, PostgresChangeSession)
        return session.flushed(target)

    # -- undecoded bytes -------------------------------------------------------------------------------------------

    def accepts_raw(self, target: StreamTarget, raw: RawFormat) -> bool:
        """Whether the bytes of ``raw`` are those of our columns: the same built-in types, in any table layout."""
        fields = staged_fields(target)
        if raw.name != _RAW or [f.name for f in fields] != [name for name, _ in raw.columns]:
            return False
        if any(target.schema.field(key).nullable for key in self._keys(target)):
            return False  # undecoded rows cannot be looked through for NULL keys
        with postgres_errors(stream=str(target.stream)):
            session, ledger = self._take_session(), self._ledger(target.connection, target.stream)
            try:
                relation = find_relation(session, self._landing_table(ledger, target))
                types, missing = resolve_types(session, fields, dialect="postgres", schema=ledger.place.table.schema)
                if missing or any(f.native != native for f, (_, native) in zip(fields, raw.columns, strict=True)):
                    return False
                if relation is None:
                    return True
                if target.write is not WriteMode.REPLACE and not is_ours(relation, ledger, session):
                    return False  # its constraints may refuse rows, which only decoded ones survive
                columns = [relation.column(f.name) for f in fields]
                return all(c is not None and c.type == types[c.name] and _travels_undecoded(c) for c in columns)
            finally:
                self._give_back(session)

    def raw_writer(self, target: StreamTarget, partition: str, token: int, raw: RawFormat) -> RelayWriter:
        with postgres_errors(stream=str(target.stream), partition=partition):
            session, ledger = self._take_session(), self._ledger(target.connection, target.stream)
            try:
                berth, _ = self._berth(session, ledger, target, partition, token)
                return RelayWriter(session, ledger, berth, [name for name, _ in raw.columns], self._give_back)
            except BaseException:
                session.close()
                raise

    def close(self) -> None:
        with self._lock:
            sessions, self._spare = self._spare, []
        for session in [*sessions, *([self._coordinator] if self._coordinator else [])]:
            session.close()
        self._coordinator = None

    # -- within ----------------------------------------------------------------------------------------------------

    def _advance(
        self,
        session: Session,
        ledger: Ledger,
        target: StreamTarget,
        staged: Sequence[Staged],
        checkpoint: StreamCheckpoint,
        token: int,
    ) -> None:
        """Ledger and data in the session's transaction. The ledger first: whoever is too late does no work."""
        ledger.enter(session, token)
        new_plan = ledger.advance(session, checkpoint, token)
        if target.write is not WriteMode.REPLACE and staged:
            alone = checkpoint.plan is not None and checkpoint.done <= {s.partition for s in staged}
            self._insert(session, ledger, target, staged, alone=alone)
        if ledger.marks.committed(session, [s.partition for s in staged]) != len(staged):
            raise SynclineError(
                ErrorKind.CONFLICT,
                "a stage to be committed is not marked as whole at the destination",
                hint="run again: its partition is read again",
                where={"stream": str(target.stream)},
            )
        if new_plan:
            ledger.marks.forget(session)

    def _insert(
        self, session: Session, ledger: Ledger, target: StreamTarget, staged: Sequence[Staged], *, alone: bool
    ) -> None:
        """``alone``: nothing else of the plan has been committed before."""
        table = ledger.place.table
        relation = find_relation(session, table)
        if relation is None:
            raise SynclineError(
                ErrorKind.CONFLICT,
                f"table {table} is gone",
                hint="reset the stream's state, so that it is copied anew",
                where={"stream": str(target.stream)},
            )
        columns = [f.name for f in staged_fields(target)]
        constants = {c: value for name, value in target.constants.items() if (c := relation.column(name))}
        for place, s in enumerate(staged):
            stage = table.sibling(str(s.payload["relation"]))
            if target.write is WriteMode.APPEND:
                rows = append_stage(session, stage, table, columns, constants)
            else:
                rows = merge_stage(
                    session,
                    stage,
                    table,
                    columns,
                    constants,
                    key=target.primary_key,
                    cursor=target.cursor_field,
                    sync_id=_sync_id_column(relation, target),
                    gone=_gone(relation, target) if is_ours(relation, ledger, session) else (),
                    alone=alone and place == 0,
                )
            if rows != s.rows:
                raise SynclineError(
                    ErrorKind.TRANSIENT,
                    f"the stage of partition {s.partition} has {rows} rows instead of {s.rows}: the server crashed",
                    hint="run again: the partition is read again",
                    where={"stream": str(target.stream)},
                )
            run(session, "DROP TABLE {stage}", stage=stage)

    def _berth(
        self, session: Session, ledger: Ledger, target: StreamTarget, partition: str, token: int
    ) -> tuple[Berth, Relation]:
        """Begin the writer's transaction and find or make its table."""
        session.autocommit = False
        ledger.enter(session, token)
        landing = self._landing_table(ledger, target)
        relation = find_relation(session, landing)
        if relation is None:
            raise SynclineError(
                ErrorKind.CONFLICT,
                f"table {landing} is gone",
                hint="run again; if it stays so, reset the stream's state",
                where={"stream": str(target.stream)},
            )
        stage = ledger.place.stage(partition, token)
        table, checked = landing, False
        if target.write is not WriteMode.REPLACE:
            fields = [f.name for f in staged_fields(target)]
            foreign = not is_ours(relation, ledger, session)
            make_stage(session, stage, relation, fields, constraints=foreign)
            table, checked = stage, foreign and has_checks(session, stage)
            if not foreign:
                relation = _without_not_null(relation)
        berth = Berth(
            target=target,
            partition=partition,
            token=token,
            table=table,
            scratch=stage.sibling(stage.name + "_x"),
            keys=self._keys(target),
            checked=checked,
        )
        return berth, relation

    def _keys(self, target: StreamTarget) -> tuple[str, ...]:
        """Columns whose NULL has no place in the table."""
        if target.write is WriteMode.MERGE or target.dedupe:
            return target.primary_key
        return target.primary_key if self._config.primary_keys == "always" and target.write is WriteMode.REPLACE else ()

    def _landing_table(self, ledger: Ledger, target: StreamTarget) -> TableName:
        """The table whose columns the rows must fit."""
        if target.write is WriteMode.REPLACE:
            return ledger.place.generation(target.generation)
        return ledger.place.table

    def _is_whole(self, session: Session, stage: TableName, rows: int, hidden: TableName) -> bool:
        """Whether a dead attempt's sealed stage still has its rows; an unlogged one loses them when the server dies."""
        if stage == hidden:
            return find_relation(session, hidden) is not None
        if find_relation(session, stage) is None:
            return False
        counted = run(session, "SELECT count(*) FROM {stage}", stage=stage).fetchone()
        return counted is not None and counted[0] == rows

    @contextmanager
    def _grants(self, ledger: Ledger) -> Iterator[None]:
        """A missing right comes with the statement that grants what we need in the schema."""
        try:
            yield
        except psycopg.errors.InsufficientPrivilege as error:
            hint = grant_statement(self._session(), ledger.schema)
            raise postgres_error(error, hint=hint, stream=str(ledger.place.stream)) from error

    def _ledger(self, connection: str, stream: StreamName) -> Ledger:
        with self._lock:
            if (connection, stream) not in self._ledgers:
                self._ledgers[connection, stream] = Ledger(place_of(self._config, connection, stream))
            return self._ledgers[connection, stream]

    def _session(self) -> Session:
        if self._coordinator is None or self._coordinator.closed:
            self._coordinator = self._connect()
        return self._coordinator

    def _take_session(self) -> Session:
        with self._lock:
            if self._spare:
                return self._spare.pop()
        return self._connect()

    def _give_back(self, session: Session) -> None:
        if session.closed:
            return
        session.autocommit = True
        with self._lock:
            self._spare.append(session)

    def _connect(self) -> Session:
        session = connect(
            self._config,
            work_dir=self._context.work_dir,
            application_name=f"syncline {self._context.connection}",
            settings=_SETTINGS,
        )
        for version, setting in _SINCE:
            if session.info.server_version >= version:
                run(session, "SELECT set_config({setting}, '0', false)", setting=setting)
        return session


def _travels_undecoded(column: Column) -> bool:
    """Whether the binary form of a type says nothing about oids or settings of its own server."""
    return column.builtin or column.typtype == "e" or column.base.endswith((".citext", ".hstore"))


def _without_not_null(relation: Relation) -> Relation:
    """A table of ours: its NOT NULL columns are its key, for which the writer looks itself."""
    return replace(relation, columns=tuple(replace(c, not_null=False) for c in relation.columns))


def _gone(relation: Relation, target: StreamTarget) -> list[str]:
    """Columns that the source has dropped. Those that make their own value (defaults, identities, expressions) were
    put there by somebody else."""
    names = set(target.schema.names)
    return [
        c.name for c in relation.columns if c.name not in names and not (c.generated or c.has_default or c.not_null)
    ]


def _sync_id_column(relation: Relation, target: StreamTarget) -> str | None:
    """The metadata column that tells which plan wrote a row."""
    for name in ("_syncline_sync_id", "_airbyte_extracted_at"):
        if name in target.schema.names and relation.column(name):
            return name
    return None
