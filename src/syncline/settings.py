"""Settings of this installation, from the environment (``SYNCLINE_…``)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from syncline.core.errors import ErrorKind, SynclineError

__all__ = ["Settings", "load_settings"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """``home`` (``SYNCLINE_HOME``, default ``~/.local/state/syncline``) keeps journals, leases, scratch files; may be
    lost between runs. ``keep_runs`` (``SYNCLINE_KEEP_RUNS``, default 50) journals are kept per connection."""

    home: Path
    keep_runs: int

    @property
    def leases(self) -> Path:
        return self.home / "leases"

    def runs(self, connection: str) -> Path:
        return self.home / "runs" / connection.replace("/", "_")

    def scratch(self, connection: str) -> Path:
        return self.home / "scratch" / connection.replace("/", "_")


def load_settings() -> Settings:
    """Read the environment and make the home; called once per command. Raises ``config``."""
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    home = Path(os.environ.get("SYNCLINE_HOME") or f"{state}/syncline").expanduser()
    keep = os.environ.get("SYNCLINE_KEEP_RUNS") or "50"
    if not keep.isdecimal() or int(keep) < 1:
        raise SynclineError(
            ErrorKind.CONFIG, f"SYNCLINE_KEEP_RUNS is {keep!r}", hint="set it to a whole number above 0, or unset it"
        )
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SynclineError(
            ErrorKind.CONFIG,
            f"the folder for journals and locks cannot be made: {home}: {error.strerror}",
            hint="set SYNCLINE_HOME to a folder that this user can write",
        ) from error
    return Settings(home=home, keep_runs=int(keep))
