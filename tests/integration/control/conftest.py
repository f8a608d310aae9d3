"""The use cases of the server on both databases, without its HTTP."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from syncline.service import actors
from syncline.service.auth import passwords
from syncline.service.callers import ANONYMOUS
from syncline.service.control import Control, open_control
from syncline.service.first_start import FirstStart, first_start
from syncline.settings import ServerSettings, load_server_settings
from syncline.store.database import open_database
from syncline.store.migrations.tables import metadata
from syncline.store.values import Actor, ActorRole
from syncline.testing.postgres_server import PostgresServer

MakeActor = Callable[..., Actor]

#: As Airbyte's clients send it.
POSTGRES = {
    "sourceType": "postgres",
    "host": "db.example.com",
    "port": 5432,
    "database": "shop",
    "schemas": ["public"],
    "username": "reader",
    "password": "hunter2-secret",
    "ssl_mode": {"mode": "verify-ca", "ca_certificate": "PEM-secret"},
    "replication_method": {
        "method": "CDC",
        "replication_slot": "slot",
        "publication": "pub",
        "initial_waiting_seconds": 1200,
        "lsn_commit_behaviour": "After loading Data in the destination",
        "queue_size": 10000,
        "heartbeat_action_query": "",
        "invalid_cdc_cursor_position_behavior": "Fail sync",
        "initial_load_timeout_hours": 8,
    },
    "tunnel_method": {"tunnel_method": "NO_TUNNEL"},
}
S3 = {
    "destinationType": "s3",
    "s3_bucket_name": "lake",
    "s3_bucket_path": "bronze",
    "s3_bucket_region": "eu-central-1",
    "access_key_id": "AKIA-secret",
    "secret_access_key": "key-secret",
    "format": {
        "format_type": "JSONL",
        "flattening": "Root level flattening",
        "compression": {"compression_type": "GZIP"},
    },
}


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ServerSettings:
    monkeypatch.setenv("SYNCLINE_HOME", str(tmp_path / "home"))
    return load_server_settings()


@pytest.fixture(scope="session")
def postgres_store(postgres_server: PostgresServer) -> str:
    """The URL of a store in Postgres that this folder's tests share, one after the other."""
    p = postgres_server.params(postgres_server.create_database())
    url = f"postgresql://{p['user']}:{p['password']}@{p['host']}:{p['port']}/{p['dbname']}"
    open_database(url).close()
    return url


@pytest.fixture(scope="session")
def sqlite_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty store to copy: migrating one takes longer than most tests."""
    path = tmp_path_factory.mktemp("store") / "store.db"
    open_database(f"sqlite:///{path}").close()
    return path


@pytest.fixture(params=["sqlite", "postgres"])
def control(
    request: pytest.FixtureRequest, settings: ServerSettings, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Control]:
    """On an empty store. Nothing here is to look at databases that are not there, so nothing is fetched in the
    background."""
    if request.param == "postgres":
        url: str = request.getfixturevalue("postgres_store")
        monkeypatch.setenv("SYNCLINE_DATABASE_URL", url)
        settings = load_server_settings()
        database = open_database(url)
        with database.write() as transaction:
            names = ", ".join(table.name for table in metadata.sorted_tables)
            transaction.execute(sa.text(f"TRUNCATE {names}"))
        database.close()
    else:
        shutil.copy(request.getfixturevalue("sqlite_store"), settings.home / "syncline.db")
    monkeypatch.setattr(Control, "later", lambda *_: None)
    monkeypatch.setattr(passwords, "_N", 2**4)  # quick hashes; they are read by the numbers within them
    opened = open_control(settings)
    yield opened
    opened.close()


@pytest.fixture
def first(control: Control) -> FirstStart:
    made = first_start(control)
    assert made is not None
    return made


@pytest.fixture
def make_actor(control: Control, first: FirstStart) -> MakeActor:
    """A source or destination in the first workspace; ``changes`` are laid over its configuration."""

    def make(role: ActorRole, configuration: dict[str, Any] | None = None, **changes: Any) -> Actor:
        base = configuration or (POSTGRES if role == "source" else S3)
        new = actors.NewActor(workspace_id=first.workspace.id, name=f"a {role}", configuration={**base, **changes})
        return actors.create(control, ANONYMOUS, role, new)

    return make
