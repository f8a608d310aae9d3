"""Staged rows into tables: appended, or put in the place of those with the same key. SQL for one transaction."""

from __future__ import annotations

from collections.abc import Sequence

from syncline.connectors.bigquery.names import TableName, quote, quoted_list
from syncline.connectors.bigquery.ranges import joined, within
from syncline.connectors.bigquery.tables import ORDER, ColumnPlan
from syncline.connectors.bigquery.types import rank, staged_value
from syncline.connectors.bigquery.warehouse import Script, Warehouse
from syncline.core.checkpoint import Staged, StreamTarget

__all__ = ["append_stage", "deduped", "merge_stages"]

#: Rows of one stage, and stages of one commit, at most: 131,072 commits of a plan have numbers in 64 bits.
_STAGE_ROWS = 1 << 34
_STAGES = 1 << 12


def append_stage(
    script: Script,
    stage: TableName,
    target: StreamTarget,
    table: TableName,
    plan: ColumnPlan,
    order: tuple[int, int] | None,
) -> None:
    """Insert a stage's rows. ``order``: the commit's number and the stage's within it, where the table keeps the order
    of its rows."""
    columns = [plan.names[f.name] for f in target.schema.fields]
    values = _values(target, plan)
    if order is not None:
        columns.append(ORDER)
        commit, number = order
        values.append(f"{(commit * _STAGES + number) * _STAGE_ROWS} + c{len(target.schema.fields)}")
    script.add(
        f"""
        INSERT INTO {table} ({quoted_list(columns)})
        SELECT {", ".join(values)}
        FROM {stage}
        """
    )


def merge_stages(
    script: Script,
    warehouse: Warehouse,
    staged: Sequence[Staged],
    target: StreamTarget,
    table: TableName,
    plan: ColumnPlan,
    *,
    alone: bool,
) -> None:
    """Put the stages' rows in the place of those with the same key.

    Of several staged rows with one key the one with the greatest cursor counts, among equals the last written.
    Partitions of one plan are committed in the order in which they end: a row that this same plan has already brought
    is only replaced by one whose cursor is not smaller. ``alone``: nothing of this plan has been committed yet.
    """
    count = len(target.schema.fields)
    parts = []
    for number, one in enumerate(staged):
        if (name := one.payload["rows"]) is not None:
            columns = ", ".join(f"c{i}" for i in range(count))
            number_of = f"{number * _STAGE_ROWS} + c{count} AS number"
            parts.append(f"SELECT {columns}, {number_of} FROM {warehouse.table_name(name)}")
    if not parts:
        return
    names = [plan.names[n] for n in target.schema.names]
    values = ", ".join(f"{v} AS {quote(n)}" for v, n in zip(_values(target, plan), names, strict=True))
    places = {n: f"c{i}" for i, n in enumerate(target.schema.names)}
    keys = [plan.names[k] for k in target.primary_key]
    same = " AND ".join(f"t.{quote(k)} = s.{quote(k)}" for k in keys)
    first = target.primary_key[0]
    ranges = joined([s.payload["ranges"] for s in staged if s.payload["rows"] is not None])
    pruned = within("t", plan.names[first], plan.types[first], ranges)
    matched = "WHEN MATCHED"
    cursor = target.cursor_field
    if not alone and cursor is not None and cursor not in target.primary_key and "_syncline_sync_id" in plan.names:
        field = target.schema.field(cursor)
        ours, theirs = (rank(field, f"{side}.{quote(plan.names[cursor])}") for side in ("s", "t"))
        matched += (
            f" AND (t.`_syncline_sync_id` IS NULL OR t.`_syncline_sync_id` != s.`_syncline_sync_id` OR {theirs} IS NULL"
            f" OR {ours} >= {theirs})"
        )
    sets = ", ".join(f"{quote(n)} = s.{quote(n)}" for n in names)
    script.add(
        f"""
        MERGE {table} AS t
        USING (
            SELECT {values}
            FROM ({" UNION ALL ".join(parts)})
            WHERE TRUE
            QUALIFY {_newest(target, plan, places, "number")}
        ) AS s
        ON {same}{f" AND {pruned}" if pruned else ""}
        {matched} THEN UPDATE SET {sets}
        WHEN NOT MATCHED THEN INSERT ({quoted_list(names)}) VALUES ({", ".join(f"s.{quote(n)}" for n in names)})
        """
    )


def deduped(target: StreamTarget, hidden: TableName, table: TableName, plan: ColumnPlan, layout: str) -> str:
    """The statement that puts a hidden generation in the place of the visible table, one row per key."""
    places = {n: quote(made) for n, made in plan.names.items()}
    return (
        f"CREATE OR REPLACE TABLE {table}\n{layout}\nAS\n"
        f"SELECT * EXCEPT ({ORDER})\nFROM {hidden}\nWHERE TRUE\nQUALIFY {_newest(target, plan, places, ORDER)}"
    )


def _newest(target: StreamTarget, plan: ColumnPlan, places: dict[str, str], number: str) -> str:
    """Whether a row is the one that counts of those with its key."""
    # BigQuery does not group by floating point numbers.
    keys = [f"CAST({places[k]} AS STRING)" if plan.types[k] == "FLOAT64" else places[k] for k in target.primary_key]
    order = [f"{number} DESC"]
    if target.cursor_field is not None and target.cursor_field in places:
        value = rank(target.schema.field(target.cursor_field), places[target.cursor_field])
        order.insert(0, f"{value} DESC NULLS LAST")
    return f"ROW_NUMBER() OVER (PARTITION BY {', '.join(keys)} ORDER BY {', '.join(order)}) = 1"


def _values(target: StreamTarget, plan: ColumnPlan) -> list[str]:
    return [staged_value(f, plan.types[f.name], f"c{i}") for i, f in enumerate(target.schema.fields)]
