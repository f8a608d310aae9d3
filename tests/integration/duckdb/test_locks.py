"""One process at a time has the file: others wait for it, for a bounded time, and then say who holds it."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import duckdb
import pytest
from tests.integration.duckdb.driver import Attempt, destination, load, people, plan, rows, target

from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.stream import StreamName, WriteMode

HOLD = """
import duckdb, sys
con = duckdb.connect(sys.argv[1], read_only=sys.argv[2] == "True")
print("held", flush=True)
sys.stdin.readline()
"""


@contextmanager
def held_elsewhere(path: Path, *, read_only: bool) -> Iterator[subprocess.Popen[str]]:
    """Another process has the file open until it reads a line."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path), str(read_only)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


@pytest.mark.parametrize("read_only", [True, False])
def test_a_held_file_is_a_conflict_that_names_the_holder(tmp_path: Path, read_only: bool) -> None:
    path = tmp_path / "x.duckdb"
    load(destination(path), target(), [people([(1, "a", 1)])])
    to = destination(path, lock_timeout=0.2)
    with held_elsewhere(path, read_only=read_only) as process:
        with pytest.raises(SynclineError, match=f"process {process.pid} ") as caught:
            to.fence("c", target().stream)
        findings = [f for f in to.check() if f.kind]
    assert caught.value.kind is ErrorKind.CONFLICT
    assert "read-only" in caught.value.hint
    assert [f.kind for f in findings] == [ErrorKind.CONFLICT]
    assert findings[0].hint


def test_a_file_that_is_let_go_in_time_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "x.duckdb"
    to = destination(path)
    attempt = Attempt(to, target(), plan("0"))
    staged = attempt.stage("0", people([(1, "a", 1)]))
    with held_elsewhere(path, read_only=True) as process:
        assert process.stdin is not None
        release = threading.Timer(0.5, lambda: process.stdin and process.stdin.write("\n") and process.stdin.flush())
        release.start()
        start = time.monotonic()
        attempt.commit(staged, publish=True)
        assert time.monotonic() - start > 0.3
        release.join()
    assert rows(path, "FROM orders") == [(1, "a", 1)]


def test_readers_come_in_between_commits(tmp_path: Path) -> None:
    path = tmp_path / "x.duckdb"
    to = destination(path)
    attempt = Attempt(to, target(WriteMode.APPEND), plan("0", "1"))
    attempt.commit(attempt.stage("0", people([(1, "a", 1)])))
    writer = to.writer(attempt.aim, "1", attempt.token)
    with held_elsewhere(path, read_only=True):
        writer.write(people([(2, "b", 1)]))
        staged = writer.seal()
    attempt.commit(staged, publish=True)
    assert rows(path, "SELECT id FROM orders ORDER BY id") == [(1,), (2,)]


def test_another_connection_of_this_process(tmp_path: Path) -> None:
    path = tmp_path / "x.duckdb"
    to = destination(path, lock_timeout=0.1)
    load(to, target(), [people([(1, "a", 1)])])
    with closing(duckdb.connect(str(path))), pytest.raises(SynclineError, match="other settings") as caught:
        to.fence("c", target().stream)
    assert caught.value.kind is ErrorKind.CONFLICT
    to.fence("c", target().stream)


def test_streams_commit_from_many_threads(tmp_path: Path) -> None:
    """Different settings too: nobody is in the file with anybody else."""
    path = tmp_path / "x.duckdb"

    def work(number: int) -> None:
        stream = StreamName(name=f"s{number}")
        to = destination(path, threads=1 + number % 2, memory_limit=f"{200 + number}MB")
        for generation in (1, 2):
            batch = people([(i, "x", generation) for i in range(100)])
            load(to, target(stream=stream, generation=generation), [batch], [batch], name=f"p{generation}")

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(work, range(3)))
    for number in range(3):
        assert rows(path, f"SELECT count(*), min(seen) FROM s{number}") == [(200, 2)]


def test_processes_take_turns(tmp_path: Path) -> None:
    path = tmp_path / "x.duckdb"
    module = "tests.integration.duckdb.killed_run"
    running = [
        subprocess.Popen(
            [sys.executable, "-m", module, str(path), "append", "1", prefix], cwd=Path(__file__).parents[3]
        )
        for prefix in ("a_", "b_")
    ]
    assert [process.wait(60) for process in running] == [0, 0]
    counts = [rows(path, f"SELECT count(*), count(DISTINCT id) FROM {prefix}orders") for prefix in ("a_", "b_")]
    assert counts[0] == counts[1] != [(0, 0)]
