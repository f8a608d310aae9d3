"""Stages into visible tables: appended, or merged by key. Also what a table needs to be merged into."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, LiteralString

import psycopg
from psycopg import sql

from syncline.connectors.postgres.reading.statement import TableName, commas, identifiers, run, statement, trusted
from syncline.connectors.postgres.writing.patience import patiently
from syncline.connectors.postgres.writing.relation import Column
from syncline.core.errors import ErrorKind, SynclineError

if TYPE_CHECKING:
    from syncline.connectors.postgres.connection import Session

__all__ = ["append_stage", "delete_duplicates", "has_unique_key", "make_mergeable", "merge_stage"]

#: Sorts half a million changed rows of 150 bytes in memory (they take 92MB); the server's default of 4MB goes to disk.
#: For this transaction only.
_SORT_MEMORY: LiteralString = """
SELECT set_config('work_mem', '128MB', true) WHERE pg_size_bytes(current_setting('work_mem')) < 128 * 1024 * 1024
"""


def append_stage(
    session: Session, stage: TableName, table: TableName, columns: Sequence[str], constants: Mapping[Column, str]
) -> int:
    """Add the stage's rows to the table; returns how many. ``constants``: columns with one value for all rows."""
    return run(
        session,
        "INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE SELECT {values} FROM {stage}",
        table=table,
        columns=identifiers([*columns, *(c.name for c in constants)]),
        values=commas([*(sql.Identifier(c) for c in columns), *_constants(constants)]),
        stage=stage,
    ).rowcount


def merge_stage(
    session: Session,
    stage: TableName,
    table: TableName,
    columns: Sequence[str],
    constants: Mapping[Column, str],
    *,
    key: Sequence[str],
    cursor: str | None,
    sync_id: str | None,
    gone: Sequence[str] = (),
    alone: bool = False,
) -> int:
    """Put the stage's rows in the place of those with the same key; returns how many rows the stage has. ``gone``:
    columns that the source no longer has, which become NULL in the rows that are replaced.

    Of several rows with one key in the stage the one with the greatest cursor counts, among equals the last written.
    Partitions of one plan are committed in the order in which they end: a row that this same plan (``sync_id``, in its
    metadata column, or unknown) has already brought is only replaced by one whose cursor is not smaller. ``alone``:
    nothing of this plan has been merged before, so that there is no need to look (an eighth of the time).
    """
    # Counted, because an unlogged stage is empty after a crash of the server, which must not pass for "nothing to do".
    counted = run(session, "SELECT count(*) FROM {stage}", stage=stage).fetchone()
    assert counted is not None
    every = [*columns, *(c.name for c in constants)]
    changed = [name for name in every if name not in key]
    order: list[sql.Composable] = [sql.Identifier(k) for k in key]
    guard: sql.Composable = sql.SQL("")
    if cursor is not None and cursor not in key:
        column = sql.Identifier(cursor)
        order.append(sql.SQL("{} DESC NULLS LAST").format(column))
    if cursor is not None and cursor not in key and not alone:
        column = sql.Identifier(cursor)
        newer = statement("t.{c} IS NULL OR excluded.{c} >= t.{c}", c=column)
        if sync_id is not None:
            newer = statement(
                "t.{id} IS DISTINCT FROM excluded.{id} OR {newer}", id=sql.Identifier(sync_id), newer=newer
            )
        guard = sql.SQL(" WHERE {}").format(newer)
    order.append(sql.SQL("ctid DESC"))
    action: sql.Composable = sql.SQL("NOTHING")
    if changed:
        sets = [statement("{c} = excluded.{c}", c=sql.Identifier(name)) for name in changed]
        sets += [statement("{c} = NULL", c=sql.Identifier(name)) for name in gone]
        action = sql.SQL("UPDATE SET {}{}").format(commas(sets), guard)
    run(session, _SORT_MEMORY)
    # Sorted by key, which is also quicker than unsorted: the index is walked in order.
    run(
        session,
        """
        INSERT INTO {table} AS t ({columns}) OVERRIDING SYSTEM VALUE
        SELECT DISTINCT ON ({key}) {values}
        FROM {stage}
        ORDER BY {order}
        ON CONFLICT ({key}) DO {action}
        """,
        table=table,
        columns=identifiers(every),
        key=identifiers(key),
        values=commas([*(sql.Identifier(c) for c in columns), *_constants(constants)]),
        stage=stage,
        order=commas(order),
        action=action,
    )
    return int(counted[0])


def delete_duplicates(session: Session, table: TableName, key: Sequence[str], cursor: str | None) -> int:
    """Keep one row per key: that with the greatest cursor, among equals the last written. Returns the rows deleted."""
    run(session, _SORT_MEMORY)
    order: list[sql.Composable] = [sql.SQL("ctid DESC")]
    if cursor is not None:
        order.insert(0, sql.SQL("{} DESC NULLS LAST").format(sql.Identifier(cursor)))
    return run(
        session,
        """
        DELETE FROM {table}
        WHERE ctid = ANY (ARRAY(
            SELECT r.row
            FROM (SELECT ctid AS row, row_number() OVER (PARTITION BY {key} ORDER BY {order}) AS number FROM {table}) r
            WHERE r.number > 1
        ))
        """,
        table=table,
        key=identifiers(key),
        order=commas(order),
    ).rowcount


def has_unique_key(session: Session, table: TableName, key: Sequence[str]) -> bool:
    """Whether a unique index exists on which ON CONFLICT (key) can rely."""
    row = run(
        session,
        """
        SELECT 1
        FROM pg_index i
        JOIN pg_class c ON c.oid = i.indrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = {schema} AND c.relname = {name}
          AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL
          AND (
              SELECT array_agg(a.attname::text ORDER BY a.attname::text COLLATE "C")
              FROM unnest(i.indkey[0:i.indnkeyatts - 1]) k
              JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k
          ) = {key}
        LIMIT 1
        """,
        schema=table.schema,
        name=table.name,
        key=sql.SQL("ARRAY[{}]::text[]").format(commas(sql.Literal(k) for k in sorted(key))),
    ).fetchone()
    return row is not None


def make_mergeable(
    session: Session, table: TableName, key: Sequence[str], cursor: str | None, *, ours: bool, patience: float
) -> None:
    """See to a unique index on the key. A table of ours that was appended to before may hold several rows per key: all
    but the newest go. Somebody else's table is not touched: ``config`` says what to run."""
    if has_unique_key(session, table, key):
        return
    create = statement("CREATE UNIQUE INDEX ON {table} ({key})", table=table, key=identifiers(key))
    if not ours:
        raise SynclineError(
            ErrorKind.CONFIG,
            f"table {table} has no unique index on its key ({', '.join(key)}), which merging needs",
            hint=create.as_string(session),
            where={"connector": "postgres"},
        )

    def index() -> None:
        # SHARE keeps writers out until the index stands; readers go on.
        run(session, "LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE", table=table)
        try:
            with session.transaction():
                session.execute(create)
        except psycopg.errors.UniqueViolation:
            delete_duplicates(session, table, key, cursor)
            session.execute(create)

    patiently(session, table, index, seconds=patience)


def _constants(constants: Mapping[Column, str]) -> list[sql.Composable]:
    return [sql.SQL("{}::{}").format(sql.Literal(value), trusted(column.type)) for column, value in constants.items()]
