"""Several destinations from one reading: one of them stopped and resumed.

``SYNCLINE_FAN_OUT_AWAY`` is for how many seconds one destination is away (default 15; ten minutes: 600). What is judged
is read by plain clients and knows nothing of the code under test.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
import pytest
from tests.faults.cdc_scenario import PATIENCE, ROOT
from tests.integration.command import postgres
from tests.integration.fan_out.shop import Shop

from syncline.testing.postgres_server import PostgresServer, start_postgres

pytestmark = [pytest.mark.faults, pytest.mark.slow]

AWAY_SECONDS = float(os.environ.get("SYNCLINE_FAN_OUT_AWAY", "15"))
#: What the source may keep for us, and the spool besides.
RETAINED, SPOOL = 24 << 20, 512 << 20


@pytest.fixture
def shop(
    postgres_server: PostgresServer, postgres_db: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Shop]:
    monkeypatch.setenv("SYNCLINE_HOME", str(tmp_path / "home"))
    with closing(Shop(postgres_server, postgres_db, tmp_path)) as made:
        yield made


def test_one_is_stopped_and_resumed(shop: Shop) -> None:
    """Its own server is shut down. The others follow meanwhile, and the source keeps no more than its budget."""
    with start_postgres() as other:
        shop.also["away"] = postgres(other, other.create_database("replica"), schema="replica")
        spool = {"path": str(shop.folder / "spool"), "durable": True, "max_bytes": SPOOL}
        shop.capture = {"spool": spool, "max_retained_wal": RETAINED}
        shop.fill(1, 1000)
        file = shop.write("away", "warehouse", "lake", mode="incremental")
        run = _follow(file, shop)
        try:
            _until(lambda: shop.rows_at("warehouse") == shop.rows(), run)
            other.stop("immediate")
            before, kept = _lsn(shop), [0]
            with _writing(shop, kilobytes=1000):
                until = time.monotonic() + AWAY_SECONDS
                while time.monotonic() < until or _lsn(shop) - before < 3 * RETAINED:
                    shop.session.execute("SELECT pg_log_standby_snapshot()")  # as a busy server's own background does
                    kept.append(_retained(shop))
                    time.sleep(0.5)
            written = _lsn(shop) - before
            assert run.poll() is None
            _until(lambda: shop.rows_at("warehouse") == shop.rows(), run)
            _until(lambda: shop.rows_at("lake") == shop.rows(), run)
            other.start()
            _until(lambda: _rows_away(other) == shop.rows(), run)
        finally:
            run.send_signal(signal.SIGTERM)
            _end(run, 0, -signal.SIGTERM)
    print(
        f"\nfan-out: away for {AWAY_SECONDS:g} s while {written / 1e6:.0f} MB of log were written; "
        f"the source kept at most {max(kept) / 1e6:.1f} MB (budget {RETAINED / 1e6:.0f} MB)"
    )
    assert max(kept) < RETAINED < written


# -- commands --------------------------------------------------------------------------------------------------------


def _follow(file: Path, shop: Shop) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    with (shop.folder / "output.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "syncline", "sync", str(file), "--follow"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
        )


def _end(run: subprocess.Popen[bytes], *codes: int) -> int:
    try:
        code = run.wait(120 * PATIENCE)
    except subprocess.TimeoutExpired:
        run.kill()
        run.wait()
        raise
    assert code in codes, code
    return code


# -- the source ------------------------------------------------------------------------------------------------------


@contextmanager
def _writing(shop: Shop, *, kilobytes: int = 4) -> Iterator[None]:
    """Somebody inserts, updates (which leaves large values out) and deletes all the time."""
    ended = threading.Event()
    failed: list[BaseException] = []

    def write() -> None:
        try:
            with psycopg.connect(shop.server.dsn(shop.database), autocommit=True) as session:
                number = 100_000
                while not ended.wait(0.05):
                    number += 1
                    with session.transaction():
                        session.execute(
                            "INSERT INTO orders VALUES (%s, 'new', repeat(md5(%s), %s), 1.5)",
                            [number, str(number), kilobytes * 32],
                        )
                        session.execute("UPDATE orders SET note = %s WHERE id %% 97 = %s", [f"u{number}", number % 97])
                        session.execute("DELETE FROM orders WHERE id = %s", [number - 5])
        except BaseException as error:  # noqa: BLE001 - told by the test's own thread
            failed.append(error)

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    try:
        yield
    finally:
        ended.set()
        writer.join()
    if failed:
        raise failed[0]


def _lsn(shop: Shop) -> int:
    row = shop.session.execute("SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint").fetchone()
    assert row is not None
    return int(row[0])


def _retained(shop: Shop) -> int:
    row = shop.session.execute(
        "SELECT (pg_current_wal_insert_lsn() - restart_lsn)::bigint FROM pg_replication_slots "
        "WHERE database = current_database()"
    ).fetchone()
    assert row is not None
    return int(row[0])


def _rows_away(server: PostgresServer) -> object:
    with psycopg.connect(server.dsn("replica")) as there:
        return there.execute("SELECT id, note, big, amount FROM replica.orders ORDER BY id").fetchall()


def _until(holds: Callable[[], bool], run: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120 * PATIENCE
    while True:
        assert run.poll() is None, "the run has ended"
        try:
            if holds():
                return
        except Exception as error:  # noqa: BLE001 - not there yet, or held by its writer
            last: object = error
        else:
            last = "not equal"
        assert time.monotonic() < deadline, last
        time.sleep(0.5)
