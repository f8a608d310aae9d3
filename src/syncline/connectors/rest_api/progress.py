"""How far a stream has been read: its cursor, and which records stand exactly at it.

APIs give what is *at or after* the cursor, so the last records come again, and with a lookback many more. The state
therefore keeps short digests of the records that may come again; the same record is not given twice, a changed one is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from syncline.connectors.rest_api.cursor import CursorKind, Value
from syncline.connectors.rest_api.paths import getter
from syncline.core.errors import ErrorKind, SynclineError

__all__ = ["Progress"]

#: Of 16 characters each: 160 kB of state at most.
_MOST_DIGESTS = 10_000


class Progress:
    """Of one pass over one stream. Begun from a state, fed with every record, asked for the next state."""

    def __init__(self, kind: CursorKind, field: str, state: Mapping[str, Any], *, to_clock: bool = False) -> None:
        """``to_clock``: everything up to the API's clock is given, also where no record is that new."""
        self.kind, self._to_clock = kind, to_clock
        self._value, self._field = getter(field), field
        under_way = state.get("pass") or {}
        self.cursor = kind.unkept(state.get("cursor"))
        self.low = kind.back(self.cursor, kind.config.lookback) if self.cursor is not None else kind.start()
        self._known = set(state.get("seen") or ())
        self._top = kind.unkept(under_way.get("top"))
        self._met: dict[str, Value | None] = {d: kind.unkept(v) for d, v in under_way.get("met") or ()}
        self._began = kind.unkept(under_way.get("began"))
        self.forgotten = False  #: more records stand at the cursor than are remembered

    def began(self, at: datetime) -> None:
        """The API's clock at the pass's first answer. What changes later may have been read before it changed."""
        if self._began is None and self.kind.is_time:
            self._began = self.kind.moment(at)

    def new(self, record: Any) -> bool:
        """Whether the record was not given before."""
        said = self._value(record)
        try:
            value = self.kind.read(said)
        except (ValueError, TypeError) as error:
            raise SynclineError(
                ErrorKind.DATA,
                f"the cursor {self._field} has the value {str(said)[:60]!r}: {error}",
                hint="set incremental.format to what the API gives, or choose another cursor_field",
            ) from None
        try:
            if value is not None and self.low is not None and value < self.low:  # type: ignore[operator]
                return False
            digest = hashlib.blake2b(bytes(record), digest_size=8).hexdigest()
            if value is not None and (self._top is None or value > self._top):  # type: ignore[operator]
                self._top = value
        except TypeError:
            raise SynclineError(
                ErrorKind.DATA,
                f"the cursor {self._field} is sometimes a number and sometimes a text",
                hint="choose another cursor_field",
            ) from None
        self._met[digest] = value
        if len(self._met) > 4 * _MOST_DIGESTS:
            self._met = self._at_end()
        return digest not in self._known

    def resting(self, at: Value | None = None) -> dict[str, Any]:
        """The state once the pass is over; ``at``: everything up to there was asked for."""
        self.cursor = self._next(at)
        met = self._at_end()
        return {"cursor": self.kind.kept(self.cursor), "seen": sorted(met)}

    def under_way(self, state: Mapping[str, Any], **where: Any) -> dict[str, Any]:
        """The state within the pass: it goes on at ``where``."""
        self._met = self._at_end()  # the cursor only grows: what is left out now never comes back
        met = [[digest, self.kind.kept(value)] for digest, value in self._met.items()]
        now = {"top": self.kind.kept(self._top), "met": met, "began": self.kind.kept(self._began), **where}
        return {**state, "pass": now}

    def _next(self, at: Value | None) -> Value | None:
        top = self._top
        if at is not None and not self._to_clock:
            return at if self._began is None else min(at, self._began)
        if self._to_clock and self._began is not None:
            return self._began if at is None else min(at, self._began)
        if top is None:
            return self.cursor
        if self._began is not None and self._began < top:  # type: ignore[operator]
            top = self._began
        if self.cursor is not None and top < self.cursor:  # type: ignore[operator]
            return self.cursor
        return top

    def _at_end(self) -> dict[str, Value | None]:
        """The records that may come again: those at the next cursor less the lookback, or without a cursor."""
        low = self.kind.back(self._next(None), self.kind.config.lookback)
        found = {d: v for d, v in self._met.items() if v is None or low is None or v >= low}  # type: ignore[operator]
        if len(found) > _MOST_DIGESTS:
            self.forgotten = True
            latest = sorted(found.items(), key=lambda item: (item[1] is None, item[1]))[-_MOST_DIGESTS:]
            found = dict(latest)
        return found
