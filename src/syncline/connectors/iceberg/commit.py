"""One commit of an Iceberg table: the updates that it is made of, and the catalog's answer.

pyiceberg writes manifests and the list of them. Its own transaction works out the whole metadata anew, with a deep copy
of every snapshot, each of the twenty times that it is looked at in one commit; here that is done once, without a copy.
"""

from __future__ import annotations

import itertools
import json
from typing import Any

import pyarrow as pa
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.schema import Schema
from pyiceberg.table import Table as Their
from pyiceberg.table import Transaction
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.name_mapping import create_mapping_from_schema
from pyiceberg.table.update import (
    AddSchemaUpdate,
    AddSnapshotUpdate,
    AssertTableUUID,
    RemoveSnapshotsUpdate,
    SetCurrentSchemaUpdate,
    SetPropertiesUpdate,
    TableUpdate,
)
from pyiceberg.typedef import Record

from syncline.connectors.iceberg.bounds import written_bound
from syncline.connectors.iceberg.types import iceberg_fields
from syncline.sdk.tables.table import TableChange, TableFile

__all__ = ["HELD", "SEQUENCE", "TOKEN", "Commit"]

TOKEN, SEQUENCE = "syncline.token", "syncline.sequence"
#: The name of the pointer whose snapshot must be in the table's history.
HELD = "syncline.held"
_MAPPING = "schema.name-mapping.default"


class _Staged(Transaction):
    """A transaction whose metadata is known."""

    def __init__(self, table: Their, metadata: TableMetadata, updates: tuple[TableUpdate, ...]) -> None:
        super().__init__(table)
        self._metadata, self._updates = metadata, updates

    @property
    def table_metadata(self) -> TableMetadata:
        return self._metadata


class Commit:
    """Made over ``table`` as it was loaded. ``root`` is the address below which keys of files lie."""

    def __init__(self, table: Their, root: str) -> None:
        self._table, self._root = table, root
        self._transaction: Transaction = _Staged(table, table.metadata, ())
        #: Of the snapshot that was added; 0 before.
        self.snapshot = 0
        #: The files that it added.
        self.added: list[DataFile] = []

    def change(self, change: TableChange, columns: pa.Schema | None, held: str) -> None:
        """Properties, ``columns`` (None: as they are) and the snapshot with the change's files. Writes manifests.
        ``held`` names the pointer that must be in the table's history from now on."""
        metadata, updates = self._with_columns(columns)
        properties = {TOKEN: str(change.pointer.token), SEQUENCE: str(change.pointer.sequence), HELD: held}
        # By the ids that the catalog gave: it numbers a new table's fields itself.
        mapping = create_mapping_from_schema(metadata.schema()).model_dump_json()
        if metadata.properties.get(_MAPPING) != mapping:
            properties[_MAPPING] = mapping
        metadata = metadata.model_copy(update={"properties": {**metadata.properties, **properties}})
        updates = (*updates, SetPropertiesUpdate(updates=properties))
        self._transaction = _Staged(self._table, metadata, updates)
        self._add_snapshot(change, metadata.schema())

    def forget(self, snapshots: list[int]) -> None:
        """Take these snapshots out of the table's metadata."""
        self._transaction._apply((RemoveSnapshotsUpdate.model_validate({"snapshot-ids": snapshots}),))

    def put(self) -> Their:
        """Hand it to the catalog; gives the table as it is then. Raises pyiceberg's ``CommitFailedException`` when the
        newest snapshot is not the one that this was made over.

        Not ``commit_transaction``: that would make the commit again over whatever others have committed since."""
        table = self._table
        answer = table.catalog.commit_table(
            table,
            (*self._transaction._requirements, AssertTableUUID(uuid=table.metadata.table_uuid)),
            tuple(self._transaction._updates),
        )
        return Their(table.name(), answer.metadata, answer.metadata_location, table.io, table.catalog, table.config)

    def _with_columns(self, columns: pa.Schema | None) -> tuple[TableMetadata, tuple[TableUpdate, ...]]:
        metadata = self._table.metadata
        if columns is None:
            return metadata, ()
        last = metadata.last_column_id
        made = iceberg_fields(columns, itertools.count(last + 1).__next__, metadata.schema())
        known = next((s for s in metadata.schemas if s.fields == made.fields), None)
        if known is not None:
            number = known.schema_id
            changes: dict[str, Any] = {"current_schema_id": number}
            return metadata.model_copy(update=changes), (SetCurrentSchemaUpdate.model_validate({"schema-id": number}),)
        number = max(s.schema_id for s in metadata.schemas) + 1
        made = Schema(*made.fields, schema_id=number)
        changes = {
            "current_schema_id": number,
            "schemas": [*metadata.schemas, made],
            "last_column_id": max(last, made.highest_field_id),
        }
        return metadata.model_copy(update=changes), (
            AddSchemaUpdate(schema=made),
            SetCurrentSchemaUpdate.model_validate({"schema-id": number}),
        )

    def _add_snapshot(self, change: TableChange, schema: Schema) -> None:
        note = {f"syncline.{name.replace('_', '-')}": _text(value) for name, value in change.note.items()}
        said = {
            **note,
            TOKEN: str(change.pointer.token),
            SEQUENCE: str(change.pointer.sequence),
            "engine-name": "syncline",
        }
        update = self._transaction.update_snapshot(snapshot_properties=said)
        with update.overwrite() if change.removed else update.merge_append() as producer:
            for file in change.removed:
                producer.delete_data_file(file.handle)
            for file in change.added:
                self.added.append(self._data_file(file, schema))
                producer.append_data_file(self.added[-1])
        added = (u.snapshot for u in self._transaction._updates if isinstance(u, AddSnapshotUpdate))
        self.snapshot = next(added).snapshot_id

    def _data_file(self, file: TableFile, schema: Schema) -> DataFile:
        nulls, low, high, values = {}, {}, {}, {}
        for field in schema.fields:
            bounds = file.bounds.get(field.name)
            if bounds is None:
                continue
            nulls[field.field_id], values[field.field_id] = bounds.nulls, file.rows
            if bounds.low is not None and bounds.high is not None:
                low[field.field_id] = written_bound(field, bounds.low)
                high[field.field_id] = written_bound(field, bounds.high)
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


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
