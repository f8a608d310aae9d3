"""The small world that the pictures of the user guide show: a shop's database, a server, connections of every state.

Built by the public APIs, all but the first connection, which is set up in the browser while pictures are taken.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.browser.conftest import connect
from tests.browser.site import PASSWORD, Site, site

from syncline.testing.postgres_server import PostgresServer, start_postgres

__all__ = ["World", "world"]

SHOP = """
CREATE TABLE customers (id bigint PRIMARY KEY, name text, email text, country text,
                        updated_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE orders (id bigint PRIMARY KEY, customer bigint, amount numeric(12,2), note text,
                     updated_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE products (id bigint PRIMARY KEY, name text, price numeric(10,2),
                       updated_at timestamptz NOT NULL DEFAULT now());
INSERT INTO customers SELECT g, (ARRAY['Ada', 'Björn', 'Chloé', '大輔', 'Eve'])[1 + g % 5] || ' ' || g,
  CASE WHEN g % 4000 = 7 THEN 'unknown' ELSE 'customer' || g || '@example.com' END,
  (ARRAY['DE', 'FR', 'JP', 'US'])[1 + g % 4] FROM generate_series(1, 20000) g;
INSERT INTO orders SELECT g, 1 + g % 20000, g % 900 / 7.0, CASE g % 3 WHEN 0 THEN '' END
FROM generate_series(1, 120000) g;
INSERT INTO products SELECT g, 'Product ' || g, g % 90 + 0.99 FROM generate_series(1, 400) g;
"""
GATES = [
    {"not_null": "id"},
    {"regex": {"column": "email", "pattern": ".+@.+"}, "severity": "quarantine"},
    {"range": {"column": "id", "min": 10}, "severity": "warn"},
]
MAPPINGS = [
    {
        "from": "public.customers",
        "field_mappings": {"name": "full_name"},
        "steps": [{"mask": ["email"], "keep_last": 12}],
    }
]


@dataclass(kw_only=True)
class World:
    """What was made, by what the pictures call it: ``names`` fill in addresses."""

    site: Site
    postgres: PostgresServer
    folder: Path
    source: dict[str, Any]
    names: dict[str, str]

    def token(self) -> str:
        """A new one, for the browser and for us: they are good for minutes, and this lasts."""
        login = {"email": "admin@localhost", "password": PASSWORD}
        found = str(self.site.post("/api/syncline/v1/login", login)["access_token"])
        self.site.client.headers["Authorization"] = f"Bearer {found}"
        return found

    def fill(self) -> None:
        """After the first connection was set up: ``names["connection"]``."""
        self.token()
        first, own = self.names["connection"], "/api/syncline/v1"
        self.call("PATCH", f"{own}/connections/{first}", {"options": {"mappings": MAPPINGS}})
        gates = {"gates": [], "streams": {"public.customers": {"gates": GATES}}}
        self.call("PUT", f"{own}/connections/{first}/gates", gates)
        self.people()
        failing = connect(self.site, {**self.source, "password": "expired"}, self.folder / "crm.duckdb", "CRM")
        self.names["failing"] = failing["connectionId"]
        self.names["source"] = failing["sourceId"]
        self.names["destination"] = failing["destinationId"]
        self.names["failed"] = self.sync(failing["connectionId"])
        log = {**self.source, "replication_method": {"method": "CDC"}}
        streams = [
            {"name": name, "syncMode": "incremental_deduped_history"} for name in ("customers", "orders", "products")
        ]
        live = connect(self.site, log, self.folder / "live.duckdb", "Shop, live", configurations={"streams": streams})
        self.call("PATCH", f"{own}/connections/{live['connectionId']}", {"schedule": {"kind": "continuous"}})
        for step in range(5):
            self.postgres.execute(
                f"UPDATE orders SET amount = amount + 1, updated_at = now() WHERE id % 20 = {step}",
                f"UPDATE customers SET updated_at = now() WHERE id % 9 = {step}",
                dbname="shop",
            )
            self.names["job"] = self.sync(first)
        connect(self.site, self.source, self.folder / "trial.duckdb", "Trial")
        self.postgres.execute(
            "ALTER TABLE orders ADD COLUMN channel text DEFAULT 'web'",
            "UPDATE products SET price = price + 1, updated_at = now()",
            dbname="shop",
        )

    def people(self) -> None:
        """Whoever is told, and whoever may look."""
        place = f"/api/syncline/v1/workspaces/{self.site.workspace}/alert_channels"
        hook = {"name": "Data team", "url": f"json://127.0.0.1:{self.names['hook']}/alerts", "enabled": True}
        self.call("POST", place, hook)
        for role, name in (("editor", "Erika"), ("reader", "Rolf")):
            person = {"email": f"{name.lower()}@example.com", "name": name, "password": PASSWORD}
            user = self.site.post("/api/syncline/v1/users", person)["userId"]
            right = {"userId": user, "workspaceId": self.site.workspace, "permissionType": f"workspace_{role}"}
            self.site.post("/v1/permissions", right)

    def sync(self, connection: str) -> str:
        """Waits for its end; returns the number of the job."""
        job = str(self.site.post("/v1/jobs", {"connectionId": connection, "jobType": "sync"})["jobId"])
        path = f"/api/syncline/v1/jobs/{job}/logs/stream"
        with self.site.client.stream("GET", path, timeout=600) as lines:
            for _ in lines.iter_bytes():
                pass
        return job

    def call(self, method: str, path: str, body: Any) -> None:
        answer = self.site.client.request(method, path, json=body)
        assert answer.is_success, f"{method} {path}: {answer.text}"


@contextmanager
def world(folder: Path) -> Iterator[World]:
    """A shop's database and an empty server that asks who one is."""
    with start_postgres(settings={"wal_level": "logical"}) as postgres, hook() as port:
        postgres.create_database("shop")
        postgres.execute(SHOP, dbname="shop")
        params = postgres.params("shop")
        source = {
            "sourceType": "postgres",
            "host": str(params["host"]),
            "port": int(params["port"]),
            "database": "shop",
            "username": str(params["user"]),
            "password": str(params["password"]),
            "schemas": ["public"],
        }
        with site(folder / "site", auth="required") as running:
            yield World(site=running, postgres=postgres, folder=folder, source=source, names={"hook": str(port)})


class _Hook(BaseHTTPRequestHandler):
    """A webhook of somebody's, that takes what it is sent."""

    def do_POST(self) -> None:
        json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""


@contextmanager
def hook() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Hook) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield listening.server_port
        listening.shutdown()
        thread.join()
