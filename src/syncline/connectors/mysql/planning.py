"""Cutting a table into ranges of its primary key, each read in a session and a moment of its own."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from syncline.connectors.mysql.connection import Session
from syncline.connectors.mysql.keys import asked, at_or_after, kept, orderable
from syncline.connectors.mysql.sql import quoted, table_name
from syncline.core.partition import Partition
from syncline.core.schema import Field
from syncline.core.stream import SelectedStream

__all__ = ["key_fields", "partitions", "plan_id"]


def plan_id() -> str:
    return uuid.uuid4().hex[:12]


def key_fields(selected: SelectedStream) -> tuple[Field, ...]:
    """The table's own primary key; empty when there is none or when its order cannot be written as a condition."""
    names = selected.stream.primary_key
    known = {f.name: f for f in selected.stream.schema.fields}
    if not names or not all(n in known and orderable(known[n]) for n in names):
        return ()
    return tuple(known[n] for n in names)


def partitions(
    session: Session, selected: SelectedStream, *, rows: int, more: Mapping[str, Any] | None = None
) -> tuple[Partition, ...]:
    """The stream in ranges of about ``rows`` rows; one whole for a table without a usable key. ``more`` are further
    bounds of each."""
    key = key_fields(selected)
    cuts = _cuts(session, selected, key, rows) if key else []
    bounds = [None, *cuts, None]
    return tuple(
        Partition(
            id=f"range-{number:05d}",
            bounds={"low": low, "high": high, **(more or {})},
            estimated_rows=rows if cuts else selected.stream.estimated_rows,
        )
        for number, (low, high) in enumerate(itertools.pairwise(bounds))
    )


def _cuts(session: Session, selected: SelectedStream, key: Sequence[Field], rows: int) -> list[list[str]]:
    """First keys of all ranges but the first."""
    name = str(selected.name)
    table = table_name(selected.name)
    columns = ", ".join(asked(f) for f in key)
    order = ", ".join(quoted(f.name) for f in key)
    if len(key) == 1 and (dense := _dense(session, selected, key[0], rows)) is not None:
        return dense
    cuts: list[list[str]] = []
    while True:
        where = f"WHERE {at_or_after(key, cuts[-1])}" if cuts else ""
        found = session.rows(
            f"""
            SELECT {columns}
            FROM {table}
            {where}
            ORDER BY {order}
            LIMIT 1 OFFSET {rows}
            """,
            stream=name,
        )
        if not found:
            return cuts
        cuts.append([str(kept(f, cell)) for f, cell in zip(key, found[0], strict=True)])


def _dense(session: Session, selected: SelectedStream, key: Field, rows: int) -> list[list[str]] | None:
    """Numbers without great gaps are divided without looking at the rows between."""
    if not (key.native or "").partition("(")[0].partition(" ")[0].endswith("int"):
        return None
    column = quoted(key.name)
    found = session.texts(f"SELECT MIN({column}), MAX({column}) FROM {table_name(selected.name)}")
    low, high = found[0]
    if low is None or high is None:
        return []
    first, last = int(low), int(high)
    if last - first < rows:
        return []
    estimated = max(selected.stream.estimated_rows, 1)
    if last - first + 1 > 3 * estimated:
        return None
    return [[str(cut)] for cut in range(first + rows, last + 1, rows)]
