"""A folder of files and the source over it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from syncline.core.batch import Misfit
from syncline.core.partition import Partition, ReadPlan
from syncline.core.stream import SelectedStream, Stream, StreamName, SyncMode
from syncline.sdk.connector import ConnectorContext
from syncline.sdk.reference import ConnectorReference, open_source
from syncline.sdk.source import Source

__all__ = ["Lake"]


class Lake:
    """Files below ``root``; ``source`` is opened with ``config`` and closed by nobody, since it holds nothing."""

    def __init__(self, root: Path, **config: Any) -> None:
        self.root = root
        self.config: dict[str, Any] = {"path": str(root), "name": "t", **config}

    def put(self, key: str, data: bytes | str, mtime: float | None = None) -> None:
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        if mtime is not None:
            os.utime(path, (mtime, mtime))

    def source(self, **config: Any) -> Source:
        context = ConnectorContext(connection="c", work_dir=self.root)
        return open_source(ConnectorReference(type="files", config={**self.config, **config}), context)

    def select(self, source: Source, mode: SyncMode = SyncMode.INCREMENTAL_APPEND, name: str = "t") -> SelectedStream:
        stream = source.discover().get(StreamName(name=name))
        assert isinstance(stream, Stream)
        return SelectedStream(stream=stream, sync_mode=mode, primary_key=stream.primary_key)

    def types(self, **config: Any) -> dict[str, str]:
        """Columns with their Arrow types, JSON text as ``json``."""
        fields = self.select(self.source(**config)).stream.schema.fields
        return {f.name: f.logical or str(f.type) for f in fields}

    def rows(self, **config: Any) -> list[dict[str, Any]]:
        rows, misfits = self.read(**config)
        assert not misfits
        return rows

    def read(self, **config: Any) -> tuple[list[dict[str, Any]], list[Misfit]]:
        source = self.source(**config)
        selected = self.select(source)
        return self.read_plan(source, selected, source.snapshot(selected))

    def read_plan(
        self, source: Source, selected: SelectedStream, plan: ReadPlan
    ) -> tuple[list[dict[str, Any]], list[Misfit]]:
        rows: list[dict[str, Any]] = []
        misfits: list[Misfit] = []
        for partition in plan.partitions:
            found, wrong = self.read_partition(source, selected, partition)
            rows += found
            misfits += wrong
        return rows, misfits

    def read_partition(
        self, source: Source, selected: SelectedStream, partition: Partition
    ) -> tuple[list[dict[str, Any]], list[Misfit]]:
        rows: list[dict[str, Any]] = []
        misfits: list[Misfit] = []
        for batch in source.read(selected, partition):
            assert batch.data.schema.equals(selected.stream.schema.arrow())
            batch.data.validate(full=True)
            rows += batch.data.to_pylist()
            misfits += batch.misfits
        return rows, misfits
