"""A database of each test's own, and an open session to look into it."""

from __future__ import annotations

import pytest


@pytest.fixture
def dsn(postgres_server, postgres_db):
    return postgres_server.params(postgres_db)


@pytest.fixture
def db(postgres_server, postgres_db):
    with postgres_server.connect(postgres_db) as connection:
        yield connection
