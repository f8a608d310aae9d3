"""A table in a DuckDB file as a feed, attached for reading only."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from syncline.verify.duckdb_cells import identifier, literal
from syncline.verify.duckdb_side import Part

__all__ = ["DATABASE", "DuckDbTable"]

#: The file's name within the engine.
DATABASE = "verified"
_PAUSE = 0.2


class DuckDbTable:
    """See :class:`syncline.verify.duckdb_side.Feed`."""

    def __init__(self, path: Path, schema: str, table: str, *, lock_timeout: float = 30.0) -> None:
        self.moment: Mapping[str, Any] = {}
        self.estimated_rows = -1
        self.refused: Mapping[str, str] = {}
        self._types: dict[str, Any] = {}
        self._path, self._relation, self._lock_timeout = path, identifier(DATABASE, schema, table), lock_timeout

    def types(self, engine: duckdb.DuckDBPyConnection) -> dict[str, Any]:
        self._attach(engine)
        self.moment = {"at": datetime.now(UTC).isoformat()}
        # While we hold the file open nobody else can write to it: all that follows sees it as it is now.
        row = engine.execute(f"SELECT count(*) FROM {self._relation}").fetchone()
        self.estimated_rows = row[0] if row else -1
        relation = engine.sql(f"SELECT * FROM {self._relation}")
        self._types = dict(zip(relation.columns, relation.types, strict=True))
        return self._types

    def parts(self, engine: duckdb.DuckDBPyConnection) -> Iterator[Part]:
        yield Part(sql=self._relation, types=self._types)

    def _attach(self, engine: duckdb.DuckDBPyConnection) -> None:
        """Somebody who commits holds the file for moments: try again until ``lock_timeout``."""
        deadline = time.monotonic() + self._lock_timeout
        while True:
            try:
                engine.execute(f"ATTACH {literal(str(self._path))} AS {DATABASE} (READ_ONLY)")
                return
            except duckdb.IOException as error:
                if "lock" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(_PAUSE)

    def close(self) -> None:
        """The engine closes the file."""
