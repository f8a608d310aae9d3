"""Flushes of a log in a DuckDB file: killed between commit and checkpoint, and while somebody else has the file."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import duckdb
import pytest

from syncline.core.errors import ErrorKind, SynclineError
from syncline.sdk.reference import ConnectorReference
from syncline.testing.conformance.changes import ChangeFlow, insert, made_row

_CHILD = """
import os, signal, sys
from syncline.connectors.duckdb import changes

calls = iter(range(100))
real = changes.reclaim
def reclaim(con, table):  # called between the commit and the close
    real(con, table)
    if next(calls) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
changes.reclaim = reclaim
import runpy
runpy.run_module("syncline.testing.conformance.killed_flush", run_name="__main__")
"""


class _System:
    gaps: dict[str, str] = {}

    def __init__(self, path: Path) -> None:
        self.path = path

    def reference(self) -> ConnectorReference:
        return ConnectorReference(type="duckdb", config={"path": str(self.path), "lock_timeout": 0.2})

    def rows(self, columns: object) -> None:
        return None

    def quarantined(self) -> int:
        return 0


@pytest.mark.parametrize("evolve", [(), ("evolve",)], ids=["rows", "columns too"])
def test_the_log_of_a_killed_flush_is_replayed(tmp_path: Path, evolve: tuple[str, ...]) -> None:
    system = _System(tmp_path / "x.duckdb")
    with closing(ChangeFlow(system, tmp_path / "work")) as flow:
        flow.copy([made_row(i) for i in range(3000)])
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, str(tmp_path / "killed"), *evolve],
        input=json.dumps(system.reference().to_json()),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert system.path.with_name("x.duckdb.wal").exists(), "nothing was left to replay"
    with duckdb.connect(str(system.path)) as connection:
        ids = [i for (i,) in connection.execute("SELECT id FROM items ORDER BY id").fetchall()]
        assert ids == [0, 1, *range(3, 3000)]
        assert connection.execute("SELECT price FROM items WHERE id = 1").fetchone() == (5,)
        if evolve:
            extras = connection.execute("SELECT extra, count(*) FROM items GROUP BY 1 ORDER BY 1").fetchall()
            assert extras == [("e", 2998), ("x", 1)]
    with closing(ChangeFlow(system, tmp_path / "again")) as flow:
        position = flow.checkpoints[flow.target.stream].position
        assert position is not None
        assert position["lsn"] > 101


def test_a_file_that_somebody_has_open_is_a_conflict_and_waits(tmp_path: Path) -> None:
    system = _System(tmp_path / "x.duckdb")
    with closing(ChangeFlow(system, tmp_path / "work")) as flow:
        flow.copy([made_row(1)])
        holder = subprocess.Popen(
            [
                sys.executable,
                "-c",
                "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read()",
                str(system.path),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"open\n"
            with pytest.raises(SynclineError) as caught:
                flow.apply(insert(made_row(2)))
            assert caught.value.kind is ErrorKind.CONFLICT
            flow.session.rollback()
        finally:
            holder.communicate()
        flow.flush(insert(made_row(2)))
    with duckdb.connect(str(system.path), read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM items").fetchone() == (2,)
