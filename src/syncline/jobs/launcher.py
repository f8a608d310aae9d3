"""Launchers: where an attempt runs. Local forms: in this process, or in a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Protocol

from syncline.core.errors import ErrorKind, SynclineError
from syncline.engine.fanout.hub import Hub
from syncline.engine.ports import EventSink
from syncline.engine.spec import AttemptSpec
from syncline.engine.sync import AttemptResult
from syncline.jobs.attempt import run_here
from syncline.jobs.journal import Journal, JournalTail, event_of

__all__ = ["InProcessLauncher", "Launcher", "ProcessLauncher", "SharingLauncher", "died"]


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


class SharingLauncher:
    """The attempts of one destination of several: here, in the calling thread, over the source that all share."""

    def __init__(self, hub: Hub, destination: str, stop: threading.Event) -> None:
        self._hub, self._destination, self._stop = hub, destination, stop

    def launch(self, spec: AttemptSpec, folder: Path, emit: EventSink) -> AttemptResult:
        journal = Journal(folder / f"attempt-{spec.attempt}.jsonl")
        self._hub.begins(self._destination)
        try:
            return run_here(spec, journal, emit, stop=self._stop, open_source=self._hub.opener(self._destination))
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
        tail = JournalTail(journal_path)
        result: AttemptResult | None = None
        try:
            _hand_over(spec, child)
            while True:
                running = child.poll() is None
                while lines := tail.read():
                    result = _forward(lines, emit) or result
                if not running:
                    break
                time.sleep(self.POLL_SECONDS)
        except BaseException:
            os.killpg(child.pid, signal.SIGTERM)
            child.wait()
            raise
        if result is None:
            raise died(child.returncode)
        return result


def _hand_over(spec: AttemptSpec, child: subprocess.Popen[bytes]) -> None:
    """Through a pipe: the spec may hold a password that somebody wrote into the project file, and arguments and files
    are for others to read."""
    assert child.stdin is not None
    # One that has died already says so by its exit code.
    with contextlib.suppress(BrokenPipeError), child.stdin as pipe:
        pipe.write(json.dumps(spec.to_json()).encode())


def _forward(lines: list[tuple[int, dict[str, Any]]], emit: EventSink) -> AttemptResult | None:
    """Give the events to ``emit``; returns the result when it is among the lines."""
    result = None
    for _, line in lines:
        if line["event"] == "Result":
            result = AttemptResult.from_json(line["result"])
        elif (event := event_of(line)) is not None:
            emit(event)
    return result


def died(code: int | None) -> SynclineError:
    """What to say of an attempt whose process ended without a result. ``code``: its exit code, negative for a signal,
    None when nobody could see it."""
    hint = "run again: it goes on where it was"
    if code is None:
        how = "and nobody saw how"
    elif code < 0:
        how = f"by signal {signal.Signals(-code).name}"
    else:
        how = f"with exit code {code}"
    if code == -signal.SIGKILL:
        hint = "if nobody killed it, the system was out of memory (see dmesg): lower concurrency; " + hint
    return SynclineError(ErrorKind.TRANSIENT, f"the attempt's process ended {how} before it could report", hint=hint)
