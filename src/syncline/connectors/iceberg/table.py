"""One Iceberg table: see :class:`syncline.sdk.tables.table.Table`.

The ledger's pointer stands in the summary of every snapshot of ours (``syncline.token``, ``syncline.sequence``), so
that data and progress are one commit, and in the table's properties, where it stays when others expire our snapshots or
roll the table back: a pointer that the properties hold on to and the history lacks says that rows are missing. Every
change of the pointer is a snapshot, also one without files: the catalog refuses a commit whose parent is not the newest
snapshot, and so an overtaken attempt cannot commit.

Files are laid down by us and named in manifests by pyiceberg. They have no field ids: the table's name mapping gives
them.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import time
from collections.abc import Callable, Iterator, Sequence

import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import (
    CommitFailedException,
    NamespaceAlreadyExistsError,
    NoSuchNamespaceError,
    NoSuchTableError,
    TableAlreadyExistsError,
)
from pyiceberg.manifest import DataFile, DataFileContent, ManifestContent, ManifestFile
from pyiceberg.table import Table as Their
from pyiceberg.table.snapshots import Snapshot

from syncline.connectors.iceberg.bounds import read_bound
from syncline.connectors.iceberg.commit import HELD, SEQUENCE, TOKEN, Commit
from syncline.connectors.iceberg.config import IcebergDestinationConfig
from syncline.connectors.iceberg.errors import told
from syncline.connectors.iceberg.types import arrow_schema, iceberg_fields, storage_type
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.stream import StreamName
from syncline.sdk.files.store import ObjectStore
from syncline.sdk.tables.table import Bounds, Lost, Pointer, TableChange, TableFile, TableMoved, TableState

__all__ = ["IcebergTable"]

_log = logging.getLogger("syncline.iceberg")

_OWNER = "syncline.owner"
_PROPERTIES = {
    "format-version": "2",
    "write.parquet.compression-codec": "snappy",
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "20",
    "commit.manifest-merge.enabled": "true",
}


class IcebergTable:
    """The table of one stream. ``owner`` stands for connection and stream."""

    def __init__(
        self,
        store: ObjectStore,
        config: IcebergDestinationConfig,
        stream: StreamName,
        owner: str,
        catalog: Callable[[], Catalog],
    ) -> None:
        self._identifier = config.identifier(stream)
        self.place = ".".join(self._identifier)
        self._folder = config.table_folder(stream)
        self.data_prefix = f"{self._folder}data/"
        self._root = config.root_url()
        self._owner, self._config, self._open = owner, config, catalog
        self._store = store
        self._known: tuple[str, TableState] | None = None
        self._lists: dict[str, tuple[ManifestFile, ...]] = {}
        self._entries_of: dict[str, tuple[DataFile, ...]] = {}

    def load(self) -> TableState | None:
        table = self._load()
        if table is None:
            return None
        if table.current_snapshot() is None and table.properties.get(_OWNER) == self._owner:
            return None  # made, and died before its first commit
        return self._state(table)

    def storage_type(self, kind: pa.DataType) -> pa.DataType:
        return storage_type(kind)

    def file_schema(self, state: TableState | None, schema: pa.Schema) -> pa.Schema:
        return schema

    def refusal(self, name: str) -> str | None:
        return "has an empty name" if not name else None

    def create(self, schema: pa.Schema, change: TableChange) -> TableState:
        catalog = self._open()
        made = iceberg_fields(schema, itertools.count(1).__next__)
        try:
            with self._told():
                with contextlib.suppress(NamespaceAlreadyExistsError):
                    catalog.create_namespace(self._identifier[0])
                table = catalog.create_table(
                    self._identifier,
                    schema=made,
                    location=(self._root + self._folder).rstrip("/"),
                    properties={
                        **_PROPERTIES,
                        "write.metadata.path": f"{self._root}{self._folder}metadata",
                        _OWNER: self._owner,
                    },
                )
        except TableAlreadyExistsError:
            found = self._load()
            if found is None or found.current_snapshot() is not None or found.properties.get(_OWNER) != self._owner:
                raise TableMoved(f"{self.place} was made by somebody else") from None
            table = found
        state = TableState(version=0, schema=arrow_schema(table.schema()), files=(), pointer=None, handle=table)
        # What a dead attempt made may have other columns.
        return self.commit(state, _with_schema(change, schema))

    def commit(self, state: TableState, change: TableChange) -> TableState:
        table: Their = state.handle
        commit = Commit(table, self._root)
        try:
            with self._told():
                other = change.schema is not None and change.schema != state.schema
                kept = state.lost is not None and not change.accepts_loss
                held = table.properties[HELD] if kept else change.pointer.name
                commit.change(change, change.schema if other else None, held)
                after = commit.put()
        except CommitFailedException as error:
            return self._if_ours(commit.snapshot, error)
        except SynclineError as error:
            if error.kind not in (ErrorKind.TRANSIENT, ErrorKind.UNREACHABLE):
                raise
            try:
                return self._if_ours(commit.snapshot, error)  # the answer may have been lost
            except TableMoved:
                raise error from None
        self._clear_metadata(table, after)
        if not other:
            self._known = (after.metadata_location, self._read(after, self._followed(state, change, commit, after)))
        return self._state(after)

    def retired(self, state: TableState) -> frozenset[str]:
        table: Their = state.handle
        manifests = self._manifests_of(table, table.snapshots()).values()
        paths = {file.file_path for manifest in manifests for file in self._entries(table, manifest)}
        return frozenset(key for path in paths if (key := self._key(path)) is not None)

    def expire(self, state: TableState, *, older_than_seconds: float) -> TableState:
        table: Their = state.handle
        now = table.current_snapshot()
        if now is None:
            return state
        limit = int((time.time() - older_than_seconds) * 1000)
        newest = sorted(table.snapshots(), key=lambda s: s.timestamp_ms, reverse=True)
        most = self._config.maintenance.keep_versions
        named = {ref.snapshot_id for ref in table.metadata.refs.values()}
        old = [
            s
            for place, s in enumerate(newest)
            if s.snapshot_id not in named and (s.timestamp_ms < limit or place >= most)
        ]
        if not old:
            return state
        gone = {s.snapshot_id for s in old}
        manifests = self._manifests_of(table, [s for s in newest if s.snapshot_id not in gone])
        old_manifests = self._manifests_of(table, old)
        spare = {path: m for path, m in old_manifests.items() if path not in manifests}
        keys = {f.file_path for m in spare.values() for f in self._entries(table, m)}
        if keys:
            keys -= {f.file_path for m in manifests.values() for f in self._entries(table, m)}
        commit = Commit(table, self._root)
        try:
            with self._told():
                commit.forget(sorted(gone))
                after = commit.put()
        except CommitFailedException:
            return state  # somebody else is at it: the next time
        self._clear_metadata(table, after)
        paths = [*sorted(keys), *sorted(spare), *(s.manifest_list for s in old)]
        for path in paths:
            self._entries_of.pop(path, None)
            self._lists.pop(path, None)
        self._store.delete([key for path in paths if (key := self._key(path)) is not None])
        # The newest snapshot stays as it is.
        self._known = (after.metadata_location, self._read(after, state.files))
        return self._known[1]

    # -- within --------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Within, pyiceberg's errors become ours."""
        try:
            with told(self.place):
                yield
        except SynclineError as error:
            if error.kind is ErrorKind.PERMISSION:
                # Its client asks by HEAD, whose refusal does not say why. Ours says: a key that is not valid any more,
                # or which right is missing.
                self._store.get(f"{self._folder}metadata/none")
            raise

    def _load(self) -> Their | None:
        catalog = self._open()
        with self._told():
            try:
                return catalog.load_table(self._identifier)
            except (NoSuchTableError, NoSuchNamespaceError):
                return None

    def _state(self, table: Their) -> TableState:
        """What the table's metadata says; worked out once for each version of it."""
        if self._known is None or self._known[0] != table.metadata_location:
            self._known = (table.metadata_location, self._read(table))
        return self._known[1]

    def _followed(
        self, state: TableState, change: TableChange, commit: Commit, after: Their
    ) -> tuple[TableFile, ...] | None:
        """The files after our own commit of no new columns, without reading its manifests again; None when the newest
        snapshot is not that one."""
        now = after.current_snapshot()
        if now is None or now.snapshot_id != commit.snapshot:
            return None
        removed = {file.key for file in change.removed}
        kept = (file for file in state.files if file.key not in removed)
        return (*kept, *(self._as_file(file, after) for file in commit.added))

    def _read(self, table: Their, files: tuple[TableFile, ...] | None = None) -> TableState:
        """``files``: those of the newest snapshot, where they are known."""
        snapshot = table.current_snapshot()
        pointer = self._pointer(table)
        foreign = ""
        if (
            snapshot is not None
            and snapshot.summary is not None
            and TOKEN not in snapshot.summary.additional_properties
        ):
            engine = snapshot.summary.additional_properties.get("engine-name", "somebody else")
            foreign = f"{engine} ({snapshot.summary.operation.value})"
        if pointer is None:
            return TableState(version=0, schema=pa.schema([]), files=(), pointer=None, foreign=foreign, handle=table)
        self._ensure_known(table)
        if files is None:
            files = () if snapshot is None else tuple(self._as_file(f, table) for f in self._files_of(table, snapshot))
        return TableState(
            version=0 if snapshot is None else snapshot.snapshot_id,
            schema=arrow_schema(table.schema()),
            files=files,
            pointer=pointer,
            foreign=foreign,
            lost=self._lost(table),
            handle=table,
        )

    def _pointer(self, table: Their) -> Pointer | None:
        """None in a table that is not of this stream."""
        said = table.properties
        if said.get(_OWNER) != self._owner or TOKEN not in said or SEQUENCE not in said:
            return None
        return Pointer(token=int(said[TOKEN]), sequence=int(said[SEQUENCE]))

    def _lost(self, table: Their) -> Lost | None:
        """Whether somebody rolled the table back to before the snapshot that it must have in its history. Where the
        history has no snapshot of ours at all, others have expired them, which takes no rows away."""
        held = table.properties.get(HELD)
        snapshot, newest = table.current_snapshot(), None
        while snapshot is not None and held is not None:
            if (name := _name(snapshot)) is not None:
                if name == held:
                    return None
                newest = newest or snapshot
            parent = snapshot.parent_snapshot_id
            snapshot = None if parent is None else table.snapshot_by_id(parent)
        if newest is None:
            return None
        missing = [s for s in table.snapshots() if _name(s) == held]
        undone = "make the newest snapshot of ours the table's current one again"
        if missing:
            undone += f" (CALL system.set_current_snapshot('{self.place}', {missing[-1].snapshot_id}))"
        what = f"somebody rolled the table {self.place} back to a snapshot from before our last commit"
        return Lost(what=what, undone=undone)

    def _ensure_known(self, table: Their) -> None:
        strange = []
        if table.metadata.format_version > 2:
            strange.append(f"format version {table.metadata.format_version}")
        if not table.spec().is_unpartitioned():
            strange.append("a partitioning")
        if strange:
            raise SynclineError(
                ErrorKind.CONFIG,
                f"the Iceberg table {self.place} has {' and '.join(strange)}, which is not written here",
                hint="take that back (somebody else did it), or write the stream to a table of its own: nothing was "
                "changed",
                where={"table": self.place},
            )

    def _clear_metadata(self, before: Their, after: Their) -> None:
        """Delete the versions of the metadata that the table's log no longer lists; a server of the REST protocol does
        so itself. Each names every snapshot: without this a followed log fills the folder with them."""
        if self._config.catalog.type == "rest":
            return
        listed = {entry.metadata_file for entry in after.metadata.metadata_log}
        gone = [e.metadata_file for e in before.metadata.metadata_log if e.metadata_file not in listed]
        try:
            self._store.delete([key for path in gone if (key := self._key(path)) is not None])
        except SynclineError as error:
            _log.warning("%s: old metadata could not be deleted: %s", self.place, error)

    def _list(self, table: Their, snapshot: Snapshot) -> tuple[ManifestFile, ...]:
        """The manifests of a snapshot; a list never changes, so each is read once."""
        known = self._lists.get(snapshot.manifest_list)
        if known is None:
            with self._told():
                known = self._lists[snapshot.manifest_list] = tuple(snapshot.manifests(table.io))
        return known

    def _manifests_of(self, table: Their, snapshots: Sequence[Snapshot]) -> dict[str, ManifestFile]:
        """The manifests of all these snapshots by their paths."""
        return {m.manifest_path: m for snapshot in snapshots for m in self._list(table, snapshot)}

    def _entries(self, table: Their, manifest: ManifestFile) -> tuple[DataFile, ...]:
        """The data files that a manifest names; it never changes, so each is read once."""
        known = self._entries_of.get(manifest.manifest_path)
        if known is None:
            with self._told():
                entries = manifest.fetch_manifest_entry(table.io, discard_deleted=True)
            known = tuple(e.data_file for e in entries if e.data_file.content == DataFileContent.DATA)
            self._entries_of[manifest.manifest_path] = known
        return known

    def _files_of(self, table: Their, snapshot: Snapshot) -> list[DataFile]:
        """The data files of a snapshot."""
        found: list[DataFile] = []
        for manifest in self._list(table, snapshot):
            if manifest.content == ManifestContent.DELETES and manifest.has_added_files():
                raise SynclineError(
                    ErrorKind.CONFIG,
                    f"the Iceberg table {self.place} has delete files, which are not written here",
                    hint="let the engine that wrote them rewrite the data files (rewrite_data_files), and set "
                    "write.delete.mode, write.update.mode and write.merge.mode to copy-on-write",
                    where={"table": self.place},
                )
            found += self._entries(table, manifest)
        return found

    def _as_file(self, file: DataFile, table: Their) -> TableFile:
        key = self._key(file.file_path)
        if key is None:
            raise SynclineError(
                ErrorKind.CONFIG,
                f"the Iceberg table {self.place} has files outside of {self._root}, as {file.file_path}",
                hint="let the engine that added them rewrite them into the table's own place",
                where={"table": self.place},
            )
        bounds = {}
        for field in table.schema().fields:
            low = read_bound(field, (file.lower_bounds or {}).get(field.field_id))
            high = read_bound(field, (file.upper_bounds or {}).get(field.field_id))
            if low is not None and high is not None:
                nulls = (file.null_value_counts or {}).get(field.field_id, 0)
                bounds[field.name] = Bounds(nulls=nulls, low=low, high=high)
        return TableFile(key=key, rows=file.record_count, bytes=file.file_size_in_bytes, bounds=bounds, handle=file)

    def _key(self, path: str) -> str | None:
        """A file's key in the store; None for one that lies elsewhere."""
        for root in (self._root, self._root.removeprefix("file://"), self._root.replace("s3://", "s3a://", 1)):
            if path.startswith(root):
                return path.removeprefix(root)
        return None

    def _if_ours(self, snapshot: int, error: Exception) -> TableState:
        """The state after a commit that was refused, if it was our own that stood there already."""
        table = self._load()
        if table is not None and snapshot and table.snapshot_by_id(snapshot) is not None:
            return self._state(table)
        raise TableMoved(f"{self.place}: {' '.join(str(error).split())[:200]}") from error


def _with_schema(change: TableChange, schema: pa.Schema) -> TableChange:
    return TableChange(
        pointer=change.pointer, added=change.added, schema=schema, replaces=change.replaces, note=change.note
    )


def _name(snapshot: Snapshot) -> str | None:
    """Of the pointer in a snapshot of ours."""
    said = {} if snapshot.summary is None else snapshot.summary.additional_properties
    if TOKEN not in said or SEQUENCE not in said:
        return None
    return Pointer(token=int(said[TOKEN]), sequence=int(said[SEQUENCE])).name
