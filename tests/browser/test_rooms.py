"""Mappings, quality gates, quarantine, changes of the source, alerts, a followed log, several workspaces: each from the
page to what it does at both ends."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import duckdb
import pytest
from playwright.sync_api import Browser, Page, expect
from tests.browser.conftest import connect
from tests.browser.site import Site, expect_success, opened

from syncline.testing.postgres_server import PostgresServer, start_postgres

pytestmark = pytest.mark.browser


def rows(connection: dict[str, Any], query: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(connection["path"]), read_only=True) as con:
        return con.execute(query).fetchall()


def sync(server: Site, connection: dict[str, Any]) -> str:
    """How it ended."""
    body = {"connectionId": connection["connectionId"], "jobType": "sync"}
    job = server.post("/v1/jobs", body)["jobId"]
    with server.client.stream("GET", f"/api/syncline/v1/jobs/{job}/logs/stream", timeout=300) as stream:
        for _ in stream.iter_bytes():
            pass
    return str(server.client.get(f"/v1/jobs/{job}").json()["status"])


@pytest.fixture
def customers(server: Site, connection: dict[str, Any]) -> dict[str, Any]:
    """The connection, taking one stream of the shop alone."""
    streams = {"configurations": {"streams": [{"name": "customers"}]}}
    path = f"/v1/connections/{connection['connectionId']}"
    assert server.client.patch(path, json=streams).status_code == 200
    return connection


def at(connection: dict[str, Any], tab: str) -> str:
    return f"/connections/{connection['connectionId']}/{tab}"


def test_a_mapping_is_tried_with_rows_and_kept(browser: Browser, server: Site, customers: dict[str, Any]) -> None:
    block = {"from": "customers", "drop": ["updated_at"], "field_mappings": {"email": "mail"}}
    with opened(browser, server, at(customers, "mappings")) as page:
        keep = page.get_by_role("button", name="Keep these")
        page.get_by_role("textbox", name="Mappings").fill(json.dumps([{**block, "drop": ["no_such_column"]}]))
        expect(keep).to_be_disabled()
        page.get_by_role("button", name="See what this does").click()
        expect(page.get_by_role("main").get_by_role("alert")).to_contain_text("no_such_column")
        expect(keep).to_be_disabled()
        page.get_by_role("textbox", name="Mappings").fill(json.dumps([block]))
        page.get_by_role("button", name="See what this does").click()
        shown = page.get_by_role("region", name="public.customers")
        expect(shown.get_by_role("table")).to_have_count(2)
        expect(shown.get_by_role("table").nth(0)).to_contain_text("c1@example.com")
        expect(shown.get_by_role("columnheader", name=re.compile("^mail "))).to_be_visible()
        keep.click()
        expect(page.get_by_text("The mappings are kept")).to_be_visible()
    assert sync(server, customers) == "succeeded"
    assert rows(customers, "SELECT mail FROM customers WHERE id = 1") == [("c1@example.com",)]


def test_a_gate_holds_back_and_its_rows_go_to_quarantine(
    browser: Browser,
    server: Site,
    customers: dict[str, Any],
    postgres_server: PostgresServer,
    postgres_db: str,
) -> None:
    postgres_server.execute("UPDATE customers SET email = '<i>no address</i>' WHERE id IN (7, 8)", dbname=postgres_db)
    gate: dict[str, Any] = {"regex": {"column": "email", "pattern": ".+@.+"}}
    with opened(browser, server, at(customers, "quality")) as page:
        expect(page.get_by_text("Nothing was judged yet")).to_be_visible()
        write_gates(page, [{"regexp": {"column": "email"}}])
        expect(page.get_by_role("main").get_by_role("alert")).to_contain_text("regexp")
        write_gates(page, [gate])
        expect(page.get_by_role("button", name="Keep these")).to_be_disabled()
        assert sync(server, customers) == "failed"
        # What was judged, and what to do about it; the old data would stay as it was.
        expect(page.get_by_text("1 stream is held back")).to_be_visible()
        expect(page.get_by_role("table").get_by_text("Blocked")).to_be_visible()
        write_gates(page, [{**gate, "severity": "quarantine"}])
        expect(page.get_by_role("button", name="Keep these")).to_be_disabled()
        assert sync(server, customers) == "succeeded"
        expect(page.get_by_text("Rows set aside", exact=True)).to_be_visible()
        page.get_by_role("tab", name="Quarantine").click()
        page.get_by_role("button", name=re.compile("email|regex|pattern")).first.click()
        expect(page.get_by_text("<i>no address</i>")).to_have_count(2)
        # Dropped: one, after being asked. Written after all: the other, once the gate lets it.
        page.get_by_role("checkbox").first.check()
        page.get_by_role("button", name="Drop the chosen").click()
        page.get_by_role("dialog").get_by_role("button", name="Drop them").click()
        expect(page.get_by_text("<i>no address</i>")).to_have_count(1)
        page.get_by_role("tab", name="Quality").click()
        write_gates(page, [])
        expect(page.get_by_role("button", name="Keep these")).to_be_disabled()
        page.get_by_role("tab", name="Quarantine").click()
        page.get_by_role("button", name=re.compile("email|regex|pattern")).first.click()
        page.get_by_role("button", name="Write all of the stream").click()
        expect(page.get_by_text("Nothing lies in quarantine")).to_be_visible()
    assert rows(customers, "SELECT count(*) FROM customers") == [(499,)]


def write_gates(page: Page, gates: list[dict[str, Any]]) -> None:
    page.get_by_label("Gates", exact=True).fill(json.dumps(gates))
    page.get_by_role("button", name="Keep these").click()


def test_a_change_of_the_source_is_accepted(
    browser: Browser,
    server: Site,
    customers: dict[str, Any],
    postgres_server: PostgresServer,
    postgres_db: str,
) -> None:
    path = f"/v1/connections/{customers['connectionId']}"
    policy = {"nonBreakingSchemaUpdatesBehavior": "disable_connection"}
    assert server.client.patch(path, json=policy).status_code == 200
    assert sync(server, customers) == "succeeded"
    postgres_server.execute("ALTER TABLE customers ADD COLUMN city text DEFAULT 'Köln'", dbname=postgres_db)
    assert sync(server, customers) == "failed"
    with opened(browser, server, at(customers, "changes")) as page:
        since = page.get_by_role("region", name="Since the last run")
        expect(since.get_by_role("listitem")).to_contain_text("city")
        since.get_by_role("button", name="Accept").click()
        expect(since.get_by_text("Nothing has changed at the source.")).to_be_visible()
        page.get_by_role("tab", name="Overview").click()
        page.get_by_role("button", name="Sync now").click()
        expect(page.get_by_role("row", name=re.compile(r"^#\d+ Succeeded"))).to_have_count(2)
    assert rows(customers, "SELECT DISTINCT city FROM customers") == [("Köln",)]


class Hook(BaseHTTPRequestHandler):
    """A webhook of somebody's: keeps what it is sent."""

    heard: list[dict[str, Any]] = []

    def do_POST(self) -> None:
        self.heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Not among the tests' output."""


@pytest.fixture
def hook() -> Iterator[int]:
    Hook.heard.clear()
    with HTTPServer(("127.0.0.1", 0), Hook) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield listening.server_port
        listening.shutdown()
        thread.join()


def test_an_alert_reaches_a_channel(
    browser: Browser, server: Site, shop: dict[str, Any], tmp_path: Path, hook: int
) -> None:
    name = f"Alarmed {tmp_path.name}"
    made = connect(server, {**shop, "password": "not this one"}, tmp_path / "copy.duckdb", name)
    with opened(browser, server, "/alerts/channels") as page:
        page.get_by_role("button", name="Add a channel").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Name").fill("ops <b>room</b>")
        dialog.get_by_label("Address").fill("nonsense://x")
        dialog.get_by_role("button", name="Add it").click()
        expect(dialog.get_by_text(re.compile("nonsense"))).to_be_visible()
        dialog.get_by_label("Address").fill(f"json://127.0.0.1:{hook}/x")
        dialog.get_by_role("button", name="Add it").click()
        page.get_by_role("button", name="Send a test to ops <b>room</b>").click()
        expect(page.get_by_text("A message has arrived at")).to_be_visible()
        assert "test" in Hook.heard[0]["title"]
        page.get_by_role("tab", name="Rules").click()
        rule = page.get_by_role("group", name="A sync takes long")
        rule.get_by_label("Minutes at most").fill("7")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_role("button", name="Save")).to_be_disabled()
        page.reload()
        expect(rule.get_by_label("Minutes at most")).to_have_value("7")
        assert sync(server, made) == "failed"
        page.get_by_role("tab", name="Alerts").click()
        row = page.get_by_role("row", name=re.compile(name))
        expect(row.get_by_text("A sync failed", exact=True)).to_be_visible()
        row.get_by_role("button", name=re.compile("Messages")).click()
        expect(page.get_by_role("dialog").get_by_text("arrived")).to_be_visible()
        assert any(name in json.dumps(message) for message in Hook.heard)


@pytest.fixture(scope="module")
def logging_postgres() -> Iterator[PostgresServer]:
    """One whose log can be followed."""
    with start_postgres(settings={"wal_level": "logical"}) as running:
        yield running


def test_the_lag_of_a_followed_log_moves(
    browser: Browser, server: Site, logging_postgres: PostgresServer, tmp_path: Path
) -> None:
    database = logging_postgres.create_database()
    logging_postgres.execute("CREATE TABLE notes (id bigint PRIMARY KEY, text text)", dbname=database)
    params = logging_postgres.params(database)
    source = {
        "sourceType": "postgres",
        "host": str(params["host"]),
        "port": int(params["port"]),
        "database": database,
        "username": str(params["user"]),
        "password": str(params["password"]),
        "replication_method": {"method": "CDC"},
    }
    mode = {"configurations": {"streams": [{"name": "notes", "syncMode": "incremental_deduped_history"}]}}
    made = connect(server, source, tmp_path / "copy.duckdb", f"Live {tmp_path.name}", **mode)
    assert sync(server, made) == "succeeded"
    insert = "INSERT INTO notes SELECT g, repeat('x', 400) FROM generate_series(1, 20000) g"
    logging_postgres.execute(insert, dbname=database)
    with opened(browser, server, "/cdc") as page:
        slot = page.get_by_role("region", name=made["name"])
        # Nobody follows it at present: some megabytes wait.
        expect(slot.get_by_text(re.compile(r"\d MB of log to apply"))).to_be_visible()
        assert sync(server, made) == "succeeded"
        slot.get_by_role("button", name="Look again").click()
        expect(slot.get_by_text(re.compile(r"\d MB of log to apply"))).not_to_be_attached()
    assert rows(made, "SELECT count(*) FROM notes") == [(20_000,)]
    server.client.delete(f"/v1/connections/{made['connectionId']}")


def test_one_goes_from_a_workspace_to_another(
    browser: Browser, server: Site, connection: dict[str, Any], tmp_path: Path
) -> None:
    name = f"Elsewhere {tmp_path.name}"
    other = server.post("/v1/workspaces", {"name": name})["workspaceId"]
    try:
        with opened(browser, server, "/") as page:
            expect(page.get_by_role("link", name=connection["name"], exact=True)).to_be_visible()
            page.get_by_role("button", name=re.compile("Signed in as")).click()
            page.get_by_role("menuitem", name=name).click()
            expect(page.get_by_role("link", name=connection["name"], exact=True)).not_to_be_attached()
            page.reload()
            expect(page.get_by_role("banner").get_by_text(name)).to_be_visible()
            # A link leads into the workspace of what it names.
            page.goto(f"{server.base}{at(connection, 'overview')}")
            page.get_by_role("button", name="Sync now").click()
            expect_success(page)
            expect(page.get_by_role("banner").get_by_text(name)).not_to_be_attached()
    finally:
        server.client.delete(f"/v1/workspaces/{other}")
