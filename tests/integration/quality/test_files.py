"""Gates that ask the staged rows of a lake: DuckDB over Parquet files that nobody sees yet."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.integration.command import succeed
from tests.integration.quality.pipe import Pipe

from syncline.testing.postgres_server import PostgresServer

pytestmark = pytest.mark.slow


@pytest.fixture
def pipe(postgres_server: PostgresServer, postgres_db: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pipe:
    monkeypatch.setenv("SYNCLINE_HOME", str(tmp_path / "home"))
    return Pipe(postgres_server, postgres_db, tmp_path, "local")


def test_a_copy_is_held_back_and_published_when_the_gate_is_mended(pipe: Pipe) -> None:
    pipe.project([{"unique": "email"}, {"sql": "SELECT * FROM {staged} WHERE cid < 0"}])
    assert pipe.sync().code == 0
    pipe.source("UPDATE shop.customers SET email = 'u3@x.org' WHERE cid = 2")
    assert pipe.sync().code == 8
    assert pipe.rows()[1] == (2, "u2@x.org")
    place = Path(pipe.quality()["blocked"]["place"])
    assert any(place.iterdir())
    pipe.project([{"unique": "cid"}, {"regex": {"column": "email", "pattern": "@"}}])
    succeed("quality", "replay", pipe.file)
    assert pipe.rows()[1] == (2, "u3@x.org")


def test_an_increment_is_judged_before_its_commit(pipe: Pipe) -> None:
    stream = {"mode": "incremental_append", "cursor_field": "seen"}
    pipe.project([{"unique": "email"}], None, **stream)
    assert pipe.sync().code == 0
    pipe.source("INSERT INTO shop.customers VALUES (7, 'same', 7), (8, 'same', 8)")
    assert pipe.sync().code == 8
    assert len(pipe.rows()) == 5
    pipe.source("UPDATE shop.customers SET email = 'other' WHERE cid = 8")
    assert pipe.sync().code == 0
    assert len(pipe.rows()) == 7


def test_a_gate_reads_no_other_file(pipe: Pipe) -> None:
    pipe.project([{"sql": "SELECT * FROM read_csv('/etc/passwd')"}])
    done = pipe.sync()
    assert done.code == 3
    assert "cannot answer" in done.text
