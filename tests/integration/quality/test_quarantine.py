"""Quarantined rows: kept with their bytes, looked at, written after all exactly once, dropped. And what a server
refuses among undecoded bytes."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from tests.integration.command import succeed, syncline
from tests.integration.quality.pipe import Pipe

from syncline.testing.postgres_server import PostgresServer

pytestmark = pytest.mark.slow

EMAIL = {"regex": {"column": "email", "pattern": r".+@.+\..+"}, "severity": "quarantine"}


@pytest.fixture(params=["duckdb", "postgres", "local"])
def pipe(
    request: pytest.FixtureRequest,
    postgres_server: PostgresServer,
    postgres_db: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Pipe:
    monkeypatch.setenv("SYNCLINE_HOME", str(tmp_path / "home"))
    return Pipe(postgres_server, postgres_db, tmp_path, request.param)


def test_rows_are_kept_shown_and_written_once_the_gate_is_mended(pipe: Pipe) -> None:
    pipe.source("UPDATE shop.customers SET email = 'no mail' WHERE cid < 3")
    pipe.project([EMAIL])
    done = pipe.sync()
    assert done.code == 0
    (stream,) = done.json["streams"]
    assert (stream["rows_read"], stream["rows_written"], stream["rows_quarantined"]) == (5, 3, 2)
    found = pipe.quarantine()
    assert found["reasons"] == [{"column": "email", "reason": "gate 'regex email' is broken", "rows": 2}]
    assert [e["record"]["email"] for e in found["entries"]] == ["no mail", "no mail"]
    assert found["entries"][0]["sync_id"] == done.json["sync_id"]
    still = succeed("quarantine", "replay", pipe.file, "-s", "customers", "--json").json
    assert still["written"] == 0
    assert len(still["failing"]) == 2
    pipe.project([])
    first = found["entries"][0]["id"]
    assert succeed("quarantine", "replay", pipe.file, "-s", "customers", "--id", first, "--json").json["written"] == 1
    assert len(pipe.rows()) == 4
    assert [e["id"] for e in pipe.quarantine()["entries"]] == [found["entries"][1]["id"]]
    assert succeed("quarantine", "replay", pipe.file, "-s", "customers", "--json").json["written"] == 1
    assert succeed("quarantine", "replay", pipe.file, "-s", "customers", "--json").json["written"] == 0
    assert sorted(cid for cid, _ in pipe.rows()) == [1, 2, 3, 4, 5]
    assert pipe.quarantine()["rows"] == 0


def test_rows_can_be_dropped(pipe: Pipe) -> None:
    pipe.source("UPDATE shop.customers SET email = 'no mail' WHERE cid < 3")
    pipe.project([EMAIL])
    assert pipe.sync().code == 0
    assert syncline("quarantine", "drop", pipe.file, "-s", "customers", "-y").code == 2
    assert syncline("quarantine", "drop", pipe.file, "-s", "customers", "--id", "nobody", "-y").code == 3
    assert succeed("quarantine", "drop", pipe.file, "-s", "customers", "--all", "-y", "--json").json["dropped"] == 2
    assert "0 rows in quarantine" in succeed("quarantine", "list", pipe.file).out


def test_too_many_rows_aside_publish_nothing(pipe: Pipe) -> None:
    pipe.project([EMAIL], quarantine={"max_rows": 1})
    assert pipe.sync().code == 0
    pipe.source("UPDATE shop.customers SET email = 'no mail' WHERE cid < 3")
    done = pipe.sync()
    assert done.code == 8
    assert "2 of 5 rows were set aside, and 1 rows may be" in done.json["error"]["message"]
    assert pipe.rows()[0] == (1, "u1@x.org")


@pytest.mark.parametrize("place", ["commit.before", "commit.after"])
def test_a_replay_that_dies_writes_no_row_twice(pipe: Pipe, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe.source("UPDATE shop.customers SET email = 'no mail' WHERE cid < 3")
    pipe.project([EMAIL])
    assert pipe.sync().code == 0
    pipe.project([])
    child = os.fork()
    if child == 0:  # a process of its own, killed at the step
        monkeypatch.setenv("SYNCLINE_FAILPOINT", place)
        syncline("quarantine", "replay", pipe.file, "-s", "customers")
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    left = 2 if place == "commit.before" else 0
    assert pipe.quarantine()["rows"] == left
    assert succeed("quarantine", "replay", pipe.file, "-s", "customers", "--json").json["written"] == left
    assert sorted(cid for cid, _ in pipe.rows()) == [1, 2, 3, 4, 5]
    assert pipe.quarantine()["rows"] == 0


def test_a_newer_row_is_not_put_back(pipe: Pipe) -> None:
    if pipe.kind == "local":
        pytest.skip("plain files cannot replace rows")
    stream: dict[str, Any] = {"mode": "incremental", "cursor_field": "seen"}
    pipe.project([EMAIL], **stream)
    assert pipe.sync().code == 0
    pipe.source("UPDATE shop.customers SET email = 'old', seen = 10 WHERE cid = 1")
    pipe.source("UPDATE shop.customers SET email = 'other', seen = 11 WHERE cid = 2")
    assert pipe.sync().code == 0
    pipe.source("UPDATE shop.customers SET email = 'new@x.org', seen = 20 WHERE cid = 1")
    assert pipe.sync().code == 0
    pipe.project([], **stream)
    outcome = succeed("quarantine", "replay", pipe.file, "-s", "customers", "--json").json
    assert outcome["written"] == 1
    assert len(outcome["superseded"]) == 1
    assert pipe.rows()[:2] == [(1, "new@x.org"), (2, "other")]


def test_what_the_server_refuses_among_undecoded_bytes_goes_aside_alone(pipe: Pipe) -> None:
    if pipe.kind != "postgres":
        pytest.skip("only Postgres takes rows undecoded")
    pipe.source(
        "CREATE SCHEMA dst",
        "CREATE TABLE dst.customers (cid int, email text, seen int CHECK (seen < 5),"
        " _syncline_extracted_at timestamptz, _syncline_sync_id text, _syncline_generation bigint)",
    )
    pipe.project([], mode="full_refresh_append")
    done = pipe.sync()
    assert done.code == 0, done.text
    (stream,) = done.json["streams"]
    assert (stream["rows_read"], stream["rows_written"], stream["rows_quarantined"]) == (5, 4, 1)
