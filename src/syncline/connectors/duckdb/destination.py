"""The DuckDB destination: conducts ledger, tables and stages; see :mod:`syncline.sdk.destination` for the protocol."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any

import duckdb

from syncline.connectors.duckdb.changes import DuckdbChangeSession
from syncline.connectors.duckdb.config import DuckdbDestinationConfig
from syncline.connectors.duckdb.database import Database
from syncline.connectors.duckdb.destination_check import check
from syncline.connectors.duckdb.ledger import Ledger
from syncline.connectors.duckdb.loading import append_stage, delete_duplicates, merge_stages, reclaim, spare_long_texts
from syncline.connectors.duckdb.script import run_script
from syncline.connectors.duckdb.sql import quote
from syncline.connectors.duckdb.stage import StageFolder, StageWriter, remove_empty_side
from syncline.connectors.duckdb.staged import DuckdbStagedView, staged_view
from syncline.connectors.duckdb.tables import Tables, place_of
from syncline.core.checkpoint import LedgerEntry, Staged, StreamCheckpoint, StreamTarget
from syncline.core.failpoints import failpoint
from syncline.core.stream import StreamName, SyncMode, WriteMode
from syncline.sdk.change_log import ChangeSession
from syncline.sdk.connector import ConnectorContext
from syncline.sdk.destination import DestinationTraits
from syncline.sdk.findings import Finding
from syncline.sdk.quarantine import QuarantineEntry

__all__ = ["DuckdbDestination"]


class DuckdbDestination:
    """Tables of one database file. Making one opens nothing; writers never open the database."""

    traits = DestinationTraits(modes=frozenset(SyncMode), refusals={}, atomic_scope="connection", linger_seconds=1.0)

    def __init__(self, config: DuckdbDestinationConfig, context: ConnectorContext) -> None:
        self._config = config
        self._connection = context.connection
        self._database = Database(config)

    def check(self, targets: Sequence[StreamTarget] = ()) -> list[Finding]:
        return check(self._config, self._database, targets)

    def committed(self, connection: str, stream: StreamName) -> LedgerEntry | None:
        if not self._database.exists:
            return None
        place = place_of(self._config, connection, stream)
        with self._database.opened(read_only=True) as con:
            ledger = Ledger(con, place.table.schema, connection, stream)
            return ledger.entry() if ledger.exists() else None

    def fence(self, connection: str, stream: StreamName) -> LedgerEntry:
        place = place_of(self._config, connection, stream)
        with self._database.opened() as con:
            ledger = Ledger(con, place.table.schema, connection, stream)
            con.begin()
            ledger.create()
            entry = ledger.take_token()
            con.commit()
        return entry

    def prepare(self, target: StreamTarget, checkpoint: StreamCheckpoint, token: int) -> list[Staged]:
        place = place_of(self._config, target.connection, target.stream)
        with self._database.opened() as con:
            ledger = Ledger(con, place.table.schema, target.connection, target.stream)
            con.begin()
            ledger.hold(token)
            Tables(con, ledger, place, target).prepare(checkpoint)
            con.commit()
            # While the file is ours, nobody with a newer token can be preparing the same folder.
            return StageFolder(self._database.side, target).prepare(checkpoint, token)

    def writer(self, target: StreamTarget, partition: str, token: int) -> StageWriter:
        return StageFolder(self._database.side, target).writer(partition, token)

    def commit(
        self,
        target: StreamTarget,
        staged: Sequence[Staged],
        checkpoint: StreamCheckpoint,
        token: int,
        *,
        publish: bool = False,
    ) -> None:
        place = place_of(self._config, target.connection, target.stream)
        folder = StageFolder(self._database.side, target)
        with self._database.opened() as con:
            ledger = Ledger(con, place.table.schema, target.connection, target.stream)
            tables = Tables(con, ledger, place, target)
            replace = target.write is WriteMode.REPLACE
            table = place.hidden(target.generation) if replace else place.table
            before = ledger.entry()
            spare_long_texts(con, staged)
            if publish and replace and target.dedupe and before is not None and before.token == token:
                # A transaction of its own: DuckDB 1.5 cannot replay a log in which one transaction deletes rows of a
                # table and renames it, and the file of a process killed before its checkpoint would never open again.
                # Nobody sees the generation yet, and doing it twice changes nothing.
                con.begin()
                if tables.exists(table):
                    delete_duplicates(con, table, target)
                con.commit()
            con.begin()
            # First, so that a stale attempt fails here and not at stages that a newer one has removed.
            ledger.advance(checkpoint, token)
            if staged:
                types = tables.types_of(table)
                if target.write is WriteMode.MERGE:
                    alone = before is None or not before.checkpoint.done
                    merge_stages(con, folder, staged, target, table, types, alone=alone)
                else:
                    for one in staged:
                        append_stage(con, folder, one, target, table, types)
                self._quarantine(con, ledger, folder, staged, target)
            failpoint("commit.inside")
            if publish:
                if replace:
                    tables.swap()
                    ledger.forget_quarantine(target.generation)
                else:
                    failpoint("publish.inside")
            con.commit()
            # What is committed is durable: only now may its stage go.
            folder.remove(staged)
            if publish:
                folder.tidy()
                if target.write is WriteMode.MERGE:
                    reclaim(con, table)

    def run_sql(self, script: str, *, timeout: float) -> None:
        with self._database.opened() as con:
            con.execute(f"CREATE SCHEMA IF NOT EXISTS {quote(self._config.target_schema)}")
            con.execute(f"USE {quote(self._config.target_schema)}")
            run_script(con, script, timeout)

    def unreadable_stage(self, options: Mapping[str, Any]) -> str:
        return ""

    def staged_view(
        self, target: StreamTarget, held: Sequence[Staged], token: int
    ) -> AbstractContextManager[DuckdbStagedView]:
        place = place_of(self._config, target.connection, target.stream)
        return staged_view(self._database, place, target, held)

    def quarantine(self, connection: str, stream: StreamName) -> Iterator[QuarantineEntry]:
        if not self._database.exists:
            return
        place = place_of(self._config, connection, stream)
        with self._database.opened() as con:
            ledger = Ledger(con, place.table.schema, connection, stream)
            if not ledger.exists():
                return
            ledger.create()  # a store of an earlier version gets the newer columns
            rows = ledger.quarantined()
        for number, generation, partition, sync_id, column, reason, record, at, original in rows:
            yield QuarantineEntry(
                id=number or "",
                generation=generation,
                partition=partition,
                sync_id=sync_id,
                column=column,
                reason=reason,
                record=json.loads(record),
                at=datetime.fromisoformat(at).astimezone(UTC).isoformat(),
                original=original or "",
            )

    def forget_quarantined(self, connection: str, stream: StreamName, ids: Sequence[str]) -> int:
        place = place_of(self._config, connection, stream)
        with self._database.opened() as con:
            return Ledger(con, place.table.schema, connection, stream).forget_quarantined(ids)

    def change_session(self, connection: str) -> DuckdbChangeSession:
        """A session that applies changes of a log; it opens the file for each flush."""
        return DuckdbChangeSession(self._config, self._database, connection)

    def flushed_view(self, session: ChangeSession, target: StreamTarget) -> AbstractContextManager[DuckdbStagedView]:
        assert isinstance(session, DuckdbChangeSession)
        return session.flushed(target)

    def close(self) -> None:
        remove_empty_side(self._database.side)

    @staticmethod
    def _quarantine(
        con: duckdb.DuckDBPyConnection,
        ledger: Ledger,
        folder: StageFolder,
        staged: Sequence[Staged],
        target: StreamTarget,
    ) -> None:
        for one in staged:
            if one.payload["aside"] is None:
                continue
            with folder.reader(one.payload["aside"]) as reader:
                con.register("_syncline_aside", reader.__arrow_c_stream__())
                try:
                    ledger.quarantine_from(
                        "_syncline_aside",
                        partition=one.partition,
                        generation=target.generation,
                        sync_id=target.sync_id,
                    )
                finally:
                    con.unregister("_syncline_aside")
