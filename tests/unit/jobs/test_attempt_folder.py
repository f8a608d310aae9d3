"""Who may run an attempt, whether it lives, and what its server makes of its journal: with real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.unit.jobs.test_schedule import job

from syncline.jobs.attempt_folder import AttemptFolder, process_start
from syncline.jobs.verdict import StopReason
from syncline.jobs.watch import Patience, Watch
from syncline.jobs.worker import GIVEN_UP
from syncline.store.job_values import Attempt, AttemptStatus, JobStatus

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
ENTER = """
import sys, time
from pathlib import Path
from syncline.jobs.attempt_folder import AttemptFolder
print(AttemptFolder(Path(sys.argv[1])).enter(), flush=True)
time.sleep(60)
"""


@pytest.fixture
def folder(tmp_path: Path) -> AttemptFolder:
    made = AttemptFolder(tmp_path / "1")
    made.make()
    return made


def entered(folder: AttemptFolder) -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [sys.executable, "-c", ENTER, str(folder.path)], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "True\n"
    return child


def end(child: subprocess.Popen[str]) -> None:
    child.kill()
    child.wait()
    assert child.stdout is not None
    child.stdout.close()


def test_one_process_holds_an_attempt_until_it_is_gone(folder: AttemptFolder) -> None:
    child = entered(folder)
    try:
        assert folder.alive()
        assert folder.process == f"{child.pid} {process_start(child.pid)}"
        assert not folder.revoke()
        second = subprocess.run(
            [sys.executable, "-c", ENTER.replace("time.sleep(60)", ""), str(folder.path)],
            capture_output=True,
            text=True,
            check=True,
        )
        assert second.stdout == "False\n"
        os.kill(child.pid, signal.SIGSTOP)
        assert folder.alive()  # stopped is not gone
        assert folder.signal(signal.SIGKILL)
        child.wait()
        assert not folder.alive()
        assert not folder.signal(signal.SIGKILL)
        assert folder.revoke()
    finally:
        end(child)


def test_a_process_that_comes_late_finds_the_attempt_given_up(folder: AttemptFolder) -> None:
    assert folder.revoke()
    command = [sys.executable, "-m", "syncline.jobs.worker", str(folder.path)]
    spec: dict[str, Any] = {
        "connection": "c",
        "source": {"type": "postgres", "config": {}},
        "destination": {"type": "postgres", "config": {}},
        "choices": None,
        "default": {"mode": "full_refresh"},
        "sync_id": "s",
        "sync_date": "2026-11-21",
        "started_at": NOW.isoformat(),
        "attempt": 1,
        "work_dir": str(folder.path),
        "concurrency": 1,
        "metadata": "syncline",
        "completed": [],
    }
    order = {"job": 1, "task": "sync", "spec": spec, "streams": None, "log_bytes": 1000}
    done = subprocess.run(command, input=json.dumps(order).encode(), check=False)
    assert done.returncode == GIVEN_UP
    assert not folder.journal.exists()
    # Nor does one whose server died before it could hand over the order.
    assert subprocess.run(command, input=b"", check=False).returncode == GIVEN_UP


def test_the_number_of_a_process_that_is_gone_is_nobodys(folder: AttemptFolder) -> None:
    (folder.path / "process").write_text(f"{os.getpid()} another start")
    assert not folder.signal(signal.SIGKILL)
    assert process_start(2**22 + 1) == ""


def watch(folder: AttemptFolder, offset: int = 0, **patience: Any) -> Watch:
    attempt = Attempt(
        id=1,
        job_id=1,
        number=1,
        status=AttemptStatus.RUNNING,
        host="here",
        process=None,
        journal_offset=offset,
        created_at=NOW,
        updated_at=NOW,
    )
    running = job(1, status=JobStatus.RUNNING, attempts=1)
    return Watch(running, attempt, folder, Patience(**patience), follows=False)


def journal(folder: AttemptFolder) -> None:
    lines = [
        {"event": "AttemptStarted", "at": NOW.isoformat(), "connection": "c", "sync_id": "s", "attempt": 1,
         "streams": ["public.t"]},
        {"event": "Progress", "at": NOW.isoformat(), "stream": "public.t", "partition": "0", "rows": 7, "bytes": 70},
        {"event": "PartitionCommitted", "at": NOW.isoformat(), "stream": "public.t", "partition": "0", "rows": 7,
         "quarantined": 1, "sequence": 2},
        {"event": "Result", "result": {"status": "succeeded", "seconds": 1.0, "error": None, "streams": [
            {"stream": {"namespace": "public", "name": "t"}, "mode": "full_refresh_overwrite", "status": "succeeded",
             "rows_read": 8, "rows_written": 7, "rows_quarantined": 1, "bytes_read": 80, "seconds": 1.0,
             "error": None}]}},
        {"event": "States", "states": [{"namespace": "public", "name": "t", "state": {"n": 1}}], "shared": None},
    ]  # fmt: skip
    folder.journal.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_a_result_is_found_again_by_the_next_server(folder: AttemptFolder) -> None:
    """What is remembered of a journal never goes past its result, and nothing is counted twice."""
    (folder.path / "process").write_text("1 gone")
    journal(folder)
    first = watch(folder)
    while first.read():
        pass
    assert first.attempt.committed
    following = watch(folder, first.attempt.journal_offset)
    while following.read():
        pass
    for seen in (first, following):
        assert (seen.attempt.rows_written, seen.attempt.rows_read) == (7, 8)
        ending = seen.look()
        assert ending is not None
        assert ending.result is not None
        assert ending.result.succeeded
        assert seen.states == [{"namespace": "public", "name": "t", "state": {"n": 1}}]


def test_a_process_that_is_gone_without_a_result_failed(folder: AttemptFolder) -> None:
    child = entered(folder)
    seen = watch(folder)
    seen.exit_code = child.poll
    assert seen.look() is None
    child.kill()
    child.wait()
    ending = seen.look()
    end(child)
    assert ending is not None
    assert ending.error is not None
    assert "SIGKILL" in ending.error.message


def test_silence_and_stand_still_are_noticed_apart(folder: AttemptFolder) -> None:
    impatient: list[tuple[dict[str, Any], StopReason]] = [
        ({"silence": 0.2}, StopReason.LOST),
        ({"no_progress": 0.2}, StopReason.STALLED),
    ]
    for patience, reason in impatient:
        child = entered(folder)
        seen = watch(folder, **patience)
        assert seen.look() is None
        time.sleep(0.3)
        while (ending := seen.look()) is None:
            time.sleep(0.01)
            child.poll()
        assert ending.stop is reason
        assert ending.error is not None
        assert "timeout" in ending.error.message
        end(child)


def test_one_that_never_begins_is_given_up(folder: AttemptFolder) -> None:
    seen = watch(folder, begin=0.1)
    assert seen.look() is None
    time.sleep(0.2)
    ending = seen.look()
    assert ending is not None
    assert ending.error is not None
    assert "did not begin" in ending.error.message
    child = subprocess.run(
        [sys.executable, "-c", ENTER.replace("time.sleep(60)", ""), str(folder.path)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert child.stdout == "False\n"


def test_in_a_process_of_several_one_is_asked_and_not_signalled(folder: AttemptFolder) -> None:
    assert folder.enter(shared=True)
    seen = AttemptFolder(folder.path)
    assert seen.alive()
    before = seen.stop_asked
    assert seen.signal(signal.SIGTERM), "our own process would have ended"
    assert (before, seen.stop_asked) == (False, True)
    folder.leave()
    held = seen.alive()
    assert not held
