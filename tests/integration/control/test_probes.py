"""Looks at real databases from processes of their own, and a stored connection that is synced."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest

from syncline.core.errors import ErrorKind, SynclineError
from syncline.jobs.launcher import ProcessLauncher
from syncline.service import actors, catalogs, connections, probes, states
from syncline.service.actors import ActorChange
from syncline.service.callers import ANONYMOUS
from syncline.service.connections import NewConnection
from syncline.service.control import Control, open_control
from syncline.service.first_start import FirstStart, first_start
from syncline.service.stored_connections import runnable
from syncline.service.sync import sync_connection
from syncline.settings import ServerSettings
from syncline.store.values import Actor, ConnectionState, StreamConfig
from syncline.testing.postgres_server import PostgresServer

pytestmark = pytest.mark.slow


@pytest.fixture
def control(settings: ServerSettings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Control]:
    """On SQLite: what is looked at here is not the store."""
    monkeypatch.setattr(Control, "later", lambda *_: None)
    opened = open_control(settings)
    yield opened
    opened.close()


@pytest.fixture
def first(control: Control) -> FirstStart:
    made = first_start(control)
    assert made is not None
    return made


@pytest.fixture
def source(control: Control, first: FirstStart, postgres_server: PostgresServer, postgres_db: str) -> Actor:
    with psycopg.connect(postgres_server.dsn(postgres_db)) as session:
        session.execute("CREATE TABLE users (id int PRIMARY KEY, name text, at timestamptz NOT NULL DEFAULT now())")
        session.execute("INSERT INTO users SELECT n, 'name ' || n FROM generate_series(1, 500) AS n")
        session.execute("CREATE SCHEMA other")
        session.execute("CREATE TABLE other.items (id int)")
    p = postgres_server.params(postgres_db)
    configuration = {
        "sourceType": "postgres",
        "host": p["host"],
        "port": p["port"],
        "database": postgres_db,
        "username": p["user"],
        "password": p["password"],
        "schemas": ["public"],
        "ssl_mode": {"mode": "disable"},
        "replication_method": {"method": "Standard"},
        "tunnel_method": {"tunnel_method": "NO_TUNNEL"},
    }
    new = actors.NewActor(workspace_id=first.workspace.id, name="shop", configuration=configuration)
    return actors.create(control, ANONYMOUS, "source", new)


@pytest.fixture
def destination(control: Control, first: FirstStart, tmp_path: Path) -> Actor:
    configuration = {"destinationType": "duckdb", "destination_path": str(tmp_path / "out.duckdb"), "schema": "main"}
    new = actors.NewActor(workspace_id=first.workspace.id, name="duck", configuration=configuration)
    return actors.create(control, ANONYMOUS, "destination", new)


def test_check_says_what_is_wrong_and_what_to_do(control: Control, source: Actor, destination: Actor) -> None:
    for actor in (source, destination):
        found = probes.check_actor(control, ANONYMOUS, actor.role, actor.id)
        assert (found.ok, found.message) == (True, "")
        assert all(finding["severity"] != "error" for finding in found.findings)
    wrong = {"database": "no_such_database"}
    tried = probes.check_configuration(
        control, ANONYMOUS, "source", wrong, workspace_id=source.workspace_id, actor_id=source.id
    )
    assert not tried.ok
    assert "no_such_database" in tried.message
    password = actors.clear_configuration(control, source)["password"]
    assert password not in tried.message


def test_discover_is_remembered_until_the_configuration_changes(control: Control, source: Actor) -> None:
    seen = probes.discover(control, ANONYMOUS, source.id)
    assert [stream["name"] for stream in seen.catalog["streams"]] == [{"namespace": "public", "name": "users"}]
    assert probes.discover(control, ANONYMOUS, source.id).id == seen.id
    actors.update(control, ANONYMOUS, "source", source.id, ActorChange(configuration={"schemas": ["other"]}))
    again = probes.discover(control, ANONYMOUS, source.id)
    assert again.id != seen.id
    assert [stream["name"]["name"] for stream in again.catalog["streams"]] == ["items"]


def test_streams_and_catalogs_in_airbytes_words(control: Control, source: Actor, destination: Actor) -> None:
    (found,) = catalogs.streams(control, ANONYMOUS, source.id, destination.id)
    assert (found.stream_name, found.stream_namespace) == ("users", "public")
    assert found.source_defined_primary_key == (("id",),)
    assert "incremental_deduped_history" in found.sync_modes
    assert found.property_fields == (("id",), ("name",), ("at",))
    chosen = (
        StreamConfig(name="users", sync_mode="incremental_append", cursor_field=("at",)),
        StreamConfig(name="not_there_yet"),
    )
    new = NewConnection(source_id=source.id, destination_id=destination.id, streams=chosen)
    made = connections.create(control, ANONYMOUS, new)
    entries = catalogs.sync_catalog(control, ANONYMOUS, made.id)["streams"]
    by_name = {entry["stream"]["name"]: entry for entry in entries}
    assert by_name.keys() == {"users", "not_there_yet"}
    assert by_name["users"]["stream"]["jsonSchema"]["properties"].keys() == {"id", "name", "at"}
    config = by_name["users"]["config"]
    assert (config["selected"], config["syncMode"], config["destinationSyncMode"]) == (True, "incremental", "append")
    assert catalogs.streams_from_sync_catalog({"streams": entries})[0].name == "not_there_yet"


def test_a_stored_connection_is_synced_and_its_state_is_set(
    control: Control, source: Actor, destination: Actor, tmp_path: Path
) -> None:
    stream = StreamConfig(name="users", sync_mode="incremental_append", cursor_field=("id",))
    new = NewConnection(source_id=source.id, destination_id=destination.id, streams=(stream,), prefix="raw_")
    made = connections.create(control, ANONYMOUS, new)

    def rows() -> int:
        outcome = sync_connection(runnable(control, made.id), control.settings, ProcessLauncher(), lambda _: None)
        assert outcome.succeeded, outcome.result
        with duckdb.connect(str(tmp_path / "out.duckdb"), read_only=True) as database:
            counted = database.execute("SELECT count(*) FROM main.raw_users").fetchone()
        assert counted is not None
        return int(counted[0])

    assert rows() == 500
    assert states.get(control, ANONYMOUS, made.id).kind == "not_set"
    known = states.refresh(control, ANONYMOUS, made.id)
    assert known.kind == "stream"
    assert known.streams[0].state is not None
    assert rows() == 500
    # What was read out is taken back in as it is.
    assert states.set_state(control, ANONYMOUS, made.id, known).streams[0].state == known.streams[0].state
    assert rows() == 500
    # No state: the stream is copied anew.
    assert states.set_state(control, ANONYMOUS, made.id, ConnectionState()).kind == "not_set"
    assert rows() >= 500
    shared = ConnectionState(shared={"lsn": 1})
    with pytest.raises(SynclineError, match="cannot be set"):
        states.set_state(control, ANONYMOUS, made.id, shared)


def test_a_look_that_never_ends_is_ended(control: Control, source: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []
    real = subprocess.Popen

    def sleeping(command: list[str], **named: Any) -> subprocess.Popen[bytes]:
        child = real(["sleep", "1000"], **named)
        started.append(child)
        return child

    monkeypatch.setattr(subprocess, "Popen", sleeping)
    with pytest.raises(SynclineError, match="no answer within") as caught:
        probes.look(control, {"task": "check"}, 0.3)
    assert caught.value.kind is ErrorKind.UNREACHABLE
    assert started[0].poll() is not None


def test_the_process_that_looks_gets_no_secret_of_the_server(
    control: Control, source: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}
    real = subprocess.Popen

    def watching(command: list[str], **named: Any) -> subprocess.Popen[bytes]:
        seen.update(command=command, env=named["env"])
        return real(command, **named)

    for name in ("SYNCLINE_SECRET_KEY", "SYNCLINE_DATABASE_URL", "SYNCLINE_ADMIN_PASSWORD"):
        monkeypatch.setenv(name, "the server's own")
    monkeypatch.setattr(subprocess, "Popen", watching)
    assert probes.check_actor(control, ANONYMOUS, "source", source.id).ok
    assert "the server's own" not in seen["env"].values()
    password = actors.clear_configuration(control, source)["password"]
    assert password not in " ".join(seen["command"])
    assert password not in seen["env"].values()
    assert os.environ["SYNCLINE_SECRET_KEY"] == "the server's own"
