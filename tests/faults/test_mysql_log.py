"""The oracle of the binary log: a writer inserts, updates, deletes and alters at random while whole runs are killed
and the server is restarted; at the end both ends must be equal, row for row, compared by reading code of neither.

``SYNCLINE_MYSQL_KILLS`` and ``SYNCLINE_MYSQL_SEED`` make it longer and another.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml
from tests.integration.command import postgres

from syncline.testing.mariadb_server import MariaDbServer, find_mariadb, start_mariadb
from syncline.testing.postgres_server import PostgresServer

pytestmark = pytest.mark.faults

KILLS = int(os.environ.get("SYNCLINE_MYSQL_KILLS", "6"))
SEED = int(os.environ.get("SYNCLINE_MYSQL_SEED", str(time.time_ns() % 10**6)))
TABLES = ("a", "b")
#: What a client hears of a server that stops or has stopped.
_AWAY = (0, 1053, 1927, 2002, 2003, 2006, 2013, 4031)


class Writer(threading.Thread):
    """Random transactions, until told to stop; survives restarts of the server."""

    def __init__(self, server: MariaDbServer, database: str) -> None:
        super().__init__(daemon=True)
        self._server, self._database = server, database
        self._random = random.Random(SEED)
        self._added = 0
        self.enough = threading.Event()
        self.committed = self.altered = 0
        self.failed: BaseException | None = None

    def run(self) -> None:
        import pymysql

        while not self.enough.is_set():
            try:
                with self._server.connect(
                    self._database, autocommit=False, init_command="SET sql_mode = ''"
                ) as session:
                    while not self.enough.is_set():
                        self._transaction(session)
                        time.sleep(self._random.random() * 0.01)
            except (pymysql.err.OperationalError, pymysql.err.InterfaceError) as error:
                if error.args and error.args[0] not in _AWAY:
                    self.failed = error
                    return
                time.sleep(0.1)  # the server is being restarted
            except BaseException as error:
                self.failed = error
                raise

    def _transaction(self, session: Any) -> None:
        draw = self._random
        with session.cursor() as cursor:
            if draw.random() < 0.01:
                self._alter(cursor)
                return
            for _ in range(draw.choice([1, 1, 2, 5, 40])):
                table, key = draw.choice(TABLES), draw.randrange(400)
                value = draw.choice([None, "", "text", "\u00fc\U0001f600", "x" * draw.randrange(500)])
                number = draw.choice([None, Decimal(draw.randrange(-(10**9), 10**9)) / 1000])
                act = draw.random()
                if act < 0.45:
                    cursor.execute(f"REPLACE INTO {table} (id, v, n) VALUES (%s, %s, %s)", (key, value, number))
                elif act < 0.75:
                    cursor.execute(f"UPDATE {table} SET v = %s, n = %s WHERE id = %s", (value, number, key))
                elif act < 0.9:
                    cursor.execute(f"DELETE FROM {table} WHERE id = %s", (key,))
                elif act < 0.995:
                    cursor.execute(f"UPDATE IGNORE {table} SET id = %s WHERE id = %s", (draw.randrange(400), key))
                else:
                    cursor.execute(f"DELETE FROM {table}")
            if draw.random() < 0.1:
                session.rollback()
            else:
                session.commit()
                self.committed += 1

    def _alter(self, cursor: Any) -> None:
        table = self._random.choice(TABLES)
        self._added += 1
        cursor.execute(
            self._random.choice(
                [
                    f"ALTER TABLE {table} ADD COLUMN x{self._added} int DEFAULT {self._added}",
                    f"ALTER TABLE {table} ADD COLUMN x{self._added} varchar(9) NOT NULL",
                    f"TRUNCATE TABLE {table}",
                ]
            )
        )
        self.altered += 1


def last_run(project: Path) -> subprocess.CompletedProcess[str]:
    """To the end of the log, nobody killing any more."""
    command = [sys.executable, "-m", "syncline", "sync", str(project), "--json"]
    return subprocess.run(command, capture_output=True, text=True)


def columns(server: MariaDbServer, database: str, table: str) -> list[str]:
    found = server.execute(
        "SELECT column_name FROM information_schema.columns "
        f"WHERE table_schema = '{database}' AND table_name = '{table}' ORDER BY ordinal_position"
    )
    return [name for (name,) in found]


@pytest.mark.parametrize("kind", ["duckdb", "postgres"])
def test_both_ends_are_equal_after_kills_and_restarts(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres_server: PostgresServer, postgres_db: str
) -> None:
    if find_mariadb() is None:
        pytest.skip("no MariaDB server on this machine (apt-get install mariadb-server)")
    monkeypatch.setenv("SYNCLINE_HOME", str(tmp_path / "home"))
    file = tmp_path / "out.duckdb"
    # Binary logs of 64 KiB: the runs meet the ends of many files.
    with start_mariadb({"max_binlog_size": "65536", "sync_binlog": "1"}) as server:
        database = server.create_database()
        for table in TABLES:
            server.execute(
                f"CREATE TABLE {table} (id int PRIMARY KEY, v text, n decimal(12,3)) CHARACTER SET utf8mb4",
                f"INSERT INTO {table} SELECT seq, concat('row ', seq), seq / 7 FROM seq_0_to_300",
                database=database,
            )
        destination = (
            {"type": "duckdb", "config": {"destination_path": str(file)}}
            if kind == "duckdb"
            else postgres(postgres_server, postgres_db)
        )
        config = server.config(database, replication_method="CDC", rows_per_partition=60)
        project = tmp_path / "p.yaml"
        project.write_text(
            yaml.safe_dump(
                {
                    "name": "p",
                    "source": {"type": "mysql", "config": config},
                    "destination": destination,
                    "sync": {"mode": "incremental"},
                }
            )
        )
        writer = Writer(server, database)
        writer.start()
        draw = random.Random(SEED)
        killed = 0
        for turn in range(KILLS):
            process = subprocess.Popen(
                [sys.executable, "-m", "syncline", "sync", str(project), "--follow", "--json"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            try:
                process.wait(4 + draw.random() * 6)
            except subprocess.TimeoutExpired:
                killed += 1
            finally:
                os.killpg(process.pid, signal.SIGKILL) if process.poll() is None else None
                process.wait()
            if turn % 3 == 1:
                server.stop(kill=draw.random() < 0.5)
                server.start()
        writer.enough.set()
        writer.join()
        assert writer.failed is None, writer.failed
        for table in TABLES:  # a row that shows the last columns
            server.execute("SET sql_mode = ''", f"REPLACE INTO {table} (id) VALUES (1000)", database=database)
        done = last_run(project)
        assert done.returncode == 0, (SEED, done.stdout[-3000:], done.stderr[-3000:])
        for table in TABLES:
            names = columns(server, database, table)
            chosen = ", ".join(names)
            here = sorted(server.execute(f"SELECT {chosen} FROM {table}", database=database))
            if kind == "duckdb":
                with duckdb.connect(str(file), read_only=True) as con:
                    there = sorted(con.execute(f"SELECT {chosen} FROM {table}").fetchall())
            else:
                with postgres_server.connect(postgres_db) as session:
                    there = sorted(session.execute(f"SELECT {chosen} FROM {table}").fetchall())
            differing = [pair for pair in zip(here, there, strict=False) if pair[0] != pair[1]][:3]
            assert here == there, (SEED, table, len(here), len(there), differing)
        sys.stdout.write(
            f"seed {SEED}: {writer.committed} transactions, {writer.altered} altered, {killed} runs killed, equal\n"
        )
        assert killed >= KILLS - 1
