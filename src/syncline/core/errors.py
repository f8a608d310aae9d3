"""Everything that can go wrong, as a closed list of kinds.

    SynclineError
    └── kind: config | auth | permission | unreachable | transient | data | schema | resource | conflict | internal

A driver's exception becomes a :class:`SynclineError` at the connector's border; above it nobody sees a driver's class.
One table (:data:`POLICY`) maps each kind to what is tried again, to the exit code and to the HTTP status.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

__all__ = ["POLICY", "ErrorKind", "ErrorPolicy", "SynclineError", "nearest"]


class ErrorKind(StrEnum):
    """Why something failed, said by whoever raised it; decides retry, exit code and HTTP status."""

    CONFIG = "config"  #: a person must change a setting
    AUTH = "auth"  #: wrong or expired credentials
    PERMISSION = "permission"  #: known user, missing right
    UNREACHABLE = "unreachable"  #: no connection could be made
    TRANSIENT = "transient"  #: may work when tried again
    DATA = "data"  #: this record
    SCHEMA = "schema"  #: this stream's shape
    RESOURCE = "resource"  #: memory, disk, quota
    CONFLICT = "conflict"  #: somebody else holds or changed it
    INTERNAL = "internal"  #: a defect of ours


@dataclass(frozen=True, kw_only=True)
class ErrorPolicy:
    """What follows from a kind: whether to try again, the process exit code, the HTTP status."""

    retry: bool
    exit_code: int
    http_status: int


POLICY: Mapping[ErrorKind, ErrorPolicy] = {
    # Exit code 1 is any other failure and 2 is left to the command-line parser (wrong usage), as is customary.
    ErrorKind.CONFIG: ErrorPolicy(retry=False, exit_code=3, http_status=422),
    ErrorKind.AUTH: ErrorPolicy(retry=False, exit_code=4, http_status=401),
    ErrorKind.PERMISSION: ErrorPolicy(retry=False, exit_code=5, http_status=403),
    ErrorKind.UNREACHABLE: ErrorPolicy(retry=True, exit_code=6, http_status=502),
    ErrorKind.TRANSIENT: ErrorPolicy(retry=True, exit_code=7, http_status=503),
    ErrorKind.DATA: ErrorPolicy(retry=False, exit_code=8, http_status=422),
    ErrorKind.SCHEMA: ErrorPolicy(retry=False, exit_code=9, http_status=409),
    ErrorKind.RESOURCE: ErrorPolicy(retry=False, exit_code=10, http_status=507),
    ErrorKind.CONFLICT: ErrorPolicy(retry=True, exit_code=11, http_status=409),
    ErrorKind.INTERNAL: ErrorPolicy(retry=False, exit_code=12, http_status=500),
}


class SynclineError(Exception):
    """The one exception that crosses our borders.

    ``message`` is one sentence of what happened, ``hint`` what to do next (often the statement or setting itself),
    ``where`` names the place (``connector``, ``stream``, ``partition``, ``position``, ``path`` …). The cause is chained
    by ``raise … from``. None of the three may hold a secret. ``final``: it is not tried again, whatever its kind says,
    because a newer run has taken over: another try would take that back.
    """

    def __init__(
        self,
        kind: ErrorKind,
        message: str,
        *,
        hint: str = "",
        where: Mapping[str, Any] | None = None,
        final: bool = False,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.hint = hint
        self.final = final
        self.where: dict[str, Any] = {k: v for k, v in (where or {}).items() if v is not None}

    def at(self, **where: Any) -> SynclineError:
        """This error with more of its place filled in; what was already known stays."""
        self.where = {**{k: v for k, v in where.items() if v is not None}, **self.where}
        return self

    @property
    def policy(self) -> ErrorPolicy:
        return POLICY[self.kind]

    def to_json(self) -> dict[str, Any]:
        data = {"kind": self.kind.value, "message": self.message, "hint": self.hint, "where": self.where}
        return {**data, "final": True} if self.final else data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SynclineError:
        return cls(
            ErrorKind(data["kind"]),
            data["message"],
            hint=data.get("hint", ""),
            where=data.get("where"),
            final=data.get("final", False),
        )

    def __str__(self) -> str:
        place = ", ".join(f"{k} {v}" for k, v in self.where.items())
        text = f"{self.kind.value}: {self.message}"
        if place:
            text += f" [{place}]"
        return f"{text} -> {self.hint}" if self.hint else text


def nearest(word: str, known: list[str]) -> str | None:
    """The known word most like ``word``, or None when nothing is close. Used to answer typing errors."""
    import difflib

    found = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return found[0] if found else None
