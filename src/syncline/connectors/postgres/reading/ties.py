"""Exactly once at the boundary: which rows that share one cursor value (or have none) were already delivered.

Needed where rows are appended; where they are merged by key, reading one again does no harm. A :class:`Delivered` is
taken when a plan is made, tells which rows to read now (``inside``), is kept in the position, and tells the next plan
which rows to leave out (``outside``). Rows are remembered by their keys, or by a hash of their text where there is no
key. When they are more than :data:`MOST_REMEMBERED`: by the transaction that wrote them, which tables know and views do
not; then by the greatest key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg import sql as compose

from syncline.connectors.postgres.reading.bounds import Condition, in_set, key_range, settled, unsettled, where

if TYPE_CHECKING:
    from syncline.connectors.postgres.connection import Session

__all__ = ["MOST_REMEMBERED", "Delivered", "TieReader", "tied_rows"]

#: More rows than this would make the position, which every commit writes, larger than some 100 kB.
MOST_REMEMBERED = 1000


@dataclass(frozen=True, kw_only=True)
class Delivered:
    """One of the four is set, or none: then nothing is known and all rows are delivered again."""

    keys: tuple[tuple[str, ...], ...] | None = None
    hashes: Mapping[str, int] | None = None  #: hash of the row's text -> number of such rows
    horizon: int | None = None  #: rows written by transactions below this
    greatest: tuple[str, ...] | None = None  #: rows up to this key

    @property
    def nothing(self) -> bool:
        """No row at all: neither then nor, for the plan that took it, now."""
        return self.keys == () or self.hashes == {}

    def to_json(self) -> dict[str, Any]:
        if self.keys is not None:
            return {"keys": [list(k) for k in self.keys]}
        if self.hashes is not None:
            return {"hashes": dict(self.hashes)}
        if self.horizon is not None:
            return {"horizon": self.horizon}
        return {"greatest": list(self.greatest)} if self.greatest is not None else {}

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | None, *, known: bool) -> Delivered:
        """``known``: whether transaction ids of that time still mean something."""
        data = data or {}
        return cls(
            keys=tuple(tuple(k) for k in data["keys"]) if "keys" in data else None,
            hashes=data.get("hashes"),
            horizon=data.get("horizon") if known else None,
            greatest=tuple(data["greatest"]) if "greatest" in data else None,
        )


@dataclass(frozen=True, kw_only=True)
class TieReader:
    """Takes and compares :class:`Delivered` for one stream. ``key`` and ``casts``: its key columns and their types,
    empty when there is none; ``columns``: all columns that are read; ``horizon``: of the plan's snapshot, None where
    rows do not know who wrote them."""

    table: compose.Composable
    columns: tuple[str, ...]
    key: tuple[str, ...]
    casts: tuple[str, ...]
    horizon: int | None

    def take(self, session: Session, conditions: Sequence[Condition]) -> Delivered:
        """What there is now under ``conditions``, as the session's snapshot sees it."""
        if self.key:
            keys = self._keys(session, conditions, limit=MOST_REMEMBERED + 1)
            if any(part is None for key in keys for part in key):
                return (
                    self._many(session, conditions)
                    if len(keys) > MOST_REMEMBERED
                    else self._hashes(session, conditions)
                )
            if len(keys) <= MOST_REMEMBERED:
                return Delivered(keys=tuple(keys))
            return self._many(session, conditions)
        found = self._hashes(session, conditions)
        if found.hashes is not None and sum(found.hashes.values()) <= MOST_REMEMBERED:
            return found
        return self._many(session, conditions)

    def arms(
        self, conditions: Sequence[Condition], *, now: Delivered | None, before: Delivered | None
    ) -> tuple[list[Condition], dict[str, Any] | None]:
        """Conditions of the rows that are in ``now`` and not in ``before`` (None: no such limit), and where hashes are
        compared the second half of that: bounds for :func:`tied_rows`."""
        found = [*conditions]
        copies: dict[str, Any] = {}
        if now is not None:
            if now.keys is not None:
                already = set(before.keys) if before is not None and before.keys is not None else set()
                found.append(in_set(self.key, self.casts, [k for k in now.keys if k not in already]))
                before = None if before is not None and before.keys is not None else before
            elif now.hashes is not None:
                copies["upto"] = dict(now.hashes)
            elif now.horizon is not None:
                found.append(settled(now.horizon))
            elif now.greatest is not None:
                found.append(key_range(self.key, self.casts, high=now.greatest, high_closed=True))
        if before is not None:
            if before.keys is not None and self.key:
                found.append(in_set(self.key, self.casts, before.keys, outside=True))
            elif before.hashes is not None:
                copies["after"] = dict(before.hashes)
            elif before.horizon is not None and self.horizon is not None:
                found.append(unsettled(before.horizon))
            elif before.greatest is not None and self.key:
                found.append(key_range(self.key, self.casts, low=before.greatest, low_open=True))
        return found, ({"where": found, **copies} if copies else None)

    def exists(self, session: Session, conditions: Sequence[Condition], copies: Mapping[str, Any] | None) -> bool:
        """Whether there is such a row now."""
        rows = (
            tied_rows(self.table, self.columns, copies)
            if copies
            else compose.SQL("{}{}").format(self.table, where(conditions))
        )
        row = session.execute(compose.SQL("SELECT EXISTS (SELECT FROM {})").format(rows)).fetchone()
        assert row is not None
        return bool(row[0])

    def _many(self, session: Session, conditions: Sequence[Condition]) -> Delivered:
        if self.horizon is not None:
            return Delivered(horizon=self.horizon)
        if self.key:
            greatest = self._keys(session, conditions, limit=1, greatest=True)
            if greatest and None not in greatest[0]:
                return Delivered(greatest=greatest[0])
        return Delivered()

    def _keys(
        self, session: Session, conditions: Sequence[Condition], *, limit: int, greatest: bool = False
    ) -> list[tuple[str, ...]]:
        names = [compose.Identifier(c) for c in self.key]
        order = compose.SQL(" ORDER BY {}").format(
            compose.SQL(", ").join(compose.SQL("tied.{} DESC").format(n) for n in names)
        )
        query = compose.SQL("SELECT {} FROM {} AS tied{}{} LIMIT {}").format(
            compose.SQL(", ").join(compose.SQL("tied.{}::pg_catalog.text").format(n) for n in names),
            self.table,
            where(conditions),
            order if greatest else compose.SQL(""),
            compose.Literal(limit),
        )
        return session.execute(query).fetchall()

    def _hashes(self, session: Session, conditions: Sequence[Condition]) -> Delivered:
        query = compose.SQL(
            "SELECT {} AS hash, count(*) FROM (SELECT {} FROM {}{} LIMIT {}) AS tied GROUP BY 1"
        ).format(
            _row_hash(self.columns),
            compose.SQL(", ").join(compose.Identifier(c) for c in self.columns),
            self.table,
            where(conditions),
            compose.Literal(MOST_REMEMBERED + 1),
        )
        return Delivered(hashes=dict(session.execute(query).fetchall()))


def tied_rows(table: compose.Composable, columns: Sequence[str], copies: Mapping[str, Any]) -> compose.Composable:
    """What follows FROM for the rows under ``copies["where"]`` of which, for each text, the first ``after`` are left
    out and no more than ``upto`` are taken (both: hash -> number). Equal rows cannot be told apart, so any will do."""
    number = compose.SQL("(COALESCE(({}::pg_catalog.jsonb ->> _syncline_hash)::pg_catalog.int8, 0))")
    conditions = []
    if "after" in copies:
        conditions.append(compose.SQL("_syncline_copy > ") + number.format(_json(copies["after"])))
    if "upto" in copies:
        conditions.append(compose.SQL("_syncline_copy <= ") + number.format(_json(copies["upto"])))
    return compose.SQL(
        "(SELECT hashed.*, pg_catalog.row_number() OVER (PARTITION BY _syncline_hash) AS _syncline_copy"
        " FROM (SELECT {names}, {hash} AS _syncline_hash FROM {table}{where}) AS hashed) AS tied WHERE {conditions}"
    ).format(
        names=compose.SQL(", ").join(compose.Identifier(c) for c in columns),
        hash=_row_hash(columns),
        table=table,
        where=where(copies["where"]),
        conditions=compose.SQL(" AND ").join(conditions) if conditions else compose.SQL("true"),
    )


def _row_hash(columns: Sequence[str]) -> compose.Composable:
    return compose.SQL("pg_catalog.md5(ROW({})::pg_catalog.text)").format(
        compose.SQL(", ").join(compose.Identifier(c) for c in columns)
    )


def _json(counts: Mapping[str, int]) -> compose.Composable:
    import json

    return compose.Literal(json.dumps(dict(counts)))
