"""Delta Lake and Iceberg tables read whole, by delta-rs and pyiceberg."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from syncline.testing.oracle.content import Row, plain

__all__ = ["DeltaEnd", "IcebergEnd"]


@dataclass(frozen=True)
class DeltaEnd:
    """Delta tables below a local folder."""

    root: Path

    def rows(self, table: str) -> list[Row]:
        from deltalake import DeltaTable
        from deltalake.exceptions import TableNotFoundError

        try:
            return _rows(DeltaTable(self.root / table).to_pyarrow_table())
        except TableNotFoundError:
            return []


@dataclass(frozen=True)
class IcebergEnd:
    """Iceberg tables of the SQLite catalog in a local folder."""

    root: Path
    namespace: str = "default"

    def rows(self, table: str) -> list[Row]:
        from pyiceberg.catalog import load_catalog
        from pyiceberg.exceptions import NoSuchTableError

        uri = self.root / "iceberg-catalog.db"
        if not uri.exists():
            return []
        catalog = load_catalog("syncline", type="sql", uri=f"sqlite:///{uri}")
        try:
            return _rows(catalog.load_table((self.namespace, table)).scan().to_arrow())
        except NoSuchTableError:
            return []
        finally:
            catalog.close()


def _rows(found: Any) -> list[Row]:
    return [{name: plain(value) for name, value in row.items()} for row in pa.table(found).to_pylist()]
