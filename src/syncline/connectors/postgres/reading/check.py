"""What a sync would stumble over, said beforehand, each with the statement that mends it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import sql as compose

from syncline.connectors.postgres.catalog import Column, Relation, Server, load_relations, server_of, tree_of
from syncline.connectors.postgres.config import ChangeCapture, PostgresSourceConfig
from syncline.connectors.postgres.reading import sql
from syncline.connectors.postgres.reading.cursor_values import can_look_back, cursor_column
from syncline.connectors.postgres.reading.planning import part_count
from syncline.connectors.postgres.reading.selection import ensure_schemas, selected_relations
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.stream import SelectedStream
from syncline.sdk.findings import Finding, Severity

if TYPE_CHECKING:
    from syncline.connectors.postgres.connection import Session

__all__ = ["OLDEST_VERSION", "check_database", "missing_grants", "quoted"]

#: PostgreSQL 12: older ones are out of their makers' support for years and lack what the catalogue queries ask.
OLDEST_VERSION = 120000
#: Bytes per second that one session reads at least, for a guess at how long a snapshot would live.
_SLOW_READ = 50_000_000


def check_database(
    session: Session, config: PostgresSourceConfig, selection: Sequence[SelectedStream], *, xmin: bool, concurrency: int
) -> list[Finding]:
    """All findings, the server's first. The session must be in a transaction under the catalogue's search path."""
    server = server_of(session)
    found = [_version(server)]
    if server.version < OLDEST_VERSION:
        return found
    if server.standby:
        found.append(
            Finding(
                severity=Severity.WARNING,
                message="the server is a standby: it may cancel our queries to replay its log",
                hint="set hot_standby_feedback = on there, or raise max_standby_streaming_delay",
            )
        )
    try:
        relations, chosen = _chosen(session, config, selection)
    except SynclineError as error:
        return [*found, _from_error(error)]
    look = _Look(session=session, config=config, server=server, xmin=xmin, concurrency=concurrency)
    for relation in relations:
        found += look.at(relation, chosen.get(str(relation.name)))
    missing = chosen.keys() - {str(r.name) for r in relations}
    found += [
        Finding(
            severity=Severity.ERROR,
            kind=ErrorKind.SCHEMA,
            message=f"{name} does not exist",
            hint="it was dropped or renamed: run discover, and take it out of the connection",
            stream=name,
        )
        for name in sorted(missing)
    ]
    found += _activity(session, server, look.time_cursors)
    return found


def quoted(relation: Relation, *columns: str) -> str:
    """``"schema"."table"`` as it must be written in SQL, with the columns in brackets if given."""
    text = compose.Identifier(relation.name.namespace or "public", relation.name.name).as_string()
    return f"{text} ({', '.join(_identifier(c) for c in columns)})" if columns else text


def missing_grants(relation: Relation, role: str) -> str:
    """The statements by which ``role`` may read the relation."""
    grants = []
    if not relation.usable_schema:
        grants.append(
            f"GRANT USAGE ON SCHEMA {_identifier(relation.name.namespace or 'public')} TO {_identifier(role)}"
        )
    if not relation.readable:
        grants.append(f"GRANT SELECT ON TABLE {quoted(relation)} TO {_identifier(role)}")
    return "; ".join(grants)


@dataclass(kw_only=True)
class _Look:
    """What is asked of each relation."""

    session: Session
    config: PostgresSourceConfig
    server: Server
    xmin: bool
    concurrency: int
    time_cursors: bool = False

    def at(self, relation: Relation, selected: SelectedStream | None) -> Iterator[Finding]:
        if (refused := self._rights(relation)) is not None:
            yield refused
            return
        serious = False
        for finding in self._shape(relation, selected):
            serious = serious or finding.severity is Severity.ERROR
            yield finding
        if not serious:
            yield _finding(Severity.OK, relation, f"{relation.kind} {relation.name}: readable{_key_words(relation)}")

    def _rights(self, relation: Relation) -> Finding | None:
        if not relation.columns:
            return _finding(
                Severity.WARNING, relation, f"{relation.kind} {relation.name} has no columns and is left out"
            )
        if relation.usable_schema and relation.readable:
            return None
        return _finding(
            Severity.ERROR,
            relation,
            f"no right to read {relation.kind} {relation.name}",
            hint=missing_grants(relation, self.server.role),
            kind=ErrorKind.PERMISSION,
        )

    def _shape(self, relation: Relation, selected: SelectedStream | None) -> Iterator[Finding]:
        if hidden := [c.name for c in relation.columns if not c.readable]:
            names = ", ".join(_identifier(c) for c in hidden)
            yield _finding(
                Severity.WARNING,
                relation,
                f"columns of {relation.name} that may not be read are left out: {names}",
                hint=f"GRANT SELECT ({names}) ON TABLE {quoted(relation)} TO {_identifier(self.server.role)}",
            )
        if relation.relkind == "f":
            yield _finding(
                Severity.WARNING, relation, f"{relation.name} is a foreign table: it is read in one partition"
            )
        if relation.filtered:
            yield _finding(
                Severity.WARNING,
                relation,
                f"row security is active on {relation.name}: only rows that its policies show to us are copied",
                hint=f"ALTER ROLE {_identifier(self.server.role)} BYPASSRLS, or a policy USING (true)",
            )
        if relation.persistence == "u":
            yield _finding(
                Severity.WARNING,
                relation,
                f"{relation.name} is unlogged: after a crash of the server it is empty, and so is the next full copy",
                hint=f"ALTER TABLE {quoted(relation)} SET LOGGED",
            )
        yield from self._key(relation)
        by_log = isinstance(self.config.replication_method, ChangeCapture)
        if selected is not None and selected.sync_mode.incremental and not by_log:
            yield from self._increments(relation, selected)

    def _key(self, relation: Relation) -> Iterator[Finding]:
        if relation.readable_key or relation.relkind not in "rp":
            return
        tree = tree_of(self.session, relation, self.server)
        message = f"{relation.name} has no primary key and no unique index on NOT NULL columns"
        hint = f"ALTER TABLE {quoted(relation)} ADD PRIMARY KEY (…), or set primary_key for deduped modes"
        if part_count(self.config, tree.bytes) == 1:
            yield _finding(Severity.WARNING, relation, f"{message}: deduped modes need one", hint=hint)
            return
        if self.server.version < 140000:
            yield _finding(
                Severity.WARNING, relation, f"{message}: before PostgreSQL 14 it is read in one partition", hint=hint
            )
            return
        seconds = tree.bytes / (_SLOW_READ * self.concurrency)
        yield _finding(
            Severity.WARNING,
            relation,
            f"{message}: its partitions share one snapshot, and a copy that is interrupted starts over",
            hint=hint,
        )
        if seconds > self.config.max_transaction_age:
            yield _finding(
                Severity.WARNING,
                relation,
                f"reading {relation.name} ({tree.bytes / 1e9:.1f} GB) may take {seconds:.0f} s in one snapshot, "
                f"max_transaction_age is {self.config.max_transaction_age:.0f} s",
                hint="raise max_transaction_age or concurrency, or give the table a primary key",
            )

    def _increments(self, relation: Relation, selected: SelectedStream) -> Iterator[Finding]:
        if self.xmin:
            if relation.relkind not in "rp":
                yield _finding(
                    Severity.ERROR,
                    relation,
                    f"rows of a {relation.kind} have no xmin",
                    hint="use full_refresh, or replication_method Standard with a cursor",
                    kind=ErrorKind.CONFIG,
                )
            return
        try:
            column = cursor_column(relation, selected, self.config.cursor)
        except SynclineError as error:
            yield _from_error(error, relation)
            return
        self.time_cursors = self.time_cursors or column.type_name in ("timestamp", "timestamptz", "date")
        yield from self._cursor(relation, column)

    def _cursor(self, relation: Relation, column: Column) -> Iterator[Finding]:
        if relation.relkind in "rpm" and column.name not in relation.indexed:
            yield _finding(
                Severity.WARNING,
                relation,
                f"cursor {column.name} of {relation.name} has no index: each increment reads the whole table",
                hint=_index(relation, column),
            )
        if not can_look_back(column):
            return
        if column.type_name not in ("timestamp", "timestamptz", "date") and self.config.lookback_window == 0:
            yield _finding(
                Severity.WARNING,
                relation,
                f"cursor {column.name} of {relation.name} is no time: a row with a smaller value that is committed "
                "after a run is missed",
                hint="set lookback_window to the largest distance that may be late, or use a time or Xmin",
            )
        if column.type_name == "timestamp":
            row = self.session.execute("SELECT reset_val FROM pg_settings WHERE name = 'TimeZone'").fetchone()
            zone = row[0] if row else "UTC"
            yield _finding(
                Severity.OK,
                relation,
                f"cursor {column.name} of {relation.name} has no time zone: taken to be written in {zone}",
                hint="set lookback_window if writers use another zone",
            )


def _chosen(
    session: Session, config: PostgresSourceConfig, selection: Sequence[SelectedStream]
) -> tuple[list[Relation], dict[str, SelectedStream]]:
    """The relations to look at, and the selection by name; all that the configuration lets through when it is empty."""
    chosen = {str(s.name): s for s in selection}
    ensure_schemas(session, config)
    schemas = sorted({*config.schemas, *(s.name.namespace or "public" for s in selection)})
    relations = load_relations(session, schemas)
    if not chosen:
        return selected_relations(relations, config), chosen
    return [r for r in relations if str(r.name) in chosen], chosen


def _version(server: Server) -> Finding:
    text = f"PostgreSQL {server.version_text}, database {server.database}, as {server.role}"
    if server.version < OLDEST_VERSION:
        return Finding(
            severity=Severity.ERROR,
            kind=ErrorKind.CONFIG,
            message=f"{text}: the oldest supported version is 12",
            hint="upgrade the server",
        )
    return Finding(severity=Severity.OK, message=text)


def _activity(session: Session, server: Server, time_cursors: bool) -> Iterator[Finding]:
    if not time_cursors:
        return
    row = session.execute(sql.ACTIVITY_RIGHTS.encode()).fetchone()
    if row and row[0]:
        yield Finding(
            severity=Severity.OK,
            message="open transactions of all roles are visible: rows that they commit late are not missed",
        )
    else:
        yield Finding(
            severity=Severity.WARNING,
            message="transactions of other roles are not visible: rows that they commit late may be missed",
            hint=f"GRANT pg_read_all_stats TO {_identifier(server.role)}, or set lookback_window",
        )


def _index(relation: Relation, column: Column) -> str:
    if relation.relkind == "p":
        return f"CREATE INDEX ON {quoted(relation, column.name)}"
    return f"CREATE INDEX CONCURRENTLY ON {quoted(relation, column.name)}"


def _key_words(relation: Relation) -> str:
    key = relation.readable_key
    if not key:
        return ""
    return f", {'primary key' if relation.primary else 'key by a unique index'} ({', '.join(key)})"


def _finding(
    severity: Severity, relation: Relation, message: str, *, hint: str = "", kind: ErrorKind | None = None
) -> Finding:
    return Finding(severity=severity, message=message, hint=hint, kind=kind, stream=str(relation.name))


def _from_error(error: SynclineError, relation: Relation | None = None) -> Finding:
    return Finding(
        severity=Severity.ERROR,
        kind=error.kind,
        message=error.message,
        hint=error.hint,
        stream=str(relation.name) if relation else None,
    )


def _identifier(name: str) -> str:
    return compose.Identifier(name).as_string()
