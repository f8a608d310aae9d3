"""Our own tables in one schema of the destination: how they are made, and which rows in them are one stream's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from syncline.connectors.postgres.reading.statement import TableName, commas, run
from syncline.connectors.postgres.writing.ledger_tables import LATER_COLUMNS, LEDGER_TABLES
from syncline.connectors.postgres.writing.names import StreamPlace

if TYPE_CHECKING:
    from syncline.connectors.postgres.connection import Session

__all__ = ["OwnTables"]

#: Advisory lock under which our tables are made; any constant ("sync" in ASCII).
_MAKING = 0x73796E63


class OwnTables:
    """Our tables in one schema, as one stream of one connection sees them. The session is given to each call."""

    def __init__(self, place: StreamPlace) -> None:
        self.place = place
        self.schema = place.table.schema
        self._tables = dict(
            zip(
                ("table", "staged", "quarantine", "staged_quarantine"),
                (TableName(schema=self.schema, name=name) for name in LEDGER_TABLES),
                strict=True,
            )
        )
        #: The ledger itself.
        self.table = self._tables["table"]
        self._seen = False
        #: What every row of the stream has in its first three columns.
        self.where = {
            "connection": place.connection,
            "namespace": place.stream.namespace or "",
            "name": place.stream.name,
        }

    def missing(self, session: Session) -> list[str]:
        """Which of our tables are not there; ["schema"] when their schema is not."""
        row = run(
            session,
            """
            SELECT n.oid IS NOT NULL, ARRAY(SELECT relname::text FROM pg_class WHERE relnamespace = n.oid
                                            AND relname IN ({tables}))
            FROM (SELECT 1) one
            LEFT JOIN pg_namespace n ON n.nspname = {schema}
            """,
            schema=self.schema,
            tables=commas(sql.Literal(name) for name in LEDGER_TABLES),
        ).fetchone()
        assert row is not None
        return [name for name in LEDGER_TABLES if name not in row[1]] if row[0] else ["schema"]

    def exists(self, session: Session) -> bool:
        """Whether our tables are all there."""
        self._seen = self._seen or not self.missing(session)
        return self._seen

    def make(self, session: Session) -> None:
        """Make the schema and our tables where they are missing. Does nothing, and needs no right, where they are."""
        missing = self.missing(session)
        if not missing:
            self._add_later_columns(session)
            return
        with session.transaction():
            run(session, "SELECT pg_advisory_xact_lock({key})", key=_MAKING)
            missing = self.missing(session)
            if missing == ["schema"]:
                run(session, "CREATE SCHEMA {schema}", schema=sql.Identifier(self.schema))
                missing = list(LEDGER_TABLES)
            for name, ddl in LEDGER_TABLES.items():
                if name in missing:
                    run(session, ddl, table=TableName(schema=self.schema, name=name))

    def _add_later_columns(self, session: Session) -> None:
        rows = run(
            session,
            """
            SELECT c.relname::text, a.attname::text
            FROM pg_class c
            JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = {schema}
            JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
            WHERE c.relname IN ({tables})
            """,
            schema=self.schema,
            tables=commas(sql.Literal(name) for name in LEDGER_TABLES),
        ).fetchall()
        for name, column in LATER_COLUMNS:
            if (name, column) not in rows:
                run(
                    session,
                    "ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {column} text",
                    table=TableName(schema=self.schema, name=name),
                    column=sql.Identifier(column),
                )

    def run(self, session: Session, template: Any, **parts: Any) -> psycopg.Cursor[tuple[Any, ...]]:
        """A statement over ``{table}``, ``{staged}``, ``{quarantine}``, ``{staged_quarantine}``; ``{mine}`` is the
        condition for the stream's own rows."""
        mine = sql.SQL("connection = {} AND stream_namespace = {} AND stream_name = {}").format(
            *(sql.Literal(v) for v in self.where.values())
        )
        return run(session, template, **{**self._tables, "mine": mine, **self.where, **parts})
