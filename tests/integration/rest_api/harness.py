"""Reads a source of REST APIs as the engine does, without a destination."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

from syncline.core.batch import Misfit
from syncline.core.errors import SynclineError
from syncline.core.stream import SelectedStream, SyncMode
from syncline.sdk.connector import ConnectorContext
from syncline.sdk.feed import FedBatch, FedDone, FedLog, FedState, ReadsFeed
from syncline.sdk.reference import ConnectorReference, open_source


class Read:
    """What one run gave: rows, the newest state, what was said, and how the stream ended."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.state: Any = None
        self.states = 0
        self.logs: list[str] = []
        self.misfits: list[Misfit] = []
        self.error: SynclineError | None = None
        self.done = False

    def column(self, name: str) -> list[Any]:
        return [row[name] for row in self.rows]


class Reader:
    """One connection: the same configuration and folder, run after run."""

    def __init__(self, folder: Path, type_name: str = "rest_api", **config: Any) -> None:
        self.folder, self.type, self.config = folder, type_name, config

    def open(self) -> Any:
        context = ConnectorContext(connection="c", work_dir=self.folder / "work", concurrency=2)
        return open_source(ConnectorReference(type=self.type, config=self.config), context)

    def read(self, stream: str | None = None, *, state: Any = None, mode: str = "incremental_append") -> Read:
        with closing(self.open()) as source:
            assert isinstance(source, ReadsFeed)
            catalog = source.discover()  # type: ignore[attr-defined]
            found = next(s for s in catalog.streams if stream is None or s.name.name == stream)
            sync_mode = SyncMode(mode) if found.incremental else SyncMode.FULL_REFRESH_OVERWRITE
            selected = SelectedStream(stream=found, sync_mode=sync_mode, primary_key=found.primary_key)
            read = Read()
            positions = {} if state is None else {found.name: state}
            with closing(source.feed([selected], positions, None)) as feed:
                for message in feed:
                    match message:
                        case FedBatch():
                            read.rows += message.batch.data.to_pylist()
                            read.misfits += message.batch.misfits
                        case FedState():
                            read.state = message.position
                            read.states += 1
                        case FedLog():
                            read.logs.append(message.message)
                        case FedDone():
                            read.done, read.error = True, message.error
        assert read.done
        return read

    def good(self, stream: str | None = None, **how: Any) -> Read:
        read = self.read(stream, **how)
        if read.error is not None:
            raise read.error
        return read

    def columns(self, stream: str | None = None) -> dict[str, str]:
        with closing(self.open()) as source:
            found = next(s for s in source.discover().streams if stream is None or s.name.name == stream)
            return {f.name: f.logical or str(f.type) for f in found.schema.fields}
