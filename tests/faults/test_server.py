"""A server that is killed, stopped, doubled and stopped gracefully, with attempts under way: the truth afterwards."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from tests.faults.server_process import ServerProcess, running_server, until

from syncline.testing.postgres_server import PostgresServer

pytestmark = pytest.mark.faults


class Ends:
    """A source with one table, a destination beside it, and a lock that keeps attempts waiting for the source."""

    def __init__(self, server: PostgresServer, name: str) -> None:
        self.server, self.name = server, name
        with psycopg.connect(server.dsn(name), autocommit=True) as connection:
            connection.execute("CREATE SCHEMA s")
            connection.execute("CREATE TABLE s.t (id int PRIMARY KEY, v text)")
            connection.execute("INSERT INTO s.t SELECT g, 'v' || g FROM generate_series(1, 500) g")

    def connect(self, server: ServerProcess, **more: object) -> str:
        source = server.source(self.server, self.name, "s")
        destination = server.destination(self.server, self.name, "d")
        return server.connection(source, destination, **more)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nobody can read the table."""
        with psycopg.connect(self.server.dsn(self.name)) as connection:
            connection.execute("LOCK TABLE s.t IN ACCESS EXCLUSIVE MODE")
            yield

    def waiting(self) -> bool:
        """Whether somebody waits for the lock."""
        with psycopg.connect(self.server.dsn(self.name)) as connection:
            row = connection.execute(
                "SELECT count(*) FROM pg_locks JOIN pg_class c ON c.oid = relation WHERE NOT granted AND relname = 't'"
            ).fetchone()
        return row is not None and row[0] > 0

    def copied(self) -> bool:
        """Whether the destination's table exists."""
        with psycopg.connect(self.server.dsn(self.name)) as connection:
            return connection.execute("SELECT to_regclass('d.t') IS NOT NULL").fetchone() == (True,)

    def equal(self) -> bool:
        with psycopg.connect(self.server.dsn(self.name)) as connection:
            rows = connection.execute("SELECT id, v FROM s.t ORDER BY id").fetchall()
            return rows == connection.execute("SELECT id, v FROM d.t ORDER BY id").fetchall()


@pytest.fixture
def ends(postgres_server: PostgresServer) -> Iterator[Ends]:
    name = postgres_server.create_database()
    yield Ends(postgres_server, name)
    postgres_server.drop_database(name)


def test_an_attempt_outlives_its_server_and_is_found_again(tmp_path: Path, ends: Ends) -> None:
    with running_server(tmp_path / "home") as server:
        connection = ends.connect(server)
        with ends.held():
            job = server.trigger(connection)
            until(ends.waiting)
            ((pid, _),) = server.attempts_alive()
            server.kill()
            time.sleep(0.5)
            assert [each for each, _ in server.attempts_alive()] == [pid]
            server.start()
            until(lambda: "adopted" in server.events(job))
            assert server.job(job)["status"] == "running"
        assert server.wait(job) == "succeeded"
        assert len(server.detail(job)["attempts"]) == 1
        assert server.job(job)["rowsSynced"] == 500
        assert ends.equal()


def test_what_an_attempt_did_while_no_server_ran_is_told_by_the_next(tmp_path: Path, ends: Ends) -> None:
    with running_server(tmp_path / "home") as server:
        connection = ends.connect(server)
        with ends.held():
            job = server.trigger(connection)
            until(ends.waiting)
            server.kill()
        until(lambda: not server.attempts_alive())
        server.start()
        assert server.wait(job) == "succeeded"
        assert (len(server.detail(job)["attempts"]), server.job(job)["rowsSynced"]) == (1, 500)
        assert ends.equal()


def test_an_attempt_that_died_with_its_server_is_ended_truthfully_and_tried_again(tmp_path: Path, ends: Ends) -> None:
    with running_server(tmp_path / "home") as server:
        connection = ends.connect(server)
        with ends.held():
            job = server.trigger(connection)
            until(ends.waiting)
            ((pid, _),) = server.attempts_alive()
            server.kill()
            os.killpg(pid, signal.SIGKILL)
        server.start()
        assert server.wait(job) == "succeeded"
        statuses = [each["attempt"]["status"] for each in server.detail(job)["attempts"]]
        assert statuses == ["failed", "succeeded"]
        assert ends.equal()


def test_a_killed_attempt_is_tried_again_and_says_how_it_ended(tmp_path: Path, ends: Ends) -> None:
    with running_server(tmp_path / "home") as server:
        connection = ends.connect(server)
        with ends.held():
            job = server.trigger(connection)
            until(ends.waiting)
            ((pid, _),) = server.attempts_alive()
            os.killpg(pid, signal.SIGKILL)
            until(lambda: "attempt_failed" in server.events(job))
        assert server.wait(job) == "succeeded"
        first = server.detail(job)["attempts"][0]
        assert "SIGKILL" in json.dumps(first)
        assert ends.equal()


def test_a_job_is_cancelled_within_seconds(tmp_path: Path, ends: Ends) -> None:
    with running_server(tmp_path / "home") as server:
        connection = ends.connect(server)
        with ends.held():
            job = server.trigger(connection)
            until(ends.waiting)
            server.call("DELETE", f"/v1/jobs/{job}")
            assert server.wait(job, 10) == "cancelled"
            assert not server.attempts_alive()
        # And one that does not listen.
        with ends.held():
            job = server.trigger(connection)
            until(ends.waiting)
            ((pid, _),) = server.attempts_alive()
            os.kill(pid, signal.SIGSTOP)
            server.call("DELETE", f"/v1/jobs/{job}")
            assert server.wait(job, 30) == "cancelled"
            assert not server.attempts_alive()
        assert server.wait(server.trigger(connection)) == "succeeded"
        assert ends.equal()


def test_an_attempt_without_a_sign_of_life_loses_its_lease(tmp_path: Path, ends: Ends) -> None:
    with running_server(tmp_path / "home", {"SYNCLINE_ATTEMPT_LEASE_SECONDS": "6"}) as server:
        connection = ends.connect(server)
        with ends.held():
            job = server.trigger(connection)
            until(ends.waiting)
            ((pid, _),) = server.attempts_alive()
            os.kill(pid, signal.SIGSTOP)
            until(lambda: "attempt_failed" in server.events(job), 60)
        assert server.wait(job) == "succeeded"
        assert "sign of life" in json.dumps(server.detail(job)["attempts"][0])
        assert ends.equal()


def test_an_attempt_without_progress_is_ended_and_tried_again(tmp_path: Path, ends: Ends) -> None:
    with running_server(tmp_path / "home") as server:
        connection = ends.connect(server)
        server.call("PATCH", f"/api/syncline/v1/connections/{connection}", {"options": {"noProgressSeconds": 2}})
        with ends.held():
            job = server.trigger(connection)
            until(lambda: "attempt_failed" in server.events(job), 60)
        assert server.wait(job) == "succeeded"
        assert "nothing was read or committed for 2 s" in json.dumps(server.detail(job)["attempts"][0])
        assert ends.equal()


def test_a_job_ends_with_its_own_time(tmp_path: Path, ends: Ends) -> None:
    with running_server(tmp_path / "home") as server:
        connection = ends.connect(server)
        server.call("PATCH", f"/api/syncline/v1/connections/{connection}", {"options": {"timeoutSeconds": 2}})
        with ends.held():
            job = server.trigger(connection)
            assert server.wait(job, 60) == "failed"
        assert "longer than its 2 s" in json.dumps(server.detail(job)["attempts"][-1])


def test_a_graceful_end_hands_jobs_over_and_costs_them_no_attempt(tmp_path: Path, ends: Ends) -> None:
    with running_server(tmp_path / "home") as server:
        connection = ends.connect(server)
        with ends.held():
            job = server.trigger(connection)
            until(ends.waiting)
            assert server.stop() == 0
            assert not server.attempts_alive()
            server.start()
            until(ends.waiting)
        assert server.wait(job) == "succeeded"
        assert server.events(job).count("attempt_failed") == 0
        assert ends.equal()


def test_a_server_told_to_leave_its_attempts_leaves_them(tmp_path: Path, ends: Ends) -> None:
    with running_server(tmp_path / "home", {"SYNCLINE_ON_STOP": "leave"}) as server:
        connection = ends.connect(server)
        with ends.held():
            job = server.trigger(connection)
            until(ends.waiting)
            assert server.stop() == 0
            assert len(server.attempts_alive()) == 1
            server.start()
        assert server.wait(job) == "succeeded"
        assert len(server.detail(job)["attempts"]) == 1
        assert ends.equal()


def test_a_zombie_of_a_server_that_lost_its_lease_is_refused(
    tmp_path: Path, ends: Ends, postgres_server: PostgresServer
) -> None:
    """Two servers on one store. The leader and its attempt sleep past their leases; the other one takes over and
    finishes; then both wake up."""
    store = postgres_server.create_database()
    p = postgres_server.params(store)
    environment = {
        "SYNCLINE_DATABASE_URL": f"postgresql://{p['user']}:{p['password']}@{p['host']}:{p['port']}/{store}",
        "SYNCLINE_SECRET_KEY": "00" * 32,
        "SYNCLINE_WARM": "0",
    }
    with (
        running_server(tmp_path / "one", environment) as one,
        running_server(tmp_path / "two", environment) as two,
    ):
        connection = ends.connect(two)  # the one that stands by serves as well
        with ends.held():
            job = two.trigger(connection)
            until(ends.waiting)
            ((pid, folder),) = one.attempts_alive()
            assert not two.attempts_alive()
            os.killpg(pid, signal.SIGSTOP)
            one.signal(signal.SIGSTOP)
            until(two.attempts_alive, 60)
        assert two.wait(job) == "succeeded"
        assert ends.equal()
        with psycopg.connect(postgres_server.dsn(ends.name), autocommit=True) as plain:
            plain.execute("INSERT INTO s.t VALUES (1000, 'after')")
        journal = folder / "journal.jsonl"
        os.killpg(pid, signal.SIGCONT)
        # Awake, it reads the table as it is now, and must not bring that to the destination.
        result = until(lambda: [each for each in _lines(journal) if each["event"] == "Result"])[0]["result"]
        assert result["status"] == "failed"
        assert result["error"]["kind"] == "conflict"
        assert not ends.equal()
        one.signal(signal.SIGCONT)
        until(lambda: not one.attempts_alive())
        time.sleep(2)  # the former leader's rounds
        detail = two.detail(job)
        assert (detail["status"], len(detail["attempts"])) == ("succeeded", 2)
        assert two.events(job).count("succeeded") == 1
        following = one.trigger(connection)
        assert one.wait(following) == "succeeded"
        assert not one.attempts_alive()
        assert ends.equal()
    postgres_server.drop_database(store)


def _lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_connection_that_follows_its_log_goes_on_over_ends_of_every_kind(tmp_path: Path, ends: Ends) -> None:
    with running_server(tmp_path / "home") as server:
        configuration = {"replication_method": {"method": "CDC"}}
        connection = server.connection(
            server.source(ends.server, ends.name, "s", **configuration),
            server.destination(ends.server, ends.name, "d"),
            configurations={"streams": [{"name": "t", "syncMode": "incremental_deduped_history"}]},
        )
        schedule = {"schedule": {"kind": "continuous"}}
        server.call("PATCH", f"/api/syncline/v1/connections/{connection}", schedule)
        until(lambda: ends.copied() and ends.equal())

        def change_arrives(number: int) -> None:
            with psycopg.connect(ends.server.dsn(ends.name), autocommit=True) as plain:
                plain.execute("INSERT INTO s.t VALUES (%s, 'new')", (number,))
            until(ends.equal)

        change_arrives(1001)
        (job,) = [each["jobId"] for each in server.call("GET", f"/v1/jobs?connectionId={connection}")["data"]]
        assert server.stop() == 0  # its attempt flushes and ends, the job goes on
        server.start()
        change_arrives(1002)
        server.kill()  # its attempt goes on without a server
        change_arrives(1003)
        server.start()
        until(lambda: "adopted" in server.events(job))
        ((pid, _),) = server.attempts_alive()
        os.killpg(pid, signal.SIGKILL)
        change_arrives(1004)
        server.call("PATCH", f"/v1/connections/{connection}", {"status": "inactive"})
        assert server.wait(job) == "cancelled"
        assert not server.attempts_alive()
        jobs = server.call("GET", f"/v1/jobs?connectionId={connection}")["data"]
        assert [each["jobId"] for each in jobs] == [job]
