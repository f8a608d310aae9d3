"""Launchers: where an attempt runs. Local forms: in this process, or in a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Protocol

from syncline.core.errors import ErrorKind, SynclineError
from syncline.engine import events
from syncline.engine.events import Event
from syncline.engine.ports import EventSink
from syncline.engine.spec import AttemptSpec
from syncline.engine.sync import AttemptResult
from syncline.jobs.attempt import run_here
from syncline.jobs.journal import Journal, read_journal

__all__ = ["InProcessLauncher", "Launcher", "ProcessLauncher"]


class Launcher(Protocol):
    """Runs one attempt to its end. Called once per attempt; blocks."""

    def launch(self, spec: AttemptSpec, folder: Path, emit: EventSink) -> AttemptResult:
        """``folder`` takes the journal. Events are also given to ``emit`` as they come."""
        ...


class InProcessLauncher:
    """The attempt is this process: the command line's form for one connection. A crash is the command's crash."""

    def launch(self, spec: AttemptSpec, folder: Path, emit: EventSink) -> AttemptResult:
        journal = Journal(folder / f"attempt-{spec.attempt}.jsonl")
        try:
            return run_here(spec, journal, emit)
        finally:
            journal.close()


class ProcessLauncher:
    """The attempt is a child in its own process group: what kills it touches nothing else."""

    POLL_SECONDS = 0.1

    def launch(self, spec: AttemptSpec, folder: Path, emit: EventSink) -> AttemptResult:
        folder.mkdir(parents=True, exist_ok=True)
        journal_path = folder / f"attempt-{spec.attempt}.jsonl"
        child = subprocess.Popen(
            [sys.executable, "-m", "syncline.jobs.attempt", str(journal_path)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        seen = 0
        try:
            _hand_over(spec, child)
            while True:
                running = child.poll() is None
                seen += _forward(journal_path, seen, emit)
                if not running:
                    break
                time.sleep(self.POLL_SECONDS)
        except BaseException:
            os.killpg(child.pid, signal.SIGTERM)
            child.wait()
            raise
        return _result(journal_path, child.returncode)


def _hand_over(spec: AttemptSpec, child: subprocess.Popen[bytes]) -> None:
    """Through a pipe: the spec may hold a password that somebody wrote into the project file, and arguments and files
    are for others to read."""
    assert child.stdin is not None
    # One that has died already says so by its exit code.
    with contextlib.suppress(BrokenPipeError), child.stdin as pipe:
        pipe.write(json.dumps(spec.to_json()).encode())


def _forward(path: Path, seen: int, emit: EventSink) -> int:
    """Give the lines after the first ``seen`` to ``emit``; returns how many they were."""
    if not path.exists():
        return 0
    new = list(read_journal(path))[seen:]
    for line in new:
        event = _event(line)
        if event is not None:
            emit(event)
    return len(new)


def _event(line: dict[str, Any]) -> Event | None:
    kind = getattr(events, line["event"], None)
    if kind is None:
        return None
    return kind(**{k: v for k, v in line.items() if k != "event"})  # type: ignore[no-any-return]


def _result(path: Path, code: int) -> AttemptResult:
    lines = list(read_journal(path)) if path.exists() else []
    for line in reversed(lines):
        if line["event"] == "Result":
            return AttemptResult.from_json(line["result"])
    how = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
    hint = "run again: it goes on where it was"
    if code == -signal.SIGKILL:
        hint = "if nobody killed it, the system was out of memory (see dmesg): lower concurrency; " + hint
    raise SynclineError(ErrorKind.TRANSIENT, f"the attempt's process ended {how} before it could report", hint=hint)
