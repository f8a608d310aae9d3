"""A quality gate as a value: one rule about one stream, and what happens when it is broken."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

__all__ = ["Empty", "Gate", "GateResult", "Severity", "Status", "When", "fingerprint"]


class Severity(StrEnum):
    """What a broken rule does."""

    WARN = "warn"  #: it is said, counted and kept; the rows become visible
    QUARANTINE = "quarantine"  #: the rows that break it are set aside, the others become visible
    BLOCK = "block"  #: nothing of this copy or increment becomes visible


class Empty(StrEnum):
    """What a rule says when there was nothing to judge."""

    PASS = "pass"  #: it is kept, and the result says that nothing was judged  # noqa: S105
    FAIL = "fail"  #: it is broken


class When(StrEnum):
    """What a rule about a stream as a whole judges, where a log goes on with the stream."""

    ALWAYS = "always"  #: copies, and the table as each flush of changes would leave it
    COPIES = "copies"  #: whole copies alone; changes that follow pass by


class Status(StrEnum):
    """What became of a gate in one run."""

    PASSED = "passed"
    EMPTY = "empty"  #: nothing was judged, and the gate says that this is right
    QUARANTINED = "quarantined"  #: broken by rows that were set aside
    WARNED = "warned"  #: broken, and only said
    BLOCKED = "blocked"  #: broken, and nothing was published


@dataclass(frozen=True, kw_only=True)
class Gate:
    """``rule`` is one of :data:`syncline.quality.rules.RULES`, ``options`` what it needs besides ``columns``, as plain
    JSON. ``mostly``: the part of the judged rows that must keep a rule about rows, 1.0 for all. ``timeout``: seconds in
    which a question to the staged rows must be answered, None for the usual."""

    name: str
    rule: str
    columns: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    severity: Severity = Severity.BLOCK
    mostly: float = 1.0
    empty: Empty = Empty.PASS
    when: When = When.ALWAYS
    timeout: float | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "rule": self.rule,
            "columns": list(self.columns),
            "options": dict(self.options),
            "severity": self.severity.value,
            "mostly": self.mostly,
            "empty": self.empty.value,
            **({} if self.when is When.ALWAYS else {"when": self.when.value}),
            **({} if self.timeout is None else {"timeout": self.timeout}),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Gate:
        return cls(
            name=data["name"],
            rule=data["rule"],
            columns=tuple(data["columns"]),
            options=data["options"],
            severity=Severity(data["severity"]),
            mostly=data["mostly"],
            empty=Empty(data["empty"]),
            when=When(data.get("when", When.ALWAYS)),
            timeout=data.get("timeout"),
        )


@dataclass(frozen=True, kw_only=True)
class GateResult:
    """What a gate found. ``judged`` and ``failed`` count rows (-1 where the rule is not about rows), ``observed`` and
    ``expected`` say it for people. None of it holds a value of the data."""

    gate: str
    rule: str
    columns: tuple[str, ...]
    severity: Severity
    status: Status
    observed: str
    expected: str
    judged: int = -1
    failed: int = -1

    @property
    def blocks(self) -> bool:
        return self.status is Status.BLOCKED

    def to_json(self) -> dict[str, Any]:
        return {
            "gate": self.gate,
            "rule": self.rule,
            "columns": list(self.columns),
            "severity": self.severity.value,
            "status": self.status.value,
            "observed": self.observed,
            "expected": self.expected,
            "judged": self.judged,
            "failed": self.failed,
        }

    def __str__(self) -> str:
        return f"{self.gate}: {self.observed}, expected {self.expected}"


def fingerprint(gates: Sequence[Gate]) -> str:
    """Differs when the gates do."""
    text = json.dumps([g.to_json() for g in gates], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
