"""A whole server in a process of its own: jobs of every type and cause, logs, commands, and how it begins and ends."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from tests.faults.server_process import ServerProcess, running_server, until
from tests.integration.command import syncline

from syncline.testing.postgres_server import PostgresServer

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with running_server(tmp_path_factory.mktemp("server") / "home") as started:
        yield started
        assert started.stop() == 0


@pytest.fixture
def database(postgres_server: PostgresServer) -> Iterator[str]:
    name = postgres_server.create_database()
    with psycopg.connect(postgres_server.dsn(name), autocommit=True) as connection:
        connection.execute("CREATE SCHEMA s")
        for table in ("a", "b"):
            connection.execute(f"CREATE TABLE s.{table} (id int PRIMARY KEY, v text)")
            connection.execute(f"INSERT INTO s.{table} SELECT g, 'v' || g FROM generate_series(1, 50) g")
    yield name
    postgres_server.drop_database(name)


def connect(server: ServerProcess, postgres: PostgresServer, database: str, **more: object) -> str:
    return server.connection(
        server.source(postgres, database, "s"), server.destination(postgres, database, "d"), **more
    )


def count(postgres: PostgresServer, database: str, table: str) -> int:
    with psycopg.connect(postgres.dsn(database)) as connection:
        row = connection.execute(f"SELECT count(*) FROM d.{table}").fetchone()
    assert row is not None
    return int(row[0])


def test_a_newcomers_path(server: ServerProcess, postgres_server: PostgresServer, database: str) -> None:
    connection = connect(server, postgres_server, database)
    job = server.trigger(connection)
    assert server.wait(job) == "succeeded"
    detail = server.detail(job)
    assert (detail["rowsSynced"], detail["attempts"][0]["attempt"]["status"]) == (100, "succeeded")
    streams = {s["streamName"]: s["stats"]["recordsCommitted"] for s in detail["attempts"][0]["attempt"]["streamStats"]}
    assert streams == {"a": 50, "b": 50}
    assert server.events(job) == ["created", "started", "succeeded"]


def test_a_second_job_of_a_busy_connection_is_refused_and_names_the_first(
    server: ServerProcess, postgres_server: PostgresServer, database: str
) -> None:
    connection = connect(server, postgres_server, database)
    with psycopg.connect(postgres_server.dsn(database)) as lock:
        lock.execute("LOCK TABLE s.a IN ACCESS EXCLUSIVE MODE")
        job = server.trigger(connection)
        with pytest.raises(urllib.error.HTTPError) as refused:
            server.ask("POST", "/v1/jobs", {"connectionId": connection, "jobType": "sync"})
        assert refused.value.code == 409
        assert f"already running: job {job}" in refused.value.read().decode()
    assert server.wait(job) == "succeeded"


def test_clear_empties_and_refresh_reads_anew(
    server: ServerProcess, postgres_server: PostgresServer, database: str
) -> None:
    streams = [
        {"name": name, "syncMode": "incremental_append", "cursorField": ["id"], "primaryKey": [["id"]]}
        for name in ("a", "b")
    ]
    connection = connect(server, postgres_server, database, configurations={"streams": streams})
    assert server.wait(server.trigger(connection)) == "succeeded"
    # One stream only.
    body = {"connectionId": connection, "streams": [{"streamName": "a"}]}
    assert server.wait(server.call("POST", "/api/v1/connections/clear/stream", body)["job"]["id"]) == "succeeded"
    assert [count(postgres_server, database, t) for t in ("a", "b")] == [0, 50]
    state = server.call("GET", f"/api/syncline/v1/connections/{connection}/state")
    assert {s["name"]: s.get("state") is None for s in state["streams"]} == {"a": True, "b": False}
    # A sync reads what was cleared from the beginning, and nothing else.
    job = server.trigger(connection)
    assert server.wait(job) == "succeeded"
    assert server.job(job)["rowsSynced"] == 50
    # A refresh reads anew what had been read; the rows are there once.
    body = {"connectionId": connection, "streams": [{"streamName": "b"}], "refreshMode": "Truncate"}
    job = server.call("POST", "/api/v1/connections/refresh", body)["job"]["id"]
    assert server.wait(job) == "succeeded"
    assert server.job(job)["rowsSynced"] == 50
    assert [count(postgres_server, database, t) for t in ("a", "b")] == [50, 50]
    job = server.trigger(connection, "clear")
    assert server.wait(job) == "succeeded"
    assert [count(postgres_server, database, t) for t in ("a", "b")] == [0, 0]


def test_a_refresh_may_keep_the_old_data(server: ServerProcess, postgres_server: PostgresServer, database: str) -> None:
    modes = {"a": "incremental_deduped_history", "b": "incremental_append"}
    streams = [
        {"name": name, "syncMode": mode, "cursorField": ["id"], "primaryKey": [["id"]]} for name, mode in modes.items()
    ]
    connection = connect(server, postgres_server, database, configurations={"streams": streams})
    assert server.wait(server.trigger(connection)) == "succeeded"
    with psycopg.connect(postgres_server.dsn(database), autocommit=True) as source:
        for table in modes:
            source.execute(f"DELETE FROM s.{table} WHERE id <= 10")
            source.execute(f"UPDATE s.{table} SET v = 'new' WHERE id = 11")
    job = server.call("POST", "/api/v1/connections/refresh", {"connectionId": connection, "refreshMode": "Merge"})
    assert server.wait(job["job"]["id"]) == "succeeded"
    # Merged by key what is deduped, added what is a history; nothing was taken away.
    assert [count(postgres_server, database, t) for t in modes] == [50, 90]
    with psycopg.connect(postgres_server.dsn(database)) as destination:
        assert destination.execute("SELECT v FROM d.a WHERE id = 11").fetchall() == [("new",)]
    job = server.trigger(connection)
    assert server.wait(job) == "succeeded"
    assert server.job(job)["rowsSynced"] == 0


def test_a_person_s_mistake_is_not_tried_again(
    server: ServerProcess, postgres_server: PostgresServer, database: str
) -> None:
    connection = connect(server, postgres_server, database, configurations={"streams": [{"name": "no_such_table"}]})
    job = server.trigger(connection)
    assert server.wait(job) == "failed"
    detail = server.detail(job)
    assert len(detail["attempts"]) == 1
    assert "no_such_table" in json.dumps(detail["attempts"][0])


def test_logs_on_disk_over_the_api_and_by_command(
    server: ServerProcess, postgres_server: PostgresServer, database: str
) -> None:
    connection = connect(server, postgres_server, database)
    url = f"http://127.0.0.1:{server.port}"
    with psycopg.connect(postgres_server.dsn(database)) as lock:
        lock.execute("LOCK TABLE s.a IN ACCESS EXCLUSIVE MODE")
        job = server.trigger(connection)
        command = [sys.executable, "-m", "syncline", "logs", "-f", str(job), "--url", url]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as tail:
            assert tail.stdout is not None
            assert "started" in tail.stdout.readline()  # while the job still runs
            assert server.job(job)["status"] == "running"
            lock.rollback()
            text = tail.stdout.read()
            assert tail.wait(timeout=60) == 0
    assert "INFO attempt succeeded" in text
    once = syncline("logs", str(job), "--url", url, "--level", "info", "--stream", "a")
    assert once.code == 0
    assert "[s.a]" in once.out
    assert "[s.b]" not in once.out
    (log,) = (server.home / "jobs").glob(f"{job}-*/1/attempt.log")
    assert all(json.loads(line)["job"] == job for line in log.read_text().splitlines())
    assert syncline("logs", "999999", "--url", url).code != 0


def test_commands_for_jobs(server: ServerProcess, postgres_server: PostgresServer, database: str) -> None:
    url = ("--url", f"http://127.0.0.1:{server.port}")
    connection = connect(server, postgres_server, database, name="by command")
    done = syncline("connections", "sync", "by command", "--wait", *url)
    assert (done.code, "succeeded, 100 rows" in done.out) == (0, True)
    assert "by command" in syncline("connections", "list", *url).out
    listed = syncline("jobs", "list", "-c", connection, "--json", *url).json
    assert [job["status"] for job in listed] == ["succeeded"]
    job = str(listed[0]["jobId"])
    assert "s.a" in syncline("jobs", "show", job, *url).out
    assert syncline("jobs", "wait", job, *url).code == 0
    assert syncline("jobs", "cancel", job, *url).code != 0
    assert "did you mean 'by command'" in syncline("connections", "sync", "by comand", *url).text
    assert syncline("connections", "clear", connection, "--yes", "--wait", *url).code == 0
    assert count(postgres_server, database, "a") == 0


def test_a_schedule_runs_and_what_comes_after_it_follows(
    server: ServerProcess, postgres_server: PostgresServer, database: str
) -> None:
    first = connect(
        server,
        postgres_server,
        database,
        schedule={"scheduleType": "cron", "cronExpression": "0/2 * * * * ?"},
        configurations={"streams": [{"name": "a", "syncMode": "full_refresh_overwrite"}]},
    )
    second = server.connection(
        server.source(postgres_server, database, "s"), server.destination(postgres_server, database, "e")
    )
    after = {"schedule": {"kind": "after", "after": {"all": [first], "on": "success"}}}
    server.call("PATCH", f"/api/syncline/v1/connections/{second}", after)

    def ended(connection: str) -> list[str]:
        jobs = server.call("GET", f"/v1/jobs?connectionId={connection}&status=succeeded")["data"]
        return [job["jobId"] for job in jobs]

    until(lambda: len(ended(first)) >= 2 and ended(second))
    server.call("PATCH", f"/v1/connections/{first}", {"status": "inactive"})
    until(lambda: not server.call("GET", f"/v1/jobs?connectionId={first}&status=running")["data"])
    known = len(ended(first))
    time.sleep(3)
    assert len(ended(first)) == known


def test_a_signed_message_starts_a_connection_and_others_do_not(
    server: ServerProcess, postgres_server: PostgresServer, database: str
) -> None:
    connection = connect(server, postgres_server, database)
    made = server.call(
        "POST", f"/api/syncline/v1/connections/{connection}/webhooks", {"scheme": "stripe", "toleranceSeconds": 60}
    )
    body = b'{"type": "invoice.paid"}'

    def send(secret: str, at: int) -> tuple[int, dict[str, object]]:
        digest = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
        request = urllib.request.Request(
            f"http://127.0.0.1:{server.port}{made['path']}",
            data=body,
            headers={"Stripe-Signature": f"t={at},v1={digest}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, {}

    now = int(time.time())
    status, answer = send(made["secret"], now)
    assert status == 200
    job = answer["jobId"]
    assert isinstance(job, int)
    assert server.wait(job) == "succeeded"
    assert send(made["secret"], now) == (200, {"accepted": True})  # a repeat
    assert send("whsec_wrong", now)[0] == 401
    assert send(made["secret"], now - 3600)[0] == 401
    stored = (server.home / "syncline.db").read_bytes() + (server.home / "syncline.db-wal").read_bytes()
    assert made["secret"].encode() not in stored


def test_a_file_that_arrives_starts_a_connection(
    server: ServerProcess, postgres_server: PostgresServer, database: str, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "1.csv").write_text("id,v\n1,a\n")
    configuration = {
        "sourceType": "files",
        "path": str(tmp_path / "in"),
        "streams": [{"name": "t", "globs": ["*.csv"], "format": "csv"}],
    }
    body = {"name": "files", "workspaceId": server.workspace(), "configuration": configuration}
    source = server.call("POST", "/v1/sources", body)["sourceId"]
    connection = server.connection(source, server.destination(postgres_server, database, "d"))
    schedule = {"kind": "after", "after": {"files": {"every_seconds": 5}}}
    server.call("PATCH", f"/api/syncline/v1/connections/{connection}", {"schedule": schedule})

    def succeeded() -> int:
        return len(server.call("GET", f"/v1/jobs?connectionId={connection}&status=succeeded")["data"])

    until(lambda: succeeded() == 1)
    assert count(postgres_server, database, "t") == 1
    (tmp_path / "in" / "2.csv").write_text("id,v\n2,b\n")
    until(lambda: succeeded() == 2)
    assert count(postgres_server, database, "t") == 2
    server.call("DELETE", f"/v1/connections/{connection}")


def test_limits_hold(server: ServerProcess, postgres_server: PostgresServer, database: str) -> None:
    source = server.source(postgres_server, database, "s")
    connections = [server.connection(source, server.destination(postgres_server, database, f"d{n}")) for n in range(3)]
    with psycopg.connect(postgres_server.dsn(database)) as lock:
        lock.execute("LOCK TABLE s.a IN ACCESS EXCLUSIVE MODE")
        with sqlite3.connect(server.home / "syncline.db") as store:
            store.execute("UPDATE actors SET max_jobs = 1 WHERE id = ?", (uuid.UUID(source).hex,))
        numbers = [server.trigger(connection) for connection in connections]
        until(lambda: server.job(numbers[0])["status"] == "running")
        time.sleep(2)
        assert [server.job(n)["status"] for n in numbers] == ["running", "pending", "pending"]
        server.call("DELETE", f"/v1/jobs/{numbers[2]}")
        assert server.job(numbers[2])["status"] == "cancelled"
    assert [server.wait(n) for n in numbers] == ["succeeded", "succeeded", "cancelled"]


def test_it_does_not_listen_to_others_without_a_login(tmp_path: Path) -> None:
    environment = {**os.environ, "SYNCLINE_HOME": str(tmp_path), "SYNCLINE_AUTH": "none"}
    command = [sys.executable, "-m", "syncline", "server", "--host", "0.0.0.0", "--port", "0"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 3
    assert "SYNCLINE_AUTH" in done.stderr
    assert not (tmp_path / "syncline.db").exists()


def test_it_needs_its_port(server: ServerProcess, tmp_path: Path) -> None:
    environment = {**os.environ, "SYNCLINE_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "syncline", "server", "--port", str(server.port)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 3
    assert "another server runs there" in done.stderr


def test_credentials_are_shown_once(tmp_path: Path) -> None:
    with running_server(tmp_path / "home") as started:
        until(lambda: "client secret" in started.log.read_text())
        assert started.stop() == 0
        started.start()
        time.sleep(0.5)
        assert started.stop() == 0
        assert started.log.read_text().count("client secret") == 1
