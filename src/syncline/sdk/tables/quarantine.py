"""Rows beside a table: JSON lines below our own folder, visible with the commit of the rows that came with them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from syncline.core.batch import QuarantinedRow
from syncline.core.checkpoint import StreamTarget
from syncline.sdk.files.store import ObjectStore, StagedObject, Upload
from syncline.sdk.quarantine import QuarantineEntry
from syncline.sdk.tables.files_out import Naming

__all__ = ["QuarantineOut", "as_entry", "quarantined"]


class QuarantineOut:
    """One file of rows set aside, opened with its first row."""

    def __init__(self, store: ObjectStore, folder: str, naming: Naming, target: StreamTarget, partition: str) -> None:
        self._store, self._target, self._partition = store, target, partition
        # The generation begins the name: rows of a former one go with it.
        self._key, self._stage = naming.aside(f"{folder}quarantine/", f"{target.generation}"), naming.stage
        self._upload: Upload | None = None
        self.rows = 0

    def write(self, rows: Sequence[QuarantinedRow]) -> None:
        if not rows:
            return
        if self._upload is None:
            self._upload = self._store.upload(self._key, stage=self._stage)
        target = self._target
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        lines = []
        for row in rows:
            record = {
                "connection": target.connection,
                "stream_namespace": target.stream.namespace,
                "stream_name": target.stream.name,
                "generation": target.generation,
                "partition_id": self._partition,
                "sync_id": target.sync_id,
                "column_name": row.column,
                "reason": row.reason,
                "record": dict(row.record),
                "quarantined_at": now,
                "id": row.id,
                "original": row.original,
            }
            lines.append(json.dumps(record, ensure_ascii=False) + "\n")
        self._upload.sink.write("".join(lines).encode())
        self.rows += len(rows)

    def finish(self) -> StagedObject | None:
        """Durable; None when there is nothing."""
        return None if self._upload is None else self._upload.finish()

    def abort(self) -> None:
        if self._upload is not None:
            self._upload.abort()


def quarantined(store: ObjectStore, folder: str) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The visible rows: each file's key and its records."""
    for info in store.list(f"{folder}quarantine/"):
        data = store.get(info.key) or b""
        yield info.key, [json.loads(line) for line in data.splitlines() if line]


def as_entry(record: dict[str, Any]) -> QuarantineEntry:
    """A line of such a file."""
    return QuarantineEntry(
        id=record.get("id", ""),
        generation=record["generation"],
        partition=record["partition_id"],
        sync_id=record["sync_id"],
        column=record["column_name"],
        reason=record["reason"],
        record=record["record"],
        at=record["quarantined_at"],
        original=record.get("original", ""),
    )
