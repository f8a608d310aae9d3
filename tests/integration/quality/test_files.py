"""Gates that ask the staged rows of a lake: DuckDB over Parquet files that nobody sees yet, plain or of a table, in a
folder or in a bucket."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.integration.command import succeed
from tests.integration.quality.lake import KINDS, LakePipe

from syncline.testing.postgres_server import PostgresServer
from syncline.testing.s3_server import S3Server

pytestmark = pytest.mark.slow

FIVE = [(i, f"u{i}@x.org") for i in range(1, 6)]


@pytest.fixture(params=KINDS)
def pipe(
    request: pytest.FixtureRequest,
    postgres_server: PostgresServer,
    postgres_db: str,
    s3_server: S3Server,
    s3_bucket: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> LakePipe:
    monkeypatch.setenv("SYNCLINE_HOME", str(tmp_path / "home"))
    return LakePipe(postgres_server, postgres_db, tmp_path, request.param, s3_server, s3_bucket)


def test_a_copy_is_held_back_and_published_when_the_gate_is_mended(pipe: LakePipe) -> None:
    pipe.project([{"unique": "email"}, {"sql": "SELECT * FROM {staged} WHERE cid < 0"}])
    assert pipe.sync().code == 0
    pipe.source("UPDATE shop.customers SET email = 'u3@x.org' WHERE cid = 2")
    done = pipe.sync()
    assert done.code == 8, done.text
    assert "2 of 5 rows share their value with another" in done.json["error"]["message"]
    assert pipe.visible() == FIVE
    assert pipe.quality()["blocked"]["place"]
    pipe.project([{"unique": "cid"}, {"regex": {"column": "email", "pattern": "@"}}])
    succeed("quality", "replay", pipe.file)
    assert pipe.visible()[1] == (2, "u3@x.org")
    assert pipe.quality()["blocked"] is None
    pipe.source("UPDATE shop.customers SET email = 'u2@x.org' WHERE cid = 2")
    assert pipe.sync().code == 0
    assert pipe.visible() == FIVE


def test_an_increment_is_judged_before_its_commit(pipe: LakePipe) -> None:
    pipe.project([{"unique": "email"}], None, mode="incremental_append", cursor_field="seen")
    assert pipe.sync().code == 0
    pipe.source("INSERT INTO shop.customers VALUES (7, 'same', 7), (8, 'same', 8)")
    assert pipe.sync().code == 8
    assert pipe.visible() == FIVE
    pipe.source("UPDATE shop.customers SET email = 'other' WHERE cid = 8")
    assert pipe.sync().code == 0
    assert pipe.visible() == [*FIVE, (7, "same"), (8, "other")]


def test_references_are_looked_up_among_the_connections_own_streams(pipe: LakePipe) -> None:
    pipe.source("CREATE TABLE shop.orders (oid int PRIMARY KEY, cid int)", "INSERT INTO shop.orders VALUES (1, 1)")
    rule = {"references": {"column": "cid", "table": "customers"}}
    query = {"sql": "SELECT * FROM {staged} WHERE cid NOT IN (SELECT cid FROM shop.customers)", "name": "by hand"}
    pipe.project([])
    assert pipe.sync().code == 0
    pipe.add_stream("orders", [{"references": {"column": "cid", "table": "nobody"}}])
    missing = pipe.sync()
    assert missing.code == 3
    assert "refers to nobody, and this connection has written no such stream" in missing.text
    pipe.project([])
    pipe.add_stream("orders", [rule, query])
    assert pipe.sync().code == 0
    pipe.source("INSERT INTO shop.orders VALUES (2, 99)")
    done = pipe.sync()
    assert done.code == 8
    assert "references cid: 1 of 2 rows refer to nothing" in done.text
    assert "by hand: 1 rows returned" in done.text


def test_a_gate_reads_no_other_file(pipe: LakePipe) -> None:
    pipe.project([{"sql": "SELECT * FROM read_csv('/etc/passwd')"}])
    done = pipe.sync()
    assert done.code == 3
    assert "cannot answer" in done.text
