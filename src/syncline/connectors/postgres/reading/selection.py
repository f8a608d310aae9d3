"""Which relations the configuration lets through."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from syncline.connectors.postgres.catalog import Relation
from syncline.connectors.postgres.config import PostgresSourceConfig
from syncline.connectors.postgres.reading import sql
from syncline.core.errors import ErrorKind, SynclineError, nearest

if TYPE_CHECKING:
    from syncline.connectors.postgres.connection import Session

__all__ = ["ensure_schemas", "selected_relations"]


def ensure_schemas(session: Session, config: PostgresSourceConfig) -> None:
    """Raise ``config`` for a schema that does not exist, with the nearest that does."""
    there = [name for (name,) in session.execute(sql.SCHEMAS.encode())]
    for wanted in config.schemas:
        if wanted not in there:
            near = nearest(wanted, there)
            raise SynclineError(
                ErrorKind.CONFIG,
                f"there is no schema {wanted!r} in the database",
                hint=(f"did you mean {near!r}? " if near else "") + f"there are: {', '.join(there)}",
                where={"connector": "postgres"},
            )


def selected_relations(relations: Sequence[Relation], config: PostgresSourceConfig) -> list[Relation]:
    """The relations that ``tables`` names, or all but partitions when it names none, in name order.

    Raises ``config`` for a name or pattern that fits nothing, with the nearest name there is.
    """
    if not config.tables:
        return [r for r in relations if not r.is_partition]
    found: dict[int, Relation] = {}
    for wanted in config.tables:
        fits = [r for r in relations if _named(r, wanted)]
        if not fits:
            # A pattern means tables; whoever wants single partitions names them.
            fits = [r for r in relations if not r.is_partition and _matches(r, wanted)]
        if not fits:
            raise _unknown(wanted, relations, config)
        found.update((r.oid, r) for r in fits)
    return [r for r in relations if r.oid in found]


def _named(relation: Relation, wanted: str) -> bool:
    return wanted in (relation.name.name, str(relation.name))


def _matches(relation: Relation, pattern: str) -> bool:
    return fnmatchcase(relation.name.name, pattern) or fnmatchcase(str(relation.name), pattern)


def _unknown(wanted: str, relations: Sequence[Relation], config: PostgresSourceConfig) -> SynclineError:
    names = sorted({r.name.name for r in relations} | {str(r.name) for r in relations})
    near = nearest(wanted, names)
    hint = f"did you mean {near!r}? " if near else ""
    schema = wanted.partition(".")[0] if "." in wanted else ""
    if schema and schema not in config.schemas:
        hint += f"add {schema!r} to schemas, or "
    listed = ", ".join(config.schemas)
    return SynclineError(
        ErrorKind.CONFIG,
        f"there is no table {wanted!r} in {'schema' if len(config.schemas) == 1 else 'the schemas'} {listed}",
        hint=f"{hint}list what there is: syncline discover",
        where={"connector": "postgres"},
    )
