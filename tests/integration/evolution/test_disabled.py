"""A connection that is to stop when its source changes: the server takes it out of service and says why."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.faults.server_process import running_server, until

from syncline.testing.postgres_server import PostgresServer

pytestmark = pytest.mark.slow


def test_a_change_makes_the_connection_inactive(
    postgres_server: PostgresServer, postgres_db: str, tmp_path: Path
) -> None:
    postgres_server.execute(
        "CREATE SCHEMA s", "CREATE TABLE s.a (id int PRIMARY KEY, v text)", "INSERT INTO s.a VALUES (1, 'x')",
        dbname=postgres_db,
    )  # fmt: skip
    with running_server(tmp_path / "home") as server:
        connection = server.connection(
            server.source(postgres_server, postgres_db, "s"),
            server.destination(postgres_server, postgres_db, "d"),
            nonBreakingSchemaUpdatesBehavior="disable_connection",
        )
        assert server.wait(server.trigger(connection)) == "succeeded"
        postgres_server.execute("ALTER TABLE s.a ADD COLUMN n int", dbname=postgres_db)
        assert server.wait(server.trigger(connection)) == "failed"
        path = f"/v1/connections/{connection}"
        assert until(lambda: server.call("GET", path)["status"] == "inactive")
        assert "column added: n" in server.call("GET", path)["statusReason"]
        server.call("PATCH", path, {"status": "active", "nonBreakingSchemaUpdatesBehavior": "propagate_columns"})
        assert server.wait(server.trigger(connection)) == "succeeded"
