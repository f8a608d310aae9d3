"""The source of files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from syncline.connectors.files.source_config import FilesSourceConfig
from syncline.core.batch import Batch
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.partition import Partition, ReadPlan
from syncline.core.stream import Catalog, SelectedStream
from syncline.sdk.connector import ConnectorContext
from syncline.sdk.findings import Finding

__all__ = ["FilesSource"]


class FilesSource:
    """Streams of files in a folder or a bucket. Being written; only its configuration is final."""

    def __init__(self, config: FilesSourceConfig, context: ConnectorContext) -> None:
        self._store = config.open_store()

    def check(self, selection: Sequence[SelectedStream] = ()) -> list[Finding]:
        raise _unfinished()

    def discover(self) -> Catalog:
        raise _unfinished()

    def snapshot(self, selected: SelectedStream) -> ReadPlan:
        raise _unfinished()

    def read_since(self, selected: SelectedStream, position: Mapping[str, Any]) -> ReadPlan:
        raise _unfinished()

    def read(self, selected: SelectedStream, partition: Partition) -> Iterator[Batch]:
        raise _unfinished()

    def acknowledge(self, selected: SelectedStream, position: Mapping[str, Any]) -> None:
        """Files stay where they are."""

    def close(self) -> None:
        self._store.close()


def _unfinished() -> SynclineError:
    return SynclineError(ErrorKind.INTERNAL, "the source of files is not finished")
