"""One Delta table: see :class:`syncline.sdk.tables.table.Table`.

The ledger's pointer is two application transactions (``txn``) in each commit of ours: the sequence under
``syncline/<owner>``, the fencing token under ``syncline/<owner>/token``. They stay in the log for good, through
checkpoints and whatever others commit. A RESTORE takes rows back, but no transactions: so a third one,
``syncline/<owner>/held``, is the version whose rows must not be missing. For people the commit's ``commitInfo`` tells
the position as well.
"""

from __future__ import annotations

import json
import logging
import secrets
import time
import uuid
from typing import Any
from urllib.parse import quote

import pyarrow as pa

import syncline
from syncline.connectors.delta.config import DeltaDestinationConfig
from syncline.connectors.delta.log import DeltaLog, LogState, data_key, now_millis
from syncline.connectors.delta.statistics import bounds_of_stats, stats_of_file
from syncline.connectors.delta.types import arrow_schema, delta_schema, storage_type, uses_ntz
from syncline.core.errors import ErrorKind, SynclineError
from syncline.sdk.files.store import ObjectStore
from syncline.sdk.tables.table import Lost, Pointer, TableChange, TableFile, TableMoved, TableState

__all__ = ["DeltaTable"]

_log = logging.getLogger("syncline.delta")

#: What Delta's own writers refuse in a name where columns are not mapped, as here.
_REFUSED_CHARACTERS = " ,;{}()\n\t="
_READER_FEATURES = {"timestampNtz"}
_WRITER_FEATURES = {"timestampNtz", "appendOnly", "invariants"}
#: Settings that change what a writer must do.
_SETTINGS = {
    "delta.appendOnly": "false",
    "delta.enableChangeDataFeed": "false",
    "delta.columnMapping.mode": "none",
    "delta.enableDeletionVectors": "false",
    "delta.enableRowTracking": "false",
    "delta.enableInCommitTimestamps": "false",
}


class DeltaTable:
    """The table below ``folder`` (key prefix with its slash). ``owner`` stands for connection and stream."""

    def __init__(self, store: ObjectStore, folder: str, owner: str, config: DeltaDestinationConfig) -> None:
        self.place = store.url_of(folder).rstrip("/")
        self.data_prefix = folder
        self._folder, self._config = folder, config
        self._store = store
        self._log = DeltaLog(store, folder)
        self._app, self._token_app = f"syncline/{owner}", f"syncline/{owner}/token"
        self._held_app = f"syncline/{owner}/held"
        self._known: tuple[LogState, int, TableState] | None = None
        self._purged: set[str] = set()

    def load(self) -> TableState | None:
        state = self._log.refresh()
        return None if state.version < 0 else self._state(state)

    def storage_type(self, kind: pa.DataType) -> pa.DataType:
        return storage_type(kind)

    def file_schema(self, state: TableState | None, schema: pa.Schema) -> pa.Schema:
        return schema

    def refusal(self, name: str) -> str | None:
        if found := sorted({c for c in name if c in _REFUSED_CHARACTERS}):
            return f"has {' and '.join(repr(c) for c in found)} in its name, which Delta tables refuse"
        return "has an empty name" if not name else None

    def create(self, schema: pa.Schema, change: TableChange) -> TableState:
        retention = f"interval {max(int(self._config.maintenance.expire_after // 60), 1)} minutes"
        metadata = {
            "id": str(uuid.uuid4()),
            "format": {"provider": "parquet", "options": {}},
            "schemaString": json.dumps(delta_schema(schema), ensure_ascii=False),
            "partitionColumns": [],
            "configuration": {"delta.deletedFileRetentionDuration": retention},
            "createdTime": now_millis(),
        }
        made = TableChange(
            pointer=change.pointer, added=change.added, replaces=change.replaces, note=change.note, schema=None
        )
        state = self._log.refresh()
        if state.version >= 0:
            raise TableMoved(f"{self.place} was made by somebody else")
        first = [{"protocol": _protocol(uses_ntz(schema))}, {"metaData": metadata}]
        return self._put(first, made, schema, "CREATE TABLE")

    def commit(self, state: TableState, change: TableChange) -> TableState:
        if self._log.state.version != state.version:
            raise TableMoved(f"{self.place} is at version {self._log.state.version}, not {state.version}")
        first: list[dict[str, Any]] = []
        schema = state.schema
        if change.schema is not None and change.schema != state.schema:
            schema = change.schema
            if uses_ntz(schema) and "timestampNtz" not in (self._log.state.protocol.get("writerFeatures") or []):
                first.append({"protocol": _protocol(True)})
            text = json.dumps(delta_schema(schema), ensure_ascii=False)
            first.append({"metaData": {**self._log.state.metadata, "schemaString": text}})
        operation = "WRITE"
        if change.rearranged:
            operation = "OPTIMIZE"
        elif change.removed and not change.replaces:
            operation = "MERGE"
        elif not change.added and not change.removed and not first:
            operation = "SYNCLINE LEDGER"
        return self._put(first, change, schema, operation)

    def retired(self, state: TableState) -> frozenset[str]:
        return frozenset(data_key(self._folder, path) for path in self._log.state.removes)

    def expire(self, state: TableState, *, older_than_seconds: float) -> TableState:
        limit = time.time() - older_than_seconds
        removes = self._log.state.removes
        old = {p for p, r in removes.items() if r.get("deletionTimestamp", 0) < limit * 1000} - self._purged
        if old:
            self._store.delete([data_key(self._folder, path) for path in sorted(old)])
            self._purged |= old
        if older_than_seconds == 0 or self._log.state.version >= self._config.checkpoint_interval:
            self._log.clear(before=limit)
        return state

    # -- within --------------------------------------------------------------------------------------------------------

    def _put(self, first: list[dict[str, Any]], change: TableChange, schema: pa.Schema, operation: str) -> TableState:
        at, commit_id = now_millis(), secrets.token_hex(16)
        info = {
            "timestamp": at,
            "operation": operation,
            "operationParameters": {"mode": "Overwrite" if change.replaces else "Append"},
            "isBlindAppend": not change.removed and not change.replaces,
            "engineInfo": f"syncline/{syncline.__version__}",
            "txnId": commit_id,
            "syncline": dict(change.note),
        }
        actions: list[dict[str, Any]] = [{"commitInfo": info}, *first]
        actions += [
            {"txn": {"appId": self._app, "version": change.pointer.sequence, "lastUpdated": at}},
            {"txn": {"appId": self._token_app, "version": change.pointer.token, "lastUpdated": at}},
            {"txn": {"appId": self._held_app, "version": self._held_by(change), "lastUpdated": at}},
        ]
        for file in change.removed:
            actions.append(
                {
                    "remove": {
                        "path": file.handle,
                        "deletionTimestamp": at,
                        "dataChange": not change.rearranged,
                        "extendedFileMetadata": True,
                        "partitionValues": {},
                        "size": file.bytes,
                    }
                }
            )
        for file in change.added:
            actions.append(
                {
                    "add": {
                        "path": quote(file.key.removeprefix(self._folder)),
                        "partitionValues": {},
                        "size": file.bytes,
                        "modificationTime": at,
                        "dataChange": not change.rearranged,
                        "stats": stats_of_file(file, schema),
                    }
                }
            )
        before = self._log.state.version
        if not self._log.append(actions, commit_id):
            state = self._log.refresh()
            raise TableMoved(f"{self.place}: {_who(state.info)} has committed version {before + 1}")
        if self._log.state.version % self._config.checkpoint_interval == 0 and self._log.state.version:
            self._checkpoint()
        return self._state(self._log.state)

    def _held_by(self, change: TableChange) -> int:
        """The version that must not be missing after this commit: itself, unless another is missing already."""
        if not change.accepts_loss and self._lost(self._log.state) is not None:
            return self._log.state.txns[self._held_app]
        return self._log.state.version + 1

    def _lost(self, log: LogState) -> Lost | None:
        """Whether the rows of the version that we hold on to are missing: somebody has restored one from before it.
        A commit whose file was cleared away tells nothing any more."""
        held = log.txns.get(self._held_app)
        if held is None or held >= log.version:
            return None
        lost: dict[int, Lost | None] = {held: None}
        now: Lost | None = None
        for number, info in self._log.infos(held):
            if info is not None and info.get("operation") == "RESTORE":
                told = str((info.get("operationParameters") or {}).get("version"))
                to = int(told) if told.isdecimal() else None
                now = lost[to] if to in lost else self._loss(held, told if to is not None else "an older one", info)
            lost[number] = now
        return now

    def _loss(self, held: int, to: str, info: dict[str, Any]) -> Lost:
        return Lost(
            what=f"{_who(info)} took the table {self.place} back to version {to}, from before our commit {held}",
            undone=f"restore version {held} (RESTORE TABLE … TO VERSION AS OF {held})",
        )

    def _checkpoint(self) -> None:
        """Only for the speed of readers: a failure is told and fails nothing."""
        try:
            self._log.write_checkpoint(keep_removes_after=time.time() - self._config.maintenance.expire_after)
        except SynclineError as error:
            _log.warning("%s: the checkpoint could not be written, the next one will be: %s", self.place, error)

    def _state(self, log: LogState) -> TableState:
        pointer = None
        if self._app in log.txns and self._token_app in log.txns:
            pointer = Pointer(token=log.txns[self._token_app], sequence=log.txns[self._app])
        if pointer is not None:
            self._ensure_known(log)
        foreign = "" if "syncline" in log.info else _who(log.info)
        if self._known is not None and self._known[0] is log and self._known[1] == log.changes:
            last = self._known[2]
            schema, files = last.schema, last.files
        else:
            schema = arrow_schema(json.loads(log.metadata["schemaString"])) if pointer is not None else pa.schema([])
            files = self._files(log, schema) if pointer is not None else ()
        state = TableState(
            version=log.version,
            schema=schema,
            files=files,
            pointer=pointer,
            foreign=foreign,
            lost=self._lost(log) if pointer is not None else None,
        )
        self._known = (log, log.changes, state)
        return state

    def _files(self, log: LogState, schema: pa.Schema) -> tuple[TableFile, ...]:
        kinds = {f.name: f.type for f in schema}
        before = {} if self._known is None else {f.handle: f for f in self._known[2].files}
        found = []
        for path, add in log.adds.items():
            known = before.get(path)
            if known is None or known.bytes != add["size"] or self._known is None or self._known[2].schema != schema:
                rows, bounds = bounds_of_stats(add.get("stats"), kinds)
                known = TableFile(
                    key=data_key(self._folder, path), rows=rows, bytes=add["size"], bounds=bounds, handle=path
                )
            found.append(known)
        return tuple(found)

    def _ensure_known(self, log: LogState) -> None:
        """Raise ``config`` when somebody has turned on what this writer does not know."""
        protocol = log.protocol
        reader, writer = int(protocol.get("minReaderVersion", 1)), int(protocol.get("minWriterVersion", 2))
        strange = set(protocol.get("readerFeatures") or ()) - _READER_FEATURES
        strange |= set(protocol.get("writerFeatures") or ()) - _WRITER_FEATURES
        if reader not in (1, 3) or writer not in (1, 2, 7):
            strange.add(f"protocol {reader}/{writer}")
        configuration = log.metadata.get("configuration") or {}
        strange |= {name for name, plain in _SETTINGS.items() if str(configuration.get(name, plain)).lower() != plain}
        if log.metadata.get("partitionColumns"):
            strange.add("partitioning")
        if strange:
            raise SynclineError(
                ErrorKind.CONFIG,
                f"the Delta table {self.place} has {', '.join(sorted(strange))}, which is not written here",
                hint="turn that off for this table (somebody else turned it on), or write the stream to a table of its "
                "own: nothing was changed",
                where={"table": self.place},
            )


def _protocol(ntz: bool) -> dict[str, Any]:
    if not ntz:
        return {"minReaderVersion": 1, "minWriterVersion": 2}
    return {
        "minReaderVersion": 3,
        "minWriterVersion": 7,
        "readerFeatures": ["timestampNtz"],
        "writerFeatures": ["appendOnly", "invariants", "timestampNtz"],
    }


def _who(info: dict[str, Any]) -> str:
    """Who made a commit, in words."""
    return f"{info.get('engineInfo') or 'somebody else'} ({info.get('operation') or 'an unnamed operation'})"
