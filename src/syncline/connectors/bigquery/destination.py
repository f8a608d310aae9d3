"""The BigQuery destination: conducts ledger, tables and stages; the protocol is in :mod:`syncline.sdk.destination`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC

from google.cloud import bigquery as bq

from syncline.connectors.bigquery.changes import BigqueryChangeSession
from syncline.connectors.bigquery.config import BigqueryDestinationConfig
from syncline.connectors.bigquery.costs import Costs
from syncline.connectors.bigquery.default_stream import DefaultStreams
from syncline.connectors.bigquery.destination_check import check
from syncline.connectors.bigquery.layout import layout_from
from syncline.connectors.bigquery.ledger import Ledger, ledger_tables_are_there, make_ledger_tables
from syncline.connectors.bigquery.loading import append_stage, deduped, merge_stages
from syncline.connectors.bigquery.names import TableName
from syncline.connectors.bigquery.publication import announcement, finish
from syncline.connectors.bigquery.stage import StageWriter, drop_stages
from syncline.connectors.bigquery.tables import StreamPlace, Tables, place_of
from syncline.connectors.bigquery.warehouse import Script, Warehouse
from syncline.core.checkpoint import LedgerEntry, Staged, StreamCheckpoint, StreamTarget
from syncline.core.errors import SynclineError
from syncline.core.failpoints import failpoint
from syncline.core.stream import StreamName, SyncMode, WriteMode
from syncline.sdk.connector import ConnectorContext
from syncline.sdk.destination import DestinationTraits
from syncline.sdk.findings import Finding
from syncline.sdk.quarantine import QuarantineEntry

__all__ = ["BigqueryDestination"]

#: Rows that are streamed cost nothing by the flush, but the ledger's statement is billed for its least 10 MB.
_STREAMED_SECONDS = 10.0


class BigqueryDestination:
    """Tables of one dataset. Making one asks nothing of BigQuery."""

    def __init__(self, config: BigqueryDestinationConfig, context: ConnectorContext) -> None:
        self._config = config
        self._connection = context.connection
        self._folder = context.work_dir / "bigquery"
        self._warehouse = Warehouse(config, context.connection)
        self._costs = Costs(self._warehouse, context.connection, self._folder)
        self._ledger_is_there = self._written = False
        merged = config.changes == "merge"
        self.traits = DestinationTraits(
            modes=frozenset(SyncMode),
            refusals={},
            atomic_scope="connection" if merged else "stream",
            linger_seconds=config.merge_interval if merged else min(config.merge_interval, _STREAMED_SECONDS),
        )

    def check(self, targets: Sequence[StreamTarget] = ()) -> list[Finding]:
        return check(self._config, self._warehouse, targets, self._folder)

    def committed(self, connection: str, stream: StreamName) -> LedgerEntry | None:
        if not self._has_ledger():
            return None
        row = self._ledger(connection, stream).row()
        return None if row is None else row.entry

    def fence(self, connection: str, stream: StreamName) -> LedgerEntry:
        if not self._has_ledger():
            self._warehouse.dataset()  # a missing one is said so, not as a table that cannot be made
            make_ledger_tables(self._warehouse)
            self._ledger_is_there = True
        ledger = self._ledger(connection, stream)
        row = ledger.take_token()
        if row.pending is None:
            return row.entry
        token = row.entry.token
        checkpoint = finish(self._warehouse, ledger, row.pending, token, str(stream))
        return LedgerEntry(token=token, checkpoint=checkpoint)

    def prepare(self, target: StreamTarget, checkpoint: StreamCheckpoint, token: int) -> list[Staged]:
        ledger, _, tables = self._of(target)
        row = ledger.hold(token)
        tables.prepare(checkpoint, row)
        drop_stages(self._warehouse, target.connection, target.stream, token)
        return []

    def writer(self, target: StreamTarget, partition: str, token: int) -> StageWriter:
        return StageWriter(self._warehouse, target, partition, token, self._folder)

    def commit(
        self,
        target: StreamTarget,
        staged: Sequence[Staged],
        checkpoint: StreamCheckpoint,
        token: int,
        *,
        publish: bool = False,
    ) -> None:
        ledger, place, tables = self._of(target)
        stream, script = str(target.stream), Script()
        replaced = target.write is WriteMode.REPLACE
        pending = self._announcement(ledger, place, tables, target, checkpoint, token) if publish and replaced else None
        # First, so that a stale attempt fails here and not at stages that a newer one has removed.
        if pending is not None:
            ledger.announce(script, pending, checkpoint, token)
        else:
            ledger.advance(script, checkpoint, token)
        self._rows(script, staged, target, place, tables, checkpoint)
        for one in staged:
            if (name := one.payload["aside"]) is not None:
                ledger.quarantine_from(
                    script,
                    self._warehouse.table_name(name),
                    partition=one.partition,
                    generation=target.generation,
                    sync_id=target.sync_id,
                )
        failpoint("commit.inside")
        if publish and not replaced:
            failpoint("publish.inside")
        try:
            self._warehouse.commit(script, what="commit", stream=stream)
        except SynclineError as error:
            raise ledger.refused(error, token, checkpoint.sequence) from error
        if pending is not None:
            failpoint("publish.inside")
            finish(self._warehouse, ledger, pending, token, stream)
        self._written = True
        # What is committed is in the tables: only now may its stage go.
        for one in staged:
            for name in (one.payload["rows"], one.payload["aside"]):
                if name is not None:
                    self._warehouse.drop(self._warehouse.table_name(name))

    def _rows(
        self,
        script: Script,
        staged: Sequence[Staged],
        target: StreamTarget,
        place: StreamPlace,
        tables: Tables,
        checkpoint: StreamCheckpoint,
    ) -> None:
        if not any(s.payload["rows"] for s in staged):
            return
        replaced = target.write is WriteMode.REPLACE
        table = place.hidden(target.generation) if replaced else place.table
        plan = tables.columns(self._there(table, tables))
        if target.write is WriteMode.MERGE:
            alone = not checkpoint.done - {s.partition for s in staged}
            merge_stages(script, self._warehouse, staged, target, table, plan, alone=alone)
            return
        ordered = replaced and target.dedupe
        for number, one in enumerate(staged):
            if (name := one.payload["rows"]) is not None:
                stage = self._warehouse.table_name(name)
                order = (checkpoint.sequence, number) if ordered else None
                append_stage(script, stage, target, table, plan, order)

    def _there(self, table: TableName, tables: Tables) -> bq.Table:
        found = self._warehouse.find(table)
        if found is None:
            raise tables.generation_is_gone(table)
        return found

    def _announcement(
        self,
        ledger: Ledger,
        place: StreamPlace,
        tables: Tables,
        target: StreamTarget,
        checkpoint: StreamCheckpoint,
        token: int,
    ) -> dict[str, object]:
        row = ledger.hold(token)
        hidden = place.hidden(target.generation)
        made = self._there(hidden, tables)
        plan = tables.columns(made)
        existing = self._warehouse.find(place.table)
        # Somebody may have made a table of that name while we loaded: only ours is ever replaced.
        if existing is not None and not tables.made(existing, row):
            raise tables.in_the_way(existing)
        statement = None
        if target.dedupe:
            statement = deduped(target, hidden, place.table, plan, layout_from(made).clauses)
        return announcement(hidden, place.table, checkpoint, statement)

    def quarantine(self, connection: str, stream: StreamName) -> Iterator[QuarantineEntry]:
        if not self._has_ledger():
            return
        for number, generation, partition, sync_id, column, reason, record, at, original in self._ledger(
            connection, stream
        ).quarantined():
            yield QuarantineEntry(
                id=number or "",
                generation=generation,
                partition=partition,
                sync_id=sync_id,
                column=column,
                reason=reason,
                record=json.loads(record),
                at=at.astimezone(UTC).isoformat(),
                original=original or "",
            )

    def forget_quarantined(self, connection: str, stream: StreamName, ids: Sequence[str]) -> int:
        return self._ledger(connection, stream).forget_quarantined(ids)

    def change_session(self, connection: str) -> BigqueryChangeSession:
        """A session that applies changes of a log."""
        self._written = True
        streams = None if self._config.changes == "merge" else DefaultStreams(self._config)
        return BigqueryChangeSession(self._config, self._warehouse, connection, self._folder, self._costs, streams)

    def close(self) -> None:
        if self._written:
            self._costs.keep(at_end=True)
        self._warehouse.close()

    def _has_ledger(self) -> bool:
        if not self._ledger_is_there:
            self._ledger_is_there = ledger_tables_are_there(self._warehouse)
        return self._ledger_is_there

    def _ledger(self, connection: str, stream: StreamName) -> Ledger:
        return Ledger(self._warehouse, connection, stream)

    def _of(self, target: StreamTarget) -> tuple[Ledger, StreamPlace, Tables]:
        ledger = self._ledger(target.connection, target.stream)
        place = place_of(self._config, self._warehouse, target.connection, target.stream)
        return ledger, place, Tables(self._config, self._warehouse, ledger, place, target)
