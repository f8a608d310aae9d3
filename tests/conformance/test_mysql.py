"""The MySQL source keeps the contracts of a source, on a real MariaDB server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from syncline.sdk.reference import ConnectorReference
from syncline.testing.conformance import SourceConformance
from syncline.testing.mariadb_server import MariaDbServer, find_mariadb, start_mariadb

Rows = list[tuple[int, str | None]]


@pytest.fixture(scope="module")
def server() -> Iterator[MariaDbServer]:
    if find_mariadb() is None:
        pytest.skip("no MariaDB server on this machine (apt-get install mariadb-server)")
    with start_mariadb() as server:
        yield server


class _Table:
    stream = "items"
    cursor_field: str | None = "id"

    def __init__(self, server: MariaDbServer) -> None:
        self._server, self._database = server, server.create_database()

    def reference(self) -> ConnectorReference:
        return ConnectorReference(type="mysql", config=self._server.config(self._database, rows_per_partition=300))

    def fill(self, rows: Rows) -> None:
        self._server.execute("CREATE OR REPLACE TABLE items (id int PRIMARY KEY, name text)", database=self._database)
        self.add(rows)

    def add(self, rows: Rows) -> None:
        with self._server.connect(self._database) as session, session.cursor() as cursor:
            cursor.executemany("INSERT INTO items VALUES (%s, %s)", rows)


class TestMySql(SourceConformance):
    @pytest.fixture
    def driver(self, server: MariaDbServer) -> _Table:
        return _Table(server)
