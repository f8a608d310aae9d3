"""The Iceberg destination: everything but the format itself is in :mod:`syncline.sdk.tables`."""

from __future__ import annotations

import threading
from typing import cast

from pyiceberg.catalog import Catalog

from syncline.connectors.iceberg.catalogs import open_catalog
from syncline.connectors.iceberg.config import IcebergDestinationConfig
from syncline.connectors.iceberg.table import IcebergTable
from syncline.core.stream import StreamName
from syncline.sdk.connector import ConnectorContext
from syncline.sdk.tables.destination import TableDestination
from syncline.sdk.tables.stream_table import owner_of

__all__ = ["IcebergDestination"]


class IcebergDestination(TableDestination):
    """Tables of one catalog. See :class:`syncline.sdk.destination.Destination`."""

    def __init__(self, config: IcebergDestinationConfig, context: ConnectorContext) -> None:
        super().__init__(config, context)
        self._catalog: Catalog | None = None
        self._opening = threading.Lock()

    def _open_table(self, connection: str, stream: StreamName) -> IcebergTable:
        config = cast(IcebergDestinationConfig, self._config)
        return IcebergTable(self._store, config, stream, owner_of(connection, stream), self._opened)

    def _opened(self) -> Catalog:
        """The catalog, opened at its first use; its engine takes care of threads."""
        with self._opening:
            if self._catalog is None:
                self._catalog = open_catalog(cast(IcebergDestinationConfig, self._config), self._store)
            return self._catalog
