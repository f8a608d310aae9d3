"""Incremental reading by a cursor column (``Standard``).

A plan is made in one snapshot of the database: it fixes the greatest cursor value, ``upto``; nothing above it is read
before the next plan. Positions never go back. Three kinds of rows would be missed by "greater than last time":

*Ties.* Rows that come later with the very value at which we stopped. *Late commits.* Rows whose value was given before
the plan, in a transaction that was still open: nothing above the start of the oldest open one is taken as final, where
the database shows it (and ``lookback_window`` reaches back further). *The odd lane.* Rows without a value, and those
with ``infinity`` or ``NaN``, above which nothing could come: they are no position, and are followed apart.

Where rows are merged by key (deduped), all of these are simply looked at again, limited to rows whose present version
was written since the last plan's snapshot: tables know that (``xmin``); views do not and are read again in full there.
Where rows are appended, each must come once: the odd lane and the boundary remember what was delivered (``ties.py``),
and within a lookback window rows wait for the plan by which their transaction is settled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg import sql as compose

from syncline.connectors.postgres.catalog import Relation, Tree
from syncline.connectors.postgres.config import PostgresSourceConfig
from syncline.connectors.postgres.reading.bounds import Condition, any_of, settled, unsettled, where
from syncline.connectors.postgres.reading.cursor_values import CursorValues, can_look_back, cursor_column
from syncline.connectors.postgres.reading.horizon import Horizon
from syncline.connectors.postgres.reading.planning import cut, key_ranges, part_count, relation_name
from syncline.connectors.postgres.reading.ties import Delivered, TieReader
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.partition import Partition
from syncline.core.stream import SelectedStream, SyncMode

if TYPE_CHECKING:
    from syncline.connectors.postgres.connection import Session

__all__ = ["CursorPlanner", "Increment"]

#: From this share of a table on, its increment is cut by key: a row that changes meanwhile is then read once.
_LARGE_SHARE = 0.2
_INDISTINCT = "too many rows without a key share one cursor value to be remembered: they are appended again by each run"


@dataclass(frozen=True, kw_only=True)
class Increment:
    """What is new: its partitions (none: nothing), the position afterwards, and a word to the user."""

    partitions: tuple[Partition, ...]
    end: Mapping[str, Any]
    note: str = ""


class CursorPlanner:
    """Makes one plan for one stream, inside a transaction (REPEATABLE READ) that the caller has begun."""

    def __init__(
        self,
        session: Session,
        config: PostgresSourceConfig,
        relation: Relation,
        tree: Tree,
        selected: SelectedStream,
        horizon: Horizon,
        concurrency: int,
    ) -> None:
        column = cursor_column(relation, selected, config.cursor)
        self._session = session
        self._config = config
        self._relation = relation
        self._tree = tree
        self._horizon = horizon
        self._concurrency = concurrency
        self._values = CursorValues(session, relation, column, config.lookback_window)
        #: Whether each row is delivered once, or as often as it is found.
        self._exact = selected.sync_mode is SyncMode.INCREMENTAL_APPEND
        #: Whether rows know the transaction that wrote them.
        self._versions = relation.relkind in "rp" and not tree.foreign
        #: Whether the horizon alone keeps the last stretch apart.
        self._zoned = self._exact and self._versions and config.lookback_window > 0 and can_look_back(column)
        self._ties = _tie_reader(relation, selected, horizon.settled if self._versions else None)

    # -- plans -----------------------------------------------------------------------------------------------------

    def snapshot(self, *, shared: bool) -> tuple[list[Condition], list[Partition], dict[str, Any]]:
        """For a whole copy: a condition for every partition of the table's cut, partitions besides, and the position
        afterwards. ``shared``: all partitions see the very snapshot of this transaction."""
        upto, floor = self._reach(None)
        odd = self._values.odd()
        if not self._exact:
            # Merged by key later on: what comes while we read may come again.
            return [], [], self._position(upto, floor)
        if self._zoned:
            arms = [[*odd, settled(self._horizon.settled)]]
            zone = None if upto is None else self._values.back(upto)
            if upto is not None and zone is not None:
                arms += self._unfinished(zone, upto, zone)
                arms.append([self._values.between(None, zone)])
            return [any_of(arms)], [], self._position(upto, zone)
        boundary, odd_rows = self._take(upto), self._ties.take(self._session, odd)
        end = self._position(upto, upto, boundary, odd_rows)
        if shared:
            return (
                [any_of([odd, *([] if upto is None else [[self._values.between(None, upto, high_closed=True)]])])],
                [],
                end,
            )
        wanted = [(odd, odd_rows, None)]
        arms = []
        if upto is not None and boundary is not None:
            wanted.append((self._values.at(upto), boundary, None))
            arms = [[self._values.between(None, upto)]]
        more, hashed = self._arms(wanted)
        return [any_of([*arms, *more])], _tie_partitions(hashed), end

    def since(self, position: Mapping[str, Any]) -> Increment:
        """Everything after ``position``."""
        last = self._last(position)
        known = self._versions and self._horizon.continues(position)
        late = [unsettled(int(position["horizon"]))] if known else []
        note = "" if known or not self._versions else self._horizon.stranger_note
        upto, floor = self._reach(last)
        if not self._exact:
            return self._merged(position, last, upto, floor, late, note)
        if self._zoned:
            return self._zoned_append(position, last, upto, late, note)
        return self._append(position, last, upto, note, known=known)

    def _merged(
        self,
        position: Mapping[str, Any],
        last: str | None,
        upto: str | None,
        floor: str | None,
        late: Sequence[Condition],
        note: str,
    ) -> Increment:
        """``late``: what narrows rows that may have been read before to those written since."""
        main = self._main(last, upto, closed=True)
        rows, ranges = self._split(main)
        again: list[list[Condition]] = [[*self._values.odd(), *late]]
        if last is not None:
            low = self._values.back(self._values.least(position.get("floor") or last, last))
            if main and ranges == [main]:
                # One walk over both, as a look whether there are late ones would visit every row that has the value.
                since = [self._values.between(last, None, low_open=True)]
                ranges = [
                    [self._values.between(low, upto, high_closed=True), *([any_of([since, late])] if late else [])]
                ]
            else:
                again.append([self._values.between(low, last, high_closed=True), *late])
        again = [arm for arm in again if self._ties.exists(self._session, arm, None)]
        parts = _partitions(rows, ranges, again)
        return Increment(partitions=parts, end=self._position(upto, floor), note=note)

    def _append(
        self, position: Mapping[str, Any], last: str | None, upto: str | None, note: str, *, known: bool
    ) -> Increment:
        odd = self._values.odd()
        boundary, odd_rows = self._take(upto), self._ties.take(self._session, odd)
        # A position of a plan with a lookback window has the horizon alone.
        settled_then = {"horizon": position["horizon"]} if known else {}
        odd_before = Delivered.from_json(position.get("odd") or settled_then, known=known)
        wanted: list[_Wanted] = [(odd, odd_rows, odd_before)]
        if last is not None:
            before = Delivered.from_json(position.get("ties") or settled_then, known=known)
            if known and (floor := position.get("floor")):
                wanted.append(([self._values.between(floor, last)], None, Delivered(horizon=int(position["horizon"]))))
            wanted.append((self._values.at(last), boundary if upto == last else None, before))
        if upto is not None and upto != last:
            wanted.append((self._values.at(upto), boundary, None))
        if Delivered() in (boundary, odd_rows):
            note = f"{note}; {_INDISTINCT}" if note else _INDISTINCT
        arms, hashed = self._arms(wanted)
        parts = self._window(last, upto, arms, hashed)
        return Increment(partitions=parts, end=self._position(upto, upto, boundary, odd_rows), note=note)

    def _zoned_append(
        self, position: Mapping[str, Any], last: str | None, upto: str | None, late: Sequence[Condition], note: str
    ) -> Increment:
        """Appending with a lookback window: rows in the last stretch wait until their transaction is settled, so that
        the horizon alone tells which of them were delivered."""
        values, final = self._values, settled(self._horizon.settled)
        arms: list[list[Condition]] = [[*values.odd(), *late, final]]
        zone = None if upto is None else values.back(upto)
        if upto is not None and zone is not None:
            if last is not None:
                arms += [[*arm, *late] for arm in self._unfinished(position.get("floor") or last, last, zone)]
                zone = values.greatest(zone, last)
            if upto != last:
                arms.append([values.between(zone, upto, low_open=zone == last, high_closed=True), final])
        arms = [arm for arm in arms if self._ties.exists(self._session, arm, None)]
        parts = self._window(last, zone, arms)
        floor = None if upto is None else values.back(upto)
        return Increment(partitions=parts, end=self._position(upto, floor), note=note)

    # -- pieces ----------------------------------------------------------------------------------------------------

    def _reach(self, last: str | None) -> tuple[str | None, str | None]:
        """The greatest value to read now, and the value from which on rows may still come late. Never below
        ``last``."""
        newest = self._values.newest()
        bound = self._values.oldest_open()
        if self._exact and bound is not None:
            newest = self._values.newest(bound)
        if newest is None:
            return last, last
        upto = newest if last is None else self._values.greatest(newest, last)
        return upto, upto if bound is None else self._values.least(bound, upto)

    def _take(self, upto: str | None) -> Delivered | None:
        return None if upto is None else self._ties.take(self._session, self._values.at(upto))

    def _unfinished(self, low: str, high: str, zone: str) -> list[list[Condition]]:
        """``low`` to ``high``, both inside; from ``zone`` on only what is settled."""
        zone = self._values.greatest(zone, low)
        arms = [[self._values.between(zone, high, high_closed=True), settled(self._horizon.settled)]]
        if zone != low:
            upper = self._values.least(zone, high)
            arms.append([self._values.between(low, upper, high_closed=upper != zone)])
        return arms

    def _arms(self, wanted: Sequence[_Wanted]) -> tuple[list[list[Condition]], list[dict[str, Any]]]:
        """Conditions of the wanted rows as far as there are any, and what must be compared by hash."""
        arms, hashed = [], []
        for conditions, now, before in wanted:
            if now is not None and now.nothing:
                continue
            arm, copies = self._ties.arms(conditions, now=now, before=before)
            if not self._ties.exists(self._session, arm, copies):
                continue
            if copies:
                hashed.append(copies)
            else:
                arms.append(arm)
        return arms, hashed

    def _window(
        self,
        last: str | None,
        upto: str | None,
        arms: Sequence[Sequence[Condition]],
        hashed: Sequence[Mapping[str, Any]] = (),
    ) -> tuple[Partition, ...]:
        """Partitions for ``last`` to ``upto`` (both outside) and for the arms besides."""
        rows, ranges = self._split(self._main(last, upto))
        return _partitions(rows, ranges, arms, hashed)

    def _main(self, last: str | None, upto: str | None, *, closed: bool = False) -> list[Condition]:
        """``last`` to ``upto``, without ``last``, with ``upto`` if ``closed``; empty where there is nothing between."""
        if upto is None or upto == last:
            return []
        return [self._values.between(last, upto, low_open=last is not None, high_closed=closed)]

    def _split(self, main: list[Condition]) -> tuple[int, list[list[Condition]]]:
        """How many rows the server expects (-1 without ``main``), and a large window in several pieces."""
        if not main:
            return -1, []
        rows = self._rows(main)
        return rows, self._pieces(main, rows)

    def _pieces(self, main: list[Condition], rows: int) -> list[list[Condition]]:
        share = min(rows / self._tree.rows, 1.0) if self._tree.rows > 0 else 0.0
        parts = part_count(self._config, int(share * self._tree.bytes))
        if parts == 1:
            return [main]
        name = self._values.column.name
        if self._relation.readable_key and (share >= _LARGE_SHARE or name not in self._relation.indexed):
            done = cut(self._session, self._config, self._relation, self._tree, self._concurrency)
            return [[*ranges, *main] for ranges in done.ranges]
        if not self._versions:
            return [main]
        pieces = key_ranges(self._session, self._relation, [name], self._tree, parts, *main, share=share)
        return [[piece, *main] for piece in pieces]

    def _rows(self, conditions: Sequence[Condition]) -> int:
        """What the server's planner expects."""
        query = compose.SQL("EXPLAIN (FORMAT JSON) SELECT FROM {}{}").format(
            relation_name(self._relation), where(conditions)
        )
        row = self._session.execute(query).fetchone()
        assert row is not None
        plan = row[0] if isinstance(row[0], list) else json.loads(row[0])
        return int(plan[0]["Plan"]["Plan Rows"])

    # -- positions -------------------------------------------------------------------------------------------------

    def _position(
        self,
        upto: str | None,
        floor: str | None,
        boundary: Delivered | None = None,
        odd: Delivered | None = None,
    ) -> dict[str, Any]:
        column = self._values.column
        found: dict[str, Any] = {"kind": "cursor", "field": column.name, "type": column.field.native, "cursor": upto}
        if floor != upto:
            found["floor"] = floor
        if self._versions:
            found |= self._horizon.to_json()
        if boundary is not None:
            found["ties"] = boundary.to_json()
        if odd is not None:
            found["odd"] = odd.to_json()
        return found

    def _last(self, position: Mapping[str, Any]) -> str | None:
        """The cursor value of a position, after a look whether it is one of this stream."""
        name = self._values.column.name
        if position.get("kind") != "cursor" or position.get("field") != name:
            was = position.get("field") or position.get("kind")
            raise SynclineError(
                ErrorKind.CONFIG,
                f"the position was reached by {was!r}, the stream is to be read by cursor {name!r} now",
                hint=f"set the cursor back, or start over: syncline state reset --stream {self._relation.name}",
                where={"connector": "postgres", "stream": str(self._relation.name)},
            )
        value = position.get("cursor")
        return None if value is None else str(value)


#: Conditions of rows, of which those in the second (None: all) and not in the third (None: none) are wanted.
_Wanted = tuple[list[Condition], Delivered | None, Delivered | None]


def _tie_reader(relation: Relation, selected: SelectedStream, horizon: int | None) -> TieReader:
    key = relation.readable_key or selected.primary_key
    columns = [c for name in key if (c := relation.column(name)) is not None and c.readable]
    if len(columns) != len(key):
        columns = []
    return TieReader(
        table=relation_name(relation),
        columns=selected.stream.schema.names,
        key=tuple(c.name for c in columns),
        casts=tuple(c.cast for c in columns),
        horizon=horizon,
    )


def _partitions(
    rows: int,
    ranges: Sequence[Sequence[Condition]],
    arms: Sequence[Sequence[Condition]],
    hashed: Sequence[Mapping[str, Any]] = (),
) -> tuple[Partition, ...]:
    """One for each range, the arms with the only one or apart, and what is compared by hash."""
    if len(ranges) > 1:
        ranges = [*ranges, [any_of(arms)]] if arms else ranges
    elif together := [*ranges, *arms]:
        ranges = [[any_of(together)]] if len(together) > 1 else together
    return (
        *(
            Partition(id=f"{number:04d}", bounds={"where": [*conditions]}, estimated_rows=max(rows // len(ranges), -1))
            for number, conditions in enumerate(ranges)
        ),
        *_tie_partitions(hashed),
    )


def _tie_partitions(hashed: Sequence[Mapping[str, Any]]) -> list[Partition]:
    return [
        Partition(id=f"ties-{number}", bounds={"where": [], "ties": dict(copies)})
        for number, copies in enumerate(hashed)
    ]
