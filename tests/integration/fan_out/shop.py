"""A shop's database and destinations of every kind, for connections with several of them."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pyarrow.dataset as ds
import yaml
from tests.integration.command import postgres

from syncline.testing.postgres_server import PostgresServer

Rows = list[tuple[Any, ...]]

TABLE = """
CREATE TABLE orders (id int PRIMARY KEY, note text, big text, amount numeric(12,2));
ALTER TABLE orders ALTER big SET STORAGE EXTERNAL;
"""


@dataclass
class Shop:
    """``write`` makes the project file of one connection named ``shop``; what is there is read by plain clients."""

    server: PostgresServer
    database: str
    folder: Path
    also: dict[str, dict[str, Any]] = field(default_factory=dict)  # more destinations, by name
    capture: dict[str, Any] = field(default_factory=dict)  # settings of the log

    def __post_init__(self) -> None:
        self.session = psycopg.connect(self.server.dsn(self.database), autocommit=True)
        self.session.execute(TABLE.encode())

    def fill(self, first: int, last: int) -> None:
        self.session.execute(
            "INSERT INTO orders SELECT g, 'n' || g, repeat(md5(g::text), 100), g / 3.0 "
            "FROM generate_series(%s::int, %s::int) g",
            [first, last],
        )

    def destination(self, name: str) -> dict[str, Any]:
        """By the first word of its name: replica (Postgres, a schema each), warehouse (DuckDB), lake (Parquet)."""
        if name in self.also:
            return self.also[name]
        if name.startswith("replica"):
            return postgres(self.server, self.database, schema=name)
        if name.startswith("warehouse"):
            return {"type": "duckdb", "config": {"path": str(self.folder / f"{name}.duckdb")}}
        return {"type": "local", "config": {"path": str(self.folder / name), "format": {"file_type": "Parquet"}}}

    def write(self, *names: str, method: Mapping[str, Any] | None = None, **connection: Any) -> Path:
        """``method`` is the source's replication_method (None: the log)."""
        capture = {"method": "CDC", "heartbeat": 1, **self.capture} if method is None else dict(method)
        source = postgres(self.server, self.database, tables=["orders"], replication_method=capture)
        document = {
            "sources": {"shop": source},
            "destinations": {name: self.destination(name) for name in names},
            "connections": {"shop": {"source": "shop", "destinations": list(names), **connection}},
        }
        path = self.folder / "shop.yaml"
        path.write_text(yaml.safe_dump(document), encoding="utf-8")
        return path

    # -- what is where ---------------------------------------------------------------------------------------------

    def rows(self) -> Rows:
        return self.session.execute("SELECT id, note, big, amount FROM orders ORDER BY id").fetchall()

    def rows_at(self, name: str) -> Rows:
        """The rows as they are now, of a change log too: each key's last record."""
        if name.startswith("replica"):
            query = f"SELECT id, note, big, amount FROM {name}.orders ORDER BY id"
            return self.session.execute(query.encode()).fetchall()
        if name.startswith("warehouse"):
            with duckdb.connect(str(self.folder / f"{name}.duckdb"), read_only=True) as there:
                return there.execute("SELECT id, note, big, amount FROM orders ORDER BY id").fetchall()
        return self._last(name)

    def _last(self, name: str) -> Rows:
        files = [str(p) for p in (self.folder / name).rglob("*.parquet") if "_syncline" not in p.parts]
        records = ds.dataset(files, format="parquet").to_table().to_pylist()
        places = [(r["id"], r["_syncline_lsn"], r["_syncline_ordinal"]) for r in records]
        assert len(set(places)) == len(places), "a change is there twice"
        last: dict[int, dict[str, Any]] = {}
        for record in sorted(records, key=lambda r: (r["_syncline_lsn"], r["_syncline_ordinal"])):
            before = last.get(record["id"], {})
            # A value that did not change is there all the same when it had to be asked for (the copy has no such row).
            left_out = [c for c in json.loads(record["_syncline_unchanged"] or "[]") if record[c] is None]
            kept = {c: before.get(c) for c in left_out}
            last[record["id"]] = {**record, **kept}
        rows = [r for r in last.values() if r["_syncline_op"] != "delete"]
        return sorted((r["id"], r["note"], r["big"], r["amount"]) for r in rows)

    def slots(self) -> int:
        row = self.session.execute(
            "SELECT count(*) FROM pg_replication_slots WHERE database = current_database()"
        ).fetchone()
        assert row is not None
        return int(row[0])

    def rows_read(self) -> int:
        """Rows that all sessions so far have read of the table. What they counted comes when they end."""
        seen = -1
        while True:
            row = self.session.execute(
                "SELECT seq_tup_read + COALESCE(idx_tup_fetch, 0) FROM pg_stat_user_tables WHERE relname = 'orders'"
            ).fetchone()
            assert row is not None
            if row[0] == seen > 0:
                return seen
            seen = int(row[0])
            time.sleep(0.2)

    def close(self) -> None:
        self.session.close()
