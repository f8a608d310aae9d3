"""A deduped increment against the best statement by hand: ``python benchmarks/upsert.py``.

500,000 changed rows (two thirds existing, one third new) go into a table of 6,000,000 with a primary key. By hand: the
changed rows by ``psql COPY binary | psql COPY binary`` into an unlogged table, then sorted DISTINCT ON with ON
CONFLICT. Ours: ``syncline sync`` from start to end. Each round changes another set of rows at the source and runs both.

Both tables have the same columns: the source's, and with ``--metadata`` also the three that we add by default.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

import psycopg
import yaml
from data import FILL_LINEITEM, LINEITEM
from measure import measure

from syncline.testing.postgres_server import PostgresServer, find_tls_bindir, start_postgres

_COLUMNS = (
    "l_partkey, l_suppkey, l_quantity, l_extendedprice, l_discount, l_tax, l_returnflag, l_linestatus, l_shipdate, "
    "l_commitdate, l_receiptdate, l_shipinstruct, l_shipmode, l_comment, version"
)
_METADATA = ("_syncline_extracted_at", "_syncline_sync_id", "_syncline_generation")


def _merge(metadata: bool) -> str:
    columns = [*(c.strip() for c in _COLUMNS.split(",")), *(_METADATA if metadata else ())]
    values = "*, now(), '01K0000000000000000000000', 1" if metadata else "*"
    return f"""
    INSERT INTO by_hand SELECT DISTINCT ON (l_orderkey, l_linenumber) {values} FROM staging
    ORDER BY l_orderkey, l_linenumber, version DESC
    ON CONFLICT (l_orderkey, l_linenumber) DO UPDATE SET ({", ".join(columns)}) = ROW ({
        ", ".join("excluded." + c for c in columns)
    })
    """


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=6_000_000)
    parser.add_argument("--changed", type=int, default=500_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--metadata", action="store_true", help="with the columns that we add")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="syncline-bench-"))
    settings = {"shared_buffers": "1GB", "max_wal_size": "8GB", "checkpoint_timeout": "1h"}
    try:
        with start_postgres(bindir=find_tls_bindir(), settings=settings) as server:
            _run(server, folder, options)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(server: PostgresServer, folder: Path, options: argparse.Namespace) -> None:
    rows, changed, metadata = options.rows, options.changed, options.metadata
    source, sink = server.create_database("bench_source"), server.create_database("bench_sink")
    with psycopg.connect(server.dsn(source), autocommit=True) as connection:
        connection.execute(LINEITEM)
        connection.execute(FILL_LINEITEM, (rows,))
        connection.execute("ALTER TABLE lineitem ADD version bigint NOT NULL DEFAULT 0")
        connection.execute("ALTER TABLE lineitem ADD PRIMARY KEY (l_orderkey, l_linenumber)")
        connection.execute("CREATE INDEX ON lineitem (version)")
        connection.execute("VACUUM (FREEZE, ANALYZE)")
    project = folder / "upsert.yaml"
    project.write_text(yaml.safe_dump(_project(server, source, sink, metadata=metadata)), encoding="utf-8")
    environment = {"SYNCLINE_HOME": str(folder / "home")}
    command = [sys.executable, "-m", "syncline", "sync", str(project)]
    log = folder / "log.txt"
    measure(command, log, environment)
    with psycopg.connect(server.dsn(sink), autocommit=True) as connection:
        connection.execute("CREATE TABLE by_hand (LIKE lineitem INCLUDING DEFAULTS)")
        connection.execute("CREATE UNLOGGED TABLE staging (LIKE by_hand)")
        for extra in _METADATA if metadata else ():
            connection.execute(f"ALTER TABLE staging DROP COLUMN {extra}")
    extra = ", now(), '01K0000000000000000000000', 1::bigint" if metadata else ""
    copy = f'psql "{server.dsn(source)}" -qc "COPY (SELECT *{extra} FROM lineitem) TO STDOUT (FORMAT binary)"'
    measure(f'{copy} | psql "{server.dsn(sink)}" -qc "COPY by_hand FROM STDIN (FORMAT binary)"', log)
    with psycopg.connect(server.dsn(sink), autocommit=True) as connection:
        connection.execute("ALTER TABLE by_hand ADD PRIMARY KEY (l_orderkey, l_linenumber)")
        connection.execute("VACUUM (FREEZE, ANALYZE)")
    ratios = []
    for number in range(1, options.rounds + 1):
        _change(server, source, rows, changed, number)
        with psycopg.connect(server.dsn(sink), autocommit=True) as connection:
            connection.execute("TRUNCATE staging")
            connection.execute("CHECKPOINT")
        picked = f"COPY (SELECT * FROM lineitem WHERE version = {number}) TO STDOUT (FORMAT binary)"
        by_hand = measure(
            f'psql "{server.dsn(source)}" -qc "{picked}" | '
            f'psql "{server.dsn(sink)}" -qc "COPY staging FROM STDIN (FORMAT binary)" && '
            f'psql "{server.dsn(sink)}" -qc "{" ".join(_merge(metadata).split())}"',
            log,
        )
        with psycopg.connect(server.dsn(sink), autocommit=True) as connection:
            connection.execute("CHECKPOINT")
        ours = measure(command, log, environment)
        ratios.append(ours.seconds / by_hand.seconds)
        print(
            f"round {number}: by hand {by_hand.seconds:.2f} s, ours {ours.seconds:.2f} s, {ours.cpu:.1f} CPU s",
            flush=True,
        )
    _equal(server, sink)
    print(f"ours / by hand: median {statistics.median(ratios):.2f} (at most 1.15)")


def _project(server: PostgresServer, source: str, sink: str, *, metadata: bool) -> dict[str, object]:
    params = server.params(source)
    common = {
        "host": params["host"],
        "port": int(params["port"]),
        "username": params["user"],
        "password": params["password"],
    }
    return {
        "source": {"type": "postgres", "config": {**common, "database": source, "tables": ["lineitem"]}},
        "destination": {"type": "postgres", "config": {**common, "database": sink}},
        "sync": {
            "mode": "incremental_deduped_history",
            "cursor_field": "version",
            "concurrency": 1,
            "metadata_columns": "syncline" if metadata else "none",
        },
    }


def _change(server: PostgresServer, source: str, rows: int, changed: int, number: int) -> None:
    existing, new = changed * 2 // 3, changed - changed * 2 // 3
    first = rows + (number - 1) * new
    with psycopg.connect(server.dsn(source), autocommit=True) as connection:
        connection.execute(
            "UPDATE lineitem SET version = %s, l_quantity = l_quantity + 1"
            " WHERE (l_orderkey * 4 + l_linenumber) %% %s = %s AND version = 0",
            (number, max(1, rows // existing), number),
        )
        fill = FILL_LINEITEM.replace("SELECT", "SELECT *, %s FROM (SELECT", 1).replace(
            "generate_series(0, %s::bigint - 1) g", "generate_series(%s::bigint, %s::bigint - 1) g) AS made"
        )
        connection.execute(fill, (number, first, first + new))
        connection.execute("VACUUM ANALYZE lineitem")


def _equal(server: PostgresServer, sink: str) -> None:
    with psycopg.connect(server.dsn(sink)) as connection:
        sums = "count(*), sum(l_quantity), sum(version), sum(l_orderkey)"
        ours = connection.execute(f"SELECT {sums} FROM lineitem").fetchone()
        by_hand = connection.execute(f"SELECT {sums} FROM by_hand").fetchone()
    if ours != by_hand:
        raise RuntimeError(f"content differs: {ours} instead of {by_hand}")


if __name__ == "__main__":
    main()
