"""The tables that the oracle's writers change, and what is known of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg

__all__ = ["ACCOUNTS", "COUNTERS", "TABLES", "VAULTS", "OracleTable", "create_tables"]

ACCOUNTS = 40  #: few, so that writers meet
VAULTS = 4
COUNTERS = 16


@dataclass(frozen=True, kw_only=True)
class OracleTable:
    """One table: its primary key (empty: none, rows are only added), and whether its columns change while it is
    written."""

    name: str
    key: tuple[str, ...]
    changes_shape: bool = False


TABLES: tuple[OracleTable, ...] = (
    OracleTable(name="acts", key=("writer", "number")),
    OracleTable(name="accounts", key=("id",)),
    OracleTable(name="vaults", key=("id",)),
    OracleTable(name="counters", key=("id",)),
    OracleTable(name="things", key=("id",)),
    OracleTable(name="pairs", key=("a", "b")),
    OracleTable(name="whole", key=("id",)),
    OracleTable(name="entries", key=()),
    OracleTable(name="orders", key=("id", "region")),
    OracleTable(name="scratch", key=("id",)),
    OracleTable(name="shapes", key=("id",), changes_shape=True),
)

# `big` columns are stored outside the row and uncompressed, so that an update of other columns leaves them out of the
# log. Orders are moved between partitions. `whole` logs the former row in full.
_STATEMENTS: tuple[str, ...] = (
    """
    CREATE TABLE acts (
        writer int NOT NULL,
        number int NOT NULL,
        kind text NOT NULL,
        at timestamptz NOT NULL DEFAULT clock_timestamp(),
        PRIMARY KEY (writer, number)
    )
    """,
    "CREATE TABLE accounts (id bigint PRIMARY KEY, balance bigint NOT NULL, note text)",
    "CREATE TABLE vaults (id int PRIMARY KEY, balance bigint NOT NULL)",
    "CREATE TABLE counters (id int PRIMARY KEY, version bigint NOT NULL)",
    """
    CREATE TABLE things (
        id bigint PRIMARY KEY,
        v text,
        n numeric(14,4),
        at timestamptz,
        flag boolean,
        doc jsonb,
        big text,
        blob bytea
    )
    """,
    "ALTER TABLE things ALTER big SET STORAGE EXTERNAL, ALTER blob SET STORAGE EXTERNAL",
    "CREATE SEQUENCE thing_ids",
    "CREATE TABLE pairs (a int NOT NULL, b text NOT NULL, v text, big text, PRIMARY KEY (a, b))",
    "ALTER TABLE pairs ALTER big SET STORAGE EXTERNAL",
    "CREATE TABLE whole (id bigint PRIMARY KEY, v text, big text)",
    "ALTER TABLE whole ALTER big SET STORAGE EXTERNAL",
    "ALTER TABLE whole REPLICA IDENTITY FULL",
    "CREATE TABLE entries (writer int, n bigint, v text)",
    "ALTER TABLE entries REPLICA IDENTITY FULL",
    """
    CREATE TABLE orders (id bigint NOT NULL, region text NOT NULL, v text, big text, PRIMARY KEY (id, region))
    PARTITION BY LIST (region)
    """,
    "CREATE TABLE orders_north PARTITION OF orders FOR VALUES IN ('north')",
    "CREATE TABLE orders_south PARTITION OF orders FOR VALUES IN ('south')",
    "CREATE TABLE orders_other PARTITION OF orders DEFAULT",
    "ALTER TABLE orders_north ALTER big SET STORAGE EXTERNAL",
    "ALTER TABLE orders_south ALTER big SET STORAGE EXTERNAL",
    "ALTER TABLE orders_other ALTER big SET STORAGE EXTERNAL",
    "CREATE SEQUENCE order_ids",
    "CREATE TABLE scratch (id bigint PRIMARY KEY, v text)",
    "CREATE TABLE shapes (id bigint PRIMARY KEY, v varchar(20), a int)",
    "CREATE SEQUENCE shape_ids",
)

_FILL: tuple[tuple[str, Sequence[object]], ...] = (
    ("INSERT INTO accounts SELECT g, 1000, NULL FROM generate_series(1, %s) g", (ACCOUNTS,)),
    ("INSERT INTO vaults SELECT g, 0 FROM generate_series(1, %s) g", (VAULTS,)),
    ("INSERT INTO counters SELECT g, 0 FROM generate_series(0, %s) g", (COUNTERS - 1,)),
)

_ROWS = """
    INSERT INTO things
    SELECT nextval('thing_ids'), 'row ' || g, g / 7.0, timestamptz '2026-01-01' + g * interval '1 second', g %% 2 = 0,
           jsonb_build_object('g', g), CASE WHEN g %% 10 = 0 THEN repeat(md5(g::text), 100) END, NULL
    FROM generate_series(1, %s) g
"""


def create_tables(dsn: str, *, rows: int = 500) -> None:
    """Make the tables in an empty database; ``rows`` things exist from the start, the other tables begin small."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in _STATEMENTS:
            connection.execute(statement)
    with psycopg.connect(dsn) as connection:
        for statement, parameters in _FILL:
            connection.execute(statement, parameters)
        connection.execute(_ROWS, (rows,))
        connection.execute(
            "INSERT INTO shapes SELECT nextval('shape_ids'), 's' || g, g FROM generate_series(1, 50) g", ()
        )
