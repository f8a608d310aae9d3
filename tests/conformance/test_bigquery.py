"""BigQuery keeps the contract, against its counterpart. Or against the real service, with the machine's credentials:
``SYNCLINE_LIVE_BIGQUERY=project.dataset``. Then datasets named ``dataset_…`` are made in the project, and dropped."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from google.cloud import bigquery

from syncline.sdk.reference import ConnectorReference
from syncline.testing.bigquery_server import BigQueryServer, prepare_bigquery, start_bigquery
from syncline.testing.conformance import ChangeConformance, DestinationConformance

pytestmark = [pytest.mark.clients, pytest.mark.slow]


class Live:
    """The real service."""

    def __init__(self, place: str) -> None:
        self.project, _, self._start = place.partition(".")
        self._client = bigquery.Client(project=self.project)
        self._made: list[str] = []

    def create_dataset(self) -> str:
        name = f"{self._start or 'syncline'}_{secrets.token_hex(5)}"
        self._client.create_dataset(name)
        self._made.append(name)
        return name

    def config(self, dataset: str, **more: Any) -> dict[str, Any]:
        return {"project_id": self.project, "dataset_id": dataset, **more}

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return [tuple(row.values()) for row in self._client.query_and_wait(query)]

    def close(self) -> None:
        for name in self._made:
            self._client.delete_dataset(name, delete_contents=True, not_found_ok=True)
        self._client.close()


class Driver:
    gaps: dict[str, str] = {}

    def __init__(self, server: BigQueryServer | Live) -> None:
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
def server() -> Iterator[BigQueryServer | Live]:
    if place := os.environ.get("SYNCLINE_LIVE_BIGQUERY"):
        with contextlib.closing(Live(place)) as live:
            yield live
        return
    prepare_bigquery()
    with start_bigquery() as running:
        yield running


class TestBigquery(DestinationConformance):
    @pytest.fixture
    def driver(self, server: BigQueryServer | Live) -> Driver:
        return Driver(server)


class TestBigqueryChanges(ChangeConformance):
    @pytest.fixture
    def driver(self, server: BigQueryServer | Live) -> Driver:
        return Driver(server)
