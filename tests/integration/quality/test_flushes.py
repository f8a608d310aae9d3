"""Rules about a stream as a whole on changes of a log: judged on the table as a flush would leave it, before anybody
sees it. What breaks a gate that blocks is held back and can be looked at; the table and the stream's position stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest
from deltalake import DeltaTable
from tests.integration.command import succeed, syncline
from tests.integration.quality.lake import LakePipe
from tests.integration.quality.pipe import Pipe

from syncline.testing.postgres_server import PostgresServer
from syncline.testing.s3_server import S3Server

pytestmark = pytest.mark.slow

STREAM: Any = {"mode": "incremental"}
DUPLICATE = "INSERT INTO shop.customers VALUES (7, 'u7@x.org', 7), (6, 'u1@x.org', 6)"


@pytest.fixture(params=["duckdb", "postgres", "delta"])
def pipe(
    request: pytest.FixtureRequest,
    postgres_server: PostgresServer,
    postgres_db: str,
    s3_server: S3Server,
    s3_bucket: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Pipe:
    monkeypatch.setenv("SYNCLINE_HOME", str(tmp_path / "home"))
    made = (
        LakePipe(postgres_server, postgres_db, tmp_path, request.param, s3_server, s3_bucket)
        if request.param == "delta"
        else Pipe(postgres_server, postgres_db, tmp_path, request.param)
    )
    made.method = "CDC"
    return made


def seen(pipe: Pipe) -> list[int]:
    rows = pipe.visible() if isinstance(pipe, LakePipe) else pipe.rows()
    return sorted(row[0] for row in rows)


def held(pipe: Pipe) -> list[tuple[Any, ...]]:
    """The changes that lie apart: kind and key."""
    query = "SELECT _syncline_op, cid FROM {} ORDER BY cid"
    if isinstance(pipe, LakePipe):
        table = DeltaTable(str(pipe.folder / "lake" / "customers__held_back")).to_pyarrow_table()
        return duckdb.from_arrow(table).query("held", query.format("held")).fetchall()
    return pipe.rows(query.format("dst.customers__held_back"))


def test_a_flush_that_breaks_a_rule_about_the_whole_is_held_back(pipe: Pipe) -> None:
    pipe.project([{"unique": "email"}, {"row_count": {"min": 3, "max": 50}}, {"has_columns": ["cid"]}], **STREAM)
    assert pipe.sync().code == 0
    pipe.source(
        "UPDATE shop.customers SET email = 'new@x.org' WHERE cid = 2", "DELETE FROM shop.customers WHERE cid = 3"
    )
    passed = pipe.sync()
    assert passed.code == 0, passed.text
    assert seen(pipe) == [1, 2, 4, 5]
    assert {r["status"] for r in pipe.quality()["results"]} == {"passed"}

    pipe.source(DUPLICATE)
    blocked = pipe.sync()
    assert blocked.code == 8, blocked.text
    assert "2 of 6 rows share their value with another" in blocked.text
    assert "customers__held_back" in blocked.text
    assert seen(pipe) == [1, 2, 4, 5], "what was there stays visible"
    assert held(pipe) == [("insert", 6), ("insert", 7)]
    state = pipe.quality()
    assert "share their value" in state["blocked"]["reason"]
    assert "customers__held_back" in state["blocked"]["place"]
    assert {r["gate"]: r["status"] for r in state["results"]}["unique email"] == "blocked"
    # It stays stopped, whatever comes, until somebody has looked at it.
    again = pipe.sync()
    assert again.code == 8, again.text
    refused = syncline("quality", "replay", pipe.file)
    assert "no stage to be published from" in refused.text
    assert seen(pipe) == [1, 2, 4, 5]

    pipe.source("UPDATE shop.customers SET email = 'u6@x.org' WHERE cid = 6")
    succeed("state", "reset", pipe.file, "--stream", "customers", "--yes")
    mended = pipe.sync()
    assert mended.code == 0, mended.text
    assert seen(pipe) == [1, 2, 4, 5, 6, 7]
    assert pipe.quality()["blocked"] is None


def test_other_streams_go_on_and_warnings_let_pass(pipe: Pipe) -> None:
    if isinstance(pipe, LakePipe):
        pytest.skip("one table is looked at there")
    pipe.source("CREATE TABLE shop.orders (oid int PRIMARY KEY, cid int)", "INSERT INTO shop.orders VALUES (1, 1)")
    pipe.project([{"unique": "email", "severity": "warn"}], **STREAM)
    pipe.add_stream("orders", [{"references": {"column": "cid", "table": "customers"}}], **STREAM)
    first = pipe.sync()
    assert first.code == 0, first.text
    pipe.source(DUPLICATE, "INSERT INTO shop.orders VALUES (2, 7)")  # parent and child in one flush
    done = pipe.sync()
    assert done.code == 0, done.text
    assert [r["status"] for r in pipe.quality()["results"]] == ["warned"]
    assert len(pipe.rows()) == 7
    pipe.source("INSERT INTO shop.orders VALUES (3, 99)", "INSERT INTO shop.customers VALUES (8, 'u8@x.org', 8)")
    broken = pipe.sync()
    assert broken.code == 8, broken.text
    assert "1 of 3 rows refer to nothing" in broken.text
    assert len(pipe.rows()) == 8
    assert pipe.rows("SELECT oid FROM dst.orders ORDER BY oid") == [(1,), (2,)]


def test_rows_marked_as_deleted_do_not_count(pipe: Pipe) -> None:
    pipe.project([{"unique": "email"}], {"deletes": "soft"}, **STREAM)
    assert pipe.sync().code == 0
    pipe.source("DELETE FROM shop.customers WHERE cid = 1", "INSERT INTO shop.customers VALUES (6, 'u1@x.org', 6)")
    done = pipe.sync()
    assert done.code == 0, done.text
    assert seen(pipe) == [1, 2, 3, 4, 5, 6]


def test_a_question_of_ones_own_can_neither_write_nor_go_on_for_ever(pipe: Pipe) -> None:
    endless = "SELECT 1 FROM range(1000000000000) a, range(1000000000) b WHERE a.range + b.range < 0"
    if pipe.kind == "postgres":
        endless = "SELECT 1 FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b WHERE a + b < 0"
    pipe.project([{"sql": {"query": endless}, "name": "endless", "timeout": "1s", "when": "copies"}], **STREAM)
    first = pipe.sync()
    assert first.code != 0
    assert "took longer than 1 s" in first.text
    pipe.project([{"sql": "SELECT * FROM {staged} WHERE cid > 100"}], **STREAM)
    assert pipe.sync().code == 0
    for query, said in ((endless, "took longer than 1 s"), ("SELECT 1) x; DROP TABLE customers; --", "cannot answer")):
        pipe.project([{"sql": query, "name": "own", "timeout": "1s"}], **STREAM)
        pipe.source("UPDATE shop.customers SET seen = seen + 1 WHERE cid = 1")
        stopped = pipe.sync()
        assert stopped.code != 0
        assert said in stopped.text, stopped.text
        assert len(seen(pipe)) == 5
    # Nothing was decided, so nothing is lost: with a better question the log goes on.
    pipe.project([{"sql": "SELECT * FROM {staged} WHERE cid > 100"}], **STREAM)
    pipe.source("INSERT INTO shop.customers VALUES (6, 'u6@x.org', 6)")
    done = pipe.sync()
    assert done.code == 0, done.text
    assert seen(pipe) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("pipe", ["duckdb"], indirect=True)
@pytest.mark.parametrize(
    ("gate", "mode", "why"),
    [
        ({"freshness": {"column": "seen_at", "max_age": "1h"}}, "incremental", "only time does"),
        ({"row_count": {"change": "20%"}}, "incremental", "no earlier run"),
        ({"unique": "email"}, "incremental_append", "every version of a row"),
        ({"min_records": 1}, "incremental_append", "every version of a row"),
    ],
)
def test_what_no_log_can_decide_is_refused_before_anything_is_read(
    pipe: Pipe, gate: dict[str, Any], mode: str, why: str
) -> None:
    pipe.source("ALTER TABLE shop.customers ADD COLUMN seen_at timestamptz DEFAULT now()")
    pipe.project([gate], mode=mode)
    for command in ("check", "sync"):
        done = syncline(command, pipe.file)
        assert done.code == 3, done.text
        assert why in done.text
        assert "when: copies" in done.text
    assert not (pipe.folder / "w.duckdb").exists() or not pipe.rows(
        "SELECT * FROM duckdb_tables() WHERE table_name = 'customers'"
    )
    pipe.project([{**gate, "when": "copies"}], mode=mode)
    assert pipe.sync().code == 0
