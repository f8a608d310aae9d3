"""Conditions on rows as plain JSON, and the SQL that they stand for.

A partition's ``bounds`` are ``{"where": [condition, …]}``, all of which hold for its rows, and for one that shares an
exported snapshot also ``snapshot`` and ``until`` (seconds since 1970 at which its age is used up). Values are the
server's own text, cast back by the server, so that every type and every value (infinity, BC, NaN) goes there and back
unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from psycopg import sql as compose

__all__ = [
    "FULL_ID",
    "Condition",
    "any_of",
    "in_set",
    "is_not_null",
    "is_null",
    "key_range",
    "literals",
    "pages",
    "settled",
    "shown",
    "unsettled",
    "where",
]

Condition = Mapping[str, Any]


def key_range(
    columns: Sequence[str],
    casts: Sequence[str],
    *,
    low: Sequence[str] | None = None,
    high: Sequence[str] | None = None,
    low_open: bool = False,
    high_closed: bool = False,
) -> Condition:
    """``low <= columns < high``, compared as rows. ``low_open``: ``low`` itself is outside; ``high_closed``: ``high``
    itself is inside."""
    return {
        "op": "range",
        "columns": list(columns),
        "casts": list(casts),
        "low": None if low is None else list(low),
        "high": None if high is None else list(high),
        "low_open": low_open,
        "high_closed": high_closed,
    }


def pages(low: int, high: int | None) -> Condition:
    """Rows that lie in pages ``low`` to ``high`` (without it); to the end for None. Only under one shared snapshot."""
    return {"op": "pages", "low": low, "high": high}


def is_null(column: str) -> Condition:
    return {"op": "null", "column": column}


def is_not_null(column: str) -> Condition:
    return {"op": "not_null", "column": column}


def in_set(
    columns: Sequence[str], casts: Sequence[str], values: Sequence[Sequence[str]], *, outside: bool = False
) -> Condition:
    """Rows whose (never NULL) columns are one of ``values``, or with ``outside`` none of them."""
    return {
        "op": "in",
        "columns": list(columns),
        "casts": list(casts),
        "values": [list(v) for v in values],
        "outside": outside,
    }


def settled(horizon: int) -> Condition:
    """Rows whose present version was written by a transaction with a 64-bit id below ``horizon``."""
    return {"op": "settled", "horizon": horizon}


def unsettled(horizon: int) -> Condition:
    """Rows whose present version was written by ``horizon`` or later (or so long ago that nobody can tell)."""
    return {"op": "unsettled", "horizon": horizon}


def shown(snapshot: str, among: Sequence[int] | None = None) -> Condition:
    """Rows whose present version was written by a transaction that ``snapshot`` (``xmin:xmax:xip``) shows. ``among``:
    the 64-bit ids from its xmin on that it shows, where it does not say so by itself (subtransactions)."""
    return {"op": "shown", "snapshot": snapshot, "among": None if among is None else list(among)}


def any_of(arms: Sequence[Sequence[Condition]]) -> Condition:
    """Rows that fulfil all conditions of at least one arm; none when there are no arms."""
    return {"op": "any", "arms": [list(arm) for arm in arms]}


def where(conditions: Sequence[Condition]) -> compose.Composable:
    """`` WHERE …``, or nothing when there are no conditions."""
    if not conditions:
        return compose.SQL("")
    return compose.SQL(" WHERE ") + compose.SQL(" AND ").join(_one(c) for c in conditions)


def _one(condition: Condition) -> compose.Composable:
    match condition["op"]:
        case "range":
            return _range(condition)
        case "pages":
            return _pages(condition)
        case "null":
            return compose.SQL("{} IS NULL").format(compose.Identifier(condition["column"]))
        case "not_null":
            return compose.SQL("{} IS NOT NULL").format(compose.Identifier(condition["column"]))
        case "in":
            return _in(condition)
        case "settled" | "unsettled":
            return _settled(condition)
        case "shown":
            return _shown(condition)
        case "any" if not condition["arms"]:
            return compose.SQL("false")
        case "any":
            arms = (compose.SQL(" AND ").join(_one(c) for c in arm) for arm in condition["arms"])
            return compose.SQL("({})").format(compose.SQL(" OR ").join(compose.SQL("({})").format(arm) for arm in arms))
        case other:
            raise ValueError(f"unknown condition {other!r}")


def literals(casts: Sequence[str], values: Sequence[str]) -> list[compose.Composable]:
    """Server text as values of their types. Casts come from the catalogue, printed and quoted by ``format_type``."""
    return [
        compose.SQL("{}::{}").format(compose.Literal(value), compose.SQL(cast))
        for cast, value in zip(casts, values, strict=True)
    ]


def _row(parts: Sequence[compose.Composable]) -> compose.Composable:
    """A single value stays bare: the planner knows more about it than about a row of one."""
    return parts[0] if len(parts) == 1 else compose.SQL("({})").format(compose.SQL(", ").join(parts))


def _range(condition: Condition) -> compose.Composable:
    columns = _row([compose.Identifier(c) for c in condition["columns"]])
    parts = []
    for bound, operator in (
        (condition["low"], " > " if condition["low_open"] else " >= "),
        (condition["high"], " <= " if condition["high_closed"] else " < "),
    ):
        if bound is not None:
            parts.append(columns + compose.SQL(operator) + _row(literals(condition["casts"], bound)))
    return compose.SQL("({})").format(compose.SQL(" AND ").join(parts)) if parts else compose.SQL("true")


def _pages(condition: Condition) -> compose.Composable:
    low, high = int(condition["low"]), condition["high"]
    text = f"ctid >= '({low},0)'::pg_catalog.tid"
    if high is not None:
        text += f" AND ctid < '({int(high)},0)'::pg_catalog.tid"
    return compose.SQL(text)


def _in(condition: Condition) -> compose.Composable:
    if not condition["values"]:
        return compose.SQL("true" if condition["outside"] else "false")
    columns = _row([compose.Identifier(c) for c in condition["columns"]])
    values = compose.SQL(", ").join(_row(literals(condition["casts"], v)) for v in condition["values"])
    return compose.SQL("{} {} ({})").format(columns, compose.SQL("NOT IN" if condition["outside"] else "IN"), values)


#: A row keeps the low 32 bits of the id of the transaction that wrote it. What we can see was written before the end of
#: our snapshot, so the distance back from there gives the rest. Subtransactions have ids of their own, above their
#: parent's: below the snapshot's xmin they are finished too. A row written 2^32 transactions ago may look new (it is
#: then read once too often), a new one never looks old. Ids 1 and 2 mark rows of long ago.
FULL_ID = (
    "((SELECT pg_catalog.txid_snapshot_xmax(pg_catalog.txid_current_snapshot()))"
    " - (((SELECT pg_catalog.txid_snapshot_xmax(pg_catalog.txid_current_snapshot()))"
    " - xmin::pg_catalog.text::pg_catalog.int8) & 4294967295))"
)
_ANCIENT = "xmin IN ('1'::pg_catalog.xid, '2'::pg_catalog.xid)"


def _far_back(horizon: int) -> str:
    """True only of rows written before ``horizon``, at a fifth of what FULL_ID costs: most rows need no more. ``age``
    counts 32 bits back from one id for a whole transaction, from the horizon as from a row; beyond their half (2^31,
    less what may run between two looks) it says nothing."""
    low = max(3, horizon & 0xFFFFFFFF)
    distance = f"pg_catalog.txid_snapshot_xmax(pg_catalog.txid_current_snapshot()) - {horizon}"
    return (
        f"pg_catalog.age(xmin) > (SELECT CASE WHEN {distance} BETWEEN 0 AND 2000000000"
        f" THEN pg_catalog.age('{low}'::pg_catalog.xid) ELSE 2147483647 END)"
    )


def _settled(condition: Condition) -> compose.Composable:
    horizon = int(condition["horizon"])
    if condition["op"] == "settled":
        return compose.SQL(f"({_far_back(horizon)} OR {FULL_ID} < {horizon} OR {_ANCIENT})")
    return compose.SQL(f"(NOT {_far_back(horizon)} AND {FULL_ID} >= {horizon} AND NOT {_ANCIENT})")


def _shown(condition: Condition) -> compose.Composable:
    snapshot = compose.Literal(condition["snapshot"])
    xmin = int(condition["snapshot"].split(":")[0])
    if condition["among"] is None:
        later = compose.SQL(f"pg_catalog.txid_visible_in_snapshot({FULL_ID}, {{}}::pg_catalog.txid_snapshot)").format(
            snapshot
        )
    else:
        later = compose.SQL(f"{FULL_ID} = ANY ({{}}::pg_catalog.int8[])").format(
            compose.Literal("{" + ",".join(str(int(x)) for x in condition["among"]) + "}")
        )
    return compose.SQL(f"({_far_back(xmin)} OR {FULL_ID} < {xmin} OR {_ANCIENT} OR ") + later + compose.SQL(")")
