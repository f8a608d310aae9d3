"""BigQuery keeps the contract, against its counterpart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from syncline.sdk.reference import ConnectorReference
from syncline.testing.bigquery_server import BigQueryServer, prepare_bigquery, start_bigquery
from syncline.testing.conformance import DestinationConformance

pytestmark = [pytest.mark.clients, pytest.mark.slow]


class Driver:
    gaps: dict[str, str] = {}

    def __init__(self, server: BigQueryServer) -> None:
        self.server, self.dataset = server, server.create_dataset()

    def reference(self) -> ConnectorReference:
        return ConnectorReference(type="bigquery", config=self.server.config(self.dataset, merge_interval=0))

    def rows(self, columns: Sequence[str]) -> list[tuple[Any, ...]] | None:
        known = {
            name
            for (name,) in self._ask("SELECT column_name FROM {}.INFORMATION_SCHEMA.COLUMNS WHERE table_name = 'items'")
        }
        if not known:
            return None
        chosen = ", ".join(f"`{c}`" if c in known else f"NULL AS `{c}`" for c in columns)
        return self._ask(f"SELECT {chosen} FROM {{}}.items")

    def quarantined(self) -> int:
        known = self._ask("SELECT 1 FROM {}.INFORMATION_SCHEMA.TABLES WHERE table_name = '_syncline_quarantine'")
        return int(self._ask("SELECT COUNT(*) FROM {}._syncline_quarantine")[0][0]) if known else 0

    def _ask(self, query: str) -> list[tuple[Any, ...]]:
        return self.server.rows(query.format(f"`{self.server.project}.{self.dataset}`"))


@pytest.fixture(scope="module")
def server() -> Iterator[BigQueryServer]:
    prepare_bigquery()
    with start_bigquery() as running:
        yield running


class TestBigquery(DestinationConformance):
    @pytest.fixture
    def driver(self, server: BigQueryServer) -> Driver:
        return Driver(server)
