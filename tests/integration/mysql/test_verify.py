"""``syncline verify`` with a MariaDB source: every type, and each kind of difference seen."""

from __future__ import annotations

from typing import Any

import duckdb
import pytest
from tests.integration.command import Done, syncline
from tests.integration.mysql.conftest import Copy
from tests.integration.mysql.test_types import fill, table

pytestmark = pytest.mark.slow


def verify(copy: Copy, **sync: Any) -> Done:
    return syncline("verify", copy.project(**sync), "--json")


@pytest.mark.parametrize("method", [{"replication_method": "CDC"}, {}])
def test_every_type_is_equal_and_differences_are_seen(copy: Copy, method: dict[str, Any]) -> None:
    copy.source = dict(method)
    copy.mode = "incremental" if method else "full_refresh"
    table(copy)
    fill(copy)
    more: dict[str, Any] = {"quarantine": {"max_rows": 10}}
    copy.sync(**more)
    done = verify(copy, **more)
    assert done.code == 0, done.text
    with duckdb.connect(str(copy.file)) as con:
        names = [row[0] for row in con.execute("DESCRIBE m").fetchall() if not row[0].startswith("_syncline")]
        for name in names[1:]:
            con.execute("BEGIN")
            con.execute(f'UPDATE m SET "{name}" = NULL')
            con.execute("COMMIT")
            break
    assert verify(copy, **more).code == 1


def test_rows_lost_added_and_changed(copy: Copy) -> None:
    copy.run("CREATE TABLE `odd ``name` (id int PRIMARY KEY, `Order` varchar(20), price decimal(20, 4), f float)")
    copy.run("INSERT INTO `odd ``name` SELECT seq, concat('ü', seq), seq / 7, seq / 7 FROM seq_1_to_300")
    copy.sync()
    assert verify(copy).code == 0
    with duckdb.connect(str(copy.file)) as con:
        con.execute('DELETE FROM "odd `name" WHERE id = 17')
        con.execute('UPDATE "odd `name" SET price = price + 0.0001 WHERE id = 40')
        con.execute('INSERT INTO "odd `name" (id) VALUES (1000)')
    report = verify(copy).json[0]["report"]
    assert (report["missing"], report["extra"], report["different"]) == (1, 1, 1)


def test_what_the_cursor_has_not_reached_is_no_difference(copy: Copy) -> None:
    copy.source, copy.mode = {}, "incremental_deduped_history"
    copy.run(
        "CREATE TABLE t (id int PRIMARY KEY, at datetime(6))",
        "INSERT INTO t VALUES (1, '2024-01-01 00:00:00.5'), (2, '2024-01-02')",
    )
    copy.sync(cursor_field="at")
    copy.run("INSERT INTO t VALUES (3, '2024-01-03')", "UPDATE t SET at = '2024-01-04' WHERE id = 1")
    assert verify(copy, cursor_field="at").code == 0
    copy.run("INSERT INTO t VALUES (4, '2023-01-01')")
    assert verify(copy, cursor_field="at").code == 1
