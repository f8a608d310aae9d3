"""Gates on changes of a log: rows that break one are set aside flush by flush, a gate that blocks stops the stream, and
too many rows aside do too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.integration.quality.pipe import Pipe

from syncline.testing.postgres_server import PostgresServer

pytestmark = pytest.mark.slow

EMAIL: dict[str, Any] = {"regex": {"column": "email", "pattern": r".+@.+\..+"}}
STREAM: Any = {"mode": "incremental"}


@pytest.fixture(params=["duckdb", "postgres"])
def pipe(
    request: pytest.FixtureRequest,
    postgres_server: PostgresServer,
    postgres_db: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Pipe:
    monkeypatch.setenv("SYNCLINE_HOME", str(tmp_path / "home"))
    made = Pipe(postgres_server, postgres_db, tmp_path, request.param)
    made.method = "CDC"
    return made


def test_changes_that_break_a_gate_are_set_aside_and_the_others_applied(pipe: Pipe) -> None:
    pipe.project([{**EMAIL, "severity": "quarantine"}, {"min_records": 1}], **STREAM)
    first = pipe.sync()
    assert first.code == 0, first.text
    pipe.source(
        "UPDATE shop.customers SET email = 'nonsense' WHERE cid = 1",
        "UPDATE shop.customers SET email = 'new2@x.org' WHERE cid = 2",
        "INSERT INTO shop.customers VALUES (6, 'none', 6), (7, 'u7@x.org', 7)",
        "DELETE FROM shop.customers WHERE cid = 3",
    )
    done = pipe.sync()
    assert done.code == 0, done.text
    # The row whose change was set aside stays as it was.
    assert pipe.rows() == [
        (1, "u1@x.org"),
        (2, "new2@x.org"),
        (4, "u4@x.org"),
        (5, "u5@x.org"),
        (7, "u7@x.org"),
    ]
    found = pipe.quarantine()
    assert sorted(e["record"]["cid"] for e in found["entries"]) == ["1", "6"]
    assert {e["reason"] for e in found["entries"]} == {"gate 'regex email' is broken"}
    (stream,) = done.json["streams"]
    assert stream["rows_quarantined"] == 2


def test_a_gate_that_blocks_stops_the_stream_before_the_flush(pipe: Pipe) -> None:
    pipe.project([EMAIL], **STREAM)
    assert pipe.sync().code == 0
    pipe.source("INSERT INTO shop.customers VALUES (6, 'none', 6)")
    done = pipe.sync()
    assert done.code != 0
    assert "which blocks" in done.text
    assert len(pipe.rows()) == 5
    # What was held back can be looked at.
    assert pipe.rows("SELECT _syncline_op, cid, email FROM dst.customers__held_back") == [("insert", 6, "none")]


def test_a_first_copy_is_held_back_and_the_log_goes_on_after_its_replay(pipe: Pipe) -> None:
    pipe.project([{"min_records": 100}], **STREAM)
    assert pipe.sync().code == 8
    pipe.project([{"min_records": 5}], **STREAM)
    from tests.integration.command import succeed

    succeed("quality", "replay", pipe.file)
    assert len(pipe.rows()) == 5
    pipe.source("INSERT INTO shop.customers VALUES (6, 'u6@x.org', 6)")
    done = pipe.sync()
    assert done.code == 0, done.text
    assert len(pipe.rows()) == 6
