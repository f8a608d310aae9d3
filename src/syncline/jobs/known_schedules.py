"""The connections that run by themselves, kept in memory: of a thousand, only the changed ones are read again."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from syncline.store import connections
from syncline.store.database import Transaction
from syncline.store.values import ScheduledConnection

__all__ = ["KnownSchedules"]

#: More than these are read all together, in one statement without their names.
_FEW = 500


class KnownSchedules:
    """Used by one thread."""

    def __init__(self) -> None:
        self._known: dict[UUID, ScheduledConnection] = {}

    def refreshed(self, tx: Transaction) -> Mapping[UUID, ScheduledConnection]:
        """Every active connection with a schedule as it stands now. The values of those that have not changed are the
        very same as the last time."""
        stamps = connections.scheduled_stamps(tx)
        changed = [i for i, at in stamps.items() if i not in self._known or self._known[i].updated_at != at]
        fresh: dict[UUID, ScheduledConnection] = {}
        if changed:
            read = connections.scheduled(tx, changed if len(changed) <= _FEW else None)
            fresh = {each.id: each for each in read}
        # In the order of the store, which is that of all lists of connections.
        self._known = {i: found for i in stamps if (found := fresh.get(i) or self._known.get(i)) is not None}
        return self._known
