"""Whole copies, increments and feeds: read once for all destinations that stand at the same place."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import duckdb
import pytest
import yaml
from tests.integration.command import succeed, syncline
from tests.integration.fan_out.shop import Shop

PAIR = ("warehouse", "replica")


@pytest.mark.slow
@pytest.mark.parametrize("key", [True, False])
def test_a_whole_copy_is_read_once(shop: Shop, key: bool) -> None:
    if not key:  # one exported snapshot for all of it
        shop.session.execute("ALTER TABLE orders DROP CONSTRAINT orders_pkey")
    shop.fill(1, 2000)
    file = shop.write(*PAIR, method={"method": "Standard"}, mode="full_refresh")
    for note in ("first", "second"):
        shop.session.execute("UPDATE orders SET note = %s", [note])
        before = rows_read(shop)
        succeed("sync", file)
        assert rows_read(shop) - before == 2000
        for name in PAIR:
            assert shop.rows_at(name) == shop.rows(), name


@pytest.mark.slow
def test_an_increment_is_read_once(shop: Shop) -> None:
    shop.session.execute("CREATE INDEX ON orders (amount)")
    shop.fill(1, 2000)
    method = {"method": "Standard"}
    file = shop.write(*PAIR, method=method, mode="incremental_deduped_history", cursor_field="amount")
    succeed("sync", file)
    shop.fill(2001, 2300)
    done = succeed("sync", file, "--json")
    assert [each["streams"][0]["rows_written"] for each in done.json] == [300, 300]
    for name in PAIR:
        assert shop.rows_at(name) == shop.rows(), name
    # One stands elsewhere: it reads for itself.
    succeed("state", "reset", file, "--yes", "--connection", "shop/replica")
    shop.fill(2301, 2310)
    done = succeed("sync", file, "--json")
    assert [each["streams"][0]["rows_written"] for each in done.json] == [10, 2310]
    for name in PAIR:
        assert shop.rows_at(name) == shop.rows(), name


@pytest.mark.slow
def test_an_api_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNCLINE_HOME", str(tmp_path / "home"))
    with _api([{"id": n, "name": f"n{n}"} for n in range(5)]) as (url, asked):
        config = {"url": f"{url}/things", "name": "things", "primary_key": "id"}
        warehouses = {n: {"type": "duckdb", "config": {"path": str(tmp_path / f"{n}.duckdb")}} for n in ("a", "b")}
        document = {
            "sources": {"api": {"type": "rest_api", "config": config}},
            "destinations": warehouses,
            "connections": {"things": {"source": "api", "destinations": ["a", "b"]}},
        }
        file = tmp_path / "things.yaml"
        file.write_text(yaml.safe_dump(document), encoding="utf-8")
        succeed("sync", file)
        several = len(asked)
        for name in ("a", "b"):
            with duckdb.connect(str(tmp_path / f"{name}.duckdb"), read_only=True) as there:
                assert there.execute("SELECT id, name FROM things ORDER BY id").fetchall() == [
                    (n, f"n{n}") for n in range(5)
                ]
        # As often as for one alone: a look at the columns, one at the rights, and the reading.
        monkeypatch.setenv("SYNCLINE_HOME", str(tmp_path / "another home"))
        asked.clear()
        document["destinations"] = {"c": {"type": "duckdb", "config": {"path": str(tmp_path / "c.duckdb")}}}
        document["connections"] = {"things": {"source": "api", "destination": "c"}}
        file.write_text(yaml.safe_dump(document), encoding="utf-8")
        succeed("sync", file)
        assert several == len(asked) == 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"destinations": ["warehouse", "warehouse"]}, "names one twice"),
        ({"destinations": []}, "names nothing"),
        ({"destinations": ["warehouse"], "destination": "warehouse"}, "give destination, or destinations"),
        ({"destinations": ["warehouse", "warehose"]}, "did you mean 'warehouse'?"),
        ({"destinations": ["warehouse", "same"]}, "are one place"),
        ({"destination": "warehouse", "destinations": None, "when_behind": "wait"}, "when_behind is for"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, change: dict[str, object], said: str) -> None:
    place = {"type": "duckdb", "config": {"path": str(tmp_path / "w.duckdb")}}
    document = {
        "sources": {"shop": {"type": "postgres", "config": {"database": "x"}}},
        "destinations": {"warehouse": place, "same": place},
        "connections": {"shop": {"source": "shop", **change}},
    }
    file = tmp_path / "f.yaml"
    file.write_text(yaml.safe_dump(document), encoding="utf-8")
    done = syncline("check", file)
    assert done.code == 3
    assert said in done.text


def test_a_log_that_is_not_received_here_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNCLINE_HOME", str(tmp_path / "home"))
    config = {"host": "127.0.0.1", "port": 9, "username": "u", "password": "p", "database": "d"}
    document = {
        "sources": {"shop": {"type": "mysql", "config": {**config, "replication_method": {"method": "CDC"}}}},
        "destinations": {n: {"type": "duckdb", "config": {"path": str(tmp_path / n)}} for n in ("a", "b")},
        "connections": {"shop": {"source": "shop", "destinations": ["a", "b"], "mode": "incremental"}},
    }
    file = tmp_path / "f.yaml"
    file.write_text(yaml.safe_dump(document), encoding="utf-8")
    done = syncline("sync", file)
    assert done.code == 3
    assert "give each destination a connection of its own" in done.text
    assert not (tmp_path / "a").exists()


def rows_read(shop: Shop) -> int:
    """Rows that all sessions but ours have read of the table. What they counted comes when they end."""
    shop.session.execute("SELECT pg_stat_force_next_flush()")
    seen = -1
    while True:
        row = shop.session.execute(
            "SELECT seq_tup_read + COALESCE(idx_tup_fetch, 0) FROM pg_stat_user_tables WHERE relname = 'orders'"
        ).fetchone()
        assert row is not None
        if row[0] == seen:
            return seen
        seen = int(row[0])
        time.sleep(0.3)


@contextmanager
def _api(records: list[dict[str, object]]) -> Iterator[tuple[str, list[str]]]:
    """A server that answers with these records, and the paths it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            body = json.dumps(records).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_request(self, code: object = "-", size: object = "-") -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()
