"""Timing a command as a whole: wall time, CPU of its process tree, peak resident memory of the tree."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

__all__ = ["Measurement", "measure"]


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Seconds of wall time and of client CPU (user + system, of the tree), MiB of peak resident memory (of the tree,
    shared pages counted once per process, sampled every 20 ms)."""

    seconds: float
    cpu: float
    rss: float


def measure(command: Sequence[str] | str, log: Path, environment: Mapping[str, str] | None = None) -> Measurement:
    """Run to the end. A string is run by ``bash -o pipefail -c``: only for the limits, which are pipelines by nature.
    Raises RuntimeError with the end of the log when the command fails."""
    # Compiled modules are kept, as those of an installed package are.
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    arguments = ["bash", "-o", "pipefail", "-c", command] if isinstance(command, str) else list(command)
    with log.open("wb") as out:
        began = time.monotonic()
        child = subprocess.Popen(arguments, stdout=out, stderr=out, env={**inherited, **(environment or {})})
        peak = 0.0
        watched = psutil.Process(child.pid)
        while True:
            pid, status, usage = os.wait4(child.pid, os.WNOHANG)
            if pid:
                break
            peak = max(peak, _tree(watched))
            time.sleep(0.02)
        seconds = time.monotonic() - began
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        raise RuntimeError(f"{arguments} ended with {child.returncode}: {log.read_text(errors='replace')[-2000:]}")
    return Measurement(seconds=seconds, cpu=usage.ru_utime + usage.ru_stime, rss=peak / 2**20)


def _tree(process: psutil.Process) -> float:
    total = 0.0
    try:
        for each in [process, *process.children(recursive=True)]:
            total += each.memory_info().rss
    except psutil.Error:
        pass
    return total
