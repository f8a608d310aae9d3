"""A server runs a connection with several destinations: a job for each, and one reading of the source."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from tests.faults.server_process import ServerProcess, running_server, until
from tests.integration.command import postgres, succeed
from tests.integration.fan_out.shop import Rows, Shop

pytestmark = pytest.mark.slow


def test_one_reading_for_all_and_one_that_is_away_fails_alone(shop: Shop, tmp_path: Path) -> None:
    _database(shop, "CREATE DATABASE {}_away")
    shop.also["away"] = postgres(shop.server, f"{shop.database}_away", schema="replica")
    shop.fill(1, 3000)
    file = shop.write("warehouse", "away", "lake", mode="incremental", schedule="continuous")
    with running_server(tmp_path / "server") as server:
        address = f"http://127.0.0.1:{server.port}"
        applied = succeed("apply", file, "--yes", "--server", address)
        assert "create connection shop/warehouse" in applied.text
        # Our own look at the source counts as reading, so it comes later.
        until(lambda: _count(shop, "warehouse") == _count(shop, "lake") == len(_away(shop)) == 3000)
        assert shop.rows_read() == 3000, "the copy was read more than once"
        assert _all_there(shop, "warehouse", "lake")
        assert _away(shop) == shop.rows()
        assert shop.slots() == 1
        processes = {pid for pid, _ in server.attempts_alive()}
        assert len(processes) == 1, "each destination has a process of its own"

        assert _failed_attempts(server, "shop/away") == 0, "they did not begin together"
        _database(shop, "ALTER DATABASE {0}_away RENAME TO {0}_gone")
        shop.session.execute("UPDATE orders SET note = 'while away'")
        shop.session.execute("DELETE FROM orders WHERE id % 7 = 0")
        until(lambda: _all_there(shop, "warehouse", "lake"))
        until(lambda: _failed_attempts(server, "shop/away") >= 2)
        assert {pid for pid, _ in server.attempts_alive()} == processes, "the others were disturbed"
        assert _failed_attempts(server, "shop/warehouse") == _failed_attempts(server, "shop/lake") == 0
        _database(shop, "ALTER DATABASE {0}_gone RENAME TO {0}_away")
        until(lambda: _away(shop) == shop.rows())

        # The file comes back as it was, and applying it again changes nothing.
        exported = yaml.safe_load(succeed("export", "--server", address).out)
        assert exported["connections"] == yaml.safe_load(file.read_text())["connections"]
        assert succeed("apply", file, "--check", "--server", address).code == 0

        # Its server is killed: the next one finds the attempts that run on, and hands the next one to their process.
        server.kill()
        shop.fill(5001, 5050)
        server.start()
        until(lambda: _all_there(shop, "warehouse", "lake") and _away(shop) == shop.rows())
        job = _connection_jobs(server, "shop/lake")[0]["jobId"]
        server.call("DELETE", f"/v1/jobs/{job}")
        until(lambda: _connection_jobs(server, "shop/lake")[0]["jobId"] != job)
        shop.fill(6001, 6010)
        until(lambda: _all_there(shop, "warehouse", "lake") and _away(shop) == shop.rows())
        assert {pid for pid, _ in server.attempts_alive()} == processes

        # The one process is killed: the attempts of all are tried again, in another one.
        os.kill(processes.pop(), signal.SIGKILL)
        shop.fill(7001, 7010)
        until(lambda: _all_there(shop, "warehouse", "lake") and _away(shop) == shop.rows())
        assert len({pid for pid, _ in server.attempts_alive()}) == 1


def test_a_destination_is_added_and_one_taken_out(shop: Shop, tmp_path: Path) -> None:
    shop.fill(1, 500)
    with running_server(tmp_path / "server") as server:
        address = f"http://127.0.0.1:{server.port}"
        succeed("apply", shop.write("warehouse", mode="incremental"), "--yes", "--server", address)
        _synced(server)
        shop.fill(501, 600)
        succeed("apply", shop.write("warehouse", "replica", mode="incremental"), "--yes", "--server", address)
        rows = {name: job["rowsSynced"] for name, job in _synced(server).items()}
        assert rows == {"shop/warehouse": 100, "shop/replica": 600}
        succeed("apply", shop.write("replica", mode="incremental"), "--yes", "--server", address)
        assert [each["name"] for each in _connections(server)] == ["shop/replica"]
        shop.fill(601, 620)
        _synced(server)
        assert shop.rows_at("replica") == shop.rows()
        # What holds for all is changed for all; each may be paused alone.
        succeed("apply", shop.write("warehouse", "replica", mode="incremental"), "--yes", "--server", address)
        one, other = sorted(_connections(server), key=lambda each: str(each["name"]))
        server.call("PATCH", f"/v1/connections/{one['connectionId']}", {"status": "inactive"})
        body = {"options": {"concurrency": 3}}
        server.call("PATCH", f"/api/syncline/v1/connections/{one['connectionId']}", body)
        detail = server.call("GET", f"/api/syncline/v1/connections/{other['connectionId']}")
        assert (detail["options"]["concurrency"], detail["connection"]["status"]) == (3, "active")


def _all_there(shop: Shop, *names: str) -> bool:
    try:
        return all(shop.rows_at(name) == shop.rows() for name in names)
    except Exception:  # noqa: BLE001 - not there yet, or held by its writer
        return False


def _count(shop: Shop, name: str) -> int:
    try:
        return len(shop.rows_at(name))
    except Exception:  # noqa: BLE001 - as above
        return 0


def _away(shop: Shop) -> Rows:
    try:
        with psycopg.connect(shop.server.dsn(f"{shop.database}_away")) as there:
            return there.execute("SELECT id, note, big, amount FROM replica.orders ORDER BY id").fetchall()
    except psycopg.Error:
        return []


def _database(shop: Shop, statement: str) -> None:
    with psycopg.connect(shop.server.dsn("postgres"), autocommit=True) as session:
        name = f"{shop.database}_away"
        session.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        session.execute(statement.format(shop.database).encode())


def _connections(server: ServerProcess) -> list[dict[str, Any]]:
    return list(server.call("GET", "/v1/connections")["data"])


def _connection_jobs(server: ServerProcess, name: str) -> list[dict[str, Any]]:
    """Newest first."""
    (number,) = (each["connectionId"] for each in _connections(server) if each["name"] == name)
    return list(server.call("GET", f"/v1/jobs?connectionId={number}&orderBy=createdAt%7CDESC")["data"])


def _failed_attempts(server: ServerProcess, name: str) -> int:
    return sum(server.events(job["jobId"]).count("attempt_failed") for job in _connection_jobs(server, name))


def _synced(server: ServerProcess) -> dict[str, dict[str, Any]]:
    """A job of each connection, at the same time."""
    jobs = {str(each["name"]): server.trigger(each["connectionId"]) for each in _connections(server)}
    for number in jobs.values():
        assert server.wait(number) == "succeeded", server.detail(number)
    return {name: server.job(number) for name, number in jobs.items()}
