"""How many rows may be set aside before a run fails rather than publish what is left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from syncline.core.errors import ErrorKind, SynclineError

__all__ = ["DEFAULT_PERCENT", "DEFAULT_ROWS", "Limits"]

DEFAULT_ROWS = 1000
DEFAULT_PERCENT = 0.1


@dataclass(frozen=True, kw_only=True)
class Limits:
    """``rows`` and ``percent`` of those read, as somebody set them: more than either fails the run. With neither set,
    1,000 rows or 0.1 % may go aside, whichever is more: a small table is not failed for its one bad row."""

    rows: int | None = None
    percent: float | None = None

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | None) -> Limits:
        data = data or {}
        return cls(rows=data.get("max_rows"), percent=data.get("max_percent"))

    def broken(self, read: int, aside: int) -> bool:
        if aside == 0:
            return False
        part = aside / max(read, 1) * 100
        if self.rows is None and self.percent is None:
            return aside > DEFAULT_ROWS and part > DEFAULT_PERCENT
        return (self.rows is not None and aside > self.rows) or (self.percent is not None and part > self.percent)

    def error(self, read: int, aside: int) -> SynclineError | None:
        """Why nothing is published, None when it may be."""
        if not self.broken(read, aside):
            return None
        allowed = [f"{self.rows:,} rows"] if self.rows is not None else []
        allowed += [f"{self.percent:g} %"] if self.percent is not None else []
        words = " and ".join(allowed) or f"{DEFAULT_ROWS:,} rows or {DEFAULT_PERCENT:g} %, whichever is more"
        return SynclineError(
            ErrorKind.DATA,
            f"not published: {aside:,} of {read:,} rows were set aside, and {words} may be",
            hint="look at them (syncline quality show), mend the source, or raise quarantine: {max_rows: …}",
        )
