"""One stream's table as changes are applied to it: its columns, and the statements for it in two forms, with ``$1`` …
for a single row, and for the rows of a stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from psycopg import sql

from syncline.connectors.postgres.copy.encode import BatchCoder
from syncline.connectors.postgres.reading.statement import TableName, commas, identifiers, statement, trusted
from syncline.connectors.postgres.writing.ledger import Ledger
from syncline.connectors.postgres.writing.loading import LoadColumn
from syncline.connectors.postgres.writing.relation import Relation
from syncline.core.checkpoint import StreamTarget
from syncline.sdk.collapse import DELETED_AT, MARKS

if TYPE_CHECKING:
    from syncline.connectors.postgres.connection import Session

__all__ = ["ChangeTable"]


@dataclass(frozen=True, kw_only=True)
class ChangeTable:
    """``columns`` are those of ``target.schema``, in its order; ``asked`` is the target with the metadata columns that
    somebody else's table may lack. ``ours``: this stream made the table. ``gone``: columns that the stream no longer
    has, NULL in rows that are written anew."""

    asked: StreamTarget
    target: StreamTarget
    ledger: Ledger
    relation: Relation
    ours: bool
    columns: tuple[LoadColumn, ...]
    gone: tuple[str, ...]
    utf8: bool
    session: Session  # quotes names as its server wants them
    _updates: dict[tuple[int, ...], bytes] = field(default_factory=dict, compare=False)

    @property
    def table(self) -> TableName:
        return self.relation.table

    @cached_property
    def key(self) -> tuple[int, ...]:
        """Places of the key among the columns."""
        names = self.target.schema.names
        return tuple(names.index(k) for k in self.target.primary_key)

    @cached_property
    def names(self) -> tuple[str, ...]:
        return self.target.schema.names

    @cached_property
    def marks(self) -> tuple[int, ...]:
        """Places of the columns that a soft deletion writes."""
        return tuple(i for i, name in enumerate(self.names) if name in MARKS and i not in self.key)

    @property
    def deleted(self) -> str | None:
        """The column that says that a row was deleted."""
        return next((name for name in DELETED_AT if name in self.names), None)

    @cached_property
    def sure(self) -> bool:
        """Whether the server takes whatever can be encoded."""
        return self.ours and self.utf8 and all(c.sure for c in self.columns)

    @cached_property
    def plain(self) -> bool:
        """Whether every column goes as it is, without a cast at the server."""
        return not any(c.cast for c in self.columns)

    @cached_property
    def coder(self) -> BatchCoder:
        """For all columns."""
        return BatchCoder([c.encode for c in self.columns])

    @cached_property
    def key_columns(self) -> tuple[LoadColumn, ...]:
        return tuple(self.columns[place] for place in self.key)

    @cached_property
    def key_coder(self) -> BatchCoder:
        """For the key's columns alone."""
        return BatchCoder([c.encode for c in self.key_columns])

    # -- for one row -----------------------------------------------------------------------------------------------

    @cached_property
    def insert_one(self) -> bytes:
        return self._text(
            statement(
                "INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE VALUES ({values})",
                table=self.table,
                columns=identifiers(self.names),
                values=_parameters(len(self.columns)),
            )
        )

    @cached_property
    def upsert_one(self) -> bytes:
        return self._text(
            statement(
                """
                INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE VALUES ({values})
                ON CONFLICT ({key}) DO {action}
                """,
                table=self.table,
                columns=identifiers(self.names),
                values=_parameters(len(self.columns)),
                key=identifiers(self.target.primary_key),
                action=self._action(),
            )
        )

    @cached_property
    def delete_one(self) -> bytes:
        return self._text(statement("DELETE FROM {table} t WHERE {same}", table=self.table, same=self._same()))

    def update_one(self, said: tuple[int, ...]) -> bytes:
        """Write the columns at the places ``said``; parameters are these and then the key."""
        if said not in self._updates:
            self._updates[said] = self._text(
                statement(
                    "UPDATE {table} t SET {sets} WHERE {same}",
                    table=self.table,
                    sets=commas([*self._given(said), *self._forgotten()]),
                    same=self._same(after=len(said)),
                )
            )
        return self._updates[said]

    @cached_property
    def delete_all(self) -> bytes:
        """Not TRUNCATE: readers with an older snapshot would see nothing at all."""
        return self._text(statement("DELETE FROM {table}", table=self.table))

    @cached_property
    def mark_all(self) -> bytes:
        """Every row that is not marked as deleted is, with the marks as parameters."""
        deleted = self.deleted
        assert deleted is not None
        return self._text(
            statement(
                "UPDATE {table} SET {sets} WHERE {deleted} IS NULL",
                table=self.table,
                sets=commas(self._given(self.marks)),
                deleted=sql.Identifier(deleted),
            )
        )

    # -- for the rows of a stage -----------------------------------------------------------------------------------

    def upsert_staged(self, stage: TableName) -> sql.Composed:
        # In the order of the key, so that the index is walked in order.
        return statement(
            """
            INSERT INTO {table} AS t ({columns}) OVERRIDING SYSTEM VALUE
            SELECT {columns}
            FROM {stage}
            ORDER BY {key}
            ON CONFLICT ({key}) DO {action}
            """,
            table=self.table,
            columns=identifiers(self.names),
            stage=stage,
            key=identifiers(self.target.primary_key),
            action=self._action(),
        )

    def delete_staged(self, stage: TableName) -> sql.Composed:
        return statement(
            "DELETE FROM {table} t USING (SELECT * FROM {stage} ORDER BY {key}) s WHERE {same}",
            table=self.table,
            stage=stage,
            key=identifiers(self.target.primary_key),
            same=self.matches("t", "s"),
        )

    def matches(self, left: str, right: str, names: Sequence[str] | None = None) -> sql.Composed:
        """Equality of the key; ``names`` are those of its columns on the right."""
        key = self.target.primary_key
        return sql.SQL(" AND ").join(
            sql.SQL("{} = {}").format(sql.Identifier(left, a), sql.Identifier(right, b))
            for a, b in zip(key, names or key, strict=True)
        )

    # -- within ----------------------------------------------------------------------------------------------------

    def _given(self, places: Sequence[int]) -> list[sql.Composed]:
        return [
            statement("{c} = {v}", c=sql.Identifier(self.names[place]), v=trusted(f"${number}"))
            for number, place in enumerate(places, start=1)
        ]

    def _same(self, *, after: int = 0) -> sql.Composed:
        return sql.SQL(" AND ").join(
            statement("t.{c} = {v}", c=sql.Identifier(self.names[place]), v=trusted(f"${number}"))
            for number, place in enumerate(self.key, start=after + 1)
        )

    def _text(self, composed: sql.Composed) -> bytes:
        return composed.as_bytes(self.session)

    def _action(self) -> sql.Composable:
        sets = [
            statement("{c} = excluded.{c}", c=sql.Identifier(name))
            for place, name in enumerate(self.names)
            if place not in self.key
        ]
        sets += self._forgotten()
        return sql.SQL("UPDATE SET {}").format(commas(sets)) if sets else sql.SQL("NOTHING")

    def _forgotten(self) -> list[sql.Composed]:
        return [statement("{c} = NULL", c=sql.Identifier(name)) for name in self.gone]


def _parameters(count: int) -> sql.Composed:
    """No casts: the server takes each parameter's type from its column, and an explicit cast would cut a text that is
    too long without a word."""
    return commas(trusted(f"${number}") for number in range(1, count + 1))
