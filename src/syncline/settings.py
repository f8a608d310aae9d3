"""Settings of this installation, from the environment (``SYNCLINE_…``)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

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
    """Read the environment; called once per command."""
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    home = Path(os.environ.get("SYNCLINE_HOME") or f"{state}/syncline").expanduser()
    return Settings(home=home, keep_runs=int(os.environ.get("SYNCLINE_KEEP_RUNS", "50")))
