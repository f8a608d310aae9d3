"""A process killed after DuckDB's commit and before its checkpoint leaves a log that the next one must replay."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from syncline.core.stream import WriteMode

_CHILD = """
import os, signal, sys
from pathlib import Path
from syncline.connectors.duckdb.stage import StageFolder
from syncline.core.stream import WriteMode
from tests.integration.duckdb.killed_run import main

StageFolder.tidy = lambda self: os.kill(os.getpid(), signal.SIGKILL)  # called between the commit and the close
main(Path(sys.argv[1]), WriteMode(sys.argv[2]), int(sys.argv[3]))
"""


@pytest.mark.parametrize("write", list(WriteMode))
def test_the_log_of_a_published_plan_is_replayed(tmp_path: Path, write: WriteMode) -> None:
    path = tmp_path / "x.duckdb"
    for number in (1, 2):
        arguments = [sys.executable, "-c", _CHILD, str(path), write.value, str(number)]
        done = subprocess.run(arguments, cwd=Path(__file__).parents[3], capture_output=True, text=True, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr
        with duckdb.connect(str(path)) as connection:
            row = connection.execute("SELECT max(seen), count(*) > 0 FROM orders").fetchone()
            assert row == (number, True)
