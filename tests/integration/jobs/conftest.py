"""An open store with a workspace, on SQLite and on Postgres, and connections in it that nothing needs to reach."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from syncline.store import actors, connections, workspaces
from syncline.store.database import Database, open_database
from syncline.store.schema import new_id, now
from syncline.store.values import Actor, ConnectionOptions, Schedule, StoredConnection
from syncline.testing.postgres_server import PostgresServer


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    if request.param == "sqlite":
        opened = open_database(f"sqlite:///{tmp_path / 'store.db'}")
        yield opened
        opened.close()
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    name = server.create_database()
    opened = open_database(_url(server, name))
    yield opened
    opened.close()
    server.drop_database(name)


@pytest.fixture
def sqlite_database(tmp_path: Path) -> Iterator[Database]:
    opened = open_database(f"sqlite:///{tmp_path / 'store.db'}")
    yield opened
    opened.close()


def _url(server: PostgresServer, name: str) -> str:
    p = server.params(name)
    return f"postgresql://{p['user']}:{p['password']}@{p['host']}:{p['port']}/{name}"


MakeConnections = Callable[..., list[StoredConnection]]


@pytest.fixture
def make_connections() -> MakeConnections:
    """``make(database, count, schedule=…, options=…)``: connections of one workspace, each with ends of its own."""

    def make(
        database: Database,
        count: int = 1,
        *,
        schedule: Schedule | None = None,
        options: ConnectionOptions | None = None,
        **changes: Any,
    ) -> list[StoredConnection]:
        at = now()
        with database.write() as tx:
            organization = workspaces.add_organization(tx, name="o", email="a@b.c")
            workspace = workspaces.add(tx, organization_id=organization.id, name="w")
            made = []
            for n in range(count):
                source, destination = (
                    Actor(
                        id=new_id(),
                        role=role,
                        workspace_id=workspace.id,
                        definition_id=new_id(),
                        type_name="postgres",
                        connector="postgres",
                        name=f"{role} {n}",
                        configuration={},
                        created_at=at,
                        updated_at=at,
                    )
                    for role in ("source", "destination")
                )
                actors.add(tx, source)
                actors.add(tx, destination)
                number: UUID = new_id()
                connection = StoredConnection(
                    id=number,
                    key=str(number),
                    workspace_id=workspace.id,
                    source_id=source.id,
                    destination_id=destination.id,
                    name=f"c{n}",
                    schedule=schedule or Schedule(),
                    options=options or ConnectionOptions(),
                    created_at=at,
                    updated_at=at,
                )
                connection = replace(connection, **changes)
                connections.add(tx, connection)
                made.append(connection)
        return made

    return make
