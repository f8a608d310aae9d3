"""The README's path of a newcomer to a server, as it is written there."""

from __future__ import annotations

import os
import re
import subprocess
import time
from pathlib import Path

import duckdb
import psycopg
import pytest
from tests.integration.api.server_process import server_process

from syncline.testing.postgres_server import PostgresServer

README = Path(__file__).resolve().parents[3] / "README.md"


@pytest.mark.slow
def test_from_a_started_server_to_rows_in_under_two_minutes(
    postgres_server: PostgresServer, postgres_db: str, tmp_path: Path
) -> None:
    with psycopg.connect(postgres_server.dsn(postgres_db), autocommit=True) as connection:
        connection.execute("CREATE TABLE orders (id bigint PRIMARY KEY, note text)")
        connection.execute("INSERT INTO orders SELECT g, 'n' || g FROM generate_series(1, 1234) g")
    _, _, section = README.read_text(encoding="utf-8").partition("## A server")
    (script,) = re.findall(r"```bash\n(.*?)```", section.partition("\n## ")[0], re.DOTALL)
    params = postgres_server.params(postgres_db)
    began = time.monotonic()
    with server_process(tmp_path, SYNCLINE_AUTH="none") as server:
        environment = {
            **os.environ,
            "SYNCLINE_URL": server["base"],
            "PGHOST": str(params["host"]),
            "PGPORT": str(params["port"]),
            "PGDATABASE": postgres_db,
            "PGUSER": str(params["user"]),
            "PGPASSWORD": str(params["password"]),
        }
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert '"status":"succeeded"' in done.stdout
    assert time.monotonic() - began < 120
    with duckdb.connect(str(tmp_path / "copy.duckdb"), read_only=True) as copy:
        found = copy.execute(
            "SELECT table_schema FROM information_schema.tables WHERE table_name = 'orders'"
        ).fetchall()
        assert copy.execute(f'SELECT count(*) FROM "{found[0][0]}".orders').fetchone() == (1234,)
