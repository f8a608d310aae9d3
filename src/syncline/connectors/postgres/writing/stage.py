"""The unlogged table in which one partition of APPEND or MERGE waits for its commit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from psycopg import sql

from syncline.connectors.postgres.reading.statement import TableName, commas, run, trusted
from syncline.connectors.postgres.writing.relation import Relation, find_relation

if TYPE_CHECKING:
    from syncline.connectors.postgres.connection import Session

__all__ = ["has_checks", "make_stage"]


def make_stage(
    session: Session,
    stage: TableName,
    like: Relation,
    columns: Sequence[str],
    *,
    constraints: bool,
    more: Sequence[sql.Composable] = (),
    temporary: bool = False,
) -> None:
    """Make the stage with columns typed as the table's, and ``more`` column definitions. ``constraints``: NOT NULL and
    CHECK too, so that a row that the table would refuse is found here, where it can still be put aside. A leftover of a
    dead attempt is replaced."""
    parts: list[sql.Composable] = []
    for name in columns:
        column = like.column(name)
        assert column is not None
        required = sql.SQL(" NOT NULL" if constraints and column.not_null else "")
        parts.append(sql.Identifier(name) + sql.SQL(" ") + trusted(column.type) + required)
    if constraints:
        parts += [trusted(definition) for definition in _checks(session, like, columns)]
    run(
        session,
        # Read once and dropped: the server's own vacuum of it would cost more than it brings, and a DROP in its middle
        # waits for a second (deadlock_timeout).
        "CREATE {kind} TABLE {stage} ({parts}) WITH (autovacuum_enabled = false)",
        kind=sql.SQL("TEMPORARY" if temporary else "UNLOGGED"),
        stage=stage,
        parts=commas([*parts, *more]),
    )


def has_checks(session: Session, stage: TableName) -> bool:
    """Whether the stage has CHECK constraints."""
    relation = find_relation(session, stage)
    return relation is not None and (
        run(
            session,
            "SELECT 1 FROM pg_constraint WHERE conrelid = {oid}::oid AND contype = 'c' LIMIT 1",
            oid=relation.oid,
        ).fetchone()
        is not None
    )


def _checks(session: Session, like: Relation, columns: Sequence[str]) -> list[str]:
    """CHECK constraints that speak of nothing but these columns."""
    rows = run(
        session,
        """
        SELECT pg_get_constraintdef(k.oid),
               ARRAY(SELECT a.attname::text FROM pg_attribute a
                     WHERE a.attrelid = k.conrelid AND a.attnum = ANY (k.conkey))
        FROM pg_constraint k
        WHERE k.conrelid = {oid}::oid AND k.contype = 'c' AND k.conkey IS NOT NULL
        """,
        oid=like.oid,
    ).fetchall()
    return [definition for definition, names in rows if set(names) <= set(columns)]
