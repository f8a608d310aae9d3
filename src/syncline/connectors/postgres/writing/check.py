"""``check`` of the Postgres destination: by trying, in a transaction that is rolled back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from syncline.connectors.postgres.errors import postgres_error
from syncline.connectors.postgres.reading.statement import TableName, run, statement
from syncline.connectors.postgres.writing.config import PostgresDestinationConfig
from syncline.connectors.postgres.writing.ledger import Ledger
from syncline.connectors.postgres.writing.names import OURS, StreamPlace, place_of
from syncline.connectors.postgres.writing.tables import Tables
from syncline.connectors.postgres.writing.types import ONLY_AT_HOME
from syncline.core.checkpoint import StreamTarget
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.stream import StreamName, WriteMode
from syncline.sdk.findings import Finding, Severity

if TYPE_CHECKING:
    from syncline.connectors.postgres.connection import Session

__all__ = ["check_targets", "grant_statement"]

_OLDEST = 120000

#: Types whose extension has another name than they have.
_EXTENSIONS = {
    "geometry": "postgis",
    "geography": "postgis",
    "lquery": "ltree",
    "ltxtquery": "ltree",
    "halfvec": "vector",
    "sparsevec": "vector",
    "isbn": "isn",
    "ean13": "isn",
}


def check_targets(
    config: PostgresDestinationConfig, session: Callable[[], Session], targets: Sequence[StreamTarget]
) -> list[Finding]:
    """What ``syncline check`` says of this destination. An unreachable server is a finding, too."""
    try:
        opened = session()
    except SynclineError as error:
        return [_finding(error)]
    return [*_server(opened), *_schemas(opened, config, targets), *_streams(opened, config, targets)]


def _server(session: Session) -> Iterator[Finding]:
    row = run(
        session,
        """
        SELECT current_setting('server_version_num')::int, current_setting('server_version'), current_user::text,
               current_database()::text, pg_is_in_recovery(), current_setting('server_encoding')
        """,
    ).fetchone()
    assert row is not None
    number, version, user, database, standby, encoding = row
    yield Finding(severity=Severity.OK, message=f"PostgreSQL {version}, database {database!r} as role {user!r}")
    if number < _OLDEST:
        yield Finding(
            severity=Severity.WARNING,
            message=f"PostgreSQL {version} is older than what this is tested with (12)",
            hint="upgrade the server",
        )
    if standby:
        yield Finding(
            severity=Severity.ERROR,
            kind=ErrorKind.CONFIG,
            message="the server is a read-only standby",
            hint="set host to the primary",
        )
    if encoding != "UTF8":
        yield Finding(
            severity=Severity.WARNING,
            message=f"the database's encoding is {encoding}: rows with characters that it lacks go to quarantine",
            hint="use a database made with ENCODING 'UTF8'",
        )


def _schemas(session: Session, config: PostgresDestinationConfig, targets: Sequence[StreamTarget]) -> Iterator[Finding]:
    places: dict[str, StreamPlace] = {}
    for stream in [t.stream for t in targets] or [StreamName(namespace="public", name="syncline_check")]:
        try:
            place = place_of(config, "check", stream)
        except SynclineError:
            continue  # said with the stream
        places.setdefault(place.table.schema, place)
    for schema, place in places.items():
        yield _try(session, schema, place)


def _try(session: Session, schema: str, place: StreamPlace) -> Finding:
    """Make our tables and one more, then undo all."""
    try:
        with session.transaction(force_rollback=True):
            Ledger(place).make(session)
            probe = TableName(schema=schema, name=f"{OURS}g0_check")
            run(session, "CREATE TABLE {probe} (x int)", probe=probe)
            run(session, "DROP TABLE {probe}", probe=probe)
    except psycopg.Error as error:
        return _finding(postgres_error(error, hint=grant_statement(session, schema)))
    return Finding(severity=Severity.OK, message=f"schema {schema!r} can be written")


def grant_statement(session: Session, schema: str) -> str:
    """What to run so that our role may make its tables in the schema, or the schema."""
    row = run(
        session,
        "SELECT current_user::text, current_database()::text, "
        "EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = {schema})",
        schema=schema,
    ).fetchone()
    assert row is not None
    user, database, exists = row
    name, role = sql.Identifier(schema), sql.Identifier(user)
    if exists:
        grant = statement("GRANT USAGE, CREATE ON SCHEMA {name} TO {role}", name=name, role=role)
    else:
        grant = statement(
            "CREATE SCHEMA {name} AUTHORIZATION {role}, or GRANT CREATE ON DATABASE {database} TO {role}",
            name=name,
            role=role,
            database=sql.Identifier(database),
        )
    return grant.as_string(session)


def _streams(session: Session, config: PostgresDestinationConfig, targets: Sequence[StreamTarget]) -> Iterator[Finding]:
    taken: dict[TableName, StreamName] = {}
    for target in targets:
        try:
            place = place_of(config, target.connection, target.stream)
        except SynclineError as error:
            yield _finding(error, target)
            continue
        if other := taken.get(place.table):
            way = (
                "`table` names one table: select a single stream, or leave it out"
                if config.table is not None
                else "set namespace: source, or a schema with ${SOURCE_NAMESPACE}"
            )
            yield Finding(
                severity=Severity.ERROR,
                kind=ErrorKind.CONFIG,
                message=f"streams {other} and {target.stream} would both be written to table {place.table}",
                hint=way,
                stream=str(target.stream),
            )
            continue
        taken[place.table] = target.stream
        yield from _stream(session, place, target)


def _stream(session: Session, place: StreamPlace, target: StreamTarget) -> Iterator[Finding]:
    ledger = Ledger(place)
    try:
        try:
            plan, existing, ours = Tables(session, ledger, target, 0, patience=0).examine()
        except SynclineError as error:
            if target.write is WriteMode.APPEND or error.kind is ErrorKind.SCHEMA:
                raise
            # A table of somebody else's may still be appended to or merged into; then it is only in the way of whole
            # copies.
            appended = replace(target, write=WriteMode.APPEND)
            try:
                plan, existing, ours = Tables(session, ledger, appended, 0, patience=0).examine()
            except SynclineError:
                raise error from None
            yield Finding(
                severity=Severity.WARNING,
                message=f"{error.message}; only append and increments into it work",
                hint=error.hint,
                stream=str(target.stream),
            )
    except SynclineError as error:
        yield _finding(error, target)
        return
    except psycopg.Error as error:
        if not isinstance(error, psycopg.errors.InsufficientPrivilege):
            yield _finding(postgres_error(error), target)
        return  # the missing right is said with the schema
    for column, native in plan.missing.items():
        home = _bare(native) in ONLY_AT_HOME
        why = "means something only in its own database" if home else "is not known here"
        yield Finding(
            severity=Severity.OK if home else Severity.WARNING,
            message=f"type {native} of column {column!r} {why}: the column becomes {plan.types[column]}",
            hint="" if home else _type_hint(session, native),
            stream=str(target.stream),
        )
    state = "is there and ours" if ours else "is used as it is" if existing is not None else "will be made"
    yield Finding(severity=Severity.OK, message=f"table {place.table} {state}", stream=str(target.stream))


def _type_hint(session: Session, native: str) -> str:
    bare = _bare(native)
    if bare == "xml":
        return "the server was built without libxml; the text is kept"
    extension = _EXTENSIONS.get(bare, bare)
    row = run(
        session, "SELECT name::text FROM pg_available_extensions WHERE name = {extension}", extension=extension
    ).fetchone()
    if row is not None or bare in _EXTENSIONS or bare in ("hstore", "citext", "ltree", "cube", "vector", "seg"):
        return f"CREATE EXTENSION {extension}"
    return "make the type here as it is at the source (CREATE TYPE …) if the column is to have it"


def _bare(native: str) -> str:
    """The name of a type without schema, modifier and brackets."""
    return native.rsplit(".", 1)[-1].split("(")[0].removesuffix("[]").strip('"')


def _finding(error: SynclineError, target: StreamTarget | None = None) -> Finding:
    return Finding(
        severity=Severity.ERROR,
        kind=error.kind,
        message=error.message,
        hint=error.hint,
        stream=str(target.stream) if target else None,
    )
