"""Values of a cursor column: compared, moved and found by the server, kept as its own text.

So that every type and every value works alike (infinity, BC, NaN, collations), nothing is parsed here but integers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from psycopg import sql as compose

from syncline.connectors.postgres.catalog import Column, Relation
from syncline.connectors.postgres.reading import sql
from syncline.connectors.postgres.reading.bounds import Condition, any_of, is_not_null, is_null, key_range, where
from syncline.connectors.postgres.reading.planning import relation_name
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.stream import SelectedStream

if TYPE_CHECKING:
    from syncline.connectors.postgres.connection import Session

__all__ = ["CursorValues", "can_look_back", "cursor_column"]

#: Half the range of each, None: from zero on.
_INTEGERS = {"int2": 2**15, "int4": 2**31, "int8": 2**63, "oid": None}
_MOMENTS = frozenset({"timestamp", "timestamptz", "date"})
_NUMBERS = frozenset({"numeric", "float4", "float8", *_INTEGERS})
#: Types that can be a cursor: later values are greater, or can be.
_TYPES = _MOMENTS | _NUMBERS | {"bpchar", "pg_lsn", "text", "time", "uuid", "varchar", "xid8"}


def cursor_column(relation: Relation, selected: SelectedStream, preferred: Sequence[str] = ()) -> Column:
    """The cursor column of the stream. Raises ``config`` when there is none, or it cannot be one."""
    candidates = relation.cursor_candidates(preferred)
    name = selected.cursor_field or (selected.stream.cursor_fields or candidates or ("",))[0]
    column = relation.column(name)
    if column is not None and column.readable and column.type_name in _TYPES:
        return column
    if not name:
        message = f"{relation.name} has no column that could be a cursor"
    elif column is None or not column.readable:
        message = f"{relation.name} has no column {name!r} that could be its cursor"
    else:
        message = f"column {name!r} of {relation.name} is {column.field.native}, which has no order in time"
    listed = ", ".join(candidates[:5])
    raise SynclineError(
        ErrorKind.CONFIG,
        message,
        hint=f"set cursor to one of: {listed}" if listed else "use full_refresh, or replication_method Xmin for tables",
        where={"connector": "postgres", "stream": str(relation.name)},
    )


def can_look_back(column: Column) -> bool:
    """Whether a lookback window means something for the type."""
    return column.type_name in _MOMENTS | _NUMBERS


class CursorValues:
    """The cursor column of one relation in one session."""

    def __init__(self, session: Session, relation: Relation, column: Column, lookback: float) -> None:
        self.column = column
        self._session = session
        self._table = relation_name(relation)
        self._lookback = lookback if can_look_back(column) else 0.0

    # -- conditions ------------------------------------------------------------------------------------------------

    def between(
        self, low: str | None, high: str | None, *, low_open: bool = False, high_closed: bool = False
    ) -> Condition:
        """Values from ``low`` (itself inside unless open) to ``high`` (outside unless closed); None: no such limit."""
        return key_range(
            [self.column.name],
            [self.column.cast],
            low=None if low is None else [low],
            high=None if high is None else [high],
            low_open=low_open,
            high_closed=high_closed,
        )

    def at(self, value: str) -> list[Condition]:
        return [self.between(value, value, high_closed=True)]

    def odd(self) -> list[Condition]:
        """Rows without a value, or with one above which nothing can come."""
        arms: list[list[Condition]] = [[is_null(self.column.name)]] if self.column.field.nullable else []
        if self._top:
            arms.append([self.between(self._top, None)])
        return [any_of(arms)]

    # -- values ----------------------------------------------------------------------------------------------------

    def newest(self, bound: str | None = None) -> str | None:
        """The greatest ordinary value, not above ``bound``. Read from the end of an index where there is one."""
        name = compose.Identifier(self.column.name)
        conditions = [is_not_null(self.column.name)]
        if self._top:
            conditions.append(self.between(None, self._top))
        if bound is not None:
            conditions.append(self.between(None, bound, high_closed=True))
        query = compose.SQL(
            "SELECT newest.{name}::pg_catalog.text FROM {table} AS newest{where} ORDER BY newest.{name} DESC LIMIT 1"
        ).format(name=name, table=self._table, where=where(conditions))
        row = self._session.execute(query).fetchone()
        return None if row is None else str(row[0])

    def oldest_open(self) -> str | None:
        """The start of the oldest transaction that may still commit rows, as a value of the cursor; None when there is
        none, or the cursor is no time. Must be asked after the snapshot in which :meth:`newest` was read."""
        if self.column.type_name not in _MOMENTS:
            return None
        row = self._session.execute(sql.OLDEST_WRITER.encode()).fetchone()
        if row is None or row[0] is None:
            return None
        # now(), rounded to fewer decimals, may lie before the transaction's start by half a unit.
        unit = 0.0 if self.column.moment_digits >= 6 else 10.0**-self.column.moment_digits
        moment = compose.SQL("({}::pg_catalog.timestamptz - pg_catalog.make_interval(secs => {}))").format(
            compose.Literal(row[0]), compose.Literal(unit)
        )
        if self.column.type_name != "timestamptz":
            # Local time: taken to be in the zone that the server gives to sessions.
            moment = compose.SQL(
                "({} AT TIME ZONE (SELECT reset_val FROM pg_catalog.pg_settings WHERE name = 'TimeZone'))"
            ).format(moment)
        return self._one(compose.SQL("{}::{}").format(moment, compose.SQL(self.column.cast)))

    def back(self, value: str) -> str:
        """``value`` less the lookback window."""
        kind = self.column.type_name
        if not self._lookback:
            return value
        if kind in _INTEGERS:
            half = _INTEGERS[kind]
            return str(max(int(value) - math.ceil(self._lookback), -half if half else 0))
        literal, cast = self._literal(value), compose.SQL(self.column.cast)
        if kind not in _MOMENTS:
            steps: compose.Composable = compose.Literal(self._lookback)
            return self._one(compose.SQL("({} - {}::{})::{}").format(literal, steps, cast, cast))
        if kind == "date":
            steps = compose.Literal(math.ceil(self._lookback / 86400))
        else:
            steps = compose.SQL("pg_catalog.make_interval(secs => {})").format(compose.Literal(self._lookback))
        # Near the beginning of time there is nothing to go back to.
        query = compose.SQL("CASE WHEN {value} < {floor} THEN {value} ELSE ({value} - {steps})::{cast} END")
        return self._one(query.format(value=literal, floor=self._literal("0001-02-01"), steps=steps, cast=cast))

    def greatest(self, one: str, other: str) -> str:
        return self._either("GREATEST", one, other)

    def least(self, one: str, other: str) -> str:
        return self._either("LEAST", one, other)

    # -- within ----------------------------------------------------------------------------------------------------

    @property
    def _top(self) -> str | None:
        """The least value above which nothing can come; None when the type has none."""
        kind = self.column.type_name
        if kind in _MOMENTS:
            return "infinity"
        if kind in ("float4", "float8"):
            return "Infinity"
        if kind == "numeric":
            return "Infinity" if self._session.info.server_version >= 140000 else "NaN"
        return None

    def _either(self, function: str, one: str, other: str) -> str:
        if one == other:
            return one
        return self._one(compose.SQL(function + "({}, {})").format(self._literal(one), self._literal(other)))

    def _literal(self, value: str) -> compose.Composable:
        return compose.SQL("{}::{}").format(compose.Literal(value), compose.SQL(self.column.cast))

    def _one(self, value: compose.Composable) -> str:
        row = self._session.execute(compose.SQL("SELECT ({})::pg_catalog.text").format(value)).fetchone()
        assert row is not None
        return str(row[0])
