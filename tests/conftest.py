"""Fixtures for every suite: real servers, started once per run, and a fresh database or bucket for each test."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from syncline.testing.postgres_server import PostgresServer, find_tls_bindir, start_postgres
from syncline.testing.s3_server import S3Server, start_s3

# Processes that tests start keep what Python compiles, as installed ones do: it is half a second of CPU for each.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# A busy machine must not fail a property: how long an example takes is no promise of ours.
settings.register_profile("syncline", deadline=None)
settings.load_profile("syncline")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One Postgres for the whole run. Do not restart it: a test that must, starts its own."""
    with start_postgres() as server:
        yield server


@pytest.fixture
def postgres_db(postgres_server: PostgresServer) -> Iterator[str]:
    """The name of an empty database of this test's own; connect with ``postgres_server.dsn(postgres_db)``."""
    name = postgres_server.create_database()
    yield name
    postgres_server.drop_database(name)


@pytest.fixture(scope="session")
def tls_postgres_server() -> Iterator[PostgresServer]:
    """A Postgres that serves TLS; mark its tests with ``tls``. Skips where no server with OpenSSL is installed."""
    bindir = find_tls_bindir()
    if bindir is None:
        pytest.skip("no Postgres server built with OpenSSL on this machine")
    with start_postgres(bindir=bindir, ssl=True) as server:
        yield server


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """One S3 endpoint for the whole run."""
    with start_s3() as server:
        yield server


@pytest.fixture
def s3_bucket(s3_server: S3Server) -> Iterator[str]:
    """The name of an empty bucket of this test's own."""
    name = s3_server.create_bucket()
    yield name
    s3_server.delete_bucket(name)
