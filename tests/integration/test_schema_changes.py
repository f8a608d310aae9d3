"""Tables that change between two syncs: new columns come, dropped ones stay and go NULL, wider types are followed, and
a change that needs a decision stops its stream alone, with a next step that works."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest
from tests.integration.command import postgres, project, succeed, syncline

from syncline.core.errors import POLICY, ErrorKind
from syncline.testing.postgres_server import PostgresServer

pytestmark = pytest.mark.slow

DESTINATIONS = ("postgres", "duckdb", "local")
#: name -> (type before, type after, value before, value after that needs the new type)
WIDER: dict[str, tuple[str, str, Any, Any]] = {
    "w_small": ("smallint", "integer", 1, 2**20),
    "w_int": ("integer", "bigint", 1, 2**40),
    "w_real": ("real", "double precision", 0.5, 0.1),
    "w_varchar": ("varchar(3)", "varchar(30)", "abc", "abcdef"),
    "w_text": ("varchar(3)", "text", "abc", "abcdef"),
    "w_number": ("numeric(8,2)", "numeric(12,2)", Decimal("1.50"), Decimal("1234567890.25")),
}
OVERWRITE, APPEND, MERGE = "full_refresh_overwrite", "incremental_append", "incremental_deduped_history"


class Copy:
    """One connection and the tables at its destination."""

    def __init__(self, kind: str, server: PostgresServer, source: str, folder: Path, mode: str) -> None:
        self.kind, self.source, self._server, self._folder = kind, source, server, folder
        self._database = server.create_database() if kind.startswith("postgres") else ""
        block: dict[str, Any]
        if kind == "duckdb":
            block = {"type": "duckdb", "config": {"path": str(folder / "w.duckdb")}}
        elif kind == "local":
            block = {"type": "local", "config": {"path": str(folder / "lake")}}
        else:
            block = postgres(server, self._database)
        tables = ("added", "dropped", "retyped", "untouched", "wider")
        self.file = project(
            folder / "a.yaml",
            postgres(server, source),
            block,
            streams=[{"name": t, "mode": mode} | ({"cursor_field": "n"} if mode != OVERWRITE else {}) for t in tables],
            metadata_columns="airbyte" if kind == "postgres decoded" else "syncline",
        )

    def change(self, *statements: str) -> None:
        self._server.execute(*statements, dbname=self.source)

    def rows(self, table: str, *columns: str) -> list[tuple[Any, ...]]:
        """By id, as the destination's own reader gives them."""
        names = ", ".join(columns)
        if self.kind.startswith("postgres"):
            with psycopg.connect(self._server.dsn(self._database)) as connection:
                return connection.execute(f"SELECT {names} FROM {table} ORDER BY id, {names}".encode()).fetchall()
        if self.kind == "duckdb":
            with duckdb.connect(str(self._folder / "w.duckdb"), read_only=True) as con:
                return con.execute(f"SELECT {names} FROM {table} ORDER BY id, {names}").fetchall()
        files = str(self._folder / "lake" / table / "*.parquet")
        with duckdb.connect() as con:
            query = f"SELECT {names} FROM read_parquet('{files}', union_by_name = true) ORDER BY id, {names}"
            return con.execute(query).fetchall()

    def run(self, statement: str) -> None:
        """A statement that a person would run at the destination."""
        if self.kind == "duckdb":
            with duckdb.connect(str(self._folder / "w.duckdb")) as con:
                con.execute(statement)
        else:
            self._server.execute(statement, dbname=self._database)

    def close(self) -> None:
        if self._database:
            self._server.drop_database(self._database)


@pytest.fixture(params=(*DESTINATIONS, "postgres decoded"))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["overwrite", "incremental"])
def copy(
    kind: str,
    request: pytest.FixtureRequest,
    postgres_server: PostgresServer,
    postgres_db: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Copy]:
    """Five tables of two rows each, synced once. ``n`` is the cursor."""
    monkeypatch.setenv("SYNCLINE_HOME", str(tmp_path / "home"))
    wide = ", ".join(f"{name} {before}" for name, (before, *_) in WIDER.items())
    values = ", ".join(f"'{before}'" for _, _, before, _ in WIDER.values())
    postgres_server.execute(
        *(
            f"CREATE TABLE {t} (id int PRIMARY KEY, n int NOT NULL, v text, u text)"
            for t in ("added", "dropped", "retyped", "untouched")
        ),
        f"CREATE TABLE wider (id int PRIMARY KEY, n int NOT NULL, {wide})",
        *(
            f"INSERT INTO {t} VALUES (1, 1, '2020-01-01', 'u1'), (2, 2, '2020-01-02', NULL)"
            for t in ("added", "dropped", "retyped", "untouched")
        ),
        f"INSERT INTO wider VALUES (1, 1, {values}), (2, 2{', NULL' * len(WIDER)})",
        dbname=postgres_db,
    )
    mode = OVERWRITE if request.param == "overwrite" else APPEND if kind == "local" else MERGE
    copy = Copy(kind, postgres_server, postgres_db, tmp_path, mode)
    succeed("sync", copy.file)
    yield copy
    copy.close()


def test_columns_come_go_and_widen(copy: Copy, request: pytest.FixtureRequest) -> None:
    wider = ", ".join(f"ALTER {name} TYPE {after}" for name, (_, after, _, _) in WIDER.items())
    values = ", ".join(f"'{after}'" for *_, after in WIDER.values())
    copy.change(
        "ALTER TABLE added ADD COLUMN more numeric(10,2) DEFAULT 7, ADD COLUMN list int[]",
        "INSERT INTO added VALUES (3, 3, 'c', 'd', 8.25, '{1,NULL}')",
        "ALTER TABLE dropped DROP COLUMN v",
        "INSERT INTO dropped VALUES (3, 3, 'u3')",
        "UPDATE dropped SET n = 4, u = 'changed' WHERE id = 1",
        f"ALTER TABLE wider {wider}",
        f"INSERT INTO wider VALUES (3, 3, {values})",
        "INSERT INTO untouched VALUES (3, 3, NULL, 'z')",
    )
    succeed("sync", copy.file)
    whole = request.node.callspec.params["copy"] == "overwrite"
    if whole:
        succeed("verify", copy.file)
    # A default that came with the column is in every row of a whole copy; an increment brings the rows that changed.
    old = Decimal("7.00") if whole else None
    assert copy.rows("added", "id", "v", "more", "list") == [
        (1, "2020-01-01", old, None),
        (2, "2020-01-02", old, None),
        (3, "c", Decimal("8.25"), [1, None]),
    ]
    if copy.kind == "local" and whole:  # its files have the columns that there are
        assert copy.rows("dropped", "id", "u") == [(1, "changed"), (2, None), (3, "u3")]
        with pytest.raises(duckdb.BinderException):
            copy.rows("dropped", "id", "v")
    elif copy.kind == "local":  # appended: every version of a row
        versions = [(1, "2020-01-01", "u1"), (1, None, "changed"), (2, "2020-01-02", None), (3, None, "u3")]
        assert copy.rows("dropped", "id", "v", "u") == versions
    else:  # a table keeps the column; rows that did not change since keep its last value
        last = None if whole else "2020-01-02"
        assert copy.rows("dropped", "id", "v", "u") == [(1, None, "changed"), (2, last, None), (3, None, "u3")]
    assert copy.rows("wider", "id", *WIDER) == [
        (1, *(before for _, _, before, _ in WIDER.values())),
        (2, *(None for _ in WIDER)),
        (3, *(after for *_, after in WIDER.values())),
    ]
    assert copy.rows("untouched", "id", "u") == [(1, "u1"), (2, None), (3, "z")]


@pytest.mark.parametrize("kind", DESTINATIONS, indirect=True)
def test_an_unsafe_change_stops_its_stream_alone(copy: Copy, request: pytest.FixtureRequest) -> None:
    whole = request.node.callspec.params["copy"] == "overwrite"
    copy.change(
        "ALTER TABLE retyped ALTER v TYPE date USING v::date",
        "INSERT INTO retyped VALUES (3, 3, '2020-01-03', 'c')",
        "INSERT INTO untouched VALUES (3, 3, NULL, 'z')",
    )
    done = syncline("sync", copy.file)
    assert "Traceback" not in done.text
    assert copy.rows("untouched", "id", "u") == [(1, "u1"), (2, None), (3, "z")]
    expected = [(1, date(2020, 1, 1)), (2, date(2020, 1, 2)), (3, date(2020, 1, 3))]
    if copy.kind == "local" and whole:  # nothing of the old type is left
        assert done.code == 0, done.text
        assert copy.rows("retyped", "id", "v") == expected
        return
    assert done.code == POLICY[ErrorKind.SCHEMA].exit_code, done.text
    assert "FAILED: 4 of 5 streams" in done.out
    lines = done.err.splitlines()
    (at,) = (i for i, line in enumerate(lines) if line.startswith("error ("))
    assert re.match(r"error \(schema\): column 'v' .*\[.*public\.retyped.*\]", lines[at])
    assert copy.rows("retyped", "id", "v") == [(1, "2020-01-01"), (2, "2020-01-02")]
    if copy.kind != "local":
        checked = syncline("check", copy.file)
        assert checked.code == POLICY[ErrorKind.SCHEMA].exit_code, checked.text
    # What the error says to do is enough.
    hint = lines[at + 1]
    if copy.kind == "local":
        assert "syncline state reset" in hint
        succeed("state", "reset", copy.file, "--yes", "--stream", "retyped")
    else:
        copy.run(hint[hint.index("ALTER TABLE") :].partition(";")[0])
    succeed("sync", copy.file)
    assert copy.rows("retyped", "id", "v") == expected
    states = succeed("state", "show", copy.file, "--json").json
    assert "READING" not in json.dumps(states).upper()
