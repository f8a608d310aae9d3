"""Incremental reading by the rows' own transaction ids (``Xmin``).

A position is a 64-bit transaction id: every transaction below it was finished when the plan was made. The next plan
reads the rows whose present version was written by it or a later one. Ids in rows are 32 bits wide and are completed
from the snapshot's end, so that a wrap-around of the counter changes nothing; a row that nobody touched for 2^32
transactions may be read once too often.

Limits: each increment looks at the whole table (rows have no index on their transaction); deletes are not seen; a
rewrite that changes versions (ALTER TABLE … TYPE, restore from a dump) brings all rows again. Appended streams take
only what is settled (finished before the oldest transaction that is still open) so that no version comes twice; merged
ones take everything that is visible.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from psycopg import sql as compose

from syncline.connectors.postgres.catalog import Relation, Tree
from syncline.connectors.postgres.reading.bounds import Condition, settled, unsettled, where
from syncline.connectors.postgres.reading.horizon import Horizon
from syncline.connectors.postgres.reading.planning import relation_name
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.stream import SelectedStream, SyncMode

if TYPE_CHECKING:
    from syncline.connectors.postgres.connection import Session

__all__ = ["XminPlanner"]


class XminPlanner:
    """Conditions and positions for one stream. Raises ``config`` for a relation whose rows know no transaction."""

    def __init__(self, relation: Relation, tree: Tree, selected: SelectedStream, horizon: Horizon) -> None:
        if relation.relkind not in "rp" or tree.foreign:
            raise SynclineError(
                ErrorKind.CONFIG,
                f"{relation.name}: rows of a {'foreign table' if tree.foreign else relation.kind} have no xmin",
                hint="read it with full_refresh, or use replication_method Standard with a cursor",
                where={"connector": "postgres", "stream": str(relation.name)},
            )
        self._relation = relation
        self._horizon = horizon
        self._exact = selected.sync_mode is SyncMode.INCREMENTAL_APPEND

    def snapshot(self) -> tuple[list[Condition], dict[str, Any]]:
        """What holds for every partition of a whole copy, and the position afterwards."""
        return self._final(), self._position()

    def since(self, position: Mapping[str, Any]) -> tuple[list[Condition] | None, dict[str, Any], str]:
        """Conditions of an increment, None when nothing can have changed; the position afterwards; a note."""
        if position.get("kind") != "xmin":
            raise SynclineError(
                ErrorKind.CONFIG,
                f"the position was reached by {position.get('kind')!r}, the stream is to be read by xmin now",
                hint=f"set replication_method back, or start over: syncline state reset --stream {self._relation.name}",
                where={"connector": "postgres", "stream": str(self._relation.name)},
            )
        if not self._horizon.continues(position):
            return self._strange()
        last = int(position["horizon"])
        upto = self._horizon.settled if self._exact else self._horizon.next
        if last >= upto:
            return None, dict(position), ""
        return [unsettled(last), *self._final()], self._position(), ""

    def anything(self, session: Session, conditions: list[Condition]) -> bool:
        """Whether there is such a row now."""
        query = compose.SQL("SELECT EXISTS (SELECT FROM {}{})").format(relation_name(self._relation), where(conditions))
        row = session.execute(query).fetchone()
        assert row is not None
        return bool(row[0])

    def _final(self) -> list[Condition]:
        return [settled(self._horizon.settled)] if self._exact else []

    def _position(self) -> dict[str, Any]:
        return {"kind": "xmin", **self._horizon.to_json()}

    def _strange(self) -> tuple[list[Condition], dict[str, Any], str]:
        """Another server's ids mean nothing. Merged by key, reading everything again gives the right result; appended,
        it would double every row, so a person must say what is wanted."""
        if self._exact:
            raise SynclineError(
                ErrorKind.CONFIG,
                "the server is not that of the last run, or was restored: its transaction ids mean something else",
                hint=f"start over with a whole copy: syncline state reset --stream {self._relation.name}",
                where={"connector": "postgres", "stream": str(self._relation.name)},
            )
        return (
            [],
            self._position(),
            self._horizon.stranger_note,
        )
