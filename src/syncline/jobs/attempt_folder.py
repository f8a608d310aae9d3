"""The folder of one attempt: all that its process and the server have between them.

    journal.jsonl   events and the result, fsynced; written by the attempt, tailed by the server
    attempt.log     the same for people, as JSON lines
    output.txt      what the process wrote to its standard streams
    lock            held by the process from its first moment to its last, however that comes
    process         ``pid start-time``, for signals and for people; ``shared`` behind it: others' attempts run there too
    stop            an attempt in a shared process is to end: a signal would be for all of them
    beat            touched every :data:`BEAT_SECONDS` by the process: its sign of life
    revoked         nobody may begin here any more

The lock is what proves that an attempt is over: an advisory lock goes with its process. A server that finds an attempt
in its store and nobody at the lock takes the lock itself, leaves ``revoked`` and only then says that the attempt is
over; a process that comes late (its server died between starting it and hearing of it) finds the mark and goes. So no
two processes of one attempt, and none of an attempt that was given up before it began.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
from pathlib import Path

__all__ = ["BEAT_SECONDS", "AttemptFolder", "process_start"]

BEAT_SECONDS = 2.0


class AttemptFolder:
    """One attempt's folder, seen from either side."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.journal = path / "journal.jsonl"
        self.log = path / "attempt.log"
        self.output = path / "output.txt"
        self._lock = path / "lock"
        self._process = path / "process"
        self._beat = path / "beat"
        self._revoked = path / "revoked"
        self._stop = path / "stop"
        self._entered: int | None = None

    def make(self) -> None:
        """For this user only. Called by the server before it starts the process."""
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)

    # The attempt's side.

    def enter(self, *, shared: bool = False) -> bool:
        """Take the lock for the rest of this process's life, or until :meth:`leave`, and leave our name; False when the
        attempt was given up, or somebody else runs it. ``shared``: the process runs other attempts too."""
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return False
        if self._revoked.exists():
            os.close(descriptor)
            return False
        partial = self._process.with_suffix(".partial")
        partial.write_text(f"{os.getpid()} {process_start(os.getpid())}{' shared' if shared else ''}")
        partial.rename(self._process)
        self.beat()
        self._entered = descriptor  # it stays open: the lock goes with the process
        return True

    def leave(self) -> None:
        """The attempt is over, and its process goes on with others."""
        if self._entered is not None:
            os.close(self._entered)
            self._entered = None

    @property
    def stop_asked(self) -> bool:
        return self._stop.exists()

    def beat(self) -> None:
        """A sign of life."""
        with contextlib.suppress(OSError):
            self._beat.touch()

    # The server's side.

    def revoke(self) -> bool:
        """True when no process runs this attempt and none can begin any more."""
        if not self.path.exists():
            return True  # lost, or never made: a late process has nothing to enter
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        else:
            self._revoked.touch()
            return True
        finally:
            os.close(descriptor)

    def alive(self) -> bool:
        """Whether a process holds the lock now. A process that is being started does not yet."""
        try:
            descriptor = os.open(self._lock, os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
        else:
            return False
        finally:
            os.close(descriptor)

    @property
    def process(self) -> str | None:
        """``pid start-time``, None before the process has begun."""
        try:
            return self._process.read_text()
        except FileNotFoundError:
            return None

    def last_beat(self) -> int | None:
        """When the last sign of life was given, by the file system's clock in nanoseconds; None before the first. Only
        whether it changes means anything."""
        try:
            return self._beat.stat().st_mtime_ns
        except FileNotFoundError:
            return None

    def signal(self, number: signal.Signals) -> bool:
        """Send a signal to the process and its children; False when that very process is gone. Where it runs others'
        attempts too, ours is asked to end; only SIGKILL, the last means, ends them all."""
        known = self.process
        if known is None:
            return False
        pid_text, started, *shared = known.split(" ")
        pid = int(pid_text)
        # The number may belong to somebody else by now; the start time tells.
        if process_start(pid) != started:
            return False
        if shared and number is not signal.SIGKILL:
            self._stop.touch()
            return True
        try:
            os.killpg(pid, number)
        except (ProcessLookupError, PermissionError):
            return False
        return True


def process_start(pid: int) -> str:
    """When a process started, in words that no other process of that number shares; empty when there is none.

    Linux: ticks since the machine started (``/proc/PID/stat``), with that start's own id; elsewhere what ``ps`` says,
    to the second."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return "" if Path("/proc/self").exists() else _start_from_ps(pid)
    except OSError:
        return ""
    # The second field is the command in brackets and may hold anything; the state is the first one after it.
    fields = stat.rpartition(")")[2].split()
    if fields[0] in ("Z", "X"):
        return ""
    return f"{fields[19]}@{_boot()}"


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _start_from_ps(pid: int) -> str:
    import subprocess

    done = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return "_".join(done.stdout.split())
