"""Increments by a cursor column: everything up to its greatest value, and there exactly the rows that were seen.

A position is ``{"cursor": value, "ties": [keys at that value]}``. A later increment takes what lies after, and at the
value itself the rows that are not among the ties; in a deduped mode all rows at the value, because one of them may have
been changed within the same tick of the clock. Without a key the number of rows at the value is kept instead, and they
are read again when it has changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from syncline.connectors.mysql.connection import Session
from syncline.connectors.mysql.keys import asked, equal_to, kept, literal, orderable, same_key
from syncline.connectors.mysql.planning import key_fields
from syncline.connectors.mysql.sql import quoted, table_name
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.schema import Field
from syncline.core.stream import SelectedStream

__all__ = ["CursorPlanner"]

#: More rows than this at one value of the cursor are not told apart by their keys.
_MOST_TIES = 20_000


class CursorPlanner:
    """Asks, within one consistent snapshot that the caller has begun, how far an increment goes."""

    def __init__(self, session: Session, selected: SelectedStream) -> None:
        self._session, self._selected = session, selected
        self._field = _cursor(selected)
        self._key = key_fields(selected)

    def end(self) -> tuple[dict[str, Any], str | None]:
        """The position when all is read up to now, and the condition of the rows before it (None: there are none with
        a cursor value)."""
        column = quoted(self._field.name)
        table = table_name(self._selected.name)
        found = self._session.rows(f"SELECT MAX({column}) FROM {table}", stream=str(self._selected.name))
        top = kept(self._field, found[0][0])
        if top is None:
            return {"cursor": None, "ties": []}, None
        at = equal_to(self._field, top)
        before = f"{column} < {literal(self._field, top)}"
        if self._selected.sync_mode.deduped:
            return {"cursor": top, "ties": None}, f"{before} OR {at}"
        if not self._key:
            count = self._session.texts(f"SELECT COUNT(*) FROM {table} WHERE {at}")[0][0]
            return {"cursor": top, "ties": None, "count": int(count or 0)}, f"{before} OR {at}"
        columns = ", ".join(asked(f) for f in self._key)
        rows = self._session.rows(f"SELECT {columns} FROM {table} WHERE {at} LIMIT {_MOST_TIES + 1}")
        if len(rows) > _MOST_TIES:
            raise SynclineError(
                ErrorKind.CONFIG,
                f"more than {_MOST_TIES} rows have the same {self._field.name} ({top}): which of them are new later "
                "cannot be told",
                hint="use mode: incremental_deduped_history, another cursor, or replication_method: CDC",
                where={"connector": "mysql", "stream": str(self._selected.name)},
            )
        ties = [[str(kept(f, cell)) for f, cell in zip(self._key, row, strict=True)] for row in rows]
        return {"cursor": top, "ties": ties}, f"{before} OR ({at} AND {same_key(self._key, ties)})"

    def after(self, position: Mapping[str, Any]) -> str:
        """The condition of the rows that a position does not cover."""
        column = quoted(self._field.name)
        value = position.get("cursor")
        if value is None:
            return f"{column} IS NOT NULL"
        at, later = equal_to(self._field, value), f"{column} > {literal(self._field, value)}"
        ties = position.get("ties")
        if ties is not None:
            return f"{later} OR ({at} AND NOT {same_key(self._key, ties)})"
        if "count" in position and not self._selected.sync_mode.deduped:
            found = self._session.texts(f"SELECT COUNT(*) FROM {table_name(self._selected.name)} WHERE {at}")[0][0]
            if int(found or 0) == position["count"]:
                return later
        return f"{later} OR {at}"


def _cursor(selected: SelectedStream) -> Field:
    name = selected.cursor_field
    fields = {f.name: f for f in selected.stream.schema.fields}
    field = fields.get(name or "")
    if field is None or not orderable(field):
        reason = "needs a cursor column" if not name else f"cannot use {name} as a cursor"
        if field is None and name:
            reason = f"has no column {name} among those selected, which is its cursor"
        raise SynclineError(
            ErrorKind.CONFIG,
            f"stream {selected.name} {reason}",
            hint="set cursor_field to a number or time that grows with each change, or replication_method: CDC",
            where={"connector": "mysql", "stream": str(selected.name)},
        )
    return field
