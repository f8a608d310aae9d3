"""The Delta Lake destination: everything but the format itself is in :mod:`syncline.sdk.tables`."""

from __future__ import annotations

from typing import cast

from syncline.connectors.delta.config import DeltaDestinationConfig
from syncline.connectors.delta.table import DeltaTable
from syncline.core.stream import StreamName
from syncline.sdk.tables.destination import TableDestination
from syncline.sdk.tables.stream_table import owner_of

__all__ = ["DeltaDestination"]


class DeltaDestination(TableDestination):
    """Tables named as their streams, below one root. See :class:`syncline.sdk.destination.Destination`."""

    def _open_table(self, connection: str, stream: StreamName) -> DeltaTable:
        config = cast(DeltaDestinationConfig, self._config)
        return DeltaTable(self._store, config.table_folder(stream), owner_of(connection, stream), config)
