"""Spool and receiver together, in processes that are killed, and under a transaction larger than memory should be."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from tests.integration.postgres.received_log import Log, Replica, Writers

from syncline.connectors.postgres.changes.spool import Spool
from syncline.testing.postgres_server import PostgresServer, start_postgres


@pytest.fixture(scope="module")
def own_server() -> Iterator[PostgresServer]:
    with start_postgres(settings={"logical_decoding_work_mem": "64kB", "synchronous_commit": "on"}) as server:
        yield server


@pytest.fixture
def log(own_server, tmp_path) -> Iterator[Log]:
    made = Log(own_server, tmp_path)
    yield made
    made.close()


#: Receives, makes durable, confirms what is durable: as a spool that is declared durable is used.
_CHILD = """
import json, sys, time
from pathlib import Path
from syncline.connectors.postgres.changes.receive import Receiver
from syncline.connectors.postgres.changes.spool import Spool
from syncline.connectors.postgres.config import PostgresSourceConfig
from syncline.sdk.connector import ConnectorContext

task = json.loads(sys.argv[1])
print("here", flush=True)
spool = Spool(Path(task["folder"]) / "spool", segment_bytes=1 << 18)
context = ConnectorContext(connection="child", work_dir=Path(task["folder"]))
receiver = Receiver(
    PostgresSourceConfig.model_validate(task["config"]), context, slot="s", publications=["p"], spool=spool,
    start=task["start"],
)
receiver.start()
until = task["until"]
while not (until and spool.end >= until):
    time.sleep(0.02)
    if receiver.error is not None:
        raise receiver.error
    if task["confirm"]:
        receiver.confirm(spool.sync())
receiver.stop()
spool.close()
"""


def child(log: Log, *, failpoint: str = "", until: int = 0, confirm: bool = True) -> subprocess.Popen[bytes]:
    config = log.config().model_dump(mode="json", exclude_none=True)
    config["password"] = log.server.password
    task = {
        "folder": str(log.folder),
        "config": {key: config[key] for key in ("host", "port", "database", "username", "password")},
        "start": log.start,
        "until": until,
        "confirm": confirm,
    }
    environment = {**os.environ, "SYNCLINE_FAILPOINT": failpoint}
    return subprocess.Popen([sys.executable, "-c", _CHILD, json.dumps(task)], env=environment, stdout=subprocess.PIPE)


def ended(process: subprocess.Popen[bytes]) -> int:
    with process:
        return process.wait(120)


def confirmed_is_durable(log: Log) -> int:
    """What the server was told is in the spool, as a process finds it that opens it after the kill. Gives its end."""
    spool = Spool(log.folder / "spool")
    assert log.confirmed() <= max(spool.durable, log.start)
    assert spool.durable <= spool.end
    end = max(spool.end, log.start)
    spool.close()
    return end


def same_in_the_end(log: Log) -> None:
    until = log.mark()
    assert ended(child(log, until=until)) == 0
    log.spool = Spool(log.folder / "spool")
    copy = Replica(log.spool.cursor(log.start))
    assert copy.follow(until) == log.rows()
    assert copy.streamed > 0


@pytest.mark.parametrize("step", ["log.received:9", "log.synced:3", "log.confirmed:2"])
def test_killed_at_each_step(log, step):
    """While others write: nothing is lost, nothing comes twice."""
    with Writers(log, count=1) as writers:
        assert ended(child(log, failpoint=step)) == -signal.SIGKILL
        assert confirmed_is_durable(log) > log.start
        writers.wait_for(3)
    same_in_the_end(log)


@pytest.mark.faults
def test_killed_at_any_moment(log):
    ends = [log.start]
    with Writers(log, count=1) as writers:
        for number in range(25):
            process = child(log)
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(number % 8 * 0.07)
            process.send_signal(signal.SIGKILL)
            ended(process)
            ends.append(confirmed_is_durable(log))
            assert ends[-1] >= ends[-2]
            writers.wait_for(1)
    assert ends[-1] > ends[0]
    same_in_the_end(log)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["streamed", "ordinary"])
def test_memory_does_not_grow_with_a_transaction(log, form):
    """Three million rows in one transaction (about 250 MB of log), streamed, or at once as an old server sends it."""
    if form == "ordinary":
        log.execute("ALTER ROLE postgres SET logical_decoding_work_mem = '4GB'")
    process = None
    try:
        log.execute("INSERT INTO t VALUES (0, 'first')")
        process = child(log, until=0, confirm=False)
        folder = log.folder / "spool"
        _until(lambda: any(each.stat().st_size > 64 for each in folder.glob("*.log")))
        before = psutil.Process(process.pid).memory_info().rss
        log.execute("INSERT INTO t SELECT g, repeat('x', 40) FROM generate_series(1, 3000000) g")
        log.execute("INSERT INTO t VALUES (-1, 'last')")
        watched, peaks = psutil.Process(process.pid), [before]
        _until(
            lambda: _size(folder) > 200 << 20 and not list(folder.glob("*.part")),
            lambda: peaks.append(watched.memory_info().rss),
        )
        assert max(peaks) - before < 96 << 20
    finally:
        if process is not None:
            process.kill()
            ended(process)
        log.execute("ALTER ROLE postgres RESET logical_decoding_work_mem")
    log.spool = Spool(log.folder / "spool")
    cursor = log.spool.cursor(log.start)
    before = psutil.Process().memory_info().rss
    parts = whole = 0
    while (stretch := cursor.read(0)) is not None:
        parts += stretch.header is not None
        whole += stretch.header is not None and stretch.whole
        assert len(stretch.frames) < 10 << 20
    assert whole == 1
    assert parts > 30
    assert psutil.Process().memory_info().rss - before < 96 << 20


def _size(folder: Path) -> int:
    total = 0
    for each in folder.iterdir():
        try:
            total += each.stat().st_size
        except FileNotFoundError:
            continue
    return total


def _until(condition, meanwhile=lambda: None, seconds: float = 300.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        meanwhile()
        time.sleep(0.05)
