"""What the server says about a table of the destination."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from syncline.connectors.postgres.reading.statement import TableName, run

if TYPE_CHECKING:
    from syncline.connectors.postgres.connection import Session

__all__ = ["Column", "Relation", "find_relation"]

#: pg_class.relkind in words.
KINDS = {
    "r": "table",
    "p": "partitioned table",
    "v": "view",
    "m": "materialized view",
    "f": "foreign table",
    "S": "sequence",
    "i": "index",
    "I": "partitioned index",
    "c": "composite type",
    "t": "TOAST table",
}


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column. ``type`` is the server's own print with every foreign name qualified, fit to go into SQL. ``base`` is
    that of the type below a domain, else the same; ``typtype`` and ``builtin`` speak of the base."""

    name: str
    type: str
    base: str
    typtype: str = "b"
    builtin: bool = True
    not_null: bool = False
    has_default: bool = False
    generated: bool = False


@dataclass(frozen=True, kw_only=True)
class Relation:
    """A table or whatever else has that name. ``owned`` says whether our role is (a member of) its owner."""

    table: TableName
    oid: int
    relkind: str
    owned: bool
    columns: tuple[Column, ...]

    @property
    def kind(self) -> str:
        return KINDS.get(self.relkind, "object")

    def column(self, name: str) -> Column | None:
        return next((c for c in self.columns if c.name == name), None)


def find_relation(session: Session, table: TableName) -> Relation | None:
    """The relation of that name with its columns in order, None when there is none."""
    found = run(
        session,
        """
        SELECT c.oid::int8, c.relkind::text, pg_has_role(c.relowner, 'USAGE')
        FROM pg_class c
        JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = {schema} AND c.relname = {name}
        """,
        schema=table.schema,
        name=table.name,
    ).fetchone()
    if found is None:
        return None
    oid, relkind, owned = found
    # A domain may lie over another; the innermost type decides what goes over the wire.
    rows = run(
        session,
        """
        SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), format_type(base.oid, base.typmod),
               base.typtype::text, base.oid < 16384, a.attnotnull,
               a.atthasdef OR a.attidentity <> '', a.attgenerated <> ''
        FROM pg_attribute a,
             LATERAL (
                 WITH RECURSIVE below(oid, typmod, typtype, nextoid, nexttypmod) AS (
                     SELECT t.oid, a.atttypmod, t.typtype, t.typbasetype, t.typtypmod
                     FROM pg_type t
                     WHERE t.oid = a.atttypid
                     UNION ALL
                     SELECT t.oid, below.nexttypmod, t.typtype, t.typbasetype, t.typtypmod
                     FROM below
                     JOIN pg_type t ON t.oid = below.nextoid
                     WHERE below.typtype = 'd'
                 )
                 SELECT * FROM below WHERE typtype <> 'd'
             ) base
        WHERE a.attrelid = {oid}::oid AND a.attnum > 0 AND NOT a.attisdropped
        ORDER BY a.attnum
        """,
        oid=oid,
    ).fetchall()
    columns = tuple(
        Column(
            name=name,
            type=kind,
            base=base,
            typtype=typtype,
            builtin=builtin,
            not_null=not_null,
            has_default=has_default,
            generated=generated,
        )
        for name, kind, base, typtype, builtin, not_null, has_default, generated in rows
    )
    return Relation(table=table, oid=oid, relkind=relkind, owned=owned, columns=columns)
