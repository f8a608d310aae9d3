"""A database of each test's own, on the newest server and on an older one where the system has it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.postgres.harness import Database

from syncline.testing.postgres_server import PostgresServer, start_postgres

OLDER = Path("/usr/lib/postgresql/15/bin")


@pytest.fixture(scope="session", params=["newest", pytest.param("15", marks=pytest.mark.slow)])
def server(request, postgres_server) -> Iterator[PostgresServer]:
    if request.param == "newest":
        yield postgres_server
    elif not (OLDER / "postgres").exists():
        pytest.skip("no PostgreSQL 15 on this machine")
    else:
        with start_postgres(bindir=OLDER) as older:
            yield older


@pytest.fixture
def db(server, tmp_path) -> Iterator[Database]:
    name = server.create_database()
    with Database(server, name, tmp_path) as database:
        yield database
    server.drop_database(name)
