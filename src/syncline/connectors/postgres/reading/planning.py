"""Cutting a table into partitions that can be read apart, at different times, by different workers.

With a key: ranges of the key. Every key that exists throughout is in exactly one of them, whatever moves on disk
meanwhile, and each is read in a short transaction of its own. The cuts are quantiles of a sample; the first and last
range are open.

Without a key, a large table: ranges of pages. Rows move between pages, so all ranges must be read from one snapshot,
which the planning session exports and holds; when that session ends, the plan is void.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from psycopg import sql as compose

from syncline.connectors.postgres.catalog import Relation, Tree
from syncline.connectors.postgres.config import PostgresSourceConfig
from syncline.connectors.postgres.reading import sql
from syncline.connectors.postgres.reading.bounds import Condition, is_not_null, key_range, pages, where
from syncline.core.partition import Partition

if TYPE_CHECKING:
    from syncline.connectors.postgres.connection import Session

__all__ = ["Cut", "cut", "key_ranges", "plan_id", "relation_name", "wants_shared_snapshot"]

#: More partitions than this cost more than they give: each is a transaction, a stage and a commit.
_MOST_PARTITIONS = 1000
#: A table up to this many partitions in size is not cut: the planning would take longer than what it gains.
_WHOLE = 1.5
#: Pages looked at per cut, and in all (160 MB): a sample page holds neighbours only, so several are needed for each
#: cut.
_SAMPLE_PAGES_PER_CUT, _MOST_SAMPLE_PAGES = 50, 20_000
#: Below this correlation of key and place, a key range is strewn over the whole table, and each partition reads most of
#: its pages again: partitions are then this many times larger.
_GOOD_CORRELATION, _STREWN_FACTOR = 0.5, 16


@dataclass(frozen=True, kw_only=True)
class Cut:
    """The conditions of each partition (all rows are in exactly one), and a word on how it was done."""

    ranges: tuple[tuple[Condition, ...], ...]
    note: str = ""

    def partitions(
        self, tree: Tree, *also: Condition, prefix: str = "", snapshot: str = "", until: float = 0
    ) -> tuple[Partition, ...]:
        """``also``: conditions that hold for every partition."""
        rows = tree.rows // max(len(self.ranges), 1) if tree.rows >= 0 else -1
        extra = {"snapshot": snapshot, "until": until} if snapshot else {}
        return tuple(
            Partition(id=f"{prefix}{number:04d}", bounds={"where": [*conditions, *also], **extra}, estimated_rows=rows)
            for number, conditions in enumerate(self.ranges)
        )


def plan_id() -> str:
    return uuid.uuid4().hex


def relation_name(relation: Relation) -> compose.Composable:
    return compose.Identifier(relation.name.namespace or "public", relation.name.name)


def part_count(config: PostgresSourceConfig, size: int) -> int:
    """How many partitions a table of ``size`` bytes deserves."""
    if size <= config.partition_bytes * _WHOLE:
        return 1
    return min(-(-size // config.partition_bytes), _MOST_PARTITIONS)


def wants_shared_snapshot(session: Session, config: PostgresSourceConfig, relation: Relation, tree: Tree) -> bool:
    """Whether the table has no key by which to cut it, is large, and can be read by pages (PG 14 and later)."""
    return (
        not relation.readable_key
        and relation.relkind in "rp"
        and relation.readable_table
        and not tree.foreign
        and session.info.server_version >= 140000
        and part_count(config, tree.bytes) > 1
    )


def cut(session: Session, config: PostgresSourceConfig, relation: Relation, tree: Tree, concurrency: int) -> Cut:
    """Key ranges where the relation has a key and is large, else one whole."""
    parts = part_count(config, tree.bytes)
    key = relation.readable_key
    if parts == 1 or not key or relation.relkind not in "rp" or tree.foreign:
        return Cut(ranges=((),))
    note = ""
    if _correlation(session, relation, key[0]) < _GOOD_CORRELATION:
        fewer = max(-(-parts // _STREWN_FACTOR), min(2 * concurrency, parts))
        if fewer < parts:
            note = f"rows do not lie in the order of {key[0]}: {fewer} partitions instead of {parts}"
        parts = fewer
    return Cut(ranges=tuple((r,) for r in key_ranges(session, relation, key, tree, parts)), note=note)


def key_ranges(
    session: Session,
    relation: Relation,
    columns: Sequence[str],
    tree: Tree,
    parts: int,
    *conditions: Condition,
    share: float = 1.0,
) -> list[Condition]:
    """Ranges of ``columns`` that cover every non-NULL value once, about ``parts`` of them, of about equal size.

    ``conditions``: only rows that fulfil these are sampled, ``share`` of the table.
    """
    casts = [column.cast for name in columns if (column := relation.column(name)) is not None]
    cuts = _quantiles(session, relation, columns, tree, parts, conditions, share)
    edges: list[list[str] | None] = [None, *cuts, None]
    return [key_range(columns, casts, low=low, high=high) for low, high in pairwise(edges)]


def page_cut(config: PostgresSourceConfig, tree: Tree) -> Cut:
    """Page ranges for a table without a key. The last is open: rows that came before the snapshot may lie there."""
    parts = part_count(config, tree.bytes)
    step = max(-(-tree.pages // parts), 1)
    starts = list(range(0, max(tree.pages, 1), step))
    return Cut(
        ranges=tuple((pages(start, starts[i + 1] if i + 1 < len(starts) else None),) for i, start in enumerate(starts)),
        note="no key: read from one exported snapshot, which cannot be resumed by a later attempt",
    )


def _quantiles(
    session: Session,
    relation: Relation,
    columns: Sequence[str],
    tree: Tree,
    parts: int,
    conditions: Sequence[Condition],
    share: float,
) -> list[list[str] | None]:
    """At most ``parts - 1`` distinct rows of column values, ascending in the server's order, as text."""
    if parts < 2:
        return []
    wanted = min(max(parts * _SAMPLE_PAGES_PER_CUT, 200), _MOST_SAMPLE_PAGES)
    all_pages = max(tree.pages * max(tree.members, 1), 1)
    percent = 100.0 * wanted / all_pages / max(share, 1e-6)
    sample: compose.Composable = compose.SQL("")
    if percent < 100 and relation.relkind in "rp":
        sample = compose.SQL(" TABLESAMPLE SYSTEM ({})").format(compose.Literal(round(percent, 6)))
    names = [compose.Identifier(c) for c in columns]
    rows = session.execute(
        compose.SQL(
            """
            SELECT {texts}
            FROM (
                SELECT {names},
                       row_number() OVER ordered AS position,
                       count(*) OVER () AS total
                FROM {table}{sample}{where}
                WINDOW ordered AS (ORDER BY {names})
            ) AS sampled
            WHERE (position - 1) * {parts} / total <> (position - 2) * {parts} / total
              AND position > 1
            ORDER BY position
            """
        ).format(
            texts=compose.SQL(", ").join(compose.SQL("{}::pg_catalog.text").format(n) for n in names),
            names=compose.SQL(", ").join(names),
            table=relation_name(relation),
            sample=sample,
            where=where([*conditions, *(is_not_null(c) for c in columns)]),
            parts=compose.Literal(parts),
        )
    ).fetchall()
    cuts: list[list[str] | None] = []
    for row in rows:
        if not cuts or cuts[-1] != list(row):
            cuts.append(list(row))
    return cuts


def _correlation(session: Session, relation: Relation, column: str) -> float:
    """How well the order on disk follows the column: 0 to 1; 1 when it is not known."""
    row = session.execute(sql.STATISTICS.encode(), [relation.name.namespace, relation.name.name, column]).fetchone()
    return 1.0 if row is None or row[0] is None else float(row[0])


def remaining(until: float) -> float:
    """Seconds that are left of a shared snapshot's age."""
    return until - time.time()
