"""Holding a running log at one place, so that somebody can compare both ends there: a small file says so.

    verify: asks to hold  ->  run: finishes its flush, says where it is
    verify: fixes a moment of the source at LSN X, asks to go on up to X  ->  run: applies exactly what was committed
        before X, says so, and waits
    verify: compares, removes the file  ->  run: goes on

The log goes on being received meanwhile. A request that is not renewed is dropped after :data:`EXPIRY_SECONDS`.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["EXPIRY_SECONDS", "Hold", "HoldRequest"]

EXPIRY_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class HoldRequest:
    """``until``: the LSN to go on to; None: stop where you are."""

    id: str
    until: int | None


class Hold:
    """The two files, below the connection's local folder: the request (written by the one who asks) and the answer."""

    def __init__(self, folder: Path) -> None:
        self._request, self._answer = folder / "hold.json", folder / "held.json"

    def ask(self, request: HoldRequest) -> None:
        """Write or renew the request."""
        _write(self._request, {"id": request.id, "until": request.until})

    def renew(self) -> None:
        """Still needed."""
        os.utime(self._request)

    def release(self) -> None:
        """No longer needed; no error when there is none."""
        self._request.unlink(missing_ok=True)
        self._answer.unlink(missing_ok=True)

    def request(self) -> HoldRequest | None:
        """The present request; asked by the run in every turn of its loop, so one ``stat`` when there is none."""
        try:
            if time.time() - self._request.stat().st_mtime > EXPIRY_SECONDS:
                return None
            found = json.loads(self._request.read_text(encoding="utf-8"))
            return HoldRequest(id=found["id"], until=found["until"])
        except (FileNotFoundError, ValueError, KeyError):
            return None

    def answer(self, request: HoldRequest, lsn: int) -> None:
        """Said by the run: everything before ``lsn`` is applied and nothing after."""
        _write(self._answer, {"id": request.id, "until": request.until, "lsn": lsn})

    def answered(self, request: HoldRequest) -> int | None:
        """The LSN of the answer to exactly this request, None while there is none."""
        try:
            found = json.loads(self._answer.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None
        return int(found["lsn"]) if (found["id"], found["until"]) == (request.id, request.until) else None


def _write(path: Path, data: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}")
    partial.write_text(json.dumps(data), encoding="utf-8")
    partial.replace(path)
