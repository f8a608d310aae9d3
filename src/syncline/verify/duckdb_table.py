"""A table in a DuckDB file as a feed, attached for reading only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from syncline.verify.duckdb_cells import identifier, literal
from syncline.verify.duckdb_side import Part

__all__ = ["DuckDbTable"]

_NAME = "verified"


class DuckDbTable:
    """See :class:`syncline.verify.duckdb_side.Feed`."""

    def __init__(self, path: Path, schema: str, table: str) -> None:
        self.moment: Mapping[str, Any] = {}
        self.estimated_rows = -1
        self._path, self._relation = path, identifier(_NAME, schema, table)

    def types(self, engine: duckdb.DuckDBPyConnection) -> dict[str, Any]:
        engine.execute(f"ATTACH {literal(str(self._path))} AS {_NAME} (READ_ONLY)")
        self.moment = {"at": datetime.now(UTC).isoformat()}
        # While we hold the file open nobody else can write to it: all that follows sees it as it is now.
        row = engine.execute(f"SELECT count(*) FROM {self._relation}").fetchone()
        self.estimated_rows = row[0] if row else -1
        relation = engine.sql(f"SELECT * FROM {self._relation}")
        return dict(zip(relation.columns, relation.types, strict=True))

    def parts(self, engine: duckdb.DuckDBPyConnection, columns: Sequence[str]) -> Iterator[Part]:
        yield Part(sql=self._relation)

    def close(self) -> None:
        """The engine closes the file."""
