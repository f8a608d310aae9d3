"""Several destinations from one reading: killed at every step and at any moment, and one of them stopped and resumed.

``SYNCLINE_FAN_OUT_AWAY`` is for how many seconds one destination is away (default 15; ten minutes: 600),
``SYNCLINE_FAN_OUT_KILLS`` how often a run is killed at any moment (default 12). What is judged is read by plain clients
and knows nothing of the code under test.
"""

from __future__ import annotations

import os
import random
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

from syncline.core.failpoints import LOG_STEPS, PLAN_STEPS
from syncline.testing.postgres_server import PostgresServer, start_postgres
from syncline.testing.zygote import Ended, Zygote

pytestmark = [pytest.mark.faults, pytest.mark.slow]

THREE = ("replica", "warehouse", "lake")
AWAY_SECONDS = float(os.environ.get("SYNCLINE_FAN_OUT_AWAY", "15"))
KILLS = int(os.environ.get("SYNCLINE_FAN_OUT_KILLS", "12"))
#: What the source may keep for us, and the spool besides.
RETAINED, SPOOL = 24 << 20, 512 << 20
#: Steps that copies pass, the n-th time by whichever destination comes to it then, and steps of the log.
COPYING = [s for s in PLAN_STEPS if s not in ("read.middle", "publish.inside", "fence.before")]
FLOWING = [s for s in LOG_STEPS if s not in ("log.synced", "join.before", "join.after")]


@pytest.fixture
def shop(
    postgres_server: PostgresServer, postgres_db: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Shop]:
    monkeypatch.setenv("SYNCLINE_HOME", str(tmp_path / "home"))
    with closing(Shop(postgres_server, postgres_db, tmp_path)) as made:
        yield made


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    with Zygote(("syncline.connectors.postgres.reading.source", "syncline.connectors.duckdb.destination")) as made:
        yield made


@pytest.mark.unsettled
def test_killed_at_every_step_of_copies(shop: Shop, zygote: Zygote) -> None:
    """While somebody writes: after each kill the next run goes on, and at the end all hold the same. The n-th passing
    of a step belongs to whichever destination comes to it then."""
    shop.fill(1, 3000)
    file = shop.write(*THREE, mode="incremental")
    killed = []
    with _writing(shop, pause=0.3):
        for number, step in enumerate(COPYING):
            if number % 5 == 4:  # copies from the beginning again, for one of them
                _command(zygote, shop, "sync", str(file))
                _reset(zygote, shop, file, THREE[number % 3])
            killed += _killed(zygote, shop, file, step, number % 2 + 1)
    _end_equal(zygote, shop, file, killed, len(COPYING) - 3)


@pytest.mark.unsettled
def test_killed_at_every_step_of_the_log(shop: Shop, zygote: Zygote) -> None:
    """The same while they follow, and while one that is copied anew joins the others."""
    shop.fill(1, 3000)
    file = shop.write(*THREE, mode="incremental")
    killed = []
    with _writing(shop, pause=0.3):
        _command(zygote, shop, "sync", str(file))
        for step in ("join.before", "join.after"):
            _reset(zygote, shop, file, "warehouse")
            killed += _killed(zygote, shop, file, step, 1)
        for number, step in enumerate(FLOWING * 2):
            killed += _killed(zygote, shop, file, step, number % 3 + 1)
    _end_equal(zygote, shop, file, killed, len(FLOWING))


def test_killed_at_any_moment(shop: Shop, zygote: Zygote) -> None:
    """A run that follows is killed after a time that is drawn by lot; now and then one of them is copied anew."""
    shop.fill(1, 3000)
    file = shop.write(*THREE, mode="incremental")
    lot, killed = random.Random(8), list[str]()
    with _writing(shop, pause=0.3):
        for number in range(KILLS):
            ended = _run(zygote, shop, ["sync", str(file), "--follow"], kill_after=lot.uniform(0.3, 6.0))
            assert ended.killed, ended.output
            killed.append("any")
            if number % 4 == 3:
                _reset(zygote, shop, file, THREE[number // 4 % 3])
    _end_equal(zygote, shop, file, killed, 0)


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
            with _writing(shop, kilobytes=1000, pause=max(0.05, AWAY_SECONDS / 300)):
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
            _end(run)
    print(
        f"\nfan-out: away for {AWAY_SECONDS:g} s while {written / 1e6:.0f} MB of log were written; "
        f"the source kept at most {max(kept) / 1e6:.1f} MB (budget {RETAINED / 1e6:.0f} MB)"
    )
    assert max(kept) < RETAINED < written


# -- commands --------------------------------------------------------------------------------------------------------


def _follow(file: Path, shop: Shop) -> subprocess.Popen[bytes]:
    with (shop.folder / "output.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "syncline", "sync", str(file), "--follow"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        )


def _end(run: subprocess.Popen[bytes]) -> None:
    try:
        code = run.wait(120 * PATIENCE)
    except subprocess.TimeoutExpired:
        run.kill()
        run.wait()
        raise
    assert code in (0, -signal.SIGTERM), code


def _run(
    zygote: Zygote, shop: Shop, arguments: list[str], *, failpoint: str = "", kill_after: float | None = None
) -> Ended:
    environment = {"SYNCLINE_HOME": str(shop.folder / "home"), "SYNCLINE_FAILPOINT": failpoint}
    return zygote.run(arguments, shop.folder / "output.log", environment, kill_after)


def _killed(zygote: Zygote, shop: Shop, file: Path, step: str, count: int) -> list[str]:
    """The step, if the run has passed it so often."""
    time.sleep(0.1)  # something to follow
    ended = _run(zygote, shop, ["sync", str(file), "--attempts", "1"], failpoint=f"{step}:{count}")
    assert ended.killed or ended.code == 0, (step, count, ended.output)
    return [step] if ended.killed else []


def _command(zygote: Zygote, shop: Shop, *arguments: str) -> None:
    ended = _run(zygote, shop, list(arguments))
    assert ended.code == 0, ended.output


def _reset(zygote: Zygote, shop: Shop, file: Path, destination: str) -> None:
    _command(zygote, shop, "state", "reset", str(file), "--yes", "--connection", f"shop/{destination}")


def _end_equal(zygote: Zygote, shop: Shop, file: Path, killed: list[str], least: int) -> None:
    _command(zygote, shop, "sync", str(file))
    print(f"\nfan-out: killed {len(killed)} times, at {len(set(killed))} steps: {sorted(set(killed))}")
    for name in THREE:
        assert shop.rows_at(name) == shop.rows(), name
    assert len(set(killed)) >= least, "too few steps were passed"


# -- the source ------------------------------------------------------------------------------------------------------


@contextmanager
def _writing(shop: Shop, *, kilobytes: int = 4, pause: float = 0.05) -> Iterator[None]:
    """Somebody inserts, updates (which leaves large values out) and deletes all the time."""
    ended = threading.Event()
    failed: list[BaseException] = []

    def write() -> None:
        try:
            with psycopg.connect(shop.server.dsn(shop.database), autocommit=True) as session:
                number = 100_000
                while not ended.wait(pause):
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
