"""Tables of the counterpart of BigQuery as the fault suites look at them: by Google's own client and plain SQL."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from google.api_core.exceptions import NotFound
from tests.faults.kill_matrix import COLUMNS, Target
from tests.faults.kill_matrix import Row as MatrixRow

from syncline.testing.bigquery_server import BigQueryServer
from syncline.testing.oracle.content import Row, plain

__all__ = ["BigQueryEnd", "matrix_target"]


@dataclass(frozen=True)
class BigQueryEnd:
    """One dataset. A table that is not there has no rows."""

    server: BigQueryServer
    dataset: str

    def rows(self, table: str) -> list[Row]:
        return [{n: plain(v) for n, v in row.items()} for row in self.ask(table, "*")]

    def ask(self, table: str, columns: str) -> list[dict[str, Any]]:
        query = f"SELECT {columns} FROM `{self.server.project}.{self.dataset}.{table}`"
        with contextlib.closing(self.server.client()) as client:
            try:
                return [dict(row.items()) for row in client.query_and_wait(query)]
            except NotFound:
                return []


def matrix_target(server: BigQueryServer) -> Target:
    """A dataset of its own for the kill matrix."""
    end = BigQueryEnd(server, server.create_dataset())

    def read(table: str) -> Iterable[tuple[MatrixRow, int]]:
        found = end.ask(table, ", ".join([*COLUMNS, "_syncline_generation"]))
        return [(tuple(row[c] for c in COLUMNS), row["_syncline_generation"]) for row in found]

    return Target(name="bigquery", type="bigquery", config=server.config(end.dataset), read=read)
