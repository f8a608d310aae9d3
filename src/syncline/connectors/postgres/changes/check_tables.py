"""What stands between single tables and their log, said beforehand, each with the statement that mends it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from psycopg import sql as compose

from syncline.connectors.postgres.catalog import Relation, Server
from syncline.connectors.postgres.changes.config import ChangeCapture
from syncline.connectors.postgres.changes.followed import unpublished
from syncline.connectors.postgres.changes.identity import identity_needs
from syncline.connectors.postgres.changes.names import LogNames
from syncline.connectors.postgres.changes.publication import (
    Publication,
    creation_statement,
    look_at_publication,
    table_names,
)
from syncline.core.errors import ErrorKind
from syncline.core.stream import SelectedStream, Stream, StreamName, SyncMode
from syncline.sdk.findings import Finding, Severity

if TYPE_CHECKING:
    from syncline.connectors.postgres.connection import Session

__all__ = ["check_logged_tables"]

#: Leaves whose changes are not logged. Parameters: relation oid.
_UNLOGGED_LEAVES = """
WITH RECURSIVE tree AS (
    SELECT %s::oid AS oid
    UNION
    SELECT h.inhrelid
    FROM tree
    JOIN pg_catalog.pg_inherits AS h ON h.inhparent = tree.oid
)
SELECT n.nspname, c.relname, c.relkind = 'f'
FROM tree
JOIN pg_catalog.pg_class AS c ON c.oid = tree.oid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind = 'f' OR c.relpersistence <> 'p'
"""

#: Which of these tables we own, and whether we may make publications. Parameters: array of oids.
_OWNERSHIP = """
SELECT c.oid, pg_has_role(current_user, c.relowner, 'USAGE')
FROM pg_catalog.pg_class AS c
WHERE c.oid = ANY (%s)
"""


def check_logged_tables(
    session: Session,
    capture: ChangeCapture,
    names: LogNames,
    server: Server,
    relations: Sequence[tuple[Relation, SelectedStream | None]],
) -> list[Finding]:
    """Findings about tables, with the selected stream of each (None: nothing is selected yet, all are looked at as if
    they were merged by their key)."""
    wanted = [(r, s) for r, s in relations if s is None or s.sync_mode.incremental]
    found: list[Finding] = []
    fit: list[tuple[Relation, SelectedStream]] = []
    for relation, selected in wanted:
        problems = list(_shape(session, relation, server, selected))
        found += problems
        if relation.logged and relation.columns and all(f.severity is not Severity.ERROR for f in problems):
            fit.append((relation, selected or _as_if(relation)))
    found += _identities(session, capture, fit)
    found += _publication(session, names, server, fit)
    return found


def _as_if(relation: Relation) -> SelectedStream:
    key = relation.readable_key
    mode = SyncMode.INCREMENTAL_DEDUPED_HISTORY if key else SyncMode.INCREMENTAL_APPEND
    stream = Stream(name=relation.name, schema=relation.schema, primary_key=key)
    return SelectedStream(stream=stream, sync_mode=mode, primary_key=key)


def _shape(session: Session, relation: Relation, server: Server, selected: SelectedStream | None) -> Iterator[Finding]:
    name = relation.name
    if not relation.logged:
        what = (
            "is unlogged"
            if relation.persistence == "u"
            else "has tables that inherit from it"
            if relation.relkind == "r"
            else f"is a {relation.kind}"
        )
        hint = "use mode: full_refresh for it"
        if relation.persistence == "u":
            hint = f"{hint}, or ALTER TABLE {_quoted(name)} SET LOGGED"
        message = f"{name} {what}: the log does not tell of its changes under its name"
        yield _finding(Severity.WARNING if selected is None else Severity.ERROR, name, message, hint)
        return
    if relation.relkind == "p":
        if server.version < 130000:
            yield _finding(
                Severity.ERROR, name, f"{name} is partitioned: before PostgreSQL 13 it cannot be published", "upgrade"
            )
        for schema, leaf, foreign in session.execute(_UNLOGGED_LEAVES.encode(), [relation.oid]).fetchall():
            quoted = compose.Identifier(schema, leaf).as_string()
            yield _finding(
                Severity.ERROR,
                name,
                f"partition {schema}.{leaf} of {name} is {'a foreign table' if foreign else 'unlogged'}: the log does "
                "not tell of its changes",
                "use mode: full_refresh" if foreign else f"ALTER TABLE {quoted} SET LOGGED",
            )
    hidden = [c.name for c in relation.readable if c.generated and (c.generated != "s" or server.version < 180000)]
    if hidden:
        why = "before PostgreSQL 18 the log does not hold generated columns" if server.version < 180000 else "virtual"
        yield _finding(
            Severity.WARNING,
            name,
            f"generated columns of {name} are left out ({why}): {', '.join(hidden)}",
            "compute them at the destination, or use mode: full_refresh for this table",
        )


def _identities(
    session: Session, capture: ChangeCapture, fit: Sequence[tuple[Relation, SelectedStream]]
) -> Iterator[Finding]:
    for need in identity_needs(session, [(relation.oid, selected) for relation, selected in fit]):
        statements = "; ".join(need.statements)
        if capture.manage:
            yield _finding(
                Severity.WARNING, need.stream, need.reason, f"it will be set at the first sync: {statements}"
            )
        else:
            hint = f"{statements} (or set replication_method.manage: true)"
            yield _finding(Severity.ERROR, need.stream, need.reason, hint)


def _publication(
    session: Session, names: LogNames, server: Server, fit: Sequence[tuple[Relation, SelectedStream]]
) -> Iterator[Finding]:
    there = look_at_publication(session, names.publication)
    tables = [relation.name for relation, _ in fit]
    if names.own_publication:
        yield from _may_publish(session, names, server, fit, there)
        return
    if there is None:
        yield Finding(
            severity=Severity.ERROR,
            kind=ErrorKind.CONFIG,
            message=f"there is no publication {names.publication}, which the configuration names",
            hint=creation_statement(names.publication, tables, server.version),
        )
        return
    for relation, _ in fit:
        error = unpublished(there, relation.name)
        if error is not None:
            yield _finding(Severity.ERROR, relation.name, error.message, error.hint)
        elif relation.name in there.narrowed:
            yield _finding(
                Severity.WARNING,
                relation.name,
                f"publication {there.name} has a list of columns of {relation.name}: others stay as they were copied",
                f"select exactly these columns, or publish all: {_without_list(there, relation.name)}",
            )
        if relation.relkind == "p" and not there.via_root:
            yield _finding(
                Severity.ERROR,
                relation.name,
                f"publication {there.name} publishes changes of {relation.name} under the names of its partitions",
                f"ALTER PUBLICATION {_identifier(there.name)} SET (publish_via_partition_root = true)",
            )


def _may_publish(
    session: Session,
    names: LogNames,
    server: Server,
    fit: Sequence[tuple[Relation, SelectedStream]],
    there: Publication | None,
) -> Iterator[Finding]:
    members = there.members if there is not None else frozenset[StreamName]()
    missing = [relation for relation, _ in fit if relation.name not in members]
    owned: dict[int, bool] = dict(session.execute(_OWNERSHIP.encode(), [[r.oid for r in missing]]).fetchall())
    row = session.execute("SELECT has_database_privilege(current_database(), 'CREATE')").fetchone()
    assert row is not None
    statement = creation_statement("name_it", [relation.name for relation, _ in fit], server.version)
    whole = f"have the owner run it and name it in replication_method.publication: {statement}"
    if there is None and not row[0]:
        yield Finding(
            severity=Severity.ERROR,
            kind=ErrorKind.PERMISSION,
            message=f"role {server.role} may not make a publication in database {server.database}",
            hint=f"GRANT CREATE ON DATABASE {_identifier(server.database)} TO {_identifier(server.role)}; or {whole}",
        )
    for relation in missing:
        if not owned.get(relation.oid, False):
            yield Finding(
                severity=Severity.ERROR,
                kind=ErrorKind.PERMISSION,
                message=f"{relation.name} is not ours, and only its owner can publish it",
                hint=f"GRANT the owner's role TO {_identifier(server.role)}; or {whole}",
                stream=str(relation.name),
            )


def _without_list(publication: Publication, name: StreamName) -> str:
    alter = f"ALTER PUBLICATION {_identifier(publication.name)}"
    return f"{alter} DROP TABLE {table_names([name])}; {alter} ADD TABLE {table_names([name])}"


def _quoted(name: StreamName) -> str:
    return compose.Identifier(name.namespace or "public", name.name).as_string()


def _identifier(name: str) -> str:
    return compose.Identifier(name).as_string()


def _finding(severity: Severity, name: StreamName, message: str, hint: str) -> Finding:
    kind = ErrorKind.CONFIG if severity is Severity.ERROR else None
    return Finding(severity=severity, message=message, hint=hint, kind=kind, stream=str(name))
