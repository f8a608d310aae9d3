"""The source: plans in short sessions, reads each partition in one of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

from syncline.connectors.mysql.catalog import Table, load_tables, offered
from syncline.connectors.mysql.changes.position import log_end, snapshot_with_position
from syncline.connectors.mysql.check import check_database
from syncline.connectors.mysql.config import MySqlSourceConfig
from syncline.connectors.mysql.connection import Session, open_session
from syncline.connectors.mysql.cursor import CursorPlanner
from syncline.connectors.mysql.held import held, hold, release
from syncline.connectors.mysql.partition import read_rows, select
from syncline.connectors.mysql.planning import partitions, plan_id
from syncline.core.batch import Batch
from syncline.core.change import LogPosition
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.partition import Partition, ReadPlan
from syncline.core.stream import Catalog, SelectedStream, Stream, StreamName
from syncline.sdk.connector import ConnectorContext
from syncline.sdk.findings import Finding

if TYPE_CHECKING:
    from syncline.connectors.mysql.changes.log import MySqlChangeLog
    from syncline.sdk.change_log import LogStatus

__all__ = ["MySqlSource"]


class MySqlSource:
    """One database."""

    def __init__(self, config: MySqlSourceConfig, context: ConnectorContext) -> None:
        self._config, self._context = config, context
        self._held: dict[StreamName, str] = {}
        self._offered: dict[StreamName, tuple[str, ...]] = {}

    def check(self, selection: Sequence[SelectedStream] = ()) -> list[Finding]:
        with closing(open_session(self._config)) as session:
            return check_database(session, self._config, selection)

    def discover(self) -> Catalog:
        with closing(open_session(self._config)) as session:
            tables = offered(load_tables(session, self._config.database), self._config.tables)
        streams = tuple(self._stream(table) for table in tables)
        self._offered = {s.name: s.schema.names for s in streams}
        return Catalog(streams=streams)

    def snapshot(self, selected: SelectedStream) -> ReadPlan:
        with closing(open_session(self._config)) as session:
            if self._config.log is not None and selected.sync_mode.incremental:
                if not selected.sync_mode.deduped:
                    return self._at_one_moment(selected)
                # The position comes first: what is changed from here on is in the log, whatever the ranges show.
                end = LogPosition(lsn=log_end(session).lsn).to_json()
                self._ensure_unchanged(session, selected)
                where = None
            elif selected.sync_mode.incremental:
                session.do("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
                planner = CursorPlanner(session, selected)
                end, where = planner.end()
                cursor = f"`{str(selected.cursor_field).replace('`', '``')}` IS NULL"
                where = cursor if where is None else f"{cursor} OR {where}"
            else:
                end, where = {}, None
            return ReadPlan(
                id=plan_id(),
                partitions=self._cut(session, selected, where),
                end=end,
                estimated_rows=selected.stream.estimated_rows,
                estimated_bytes=selected.stream.estimated_bytes,
            )

    def read_since(self, selected: SelectedStream, position: Mapping[str, Any]) -> ReadPlan:
        with closing(open_session(self._config)) as session:
            session.do("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
            planner = CursorPlanner(session, selected)
            end, until = planner.end()
            if until is None:
                return ReadPlan(id=plan_id(), partitions=(), end=position)
            where = f"({planner.after(position)}) AND ({until})"
            some = session.rows(f"{select(selected, Partition(id='', bounds={'where': where}))} LIMIT 1")
            bounds = {"low": None, "high": None, "where": where}
            parts = (Partition(id="since", bounds=bounds),) if some else ()
            return ReadPlan(id=plan_id(), partitions=parts, end=end)

    def read(self, selected: SelectedStream, partition: Partition) -> Iterator[Batch]:
        name, schema = str(selected.name), selected.stream.schema
        statement = select(selected, partition)
        if (token := partition.bounds.get("held")) is not None:
            session, lock = held(token)
            with lock:
                yield from read_rows(session, statement, schema, stream=name)
            return
        with closing(open_session(self._config)) as session:
            yield from read_rows(session, statement, schema, stream=name)

    def acknowledge(self, selected: SelectedStream, position: Mapping[str, Any]) -> None:
        self._release(selected.name)

    def change_log(self, selection: Sequence[SelectedStream]) -> MySqlChangeLog | None:
        if self._config.log is None:
            return None
        from syncline.connectors.mysql.changes.log import MySqlChangeLog  # what reads without a log needs it not

        return MySqlChangeLog(self._config, self._config.log, selection, self._offered)

    def lag(self) -> LogStatus | None:
        if self._config.log is None:
            return None
        from syncline.connectors.mysql.changes.log import log_status

        with closing(open_session(self._config)) as session:
            return log_status(log_end(session).lsn, received=0, confirmed=0)

    def close(self) -> None:
        for name in list(self._held):
            self._release(name)

    # -- within ----------------------------------------------------------------------------------------------------

    def _stream(self, table: Table) -> Stream:
        logged = self._config.log is not None and table.kind == "table"
        cursors = () if self._config.log is not None else table.cursor_candidates(self._config.cursor)
        return Stream(
            name=table.name,
            schema=table.schema,
            primary_key=table.primary_key,
            cursor_fields=cursors,
            source_defined_cursor=logged,
            incremental=logged or bool(cursors),
            dialect="mysql",
            kind=table.kind,
            estimated_rows=table.estimated_rows,
            estimated_bytes=table.estimated_bytes,
        )

    def _cut(self, session: Session, selected: SelectedStream, where: str | None) -> tuple[Partition, ...]:
        more = {} if where is None else {"where": where}
        return partitions(session, selected, rows=self._config.rows_per_partition, more=more)

    def _at_one_moment(self, selected: SelectedStream) -> ReadPlan:
        """A change log is exact only when the copy shows precisely what lies before a place in the log. Ranges that are
        read at different times cannot; so the whole table is read at one moment, and starts over when that fails."""
        self._release(selected.name)
        session = open_session(self._config)
        try:
            lsn = snapshot_with_position(session)
            self._ensure_unchanged(session, selected)
            more = {"held": hold(session)}
        except BaseException:
            session.close()
            raise
        self._held[selected.name] = more["held"]
        return ReadPlan(
            id=plan_id(),
            partitions=(Partition(id="whole", bounds={"low": None, "high": None, **more}),),
            end=LogPosition(lsn=lsn).to_json(),
            resumable=False,
            estimated_rows=selected.stream.estimated_rows,
            estimated_bytes=selected.stream.estimated_bytes,
            note="one session reads the whole table: a change log must begin at one moment",
        )

    def _ensure_unchanged(self, session: Session, selected: SelectedStream) -> None:
        """The log is understood from here on by the columns that discover has seen."""
        found = load_tables(session, self._config.database, [selected.name.name])
        now = {c.name: c.field for c in found[0].columns} if found else {}
        if any(now.get(f.name) != f for f in selected.stream.schema.fields):
            raise SynclineError(
                ErrorKind.TRANSIENT,
                f"{selected.name} was altered since it was looked at",
                hint="it is looked at again with the next attempt",
                where={"connector": "mysql", "stream": str(selected.name)},
            )

    def _release(self, name: StreamName) -> None:
        if token := self._held.pop(name, None):
            release(token)
