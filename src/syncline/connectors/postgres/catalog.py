"""What the database has: relations with their columns, keys and sizes, as plain values.

Read in one short transaction with an empty search path, so that every type's name is qualified. Used by discover,
check, planning, and by every read again, under the table's lock, to see that nothing changed in between.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from syncline.connectors.postgres.reading import sql
from syncline.connectors.postgres.types import Carrier, PgType, carrier_of, resolve
from syncline.core.schema import Field, StreamSchema
from syncline.core.stream import StreamName

if TYPE_CHECKING:
    from syncline.connectors.postgres.connection import Session

__all__ = [
    "KINDS",
    "Column",
    "Relation",
    "Server",
    "Shape",
    "Tree",
    "describe",
    "load_relations",
    "server_of",
    "shapes",
    "tree_of",
]

#: pg_class.relkind -> the word that a stream shows.
KINDS = {
    "r": "table",
    "p": "partitioned table",
    "v": "view",
    "m": "materialized view",
    "f": "foreign table",
}

_INTEGERS = {"int2", "int4", "int8", "oid"}
_MOMENTS = {"timestamp", "timestamptz", "date"}
_OTHER_CURSORS = {"numeric", "uuid", "text", "varchar"}
#: Names that say "when this row last changed".
_CHANGED = frozenset(
    {
        "changed_at",
        "last_modified",
        "last_modified_at",
        "last_updated",
        "last_updated_at",
        "lastmodified",
        "modified",
        "modified_at",
        "modified_on",
        "modifiedat",
        "modifieddate",
        "modify_time",
        "systemmodstamp",
        "update_time",
        "updated",
        "updated_at",
        "updated_on",
        "updatedat",
    }
)
#: Names that say "when it was made": a later change of the row does not move them.
_CREATED = frozenset({"create_time", "created", "created_at", "created_on", "createdat", "insert_time", "inserted_at"})


@dataclass(frozen=True, kw_only=True)
class Server:
    """Version (150004 for 15.4), its text, our role, the database, whether it is a standby, bytes of a page."""

    version: int
    version_text: str
    role: str
    database: str
    standby: bool
    block: int


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A type with its modifier, as the columns that have it travel; see :class:`Column` for the names."""

    carrier: Carrier
    native: str
    type_name: str
    cast: str
    moment_digits: int
    sendable: bool

    def field(self, name: str, *, nullable: bool = True) -> Field:
        return Field(
            name=name,
            type=self.carrier.arrow,
            nullable=nullable,
            native=self.native,
            logical=self.carrier.logical,
        )


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column: as a stream's field, how it is asked for, and its type as a cast target for bounds."""

    field: Field
    carrier: Carrier
    type_name: str  #: typname of the base type, empty when it is not built in
    cast: str  #: the base type without modifiers, qualified, for ``'…'::cast``
    moment_digits: int  #: decimals of the seconds that a timestamp keeps
    readable: bool
    sendable: bool
    generated: str  #: attgenerated: empty, ``s`` stored, ``v`` virtual
    number: int  #: attnum, which no rename changes

    @property
    def name(self) -> str:
        return self.field.name


@dataclass(frozen=True, kw_only=True)
class Relation:
    """One table-like object. ``key`` is the primary key or a unique index on NOT NULL columns, in the index's order;
    ``indexed`` are columns that lead a B-tree."""

    oid: int
    name: StreamName
    relkind: str
    persistence: str
    is_partition: bool
    has_children: bool
    estimated_rows: float
    pages: int
    usable_schema: bool
    readable_table: bool
    filtered: bool  #: row security hides rows from us
    columns: tuple[Column, ...] = ()
    key: tuple[str, ...] = ()
    primary: bool = False
    indexed: frozenset[str] = field(default_factory=frozenset)

    @property
    def kind(self) -> str:
        return KINDS[self.relkind]

    @property
    def logged(self) -> bool:
        """Whether the server's log tells of its changes as those of one table. Of tables that others inherit from it
        tells under the others' names."""
        return self.relkind in "rp" and self.persistence == "p" and not (self.relkind == "r" and self.has_children)

    @property
    def readable(self) -> tuple[Column, ...]:
        return tuple(c for c in self.columns if c.readable)

    @property
    def schema(self) -> StreamSchema:
        return StreamSchema(fields=tuple(c.field for c in self.readable))

    @property
    def readable_key(self) -> tuple[str, ...]:
        """The key, or nothing when a part of it may not be read."""
        names = {c.name for c in self.readable}
        return self.key if names.issuperset(self.key) else ()

    def column(self, name: str) -> Column | None:
        return next((c for c in self.columns if c.name == name), None)

    def cursor_candidates(self, preferred: Sequence[str] = ()) -> tuple[str, ...]:
        """Columns that can be a cursor, best first: the user's choice, then by name, index and type."""

        def rank(column: Column) -> tuple[int, bool, bool, int, bool]:
            name = column.name.lower()
            wish = preferred.index(column.name) if column.name in preferred else len(preferred)
            kind = 0 if column.type_name in ("timestamp", "timestamptz") else 1 if column.type_name in _INTEGERS else 2
            return wish, name not in _CHANGED, column.name not in self.indexed, kind, name in _CREATED

        usable = [c for c in self.readable if c.type_name in _MOMENTS | _INTEGERS]
        usable += [c for c in self.readable if c.name in preferred and c.type_name in _OTHER_CURSORS]
        return tuple(c.name for c in sorted(usable, key=rank))


@dataclass(frozen=True, kw_only=True)
class Tree:
    """Size of a relation with its partitions and inheriting tables. ``pages``: of the longest member; ``rows`` is -1
    when unknown."""

    bytes: int
    pages: int
    rows: int
    foreign: bool
    members: int


def server_of(session: Session) -> Server:
    row = session.execute(sql.SERVER.encode()).fetchone()
    assert row is not None
    version, text, role, database, standby, block = row
    return Server(version=version, version_text=text, role=role, database=database, standby=standby, block=block)


def load_relations(session: Session, schemas: Sequence[str]) -> list[Relation]:
    """All relations of the schemas with columns, keys and indexes; the session must be in a transaction of ours."""
    rows = session.execute(sql.RELATIONS.encode(), [list(schemas)]).fetchall()
    return _complete(session, rows)


def describe(session: Session, name: StreamName, *, indexes: bool = True) -> Relation | None:
    """One relation as it is now, None when there is none of that name. Without ``indexes`` its keys are not asked
    for."""
    rows = session.execute(sql.RELATION.encode(), [name.namespace or "public", name.name]).fetchall()
    found = _complete(session, rows, indexes=indexes)
    return found[0] if found else None


def tree_of(session: Session, relation: Relation, server: Server) -> Tree:
    row = session.execute(sql.TREE.encode(), [relation.oid]).fetchone()
    assert row is not None
    size, longest, rows, foreign, members = row
    return Tree(
        bytes=size, pages=longest // server.block, rows=int(rows) if rows >= 0 else -1, foreign=foreign, members=members
    )


def _complete(session: Session, rows: Sequence[tuple[Any, ...]], *, indexes: bool = True) -> list[Relation]:
    if not rows:
        return []
    oids = [row[0] for row in rows]
    columns = _columns(session, oids)
    keys: dict[int, tuple[tuple[str, ...], bool]] = {}
    indexed: dict[int, set[str]] = {}
    if indexes:
        for oid, primary, names in session.execute(sql.KEYS.encode(), [oids]):
            keys.setdefault(oid, (tuple(names), primary))
        for oid, name in session.execute(sql.INDEXED_COLUMNS.encode(), [oids]):
            indexed.setdefault(oid, set()).add(name)
    found = []
    for row in rows:
        oid, schema, name, relkind, persistence, is_partition, _, tuples, pages, children, usage, readable, filtered = (
            row
        )
        key, primary = keys.get(oid, ((), False))
        if children and relkind == "r":
            key, primary = (), False  # the key of a table says nothing of the rows of tables that inherit from it
        found.append(
            Relation(
                oid=oid,
                name=StreamName(namespace=schema, name=name),
                relkind=relkind,
                persistence=persistence,
                is_partition=is_partition,
                has_children=children,
                estimated_rows=tuples,
                pages=pages,
                usable_schema=usage,
                readable_table=readable,
                filtered=filtered,
                columns=tuple(columns.get(oid, ())),
                key=key,
                primary=primary,
                indexed=frozenset(indexed.get(oid, ())),
            )
        )
    return found


def _columns(session: Session, oids: Sequence[int]) -> dict[int, list[Column]]:
    rows = session.execute(sql.COLUMNS.encode(), [oids]).fetchall()
    found: dict[int, list[Column]] = {}
    for row, shape in zip(rows, shapes(session, [(row[3], row[4], row[5]) for row in rows]), strict=True):
        relation, number, name, _, _, _, not_null, generated, readable = row
        assert shape is not None  # a column's type exists
        found.setdefault(relation, []).append(
            Column(
                field=replace(shape.field(name, nullable=not not_null), identity=f"{relation}.{number}"),
                carrier=shape.carrier,
                type_name=shape.type_name,
                cast=shape.cast,
                moment_digits=shape.moment_digits,
                readable=readable,
                sendable=shape.sendable,
                generated=generated,
                number=number,
            )
        )
    return found


def shapes(session: Session, kinds: Sequence[tuple[int, int, int]]) -> list[Shape | None]:
    """How columns of these types travel, each given as (type oid, modifier, declared dimensions); None for a type that
    does not exist any more. The session is under the catalogue's search path."""
    types = {
        oid: PgType(
            oid=oid,
            schema=schema,
            name=name,
            kind=kind,
            array=array,
            element=element,
            base=base,
            base_modifier=modifier,
            base_dimensions=dimensions,
            sendable=sendable,
        )
        for oid, schema, name, kind, array, element, base, modifier, dimensions, sendable in session.execute(
            sql.TYPES.encode(), [sorted({oid for oid, _, _ in kinds})]
        )
    }
    known = [kind for kind in kinds if kind[0] in types]
    bases = [resolve(types[oid], modifier, dimensions, types) for oid, modifier, dimensions in known]
    printed = [_printed(kind, modifier, types) for kind, modifier, _ in bases]
    wanted = {(oid, modifier) for oid, modifier, _ in printed} | {(kind.oid, -1) for kind, _, _ in bases}
    formatted = {
        (oid, modifier): text
        for oid, modifier, text in session.execute(
            sql.FORMATTED.encode(), [[oid for oid, _ in wanted], [modifier for _, modifier in wanted]]
        )
    }
    found: dict[tuple[int, int, int], Shape] = {}
    for column, (kind, modifier, _), (oid, shown, brackets) in zip(known, bases, printed, strict=True):
        found[column] = Shape(
            carrier=carrier_of(types[column[0]], column[1], column[2], types),
            native=formatted[oid, shown] + brackets,
            type_name=kind.name if kind.schema == "pg_catalog" else "",
            cast=formatted[kind.oid, -1],
            moment_digits=modifier if 0 <= modifier <= 6 else 6,
            sendable=kind.sendable,
        )
    return [found.get(column) for column in kinds]


def _printed(kind: PgType, modifier: int, types: Mapping[int, PgType]) -> tuple[int, int, str]:
    """What ``format_type`` is asked for, and brackets behind: an array of domains is shown as one of their base
    type."""
    if kind.array and types[kind.element].kind == "d":
        item, modifier, _ = resolve(types[kind.element], modifier, 0, types)
        return item.oid, modifier, "[]"
    return kind.oid, modifier, ""
