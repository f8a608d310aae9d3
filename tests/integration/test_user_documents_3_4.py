"""The configurations of the user's third and fourth documents, as written: every service is answered for by a local
counterpart that a proxy leads to, so that nothing in them names a test."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pyarrow.dataset as ds
import pyarrow.fs as pafs
import pytest

from syncline.service.project import load_project
from syncline.testing.postgres_server import PostgresServer
from syncline.testing.s3_server import S3Server
from syncline.testing.saas.api_server import ApiServer, Asked, Reply
from syncline.testing.saas.hubspot import FakeHubspot
from syncline.testing.saas.sage_intacct import FakeSageIntacct
from syncline.testing.saas.stripe import FakeStripe
from syncline.testing.tls_redirect import TlsRedirect

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
NOW = datetime.now(UTC)

pytestmark = pytest.mark.slow


class World:
    """Counterparts of everything that the documents name, and the environment that leads to them."""

    def __init__(self, folder: Path, server: PostgresServer) -> None:
        self.folder, self.server = folder, server
        self.stripe, self.hubspot, self.sage = FakeStripe(), FakeHubspot(), FakeSageIntacct()
        self.entries: list[dict[str, Any]] = [
            {
                "id": i,
                "user": f"u{i % 7}",
                "hours": i / 4,
                "day": f"2026-01-{i % 28 + 1:02}",
                "note": None if i % 3 else "",
            }
            for i in range(730)
        ]
        self.tracking = ApiServer(self._track)
        self.proxy = TlsRedirect(
            folder / "tls",
            {
                "api.stripe.com": self.stripe.url,
                "api.hubapi.com": self.hubspot.url,
                "api.intacct.com": self.sage.url,
                "api.time-tracking.com": self.tracking.url,
            },
        )

    def run(self, *arguments: str, **more: str) -> str:
        params = self.server.params("postgres")
        environment = {
            **{k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")},
            **self.proxy.environment,
            "PGHOSTADDR": "127.0.0.1",
            "PGPORT": str(params["port"]),
            "PGUSER": "postgres",
            "PGPASSWORD": str(params["password"]),
            "SYNCLINE_HOME": str(self.folder / "home"),
            "SAGE_API_KEY": self.sage.token,
            "STRIPE_API_KEY": self.stripe.key,
            "HUBSPOT_TOKEN": self.hubspot.token,
            "API_TOKEN": "tt-local-token",
            **more,
        }
        done = subprocess.run(
            [sys.executable, "-m", "syncline", *arguments],
            env=environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        return done.stdout

    def rows(self, database: str, query: str) -> list[Any]:
        with psycopg.connect(self.server.dsn(database)) as connection:
            return connection.execute(query).fetchall()

    def _track(self, asked: Asked) -> Any:
        if asked.headers.get("authorization") != "Bearer tt-local-token":
            return Reply(status=401, body={"error": "who are you?"})
        start = int(asked.query["offset"])
        return {"entries": self.entries[start : start + int(asked.query["limit"])]}


@pytest.fixture
def world(tmp_path: Path, postgres_server: PostgresServer) -> Iterator[World]:
    world = World(tmp_path, postgres_server)
    with world.stripe, world.hubspot, world.sage, world.tracking, world.proxy:
        yield world


def _fill_stripe(stripe: FakeStripe) -> None:
    begun = int((NOW - timedelta(days=20)).timestamp())
    for i in range(250):
        stripe.put("customers", f"cus_{i:04}", at=begun + i, email=f"c{i}@example.com", balance=i)
    for i in range(120):
        stripe.put("charges", f"ch_{i:04}", at=begun + i, amount=100 * i, currency="eur", paid=i % 2 == 0)


def test_sage_gl_to_postgres_incrementally(world: World, postgres_server: PostgresServer) -> None:
    postgres_server.create_database("financial_data")
    for key in range(1, 2501):
        fields = {"txnAmount": f"{key}.10", "glAccount.id": f"{4000 + key % 9}", "entryDate": "2026-01-31"}
        world.sage.put("general-ledger/journal-entry-line", key, fields, at=NOW - timedelta(days=3000 - key))
    world.sage.put("general-ledger/account", 1, {"name": "Sales"}, at=NOW - timedelta(days=1))
    example = str(EXAMPLES / "sage-gl-to-postgres.yaml")
    assert load_project(Path(example)).only(None)[0].sync.schedule == "0 2 * * *"
    world.run("check", example)
    world.run("sync", example)
    found = world.rows(
        "financial_data",
        "SELECT count(*), sum(txn_amount), min(entry_date)::text, max(gl_account_id) FROM staging.gl_details",
    )
    since = [row for row in world.sage.objects["general-ledger/journal-entry-line"].values()
             if row["audit.modifiedDateTime"] >= "2020-01-01"]  # fmt: skip
    assert len(since) < 2500, "the start date leaves some out"
    assert found[0][0] == len(since)
    assert float(found[0][1]) == pytest.approx(sum(float(row["txnAmount"]) for row in since))
    assert found[0][2:] == ("2026-01-31", "4008")
    world.sage.put("general-ledger/journal-entry-line", 2000, {"txnAmount": "7.00"})
    world.sage.put("general-ledger/journal-entry-line", 2501, {"txnAmount": "8.00"})
    before = world.sage.count("/ia/api/v1/services")
    world.run("sync", example)
    again = world.rows(
        "financial_data", "SELECT key, txn_amount FROM staging.gl_details WHERE txn_amount IN (7, 8) ORDER BY 1"
    )
    assert [(k, str(a)) for k, a in again if k in ("2000", "2501")] == [("2000", "7.00"), ("2501", "8.00")]
    assert world.sage.count("/ia/api/v1/services") - before == 6, "one request for each stream"


def test_time_entries_to_postgres(world: World, postgres_server: PostgresServer) -> None:
    database = postgres_server.create_database()
    example = str(EXAMPLES / "time-entries-to-postgres.yaml")
    for _ in range(2):
        world.run("sync", example, PGHOST="127.0.0.1", PGDATABASE=database)
        found = world.rows(database, "SELECT count(*), sum(hours), min(day)::text, count(note) FROM time_entries")
        assert found == [(730, sum(e["hours"] for e in world.entries), "2026-01-01", 244)]
    offsets = [int(a.query["offset"]) for a in world.tracking.asked]
    assert max(offsets) == 730, "it goes on until a page is empty"


def test_stripe_to_s3_as_parquet(world: World, s3_server: S3Server) -> None:
    s3_server.create_bucket("biz-datalake-dev")
    _fill_stripe(world.stripe)
    environment = {
        "AWS_ENDPOINT_URL": s3_server.endpoint_url,
        "AWS_ACCESS_KEY_ID": s3_server.credentials.access_key_id,
        "AWS_SECRET_ACCESS_KEY": s3_server.credentials.secret_access_key,
        "AWS_REGION": s3_server.region,
    }
    world.run("sync", str(EXAMPLES / "stripe-to-s3.yaml"), **environment)
    lake = pafs.S3FileSystem(
        endpoint_override=s3_server.endpoint_url,
        access_key=s3_server.credentials.access_key_id,
        secret_key=s3_server.credentials.secret_access_key,
        region=s3_server.region,
        scheme="http",
    )
    folder = "biz-datalake-dev/airbyte/stripe"
    customers = ds.dataset(f"{folder}/customers", filesystem=lake, format="parquet").to_table()
    assert sorted(customers.column("email").to_pylist()) == sorted(f"c{i}@example.com" for i in range(250))
    assert ds.dataset(f"{folder}/charges", filesystem=lake, format="parquet").count_rows() == 120


def test_three_sources_into_one_postgres(world: World, postgres_server: PostgresServer) -> None:
    postgres_server.create_database("analytics")
    postgres_server.create_database("app")
    with psycopg.connect(postgres_server.dsn("app"), autocommit=True) as connection:
        connection.execute("CREATE TABLE orders (id int PRIMARY KEY)")
        connection.execute("INSERT INTO orders SELECT generate_series(1, 50)")
    _fill_stripe(world.stripe)
    for i in range(1, 331):
        world.hubspot.put("contacts", i, at=NOW - timedelta(days=2, seconds=i), email=f"p{i}@example.com", firstname="")
    world.hubspot.put("companies", 9, name="Nine", annualrevenue="1000000.50", at=NOW - timedelta(days=2))
    for i in range(1, 251):
        world.hubspot.associate(("contacts", i), ("companies", 9))
    more = {"APP_HOST": "127.0.0.1", "APP_PORT": str(postgres_server.params("app")["port"]), "APP_DATABASE": "app",
            "PGHOST": "127.0.0.1"}  # fmt: skip
    example = str(EXAMPLES / "fan-in-to-postgres.yaml")
    world.run("sync", example, **more)
    counts = (
        "SELECT (SELECT count(*) FROM stripe_raw.customers), (SELECT count(*) FROM hubspot_raw.contacts),"
        " (SELECT count(*) FROM hubspot_raw.contact_companies), (SELECT count(*) FROM etl_processed.orders)"
    )
    assert world.rows("analytics", counts) == [(250, 330, 250, 50)]
    assert world.rows("analytics", "SELECT annualrevenue::text, name FROM hubspot_raw.companies") == [
        ("1000000.50", "Nine")
    ]
    world.stripe.put("customers", "cus_0003", email="new@example.com")
    world.stripe.delete("customers", "cus_0004")
    world.stripe.put("customers", "cus_9999", email="first@example.com")
    world.hubspot.put("contacts", 7, email="seven@example.com")
    world.hubspot.put("contacts", 331, email="p331@example.com")
    world.run("sync", example, **more)
    changed = world.rows(
        "analytics",
        "SELECT id, email, deleted FROM stripe_raw.customers"
        " WHERE id IN ('cus_0003', 'cus_0004', 'cus_9999') ORDER BY id",
    )
    assert changed == [
        ("cus_0003", "new@example.com", None),
        ("cus_0004", "c4@example.com", True),
        ("cus_9999", "first@example.com", None),
    ]
    assert world.rows(
        "analytics", "SELECT id, email FROM hubspot_raw.contacts WHERE id IN ('7', '331') ORDER BY 1"
    ) == [
        ("331", "p331@example.com"),
        ("7", "seven@example.com"),
    ]
    assert any(a.path.endswith("/search") for a in world.hubspot.asked)
