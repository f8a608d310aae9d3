"""What a Postgres server says about a relation: columns and their types, kind, size."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from syncline.core.errors import ErrorKind, SynclineError
from syncline.verify.postgres_cells import PostgresType, literal

__all__ = ["Relation", "read_relation"]

Query = Callable[[str], Sequence[tuple[Any, ...]]]


@dataclass(frozen=True, kw_only=True)
class Relation:
    """``natives``: each column's type as the server prints it. ``pages``: of the largest leaf, where rows can be
    addressed by page; 0 where they cannot (views, foreign tables)."""

    columns: Mapping[str, PostgresType]
    natives: Mapping[str, str]
    kind: str
    pages: int
    rows: int


def read_relation(query: Query, schema: str, name: str) -> Relation:
    """Look a table or view up. Raises ``schema`` when it is not there."""
    found = query(
        "SELECT c.oid, c.relkind::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        f"WHERE n.nspname = {literal(schema)} AND c.relname = {literal(name)}"
    )
    if not found:
        raise SynclineError(
            ErrorKind.SCHEMA, f"table {schema}.{name} is not there", hint="run the sync first, or check its name"
        )
    oid, kind = found[0]
    rows = query(
        "SELECT attname, atttypid, format_type(atttypid, atttypmod) FROM pg_attribute "
        f"WHERE attrelid = {oid} AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
    )
    types = _types(query, {int(type_oid) for _, type_oid, _ in rows})
    pages, estimate = _size(query, oid, kind)
    return Relation(
        columns={name: types[int(type_oid)] for name, type_oid, _ in rows},
        natives={name: native for name, _, native in rows},
        kind=kind,
        pages=pages,
        rows=estimate,
    )


def _types(query: Query, wanted: set[int]) -> dict[int, PostgresType]:
    """Types by oid, domains as what they are based on, arrays with their element."""
    raw: dict[int, tuple[Any, ...]] = {}
    missing = set(wanted)
    while missing:
        oids = ", ".join(str(oid) for oid in sorted(missing))
        for row in query(
            "SELECT oid, typname, typtype::text, typbasetype, typelem, typcategory::text FROM pg_type "
            f"WHERE oid IN ({oids})"
        ):
            raw[int(row[0])] = row
        linked = {int(link) for row in raw.values() for link in _links(row)}
        missing = linked - set(raw)

    def resolved(oid: int) -> PostgresType:
        _, name, typtype, base, element, category = raw[oid]
        if typtype == "d":
            return resolved(int(base))
        if category == "A" and element and str(name).startswith("_"):
            return PostgresType(name=name, typtype=typtype, element=resolved(int(element)))
        return PostgresType(name=name, typtype=typtype)

    return {oid: resolved(oid) for oid in wanted}


def _links(row: tuple[Any, ...]) -> list[Any]:
    return [link for link in (row[3], row[4] if row[5] == "A" else 0) if link]


def _size(query: Query, oid: int, kind: str) -> tuple[int, int]:
    """(pages of the largest leaf or 0, estimated rows or -1)."""
    if kind == "p":
        tree = query(
            f"SELECT c.relkind::text, pg_relation_size(c.oid), c.reltuples FROM pg_partition_tree({oid}) t "
            "JOIN pg_class c ON c.oid = t.relid WHERE t.isleaf"
        )
    elif kind in ("r", "m"):
        # Children by inheritance are read with their parent.
        tree = query(
            f"WITH RECURSIVE tree AS (SELECT {oid}::oid AS oid UNION SELECT i.inhrelid FROM pg_inherits i "
            "JOIN tree ON i.inhparent = tree.oid) SELECT c.relkind::text, pg_relation_size(c.oid), c.reltuples "
            "FROM tree JOIN pg_class c ON c.oid = tree.oid"
        )
    else:
        return 0, -1
    if not tree:
        return 0, 0
    known = all(float(tuples) >= 0 for _, _, tuples in tree)
    rows = round(sum(float(tuples) for _, _, tuples in tree)) if known else -1
    if any(leaf not in ("r", "m") for leaf, _, _ in tree):
        return 0, rows
    (block,) = query("SELECT current_setting('block_size')::int")[0]
    return -(-max(int(size) for _, size, _ in tree) // int(block)), rows
