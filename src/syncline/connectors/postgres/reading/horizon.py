"""The moment of a plan as transaction ids: which rows were written before it, which since."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from syncline.connectors.postgres.reading import sql

if TYPE_CHECKING:
    from syncline.connectors.postgres.connection import Session

__all__ = ["Horizon", "horizon_of"]


@dataclass(frozen=True, kw_only=True)
class Horizon:
    """``settled``: every transaction with a (64-bit) id below is finished, and its rows are visible to all later
    snapshots. ``next``: no id from here on was given out. ``system``: whose ids these are; None where the server does
    not say."""

    settled: int
    next: int
    system: str | None

    def continues(self, position: Mapping[str, Any]) -> bool:
        """Whether the horizon in ``position`` is one of this server's past: ids of another server, or of one that was
        restored from a dump, mean nothing here."""
        last, system = position.get("horizon"), position.get("system")
        return last is not None and int(last) <= self.next and (system is None or system == self.system)

    @property
    def stranger_note(self) -> str:
        return (
            "the server is not the one of the last run (or was restored): rows around the last position are read again"
        )

    def to_json(self) -> dict[str, Any]:
        return {"horizon": self.settled, "system": self.system}


def horizon_of(session: Session) -> Horizon:
    """Of the session's present snapshot."""
    row = session.execute(sql.SNAPSHOT.encode()).fetchone()
    assert row is not None
    allowed = session.execute(sql.SYSTEM_RIGHT.encode()).fetchone()
    system = session.execute(sql.SYSTEM.encode()).fetchone() if allowed and allowed[0] else None
    return Horizon(settled=row[0], next=row[1], system=str(system[0]) if system else None)
