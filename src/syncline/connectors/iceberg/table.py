"""One Iceberg table: see :class:`syncline.sdk.tables.table.Table`.

The ledger's pointer stands in the summary of every snapshot of ours (``syncline.token``, ``syncline.sequence``), so
that data and progress are one commit, and in the table's properties, for when others have expired our snapshots. Every
change of the pointer is a snapshot, also one without files: the catalog refuses a commit whose parent is not the newest
snapshot, and so an overtaken attempt cannot commit.

Files are laid down by us and named in manifests by pyiceberg. They have no field ids: the table's name mapping gives
them.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
from pyiceberg import conversions
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import (
    CommitFailedException,
    NamespaceAlreadyExistsError,
    NoSuchNamespaceError,
    NoSuchTableError,
    TableAlreadyExistsError,
)
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat, ManifestContent, ManifestFile
from pyiceberg.schema import Schema
from pyiceberg.table import Table as Their
from pyiceberg.table import Transaction
from pyiceberg.table.name_mapping import create_mapping_from_schema
from pyiceberg.table.snapshots import Snapshot
from pyiceberg.table.update import (
    AddSchemaUpdate,
    AddSnapshotUpdate,
    AssertTableUUID,
    RemoveSnapshotsUpdate,
    SetCurrentSchemaUpdate,
)
from pyiceberg.typedef import Record
from pyiceberg.types import NestedField

from syncline.connectors.iceberg.config import IcebergDestinationConfig
from syncline.connectors.iceberg.errors import told
from syncline.connectors.iceberg.types import arrow_schema, iceberg_fields, storage_type
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.stream import StreamName
from syncline.sdk.files.store import ObjectStore
from syncline.sdk.tables.table import Bounds, Pointer, TableChange, TableFile, TableMoved, TableState

__all__ = ["IcebergTable"]

_OWNER, _TOKEN, _SEQUENCE = "syncline.owner", "syncline.token", "syncline.sequence"
_MAPPING = "schema.name-mapping.default"
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
        self._manifests: dict[str, tuple[DataFile, ...]] = {}

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
            with told(self.place):
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
        own = 0
        try:
            with told(self.place):
                transaction = table.transaction()
                transaction.set_properties({_TOKEN: str(change.pointer.token), _SEQUENCE: str(change.pointer.sequence)})
                if change.schema is not None and change.schema != state.schema:
                    self._set_schema(transaction, table, change.schema)
                # By the ids that the catalog gave: it numbers a new table's fields itself.
                mapping = create_mapping_from_schema(transaction.table_metadata.schema()).model_dump_json()
                if table.properties.get(_MAPPING) != mapping:
                    transaction.set_properties({_MAPPING: mapping})
                own = self._snapshot(transaction, change)
                # Not `commit_transaction`: that would make the commit again over whatever others have committed since.
                table.catalog.commit_table(
                    table,
                    (*transaction._requirements, AssertTableUUID(uuid=table.metadata.table_uuid)),
                    tuple(transaction._updates),
                )
        except CommitFailedException as error:
            return self._if_ours(own, error)
        except SynclineError as error:
            if error.kind not in (ErrorKind.TRANSIENT, ErrorKind.UNREACHABLE):
                raise
            try:
                return self._if_ours(own, error)  # the answer may have been lost
            except TableMoved:
                raise error from None
        after = self._load()
        if after is None:
            raise TableMoved(f"{self.place} is gone")
        return self._state(after)

    def retired(self, state: TableState) -> frozenset[str]:
        table: Their = state.handle
        return frozenset(
            key
            for snapshot in table.snapshots()
            for file in self._files_of(table, snapshot)
            if (key := self._key(file.file_path)) is not None
        )

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
        kept = [s for s in newest if s.snapshot_id not in gone]
        data, manifests = self._referred(table, kept)
        old_data, old_manifests = self._referred(table, old)
        with told(self.place):
            try:
                transaction = table.transaction()
                transaction._apply(
                    (RemoveSnapshotsUpdate.model_validate({"snapshot-ids": [s.snapshot_id for s in old]}),)
                )
                table.catalog.commit_table(
                    table,
                    (*transaction._requirements, AssertTableUUID(uuid=table.metadata.table_uuid)),
                    tuple(transaction._updates),
                )
            except CommitFailedException:
                return state  # somebody else is at it: the next time
            for path in [*sorted(old_manifests - manifests), *(s.manifest_list for s in old)]:
                self._manifests.pop(path, None)
                key = self._key(path)
                if key is not None:
                    self._store.delete([key])
        keys = [key for path in sorted(old_data - data) if (key := self._key(path)) is not None]
        self._store.delete(keys)
        after = self._load()
        return state if after is None else self._state(after)

    # -- within --------------------------------------------------------------------------------------------------------

    def _load(self) -> Their | None:
        catalog = self._open()
        with told(self.place):
            try:
                return catalog.load_table(self._identifier)
            except (NoSuchTableError, NoSuchNamespaceError):
                return None

    def _state(self, table: Their) -> TableState:
        snapshot = table.current_snapshot()
        pointer = self._pointer(table)
        foreign = ""
        if (
            snapshot is not None
            and snapshot.summary is not None
            and _TOKEN not in snapshot.summary.additional_properties
        ):
            engine = snapshot.summary.additional_properties.get("engine-name", "somebody else")
            foreign = f"{engine} ({snapshot.summary.operation.value})"
        if pointer is None:
            return TableState(version=0, schema=pa.schema([]), files=(), pointer=None, foreign=foreign, handle=table)
        self._ensure_known(table)
        files = () if snapshot is None else tuple(self._as_file(f, table) for f in self._files_of(table, snapshot))
        return TableState(
            version=0 if snapshot is None else snapshot.snapshot_id,
            schema=arrow_schema(table.schema()),
            files=files,
            pointer=pointer,
            foreign=foreign,
            handle=table,
        )

    def _pointer(self, table: Their) -> Pointer | None:
        """From the newest snapshot of ours, or from the properties where others have expired those. A table that was
        rolled back points to a record that is gone, and its stream stops."""
        if table.properties.get(_OWNER) != self._owner:
            return None
        snapshot = table.current_snapshot()
        while snapshot is not None:
            said = _said(snapshot)
            if _TOKEN in said and _SEQUENCE in said:
                return Pointer(token=int(said[_TOKEN]), sequence=int(said[_SEQUENCE]))
            parent = snapshot.parent_snapshot_id
            snapshot = None if parent is None else table.snapshot_by_id(parent)
        if _TOKEN in table.properties and _SEQUENCE in table.properties:
            return Pointer(token=int(table.properties[_TOKEN]), sequence=int(table.properties[_SEQUENCE]))
        return None

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

    def _manifests_of(self, table: Their, snapshot: Snapshot) -> Iterator[ManifestFile]:
        with told(self.place):
            yield from snapshot.manifests(table.io)

    def _files_of(self, table: Their, snapshot: Snapshot) -> list[DataFile]:
        """The data files of a snapshot; a manifest never changes, so each is read once."""
        found: list[DataFile] = []
        for manifest in self._manifests_of(table, snapshot):
            if manifest.content == ManifestContent.DELETES and manifest.has_added_files():
                raise SynclineError(
                    ErrorKind.CONFIG,
                    f"the Iceberg table {self.place} has delete files, which are not written here",
                    hint="let the engine that wrote them rewrite the data files (rewrite_data_files), and set "
                    "write.delete.mode, write.update.mode and write.merge.mode to copy-on-write",
                    where={"table": self.place},
                )
            known = self._manifests.get(manifest.manifest_path)
            if known is None:
                with told(self.place):
                    entries = manifest.fetch_manifest_entry(table.io, discard_deleted=True)
                known = tuple(e.data_file for e in entries if e.data_file.content == DataFileContent.DATA)
                self._manifests[manifest.manifest_path] = known
            found += known
        return found

    def _referred(self, table: Their, snapshots: list[Snapshot]) -> tuple[set[str], set[str]]:
        """Data files and manifests of these snapshots."""
        data: set[str] = set()
        manifests: set[str] = set()
        for snapshot in snapshots:
            manifests |= {m.manifest_path for m in self._manifests_of(table, snapshot)}
            data |= {f.file_path for f in self._files_of(table, snapshot)}
        return data, manifests

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
            low = _plain(field, (file.lower_bounds or {}).get(field.field_id))
            high = _plain(field, (file.upper_bounds or {}).get(field.field_id))
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

    def _snapshot(self, transaction: Transaction, change: TableChange) -> int:
        """Add the snapshot to the transaction; gives its id."""
        note = {f"syncline.{name.replace('_', '-')}": _text(value) for name, value in change.note.items()}
        said = {
            **note,
            _TOKEN: str(change.pointer.token),
            _SEQUENCE: str(change.pointer.sequence),
            "engine-name": "syncline",
        }
        update = transaction.update_snapshot(snapshot_properties=said)
        schema = transaction.table_metadata.schema()
        with update.overwrite() if change.removed else update.merge_append() as producer:
            for file in change.removed:
                producer.delete_data_file(file.handle)
            for file in change.added:
                producer.append_data_file(self._data_file(file, schema))
        return next(u.snapshot.snapshot_id for u in transaction._updates if isinstance(u, AddSnapshotUpdate))

    def _data_file(self, file: TableFile, schema: Schema) -> DataFile:
        nulls, low, high, values = {}, {}, {}, {}
        for field in schema.fields:
            bounds = file.bounds.get(field.name)
            if bounds is None:
                continue
            nulls[field.field_id], values[field.field_id] = bounds.nulls, file.rows
            if bounds.low is not None and bounds.high is not None:
                low[field.field_id] = _bytes(field, bounds.low)
                high[field.field_id] = _bytes(field, bounds.high)
        made = DataFile.from_args(
            content=DataFileContent.DATA,
            file_path=self._root + file.key,
            file_format=FileFormat.PARQUET,
            partition=Record(),
            record_count=file.rows,
            file_size_in_bytes=file.bytes,
            value_counts=values,
            null_value_counts=nulls,
            lower_bounds=low,
            upper_bounds=high,
        )
        made.spec_id = 0
        return made

    def _set_schema(self, transaction: Transaction, table: Their, schema: pa.Schema) -> None:
        last = table.metadata.last_column_id
        made = iceberg_fields(schema, itertools.count(last + 1).__next__, table.schema())
        known = next((s for s in table.metadata.schemas if s.fields == made.fields), None)
        number = known.schema_id if known is not None else max(s.schema_id for s in table.metadata.schemas) + 1
        made = Schema(*made.fields, schema_id=number)
        updates: tuple[Any, ...] = (SetCurrentSchemaUpdate.model_validate({"schema-id": number}),)
        if known is None:
            updates = (AddSchemaUpdate(schema=made), *updates)
        transaction._apply(updates)

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


def _said(snapshot: Snapshot) -> dict[str, str]:
    return {} if snapshot.summary is None else dict(snapshot.summary.additional_properties)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _plain(field: NestedField, raw: bytes | None) -> int | str | None:
    """A bound of a manifest as ours."""
    kind = str(field.field_type)
    if raw is None or not field.field_type.is_primitive:
        return None
    if kind in ("int", "long", "date", "time", "timestamp", "timestamptz"):
        return int.from_bytes(raw, "little", signed=True)
    if kind.startswith("decimal"):
        return int.from_bytes(raw, "big", signed=True)
    if kind == "string":
        return raw.decode("utf-8", "replace")
    return None


def _bytes(field: NestedField, value: int | str) -> bytes:
    kind: Any = field.field_type
    if str(kind).startswith("decimal"):
        number = int(value)
        return number.to_bytes(max((number if number >= 0 else ~number).bit_length() // 8 + 1, 1), "big", signed=True)
    return conversions.to_bytes(kind, value)
