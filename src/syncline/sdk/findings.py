"""Findings: what a ``check`` has to say, each with its next step."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from syncline.core.errors import ErrorKind, SynclineError

__all__ = ["Finding", "Severity", "ensure_no_errors"]


class Severity(StrEnum):
    """How much a finding matters."""

    OK = "ok"  #: looked at and right; shown so that the user sees what was checked
    WARNING = "warning"  #: works, but slower or with a stated limit
    ERROR = "error"  #: a sync would fail


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that a check looked at. ``hint`` holds the statement, setting or grant that mends it."""

    severity: Severity
    message: str
    kind: ErrorKind | None = None  #: set for errors
    hint: str = ""
    stream: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "severity": self.severity.value,
            "message": self.message,
            "kind": self.kind.value if self.kind else None,
            "hint": self.hint,
            "stream": self.stream,
        }


def ensure_no_errors(findings: Iterable[Finding]) -> None:
    """Raise the first ERROR finding as a :class:`SynclineError`."""
    for f in findings:
        if f.severity is Severity.ERROR:
            raise SynclineError(f.kind or ErrorKind.CONFIG, f.message, hint=f.hint, where={"stream": f.stream})
