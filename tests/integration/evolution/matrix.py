"""Changes of a source's tables, and what a connection makes of them: the rows of the table in
docs/schema-changes.md."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import psycopg
from tests.integration.command import postgres, project, succeed, syncline

from syncline.testing.postgres_server import PostgresServer

BEGIN, END = "<!-- matrix: written by tests/integration/evolution -->", "<!-- end of the matrix -->"
DESTINATIONS = ("Postgres", "DuckDB", "Parquet")
METHODS = ("Standard", "CDC")


@dataclass(frozen=True, kw_only=True)
class Change:
    """``before`` are the columns besides id and n, ``old`` their value in row 1; ``sql`` changes the table; row 2 is
    then inserted with ``insert`` (columns and values). ``looks`` are the columns to look at, in both rows."""

    name: str
    words: str
    before: str = "v text"
    old: str = "'old'"
    sql: tuple[str, ...] = ()
    insert: tuple[str, str] = ("v", "'new'")
    looks: tuple[str, ...] = ("v",)


CHANGES = (
    Change(name="added", words="`ADD COLUMN x int`", sql=("ADD COLUMN x int",), insert=("x", "5"), looks=("x",)),
    Change(
        name="defaulted",
        words="`ADD COLUMN x int DEFAULT 7`",
        sql=("ADD COLUMN x int DEFAULT 7",),
        insert=("x", "5"),
        looks=("x",),
    ),
    Change(
        name="demanded",
        words="`ADD COLUMN x int NOT NULL DEFAULT 7`",
        sql=("ADD COLUMN x int NOT NULL DEFAULT 7",),
        insert=("x", "5"),
        looks=("x",),
    ),
    Change(name="dropped", words="`DROP COLUMN v`", sql=("DROP COLUMN v",), insert=("", "")),
    Change(
        name="renamed", words="`RENAME v TO w`", sql=("RENAME COLUMN v TO w",), insert=("w", "'new'"), looks=("v", "w")
    ),
    Change(
        name="widened_number",
        words="`int` to `bigint`",
        before="v int",
        old="1",
        sql=("ALTER v TYPE bigint",),
        insert=("v", "5000000000"),
    ),
    Change(
        name="widened_text",
        words="`varchar(3)` to `text`",
        before="v varchar(3)",
        sql=("ALTER v TYPE text",),
        insert=("v", "'longer'"),
    ),
    Change(
        name="narrowed",
        words="`bigint` to `int`",
        before="v bigint",
        old="1",
        sql=("ALTER v TYPE int",),
        insert=("v", "2"),
    ),
    Change(
        name="retyped",
        words="`text` to `date`",
        old="'2024-01-31'",
        sql=("ALTER v TYPE date USING v::date",),
        insert=("v", "'2024-02-29'"),
    ),
    Change(name="required", words="`SET NOT NULL`", sql=("ALTER v SET NOT NULL",)),
    Change(
        name="optional",
        words="`DROP NOT NULL`",
        before="v text NOT NULL",
        sql=("ALTER v DROP NOT NULL",),
        insert=("", ""),
    ),
    Change(
        name="rekeyed",
        words="another primary key",
        before="v int NOT NULL DEFAULT 1",
        old="1",
        sql=("DROP CONSTRAINT rekeyed_pkey", "ADD PRIMARY KEY (v)"),
        insert=("v", "2"),
    ),
    Change(name="created", words="a new table"),
    Change(name="vanished", words="the table is dropped"),
)


class Connection:
    """One connection of every table, synced before and after the changes."""

    def __init__(self, method: str, destination: str, server: PostgresServer, source: str, folder: Path) -> None:
        self._destination, self._server, self._source, self._folder = destination, server, source, folder
        self._database = server.create_database() if destination == "Postgres" else ""
        blocks: dict[str, dict[str, Any]] = {
            "Postgres": postgres(server, self._database) if self._database else {},
            "DuckDB": {"type": "duckdb", "config": {"path": str(folder / "m.duckdb")}},
            "Parquet": {"type": "local", "config": {"path": str(folder / "lake")}},
        }
        more = {"replication_method": {"method": "CDC"}} if method == "CDC" else {}
        self.file = project(
            folder / "matrix.yaml",
            postgres(server, source, **more),
            blocks[destination],
            mode="incremental_append" if destination == "Parquet" else "incremental_deduped_history",
            **({} if method == "CDC" else {"cursor_field": "n"}),
        )

    def run(self) -> None:
        """Both syncs, with the changes between them."""
        self._execute(
            *(
                f"CREATE TABLE {c.name} (id int PRIMARY KEY, n int NOT NULL, {c.before})"
                for c in CHANGES
                if c.name != "created"
            ),
            *(f"INSERT INTO {c.name} VALUES (1, 1, {c.old})" for c in CHANGES if c.name != "created"),
        )
        succeed("sync", self.file)
        for change in CHANGES:
            self._execute(*(f"ALTER TABLE {change.name} {sql}" for sql in change.sql))
            if change.name == "created":
                self._execute("CREATE TABLE created (id int PRIMARY KEY, n int NOT NULL, v text)")
            if change.name == "vanished":
                self._execute("DROP TABLE vanished")
                continue
            columns, values = change.insert
            more = (f", {columns}", f", {values}") if columns else ("", "")
            if change.name == "optional":
                more = (", v", ", NULL")
            self._execute(f"INSERT INTO {change.name} (id, n{more[0]}) VALUES (2, 2{more[1]})")
        done = syncline("sync", self.file, "--json")
        self._streams = {s["stream"]["name"]: s for s in done.json["streams"]}
        self._events = self._told()

    def cell(self, change: Change) -> tuple[str, str]:
        """What became of a table, and the events of it."""
        told = [e for e in self._events if e["stream"].rpartition(".")[2] == change.name]
        events = ", ".join(dict.fromkeys(e["change"] for e in told)) or "none"
        found = self._streams.get(change.name)
        if found is not None and found["status"] == "failed":
            return f"stopped ({found['error']['kind']})", events
        columns, rows = self._rows(change.name, change.looks)
        texts = []
        for name in change.looks:
            if name not in columns:
                texts.append(f"no {name}")
                continue
            place = columns.index(name)
            values = {row[columns.index("id")]: row[place] for row in rows}
            shown = [f"{'old' if i == 1 else 'new'} {_text(values[i])}" for i in (1, 2) if i in values]
            texts.append((f"{name}: " if len(change.looks) > 1 else "") + ", ".join(shown))
        return "; ".join(texts), events

    def close(self) -> None:
        syncline("forget", self.file)
        if self._database:
            self._server.drop_database(self._database)

    def _execute(self, *statements: str) -> None:
        self._server.execute(*statements, dbname=self._source)

    def _told(self) -> list[dict[str, Any]]:
        journals = sorted((self._folder / "home").rglob("attempt-*.jsonl"))
        newest = max(journals, key=lambda path: path.stat().st_mtime)
        lines = [json.loads(line) for line in newest.read_text().splitlines()]
        events = [line.get("data", line) for line in lines]
        return [e for e in events if e.get("event") == "SchemaChanged"]

    def _rows(self, table: str, looks: tuple[str, ...]) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Of the id and the columns to look at, those that are there, and the rows."""
        if self._destination == "Postgres":
            with psycopg.connect(self._server.dsn(self._database)) as connection:
                there = [
                    c.name for c in connection.execute(f"SELECT * FROM {table} LIMIT 0".encode()).description or ()
                ]
                names = [n for n in ("id", *looks) if n in there]
                return names, connection.execute(
                    f"SELECT {', '.join(names)} FROM {table} ORDER BY id".encode()
                ).fetchall()
        path = str(self._folder / "m.duckdb") if self._destination == "DuckDB" else ":memory:"
        files = str(self._folder / "lake" / table / "*.parquet")
        origin = table if self._destination == "DuckDB" else f"read_parquet('{files}', union_by_name = true)"
        with duckdb.connect(path, read_only=self._destination == "DuckDB") as con:
            there = [row[0] for row in con.execute(f"DESCRIBE SELECT * FROM {origin}").fetchall()]
            names = [n for n in ("id", *looks) if n in there]
            return names, con.execute(f"SELECT {', '.join(names)} FROM {origin} ORDER BY id").fetchall()


def _text(value: Any) -> str:
    return "NULL" if value is None else str(value)


def lines(cells: dict[tuple[str, str], dict[str, tuple[str, str]]]) -> list[str]:
    """The table in Markdown."""
    columns = [(m, d) for m in METHODS for d in DESTINATIONS]
    made = [
        "| change | " + " | ".join(f"{m} to {d}" for m, d in columns) + " | events (Standard / CDC) |",
        "|---" * (len(columns) + 2) + "|",
    ]
    for change in CHANGES:
        results = [cells[c][change.name][0] for c in columns]
        events = [cells[m, "DuckDB"][change.name][1] for m in METHODS]
        made.append(f"| {change.words} | " + " | ".join(results) + f" | {events[0]} / {events[1]} |")
    return made
