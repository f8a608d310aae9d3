"""Rows that a table cannot hold, in a table of their own beside it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from psycopg import sql

from syncline.connectors.postgres.reading.statement import commas
from syncline.connectors.postgres.writing.own_tables import OwnTables
from syncline.core.batch import QuarantinedRow

if TYPE_CHECKING:
    from syncline.connectors.postgres.connection import Session

__all__ = ["Quarantine"]


class Quarantine:
    """That of one stream."""

    def __init__(self, tables: OwnTables) -> None:
        self._tables = tables

    def put_aside(
        self,
        session: Session,
        rows: Sequence[QuarantinedRow],
        *,
        partition: str,
        generation: int,
        sync_id: str,
        staged: bool = True,
    ) -> None:
        """Rows that the table cannot hold; visible when the stage that they belong to is committed, or with this
        transaction when they belong to none (not ``staged``)."""
        into = (
            "INSERT INTO {staged_quarantine} VALUES {values}" if staged else "INSERT INTO {quarantine} VALUES {values}"
        )
        for start in range(0, len(rows), 500):
            values = sql.SQL(", ").join(
                sql.SQL("({})").format(
                    commas(
                        sql.Literal(v)
                        for v in (
                            *self._tables.where.values(),
                            generation,
                            partition,
                            sync_id,
                            _holdable(row.column),
                            _holdable(row.reason),
                            json.dumps({name: _holdable(text) for name, text in row.record.items()}),
                        )
                    )
                    + sql.SQL(", now(), {}, {}").format(sql.Literal(row.id), sql.Literal(row.original))
                )
                for row in rows[start : start + 500]
            )
            self._tables.run(session, into, values=values)

    def rows(self, session: Session) -> list[tuple[Any, ...]]:
        """The stream's rows as they came: id, generation, partition, sync, column, reason, record, time, original."""
        return self._tables.run(
            session,
            """
            SELECT id, generation, partition_id, sync_id, column_name, reason, record::text,
                   to_char(quarantined_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"'), original
            FROM {quarantine}
            WHERE {mine}
            ORDER BY quarantined_at, ctid
            """,
        ).fetchall()

    def forget(self, session: Session, ids: Sequence[str]) -> int:
        """Remove rows by their ids; returns how many there were."""
        wanted = commas(sql.Literal(i) for i in ids)
        return self._tables.run(
            session, "DELETE FROM {quarantine} WHERE {mine} AND id = ANY (ARRAY[{wanted}]::text[])", wanted=wanted
        ).rowcount

    def forget_generations(self, session: Session, *, before: int | None = None, since: int | None = None) -> None:
        """Quarantined rows of generations that are gone: those before one, or one given up and later ones."""
        self._tables.run(
            session,
            "DELETE FROM {quarantine} WHERE {mine} AND (generation < {before} OR generation >= {since})",
            before=before,
            since=since,
        )


def _holdable(text: str | None) -> str | None:
    """U+0000, which no type of the server holds and no function of its JSON reads, as people write it."""
    return None if text is None else text.replace("\0", "\\u0000")
