"""A shop with its database, and a home of its own for the command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.integration.fan_out.shop import Shop

from syncline.testing.postgres_server import PostgresServer


@pytest.fixture
def shop(
    postgres_server: PostgresServer, postgres_db: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Shop]:
    monkeypatch.setenv("SYNCLINE_HOME", str(tmp_path / "home"))
    with closing(Shop(postgres_server, postgres_db, tmp_path)) as made:
        yield made
