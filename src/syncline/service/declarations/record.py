"""What the store remembers of applied documents: which things they made, and how the file said them.

A thing that was changed by other means since is not as the file said it any more: its time of change tells.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from syncline.store import server_values
from syncline.store.database import Transaction

__all__ = ["Noun", "Record", "Remembered"]

Noun = Literal["source", "destination", "connection"]


@dataclass(frozen=True, kw_only=True)
class Remembered:
    """One thing that a document made: its id, when the document changed it last, and what the file said."""

    id: UUID
    updated_at: str
    written: Mapping[str, Any]


@dataclass(kw_only=True)
class Record:
    """Of one workspace, by noun and name."""

    workspace_id: UUID
    known: dict[Noun, dict[str, Remembered]] = field(
        default_factory=lambda: {"source": {}, "destination": {}, "connection": {}}
    )

    @classmethod
    def load(cls, transaction: Transaction, workspace_id: UUID) -> Record:
        found = cls(workspace_id=workspace_id)
        stored: dict[Noun, Any] = server_values.find(transaction, _name(workspace_id)) or {}
        for noun, things in stored.items():
            for name, each in things.items():
                found.known[noun][name] = Remembered(
                    id=UUID(each["id"]), updated_at=each["updated_at"], written=each["written"]
                )
        return found

    def save(self, transaction: Transaction) -> None:
        value = {
            noun: {
                name: {"id": str(each.id), "updated_at": each.updated_at, "written": dict(each.written)}
                for name, each in things.items()
            }
            for noun, things in self.known.items()
        }
        server_values.put(transaction, _name(self.workspace_id), value)

    def remember(self, noun: Noun, name: str, row_id: UUID, updated_at: datetime, written: Mapping[str, Any]) -> None:
        self.known[noun][name] = Remembered(id=row_id, updated_at=updated_at.isoformat(), written=written)

    def forget(self, noun: Noun, name: str) -> None:
        self.known[noun].pop(name, None)

    def written(self, noun: Noun, row_id: UUID, updated_at: datetime) -> Mapping[str, Any] | None:
        """What the file said of a thing, if it is still so."""
        for each in self.known[noun].values():
            if each.id == row_id and each.updated_at == updated_at.isoformat():
                return each.written
        return None


def _name(workspace_id: UUID) -> str:
    return f"declared:{workspace_id}"
