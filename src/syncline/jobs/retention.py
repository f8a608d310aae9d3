"""What is kept, and how long: folders of attempts by age and bytes, events and jobs by age."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from syncline.store import job_events, jobs, webhooks
from syncline.store.database import Transaction

__all__ = ["Retention"]

_EVERY_SECONDS = 900.0
#: Small files fill a disk by their number.
_MOST_FOLDERS = 20_000
#: No signed message is accepted that is older than a day.
_DELIVERIES = timedelta(days=2)


@dataclass(frozen=True, kw_only=True)
class _Folder:
    path: Path
    used_at: float
    size: int


class Retention:
    """``log_days`` and ``log_bytes`` bound the folders of attempts (logs and journals) on this machine, oldest first;
    those of running attempts stay. ``job_days`` bounds jobs in the store, ``event_days`` their events."""

    def __init__(
        self, home: Path, *, log_days: float, log_bytes: int, job_days: float, event_days: float = 7.0
    ) -> None:
        self._jobs = home / "jobs"
        self._log_days, self._log_bytes = log_days, log_bytes
        self._job_days, self._event_days = job_days, event_days
        self._done_at: float | None = None

    def is_due(self) -> bool:
        """True once in a quarter of an hour; to be asked in each round."""
        if self._done_at is not None and time.monotonic() - self._done_at < _EVERY_SECONDS:
            return False
        self._done_at = time.monotonic()
        return True

    def prune_store(self, tx: Transaction, at: datetime) -> None:
        jobs.prune(tx, at - timedelta(days=self._job_days))
        job_events.prune(tx, at - timedelta(days=self._event_days))
        webhooks.prune_deliveries(tx, at - _DELIVERIES)

    def prune_folders(self, running: Collection[Path], now: float | None = None) -> list[Path]:
        """Delete folders of jobs that are too old, then the oldest until the rest is small enough; returns them."""
        now = time.time() if now is None else now
        found = sorted(self._folders(), key=lambda f: f.used_at)
        total = sum(folder.size for folder in found)
        count = len(found)
        gone = []
        for folder in found:
            if folder.path in running:
                continue
            young = now - folder.used_at < self._log_days * 86400
            if young and total <= self._log_bytes and count <= _MOST_FOLDERS:
                continue
            shutil.rmtree(folder.path, ignore_errors=True)
            total -= folder.size
            count -= 1
            gone.append(folder.path)
        return gone

    def _folders(self) -> list[_Folder]:
        if not self._jobs.exists():
            return []
        found = []
        for entry in os.scandir(self._jobs):
            if not entry.is_dir(follow_symlinks=False):
                continue
            size, used_at = 0, 0.0
            for path, _, names in os.walk(entry.path):
                for name in names:
                    try:
                        stat = (Path(path) / name).stat()
                    except FileNotFoundError:
                        continue
                    size += stat.st_size
                    used_at = max(used_at, stat.st_mtime)
            found.append(_Folder(path=Path(entry.path), used_at=used_at or entry.stat().st_mtime, size=size))
        return found
