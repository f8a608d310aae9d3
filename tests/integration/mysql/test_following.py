"""The binary log, through the command line: copied, then followed; both ends compared."""

from __future__ import annotations

import time

import pytest
from tests.integration.mysql.conftest import Copy

from syncline.core.errors import POLICY, ErrorKind
from syncline.testing.mariadb_server import MariaDbServer

pytestmark = pytest.mark.slow

PARENT = "CREATE TABLE t (id int PRIMARY KEY, name varchar(20), n decimal(10,2))"


def same(copy: Copy, columns: str = "id, name, n", table: str = "t") -> bool:
    there = sorted(copy.there(table, columns), key=str)
    here = copy.here(table, columns)
    assert there == here, (there[:5], here[:5])
    return True


def test_copy_then_changes(copy: Copy) -> None:
    copy.run(PARENT, "INSERT INTO t SELECT seq, concat('name ', seq), seq / 3 FROM seq_1_to_1000")
    copy.sync()
    assert same(copy)
    copy.run(
        "INSERT INTO t VALUES (2001, 'new', 1.5), (2002, NULL, NULL), (2003, '', -0.01)",
        "UPDATE t SET name = 'changed' WHERE id <= 10",
        "DELETE FROM t WHERE id BETWEEN 11 AND 20",
        "UPDATE t SET id = 5000 WHERE id = 21",
    )
    copy.sync()
    assert same(copy)
    copy.run("TRUNCATE TABLE t", "INSERT INTO t VALUES (1, 'only', 1)")
    copy.sync()
    assert same(copy)
    assert len(copy.there("t", "id")) == 1


@pytest.mark.slow
def test_columns_come_go_and_change(copy: Copy) -> None:
    copy.run(PARENT, "INSERT INTO t VALUES (1, 'a', 1), (2, 'b', 2)")
    copy.sync()
    # Nothing changes a row before the next run: what the log told must be remembered until then.
    copy.run("ALTER TABLE t ADD COLUMN c int NOT NULL DEFAULT 7, ADD d varchar(5) DEFAULT 'it''s'")
    copy.sync()
    copy.run("INSERT INTO t (id, name, n) VALUES (3, 'c', 3)", "UPDATE t SET c = 8 WHERE id = 1")
    copy.sync()
    assert same(copy, "id, name, n, c, d")
    copy.run(
        "ALTER TABLE t RENAME COLUMN name TO title, MODIFY c bigint",
        "ALTER TABLE t CHANGE d e varchar(50)",
        "UPDATE t SET c = 9000000000, e = 'longer than before' WHERE id = 2",
        "ALTER TABLE t DROP COLUMN n",
        "INSERT INTO t VALUES (4, 't', 4, 'e')",
    )
    copy.sync()
    assert same(copy, "id, title, c, e")
    assert copy.there("t", "id, n")[:3] == [(1, 1), (2, 2), (3, 3)]  # what was there stays


@pytest.mark.slow
@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("ALTER TABLE t MODIFY n decimal(10,1)", "may have changed values"),
        ("ALTER TABLE t ADD u varchar(36) DEFAULT (uuid())", "values that the log does not tell"),
        ("RENAME TABLE t TO s, p TO t", "renamed"),
        (f"CREATE OR REPLACE {PARENT.removeprefix('CREATE ')}", "made anew"),
    ],
)
def test_what_the_log_does_not_tell_stops_the_stream_alone(copy: Copy, statement: str, reason: str) -> None:
    copy.run(PARENT, PARENT.replace(" t ", " p "), "INSERT INTO t VALUES (1, 'a', 1.23)")
    copy.run("CREATE TABLE o (id int PRIMARY KEY, x int)")
    copy.sync()
    copy.run(statement, "INSERT INTO t (id, name, n) VALUES (2, 'b', 2)", "INSERT INTO o VALUES (1, 1)")
    done = copy.sync(code=POLICY[ErrorKind.SCHEMA].exit_code)
    assert reason in done.text
    assert "state reset" in done.text
    assert copy.there("o", "id, x") == [(1, 1)]
    assert len(copy.there("t", "id")) == 1


@pytest.mark.slow
def test_a_log_that_was_purged_or_begun_anew_stops_with_a_plan(copy: Copy, own_server: MariaDbServer) -> None:
    copy.use(own_server)
    copy.run(PARENT, "INSERT INTO t VALUES (1, 'a', 1)")
    copy.sync()
    copy.run("INSERT INTO t VALUES (2, 'b', 2)", "FLUSH BINARY LOGS", "INSERT INTO t VALUES (3, 'c', 3)")
    # The server keeps a file until it has itself no use for it.
    until = time.monotonic() + 60
    while copy.run("SHOW BINARY LOGS")[0][0].endswith("1") and time.monotonic() < until:
        last = copy.run("FLUSH BINARY LOGS", "SHOW BINARY LOGS")[-1][0]
        copy.run(f"PURGE BINARY LOGS TO '{last}'")
    done = copy.sync(code=POLICY[ErrorKind.CONFLICT].exit_code)
    assert "was purged before it was read" in done.text
    assert "state reset" in done.text
    assert copy.there("t", "id") == [(1,)]
    copy.run("RESET MASTER", "INSERT INTO t VALUES (4, 'd', 4)")
    done = copy.sync(code=POLICY[ErrorKind.CONFLICT].exit_code)
    assert "state reset" in done.text
    assert copy.there("t", "id") == [(1,)]


@pytest.mark.slow
def test_a_change_log_begins_at_one_moment(copy: Copy) -> None:
    copy.mode = "incremental_append"
    copy.run("CREATE TABLE t (id int, name varchar(20))", "INSERT INTO t VALUES (1, 'a'), (1, 'a')")
    copy.sync()
    copy.run("DELETE FROM t LIMIT 1", "UPDATE t SET name = 'b'")
    copy.sync()
    assert copy.there("t", "_syncline_op, id, name") == [
        ("delete", 1, "a"),
        ("read", 1, "a"),
        ("read", 1, "a"),
        ("update", 1, "b"),
    ]
