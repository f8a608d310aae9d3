"""The Postgres source: see :class:`syncline.sdk.source.Source` for the protocol."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql as compose

from syncline.connectors.postgres.catalog import (
    Relation,
    Tree,
    describe,
    load_relations,
    server_of,
    tree_of,
)
from syncline.connectors.postgres.changes.joint import begin_of_log, snapshot_of, wait_until_flushed
from syncline.connectors.postgres.changes.lag import log_lag
from syncline.connectors.postgres.changes.leaving import forget_connection
from syncline.connectors.postgres.changes.names import log_names, spool_folder
from syncline.connectors.postgres.changes.publication import look_at_publication
from syncline.connectors.postgres.changes.visibility import files_of, shown_rows
from syncline.connectors.postgres.config import ChangeCapture, PostgresSourceConfig
from syncline.connectors.postgres.errors import postgres_error
from syncline.connectors.postgres.reading.bounds import Condition
from syncline.connectors.postgres.reading.check import OLDEST_VERSION, check_database, missing_grants
from syncline.connectors.postgres.reading.cursor import CursorPlanner, Increment
from syncline.connectors.postgres.reading.horizon import Horizon, horizon_of
from syncline.connectors.postgres.reading.partition import RawPartition, read_partition
from syncline.connectors.postgres.reading.planning import cut, page_cut, plan_id, relation_name, wants_shared_snapshot
from syncline.connectors.postgres.reading.selection import ensure_schemas, selected_relations
from syncline.connectors.postgres.reading.transaction import PlanningSession, SessionMaker, begin, catalog_names
from syncline.connectors.postgres.reading.xmin import XminPlanner
from syncline.core.batch import Batch
from syncline.core.change import LogPosition
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.partition import Partition, ReadPlan
from syncline.core.schema import StreamSchema
from syncline.core.stream import Catalog, SelectedStream, Stream, StreamName, SyncMode
from syncline.sdk.change_log import LogStatus
from syncline.sdk.connector import ConnectorContext
from syncline.sdk.findings import Finding
from syncline.sdk.source import RawFormat

if TYPE_CHECKING:
    from syncline.connectors.postgres.changes.log import PostgresChangeLog, SharedPostgresLog
    from syncline.connectors.postgres.connection import Session

__all__ = ["PostgresSource"]


class PostgresSource:
    """Reads one database. Planning uses one session at a time; each :meth:`read` has its own."""

    def __init__(self, config: PostgresSourceConfig, context: ConnectorContext) -> None:
        self._config = config
        self._concurrency = config.concurrency or context.concurrency
        self._maker = SessionMaker(config=config, connection=context.connection, work_dir=context.work_dir)
        self._planning = PlanningSession(self._maker)
        self._xmin = config.replication_method.method == "Xmin"
        method = config.replication_method
        self._capture = method if isinstance(method, ChangeCapture) else None
        self._context = context
        self._generated = ""  # kinds of generated columns that the log holds
        self._offered: dict[StreamName, tuple[str, ...]] = {}  # columns of each stream as last discovered
        self._snapshots: dict[StreamName, Session] = {}  # sessions that hold an exported snapshot

    def check(self, selection: Sequence[SelectedStream] = ()) -> list[Finding]:
        with self._planning.use() as session, catalog_names(session, self._config):
            found = check_database(session, self._config, selection, xmin=self._xmin, concurrency=self._concurrency)
            if self._capture is not None and server_of(session).version >= OLDEST_VERSION:
                found += self._check_log(session, self._capture, selection)
            return found

    def discover(self) -> Catalog:
        with self._planning.use() as session, catalog_names(session, self._config):
            ensure_schemas(session, self._config)
            relations = selected_relations(load_relations(session, self._config.schemas), self._config)
            if self._config.tables:
                self._ensure_rights(session, relations)
            if self._capture is not None:
                self._generated = self._published_generated(session, self._capture)
        streams = tuple(self._stream(r) for r in relations if r.readable)
        self._offered = {s.name: s.schema.names for s in streams}
        return Catalog(streams=streams)

    def snapshot(self, selected: SelectedStream) -> ReadPlan:
        with self._planning.use(stream=str(selected.name)) as session:
            relation, tree = self._look(session, selected.name)
            lsn = self._begin_of_log(session, selected, relation)
            if wants_shared_snapshot(session, self._config, relation, tree):
                return self._shared(selected, relation, tree, lsn)
            begin(session, self._config, repeatable=True)
            done = cut(session, self._config, relation, tree, self._concurrency)
            also, besides, end = self._end(session, selected, relation, tree, lsn, shared=False)
            more = self._log_bounds(session, selected, lsn, shared=False)
            session.execute("COMMIT")
        return ReadPlan(
            id=plan_id(),
            partitions=(*(_with(p, more) for p in done.partitions(tree, *also)), *besides),
            end=end,
            estimated_rows=tree.rows,
            estimated_bytes=tree.bytes or -1,
            note=done.note,
        )

    def read_since(self, selected: SelectedStream, position: Mapping[str, Any]) -> ReadPlan:
        with self._planning.use(stream=str(selected.name)) as session:
            relation, tree = self._look(session, selected.name)
            begin(session, self._config, repeatable=True)
            horizon = horizon_of(session)
            if self._xmin:
                planner = XminPlanner(relation, tree, selected, horizon)
                plan = self._changed(session, planner, relation, tree, position)
            else:
                plan = self._cursor(session, selected, relation, tree, horizon).since(position)
            session.execute("COMMIT")
        rows = sum(p.estimated_rows for p in plan.partitions)
        return ReadPlan(
            id=plan_id(),
            partitions=plan.partitions,
            end=plan.end,
            estimated_rows=rows if rows > 0 else -1,
            note=plan.note,
        )

    def read(self, selected: SelectedStream, partition: Partition) -> Iterator[Batch]:
        return read_partition(self._maker, selected, partition)

    def raw_format(self, selected: SelectedStream) -> RawFormat | None:
        fields = selected.stream.schema.fields
        if any(not _relayable(f.native or "") and f.logical != "enum" for f in fields):
            return None
        return RawFormat(name="postgres-copy-binary", columns=tuple((f.name, f.native or "") for f in fields))

    def read_raw(self, selected: SelectedStream, partition: Partition) -> RawPartition:
        return RawPartition(self._maker, selected, partition)

    def acknowledge(self, selected: SelectedStream, position: Mapping[str, Any]) -> None:
        self._release(selected.name)

    def change_log(self, selection: Sequence[SelectedStream]) -> PostgresChangeLog | None:
        if self._capture is None:
            return None
        # What reads without a log needs none of this.
        from syncline.connectors.postgres.changes.log import PostgresChangeLog
        from syncline.connectors.postgres.changes.station import Station

        return PostgresChangeLog(Station(self._maker, self._capture, self._context), selection, self._offered)

    def shared_log(self, destinations: Sequence[str], *, leave_behind: bool) -> SharedPostgresLog | None:
        if self._capture is None:
            return None
        from syncline.connectors.postgres.changes.log import SharedPostgresLog
        from syncline.connectors.postgres.changes.station import Station

        station = Station(self._maker, self._capture, self._context, members=destinations, leave_behind=leave_behind)
        return SharedPostgresLog(station, lambda: self._offered)

    def forget(self) -> list[str]:
        if self._capture is None:
            return []
        names = log_names(self._context.connection, self._capture)
        with self._planning.use() as session:
            return forget_connection(session, names, spool_folder(self._capture, self._context, names))

    def lag(self) -> LogStatus | None:
        if self._capture is None:
            return None
        names = log_names(self._context.connection, self._capture)
        with self._planning.use() as session:
            return log_lag(session, names, spool_folder(self._capture, self._context, names))

    def close(self) -> None:
        self._planning.close()
        for name in list(self._snapshots):
            self._release(name)

    # -- within ----------------------------------------------------------------------------------------------------

    def _check_log(
        self, session: Session, capture: ChangeCapture, selection: Sequence[SelectedStream]
    ) -> list[Finding]:
        from syncline.connectors.postgres.changes.check import check_log
        from syncline.connectors.postgres.changes.check_tables import check_logged_tables

        server, names = server_of(session), log_names(self._context.connection, capture)
        found = check_log(session, capture, names, server)
        if server.standby:
            return found
        if not selection:
            relations = selected_relations(load_relations(session, self._config.schemas), self._config)
            return [*found, *check_logged_tables(session, capture, names, server, [(r, None) for r in relations])]
        pairs = [(relation, s) for s in selection if (relation := describe(session, s.name)) is not None]
        return [*found, *check_logged_tables(session, capture, names, server, pairs)]

    def _ensure_rights(self, session: Session, relations: Sequence[Relation]) -> None:
        """What was named must be readable; what came by itself is left out when it is not, and check says so."""
        for relation in relations:
            if relation.columns and not relation.readable:
                raise SynclineError(
                    ErrorKind.PERMISSION,
                    f"no right to read {relation.kind} {relation.name}",
                    hint=missing_grants(relation, server_of(session).role),
                    where={"connector": "postgres", "stream": str(relation.name)},
                )

    def _stream(self, relation: Relation) -> Stream:
        rows = int(relation.estimated_rows) if relation.estimated_rows > 0 else -1
        if self._capture is not None:
            own_cursor = incremental = relation.logged
        else:
            own_cursor = self._xmin and relation.relkind in "rp"
            incremental = own_cursor or not self._xmin
        return Stream(
            name=relation.name,
            schema=self._schema(relation),
            primary_key=relation.readable_key,
            cursor_fields=(
                () if own_cursor or self._capture is not None else relation.cursor_candidates(self._config.cursor)
            ),
            source_defined_cursor=own_cursor,
            incremental=incremental,
            dialect="postgres",
            kind=relation.kind,
            estimated_rows=rows,
            estimated_bytes=relation.pages * 8192 if relation.pages > 0 else -1,
        )

    def _schema(self, relation: Relation) -> StreamSchema:
        """What is offered of a table whose log is read: all but the generated columns that the log does not hold."""
        if self._capture is None or not relation.logged:
            return relation.schema
        there = {c.name for c in relation.readable if not c.generated or c.generated in self._generated}
        return relation.schema.select(tuple(n for n in relation.schema.names if n in there))

    def _published_generated(self, session: Session, capture: ChangeCapture) -> str:
        """The kinds of generated columns whose values are logged: stored ones, from PG 18 on, if the publication says
        so (ours does)."""
        if session.info.server_version < 180000:
            return ""
        names = log_names(self._context.connection, capture)
        if names.own_publication:
            return "s"
        there = look_at_publication(session, names.publication)
        return "s" if there is not None and there.generated else ""

    def _look(self, session: Session, name: StreamName) -> tuple[Relation, Tree]:
        """The relation as it is now, with its size. Raises ``schema`` when it is gone."""
        with catalog_names(session, self._config):
            relation = describe(session, name)
            if relation is None:
                raise SynclineError(
                    ErrorKind.SCHEMA,
                    f"{name} does not exist",
                    hint="it was dropped or renamed: run discover, and take it out of the connection",
                    where={"connector": "postgres", "stream": str(name)},
                )
            return relation, tree_of(session, relation, server_of(session))

    def _begin_of_log(self, session: Session, selected: SelectedStream, relation: Relation) -> int | None:
        """From where the log continues the copy that is now planned; None when no log does."""
        if self._capture is None or not selected.sync_mode.incremental:
            return None
        return begin_of_log(session, relation.oid, relation.name, timeout=self._capture.slot_timeout)

    def _log_bounds(
        self, session: Session, selected: SelectedStream, lsn: int | None, *, shared: bool
    ) -> dict[str, Any]:
        """What partitions of a copy need to know besides, when a log continues it. What the plan's snapshot shows is
        then safe at the source."""
        if lsn is None:
            return {}
        wait_until_flushed(session)
        by_writer = selected.sync_mode is SyncMode.INCREMENTAL_APPEND and not shared
        return {"logged": True, **({"files": files_of(session, selected.name)} if by_writer else {})}

    def _shared(self, selected: SelectedStream, relation: Relation, tree: Tree, lsn: int | None) -> ReadPlan:
        """Page ranges under one exported snapshot, whose session stays open until the stream is done."""
        self._release(relation.name)
        session = self._maker.connect()
        try:
            until = time.time() + self._config.max_transaction_age
            begin(session, self._config, repeatable=True)
            # Before the snapshot is taken: from here on nobody truncates or rewrites the table, which an old snapshot
            # would see as empty.
            session.execute(compose.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(relation_name(relation)))
            row = session.execute("SELECT pg_export_snapshot()").fetchone()
            assert row is not None
            also, besides, end = self._end(session, selected, relation, tree, lsn, shared=True)
            more = self._log_bounds(session, selected, lsn, shared=True)
        except BaseException as error:
            session.close()
            if isinstance(error, psycopg.Error):
                raise postgres_error(error, stream=str(selected.name)) from error
            raise
        self._snapshots[relation.name] = session
        done = page_cut(self._config, tree)
        return ReadPlan(
            id=plan_id(),
            partitions=(
                *(_with(p, more) for p in done.partitions(tree, *also, snapshot=row[0], until=until)),
                *besides,
            ),
            end=end,
            resumable=False,
            estimated_rows=tree.rows,
            estimated_bytes=tree.bytes or -1,
            note=done.note,
        )

    def _end(
        self,
        session: Session,
        selected: SelectedStream,
        relation: Relation,
        tree: Tree,
        lsn: int | None,
        *,
        shared: bool,
    ) -> tuple[list[Condition], list[Partition], dict[str, Any]]:
        """Of a whole copy: what holds for every partition, partitions besides, and the position afterwards."""
        if not selected.sync_mode.incremental:
            return [], [], {}
        if lsn is not None:
            snapshot = snapshot_of(session)
            by_writer = selected.sync_mode is SyncMode.INCREMENTAL_APPEND and not shared
            conditions = [shown_rows(session, relation, snapshot)] if by_writer else []
            return conditions, [], LogPosition(lsn=lsn, snapshot=snapshot).to_json()
        horizon = horizon_of(session)
        if self._xmin:
            also, end = XminPlanner(relation, tree, selected, horizon).snapshot()
            return also, [], end
        return self._cursor(session, selected, relation, tree, horizon).snapshot(shared=shared)

    def _changed(
        self, session: Session, planner: XminPlanner, relation: Relation, tree: Tree, position: Mapping[str, Any]
    ) -> Increment:
        """The increment of an Xmin stream: the whole table is looked at, in the partitions of a snapshot."""
        conditions, end, note = planner.since(position)
        if conditions is None:
            return Increment(partitions=(), end=end)
        done = cut(session, self._config, relation, tree, self._concurrency)
        if len(done.ranges) == 1 and not planner.anything(session, conditions):
            return Increment(partitions=(), end=end)
        partitions = tuple(Partition(id=p.id, bounds=p.bounds) for p in done.partitions(tree, *conditions))
        return Increment(partitions=partitions, end=end, note=note or done.note)

    def _cursor(
        self, session: Session, selected: SelectedStream, relation: Relation, tree: Tree, horizon: Horizon
    ) -> CursorPlanner:
        return CursorPlanner(session, self._config, relation, tree, selected, horizon, self._concurrency)

    def _release(self, name: StreamName) -> None:
        if session := self._snapshots.pop(name, None):
            session.close()


def _with(partition: Partition, bounds: Mapping[str, Any]) -> Partition:
    return replace(partition, bounds={**partition.bounds, **bounds}) if bounds else partition


def _relayable(native: str) -> bool:
    """Whether the type's binary form means the same on another server: built-in types only. Those of users and
    extensions (printed with their schema) have numbers of their own inside."""
    return "." not in native and native.removesuffix("[]") not in ("aclitem", "pg_node_tree", "gtsvector")
