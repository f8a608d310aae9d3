"""What a connector discovered, kept for a while: some take half a minute to say it, at every run."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["Discovered"]


class Discovered:
    """One file in the connection's folder. It counts for the same command and configuration, and for so many seconds;
    whoever lost or garbled it only asks again."""

    def __init__(self, folder: Path, command: Sequence[str], config: Mapping[str, Any], seconds: float) -> None:
        self._path = folder / "airbyte-discovered.json"
        self._seconds = seconds
        of = json.dumps([list(command), dict(config)], sort_keys=True, default=str)
        self._of = hashlib.sha256(of.encode()).hexdigest()

    def load(self) -> list[dict[str, Any]] | None:
        """The streams, None when they must be asked for."""
        if not self._seconds:
            return None
        try:
            kept = json.loads(self._path.read_bytes())
            fresh = 0 <= time.time() - float(kept["at"]) < self._seconds
            return list(kept["streams"]) if kept["of"] == self._of and fresh else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def save(self, streams: Sequence[Mapping[str, Any]]) -> None:
        if not self._seconds:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        new = self._path.with_suffix(".new")
        new.write_text(json.dumps({"of": self._of, "at": time.time(), "streams": list(streams)}))
        new.replace(self._path)  # in one act: a reader sees the former or this one
