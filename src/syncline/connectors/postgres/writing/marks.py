"""Marks of stages that are whole and not yet committed: written in the transaction of their rows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from psycopg import sql

from syncline.connectors.postgres.reading.statement import commas
from syncline.connectors.postgres.writing.own_tables import OwnTables

if TYPE_CHECKING:
    from syncline.connectors.postgres.connection import Session

__all__ = ["Mark", "Marks"]


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A sealed stage: written in the same transaction as its rows. ``relation`` is the table that has them."""

    partition: str
    generation: int
    sync_id: str
    relation: str
    rows: int
    quarantined: int
    bytes: int
    note: Mapping[str, Any] = field(default_factory=dict)


class Marks:
    """Those of one stream."""

    def __init__(self, tables: OwnTables) -> None:
        self._tables = tables

    def put(self, session: Session, mark: Mark, token: int) -> None:
        """Say that a stage is whole; in its own transaction."""
        self._tables.run(
            session,
            """
            INSERT INTO {staged}
            VALUES ({connection}, {namespace}, {name}, {partition}, {generation}, {sync_id}, {token}, {relation},
                    {rows}, {quarantined}, {bytes}, now(), {note})
            """,
            partition=mark.partition,
            generation=mark.generation,
            sync_id=mark.sync_id,
            token=token,
            relation=mark.relation,
            rows=mark.rows,
            quarantined=mark.quarantined,
            bytes=mark.bytes,
            note=json.dumps(dict(mark.note)) if mark.note else None,
        )

    def all(self, session: Session) -> list[Mark]:
        """Sealed and not committed, of this stream."""
        rows = self._tables.run(
            session,
            """
            SELECT partition_id, generation, sync_id, relation, rows, quarantined, bytes, note
            FROM {staged}
            WHERE {mine}
            ORDER BY partition_id
            """,
        ).fetchall()
        return [
            Mark(
                partition=p,
                generation=g,
                sync_id=s,
                relation=r,
                rows=n,
                quarantined=q,
                bytes=b,
                note=json.loads(note) if note else {},
            )
            for p, g, s, r, n, q, b, note in rows
        ]

    def committed(self, session: Session, partitions: Sequence[str]) -> int:
        """These stages are committed: their quarantined rows become visible, their marks go. Returns how many."""
        if not partitions:
            return 0
        only = commas(sql.Literal(p) for p in partitions)
        self._tables.run(
            session,
            """
            WITH moved AS (DELETE FROM {staged_quarantine} WHERE {mine} AND partition_id IN ({only}) RETURNING *)
            INSERT INTO {quarantine} SELECT * FROM moved
            """,
            only=only,
        )
        return self._tables.run(
            session, "DELETE FROM {staged} WHERE {mine} AND partition_id IN ({only})", only=only
        ).rowcount

    def forget(self, session: Session, *, keep: Iterable[str] = ()) -> None:
        """Sealed stages that nobody will commit, with their quarantined rows."""
        kept = commas(sql.Literal(p) for p in keep)
        others = "WHERE {mine} AND partition_id <> ALL (ARRAY[{kept}]::text[])"
        self._tables.run(session, f"DELETE FROM {{staged}} {others}", kept=kept)
        self._tables.run(session, f"DELETE FROM {{staged_quarantine}} {others}", kept=kept)
