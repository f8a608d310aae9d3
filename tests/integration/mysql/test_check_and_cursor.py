"""What ``check`` says, what a cursor reads, and what arrives of every type."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.integration.command import postgres, syncline
from tests.integration.mysql.conftest import Copy
from tests.integration.mysql.test_types import VALUES, fill, table

from syncline.core.errors import POLICY, ErrorKind
from syncline.testing.postgres_server import PostgresServer


@contextmanager
def setting(copy: Copy, name: str, value: str) -> Iterator[None]:
    (before,) = copy.run(f"SELECT @@global.{name}")[0]
    copy.run(f"SET GLOBAL {name} = {value}")
    try:
        yield
    finally:
        copy.run(f"SET GLOBAL {name} = '{before}'")


def test_check_names_each_missing_thing_and_its_statement(copy: Copy) -> None:
    copy.run(
        "CREATE TABLE p (id int PRIMARY KEY)",
        "CREATE TABLE c (id int PRIMARY KEY, p int, FOREIGN KEY (p) REFERENCES p (id) ON DELETE CASCADE)",
        "CREATE TABLE k (x int)",
        "CREATE OR REPLACE USER reader@'127.0.0.1' IDENTIFIED BY 'pw'",
        f"GRANT SELECT ON `{copy.database}`.* TO reader@'127.0.0.1'",
    )
    copy.source.update(username="reader", password="pw")
    with setting(copy, "binlog_row_metadata", "'MINIMAL'"), setting(copy, "binlog_row_image", "'MINIMAL'"):
        done = syncline("check", copy.project())
    assert done.code != 0
    for words in (
        "SET GLOBAL binlog_row_metadata = 'FULL'",
        "SET GLOBAL binlog_row_image = 'FULL'",
        "GRANT REPLICATION SLAVE ON *.* TO this user",
        "GRANT BINLOG MONITOR ON *.* TO this user",
        "by cascade",
        "no primary key",
    ):
        assert words in " ".join(done.text.split()), (words, done.text)
    copy.source.update(password="wrong")
    wrong = syncline("check", copy.project())
    assert wrong.code == POLICY[ErrorKind.AUTH].exit_code
    assert "wrong" not in wrong.text.replace("wrong or expired", "")


@pytest.mark.slow
def test_a_cursor_takes_ties_at_its_end_once(copy: Copy) -> None:
    copy.source = {}
    copy.mode = "incremental_append"
    copy.run("CREATE TABLE t (id int PRIMARY KEY, at datetime)", "INSERT INTO t VALUES (1, '2024-01-01'), (2, NULL)")
    copy.sync(cursor_field="at")
    copy.run("INSERT INTO t VALUES (3, '2024-01-01'), (4, '2024-01-02')")
    copy.sync(cursor_field="at")
    copy.sync(cursor_field="at")
    copy.run("INSERT INTO t VALUES (5, '2024-01-02')")
    copy.sync(cursor_field="at")
    assert copy.there("t", "id") == [(1,), (2,), (3,), (4,), (5,)]


@pytest.mark.slow
@pytest.mark.parametrize("logged", [False, True])
def test_every_type_arrives_in_postgres(
    copy: Copy, postgres_server: PostgresServer, postgres_db: str, logged: bool
) -> None:
    table(copy)
    copy.destination = postgres(postgres_server, postgres_db)
    if logged:
        copy.sync()
    fill(copy)
    # A row with a date that no calendar has is set aside, and so is one with U+0000, which Postgres has not.
    copy.sync(quarantine={"max_rows": 10})
    rows = copy.run("SELECT count(*) FROM m")[0][0]
    with postgres_server.connect(postgres_db) as session:
        here = session.execute("SELECT count(*) FROM m").fetchone()[0]
        held = dict(
            session.execute(
                "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'm'"
            ).fetchall()
        )
        first = session.execute("SELECT * FROM m ORDER BY id LIMIT 1").fetchone()
    assert 0 < rows - here <= 4
    names = [f"c{n:02d}" for n in range(len(VALUES))]
    kinds = {native: held[name] for native, name in zip(VALUES, names, strict=True)}
    assert kinds["bigint unsigned"] == "numeric"
    assert kinds["decimal(65,30)"] == "numeric"
    assert kinds["time(6)"] == "interval"
    assert kinds["json"] == "jsonb"
    assert kinds["uuid"] == "uuid"
    assert kinds["geometry"] == "bytea"
    assert first[0] == 1
