"""Write, audit, publish: a gate that fails leaves the old data visible and the new rows to be looked at; after a fix
they are published. From a real Postgres into DuckDB and Postgres, by the command line as a user has it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest
from tests.integration.command import succeed, syncline
from tests.integration.quality.pipe import Pipe

from syncline.testing.postgres_server import PostgresServer

pytestmark = pytest.mark.slow


@pytest.fixture(params=["duckdb", "postgres"])
def pipe(
    request: pytest.FixtureRequest,
    postgres_server: PostgresServer,
    postgres_db: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Pipe:
    monkeypatch.setenv("SYNCLINE_HOME", str(tmp_path / "home"))
    return Pipe(postgres_server, postgres_db, tmp_path, request.param)


GATES = [
    {"not_null": "cid"},
    {"regex": {"column": "email", "pattern": r".+@.+\..+"}, "severity": "quarantine"},
    {"unique": "email"},
    {"min_records": 3},
    {"sql": "SELECT * FROM {staged} WHERE cid < 0", "name": "positive"},
]


def statuses(quality: Any) -> dict[str, str]:
    return {r["gate"]: r["status"] for r in quality["results"]}


def test_what_fails_is_held_back_looked_at_mended_and_published(pipe: Pipe) -> None:
    pipe.project(GATES)
    assert pipe.sync().code == 0
    before = pipe.rows()
    assert len(before) == 5
    pipe.source(
        "UPDATE shop.customers SET email = 'nonsense' WHERE cid = 1",
        "UPDATE shop.customers SET email = 'u3@x.org' WHERE cid = 2",
        "INSERT INTO shop.customers VALUES (6, 'u6@x.org', 6)",
    )
    done = pipe.sync()
    assert done.code == 8
    assert "unique email" in done.json["error"]["message"]
    assert pipe.rows() == before  # the old data stays visible
    quality = pipe.quality()
    assert statuses(quality) == {
        "not_null cid": "passed",
        "regex email": "quarantined",
        "unique email": "blocked",
        "row_count": "passed",
        "positive": "passed",
    }
    table = pipe.staged()
    assert pipe.rows(f"SELECT count(*) FROM {table}") == [(5,)]  # but for the one in quarantine
    assert syncline("quality", "replay", pipe.file).code == 8
    assert pipe.rows() == before
    pipe.rows(f"UPDATE {table} SET email = 'u2@x.org' WHERE cid = 2", write=True)
    succeed("quality", "replay", pipe.file)
    assert pipe.rows() == [(2, "u2@x.org"), *((i, f"u{i}@x.org") for i in range(3, 7))]
    assert pipe.quality()["blocked"] is None
    assert pipe.quality()["history"] == [5, 5]
    assert "nothing is held back" in succeed("quality", "replay", pipe.file).out


def test_the_next_sync_reads_anew_what_was_held_back(pipe: Pipe) -> None:
    pipe.project(GATES)
    assert pipe.sync().code == 0
    pipe.source("UPDATE shop.customers SET email = 'u3@x.org' WHERE cid = 2")
    assert pipe.sync().code == 8
    pipe.source("UPDATE shop.customers SET email = 'mended@x.org' WHERE cid = 2")
    assert pipe.sync().code == 0
    assert pipe.rows()[1] == (2, "mended@x.org")
    assert pipe.quality()["blocked"] is None


def test_somebody_may_want_it_all_the_same(pipe: Pipe) -> None:
    pipe.project([{"min_records": 100}])
    assert pipe.sync().code == 8
    assert syncline("quality", "publish", pipe.file, "-s", "other", "-y").code == 3
    succeed("quality", "publish", pipe.file, "-s", "customers", "-y")
    assert len(pipe.rows()) == 5


def test_an_increment_is_held_back_as_a_whole_and_published_later(pipe: Pipe) -> None:
    stream: Any = {"mode": "incremental", "cursor_field": "seen"}
    pipe.project([{"range": {"column": "seen", "max": 100}}, {"unique": "email"}], **stream)
    assert pipe.sync().code == 0
    pipe.source("INSERT INTO shop.customers VALUES (7, 'u7@x.org', 7), (8, 'u8@x.org', 101)")
    assert pipe.sync().code == 8
    assert len(pipe.rows()) == 5
    assert statuses(pipe.quality()) == {"range seen": "blocked", "unique email": "passed"}
    pipe.project([{"range": {"column": "seen", "max": 1000}}, {"unique": "email"}], **stream)  # the gate was too strict
    succeed("quality", "replay", pipe.file)
    assert len(pipe.rows()) == 7
    again = pipe.sync()
    assert again.code == 0
    assert again.json["streams"][0]["rows_read"] == 0  # the position went with the rows


def test_references_are_looked_up_among_what_is_visible(pipe: Pipe) -> None:
    pipe.project([])
    assert pipe.sync().code == 0
    rule = {"references": {"column": "seen", "table": "dst.customers", "to": "cid"}}
    pipe.project([rule])
    assert pipe.sync().code == 0
    pipe.source("INSERT INTO shop.customers VALUES (9, 'u9@x.org', 77)")
    assert pipe.sync().code == 8
    assert pipe.quality()["results"][0]["observed"] == "1 of 6 rows refer to nothing"


@pytest.mark.parametrize(
    ("gate", "words"),
    [
        ({"not_null": "cidd"}, "did you mean 'cid'"),
        ({"sql": "SELECT nonsense FROM {staged}"}, "cannot answer a gate's question"),
        ({"sql": "DELETE FROM {staged}"}, "cannot answer a gate's question"),
    ],
)
def test_what_cannot_be_judged_publishes_nothing(pipe: Pipe, gate: Any, words: str) -> None:
    pipe.project([gate])
    done = pipe.sync()
    assert done.code == 3
    assert words in done.out
    found: Callable[[], Any] = lambda: pipe.rows("SELECT count(*) FROM dst.customers")  # noqa: E731
    with pytest.raises((duckdb.Error, psycopg.Error)):
        found()
