"""A published table as the catalogue has it now: looked up by its oid when the log says that it has another shape.

The log may be read long after the fact, so the catalogue is a witness only: it knows numbers of columns (which no
rename changes), numbers that were dropped, and the value that a column got when it was added.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
from psycopg import sql as compose

from syncline.connectors.postgres.catalog import Shape, shapes
from syncline.connectors.postgres.copy.decode import CopyReader
from syncline.connectors.postgres.copy.layouts import CopyColumn
from syncline.connectors.postgres.reading.transaction import PlanningSession, SessionMaker, catalog_names
from syncline.core.stream import StreamName

if TYPE_CHECKING:
    from syncline.connectors.postgres.connection import Session

__all__ = ["Attribute", "TableNow", "Tables"]

#: Parameters: relation oid.
_TABLE = """
SELECT n.nspname, c.relname, c.relkind::text, c.relpersistence::text
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.oid = %s
"""

#: Every column that the table ever had. A value that was given to the rows there were (atthasmissing) is kept by the
#: table itself, of a partitioned one by its leaves. Parameters: relation oid, twice.
_ATTRIBUTES = """
WITH RECURSIVE tree AS (
    SELECT %s::oid AS oid
    UNION
    SELECT h.inhrelid
    FROM tree
    JOIN pg_catalog.pg_inherits AS h ON h.inhparent = tree.oid
)
SELECT a.attnum,
       a.attname,
       a.atttypid,
       a.atttypmod,
       a.attndims,
       a.attisdropped,
       a.atthasdef OR a.attidentity <> '',
       COALESCE(has_column_privilege(a.attrelid, a.attnum, 'SELECT'), false),
       given.number,
       given.text
FROM pg_catalog.pg_attribute AS a
CROSS JOIN LATERAL (
    SELECT count(DISTINCT m.attmissingval::text) AS number, min((m.attmissingval::text::text[])[1]) AS text
    FROM tree
    JOIN pg_catalog.pg_attribute AS m ON m.attrelid = tree.oid AND m.attname = a.attname
    WHERE m.atthasmissing AND NOT m.attisdropped
) AS given
WHERE a.attrelid = %s AND a.attnum > 0
ORDER BY a.attnum
"""


#: Parameters: array of type oids.
_DELIMITERS = """
SELECT t.oid, e.typdelim::text
FROM pg_catalog.pg_type AS t
LEFT JOIN pg_catalog.pg_type AS b ON b.oid = t.typbasetype
JOIN pg_catalog.pg_type AS e ON e.oid = COALESCE(NULLIF(b.typelem, 0), t.typelem)
WHERE t.oid = ANY (%s) AND e.typdelim <> ','
"""


@dataclass(frozen=True, kw_only=True)
class Attribute:
    """One column, also a dropped one (``name`` is then what the server calls it). ``given``: 1 when the rows that there
    were got ``given_text`` as its value, 0 when they got none that the catalogue still knows, more when partitions
    differ. ``has_default``: with a default, identity or generated."""

    number: int
    name: str
    type_oid: int
    modifier: int
    dimensions: int
    dropped: bool
    has_default: bool
    readable: bool
    given: int
    given_text: str | None


@dataclass(frozen=True, kw_only=True)
class TableNow:
    """The table of an oid, as it is called and shaped now."""

    oid: int
    name: StreamName
    relkind: str
    persistence: str
    attributes: tuple[Attribute, ...]

    def named(self, name: str) -> Attribute | None:
        """The column that has this name now."""
        return next((a for a in self.attributes if a.name == name and not a.dropped), None)

    def numbered(self, number: int) -> Attribute | None:
        return next((a for a in self.attributes if a.number == number), None)


class Tables:
    """Asks the catalogue in a session of its own, opened when first needed. Used by one thread at a time."""

    def __init__(self, maker: SessionMaker) -> None:
        self._config = maker.config
        self._session = PlanningSession(maker)

    def table(self, oid: int) -> TableNow | None:
        """The table of that oid; None when it was dropped."""
        with self._session.use() as session, catalog_names(session, self._config):
            return _table(session, oid)

    def shapes(self, kinds: Sequence[tuple[int, int, int]]) -> list[Shape | None]:
        """How columns of these types travel, as :func:`~syncline.connectors.postgres.catalog.shapes` has it."""
        with self._session.use() as session, catalog_names(session, self._config):
            return shapes(session, kinds)

    def delimiters(self, kinds: Sequence[int]) -> dict[int, str]:
        """Array types whose items are not divided by a comma, with the character that does it."""
        if not kinds:
            return {}
        with self._session.use() as session:
            return dict(session.execute(_DELIMITERS.encode(), [list(kinds)]).fetchall())

    def value(self, text: str, of: Attribute) -> pa.Scalar:
        """The server's text of a value of that column as a cell, exactly as a copy would read it."""
        shape = self.shapes([(of.type_oid, of.modifier, of.dimensions)])[0]
        assert shape is not None  # the column is there, so is its type
        query = compose.SQL("SELECT {}::{}{}").format(
            compose.Literal(text), compose.SQL(shape.cast), compose.SQL(shape.carrier.cast)
        )
        column = CopyColumn(name="value", decoder=shape.carrier.decoder, arrow=shape.carrier.arrow)
        with (
            self._session.use() as session,
            catalog_names(session, self._config),
            CopyReader(session, query, [column]) as reader,
        ):
            found = [decoded.batch.column(0)[0] for decoded in reader]
        return found[0]

    def close(self) -> None:
        self._session.close()


def _table(session: Session, oid: int) -> TableNow | None:
    row = session.execute(_TABLE.encode(), [oid]).fetchone()
    if row is None:
        return None
    return TableNow(
        oid=oid,
        name=StreamName(namespace=row[0], name=row[1]),
        relkind=row[2],
        persistence=row[3],
        attributes=tuple(
            Attribute(
                number=number,
                name=name,
                type_oid=type_oid,
                modifier=modifier,
                dimensions=dimensions,
                dropped=dropped,
                has_default=has_default,
                readable=readable,
                given=given,
                given_text=given_text,
            )
            for (
                number,
                name,
                type_oid,
                modifier,
                dimensions,
                dropped,
                has_default,
                readable,
                given,
                given_text,
            ) in session.execute(_ATTRIBUTES.encode(), [oid, oid])
        ),
    )
