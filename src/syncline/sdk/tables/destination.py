"""The destination of a table format: conducts stages, merging and the ledger of each stream's table.

See :mod:`syncline.sdk.destination` for the protocol. What a commit shows, it shows at once, because it is one commit of
the format's own log; a whole copy is a hidden set of files until its last commit puts it in the place of the former.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import pyarrow as pa

from syncline.core.checkpoint import LedgerEntry, Staged, StreamCheckpoint, StreamTarget
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.stream import StreamName, SyncMode, WriteMode
from syncline.sdk.change_log import ChangeSession
from syncline.sdk.connector import ConnectorContext
from syncline.sdk.destination import DestinationTraits
from syncline.sdk.files.staged_view import StagedFilesView, ViewFile, ViewTable, staged_files_view
from syncline.sdk.files.store import ObjectStore, StagedObject
from syncline.sdk.findings import Finding
from syncline.sdk.quarantine import QuarantineEntry
from syncline.sdk.tables.check import check_tables
from syncline.sdk.tables.columns import plan_columns, recast, target_schema
from syncline.sdk.tables.config import TablesConfig
from syncline.sdk.tables.files_out import FilesOut, NewFile, complete_all
from syncline.sdk.tables.maintenance import maintain
from syncline.sdk.tables.merging import losers, merge_files, only_newest
from syncline.sdk.tables.overlay import Overlay
from syncline.sdk.tables.quarantine import as_entry, quarantined
from syncline.sdk.tables.reading import FileReader
from syncline.sdk.tables.session import TableChangeSession
from syncline.sdk.tables.stream_table import Draft, StreamTable
from syncline.sdk.tables.table import Table, TableState
from syncline.sdk.tables.writer import TableWriter

__all__ = ["TableDestination", "Tables"]


class Tables:
    """The streams' tables of one destination, as this process knows them."""

    def __init__(
        self, config: TablesConfig, store: ObjectStore, open_table: Callable[[str, StreamName], Table]
    ) -> None:
        self.config, self.store = config, store
        self._open = open_table
        self._known: dict[tuple[str, StreamName], StreamTable] = {}
        self._folders: dict[str, StreamName] = {}

    def of(self, connection: str, stream: StreamName) -> StreamTable:
        found = self._known.get((connection, stream))
        if found is None:
            table = self._open(connection, stream)
            found = self._known[connection, stream] = StreamTable(self.store, table, connection, stream)
        return found

    def ensure_own_folder(self, stream: StreamName) -> None:
        """Raise ``config`` when another stream of this run would have the same table."""
        folder = self.config.table_folder(stream)
        other = self._folders.setdefault(folder.casefold(), stream)
        if other != stream:
            raise SynclineError(
                ErrorKind.CONFIG,
                f"the streams {other} and {stream} would share the table {folder.rstrip('/')}",
                hint="set namespace: source, so that the namespace is part of the table's place",
                where={"stream": str(stream)},
            )

    def reader(self, table: Table, schema: pa.Schema) -> FileReader:
        return FileReader(store=self.store, schema=schema, names=getattr(table, "file_names", None))

    def overlay(
        self, stream: StreamTable, state: TableState, token: int, key: Sequence[str], schema: pa.Schema | None = None
    ) -> Overlay:
        """Changes to be made to the table as it is at ``state``."""
        schema = schema if schema is not None else state.schema

        def intend(keys: Sequence[str]) -> None:
            stream.intend(token, keys)

        return Overlay(
            self.store,
            stream.naming(token),
            state.files,
            schema=schema,
            file_schema=stream.table.file_schema(state, schema),
            key=key,
            sizes=self.config.sizes,
            reader=lambda current: self.reader(stream.table, current),
            intend=intend,
        )


class TableDestination:
    """What Delta Lake and Iceberg share; they bring ``_open_table``."""

    def __init__(self, config: TablesConfig, context: ConnectorContext) -> None:
        self._config, self._context = config, context
        self._store = config.open_store()
        self._tables = Tables(config, self._store, self._open_table)

    def _open_table(self, connection: str, stream: StreamName) -> Table:
        raise NotImplementedError

    @property
    def traits(self) -> DestinationTraits:
        return DestinationTraits(
            modes=frozenset(SyncMode),
            refusals={},
            remote_stage=self._config.remote,
            linger_seconds=10.0 if self._config.remote else 2.0,
        )

    def check(self, targets: Sequence[StreamTarget] = ()) -> list[Finding]:
        return check_tables(self._store, self._config, targets, self._tables.of)

    def committed(self, connection: str, stream: StreamName) -> LedgerEntry | None:
        return self._tables.of(connection, stream).entry()

    def fence(self, connection: str, stream: StreamName) -> LedgerEntry:
        return self._tables.of(connection, stream).fence()

    def prepare(self, target: StreamTarget, checkpoint: StreamCheckpoint, token: int) -> list[Staged]:
        stream = self._tables.of(target.connection, target.stream)
        self._tables.ensure_own_folder(target.stream)
        wanted = target_schema(stream.table, target)
        stream.sweep(token)
        if target.write is WriteMode.REPLACE:
            return []

        def make(state: TableState) -> Draft | None:
            plan = plan_columns(state.schema, wanted, target, stream.table.place)
            if plan.nothing:
                return None
            if not plan.widened:
                return Draft(schema=plan.schema, note={"columns": list(plan.added)})
            overlay = self._tables.overlay(stream, state, token, ())
            overlay.reshape(
                plan.schema,
                stream.table.file_schema(state, plan.schema),
                lambda rows: recast(rows, plan.schema, fills={}, former={}),
            )
            done = overlay.finish()
            return Draft(
                schema=plan.schema,
                added=done.added,
                removed=done.removed,
                early=frozenset(done.early),
                rearranged=True,
                note={"columns": [*plan.added, *plan.widened]},
            )

        stream.alter(token, make)
        return []

    def writer(self, target: StreamTarget, partition: str, token: int) -> TableWriter:
        # A StreamTable is its coordinator's; a writer may be in another thread or process and has one of its own.
        table = self._open_table(target.connection, target.stream)
        stream = StreamTable(self._store, table, target.connection, target.stream)
        schema = target_schema(table, target)
        state = None
        if target.write is not WriteMode.REPLACE:
            state = stream.state()
            schema = pa.schema([state.schema.field(f.name) for f in schema])
        merge = target.write is WriteMode.MERGE
        return TableWriter(
            self._store,
            stream.naming(token, scratch=merge),
            target,
            partition,
            folder=stream.folder,
            schema=schema,
            file_schema=schema if merge else table.file_schema(state, schema),
            sizes=self._config.sizes,
            key=target.primary_key,
        )

    def commit(
        self,
        target: StreamTarget,
        staged: Sequence[Staged],
        checkpoint: StreamCheckpoint,
        token: int,
        *,
        publish: bool = False,
    ) -> None:
        stream = self._tables.of(target.connection, target.stream)
        files = [NewFile.from_json(f) for s in staged for f in s.payload["files"]]
        aside = [StagedObject.from_json(s.payload["quarantine"]) for s in staged if s.payload["quarantine"]]
        columns = target_schema(stream.table, target)

        def make(state: TableState | None) -> Draft:
            if target.write is WriteMode.REPLACE:
                if not publish:
                    return Draft(added=files, hide=True, quarantine=aside)
                return self._published(stream, state, target, files, columns, token, aside)
            if target.write is WriteMode.MERGE and files:
                assert state is not None
                return self._merged(stream, state, target, files, token, aside)
            return Draft(added=files, quarantine=aside)

        stream.commit(checkpoint, token, make, columns=columns)
        stream.forget_intents(token)
        if publish:
            if target.write is WriteMode.REPLACE:
                self._forget_quarantine(stream, target.generation)
            maintain(self._tables, stream, token, self._config.maintenance)

    def change_session(self, connection: str) -> TableChangeSession:
        """A session that applies changes of a log, one commit per table and flush."""
        return TableChangeSession(self._tables, connection)

    def unreadable_stage(self, options: Mapping[str, Any]) -> str:
        return ""

    @contextmanager
    def staged_view(self, target: StreamTarget, held: Sequence[Staged], token: int) -> Iterator[StagedFilesView]:
        """See :class:`syncline.sdk.destination.ReadsStage`. Files may lie under their keys before a commit names them:
        no reader of the table looks for them until then."""
        stream = self._tables.of(target.connection, target.stream)
        if target.write is WriteMode.REPLACE:
            keys = [f.key for f in stream.hidden(stream.state())]
        else:
            files = [NewFile.from_json(f) for s in held for f in s.payload["files"]]
            keys = [f.file.key for f in files]
            if files:
                stream.intend(token, keys)
                complete_all(self._store, [f.staged for f in files])
        staged = self._view_table(keys, target_schema(stream.table, target))

        def visible(namespace: str | None, name: str) -> ViewTable | None:
            known = (target.stream.namespace, None) if namespace is None else (namespace,)
            return self._visible(target.connection, [StreamName(name=name, namespace=each) for each in known])

        place = self._store.url_of(keys[0]).rpartition("/")[0] if keys else f"no file of {stream.table.place}"
        with staged_files_view(staged, place, visible, self._context.work_dir, stream=str(target.stream)) as view:
            yield view

    @contextmanager
    def flushed_view(self, session: ChangeSession, target: StreamTarget) -> Iterator[StagedFilesView]:
        """See :class:`syncline.sdk.change_log.ReadsFlush`. Files of the flush are put under their keys, where no reader
        of the table looks for them before its commit names them."""
        assert isinstance(session, TableChangeSession)

        def flushed(names: Sequence[StreamName]) -> ViewTable | None:
            for name in names:
                if (found := session.flushed(name)) is not None:
                    return self._view_table(*found)
            return self._visible(target.connection, names)

        def visible(namespace: str | None, name: str) -> ViewTable | None:
            known = (target.stream.namespace, None) if namespace is None else (namespace,)
            return flushed([StreamName(name=name, namespace=each) for each in known])

        table = flushed([target.stream])
        assert table is not None
        place = self._tables.of(target.connection, target.stream).table.place
        with staged_files_view(table, place, visible, self._context.work_dir, stream=str(target.stream)) as view:
            yield view

    def _visible(self, connection: str, names: Sequence[StreamName]) -> ViewTable | None:
        """The first of these streams that has a table."""
        for name in names:
            state = self._open_table(connection, name).load()
            if state is not None and state.pointer is not None:
                return self._view_table([f.key for f in state.files], state.schema)
        return None

    def _view_table(self, keys: Sequence[str], schema: pa.Schema) -> ViewTable:
        return ViewTable(files=[ViewFile(open=partial(self._store.open_input, key)) for key in keys], schema=schema)

    def quarantine(self, connection: str, stream: StreamName) -> Iterator[QuarantineEntry]:
        """See :class:`syncline.sdk.quarantine.KeepsQuarantine`."""
        for _, records in quarantined(self._store, self._tables.of(connection, stream).folder):
            yield from (as_entry(record) for record in records)

    def forget_quarantined(self, connection: str, stream: StreamName, ids: Sequence[str]) -> int:
        wanted, gone = set(ids), 0
        for key, records in quarantined(self._store, self._tables.of(connection, stream).folder):
            kept = [r for r in records if r.get("id") not in wanted]
            if len(kept) == len(records):
                continue
            gone += len(records) - len(kept)
            if kept:
                self._store.put(key, b"".join(_line(r) for r in kept))
            else:
                self._store.delete([key])
        return gone

    def close(self) -> None:
        self._store.close()

    # -- what a commit makes -------------------------------------------------------------------------------------------

    def _published(
        self,
        stream: StreamTable,
        state: TableState | None,
        target: StreamTarget,
        files: Sequence[NewFile],
        columns: pa.Schema,
        token: int,
        aside: Sequence[StagedObject],
    ) -> Draft:
        """The hidden generation in the place of all files; one row per key first, when the target says so."""
        if state is None:
            return Draft(added=files, publish=True, quarantine=aside)
        hidden = stream.hidden(state)
        whole = Draft(
            added=files,
            present=hidden,
            removed=state.files,
            schema=columns,
            publish=True,
            quarantine=aside,
        )
        if not target.dedupe:
            return whole
        if files:
            stream.intend(token, [f.file.key for f in files])
            complete_all(self._store, [f.staged for f in files])
        reader = self._tables.reader(stream.table, columns)
        everything = [*hidden, *(f.file for f in files)]
        gone = losers(reader, everything, target)
        if not gone:
            return replace(whole, early=frozenset(f.file.key for f in files))
        out = FilesOut(self._store, stream.naming(token), stream.table.file_schema(state, columns), self._config.sizes)
        try:
            for file in everything:
                if file.key in gone:
                    for table in only_newest(reader, file, gone[file.key]):
                        out.write(table)
            made = out.finish()
        except BaseException:
            out.abort()
            raise
        return replace(
            whole,
            added=[*(f for f in files if f.file.key not in gone), *made],
            early=frozenset(f.file.key for f in files),
            present=[f for f in hidden if f.key not in gone],
            scrap=sorted(gone),
        )

    def _merged(
        self,
        stream: StreamTable,
        state: TableState,
        target: StreamTarget,
        files: Sequence[NewFile],
        token: int,
        aside: Sequence[StagedObject],
    ) -> Draft:
        complete_all(self._store, [f.staged for f in files])  # scratch: never part of the table
        overlay = self._tables.overlay(stream, state, token, target.primary_key)
        before = stream.entry()
        alone = before is None or not before.checkpoint.done
        try:
            reader = self._tables.reader(stream.table, state.schema)
            merge_files(overlay, reader, [f.file for f in files], target, alone=alone)
            done = overlay.finish()
        except BaseException:
            overlay.abort()
            raise
        return Draft(
            added=done.added,
            early=frozenset(done.early),
            removed=done.removed,
            quarantine=aside,
            scrap=[*(f.file.key for f in files), *done.spoiled],
            note={"merged_rows": sum(f.file.rows for f in files)},
        )

    def _forget_quarantine(self, stream: StreamTable, generation: int) -> None:
        """Rows set aside of every other generation go: the rows beside them are gone."""
        folder = f"{stream.folder}quarantine/"
        mine = f"{folder}{generation}-"
        self._store.delete([i.key for i in self._store.list(folder) if not i.key.startswith(mine)])


def _line(record: Mapping[str, object]) -> bytes:
    return json.dumps(record, ensure_ascii=False).encode() + b"\n"
