"""The publication: which tables' changes the slot sends. Ours follows the selection; one of the user's is only looked
at.

A table's changes are sent from the moment it is in the publication *as the log saw it*: the part of a transaction that
wrote before ``ALTER PUBLICATION … ADD TABLE`` is never sent, even when it commits later. That is why a copy begins only
when nobody who wrote the table before is still open (see ``joint``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql as compose

from syncline.connectors.postgres.errors import postgres_error
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.stream import StreamName

if TYPE_CHECKING:
    from syncline.connectors.postgres.connection import Session

__all__ = [
    "Publication",
    "creation_statement",
    "drop_publication",
    "ensure_publication",
    "look_at_publication",
    "table_names",
]

#: to_jsonb: columns differ between versions (pubviaroot since 13, pubgencols since 18). Parameters: name.
_PUBLICATION = "SELECT p.oid, to_jsonb(p) FROM pg_catalog.pg_publication AS p WHERE p.pubname = %s"

#: Tables that were added by name, with row filter and column list where the version has them. Parameters: oid.
_MEMBERS = """
SELECT n.nspname, c.relname, to_jsonb(r) -> 'prqual', to_jsonb(r) -> 'prattrs'
FROM pg_catalog.pg_publication_rel AS r
JOIN pg_catalog.pg_class AS c ON c.oid = r.prrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE r.prpubid = %s
ORDER BY 1, 2
"""

#: Everything that is published in the end: of all tables, of schemas, by name. Parameters: name.
_PUBLISHED = "SELECT t.schemaname, t.tablename FROM pg_catalog.pg_publication_tables AS t WHERE t.pubname = %s"


@dataclass(frozen=True, kw_only=True)
class Publication:
    """``members`` were added by name, ``published`` is what it covers in the end. ``filtered`` tables lose rows by a
    WHERE, ``narrowed`` ones columns by a list. ``lacking``: operations that it does not publish. ``via_root``: changes
    of partitions come as the root's. ``generated``: stored generated columns are published."""

    name: str
    all_tables: bool
    members: frozenset[StreamName]
    published: frozenset[StreamName]
    filtered: frozenset[StreamName]
    narrowed: frozenset[StreamName]
    lacking: tuple[str, ...]
    via_root: bool
    generated: bool


def look_at_publication(session: Session, name: str) -> Publication | None:
    """The publication as it is now; None when there is none of that name."""
    row = session.execute(_PUBLICATION.encode(), [name]).fetchone()
    if row is None:
        return None
    oid, facts = row
    members = session.execute(_MEMBERS.encode(), [oid]).fetchall()
    published = session.execute(_PUBLISHED.encode(), [name]).fetchall()
    operations = {"insert": "pubinsert", "update": "pubupdate", "delete": "pubdelete", "truncate": "pubtruncate"}
    return Publication(
        name=name,
        all_tables=facts["puballtables"],
        members=frozenset(StreamName(namespace=m[0], name=m[1]) for m in members),
        published=frozenset(StreamName(namespace=p[0], name=p[1]) for p in published),
        filtered=frozenset(StreamName(namespace=m[0], name=m[1]) for m in members if m[2] is not None),
        narrowed=frozenset(StreamName(namespace=m[0], name=m[1]) for m in members if m[3] is not None),
        lacking=tuple(word for word, column in operations.items() if not facts.get(column, True)),
        via_root=bool(facts.get("pubviaroot")),
        generated=facts.get("pubgencols") in ("s", True),
    )


def table_names(names: Iterable[StreamName]) -> str:
    """``ONLY "public"."a", ONLY "public"."b"``: without ONLY, tables that inherit would be taken too."""
    return ", ".join(f"ONLY {compose.Identifier(n.namespace or 'public', n.name).as_string()}" for n in sorted(names))


def _options(version: int) -> str:
    options = ["publish = 'insert, update, delete, truncate'"]
    if version >= 130000:
        options.append("publish_via_partition_root = true")
    if version >= 180000:
        options.append("publish_generated_columns = stored")
    return f"WITH ({', '.join(options)})"


def creation_statement(name: str, tables: Iterable[StreamName], version: int) -> str:
    """The SQL that makes a publication as we need it."""
    listed = table_names(tables)
    tables_clause = f" FOR TABLE {listed}" if listed else ""
    return f"CREATE PUBLICATION {compose.Identifier(name).as_string()}{tables_clause} {_options(version)}"


def ensure_publication(session: Session, name: str, tables: Sequence[StreamName]) -> list[str]:
    """Make our publication, or let it have exactly these tables, all operations and partitions by their root. Returns
    the statements that were run. ``permission`` with the statement that an owner of the tables may run instead."""
    version = session.info.server_version
    there = look_at_publication(session, name)
    statements: list[str] = []
    quoted = compose.Identifier(name).as_string()
    if there is not None and there.all_tables:
        raise SynclineError(
            ErrorKind.CONFLICT,
            f"publication {name} has the name of ours and is for all tables: somebody else made it",
            hint=f"DROP PUBLICATION {quoted}, or name it in replication_method.publication to have it used as it is",
        )
    if there is None:
        statements.append(creation_statement(name, tables, version))
    else:
        wanted = frozenset(tables)
        if there.lacking or (version >= 130000 and not there.via_root) or (version >= 180000 and not there.generated):
            options = _options(version).removeprefix("WITH ")
            statements.append(f"ALTER PUBLICATION {quoted} SET {options}")
        if there.filtered or there.narrowed:
            statements.append(f"ALTER PUBLICATION {quoted} SET TABLE {table_names(wanted)}")
        else:
            if missing := wanted - there.members:
                statements.append(f"ALTER PUBLICATION {quoted} ADD TABLE {table_names(missing)}")
            if superfluous := there.members - wanted:
                statements.append(f"ALTER PUBLICATION {quoted} DROP TABLE {table_names(superfluous)}")
    for statement in statements:
        _run(session, statement)
    return statements


def _run(session: Session, statement: str) -> None:
    try:
        session.execute(statement.encode())
    except psycopg.errors.InsufficientPrivilege as error:
        raise postgres_error(
            error,
            hint=f"the owner of the tables (or a superuser) may run it: {statement}; then name the publication in "
            "replication_method.publication. To let us do it: GRANT CREATE ON DATABASE, and own the tables",
            role=session.info.user,
        ) from error
    except psycopg.Error as error:
        raise postgres_error(error, hint=f"the statement was: {statement}", role=session.info.user) from error


def drop_publication(session: Session, name: str) -> bool:
    """False when there is none."""
    if look_at_publication(session, name) is None:
        return False
    _run(session, f"DROP PUBLICATION IF EXISTS {compose.Identifier(name).as_string()}")
    return True
