"""Airbyte's connectors from the package index, unmodified, against local counterparts of their services: a proxy ends
their TLS with an authority of its own, as a company's does, and no name but the service's own leads anywhere.

Each is read twice, the second time from its state, into Postgres and into Parquet.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml
from tests.integration.command import postgres, succeed, syncline

from syncline.testing.postgres_server import PostgresServer
from syncline.testing.saas.api_server import ApiServer, Asked, Reply
from syncline.testing.saas.hubspot import FakeHubspot
from syncline.testing.saas.salesforce import FakeSalesforce
from syncline.testing.saas.stripe import FakeStripe
from syncline.testing.tls_redirect import TlsRedirect

pytestmark = pytest.mark.clients

NOW = datetime.now(UTC)
LONG_AGO = NOW - timedelta(days=40)
BEGIN = (NOW - timedelta(days=50)).strftime("%Y-%m-%dT00:00:00Z")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the connectors are installed, once. ``SYNCLINE_CONNECTORS_HOME`` keeps them between runs."""
    kept = os.environ.get("SYNCLINE_CONNECTORS_HOME")
    folder = Path(kept) if kept else tmp_path_factory.mktemp("connectors")
    shutil.rmtree(folder / "scratch", ignore_errors=True)  # what another run's connectors kept of their tokens
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SYNCLINE_HOME", str(folder))
        for name in ("stripe", "hubspot", "salesforce", "github"):
            done = syncline("connectors", "install", name, "--json")
            if done.code != 0 and "package index" in done.err:
                pytest.skip("no package index can be reached")
            assert done.code == 0, done.text
        yield folder


class Both:
    """One source, copied into Postgres and into Parquet files."""

    def __init__(self, folder: Path, source: dict[str, Any], streams: list[str], to: dict[str, Any]) -> None:
        self.folder, self.streams = folder, streams
        blocks = {"pg": to, "lake": {"type": "local", "config": {"path": str(folder / "lake")}}}
        for name, destination in blocks.items():
            sync = {"mode": "incremental", "streams": streams}
            data = {"name": name, "source": source, "destination": destination, "sync": sync}
            (folder / f"{name}.yaml").write_text(yaml.safe_dump(data))

    def sync(self) -> dict[str, int]:
        """Rows read by the run into Postgres."""
        succeed("sync", self.folder / "lake.yaml", "--json")
        done = succeed("sync", self.folder / "pg.yaml", "--json").json
        return {s["stream"]["name"]: s["rows_read"] for s in done["streams"]}

    def parquet(self, columns: str, stream: str) -> set[Any]:
        return parquet(self.folder / "lake", columns, stream)


def parquet(lake: Path, columns: str, stream: str) -> set[Any]:
    with duckdb.connect() as con:
        files = con.execute("SELECT file FROM glob(?)", [str(lake / "**" / "*.parquet")]).fetchall()
        paths = [path for (path,) in files if f"/{stream}/" in path]
        return set(con.execute(f"SELECT {columns} FROM read_parquet(?, union_by_name=true)", [paths]).fetchall())


def airbyte(package: str, proxy: TlsRedirect, config: dict[str, Any]) -> dict[str, Any]:
    environment = {"HTTPS_PROXY": proxy.url, "NO_PROXY": "127.0.0.1"}
    return {
        "type": "airbyte",
        "config": {"package": package, "config": config, "environment": environment, "ca_bundle": str(proxy.ca)},
    }


def test_stripe(home: Path, tmp_path: Path, postgres_server: PostgresServer, postgres_db: str) -> None:
    with FakeStripe() as stripe, TlsRedirect(tmp_path / "tls", {"api.stripe.com": stripe.url}) as proxy:
        for number in range(250):
            at = int((LONG_AGO + timedelta(minutes=number)).timestamp())
            stripe.put("customers", f"cus_{number:04d}", at=at, email=f"{number}@example.com", name="\u00fc")
        config = {"account_id": "acct_1", "client_secret": stripe.key, "start_date": BEGIN}
        both = Both(tmp_path, airbyte("stripe", proxy, config), ["customers"], postgres(postgres_server, postgres_db))
        assert both.sync()["customers"] == 250
        soon = int(NOW.timestamp())
        stripe.put("customers", "cus_0001", at=soon, email="changed@example.com")
        stripe.put("customers", "cus_9999", at=soon, email="new@example.com")
        assert both.sync()["customers"] < 20
        with postgres_server.connect(postgres_db) as session:
            found = dict(session.execute("SELECT id, email FROM customers").fetchall())
        assert len(found) == 251
        assert found["cus_0001"] == "changed@example.com"
        assert ("cus_9999", "new@example.com") in both.parquet("id, email", "customers")
        assert set(proxy.seen) == {"api.stripe.com"}


def test_hubspot(home: Path, tmp_path: Path, postgres_server: PostgresServer, postgres_db: str) -> None:
    with FakeHubspot() as hubspot, TlsRedirect(tmp_path / "tls", {"api.hubapi.com": hubspot.url}) as proxy:
        for number in range(120):
            hubspot.put("contacts", number + 1, at=LONG_AGO + timedelta(minutes=number), email=f"{number}@example.com")
        credentials = {"credentials_title": "Private App Credentials", "access_token": hubspot.token}
        config = {"start_date": BEGIN, "credentials": credentials}
        both = Both(tmp_path, airbyte("hubspot", proxy, config), ["contacts"], postgres(postgres_server, postgres_db))
        assert both.sync()["contacts"] == 120
        hubspot.put("contacts", 7, at=NOW, email="changed@example.com")
        assert both.sync()["contacts"] < 20
        with postgres_server.connect(postgres_db) as session:
            found = dict(session.execute("SELECT id, properties->>'email' FROM contacts").fetchall())
        assert len(found) == 120
        assert found["7"] == "changed@example.com"
        assert len({i for (i,) in both.parquet("id", "contacts")}) == 120


@pytest.mark.parametrize("into", ["postgres", "parquet"])
def test_salesforce_whose_refresh_token_rotates(
    home: Path, tmp_path: Path, postgres_server: PostgresServer, postgres_db: str, into: str
) -> None:
    """One connection each: with a token that works once, two connections would take it from each other."""
    with FakeSalesforce() as salesforce:
        hosts = dict.fromkeys(("login.salesforce.com", "local.my.salesforce.com"), salesforce.url)
        with TlsRedirect(tmp_path / "tls", hosts) as proxy:
            salesforce.describe("Account", Name="text", Employees="whole", Active="yes")
            for number in range(60):
                at = LONG_AGO + timedelta(minutes=number)
                salesforce.put("Account", f"001{number:05d}", at=at, Name=f"n{number}", Employees=number, Active="true")
            config = {
                "client_id": "client-local",
                "client_secret": "secret-local",
                "refresh_token": salesforce.refresh_token,
                "start_date": BEGIN,
            }
            source = airbyte("salesforce", proxy, config)
            lake = {"type": "local", "config": {"path": str(tmp_path / "lake")}}
            to = lake if into == "parquet" else postgres(postgres_server, postgres_db)
            project = tmp_path / "p.yaml"
            sync = {"mode": "incremental", "streams": ["Account"]}
            name = f"salesforce-{into}"
            project.write_text(yaml.safe_dump({"name": name, "source": source, "destination": to, "sync": sync}))
            assert succeed("sync", project, "--json").json["streams"][0]["rows_read"] == 60
            first = salesforce.logins
            salesforce.put("Account", "00100001", at=NOW, Name="changed", Employees=1, Active="false")
            again = succeed("sync", project, "--json").json["streams"][0]
            # Each token works once: the second run could only begin with the one that the first was given last.
            assert salesforce.logins > first
            assert again["rows_read"] < 20
            if into == "parquet":
                rows = parquet(tmp_path / "lake", '"Id", "Name", "Active"', "Account")
                assert ("00100001", "changed", False) in rows
                assert len({i for i, _, _ in rows}) == 60
                return
            with postgres_server.connect(postgres_db) as session:
                found = session.execute('SELECT "Name", "Active" FROM "Account" WHERE "Id" = %s', ["00100001"])
                assert found.fetchone() == ("changed", False)
                assert session.execute('SELECT count(*) FROM "Account"').fetchone() == (60,)


def test_github_says_what_it_is(home: Path) -> None:
    done = succeed("connectors", "spec", "github", "--json").json
    assert "repositories" in done["connectionSpecification"]["properties"]
    assert re.fullmatch(r"[0-9a-f-]{36}", succeed("connectors", "info", "github", "--json").json["definition"])


def test_github_says_what_it_has(home: Path, tmp_path: Path) -> None:
    """Its streams are the same for every account; it looks whether the repository is there before it tells them."""
    limit = {"limit": 5000, "remaining": 4999, "reset": int(NOW.timestamp()) + 3600}
    shop = {"full_name": "acme/shop", "owner": {"login": "acme"}, "default_branch": "main"}
    answers = {
        "/rate_limit": {"resources": {"core": limit, "graphql": limit, "search": limit}, "rate": limit},
        "/repos/acme/shop": {**shop, "organization": {"login": "acme"}, "updated_at": BEGIN},
    }

    def github(asked: Asked) -> Any:
        return answers.get(asked.path) or Reply(status=404, body={"message": "Not Found"})

    with ApiServer(github) as api, TlsRedirect(tmp_path / "tls", {"api.github.com": api.url}) as proxy:
        token = {"option_title": "PAT Credentials", "personal_access_token": "ghp-local-token"}
        config = {"credentials": token, "repositories": ["acme/shop"], "start_date": BEGIN}
        project = {"name": "gh", "source": airbyte("github", proxy, config)}
        lake = {"type": "local", "config": {"path": str(tmp_path / "lake")}}
        (tmp_path / "p.yaml").write_text(yaml.safe_dump({**project, "destination": lake, "sync": {}}))
        (found,) = succeed("discover", tmp_path / "p.yaml", "--json").json.values()
        streams = {s["name"]["name"]: s for s in found["streams"]}
        assert len(streams) >= 35
        assert streams["issues"]["incremental"]
        assert streams["issues"]["primary_key"] == ["id"]
        assert {a.headers.get("authorization") for a in api.asked} == {"token ghp-local-token"}
