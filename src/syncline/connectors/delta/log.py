"""The log of a Delta table: reading its newest version, adding a commit by compare-and-set, checkpoints.

A commit is the file ``_delta_log/<20 digits>.json`` with one action per line, put only if its number is still free: on
a local disk by link(2), in S3 by ``If-None-Match``, as delta-rs and others do it. A checkpoint is all actions that
still count, as one Parquet file, from which readers start. See the Delta transaction log protocol.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from syncline.core.errors import ErrorKind, SynclineError
from syncline.sdk.files.store import ObjectStore

__all__ = ["DeltaLog", "LogState", "data_key", "now_millis"]

_COMMIT = re.compile(r"(\d{20})\.json$")
_CHECKPOINT = re.compile(r"(\d{20})\.checkpoint(?:\.(\d{10})\.(\d{10}))?\.parquet$")
_READ_ATTEMPTS = 5

_MAP = pa.map_(pa.string(), pa.string())
_TEXTS = pa.list_(pa.string())
_CHECKPOINT_SCHEMA = pa.schema(
    [
        (
            "txn",
            pa.struct([("appId", pa.string()), ("version", pa.int64()), ("lastUpdated", pa.int64())]),
        ),
        (
            "add",
            pa.struct(
                [
                    ("path", pa.string()),
                    ("partitionValues", _MAP),
                    ("size", pa.int64()),
                    ("modificationTime", pa.int64()),
                    ("dataChange", pa.bool_()),
                    ("stats", pa.string()),
                ]
            ),
        ),
        (
            "remove",
            pa.struct(
                [
                    ("path", pa.string()),
                    ("deletionTimestamp", pa.int64()),
                    ("dataChange", pa.bool_()),
                    ("extendedFileMetadata", pa.bool_()),
                    ("partitionValues", _MAP),
                    ("size", pa.int64()),
                ]
            ),
        ),
        (
            "metaData",
            pa.struct(
                [
                    ("id", pa.string()),
                    ("name", pa.string()),
                    ("description", pa.string()),
                    ("format", pa.struct([("provider", pa.string()), ("options", _MAP)])),
                    ("schemaString", pa.string()),
                    ("partitionColumns", _TEXTS),
                    ("configuration", _MAP),
                    ("createdTime", pa.int64()),
                ]
            ),
        ),
        (
            "protocol",
            pa.struct(
                [
                    ("minReaderVersion", pa.int32()),
                    ("minWriterVersion", pa.int32()),
                    ("readerFeatures", _TEXTS),
                    ("writerFeatures", _TEXTS),
                ]
            ),
        ),
    ]
)


@dataclass
class LogState:
    """Everything that counts after commit ``version`` (-1: none). ``adds`` and ``removes`` are actions by path,
    ``txns`` versions by application id; ``info`` is the newest commit's ``commitInfo``."""

    version: int = -1
    protocol: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    adds: dict[str, dict[str, Any]] = field(default_factory=dict)
    removes: dict[str, dict[str, Any]] = field(default_factory=dict)
    txns: dict[str, int] = field(default_factory=dict)
    info: dict[str, Any] = field(default_factory=dict)
    #: Grows when the set of files has changed, so that what is made of it need not be made anew.
    changes: int = 0

    def apply(self, action: Mapping[str, Any]) -> None:
        """One action of a commit or checkpoint."""
        if (add := action.get("add")) is not None:
            if add.get("deletionVector"):
                raise _refused("deletion vectors")
            self.adds[add["path"]] = dict(add)
            self.removes.pop(add["path"], None)
            self.changes += 1
        elif (remove := action.get("remove")) is not None:
            self.adds.pop(remove["path"], None)
            self.removes[remove["path"]] = dict(remove)
            self.changes += 1
        elif (metadata := action.get("metaData")) is not None:
            self.metadata = dict(metadata)
            self.changes += 1
        elif (protocol := action.get("protocol")) is not None:
            self.protocol = dict(protocol)
        elif (txn := action.get("txn")) is not None:
            self.txns[txn["appId"]] = int(txn["version"])
        elif (info := action.get("commitInfo")) is not None:
            self.info = dict(info)


class DeltaLog:
    """The log below ``folder`` (the table's own, with its slash). Used by one thread."""

    def __init__(self, store: ObjectStore, folder: str) -> None:
        self._store, self._folder = store, f"{folder}_delta_log/"
        self.state = LogState()
        self._infos: dict[int, dict[str, Any] | None] = {}

    def refresh(self) -> LogState:
        """The newest state; version -1 when there is no table. Cheap when nothing has changed."""
        if self.state.version >= 0:
            while (commit := self._commit(self.state.version + 1)) is not None:
                self._take(commit)
            # A log that was removed and begun anew is seen by the absence of the commit that we know.
            if self._store.head(self._key(self.state.version)) is not None:
                return self.state
        for _ in range(_READ_ATTEMPTS):  # commits may be cleared while we read: then there is a newer checkpoint
            self.state, self._infos = LogState(), {}
            if self._read():
                break
        else:
            raise SynclineError(
                ErrorKind.DATA,
                f"the log {self._store.url_of(self._folder)} has gaps",
                hint="commits were removed by something else; restore them, or delete the table and copy the stream "
                "anew",
            )
        return self.state

    def append(self, actions: Sequence[Mapping[str, Any]], commit_id: str) -> bool:
        """Put the next commit; False when somebody else has put one there."""
        lines = "\n".join(json.dumps(a, ensure_ascii=False, separators=(",", ":")) for a in actions) + "\n"
        key = self._key(self.state.version + 1)
        if not self._store.put_if_absent(key, lines.encode()):
            # The store may have taken our put and lost the answer; the client then tried again and met our own commit.
            held = self._store.get(key)
            if held is None or commit_id.encode() not in held.split(b"\n", 1)[0]:
                return False
        self._take(list(actions))
        return True

    def infos(self, after: int) -> Iterator[tuple[int, dict[str, Any] | None]]:
        """The ``commitInfo`` of every commit after that version, in order; None of one that was cleared away."""
        self._infos = {n: info for n, info in self._infos.items() if n > after}
        for number in range(after + 1, self.state.version + 1):
            if number not in self._infos:
                commit = self._commit(number)
                found: dict[str, Any] | None = (
                    None if commit is None else next((a["commitInfo"] for a in commit if "commitInfo" in a), {})
                )
                self._infos[number] = found
            yield number, self._infos[number]

    def write_checkpoint(self, *, keep_removes_after: float) -> None:
        """All that counts as one Parquet file. ``keep_removes_after``: Unix seconds; older removes are left out."""
        state = self.state
        rows: list[dict[str, Any]] = [{"protocol": state.protocol}, {"metaData": state.metadata}]
        rows += [{"txn": {"appId": app, "version": version}} for app, version in state.txns.items()]
        rows += [{"add": {**add, "dataChange": False}} for add in state.adds.values()]
        rows += [
            {"remove": remove}
            for remove in state.removes.values()
            if remove.get("deletionTimestamp", 0) >= keep_removes_after * 1000
        ]
        table = pa.Table.from_pylist([_mapped(row) for row in rows], schema=_CHECKPOINT_SCHEMA)
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        data = bytes(sink.getvalue())
        self._store.put(f"{self._folder}{state.version:020}.checkpoint.parquet", data)
        last = {"version": state.version, "size": len(rows), "sizeInBytes": len(data), "numOfAddFiles": len(state.adds)}
        self._store.put(f"{self._folder}_last_checkpoint", json.dumps(last).encode())

    def clear(self, *, before: float) -> None:
        """Delete commits and checkpoints written before that time (Unix seconds) which no reader of the newest
        checkpoint needs."""
        listed = list(self._store.list(self._folder))
        checkpoints = [int(m[1]) for i in listed if (m := _CHECKPOINT.search(i.key))]
        if not checkpoints:
            return
        newest = max(checkpoints)
        gone = []
        for info in listed:
            found = _COMMIT.search(info.key) or _CHECKPOINT.search(info.key)
            if found and int(found[1]) < newest and info.modified.timestamp() < before:
                gone.append(info.key)
        self._store.delete(gone)

    def _take(self, actions: Sequence[Mapping[str, Any]]) -> None:
        self.state.version += 1
        for action in actions:
            self.state.apply(action)
            if (info := action.get("commitInfo")) is not None and "syncline" not in info:
                self._infos[self.state.version] = info  # of others, until our next commit

    def _read(self) -> bool:
        listed = [info.key for info in self._store.list(self._folder)]
        commits = sorted(int(m[1]) for key in listed if (m := _COMMIT.search(key)))
        parts: dict[int, list[str]] = {}
        whole: dict[int, int] = {}
        for key in listed:
            if m := _CHECKPOINT.search(key):
                parts.setdefault(int(m[1]), []).append(key)
                whole[int(m[1])] = int(m[3] or 1)
        complete = [v for v, keys in parts.items() if len(keys) == whole[v]]
        if not commits and not complete:
            return True
        start = max(complete, default=-1)
        if start >= 0:
            for key in sorted(parts[start]):
                for action in self._checkpoint(key):
                    self.state.apply(action)
            self.state.version = start
        for number in [n for n in commits if n > start]:
            actions = self._commit(number) if number == self.state.version + 1 else None
            if actions is None:
                return False
            self._take(actions)
        return bool(self.state.metadata)

    def _checkpoint(self, key: str) -> Iterator[dict[str, Any]]:
        data = self._store.get(key)
        if data is None:
            return
        table = pq.read_table(pa.BufferReader(data))
        if "sidecar" in table.column_names and table["sidecar"].null_count < table.num_rows:
            raise _refused("checkpoints with side cars (V2)")
        wanted = [n for n in ("txn", "add", "remove", "metaData", "protocol") if n in table.column_names]
        for row in table.select(wanted).to_pylist():
            for name, value in row.items():
                if value is not None:
                    yield {name: {k: _unmapped(v) for k, v in value.items() if v is not None}}

    def _commit(self, number: int) -> list[dict[str, Any]] | None:
        data = self._store.get(self._key(number))
        if data is None:
            return None
        return [json.loads(line) for line in data.splitlines() if line.strip()]

    def _key(self, number: int) -> str:
        return f"{self._folder}{number:020}.json"


def data_key(folder: str, path: str) -> str:
    """The key of a data file named in an action."""
    if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*:/", path) or path.startswith("/"):
        raise _refused("files outside of its folder (a shallow clone)")
    return folder + unquote(path)


def now_millis() -> int:
    return int(time.time() * 1000)


def _refused(what: str) -> SynclineError:
    return SynclineError(
        ErrorKind.CONFIG,
        f"the Delta table uses {what}, which is not written here",
        hint="turn that off for this table (somebody else turned it on), or write the stream to a table of its own",
    )


def _mapped(row: Mapping[str, Any]) -> dict[str, Any]:
    """Objects that are maps in the checkpoint's schema as lists of pairs."""
    out: dict[str, Any] = {}
    for action, value in row.items():
        body = dict(value)
        for name in ("partitionValues", "configuration"):
            if isinstance(body.get(name), Mapping):
                body[name] = list(body[name].items())
        if isinstance(body.get("format"), Mapping):
            body["format"] = {**body["format"], "options": list((body["format"].get("options") or {}).items())}
        out[action] = body
    return out


def _unmapped(value: Any) -> Any:
    if isinstance(value, list) and value and all(isinstance(v, tuple) for v in value):
        return dict(value)
    return value
