"""Staged rows into tables: appended, or put in the place of those with the same key.

Measured with DuckDB 1.5.5, 500,000 changed rows into 6 million, one thread: DELETE and INSERT 2.2 s, MERGE INTO 25 s.
There is no index on the key: it would have to be in memory as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import duckdb

from syncline.connectors.duckdb.sql import TableName, folded, quote, quoted_list
from syncline.connectors.duckdb.stage import StageFolder
from syncline.connectors.duckdb.types import column_type, natural_type
from syncline.core.checkpoint import Staged, StreamTarget
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.schema import Field

__all__ = ["append_stage", "delete_duplicates", "merge_stages", "reclaim", "spare_long_texts"]

#: Bytes of a column's text per row, offsets included. Below it the dictionary compression pays.
_LONG_TEXT = 200

_STAGE = "_syncline_stage"
_CHANGES = TableName(catalog="temp", schema="main", name="_syncline_changes")
_DOUBLED = TableName(catalog="temp", schema="main", name="_syncline_doubled")


def spare_long_texts(con: duckdb.DuckDBPyConnection, staged: Sequence[Staged]) -> None:
    """Turn DuckDB's dictionary compression off where texts are long: its search for repeats in texts of more than 4 KB
    takes 12 s of CPU per 100 MB, and finds none. Before the transaction that inserts them."""
    if any(s.payload["widest_text"] > _LONG_TEXT for s in staged):
        con.execute("SET disabled_compression_methods = 'dict_fsst'")


def append_stage(
    con: duckdb.DuckDBPyConnection,
    folder: StageFolder,
    staged: Staged,
    target: StreamTarget,
    table: TableName,
    types: Mapping[str, str],
) -> None:
    """Insert a stage's rows. ``types``: column types of the table by folded name. Raises ``internal`` when the number
    of rows is not what was sealed."""
    path = staged.payload["data"]
    if path is None:
        return
    columns, constants = staged.payload["columns"], staged.payload["constants"]
    values: list[str] = []
    for place, name in enumerate(columns):
        values.append(_value(f'"c{place}"', target.schema.field(name), types[folded(name)]))
    values += [f"CAST(? AS {types[folded(name)]})" for name in constants]
    with folder.reader(path) as reader:
        # A bare stream: DuckDB pulls it in C and one batch at a time. A pyarrow object would be read far ahead.
        con.register(_STAGE, reader.__arrow_c_stream__())
        try:
            row = con.execute(
                f"""
                INSERT INTO {table} ({quoted_list([*columns, *constants])})
                SELECT {", ".join(values)}
                FROM {quote(_STAGE)}
                """,
                list(constants.values()),
            ).fetchone()
        finally:
            con.unregister(_STAGE)
    if row is None or row[0] != staged.rows:
        raise SynclineError(
            ErrorKind.INTERNAL,
            f"{staged.rows} rows were staged but {row[0] if row else 0} inserted",
            hint="nothing was committed; please report this",
            where={"connector": "duckdb", "stream": str(target.stream), "partition": staged.partition},
        )


def _value(column: str, field: Field, wanted: str) -> str:
    return column if natural_type(field) == wanted else f"CAST({column} AS {wanted})"


def merge_stages(
    con: duckdb.DuckDBPyConnection,
    folder: StageFolder,
    staged: Sequence[Staged],
    target: StreamTarget,
    table: TableName,
    types: Mapping[str, str],
    *,
    alone: bool,
) -> None:
    """Put the stages' rows in the place of those with the same key.

    Of several staged rows with one key the one with the greatest cursor counts, among equals the last written.
    Partitions of one plan are committed in the order in which they end: a row that this same plan has already brought
    is only replaced by one whose cursor is not smaller. ``alone``: nothing of this plan has been committed yet.
    """
    if not any(s.payload["data"] for s in staged):
        return
    names = list(target.schema.names)
    columns = ", ".join(f"{quote(n)} {types[folded(n)]}" for n in names)
    con.execute(f"CREATE TEMPORARY TABLE {_CHANGES} ({columns})")
    for one in staged:
        append_stage(con, folder, one, target, _CHANGES, types)
    delete_duplicates(con, _CHANGES, target)
    same_key = " AND ".join(f"t.{quote(k)} = s.{quote(k)}" for k in target.primary_key)
    cursor = target.cursor_field
    if not alone and cursor is not None and cursor not in target.primary_key:
        newer = _newer(target.schema.field(cursor), "t", "s")
        ours = '"_syncline_sync_id"'
        brought = f"t.{ours} = s.{ours} AND " if "_syncline_sync_id" in names else ""
        con.execute(f"DELETE FROM {_CHANGES} AS s USING {table} AS t WHERE {same_key} AND {brought}({newer})")
    con.execute(f"DELETE FROM {table} AS t USING {_CHANGES} AS s WHERE {same_key}")
    con.execute(f"INSERT INTO {table} ({quoted_list(names)}) SELECT {quoted_list(names)} FROM {_CHANGES}")
    con.execute(f"DROP TABLE {_CHANGES}")


def delete_duplicates(con: duckdb.DuckDBPyConnection, table: TableName, target: StreamTarget) -> int:
    """Keep one row per key: the one with the greatest cursor, among equals the last written. Returns the rows deleted.

    Keys are counted first, which is cheap and in most cases all: only rows whose key is there twice are ordered."""
    with _rowid_visible(con, table) as named:
        key = quoted_list(named(k) for k in target.primary_key)
        con.execute(
            f"""
            CREATE TEMPORARY TABLE {_DOUBLED} AS
            SELECT {key}
            FROM {table}
            GROUP BY {key}
            HAVING count(*) > 1
            """
        )
        row = con.execute(f"SELECT count(*) FROM {_DOUBLED}").fetchone()
        deleted = 0
        if row is not None and row[0]:
            order = ["rowid DESC"]
            if target.cursor_field is not None:
                ranks = _ranks(target.schema.field(target.cursor_field), quote(named(target.cursor_field)))
                order = [*(f"{r} DESC NULLS LAST" for r in ranks), *order]
            result = con.execute(
                f"""
                DELETE FROM {table}
                WHERE rowid IN (
                    SELECT row
                    FROM (
                        SELECT rowid AS row, row_number() OVER (PARTITION BY {key} ORDER BY {", ".join(order)}) AS place
                        FROM {table} SEMI JOIN {_DOUBLED} USING ({key})
                    )
                    WHERE place > 1
                )
                """
            ).fetchone()
            deleted = int(result[0]) if result else 0
        con.execute(f"DROP TABLE {_DOUBLED}")
    return deleted


@contextmanager
def _rowid_visible(con: duckdb.DuckDBPyConnection, table: TableName) -> Iterator[Callable[[str], str]]:
    """A column named rowid hides the place of a row: it has another name while this block runs. Gives the function from
    a column's name to its name in the block."""
    names = [str(d[0]) for d in con.execute(f"SELECT * FROM {table} LIMIT 0").description or ()]
    hiding = next((name for name in names if folded(name) == "rowid"), None)
    if hiding is None:
        yield lambda name: name
        return
    aside = "_syncline_rowid"
    con.execute(f"ALTER TABLE {table} RENAME COLUMN {quote(hiding)} TO {quote(aside)}")
    yield lambda name: aside if folded(name) == "rowid" else name
    con.execute(f"ALTER TABLE {table} RENAME COLUMN {quote(aside)} TO {quote(hiding)}")


def reclaim(con: duckdb.DuckDBPyConnection, table: TableName) -> None:
    """Let the file's closing rewrite the table if a fifth of what it stores is deleted rows. After a commit."""
    row = con.execute(
        f"""
        SELECT estimated_size, (SELECT count(*) FROM {table})
        FROM duckdb_tables()
        WHERE database_name = current_database() AND schema_name = ? AND lower(table_name) = lower(?)
        """,
        [table.schema, table.name],
    ).fetchone()
    if row is not None and row[1] < 0.8 * row[0]:
        con.execute("SET max_vacuum_tasks = 100")


def _ranks(field: Field, column: str) -> list[str]:
    """What a cursor is ordered by. Exact decimal text is ordered as the number that it is."""
    if column_type(field) == "VARCHAR" and (field.logical == "numeric" or str(field.type).startswith("decimal")):
        return [f"TRY_CAST({column} AS DOUBLE)", f"TRY_CAST({column} AS DECIMAL(38, 12))"]
    return [column]


def _newer(field: Field, left: str, right: str) -> str:
    """Whether the row ``left`` has a greater cursor than ``right``; NULL counts as the smallest."""
    name = quote(field.name)
    lefts, rights = (_ranks(field, f"{side}.{name}") for side in (left, right))
    tests = [
        " AND ".join([*(f"{a} = {b}" for a, b in zip(lefts[:i], rights[:i], strict=True)), f"{lefts[i]} > {rights[i]}"])
        for i in range(len(lefts))
    ]
    return " OR ".join(tests)
