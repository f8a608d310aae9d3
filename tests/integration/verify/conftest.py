"""The systems that verifying tests stand on."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.integration.verify.harness import Systems

from syncline.testing.postgres_server import PostgresServer
from syncline.testing.s3_server import S3Server


@pytest.fixture
def systems(postgres_server: PostgresServer, postgres_db: str, tmp_path: Path) -> Systems:
    """A Postgres database and a folder."""
    return Systems(postgres=postgres_server, database=postgres_db, folder=tmp_path)


@pytest.fixture
def s3_systems(systems: Systems, s3_server: S3Server, s3_bucket: str) -> Systems:
    """And a bucket."""
    return Systems(
        postgres=systems.postgres, database=systems.database, folder=systems.folder, s3=s3_server, bucket=s3_bucket
    )
