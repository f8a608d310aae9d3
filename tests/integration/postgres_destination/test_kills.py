"""Killed in the middle of a seal, a commit and a publish: the next attempt makes it whole, and nothing comes twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

EXPECTED = {
    "replace": [(201, "a2"), (201, "c2"), (202, "b"), (204, "d")],
    "deduped": [(201, "c2"), (202, "b"), (204, "d")],
    "append": [(101, "a1"), (101, "c1"), (102, "b"), (104, "d"), (201, "a2"), (201, "c2"), (202, "b"), (204, "d")],
    "merge": [(101, "c1"), (102, "b"), (104, "d"), (201, "c2"), (202, "b"), (204, "d")],
}
POINTS = ("seal.inside", "seal.inside:3", "commit.inside", "commit.inside:3", "commit.inside:5", "publish.inside")
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def attempts():
    """Calls one attempt after another; gives the exit code, negative for a signal."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    command = [sys.executable, "-m", "tests.integration.postgres_destination.attempt"]
    with subprocess.Popen(
        command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        stdin, stdout = process.stdin, process.stdout
        assert stdin is not None and stdout is not None

        def attempt(dsn, mode, number, point=None):
            spec = {"dsn": dsn, "mode": mode, "round_number": number, "point": point}
            stdin.write(json.dumps(spec) + "\n")
            stdin.flush()
            return int(stdout.readline())

        yield attempt


@pytest.mark.parametrize("mode", list(EXPECTED))
def test_killed_and_run_again(dsn, db, attempts, mode):
    """Each point in turn on the second plan of one stream, so that every kill meets what the one before left."""
    assert attempts(dsn, mode, 1) == 0
    killed = 0
    for point in POINTS:
        status = attempts(dsn, mode, 2, point)
        if status == 0:
            assert killed, "nothing was killed"
            break
        assert status == -signal.SIGKILL
        killed += 1
        visible = db.execute("SELECT id, name FROM orders ORDER BY 1, 2").fetchall()
        if mode in ("replace", "deduped"):
            assert all(number < 200 for number, _ in visible), "half a generation is visible"
    else:
        assert attempts(dsn, mode, 2) == 0
    assert killed >= 4
    assert db.execute("SELECT id, name FROM orders ORDER BY 1, 2").fetchall() == EXPECTED[mode]
    aside = db.execute("SELECT record ->> 'id' FROM _syncline_quarantine ORDER BY 1").fetchall()
    assert aside == ([("203",)] if mode in ("replace", "deduped") else [("103",), ("203",)])
    left = db.execute(r"SELECT relname FROM pg_class WHERE relname ~ '^_syncline_[a-z][0-9]'").fetchall()
    assert left == []
    for table in ("_syncline_staged", "_syncline_staged_quarantine"):
        assert db.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
